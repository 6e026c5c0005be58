//! What limits cost: `cargo run --profile quick --example limit_figures`. Time per call on one thread
//! and on several at once, over few buckets and over as many as a node keeps.

#![expect(clippy::unwrap_used, reason = "a measurement that fails should say so at once")]

use std::hint::black_box;
use std::io::Write;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use futures_util::FutureExt;
use prometheus_client::metrics::counter::Counter;
use shunt::domain::bucket::Quota;
use shunt::domain::limits::BUCKETS_MAX;
use shunt::storage::buckets::{BucketKey, BucketStore, LocalBuckets, NoRoom, Take};
use shunt::storage::memory_buckets::MemoryBuckets;

const CALLS: u64 = 2_000_000;

fn main() {
    let buckets = Arc::new(MemoryBuckets::new(Counter::default()));
    time("naming a bucket", 1, move |n| {
        black_box(name(n));
    });
    for (what, n_buckets) in [("100", 100), ("100,000", 100_000), ("all", BUCKETS_MAX as u64)] {
        for n_threads in [1, 2, 4] {
            let shared = Arc::clone(&buckets);
            time(&format!("naming and taking from one of {what} buckets"), n_threads, move |n| {
                black_box(shared.take_here(&take(scattered(n) % n_buckets), n / 1_000));
            });
            let shared = Arc::clone(&buckets);
            time(&format!("the same from two, through the port, of {what}"), n_threads, move |n| {
                let of = |salt: u64| take(scattered(n.wrapping_add(salt)) % n_buckets);
                let takes = [of(0), of(1 << 40)];
                black_box(shared.take(&takes, n / 1_000).now_or_never().unwrap().unwrap());
            });
        }
    }
    say(&format!("{} buckets are kept", buckets.len()));
    let shared = Arc::clone(&buckets);
    time("a new bucket where there is no room", 1, move |n| {
        black_box(shared.take_here(&take(BUCKETS_MAX as u64 + n), 0));
    });
}

fn name(n: u64) -> BucketKey {
    BucketKey::new(&[7; 32], "workspace", &[&n.to_le_bytes()])
}

fn take(n: u64) -> Take {
    let (quota, when_no_room) = (Quota::per_hour(1_000), NoRoom::Pass);
    Take { bucket: name(n), quota, cost: 1, when_no_room }
}

fn scattered(n: u64) -> u64 {
    n.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 7
}

/// Calls `work` with numbers, on every thread with others.
fn time(what: &str, n_threads: u64, work: impl Fn(u64) + Clone + Send + 'static) {
    let started = Instant::now();
    let threads = (0..n_threads).map(|thread| {
        let work = work.clone();
        thread::spawn(move || (0..CALLS).for_each(|n| work(n * n_threads + thread)))
    });
    for thread in threads.collect::<Vec<_>>() {
        thread.join().unwrap();
    }
    let nanos = started.elapsed().as_nanos() as f64 / CALLS as f64;
    say(&format!("{nanos:>8.0} ns  {n_threads} threads  {what}"));
}

fn say(line: &str) {
    writeln!(std::io::stdout().lock(), "{line}").unwrap();
}
