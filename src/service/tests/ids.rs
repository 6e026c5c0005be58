//! Ids that are never made twice, whatever the clock does.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{HandClock, NOON, Nodes};
use crate::domain::id::Id;
use crate::domain::time::Timestamp;
use crate::service::ids::{IdSource, IdSourceError};
use crate::storage::NodeStore;

async fn open(node: u16, store: &Arc<Nodes>, clock: &Arc<HandClock>) -> IdSource {
    IdSource::open(node, Arc::clone(store) as _, Arc::clone(clock) as _).await.unwrap()
}

fn node_of(id: Id) -> u64 {
    id.0 >> 12 & 1_023
}

#[tokio::test]
async fn every_id_lies_below_the_mark_that_the_store_holds() {
    let (store, clock) = (Nodes::new(), HandClock::at(NOON));
    let ids = open(1, &store, &clock).await;
    for step in 0..5_000 {
        clock.set(NOON + step);
        let id = ids.next().await.unwrap();
        assert!(id.created_at() < store.clock_mark(1).await.unwrap());
    }
    // The mark is put a second ahead: five seconds of ids take a handful of writes.
    let n_raises = store.n_raises.load(Ordering::Relaxed);
    assert!((5..=6).contains(&n_raises), "{n_raises} writes");
}

#[tokio::test]
async fn nothing_is_written_while_no_id_is_asked_for() {
    let (store, clock) = (Nodes::new(), HandClock::at(NOON));
    let ids = open(1, &store, &clock).await;
    assert_eq!(store.n_raises.load(Ordering::Relaxed), 0);
    ids.next().await.unwrap();
    assert_eq!(store.n_raises.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn nodes_never_share_an_id_and_carry_their_number() {
    let (store, clock) = (Nodes::new(), HandClock::at(NOON));
    let mut seen = HashSet::new();
    for node in [0, 1, 513, 1_023] {
        let ids = open(node, &store, &clock).await;
        for _ in 0..1_000 {
            let id = ids.next().await.unwrap();
            assert_eq!(node_of(id), u64::from(node));
            assert!(seen.insert(id));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_stops_nothing_and_repeats_nothing() {
    const HOUR: i64 = 3_600_000;
    let (store, clock) = (Nodes::new(), HandClock::at(NOON));
    let mut seen = HashSet::new();
    let mut newest = Id(0);
    // Each time is that of a process of its own, which then has the clock set back under it.
    for begin in [0, -HOUR, 24 * HOUR, -24 * HOUR, -NOON, 500, 400] {
        clock.set(NOON + begin);
        let ids = open(1, &store, &clock).await;
        for step in [0, -1, -500, -HOUR] {
            clock.set(NOON + begin + step);
            let before = tokio::time::Instant::now();
            for _ in 0..100 {
                let id = ids.next().await.unwrap();
                assert!(id > newest && seen.insert(id));
                assert!(id.created_at() < store.inner.clock_mark(1).await.unwrap());
                newest = id;
            }
            assert_eq!(before.elapsed(), Duration::ZERO, "nobody waits for the clock");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn more_ids_than_a_moment_holds_wait_for_the_next_one() {
    let (store, clock) = (Nodes::new(), HandClock::at(NOON));
    let ids = open(1, &store, &clock).await;
    let mut newest = Id(0);
    // 4,096 a millisecond, and ten milliseconds ahead of the clock.
    for _ in 0..4_096 * 11 {
        let id = ids.next().await.unwrap();
        assert!(id > newest);
        newest = id;
    }
    // The clock stands still, but time passes: the next one is there within a few milliseconds.
    let asked_at = tokio::time::Instant::now();
    let next = ids.next().await.unwrap();
    assert!(next > newest);
    assert_eq!(asked_at.elapsed(), Duration::from_millis(5));
    let newest = next;
    assert!(newest.created_at() < store.clock_mark(1).await.unwrap());
}

#[tokio::test]
async fn no_id_is_given_out_that_the_store_does_not_cover() {
    let (store, clock) = (Nodes::new(), HandClock::at(NOON));
    let ids = open(1, &store, &clock).await;
    store.switch(true);
    let refused = ids.next().await.unwrap_err();
    assert!(matches!(refused, IdSourceError::Storage(_)), "{refused}");
    store.switch(false);
    let first = ids.next().await.unwrap();
    store.switch(true);
    // Covered by the mark that is there.
    clock.set(NOON + 500);
    assert!(ids.next().await.unwrap() > first);
    clock.set(NOON + 5_000);
    assert!(ids.next().await.is_err());
    assert_eq!(store.inner.clock_mark(1).await.unwrap(), Timestamp(NOON + 1_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_at_the_same_time_get_different_ids() {
    let (store, clock) = (Nodes::new(), HandClock::at(NOON));
    let ids = Arc::new(open(1, &store, &clock).await);
    let takers: Vec<_> = (0..8)
        .map(|_| {
            let ids = Arc::clone(&ids);
            tokio::spawn(async move {
                let mut taken = Vec::new();
                for _ in 0..2_000 {
                    taken.push(ids.next().await.unwrap());
                }
                taken
            })
        })
        .collect();
    let mut seen = HashSet::new();
    for taker in takers {
        seen.extend(taker.await.unwrap());
    }
    assert_eq!(seen.len(), 16_000);
}
