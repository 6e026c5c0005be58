//! Clicks in a CQL database are counted once, whatever was cut short and sent again.

use std::sync::Arc;

use scylla::client::session::Session;
use shunt::domain::click::{ClickFlags, SegmentId};
use shunt::domain::counted::{CountedClick, SegmentClicks};
use shunt::domain::id::Id;
use shunt::storage::memory::MemoryStore;
use shunt::storage::{EventQuery, Resume, Retention, StorageErrorKind, Stores};

use crate::clicks::flush;
use crate::cql::{Lent, lend, stores_of};
use crate::make::{Flush, at, click, clicked};
use crate::tell::{BEGIN, END, all_of, people};

pub(crate) const DAY: u32 = 20_000;
pub(crate) const MINUTE: u32 = DAY * 1_440;
const A: Id = Id(1 << 30);
const B: Id = Id(2 << 30);

/// A process of a node, which knows nothing but what is in the database.
pub(crate) fn process(lent: &Lent, node: u16) -> Stores {
    stores_of(lent.cql(), node, MemoryStore::new())
}

/// Folds everything, and removes nothing.
pub(crate) async fn fold(stores: &Stores) {
    let keep = Retention { events_from: 0, details_from: 0 };
    while stores.clicks.prune(keep).await.unwrap() {}
}

/// Clicks of a link: as its total, by its days, and one by one all the same.
pub(crate) async fn count(stores: &Stores, link: Id) -> u64 {
    let total = stores.clicks.totals(&[link]).await.unwrap()[0].clicks;
    let days: u64 = all_of(stores, link).await.people().iter().map(|(_, clicks)| clicks).sum();
    assert_eq!(total, days, "of {link} as its total and by its days");
    total
}

pub(crate) async fn run(session: &Session, statement: String) {
    session.query_unpaged(statement, ()).await.unwrap();
}

fn id(link: Id) -> i64 {
    link.0 as i64
}

/// What a process left that was killed while it flushed [0, 4) of segment 1: everything but the
/// clicks of B, if they are not `all`, and the position.
async fn cut_short(lent: &Lent, all: bool) {
    let rows = [(A, MINUTE, 1), (B, MINUTE, 2), (B, MINUTE + 1_440, 1)];
    flush(&process(lent, 0), vec![clicked(1, 0, 4, &rows)]).await.unwrap();
    let session = lent.session().await;
    run(&session, "UPDATE click_positions SET covered = 0 WHERE segment = 1".into()).await;
    for day in [DAY, DAY + 1].into_iter().filter(|_| !all) {
        let row = format!("link = {} AND day = {day}", id(B));
        run(&session, format!("DELETE FROM click_chunks WHERE {row}")).await;
    }
}

