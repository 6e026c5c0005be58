//! Ids that are never made twice, whatever the clock does.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{HandClock, NOON, Nodes};
use crate::domain::id::{Id, IdError};
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

#[tokio::test]
async fn a_restart_on_a_clock_that_went_back_repeats_nothing() {
    let (store, clock) = (Nodes::new(), HandClock::at(NOON));
    let mut newest = Id(0);
    for restart in 0..5 {
        // Every process finds the clock behind the one before.
        clock.set(NOON - restart * 500);
        let ids = open(1, &store, &clock).await;
        for _ in 0..100 {
            let id = ids.next().await.unwrap();
            assert!(id > newest);
            newest = id;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_far_behind_is_waited_for_and_then_given_up() {
    let (store, clock) = (Nodes::new(), HandClock::at(NOON));
    let ids = Arc::new(open(1, &store, &clock).await);
    let before = ids.next().await.unwrap();
    clock.set(NOON - 3_600_000);
    let started = tokio::time::Instant::now();
    let refused = ids.next().await.unwrap_err();
    let generator = IdError::ClockBehind { behind_ms: 3_600_000 };
    assert!(matches!(refused, IdSourceError::Generator(error) if error == generator), "{refused}");
    assert!(started.elapsed() >= Duration::from_secs(3));

    let waiting = tokio::spawn({
        let ids = Arc::clone(&ids);
        async move { ids.next().await.unwrap() }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!waiting.is_finished());
    clock.set(NOON + 1);
    assert!(waiting.await.unwrap() > before);
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
    let refused = ids.next().await.unwrap_err();
    assert!(matches!(refused, IdSourceError::Generator(IdError::Exhausted)), "{refused}");
    clock.set(NOON + 1);
    assert!(ids.next().await.unwrap() > newest);
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
