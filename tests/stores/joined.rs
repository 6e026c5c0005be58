//! Small chunks of single clicks become larger ones, and nobody can tell but by the room they take.

use std::path::Path;
use std::sync::Arc;

use shunt::domain::click::ClickFlags;
use shunt::domain::counted::{CountedClick, SegmentClicks};
use shunt::domain::id::Id;
use shunt::domain::link::Link;
use shunt::storage::embedded::verify::verify;
use shunt::storage::embedded::{Embedded, Mode, database_file};
use shunt::storage::memory::MemoryStore;
use shunt::storage::secrets::Secrets;
use shunt::storage::{EventQuery, StatsOf, StorageErrorKind, Stores};

use crate::damage::edit;
use crate::make::{Flush, HOME, at, click, clicked, link};
use crate::tell::{BEGIN, END, all_of, ask};

const DAY: u32 = 20_200;
const MINUTE: u32 = DAY * 1_440;
const LINK: Id = Id(9);

fn create(path: &Path) -> Embedded {
    Secrets::open_or_create(path).unwrap();
    Embedded::open(path, Mode::Create).unwrap()
}

/// Clicks of each chunk, in order.
fn chunks(path: &Path) -> Vec<i64> {
    let conn = rusqlite::Connection::open(database_file(path)).unwrap();
    let mut statement = conn.prepare("SELECT n_clicks FROM click_events ORDER BY id").unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

fn query(link: Id) -> EventQuery {
    EventQuery { link, from: BEGIN, to: END, before: None, bots: None, limit: 1_000 }
}

/// A chunk of that many clicks of a link, one in a millisecond, from a minute of the day on.
async fn add(store: &Embedded, n_flush: u64, link: Id, minute: u32, n: u32) {
    let flush = clicked(5, n_flush, n_flush + 1, &[(link, MINUTE + minute, n)]);
    store.stores().clicks.flush(vec![flush].into()).await.unwrap();
    store.settle().await.unwrap();
}

/// A flush of two links in one shard, with texts, bots and surplus; the later, the newer.
fn mixed(n: u64, links: &[Link; 2]) -> SegmentClicks {
    let mut flush = Flush::default();
    for (index, link) in links.iter().enumerate() {
        let serial = n as u32 * 10 + index as u32;
        let place = flush.word(&["EU", if n.is_multiple_of(3) { "DE" } else { "FR" }]);
        let utm = flush.word(&[&format!("mail{n}")]);
        let flags = if n.is_multiple_of(4) { ClickFlags::BOT } else { ClickFlags::default() };
        let time = at(MINUTE + n as u32 * 17 % 1_440, n as i64);
        flush.clicks.push(CountedClick {
            flags,
            visitor: n % 7,
            place,
            utm,
            ..click(link.id, time, serial)
        });
    }
    if n.is_multiple_of(5) {
        flush.add_surplus(links[0].id, MINUTE + n as u32, 3);
    }
    flush.of(1, n, n + 1)
}

/// Two links whose clicks are kept together.
fn neighbours() -> [Link; 2] {
    // Both are of one shard: found by trying.
    [Id(1_003), Id(1_645)].map(|id| Link { id, ..link(&format!("joined{id}")) })
}

async fn answers(stores: &Stores, links: &[Link; 2]) -> impl PartialEq + std::fmt::Debug {
    let home = StatsOf::Workspace { id: HOME, tag: None, domain: None };
    let mut told = vec![ask(stores, home, BEGIN, END).await];
    let (mut events, mut buckets) = (Vec::new(), Vec::new());
    for link in links {
        let of = StatsOf::Link(link.id);
        told.push(all_of(stores, link.id).await);
        let (from, to) = (at(MINUTE + 100, 7), at(MINUTE + 900, 3));
        told.push(ask(stores, of.clone(), from, to).await);
        buckets.push(stores.stats.buckets(of, vec![from, to]).await.unwrap());
        events.push(stores.stats.events(query(link.id)).await.unwrap());
        let page = EventQuery { before: Some(events[0][5].id), limit: 7, ..query(link.id) };
        events.push(stores.stats.events(page).await.unwrap());
    }
    (told, buckets, events)
}

#[tokio::test]
async fn joined_clicks_tell_what_they_told() {
    let folder = tempfile::tempdir().unwrap();
    let store = create(folder.path());
    let (memory, stores, links) = (MemoryStore::new(), store.stores(), neighbours());
    for stores in [&memory, &stores] {
        stores.links.claim(links.to_vec(), None).await.unwrap();
    }
    for n in 0..60 {
        let flush = Arc::new(vec![mixed(n, &links)]);
        memory.clicks.flush(Arc::clone(&flush)).await.unwrap();
        stores.clicks.flush(flush).await.unwrap();
        store.settle().await.unwrap();
        if n >= 10 && n % 10 < 2 {
            // What is kept of the answer is of chunks that are joined behind it.
            assert_eq!(answers(&stores, &links).await, answers(&memory, &links).await, "{n}");
        }
    }
    let report = verify(folder.path()).unwrap();
    assert!(report.is_sound() && report.clicks == 132, "{report:?}");
    let left = chunks(folder.path());
    assert!(left.iter().sum::<i64>() == 132 && left.len() < 10, "{left:?}");
    stores.clicks.erase(links[0].id, None).await.unwrap();
    memory.clicks.erase(links[0].id, None).await.unwrap();
    assert_eq!(all_of(&stores, links[0].id).await, all_of(&memory, links[0].id).await);
    assert_eq!(all_of(&stores, links[1].id).await, all_of(&memory, links[1].id).await);
    assert!(verify(folder.path()).unwrap().is_sound());
}

#[tokio::test]
async fn a_click_is_written_again_when_its_chunk_doubles() {
    let folder = tempfile::tempdir().unwrap();
    let store = create(folder.path());
    for (n, (added, left)) in
        [(9, vec![9]), (4, vec![9, 4]), (1, vec![9, 4, 1]), (3, vec![9, 8]), (1, vec![18])]
            .into_iter()
            .enumerate()
    {
        add(&store, n as u64, LINK, n as u32, added).await;
        assert_eq!(chunks(folder.path()), left);
    }
}

#[tokio::test]
async fn no_chunk_is_larger_than_a_page_can_bear() {
    const FULL: i64 = 32_768;
    let folder = tempfile::tempdir().unwrap();
    let store = create(folder.path());
    add(&store, 0, LINK, 0, 40_000).await;
    assert_eq!(chunks(folder.path()), [FULL, 40_000 - FULL]);
    add(&store, 1, LINK, 60, 30_000).await;
    assert_eq!(chunks(folder.path()), [FULL, 40_000 - FULL, 30_000]);
    let oldest = EventQuery { before: Some(click(LINK, at(MINUTE, 3), 3).id()), ..query(LINK) };
    let found = store.stores().stats.events(oldest).await.unwrap();
    assert_eq!(
        found.iter().map(|event| event.at).collect::<Vec<_>>(),
        [2, 1].map(|n| at(MINUTE, n))
    );
    assert!(verify(folder.path()).unwrap().is_sound());
}

#[tokio::test]
async fn a_damaged_chunk_stays_where_it_is_and_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let store = create(folder.path());
    add(&store, 0, LINK, 0, 10).await;
    add(&store, 1, LINK, 1, 3).await;
    edit(
        folder.path(),
        "UPDATE click_events SET body = zeroblob(9) WHERE id = (SELECT max(id) FROM click_events)",
    );
    add(&store, 2, LINK, 2, 10).await;
    add(&store, 3, LINK, 3, 10).await;
    assert_eq!(chunks(folder.path()), [10, 3, 20]);
    assert_eq!(all_of(&store.stores(), LINK).await.people(), [(DAY, 33)], "the sums are whole");
    assert_eq!(verify(folder.path()).unwrap().findings.len(), 1);
}

