//! Warm start: hottest first, everything that fits behind, and what a complete table knows.

use std::sync::atomic::Ordering;

use super::store::{FakeClicks, FakeStore};
use super::*;
use crate::storage::{Replace, StorageErrorKind};

fn codes(n: u64) -> impl Iterator<Item = Link> {
    (0..n).map(|n| link(n + 1, &format!("code{n}")))
}

#[actix::test]
async fn the_hottest_are_in_when_warm_resolves_and_the_rest_follows() {
    let store = FakeStore::with(codes(3_500));
    let config = LinksConfig { warm_hottest: 100, ..config() };
    let table = start_with(&store, config, &FakeClicks::new()).await;
    let gate = store.hold_scans();
    let hottest = table.warm().await.unwrap();
    assert_eq!(hottest.links, 100);
    assert_eq!(total(&table, |shard| shard.entries).await, 100);
    gate.open();
    let all = table.warmed().await;
    assert_eq!((all.links, all.complete), (3_500, true));
    assert_eq!(served(&table, "code3499"), url("code3499"));
}

#[actix::test]
async fn a_complete_table_answers_unknown_codes_without_a_read() {
    let store = FakeStore::with(codes(50));
    let table = start(&store).await;
    table.warm().await.unwrap();
    assert!(table.warmed().await.complete);
    let fetches = store.n_fetches();
    for n in 0..10_000 {
        assert_eq!(loaded(&table, &format!("nobody{n}")).await, None);
    }
    assert_eq!(store.n_fetches(), fetches);
    assert_eq!(total(&table, |shard| shard.negative_entries).await, 0);

    table.create(vec![link(99, "nobody1")], None).await.unwrap();
    assert_eq!(loaded(&table, "nobody1").await, url("nobody1"));
}

#[actix::test]
async fn a_table_that_is_too_small_is_never_complete() {
    let store = FakeStore::with(codes(20_000));
    let config = LinksConfig { memory_max: Some(Size::mib(1)), ..config() };
    let table = start_with(&store, config, &FakeClicks::new()).await;
    table.warm().await.unwrap();
    let all = table.warmed().await;
    assert!(!all.complete && all.links > 4_000, "{all:?}");
    assert_eq!(table.shared.counts.evictions.get(), 0);
    assert!(store.scans.load(Ordering::SeqCst) < 15, "it stops reading when all is full");
    let over = table.inspect().await.into_iter().find(|s| s.bytes > s.bytes_max + 1_024);
    assert!(over.is_none(), "{over:?}");
    assert_eq!(loaded(&table, "code19999").await, url("code19999"));
}

#[actix::test]
async fn the_first_eviction_ends_completeness() {
    let store = FakeStore::with(codes(10));
    let config = LinksConfig { memory_max: Some(Size::mib(1)), shards: 1, ..config() };
    let table = start_with(&store, config, &FakeClicks::new()).await;
    table.warm().await.unwrap();
    assert!(table.warmed().await.complete);
    for batch in 1..15_u64 {
        let ids = batch * 1_000..(batch + 1) * 1_000;
        table.create(ids.map(|n| link(n, &format!("new{n}"))).collect(), None).await.unwrap();
    }
    assert!(!table.inspect().await.remove(0).complete);
    assert_eq!(loaded(&table, "code0").await, url("code0"));
}

#[actix::test]
async fn changes_during_the_scan_are_not_undone_by_it() {
    let links: Vec<Link> = codes(30).collect();
    let store = FakeStore::with(links.clone());
    let config = LinksConfig { warm_hottest: 0, ..config() };
    let table = start_with(&store, config, &FakeClicks::new()).await;
    let gate = store.hold_scans();
    table.warm().await.unwrap();
    // The scan has read everything as it was and waits to answer.
    until("the scan has read", || store.scans.load(Ordering::SeqCst) == 1).await;
    assert_eq!(table.replace(edited(&links[0], "v2"), None).await.unwrap(), Replace::Done);
    assert_eq!(table.replace(deleted(&links[1]), None).await.unwrap(), Replace::Done);
    let moved = Link { code: key("moved").code, ..edited(&links[2], "v2") };
    assert_eq!(table.relocate(links[2].key(), moved, Id(900), None).await.unwrap(), Replace::Done);
    table.create(vec![link(901, "new")], None).await.unwrap();
    gate.open();

    assert!(table.warmed().await.complete);
    assert_eq!(served(&table, "code0"), url("v2"));
    assert_eq!(loaded(&table, "code1").await, None);
    assert_eq!(loaded(&table, "code2").await, None);
    assert_eq!(served(&table, "moved"), url("v2"));
    assert_eq!(served(&table, "new"), url("new"));
    assert_eq!(served(&table, "code29"), url("code29"));
}

#[actix::test]
async fn deleted_links_are_not_loaded() {
    let store = FakeStore::with([deleted(&link(1, "gone")), link(2, "here")]);
    let table = start(&store).await;
    table.warm().await.unwrap();
    let all = table.warmed().await;
    assert_eq!((all.links, all.complete), (1, true));
}

#[actix::test]
async fn limited_links_wait_for_recovery_and_hold_up_nobody() {
    let clicks = FakeClicks::recovering();
    clicks.set(1, 4);
    let limited = Link { max_clicks: Some(10), ..link(1, "limited") };
    let store = FakeStore::with([limited, link(2, "free")]);
    let table = start_with(&store, config(), &clicks).await;
    assert_eq!(table.warm().await.unwrap().links, 1);
    assert_eq!(served(&table, "free"), url("free"));
    clicks.finish_recovery();
    assert!(table.warmed().await.complete);
    let left = table.read(DomainId::DEFAULT, b"limited", |link| {
        link.rare().unwrap().allowance.as_ref().unwrap().remaining()
    });
    assert_eq!(left, Some(6));
}

#[actix::test]
async fn a_store_that_is_down_at_the_start_is_an_error() {
    let store = FakeStore::with(codes(5));
    let table = start(&store).await;
    store.fail(Some(StorageErrorKind::Unavailable));
    assert!(table.warm().await.is_err());
    store.fail(None);
    assert!(table.warm().await.is_ok());
    assert!(table.warmed().await.complete);
}

#[actix::test]
async fn a_store_that_fails_during_the_scan_is_asked_again() {
    tokio::time::pause();
    let store = FakeStore::with(codes(2_500));
    let table =
        start_with(&store, LinksConfig { warm_hottest: 0, ..config() }, &FakeClicks::new()).await;
    table.warm().await.unwrap();
    until("the scan has begun", || store.scans.load(Ordering::SeqCst) >= 1).await;
    store.fail(Some(StorageErrorKind::Unavailable));
    tokio::time::sleep(Duration::from_secs(3)).await;
    store.fail(None);
    assert!(table.warmed().await.complete);
}
