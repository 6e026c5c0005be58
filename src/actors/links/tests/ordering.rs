//! Changes: in order per code, live when answered, and never undone by something older.

use std::sync::atomic::Ordering;

use futures_util::FutureExt;

use super::store::FakeStore;
use super::*;
use crate::actors::links::LoadError;
use crate::actors::links::key::Key;
use crate::actors::links::messages::{Adopt, Fresh, State};
use crate::domain::hot::HotLink;
use crate::storage::{Claim, Replace, StorageErrorKind};

#[actix::test]
async fn an_edit_is_served_when_it_is_answered() {
    let store = FakeStore::new();
    let table = start(&store).await;
    let first = link(1, "spring");
    table.create(vec![first.clone()], None).await.unwrap();
    let second = edited(&first, "v2");
    assert_eq!(table.replace(second.clone(), None).await.unwrap(), Replace::Done);
    assert_eq!(served(&table, "spring"), url("v2"));
    assert_eq!(table.replace(second, None).await.unwrap(), Replace::Stale);
    assert_eq!(served(&table, "spring"), url("v2"));
}

#[actix::test]
async fn a_slow_load_does_not_undo_an_edit() {
    let first = link(1, "spring");
    let store = FakeStore::with([first.clone()]);
    let table = start(&store).await;
    let gate = store.hold_fetches();
    let load = loaded(&table, "spring");
    let edit = async {
        until("the load is under way", || store.n_fetches() == 1).await;
        let second = edited(&first, "v2");
        let write = table.replace(second, None);
        let open = async { gate.open() };
        assert_eq!(tokio::join!(write, open).0.unwrap(), Replace::Done);
        assert_eq!(served(&table, "spring"), url("v2"));
    };
    tokio::join!(load, edit);
    assert_eq!(served(&table, "spring"), url("v2"));
    assert_eq!(store.n_fetches(), 1);
}

#[actix::test]
async fn a_creation_beats_a_load_that_found_nothing() {
    let store = FakeStore::new();
    let table = start(&store).await;
    let gate = store.hold_fetches();
    let load = loaded(&table, "spring");
    let create = async {
        until("the load is under way", || store.n_fetches() == 1).await;
        assert_eq!(table.create(vec![link(1, "spring")], None).await.unwrap(), [Claim::Won]);
        assert_eq!(served(&table, "spring"), url("spring"));
        gate.open();
    };
    let (seen, ()) = tokio::join!(load, create);
    assert_eq!(seen, url("spring"));
    assert_eq!(served(&table, "spring"), url("spring"));
    assert_eq!(total(&table, |shard| shard.negative_entries).await, 0);
}

#[actix::test]
async fn a_creation_beats_a_remembered_absence() {
    let store = FakeStore::new();
    let table = start(&store).await;
    assert_eq!(loaded(&table, "spring").await, None);
    table.create(vec![link(1, "spring")], None).await.unwrap();
    assert_eq!(served(&table, "spring"), url("spring"));
    assert_eq!(loaded(&table, "spring").await, url("spring"));
    assert_eq!(store.n_fetches(), 1);
}

#[actix::test]
async fn a_deleted_link_is_unknown_and_costs_no_further_reads() {
    let first = link(1, "spring");
    let store = FakeStore::with([first.clone()]);
    let table = start(&store).await;
    assert_eq!(loaded(&table, "spring").await, url("spring"));
    assert_eq!(table.replace(deleted(&first), None).await.unwrap(), Replace::Done);
    assert_eq!(served(&table, "spring"), None);
    assert_eq!(loaded(&table, "spring").await, None);
    assert_eq!(store.n_fetches(), 1);
    assert_eq!(total(&table, |shard| shard.entries + shard.bytes).await, 0);
}

#[actix::test]
async fn edits_of_one_code_run_one_after_the_other() {
    let first = link(1, "spring");
    let store = FakeStore::with([first.clone()]);
    let table = start(&store).await;
    let versions: Vec<Link> = (2..=20)
        .map(|version| Link {
            version,
            destination: target(&format!("v{version}")),
            ..first.clone()
        })
        .collect();
    let writes = versions.into_iter().map(|version| table.replace(version, None));
    let answers = futures_util::future::join_all(writes).await;
    assert!(answers.iter().all(|answer| matches!(answer, Ok(Replace::Done))));
    assert_eq!(served(&table, "spring"), url("v20"));
    assert_eq!(total(&table, |shard| shard.in_flight + shard.waiting).await, 0);
}

#[actix::test]
async fn a_slow_write_does_not_hold_up_other_codes() {
    let (slow, other) = (link(1, "slow"), link(2, "other"));
    let store = FakeStore::with([slow.clone(), other]);
    let table = start(&store).await;
    let gate = store.hold_writes();
    let write = table.replace(edited(&slow, "v2"), None);
    let visit = async {
        assert_eq!(loaded(&table, "other").await, url("other"));
        gate.open();
    };
    let (answer, ()) = tokio::join!(write, visit);
    assert_eq!(answer.unwrap(), Replace::Done);
}