#[tokio::test]
async fn a_page_reads_only_the_chunks_that_it_needs() {
    let folder = tempfile::tempdir().unwrap();
    let store = create(folder.path());
    for (n, clicks) in [9, 4, 1].into_iter().enumerate() {
        add(&store, n as u64, LINK, n as u32, clicks).await;
    }
    // What would be an error tells that it was not read.
    let middle = "(SELECT id FROM click_events ORDER BY id LIMIT 1 OFFSET 1)";
    edit(folder.path(), &format!("UPDATE click_events SET body = zeroblob(9) WHERE id = {middle}"));
    let stores = store.stores();
    let page = async |query: EventQuery| {
        stores.stats.events(query).await.map(|page| page.len()).map_err(|error| error.kind)
    };
    let behind = Some(click(LINK, at(MINUTE, 8), 8).id());
    assert_eq!(page(EventQuery { limit: 1, ..query(LINK) }).await, Ok(1), "the newest");
    assert_eq!(page(EventQuery { before: behind, ..query(LINK) }).await, Ok(7), "the oldest");
    assert_eq!(page(EventQuery { to: at(MINUTE + 1, 0), ..query(LINK) }).await, Ok(9));
    assert_eq!(page(EventQuery { from: at(MINUTE + 2, 0), ..query(LINK) }).await, Ok(1));
    assert_eq!(page(query(LINK)).await, Err(StorageErrorKind::Corrupt));
}

#[tokio::test]
async fn pages_stay_whole_while_chunks_come_are_joined_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let store = create(folder.path());
    let (stores, links) = (store.stores(), neighbours());
    let link = links[0].id;
    for n in 0..6 {
        add(&store, n, link, n as u32 * 100, 20).await;
    }
    let expected: Vec<Id> =
        stores.stats.events(query(link)).await.unwrap().iter().map(|event| event.id).collect();
    assert_eq!(expected.len(), 120);
    let (mut seen, mut before, mut n) = (Vec::new(), None, 6);
    loop {
        let page = EventQuery { before, limit: 9, ..query(link) };
        let events = stores.stats.events(page).await.unwrap();
        let Some(last) = events.last() else { break };
        before = Some(last.id);
        seen.extend(events.iter().map(|event| event.id));
        // Newer clicks, those of another link, and its end.
        add(&store, n, link, 1_000 + n as u32, 5).await;
        add(&store, n + 1, links[1].id, n as u32, 30).await;
        if n % 4 == 0 {
            stores.clicks.erase(links[1].id, None).await.unwrap();
        }
        n += 2;
    }
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn clicks_are_told_by_a_check_wherever_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let store = create(folder.path());
    let flush = |n| clicked(5, n, n + 1, &[(LINK, MINUTE, 20)]);
    store.stores().clicks.flush(vec![flush(0)].into()).await.unwrap();
    assert_eq!(verify(folder.path()).unwrap().clicks, 20, "not folded yet");
    store.settle().await.unwrap();
    store.stores().clicks.flush(vec![flush(1)].into()).await.unwrap();
    assert_eq!(verify(folder.path()).unwrap().clicks, 40, "of both kinds");
}
