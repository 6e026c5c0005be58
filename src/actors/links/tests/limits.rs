//! Click limits: allowances are built once and survive edits, moves and evictions.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::store::{FakeClicks, FakeStore};
use super::*;
use crate::actors::links::limits::Limits;
use crate::domain::hot::{Allowance, HotLink};
use crate::domain::time::Timestamp;
use crate::storage::{ImportedLink, Replace, StorageResult};

fn limited(id: u64, code: &str, max: u64) -> Link {
    Link { max_clicks: Some(max), ..link(id, code) }
}

fn allowance(table: &LinkTable, code: &str) -> Option<Arc<Allowance>> {
    let look = |link: &HotLink| link.rare().and_then(|rare| rare.allowance.clone());
    table.read(DomainId::DEFAULT, code.as_bytes(), look).flatten()
}

#[actix::test]
async fn a_limited_link_starts_with_what_is_left() {
    let clicks = FakeClicks::new();
    clicks.set(1, 7);
    let store = FakeStore::with([limited(1, "spring", 10), link(2, "free")]);
    let table = start_with(&store, config(), &clicks).await;
    loaded(&table, "spring").await;
    loaded(&table, "free").await;
    assert_eq!(allowance(&table, "spring").unwrap().remaining(), 3);
    assert!(allowance(&table, "free").is_none());
    assert_eq!(clicks.asked.load(Ordering::SeqCst), 1);

    table.create(vec![limited(3, "new", 5)], None).await.unwrap();
    assert_eq!(allowance(&table, "new").unwrap().remaining(), 5);
    assert_eq!(clicks.asked.load(Ordering::SeqCst), 1);
}

#[actix::test]
async fn an_imported_link_brings_its_clicks_along() {
    let store = FakeStore::new();
    let table = start(&store).await;
    let link = limited(1, "spring", 10);
    let row = ImportedLink {
        link,
        clicks: 4,
        last_clicked_at: None,
        foreign_sealed: false,
        series: None,
    };
    table.import([1; 16], [1; 32], vec![row], None).await.unwrap();
    assert_eq!(allowance(&table, "spring").unwrap().remaining(), 6);
}

#[actix::test]
async fn only_limited_links_wait_for_the_counters() {
    let clicks = FakeClicks::recovering();
    let store = FakeStore::with([limited(1, "spring", 10), link(2, "free")]);
    let table = start_with(&store, config(), &clicks).await;
    let limited = loaded(&table, "spring");
    let free = async {
        assert_eq!(loaded(&table, "free").await, url("free"));
        assert_eq!(served(&table, "spring"), None);
        clicks.finish_recovery();
    };
    assert_eq!(tokio::join!(limited, free).0, url("spring"));
}

#[actix::test]
async fn an_edit_keeps_the_clicks_that_were_drawn() {
    let store = FakeStore::new();
    let table = start(&store).await;
    let first = limited(1, "spring", 10);
    table.create(vec![first.clone()], None).await.unwrap();
    let before = allowance(&table, "spring").unwrap();
    (0..4).for_each(|_| assert!(before.draw()));

    let second = Link { max_clicks: Some(12), ..edited(&first, "v2") };
    assert_eq!(table.replace(second.clone(), None).await.unwrap(), Replace::Done);
    let after = allowance(&table, "spring").unwrap();
    assert!(Arc::ptr_eq(&before, &after));
    assert_eq!(after.remaining(), 8);

    let moved = Link { code: key("summer").code, ..edited(&second, "v3") };
    table.relocate(second.key(), moved, Id(9), None).await.unwrap();
    assert!(Arc::ptr_eq(&before, &allowance(&table, "summer").unwrap()));
}

#[actix::test]
async fn a_link_that_gets_a_limit_later_counts_its_clicks_so_far() {
    let clicks = FakeClicks::new();
    clicks.set(1, 20);
    let store = FakeStore::new();
    let table = start_with(&store, config(), &clicks).await;
    let first = link(1, "spring");
    table.create(vec![first.clone()], None).await.unwrap();
    let second = Link { max_clicks: Some(25), ..edited(&first, "v2") };
    table.replace(second.clone(), None).await.unwrap();
    assert_eq!(allowance(&table, "spring").unwrap().remaining(), 5);
    let third = Link { max_clicks: None, ..edited(&second, "v3") };
    table.replace(third, None).await.unwrap();
    assert!(allowance(&table, "spring").is_none());
}