/// The same clicks as they may be counted again: one kept, the rest added up; of other places.
fn again() -> SegmentClicks {
    let mut again = Flush::default();
    let place = again.word(&["EU", "DE", "", "Bonn"]);
    again.clicks = [(A, MINUTE), (B, MINUTE)]
        .map(|(link, minute)| CountedClick { place, ..click(link, at(minute, 1), 1) })
        .to_vec();
    again.add_surplus(B, MINUTE, 1).add_surplus(B, MINUTE + 1_440, 1);
    again.of(1, 0, 4)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_whose_rows_are_there_in_part_counts_once_when_it_is_sent_again() {
    for all in [false, true] {
        let lent = lend().await;
        cut_short(&lent, all).await;
        let next = process(&lent, 0);
        let resume = Resume { covered: 0, cut: Some(4) };
        assert_eq!(next.clicks.resume(SegmentId(1)).await.unwrap(), resume);
        // Others come first; so does a fold.
        flush(&next, vec![clicked(2, 0, 8, &[(A, MINUTE, 3), (B, MINUTE, 5)])]).await.unwrap();
        fold(&next).await;
        for to in [3, 5] {
            let other = clicked(1, 0, to, &[(A, MINUTE, 1)]);
            let error = flush(&next, vec![other]).await.unwrap_err();
            assert_eq!(error.kind, StorageErrorKind::Invalid, "it ends at {to}");
        }
        flush(&next, vec![again()]).await.unwrap();
        let resume = Resume { covered: 4, cut: None };
        assert_eq!(next.clicks.resume(SegmentId(1)).await.unwrap(), resume);
        for _ in 0..2 {
            assert_eq!((count(&next, A).await, count(&next, B).await), (4, 8), "all: {all}");
            fold(&next).await;
        }
        flush(&next, vec![clicked(1, 4, 5, &[(A, MINUTE, 1)])]).await.unwrap();
        assert_eq!(count(&next, A).await, 5);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_of_which_only_the_bounds_are_there_counts_once() {
    // Of what it touches everything was written, a part, and nothing.
    for (lost, parts) in [("part = 9", 1), ("part = 0", 2), ("part = 0", 1)] {
        let lent = lend().await;
        cut_short(&lent, false).await;
        let session = lent.session().await;
        run(&session, format!("DELETE FROM click_chunks WHERE link = {} AND day = {DAY}", id(A)))
            .await;
        let of = "node = 0 AND seq = 0 AND segment = 1";
        run(&session, format!("DELETE FROM click_flushes WHERE {of} AND {lost}")).await;
        let note = format!(
            "INSERT INTO click_flushes (node, seq, segment, part, parts, touched)
             VALUES (0, 0, 1, 1, {parts}, 0x)"
        );
        if parts > 1 {
            run(&session, note).await;
        }
        let next = process(&lent, 0);
        assert_eq!((count(&next, A).await, count(&next, B).await), (0, 0));
        flush(&next, vec![clicked(2, 0, 8, &[(A, MINUTE, 3), (B, MINUTE, 5)])]).await.unwrap();
        fold(&next).await;
        flush(&next, vec![again()]).await.unwrap();
        for _ in 0..2 {
            assert_eq!((count(&next, A).await, count(&next, B).await), (4, 8), "{lost}");
            fold(&next).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_got_another_number_goes_on_with_what_it_began() {
    let lent = lend().await;
    cut_short(&lent, false).await;
    let next = process(&lent, 3);
    flush(&next, vec![again()]).await.unwrap();
    assert_eq!((count(&next, A).await, count(&next, B).await), (1, 3));
    fold(&next).await;
    let before = process(&lent, 0);
    fold(&before).await;
    assert_eq!((count(&before, A).await, count(&before, B).await), (1, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_erased_stays_erased_when_a_flush_is_sent_again() {
    let lent = lend().await;
    cut_short(&lent, false).await;
    let other = process(&lent, 1);
    flush(&other, vec![clicked(9, 0, 7, &[(A, MINUTE, 3), (B, MINUTE, 4)])]).await.unwrap();
    fold(&other).await;
    for link in [A, B] {
        other.clicks.erase(link, None).await.unwrap();
    }
    let next = process(&lent, 0);
    flush(&next, vec![again()]).await.unwrap();
    for stores in [&next, &other] {
        assert_eq!((count(stores, A).await, count(stores, B).await), (0, 0));
        fold(stores).await;
    }
    let query = EventQuery { link: A, from: BEGIN, to: END, before: None, bots: None, limit: 9 };
    assert_eq!(next.stats.events(query).await.unwrap(), []);
    for (stores, segment, to) in [(&next, 1, 6), (&other, 9, 9)] {
        let covered = stores.clicks.resume(SegmentId(segment)).await.unwrap().covered;
        let more = clicked(segment, covered, to, &[(A, MINUTE, 1), (B, MINUTE + 9, 1)]);
        flush(stores, vec![more]).await.unwrap();
    }
    for _ in 0..2 {
        assert_eq!((count(&next, A).await, count(&other, B).await), (2, 2));
        fold(&next).await;
        fold(&other).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_count_the_same_link_at_once_add_up() {
    const FLUSHES: u64 = 40;
    let lent = lend().await;
    let nodes = [0, 1, 1_023].map(|node| process(&lent, node));
    let count_on = |stores: Stores, segment: u64| async move {
        for n in 0..FLUSHES {
            let rows = [(A, MINUTE + n as u32, 1), (B, MINUTE + n as u32 * 100, 2)];
            flush(&stores, vec![clicked(segment, n, n + 1, &rows)]).await.unwrap();
            if n % 8 == segment {
                fold(&stores).await;
            }
        }
    };
    let tasks = (0..).zip(&nodes).map(|(n, stores)| tokio::spawn(count_on(stores.clone(), n)));
    futures_util::future::join_all(tasks).await.into_iter().for_each(|task| task.unwrap());
    for stores in &nodes {
        assert_eq!(count(stores, A).await, 3 * FLUSHES);
        assert_eq!(count(stores, B).await, 3 * 2 * FLUSHES);
        fold(stores).await;
    }
    assert_eq!(count(&nodes[0], B).await, 3 * 2 * FLUSHES);
}

/// More than one value may hold, of one link and day.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_clicked_very_often_is_told_click_by_click() {
    const CLICKS: u32 = 30_000;
    let lent = lend().await;
    let stores = process(&lent, 0);
    let mut more = Flush::default();
    for n in 0..CLICKS {
        let visitor = u64::from(n + 1) << 32;
        let flags = if n % 2 == 0 { ClickFlags::BOT } else { ClickFlags::default() };
        let one = click(A, at(MINUTE, n.into()), n);
        more.clicks.push(CountedClick { visitor, flags, ..one });
    }
    flush(&stores, vec![more.of(1, 0, CLICKS.into())]).await.unwrap();
    let query =
        EventQuery { link: A, from: BEGIN, to: END, before: None, bots: None, limit: CLICKS };
    let found = stores.stats.events(query).await.unwrap();
    assert!(found.iter().rev().map(|event| event.at).eq((0..CLICKS).map(|n| at(MINUTE, n.into()))));
    for _ in 0..2 {
        assert_eq!(count(&stores, A).await, u64::from(CLICKS) / 2);
        let hours = all_of(&stores, A).await.hours();
        let half = u64::from(CLICKS) / 2;
        assert_eq!(hours[0].2, shunt::domain::day::Counts { people: half, bots: half });
        fold(&stores).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hottest_links_are_told() {
    let lent = lend().await;
    flush(&process(&lent, 5), vec![clicked(1, 0, 9, &[(A, MINUTE, 2), (B, MINUTE, 7)])])
        .await
        .unwrap();
    let told = "SELECT links FROM hot_links WHERE id = 0 AND node = 5";
    let rows = lent.session().await.query_unpaged(told, ()).await.unwrap();
    let (links,) = rows.into_rows_result().unwrap().single_row::<(Vec<(i64, i64)>,)>().unwrap();
    assert_eq!(links, [(id(B), 7), (id(A), 2)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_visitors_are_kept_while_any_node_needs_them() {
    let lent = lend().await;
    let (slow, fast) = (process(&lent, 0), process(&lent, 1));
    let first = slow.clicks.visitor_keys(100, 100).await.unwrap();
    let later = fast.clicks.visitor_keys(102, 102).await.unwrap();
    assert_eq!(later[..2], first[..], "the other node still counts clicks of these days");
    slow.clicks.visitor_keys(102, 102).await.unwrap();
    let last = fast.clicks.visitor_keys(102, 102).await.unwrap();
    assert_eq!(last.iter().map(|(day, _)| *day).collect::<Vec<_>>(), [102, 103]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clicks_that_came_with_an_import_are_in_the_totals_until_they_are_erased() {
    let lent = lend().await;
    let stores = process(&lent, 0);
    let bring = format!(
        "INSERT INTO imported_clicks (link, digest, clicks, last_at) VALUES ({}, 0x01, 40, {})",
        id(A),
        at(MINUTE, 5).as_millis()
    );
    run(&lent.session().await, bring).await;
    flush(&stores, vec![clicked(1, 0, 2, &[(A, MINUTE, 2)])]).await.unwrap();
    let totals = stores.clicks.totals(&[A]).await.unwrap()[0];
    assert_eq!((totals.clicks, totals.last_clicked_at), (42, Some(at(MINUTE, 5))));
    assert_eq!(all_of(&stores, A).await.hours(), [(DAY, 0, people(2))]);
    stores.clicks.erase(A, None).await.unwrap();
    assert_eq!(count(&stores, A).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_value_is_told_and_not_counted() {
    let lent = lend().await;
    let stores = process(&lent, 0);
    flush(&stores, vec![clicked(1, 0, 2, &[(A, MINUTE, 2)])]).await.unwrap();
    let spoil = format!(
        "UPDATE click_chunks SET chunk = 0x0102030405 WHERE link = {} AND day = {DAY}
         AND node = 0 AND seq = 0 AND segment = 1 AND part = 0",
        id(A)
    );
    run(&lent.session().await, spoil).await;
    let of = shunt::storage::StatsOf::Link(A);
    let error = stores.stats.days(of, BEGIN, END).await.unwrap_err();
    assert_eq!(error.kind, StorageErrorKind::Damaged);
    assert_eq!(Arc::clone(&stores.clicks).totals(&[A]).await.unwrap()[0].clicks, 2);
}
