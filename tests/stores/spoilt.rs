//! Damaged single clicks and damaged sums: what the others tell is told, what cannot be told is an
//! error and never a wrong number, and a repair makes again what can be made.

use std::path::Path;

use shunt::domain::id::Id;
use shunt::storage::embedded::Embedded;
use shunt::storage::embedded::verify::{REPAIR, Report, repair, verify};
use shunt::storage::{EventQuery, StatsOf, StorageErrorKind, Stores};

use crate::counts::{click_each, open};
use crate::damage::{edit, store_with_links};
use crate::make::{NOW, at, clicked};
use crate::tell::{BEGIN, END, Told, all_of, people};

const DAY: u32 = NOW.minute() / 1_440;

/// A store of one link with two clicks on its page of sums and one behind it; its id.
async fn store_with_one(path: &Path) -> (Embedded, Id) {
    let made = store_with_links(path, 1).await;
    let store = open(path);
    let stores = store.stores();
    let link = made.values().next().unwrap().id;
    // More than are folded at once: these wait behind the page.
    let rows: Vec<_> = (0..70).map(|n| clicked(2, n, n + 1, &[(link, DAY * 1_440, 1)])).collect();
    for row in rows {
        stores.clicks.flush(vec![row].into()).await.unwrap();
    }
    (store, link)
}

fn spoil(path: &Path, table: &str) {
    let sql =
        format!("UPDATE {table} SET body = zeroblob(9) WHERE id = (SELECT min(id) FROM {table})");
    edit(path, &sql);
}

/// Clicks are where they stay, and not yet on the pages of sums: these wait for more.
pub(crate) async fn wait_until_folded(path: &Path) {
    let conn = rusqlite::Connection::open(shunt::storage::embedded::database_file(path)).unwrap();
    for _ in 0..200 {
        let left = "SELECT count(*) FROM click_chunks";
        if conn.query_row(left, [], |row| row.get::<_, i64>(0)).unwrap() == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("clicks were not folded in ten seconds");
}

fn findings(report: &Report) -> Vec<&str> {
    assert!(report.findings.iter().all(|finding| finding.remedy == REPAIR), "{report:?}");
    report.findings.iter().map(|finding| finding.what.as_str()).collect()
}

async fn part_of_day(stores: &Stores, link: Id) -> Result<Told, StorageErrorKind> {
    let (from, to) = (at(DAY * 1_440, 0), at(NOW.minute() + 1, 0));
    let told = stores.stats.days(StatsOf::Link(link), from, to).await;
    told.map(|stats| crate::tell::told(&stats)).map_err(|error| error.kind)
}

#[tokio::test]
async fn damaged_sums_are_told_from_the_clicks_and_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let (store, link) = store_with_one(folder.path()).await;
    let stores = store.stores();
    store.settle().await.unwrap();
    let before = all_of(&stores, link).await;
    assert_eq!(before.people(), [(DAY, 72)]);
    spoil(folder.path(), "click_days");
    assert_eq!(all_of(&stores, link).await, before);
    let everything = StatsOf::Workspace { id: crate::make::HOME, tag: None, domain: None };
    let of_all = stores.stats.days(everything, BEGIN, END).await.unwrap();
    assert_eq!(crate::tell::told(&of_all).people(), [(DAY, 72)]);
    let report = verify(folder.path()).unwrap();
    assert_eq!(findings(&report).len(), 1, "{report:?}");
    store.close();
    repair(folder.path()).unwrap();
    let report = verify(folder.path()).unwrap();
    assert!(report.is_sound() && report.set_aside == 1, "{report:?}");
    assert_eq!(all_of(&open(folder.path()).stores(), link).await, before);
}

#[tokio::test]
async fn damaged_sums_are_made_again_when_more_clicks_come() {
    let folder = tempfile::tempdir().unwrap();
    let (store, link) = store_with_one(folder.path()).await;
    let stores = store.stores();
    store.settle().await.unwrap();
    spoil(folder.path(), "click_days");
    stores.clicks.flush(vec![clicked(3, 0, 1, &[(link, DAY * 1_440, 1)])].into()).await.unwrap();
    store.settle().await.unwrap();
    assert_eq!(all_of(&stores, link).await.people(), [(DAY, 73)]);
    let report = verify(folder.path()).unwrap();
    assert!(report.is_sound() && report.set_aside == 1, "{report:?}");
}

#[tokio::test]
async fn damaged_sums_without_their_clicks_are_an_error_until_a_repair_leaves_the_count() {
    let folder = tempfile::tempdir().unwrap();
    let (store, link) = store_with_one(folder.path()).await;
    let stores = store.stores();
    let keep = shunt::storage::Retention { events_from: DAY + 1, details_from: 0 };
    store.settle().await.unwrap();
    assert!(!stores.clicks.prune(keep).await.unwrap());
    spoil(folder.path(), "click_days");
    let error = stores.stats.days(StatsOf::Link(link), BEGIN, END).await.unwrap_err();
    assert_eq!(error.kind, StorageErrorKind::Corrupt, "a wrong sum is not told");
    store.close();
    repair(folder.path()).unwrap();
    let report = verify(folder.path()).unwrap();
    assert!(report.is_sound() && report.set_aside == 1, "{report:?}");
    let stores = open(folder.path()).stores();
    assert_eq!(all_of(&stores, link).await.hours(), [(DAY, 12, people(72))]);
}