#[actix::test]
async fn eviction_gives_no_click_twice() {
    let config = LinksConfig { memory_max: Some(Size::mib(1)), shards: 1, ..config() };
    let store = FakeStore::new();
    let table = start_with(&store, config, &FakeClicks::new()).await;
    table.create(vec![limited(1, "spring", 10)], None).await.unwrap();
    let before = allowance(&table, "spring").unwrap();
    (0..9).for_each(|_| assert!(before.draw()));
    for batch in 1..25_u64 {
        let ids = batch * 1_000..(batch + 1) * 1_000;
        table.create(ids.map(|n| link(n, &format!("c{n}"))).collect(), None).await.unwrap();
    }
    assert!(allowance(&table, "spring").is_none(), "it was evicted");
    loaded(&table, "spring").await;
    // The counters know of no click yet: only the kept allowance does.
    assert_eq!(allowance(&table, "spring").unwrap().remaining(), 1);
}

#[test]
fn the_same_edit_twice_moves_the_allowance_once() {
    let limits = Limits::default();
    let allowance = limits.start(&limited(1, "spring", 10), 10, 4);
    assert_eq!(allowance.remaining(), 6);
    assert!(limits.share(Id(1), 2, 12).is_some());
    assert!(limits.share(Id(1), 2, 12).is_some());
    assert!(limits.share(Id(1), 1, 10).is_some());
    assert_eq!(allowance.remaining(), 8);
}

#[test]
fn an_older_version_does_not_end_a_limit() {
    let limits = Limits::default();
    limits.start(&Link { version: 5, ..limited(1, "spring", 10) }, 10, 0);
    limits.end(Id(1), 4);
    assert!(limits.share(Id(1), 5, 10).is_some());
    limits.end(Id(1), 6);
    assert!(limits.share(Id(1), 7, 10).is_none());
}

#[actix::test]
async fn limits_of_evicted_links_do_not_pile_up() {
    let config = LinksConfig { memory_max: Some(Size::mib(1)), shards: 1, ..config() };
    let store = FakeStore::new();
    let table = start_with(&store, config, &FakeClicks::new()).await;
    for batch in 0..30_u64 {
        let ids = batch * 1_000..(batch + 1) * 1_000;
        table
            .create(ids.map(|n| limited(n + 1, &format!("c{n}"), 5)).collect(), None)
            .await
            .unwrap();
    }
    let (limits, links) = (table.shared.limits.len(), total(&table, |shard| shard.entries).await);
    assert!(links < 5_000 && limits < 2 * links + 2_000, "{limits} limits of {links} links");
    let kept = (0..30_000).filter(|n| allowance(&table, &format!("c{n}")).is_some()).count();
    assert_eq!(kept, links, "none in memory lost its own");
}

#[test]
fn a_link_that_is_loaded_twice_at_once_has_one_allowance() {
    const LINKS: u64 = 20_000;
    let limits = Limits::default();
    let arrived = AtomicU64::new(0);
    let start = || {
        let one = |id| {
            // Both begin each link at the same moment, as nearly as two threads can.
            arrived.fetch_add(1, Ordering::SeqCst);
            while arrived.load(Ordering::SeqCst) < 2 * id {
                std::thread::yield_now();
            }
            limits.start(&limited(id, "spring", 10), 10, 4)
        };
        (1..=LINKS).map(one).collect::<Vec<_>>()
    };
    let (first, second) = std::thread::scope(|scope| {
        let (first, second) = (scope.spawn(start), scope.spawn(start));
        (first.join().unwrap(), second.join().unwrap())
    });
    let twice = first.iter().zip(&second).filter(|(one, other)| !Arc::ptr_eq(one, other)).count();
    assert_eq!(twice, 0, "links with two allowances");
}

/// What several nodes take from.
#[derive(Default)]
struct FakeGrants {
    granted: Mutex<HashMap<Id, u64>>,
    asked: AtomicUsize,
}

#[async_trait]
impl GrantStore for FakeGrants {
    async fn granted(&self, link: Id) -> StorageResult<Option<u64>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        // So that others come in between.
        tokio::task::yield_now().await;
        Ok(self.granted.lock().unwrap().get(&link).copied())
    }

    async fn grant(&self, link: Id, from: Option<u64>, to: u64) -> StorageResult<bool> {
        let mut granted = self.granted.lock().unwrap();
        let is_same = granted.get(&link).copied() == from;
        if is_same {
            granted.insert(link, to);
        }
        Ok(is_same)
    }
}

const NOW: Timestamp = Timestamp(1_000_000);