#[actix::test]
async fn a_write_goes_on_when_its_caller_is_gone() {
    let first = link(1, "spring");
    let store = FakeStore::with([first.clone()]);
    let table = start(&store).await;
    let gate = store.hold_writes();
    for write in
        [table.replace(edited(&first, "v2"), None), table.replace(edited(&first, "late"), None)]
    {
        let mut write = Box::pin(write);
        assert!(write.as_mut().now_or_never().is_none());
    }
    let mut create = Box::pin(table.create(vec![link(2, "summer")], None));
    assert!(create.as_mut().now_or_never().is_none());
    drop(create);
    gate.open();
    table.stop().await;
    assert_eq!(served(&table, "spring"), url("v2"));
    assert_eq!(served(&table, "summer"), url("summer"));
}

#[actix::test]
async fn a_moved_link_is_served_at_its_new_code_only() {
    // Both kinds of keys, and almost surely different owners among so many.
    for n in 1..=20 {
        let from = format!("from{n}");
        let to = if n % 2 == 0 { format!("to{n}") } else { format!("to-a-much-longer-code-{n}") };
        let first = link(n, &from);
        let store = FakeStore::with([first.clone()]);
        let table = start(&store).await;
        assert_eq!(loaded(&table, &from).await, url(&from));
        assert_eq!(loaded(&table, &to).await, None);
        let moved = Link { code: key(&to).code, ..edited(&first, "v2") };
        let answer = table.relocate(first.key(), moved, Id(1_000 + n), None).await.unwrap();
        assert_eq!(answer, Replace::Done);
        assert_eq!(served(&table, &from), None);
        assert_eq!(served(&table, &to), url("v2"));
        let fetches = store.n_fetches();
        assert_eq!(loaded(&table, &from).await, None);
        assert_eq!(store.n_fetches(), fetches);
    }
}

#[actix::test]
async fn an_edit_whose_answer_was_lost_is_found_out() {
    let first = link(1, "spring");
    let store = FakeStore::with([first.clone()]);
    let table = start(&store).await;
    assert_eq!(loaded(&table, "spring").await, url("spring"));
    store.loses_answer.store(true, Ordering::SeqCst);
    let unknown = table.replace(edited(&first, "v2"), None).await;
    assert!(matches!(unknown, Err(LoadError::Storage(_))));
    until("the store was asked", || served(&table, "spring") == url("v2")).await;
}

#[actix::test]
async fn a_creation_whose_answer_was_lost_is_loaded_even_by_a_complete_table() {
    let store = FakeStore::new();
    let table = start(&store).await;
    table.warm().await.unwrap();
    assert!(table.warmed().await.complete);
    store.loses_answer.store(true, Ordering::SeqCst);
    assert!(table.create(vec![link(1, "spring")], None).await.is_err());
    assert_eq!(loaded(&table, "spring").await, url("spring"));
}

#[actix::test]
async fn a_move_whose_answer_was_lost_is_found_out() {
    let first = link(1, "from");
    let store = FakeStore::with([first.clone()]);
    let table = start(&store).await;
    assert_eq!(loaded(&table, "from").await, url("from"));
    assert_eq!(loaded(&table, "to").await, None);
    store.loses_answer.store(true, Ordering::SeqCst);
    let moved = Link { code: key("to").code, ..edited(&first, "v2") };
    assert!(table.relocate(first.key(), moved, Id(9), None).await.is_err());
    until("the old code is gone", || served(&table, "from").is_none()).await;
    assert_eq!(loaded(&table, "to").await, url("v2"));
}

#[actix::test]
async fn a_store_that_refuses_an_edit_leaves_the_old_state_served() {
    let first = link(1, "spring");
    let store = FakeStore::with([first.clone()]);
    let table = start(&store).await;
    assert_eq!(loaded(&table, "spring").await, url("spring"));
    store.fail(Some(StorageErrorKind::Unavailable));
    assert!(table.replace(edited(&first, "v2"), None).await.is_err());
    assert_eq!(served(&table, "spring"), url("spring"));
}

#[actix::test]
async fn a_late_message_does_not_bring_a_deleted_link_back() {
    let (first, long) = (link(1, "spring"), link(2, "a-long-code-of-a-link"));
    let store = FakeStore::with([first.clone(), long.clone()]);
    let table = start(&store).await;
    for link in [first, long] {
        table.replace(deleted(&link), None).await.unwrap();
        let key = Key::from(&link.key());
        let owner = table.shared.table.owner(&key);
        let state = State::Live(HotLink::new(&link, &DestinationPolicy::default(), None));
        table.shared.addr(owner).send(Adopt(vec![Fresh { key, state }])).await.unwrap();
        assert_eq!(served(&table, link.code.as_str()), None);
    }
}