#[tokio::test]
async fn damaged_clicks_are_an_error_where_they_are_asked_and_counted_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (store, link) = store_with_one(folder.path()).await;
    let stores = store.stores();
    store.settle().await.unwrap();
    spoil(folder.path(), "click_events");
    assert_eq!(all_of(&stores, link).await.people(), [(DAY, 72)], "the sums are whole");
    assert_eq!(part_of_day(&stores, link).await, Err(StorageErrorKind::Corrupt));
    let query = EventQuery { link, from: BEGIN, to: END, before: None, bots: None, limit: 100 };
    let error = stores.stats.events(query).await.unwrap_err();
    assert_eq!(error.kind, StorageErrorKind::Corrupt);
    let report = verify(folder.path()).unwrap();
    assert_eq!(findings(&report).len(), 1, "{report:?}");
    store.close();
    repair(folder.path()).unwrap();
    let report = verify(folder.path()).unwrap();
    assert!(report.is_sound() && report.set_aside == 1, "{report:?}");
    let stores = open(folder.path()).stores();
    assert_eq!(all_of(&stores, link).await.people(), [(DAY, 72)]);
    assert_eq!(part_of_day(&stores, link).await.unwrap().people(), [(DAY, 72)]);
    assert_eq!(stores.stats.events(query).await.unwrap().len(), 70);
}

#[tokio::test]
async fn clicks_damaged_before_they_were_added_up_stay_in_the_count_of_their_day() {
    let folder = tempfile::tempdir().unwrap();
    let made = store_with_links(folder.path(), 3).await;
    let store = open(folder.path());
    let stores = store.stores();
    for segment in 10..80 {
        click_each(&stores, &made, segment, NOW.minute()).await;
    }
    wait_until_folded(folder.path()).await;
    edit(
        folder.path(),
        "UPDATE click_events SET body = zeroblob(9) WHERE id = (SELECT max(id) FROM click_events)",
    );
    let mut n_errors = 0;
    for link in made.values() {
        match stores.stats.days(StatsOf::Link(link.id), BEGIN, END).await {
            Ok(stats) => assert_eq!(crate::tell::told(&stats).people(), [(DAY, 72)]),
            Err(error) => {
                assert_eq!(error.kind, StorageErrorKind::Corrupt);
                n_errors += 1;
            }
        }
    }
    assert_eq!(n_errors, 1);
    click_each(&stores, &made, 2, NOW.minute()).await;
    store.settle().await.unwrap();
    for link in made.values() {
        assert_eq!(all_of(&stores, link.id).await.people(), [(DAY, 73)]);
    }
    let report = verify(folder.path()).unwrap();
    assert!(report.is_sound() && report.set_aside == 1, "{report:?}");
}

#[tokio::test]
async fn marks_that_do_not_fit_and_counts_that_lack_clicks_are_found_and_repaired() {
    let spoils = [
        "UPDATE click_marks SET pending = pending + 1",
        "UPDATE click_marks SET next_seq = 0",
        "DELETE FROM click_marks",
        "UPDATE click_marks SET folded_seq = folded_seq + 1",
        "DELETE FROM click_pages WHERE id >> 48 = 2",
        "UPDATE click_events SET n_clicks = n_clicks + 1",
        "UPDATE click_days SET id = id + 1",
        "UPDATE click_events SET id = id + (1 << 28)",
    ];
    for sql in spoils {
        let folder = tempfile::tempdir().unwrap();
        let (store, link) = store_with_one(folder.path()).await;
        store.settle().await.unwrap();
        store.close();
        edit(folder.path(), sql);
        let report = verify(folder.path()).unwrap();
        assert!(!findings(&report).is_empty(), "{sql}");
        repair(folder.path()).unwrap();
        let report = verify(folder.path()).unwrap();
        assert!(report.is_sound(), "{sql}: {report:?}");
        let store = open(folder.path());
        let stores = store.stores();
        assert_eq!(stores.clicks.totals(&[link]).await.unwrap()[0].clicks, 72, "{sql}");
        assert_eq!(all_of(&stores, link).await.people(), [(DAY, 72)], "{sql}");
        stores
            .clicks
            .flush(vec![clicked(4, 0, 1, &[(link, NOW.minute(), 1)])].into())
            .await
            .unwrap();
        store.settle().await.unwrap();
        assert_eq!(all_of(&stores, link).await.people(), [(DAY, 73)], "{sql}");
    }
}

#[tokio::test]
async fn an_erased_link_leaves_nothing_in_damaged_clicks_and_sums() {
    let tables = ["click_events", "click_days"];
    for (table, repaired) in tables.into_iter().flat_map(|table| [(table, true), (table, false)]) {
        let folder = tempfile::tempdir().unwrap();
        let (store, link) = store_with_one(folder.path()).await;
        let stores = store.stores();
        store.settle().await.unwrap();
        spoil(folder.path(), table);
        if repaired {
            repair(folder.path()).unwrap();
            assert_eq!(verify(folder.path()).unwrap().set_aside, 1, "{table}");
        }
        stores.clicks.erase(link, None).await.unwrap();
        assert_eq!(all_of(&stores, link).await, Told::default(), "{table}");
        let report = verify(folder.path()).unwrap();
        assert!(report.is_sound(), "{table}: {report:?}");
        assert_eq!((report.clicks, report.set_aside), (0, 0), "{table}");
    }
}
