//! How far the visitor sketch is off over many seeds, and what its operations cost:
//! `cargo run --release --example sketch_error`. With `huge` as argument also at a billion
//! visitors, where prefixes of 32 bits run out; that takes a minute more.

#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use shunt::domain::sketch::Sketch;

/// Visitors, and seeds to try them with.
const SWEEP: [(u64, u64); 9] = [
    (10, 1_000),
    (100, 1_000),
    (1_000, 1_000),
    (3_000, 1_000),
    (10_000, 1_000),
    (30_000, 1_000),
    (100_000, 1_000),
    (1_000_000, 1_000),
    (10_000_000, 1_000),
];
const HUGE: (u64, u64) = (1_000_000_000, 12);
/// Share of the true number that an estimate may be off by.
const TOLERANCE: f64 = 0.02;

/// The finaliser of SplitMix64 (Steele, Lea, Flood, 2014): every bit of the answer hangs on every
/// bit of `number`.
fn mix(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

fn sketch_of(n_visitors: u64, seed: u64) -> Sketch {
    let key = mix(seed.wrapping_add(0x9E37_79B9_7F4A_7C15));
    let mut sketch = Sketch::default();
    for visitor in 0..n_visitors {
        sketch.insert(mix(visitor.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ key));
    }
    sketch
}

fn report(n_visitors: u64, n_seeds: u64) {
    let errors: Vec<f64> = (0..n_seeds)
        .map(|seed| sketch_of(n_visitors, seed).estimate() as f64 / n_visitors as f64 - 1.0)
        .collect();
    let n = n_seeds as f64;
    let mean = errors.iter().sum::<f64>() / n;
    let spread = (errors.iter().map(|error| error * error).sum::<f64>() / n).sqrt();
    let worst = errors.iter().fold(0.0, |worst: f64, error| worst.max(error.abs()));
    let within = errors.iter().filter(|error| error.abs() <= TOLERANCE).count();
    println!(
        "{n_visitors:>13} {n_seeds:>6} {:>8.1} % {:>+8.3} % {:>7.3} % {:>7.3} %",
        within as f64 / n * 100.0,
        mean * 100.0,
        spread * 100.0,
        worst * 100.0,
    );
}

/// Prints the time of one call, the mean over `n_calls`.
fn time(what: &str, n_calls: u32, mut call: impl FnMut()) {
    let start = Instant::now();
    (0..n_calls).for_each(|_| call());
    let each: Duration = start.elapsed() / n_calls;
    println!("{what:<36} {:>9.3} µs", each.as_nanos() as f64 / 1_000.0);
}

fn costs() {
    let (small, list, dense) = (sketch_of(3, 1), sketch_of(2_000, 1), sketch_of(100_000, 1));
    let encoded = |sketch: &Sketch| {
        let mut bytes = Vec::new();
        sketch.encode(&mut bytes);
        bytes
    };
    let bytes = [encoded(&small), encoded(&list), encoded(&dense)];
    for (name, bytes) in ["3", "2,000", "100,000"].iter().zip(&bytes) {
        println!("{name:>7} visitors: {} bytes encoded", bytes.len());
    }

    let mut sum = sketch_of(50_000, 2);
    time("merge dense into dense", 100_000, || sum.merge(black_box(&dense)));
    time("merge 2,000 into dense", 20_000, || sum.merge(black_box(&list)));
    for (name, bytes) in ["3", "2,000", "100,000"].iter().zip(&bytes) {
        time(&format!("merge {name} encoded into dense"), 20_000, || {
            black_box(sum.merge_encoded(black_box(bytes)));
        });
    }
    let (one, other) = (sketch_of(1_000, 3), sketch_of(1_000, 9));
    time("clone 1,000 and merge 1,000 others", 20_000, || {
        let mut sum = black_box(&one).clone();
        sum.merge(black_box(&other));
        black_box(&sum);
    });
    time("decode 100,000", 20_000, || {
        black_box(Sketch::decode(black_box(&bytes[2])));
    });
    let mut out = Vec::new();
    time("encode 100,000", 20_000, || {
        out.clear();
        black_box(&dense).encode(&mut out);
    });
    time("estimate 2,000", 20_000, || {
        black_box(black_box(&list).estimate());
    });
    time("estimate dense", 20_000, || {
        black_box(black_box(&sum).estimate());
    });
    time("a year of 24 x 365 encoded, dense", 1, || {
        let mut year = Sketch::default();
        (0..24 * 365).for_each(|_| {
            black_box(year.merge_encoded(black_box(&bytes[2])));
        });
        black_box(year.estimate());
    });
    time("2,000 insertions into a list", 1_000, || {
        black_box(sketch_of(2_000, 4));
    });
    let mut visitor = 0_u64;
    time("1,000 insertions into registers", 10_000, || {
        for _ in 0..1_000 {
            visitor = visitor.wrapping_add(0x9E37_79B9_7F4A_7C15);
            sum.insert(mix(visitor));
        }
    });
}

fn main() {
    println!("     visitors  seeds  within 2 %    mean     spread    worst");
    for (n_visitors, n_seeds) in SWEEP {
        report(n_visitors, n_seeds);
    }
    if std::env::args().any(|argument| argument == "huge") {
        report(HUGE.0, HUGE.1);
    }
    costs();
}
