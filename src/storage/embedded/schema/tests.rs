//! A store of the layout before single clicks were kept is opened, and tells what it told.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::domain::counted::{CountedClick, SegmentClicks};
use crate::domain::id::Id;
use crate::domain::time::Timestamp;
use crate::storage::embedded::deltas::{self, Delta};
use crate::storage::embedded::pages::{self, Entry, PageKind, page_id, shard_of};
use crate::storage::embedded::verify::{repair, verify};
use crate::storage::embedded::{Embedded, Mode, database_file};
use crate::storage::secrets::Secrets;
use crate::storage::{EventQuery, Retention, StatsOf, Stores};

/// Step at which single clicks began.
const BEFORE: usize = 3;
const DAY: u32 = 20_000;
const MINUTE: u32 = DAY * 1_440;
const LINK: Id = Id(77);
const OTHER: Id = Id(78);
const HOME: Id = Id(1);

/// Three clicks in two hours of a day, four on the next, seven from an import; two more on that
/// next day are not folded yet.
fn old_store(path: &Path) {
    Secrets::open_or_create(path).unwrap();
    let conn = Connection::open(database_file(path)).unwrap();
    conn.execute_batch(&STEPS[..BEFORE].concat()).unwrap();
    conn.execute_batch(&format!(
        "PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {BEFORE};
         PRAGMA journal_mode = WAL;
         INSERT INTO workspaces (id, name, operator, created_at) VALUES (1, 'home', 1, 0);"
    ))
    .unwrap();
    let shard = shard_of(LINK);
    let rows = [
        (PageKind::Minute, MINUTE + 5, 1),
        (PageKind::Minute, MINUTE + 61, 2),
        (PageKind::Hour, DAY * 24, 1),
        (PageKind::Hour, DAY * 24 + 1, 2),
        (PageKind::Day, DAY, 3),
        (PageKind::Day, DAY + 1, 4),
        (PageKind::Brought, 0, 7),
        (PageKind::Total, 0, 14),
    ];
    for (kind, bucket, clicks) in rows {
        let entry = Entry { link: LINK.0, clicks, last_at: 0 };
        let id = page_id(kind, shard, bucket);
        let mut body = pages::encode(kind, id, &[entry]);
        pages::seal(&mut body);
        conn.execute("INSERT INTO click_pages (id, body) VALUES (?1, ?2)", (id, body)).unwrap();
    }
    let delta = |link: Id| Delta {
        link: link.0,
        minute: Some(MINUTE + 1_440 + 61),
        clicks: 2,
        last_at: u64::from(MINUTE + 1_440 + 61) * 60_000 + 5,
    };
    deltas::store(&conn, vec![delta(LINK), delta(OTHER)]).unwrap();
}

/// Clicks of people by day and hour.
async fn hours(stores: &Stores, of: StatsOf) -> Vec<(u32, u8, u64)> {
    let (from, to) = (Timestamp(0), Timestamp(i64::MAX / 2));
    let told = stores.stats.days(of, from, to).await.unwrap();
    let hour =
        |day: u32| move |hour: &crate::domain::day::HourStats| (day, hour.hour, hour.counts.people);
    told.days.iter().flat_map(|(day, stats)| stats.hours.iter().map(hour(*day))).collect()
}

async fn total(stores: &Stores, link: Id) -> u64 {
    stores.clicks.totals(&[link]).await.unwrap()[0].clicks
}

fn home() -> StatsOf {
    StatsOf::Workspace { id: HOME, tag: None, domain: None }
}

#[tokio::test]
async fn counts_of_the_old_layout_are_told_and_counted_on() {
    let folder = tempfile::tempdir().unwrap();
    old_store(folder.path());
    let store = Embedded::open(folder.path(), Mode::Existing).unwrap();
    let stores = store.stores();
    assert_eq!((total(&stores, LINK).await, total(&stores, OTHER).await), (16, 2));
    store.settle().await.unwrap();
    assert_eq!((total(&stores, LINK).await, total(&stores, OTHER).await), (16, 2));
    let told = [(DAY, 0, 1), (DAY, 1, 2), (DAY + 1, 12, 6)];
    for _ in 0..2 {
        assert_eq!(hours(&stores, StatsOf::Link(LINK)).await, told);
        assert_eq!(hours(&stores, home()).await, [told[0], told[1], (DAY + 1, 12, 8)]);
    }
    let report = verify(folder.path()).unwrap();
    assert!(report.is_sound(), "{report:?}");

    // Two clicks of people on a day that the old layout counted as well.
    let click = |serial| CountedClick {
        link: LINK,
        at: Timestamp(i64::from(MINUTE + 1_440 + 180) * 60_000),
        serial,
        version: 1,
        ..CountedClick::default()
    };
    let clicks = vec![click(1), click(2)];
    let flush = SegmentClicks { to_record: 2, clicks, ..SegmentClicks::default() };
    stores.clicks.flush(Arc::new(vec![flush])).await.unwrap();
    let told = [(DAY, 0, 1), (DAY, 1, 2), (DAY + 1, 3, 2), (DAY + 1, 12, 6)];
    for settled in [false, true] {
        if settled {
            store.settle().await.unwrap();
        }
        assert_eq!(hours(&stores, StatsOf::Link(LINK)).await, told);
        let of_all = [told[0], told[1], told[2], (DAY + 1, 12, 8)];
        assert_eq!(hours(&stores, home()).await, of_all);
        assert_eq!(total(&stores, LINK).await, 18);
    }
    store.close();
    repair(folder.path()).unwrap();
    let report = verify(folder.path()).unwrap();
    assert!(report.is_sound() && report.set_aside == 0, "{report:?}");
    let store = Embedded::open(folder.path(), Mode::Existing).unwrap();
    assert_eq!(hours(&store.stores(), StatsOf::Link(LINK)).await, told);
}