/// Nodes with one store, of which each has loaded `spring`.
async fn nodes(grants: &Arc<FakeGrants>, max: u64, clicked: u64) -> Vec<LinkTable> {
    let store = FakeStore::with([limited(1, "spring", max)]);
    let clicks = FakeClicks::new();
    clicks.set(1, clicked);
    let mut nodes = Vec::new();
    for _ in 0..3 {
        let shared = Some(Arc::clone(grants) as _);
        let table = start_sharing(&store, config(), &clicks, shared).await;
        loaded(&table, "spring").await;
        nodes.push(table);
    }
    nodes
}

/// Visits until none is let pass any more; answers how many were.
async fn visit_all(table: &LinkTable, at: Timestamp) -> u64 {
    let allowance = allowance(table, "spring").unwrap();
    let mut n_passed = 0;
    loop {
        while allowance.draw() {
            n_passed += 1;
            tokio::task::yield_now().await;
        }
        if allowance.is_spent(at) {
            return n_passed;
        }
        table.replenish(Id(1), at).await.unwrap();
    }
}

#[actix::test]
async fn nodes_together_pass_on_exactly_what_a_link_may_take() {
    for (max, clicked) in [(1, 0), (10, 0), (1_000, 7), (5, 9)] {
        let grants = Arc::new(FakeGrants::default());
        let nodes = nodes(&grants, max, clicked).await;
        let visits = nodes.iter().map(|node| visit_all(node, NOW));
        let passed: u64 = futures_util::future::join_all(visits).await.iter().sum();
        assert_eq!(passed, max.saturating_sub(clicked), "{max} {clicked}");
    }
}

#[actix::test]
async fn many_who_wait_on_one_node_ask_once_for_all() {
    let grants = Arc::new(FakeGrants::default());
    let nodes = nodes(&grants, 400, 0).await;
    let allowance = allowance(&nodes[0], "spring").unwrap();
    let visit = || async {
        while !allowance.draw() {
            nodes[0].replenish(Id(1), NOW).await.unwrap();
        }
    };
    futures_util::future::join_all((0..300).map(|_| visit())).await;
    let n_asked = grants.asked.load(Ordering::SeqCst);
    assert!(n_asked <= 4, "{n_asked}");
}

#[actix::test]
async fn what_a_node_did_not_use_others_get_when_it_stops() {
    let grants = Arc::new(FakeGrants::default());
    let nodes = nodes(&grants, 100, 0).await;
    nodes[0].replenish(Id(1), NOW).await.unwrap();
    let passed = visit_all(&nodes[1], NOW).await;
    assert!(passed < 100, "the first node has a part");
    nodes[0].stop().await;
    // What is known of it does not hold for ever.
    let later = NOW.plus_millis(1_001);
    assert_eq!(passed + visit_all(&nodes[1], later).await, 100);
}

#[actix::test]
async fn a_limit_that_is_lowered_leaves_no_node_with_more() {
    let grants = Arc::new(FakeGrants::default());
    let nodes = nodes(&grants, 100, 0).await;
    nodes[0].replenish(Id(1), NOW).await.unwrap();
    let part = allowance(&nodes[0], "spring").unwrap().remaining();
    assert!(part > 2);
    let lowered = Link { max_clicks: Some(2), ..edited(&limited(1, "spring", 100), "v2") };
    nodes[0].replace(lowered, None).await.unwrap();
    let back = || grants.granted.lock().unwrap().get(&Id(1)) == Some(&0);
    until("the part is given back", back).await;
    assert_eq!(visit_all(&nodes[0], NOW).await, 2);
}

#[actix::test]
async fn erased_clicks_may_be_taken_again_by_all() {
    let grants = Arc::new(FakeGrants::default());
    let nodes = nodes(&grants, 5, 0).await;
    assert_eq!(visit_all(&nodes[0], NOW).await, 5);
    assert_eq!(visit_all(&nodes[1], NOW).await, 0);
    nodes[0].refill(Id(1)).await.unwrap();
    assert_eq!(visit_all(&nodes[1], NOW).await, 0, "for a second it believes what it knows");
    assert_eq!(visit_all(&nodes[1], NOW.plus_millis(1_001)).await, 5);
}

#[actix::test]
async fn a_node_that_has_parts_counts_nothing_when_it_starts() {
    let (grants, clicks) = (Arc::new(FakeGrants::default()), FakeClicks::recovering());
    let store = FakeStore::with([limited(1, "spring", 10), link(2, "free")]);
    let table = start_sharing(&store, config(), &clicks, Some(grants)).await;
    table.warm().await.unwrap();
    assert_eq!(table.warmed().await.links, 2);
    assert_eq!(clicks.asked.load(Ordering::SeqCst), 0);
    assert!(allowance(&table, "spring").is_some());
}
