//! A shard that panics is back at once, with its slice.

use std::sync::atomic::Ordering;

use actix::{Context, Handler, Message};

use super::store::{FakeClicks, FakeStore};
use super::*;
use crate::actors::links::LoadError;
use crate::actors::links::shard::LinkShard;
use crate::storage::Replace;

/// Makes a shard panic.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Blow;

impl Handler<Blow> for LinkShard {
    type Result = ();

    fn handle(&mut self, _blow: Blow, ctx: &mut Context<Self>) {
        self.guarded::<()>(ctx, |_shard| panic!("told to panic"));
    }
}

fn one_shard() -> LinksConfig {
    LinksConfig { shards: 1, ..config() }
}

#[actix::test]
async fn a_shard_that_panicked_keeps_its_slice_and_goes_on() {
    let store = FakeStore::with([link(1, "cold")]);
    let table = start_with(&store, one_shard(), &FakeClicks::new()).await;
    let links: Vec<_> = (2..500).map(|n| link(n, &format!("warm{n}"))).collect();
    table.create(links, None).await.unwrap();
    let before = table.inspect().await.remove(0);

    for _ in 0..8 {
        table.shared.addr(0).send(Blow).await.unwrap();
    }
    let after = table.inspect().await.remove(0);
    assert_eq!((after.entries, after.bytes), (before.entries, before.bytes));
    assert_eq!(after.restarts, 8);
    assert_eq!(table.shared.counts.restarts.get(), 8);
    assert_eq!(served(&table, "warm2"), url("warm2"));
    assert_eq!(loaded(&table, "cold").await, url("cold"));
    table.create(vec![link(1_000, "later")], None).await.unwrap();
    assert_eq!(served(&table, "later"), url("later"));
    assert_eq!(table.shared.counts.in_memory.get(), 500);
}

#[actix::test]
async fn those_who_wait_get_an_error_and_writes_under_way_still_land() {
    let (cold, edited_link) = (link(1, "cold"), link(2, "spring"));
    let store = FakeStore::with([cold, edited_link.clone()]);
    let table = start_with(&store, one_shard(), &FakeClicks::new()).await;
    assert_eq!(loaded(&table, "spring").await, url("spring"));
    let (fetches, writes) = (store.hold_fetches(), store.hold_writes());
    let load = table.load(key("cold"), |_| ());
    let write = table.replace(edited(&edited_link, "v2"), None);
    let blow = async {
        until("the load is under way", || store.n_fetches() == 2).await;
        table.shared.addr(0).send(Blow).await.unwrap();
        writes.open();
    };
    let (seen, answer, ()) = tokio::join!(load, write, blow);
    assert!(matches!(seen, Err(LoadError::Storage(_))));
    assert_eq!(answer.unwrap(), Replace::Done);
    assert_eq!(served(&table, "spring"), url("v2"));
    fetches.open();
    assert_eq!(loaded(&table, "cold").await, url("cold"));
}

#[actix::test]
async fn a_miss_is_not_an_absence_after_a_panic() {
    let store = FakeStore::new();
    let table = start_with(&store, one_shard(), &FakeClicks::new()).await;
    table.warm().await.unwrap();
    assert!(table.warmed().await.complete);
    table.shared.addr(0).send(Blow).await.unwrap();
    store.put(link(1, "spring"));
    assert_eq!(loaded(&table, "spring").await, url("spring"));
}

#[actix::test]
async fn a_store_that_panics_is_an_error_for_those_who_wait() {
    let store = FakeStore::with([link(1, "spring")]);
    let table = start_with(&store, one_shard(), &FakeClicks::new()).await;
    store.panics.store(true, Ordering::SeqCst);
    let seen = table.load(key("spring"), |_| ()).await;
    assert!(matches!(seen, Err(LoadError::Storage(_))));
    assert_eq!(loaded(&table, "spring").await, url("spring"));
    assert_eq!(table.inspect().await.remove(0).restarts, 0);
}

#[actix::test]
async fn a_load_begun_after_a_panic_does_not_undo_a_deletion_begun_before() {
    let spring = link(1, "spring");
    let store = FakeStore::with([spring.clone()]);
    // Nothing remembers the deletion but the load under way.
    let config = LinksConfig { negative_max: 0, ..one_shard() };
    let table = start_with(&store, config, &FakeClicks::new()).await;
    let (fetches, writes) = (store.hold_fetches(), store.hold_writes());
    let deletion = async {
        assert_eq!(table.replace(deleted(&spring), None).await.unwrap(), Replace::Done);
        fetches.open();
    };
    let visit = async {
        until("the deletion is under way", || store.n_writes() == 1).await;
        table.shared.addr(0).send(Blow).await.unwrap();
        let load = table.load(key("spring"), |_| ());
        let go_on = async {
            until("the link was read", || store.n_fetches() == 1).await;
            writes.open();
        };
        tokio::join!(load, go_on).0
    };
    let ((), seen) = tokio::join!(deletion, visit);
    assert!(seen.unwrap().is_none(), "the deleted link was loaded");
    assert_eq!(served(&table, "spring"), None);
}
