//! Damaged click counts cost as little as can be: the other links count on, and what the whole
//! pages tell of the damaged ones is brought back.

use std::collections::HashMap;
use std::path::Path;

use shunt::domain::click::{BucketCount, Granularity, SegmentCounts, SegmentId};
use shunt::domain::code::LinkKey;
use shunt::domain::id::Id;
use shunt::domain::link::Link;
use shunt::storage::embedded::verify::{REPAIR, repair, verify};
use shunt::storage::embedded::{Embedded, Mode};
use shunt::storage::{StorageErrorKind, Stores};

use crate::damage::{edit, store_with_links};
use crate::make::NOW;

fn open(path: &Path) -> Embedded {
    Embedded::open(path, Mode::Existing).unwrap()
}

/// Spoils the first page of a kind.
fn spoil(path: &Path, kind: u8) {
    edit(
        path,
        &format!(
            "UPDATE click_pages SET body = zeroblob(9)
             WHERE id = (SELECT min(id) FROM click_pages WHERE id >> 48 = {kind})"
        ),
    );
}

async fn click_each(stores: &Stores, made: &HashMap<LinkKey, Link>, segment: u64, minute: u32) {
    let row = |link: &Link| BucketCount { link: link.id, minute, total: 1, added: 1, last_at: NOW };
    let rows = made.values().map(row).collect();
    let segment = SegmentId(segment);
    let counts = SegmentCounts { segment, from_record: 0, to_record: 9, rows };
    stores.clicks.flush(vec![counts]).await.unwrap();
}

async fn totals(stores: &Stores, made: &HashMap<LinkKey, Link>) -> Vec<u64> {
    let ids: Vec<Id> = made.values().map(|link| link.id).collect();
    let totals = stores.clicks.totals(&ids).await.unwrap();
    totals.iter().map(|total| total.clicks).collect()
}

/// Totals, and a page of each kind that they can be told from.
const TOTAL: u8 = 3;
const DAY: u8 = 2;
const MINUTE: u8 = 0;

#[tokio::test]
async fn the_hottest_links_are_named_without_those_on_damaged_pages() {
    let folder = tempfile::tempdir().unwrap();
    store_with_links(folder.path(), 200).await;
    spoil(folder.path(), TOTAL);
    edit(
        folder.path(),
        "UPDATE links SET code = '~' WHERE id =
            (SELECT max(id) FROM links)",
    );
    let hottest = open(folder.path()).stores().links.hottest(1_000).await.unwrap();
    assert!((150..199).contains(&hottest.len()), "{}", hottest.len());
}

#[tokio::test]
async fn a_damaged_page_stops_no_count_and_is_rebuilt_when_its_links_are_clicked() {
    for kind in [TOTAL, DAY, MINUTE] {
        let folder = tempfile::tempdir().unwrap();
        let made = store_with_links(folder.path(), 200).await;
        spoil(folder.path(), kind);
        let store = open(folder.path());
        let stores = store.stores();
        click_each(&stores, &made, 2, NOW.minute()).await;
        store.settle().await.unwrap();
        assert_eq!(totals(&stores, &made).await, vec![3; 200], "kind {kind}");
        let report = verify(folder.path()).unwrap();
        assert!(report.is_sound(), "{report:?}");
        assert_eq!(report.set_aside, 1, "kind {kind}");
    }
}

#[tokio::test]
async fn a_repair_tells_damaged_pages_from_the_whole_ones() {
    let folder = tempfile::tempdir().unwrap();
    let made = store_with_links(folder.path(), 200).await;
    let store = open(folder.path());
    click_each(&store.stores(), &made, 2, NOW.minute() + 3 * 1_440).await;
    store.settle().await.unwrap();
    store.close();
    for kind in [TOTAL, DAY] {
        // One after the other: the second is on a shard whose totals are whole again.
        spoil(folder.path(), kind);
        let report = verify(folder.path()).unwrap();
        assert!(!report.is_sound() && report.findings.iter().all(|f| f.remedy == REPAIR));
        repair(folder.path()).unwrap();
        assert!(verify(folder.path()).unwrap().is_sound());
    }
    let stores = open(folder.path()).stores();
    assert_eq!(totals(&stores, &made).await, vec![3; 200]);
    for link in made.values() {
        let days = stores.clicks.series(link.id, Granularity::Day, 0..u32::MAX).await.unwrap();
        assert_eq!(days.iter().map(|(_, clicks)| *clicks).collect::<Vec<_>>(), [2, 1]);
    }
    assert_eq!(verify(folder.path()).unwrap().set_aside, 2);
}

#[tokio::test]
async fn clicks_that_were_not_folded_and_are_damaged_stop_no_later_ones() {
    let folder = tempfile::tempdir().unwrap();
    let made = store_with_links(folder.path(), 200).await;
    let store = open(folder.path());
    let stores = store.stores();
    click_each(&stores, &made, 2, NOW.minute()).await;
    edit(
        folder.path(),
        "UPDATE click_deltas SET body = zeroblob(9) WHERE id = (SELECT min(id) FROM click_deltas)",
    );
    let ids: Vec<Id> = made.values().map(|link| link.id).collect();
    let error = stores.clicks.totals(&ids).await.unwrap_err();
    assert_eq!(error.kind, StorageErrorKind::Corrupt, "a wrong count is not told");
    click_each(&stores, &made, 3, NOW.minute()).await;
    store.settle().await.unwrap();
    let counted = totals(&stores, &made).await;
    assert!(counted.iter().all(|clicks| [3, 4].contains(clicks)), "{counted:?}");
    assert!(counted.contains(&3) && counted.iter().filter(|clicks| **clicks == 4).count() > 150);
    assert_eq!(verify(folder.path()).unwrap().set_aside, 1);
}

#[tokio::test]
async fn an_erased_link_leaves_nothing_on_pages_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let made = store_with_links(folder.path(), 1).await;
    let store = open(folder.path());
    let stores = store.stores();
    spoil(folder.path(), DAY);
    click_each(&stores, &made, 2, NOW.minute()).await;
    store.settle().await.unwrap();
    assert_eq!(verify(folder.path()).unwrap().set_aside, 1);
    for link in made.values() {
        stores.clicks.erase(link.id).await.unwrap();
    }
    assert_eq!(totals(&stores, &made).await, [0]);
    assert_eq!(verify(folder.path()).unwrap().set_aside, 0);
}

#[tokio::test]
async fn a_clock_that_jumps_ahead_costs_two_minutes_of_the_past() {
    let folder = tempfile::tempdir().unwrap();
    let made = store_with_links(folder.path(), 1).await;
    let store = open(folder.path());
    let stores = store.stores();
    let minute = NOW.minute();
    for n in 1..100 {
        click_each(&stores, &made, 1 + u64::from(n), minute + n).await;
    }
    click_each(&stores, &made, 200, minute + 500 * 1_440).await;
    store.settle().await.unwrap();
    click_each(&stores, &made, 201, minute + 100).await;
    store.settle().await.unwrap();
    for link in made.values() {
        let minutes = stores.clicks.series(link.id, Granularity::Minute, 0..u32::MAX).await;
        assert!(minutes.unwrap().len() >= 100, "real minutes were forgotten");
        let hours = stores.clicks.series(link.id, Granularity::Hour, 0..u32::MAX).await;
        assert!(hours.unwrap().len() >= 2, "real hours were forgotten");
    }
}
