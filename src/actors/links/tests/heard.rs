//! What other nodes change: taken over from the store, and never older than what was heard.

use std::sync::atomic::{AtomicU64, Ordering};

use super::store::FakeStore;
use super::*;
use crate::actors::changes::{Coherence, watch};
use crate::domain::time::SteadyClock;
use crate::storage::StorageErrorKind;
use crate::storage::feed::LinkChange;

fn change(code: &str, version: Option<u32>) -> [LinkChange; 1] {
    [LinkChange { key: key(code), version }]
}

/// A table that has loaded the link at `spring`.
async fn holding(store: &Arc<FakeStore>) -> LinkTable {
    let table = start(store).await;
    assert_eq!(loaded(&table, "spring").await, url("spring"));
    table
}

#[actix::test]
async fn what_changed_elsewhere_is_taken_over_and_served_as_it_was_until_then() {
    let first = link(1, "spring");
    let store = FakeStore::with([first.clone()]);
    let table = holding(&store).await;
    store.put(edited(&first, "v2"));
    let gate = store.hold_fetches();
    table.heard(&change("spring", Some(2))).await;
    until("the store is asked", || store.n_fetches() == 2).await;
    assert_eq!(served(&table, "spring"), url("spring"));
    gate.open();
    until("it is taken over", || served(&table, "spring") == url("v2")).await;
}

#[actix::test]
async fn what_is_known_already_is_not_asked_for() {
    let first = link(1, "spring");
    let store = FakeStore::with([first.clone()]);
    let table = holding(&store).await;
    table.replace(edited(&first, "v2"), None).await.unwrap();
    for version in [1, 2] {
        table.heard(&change("spring", Some(version))).await;
    }
    // Of codes that are not in memory nothing needs to be known.
    table.heard(&change("winter", Some(9))).await;
    table.heard(&change("autumn", None)).await;
    assert_eq!(total(&table, |shard| shard.in_flight).await, 0);
    assert_eq!(store.n_fetches(), 1);
}

#[actix::test]
async fn a_change_on_its_way_is_asked_for_each_time_it_is_told() {
    let first = link(1, "spring");
    let store = FakeStore::with([first.clone()]);
    let table = holding(&store).await;
    table.heard(&change("spring", None)).await;
    until("the store is asked", || store.n_fetches() == 2).await;
    store.put(edited(&first, "v2"));
    table.heard(&change("spring", None)).await;
    until("it is taken over", || served(&table, "spring") == url("v2")).await;
}

#[actix::test]
async fn a_load_that_began_before_is_made_again() {
    let first = link(1, "spring");
    let store = FakeStore::with([first.clone()]);
    let table = start(&store).await;
    let gate = store.hold_fetches();
    let load = loaded(&table, "spring");
    let elsewhere = async {
        until("the load is under way", || store.n_fetches() == 1).await;
        store.put(edited(&first, "v2"));
        table.heard(&change("spring", Some(2))).await;
        gate.open();
    };
    assert_eq!(tokio::join!(load, elsewhere).0, url("v2"));
    assert_eq!(store.n_fetches(), 2);
}

#[actix::test]
async fn a_code_that_was_unknown_is_asked_for_again() {
    let store = FakeStore::new();
    let table = start(&store).await;
    assert_eq!(loaded(&table, "spring").await, None);
    store.put(link(1, "spring"));
    assert_eq!(loaded(&table, "spring").await, None, "nobody told");
    table.heard(&change("spring", Some(1))).await;
    assert_eq!(loaded(&table, "spring").await, url("spring"));
}

#[actix::test]
async fn what_was_deleted_elsewhere_is_gone() {
    let first = link(1, "spring");
    let store = FakeStore::with([first.clone()]);
    let table = holding(&store).await;
    store.put(deleted(&first));
    table.heard(&change("spring", Some(2))).await;
    until("it is gone", || served(&table, "spring").is_none()).await;
    assert_eq!(loaded(&table, "spring").await, None);
}

#[actix::test(start_paused = true)]
async fn a_store_that_is_gone_is_asked_until_it_tells() {
    let first = link(1, "spring");
    let store = FakeStore::with([first.clone()]);
    let table = holding(&store).await;
    store.put(edited(&first, "v2"));
    store.fail(Some(StorageErrorKind::Unavailable));
    table.heard(&change("spring", Some(2))).await;
    let asked = store.n_fetches();
    while store.n_fetches() < asked + 20 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(served(&table, "spring"), url("spring"), "the last that is known");
    store.fail(None);
    while served(&table, "spring") != url("v2") {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[actix::test]
async fn what_was_given_up_is_loaded_again_when_it_is_asked_for() {
    let first = link(1, "spring");
    let store = FakeStore::with([first.clone(), link(2, "a-code-longer-than-eleven")]);
    let table = holding(&store).await;
    assert_eq!(loaded(&table, "a-code-longer-than-eleven").await, url("a-code-longer-than-eleven"));
    store.put(edited(&first, "v2"));
    table.forget_all().await;
    assert_eq!(total(&table, |shard| shard.entries).await, 0);
    assert_eq!(total(&table, |shard| shard.bytes).await, 0);
    assert_eq!(loaded(&table, "spring").await, url("v2"));
}

#[actix::test]
async fn a_node_that_hears_nothing_serves_what_it_knows_for_a_while_and_says_so() {
    let store = FakeStore::with([link(1, "spring")]);
    let table = holding(&store).await;
    let hand = Arc::new(Hand::default());
    let coherence = Arc::new(Coherence::new(Arc::clone(&hand) as _));
    actix_rt::spawn(watch(Arc::clone(&coherence), table.clone(), Duration::from_secs(60)));
    store.fail(Some(StorageErrorKind::Unavailable));
    hand.0.store(59_000, Ordering::Relaxed);
    until("it is known to hear nothing", || table.may_be_stale()).await;
    assert_eq!(served(&table, "spring"), url("spring"));

    hand.0.store(61_000, Ordering::Relaxed);
    let gone = || table.read(DomainId::DEFAULT, b"spring", |_| ()).is_none();
    until("it is given up", gone).await;
    assert!(table.load(key("spring"), |_| ()).await.is_err());
}

/// A clock that a test moves.
#[derive(Default)]
struct Hand(AtomicU64);

impl SteadyClock for Hand {
    fn elapsed_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