#[tokio::test]
async fn clicks_from_before_chunks_told_their_times_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    Secrets::open_or_create(folder.path()).unwrap();
    let store = Embedded::open(folder.path(), Mode::Create).unwrap();
    let at = |day: u32| Timestamp(i64::from(day) * 86_400_000 + 86_399_999);
    let click = |day| CountedClick { link: LINK, at: at(day), ..CountedClick::default() };
    let (first, second) = (DAY + 200, DAY + 201);
    let clicks = vec![click(first), click(second)];
    let flush = SegmentClicks { to_record: 2, clicks, ..SegmentClicks::default() };
    store.stores().clicks.flush(Arc::new(vec![flush])).await.unwrap();
    store.settle().await.unwrap();
    store.close();
    Connection::open(database_file(folder.path()))
        .unwrap()
        .execute_batch(
            "CREATE TABLE of_old (
                id INTEGER PRIMARY KEY, n_clicks INTEGER NOT NULL, body BLOB NOT NULL
             ) STRICT;
             INSERT INTO of_old SELECT id, n_clicks, body FROM click_events;
             INSERT INTO of_old SELECT id | (1 << 61), n_clicks, body FROM click_events;
             DROP TABLE click_events;
             ALTER TABLE of_old RENAME TO click_events;
             DROP TABLE click_questions;
             DROP TABLE tickets; DROP TABLE invitations; DROP TABLE identities;
             DROP TABLE access_changes; DROP TABLE known_clients; DROP TABLE sessions;
             DROP TABLE members; DROP TABLE users; DROP INDEX api_keys_by_user;
             DROP INDEX links_anonymous;
             ALTER TABLE api_keys DROP COLUMN user;
             ALTER TABLE workspaces DROP COLUMN closed_at;
             DROP TABLE signing_keys; DROP TABLE audit_log; DROP TABLE audit_head;
             DROP TABLE moves; DROP TABLE moved_clicks;
             PRAGMA user_version = 4",
        )
        .unwrap();
    let store = Embedded::open(folder.path(), Mode::Existing).unwrap();
    let (from, to) = (Timestamp(0), Timestamp(i64::MAX / 2));
    for (before, days) in [(None, vec![second, first]), (Some(click(second).id()), vec![first])] {
        let query = EventQuery { link: LINK, from, to, before, bots: None, limit: 9 };
        let found = store.stores().stats.events(query).await.unwrap();
        let found: Vec<Timestamp> = found.iter().map(|event| event.at).collect();
        assert_eq!(found, days.into_iter().map(at).collect::<Vec<_>>());
    }
    let report = verify(folder.path()).unwrap();
    assert!(report.is_sound() && report.set_aside == 2, "{report:?}");
}

#[tokio::test]
async fn part_of_an_old_day_is_told_by_the_hour() {
    let folder = tempfile::tempdir().unwrap();
    old_store(folder.path());
    let store = Embedded::open(folder.path(), Mode::Existing).unwrap();
    let stores = store.stores();
    let at = |minute: u32| Timestamp(i64::from(minute) * 60_000);
    for of in [StatsOf::Link(LINK), home()] {
        let told = stores.stats.days(of, at(MINUTE + 60), at(MINUTE + 120)).await.unwrap();
        assert_eq!(told.days.len(), 1);
        assert_eq!(told.days[0].1.counts().people, 2);
    }
}

#[tokio::test]
async fn old_hours_are_forgotten_when_their_time_is_over_and_days_stay() {
    let folder = tempfile::tempdir().unwrap();
    old_store(folder.path());
    let store = Embedded::open(folder.path(), Mode::Existing).unwrap();
    let stores = store.stores();
    store.settle().await.unwrap();
    let before = hours(&stores, home()).await;
    let keep = |details_from| Retention { events_from: DAY + 9, details_from };
    while stores.clicks.prune(keep(DAY)).await.unwrap() {}
    assert_eq!(hours(&stores, home()).await, before);
    while stores.clicks.prune(keep(DAY + 1)).await.unwrap() {}
    assert_eq!(hours(&stores, StatsOf::Link(LINK)).await, [(DAY, 12, 3), (DAY + 1, 12, 6)]);
    assert_eq!(hours(&stores, home()).await, [(DAY, 12, 3), (DAY + 1, 12, 8)]);
    let conn = Connection::open(database_file(folder.path())).unwrap();
    let left: i64 = conn
        .query_row("SELECT count(*) FROM click_pages WHERE id < 2 << 48", [], |row| row.get(0))
        .unwrap();
    assert_eq!(left, 0, "minutes and hours");
    assert!(verify(folder.path()).unwrap().is_sound());
}

#[tokio::test]
async fn an_erased_link_leaves_nothing_in_old_counts() {
    let folder = tempfile::tempdir().unwrap();
    old_store(folder.path());
    let store = Embedded::open(folder.path(), Mode::Existing).unwrap();
    let stores = store.stores();
    assert_eq!(hours(&stores, home()).await.len(), 3);
    store.settle().await.unwrap();
    assert_eq!(hours(&stores, home()).await[2], (DAY + 1, 12, 8));
    stores.clicks.erase(LINK, None).await.unwrap();
    assert_eq!(hours(&stores, StatsOf::Link(LINK)).await, []);
    assert_eq!(hours(&stores, home()).await, [(DAY + 1, 12, 2)]);
    assert_eq!((total(&stores, LINK).await, total(&stores, OTHER).await), (0, 2));
}
