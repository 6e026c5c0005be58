//! Damaged click counts cost as little as can be: the other links count on, and what the whole
//! pages tell of the damaged ones is brought back.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use shunt::domain::code::LinkKey;
use shunt::domain::id::Id;
use shunt::domain::link::Link;
use shunt::storage::embedded::verify::{REPAIR, repair, verify};
use shunt::storage::embedded::{Embedded, Mode};
use shunt::storage::{StorageErrorKind, Stores};

use crate::damage::{edit, store_with_links};
use crate::make::{NOW, clicked};
use crate::tell::all_of;

pub(crate) fn open(path: &Path) -> Embedded {
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

pub(crate) async fn click_each(
    stores: &Stores,
    made: &HashMap<LinkKey, Link>,
    segment: u64,
    minute: u32,
) {
    let rows: Vec<_> = made.values().map(|link| (link.id, minute, 1)).collect();
    stores.clicks.flush(Arc::new(vec![clicked(segment, 0, 9, &rows)])).await.unwrap();
}

pub(crate) async fn totals(stores: &Stores, made: &HashMap<LinkKey, Link>) -> Vec<u64> {
    let ids: Vec<Id> = made.values().map(|link| link.id).collect();
    let totals = stores.clicks.totals(&ids).await.unwrap();
    totals.iter().map(|total| total.clicks).collect()
}

/// Totals, and a page of the kind that they can be told from.
const TOTAL: u8 = 3;
const DAY: u8 = 2;

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
    for kind in [TOTAL, DAY] {
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
    let day = NOW.minute() / 1_440;
    for link in made.values() {
        assert_eq!(all_of(&stores, link.id).await.people(), [(day, 2), (day + 3, 1)]);
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
        "UPDATE click_chunks SET body = zeroblob(9) WHERE id = (SELECT min(id) FROM click_chunks)",
    );
    let ids: Vec<Id> = made.values().map(|link| link.id).collect();
    let error = stores.clicks.totals(&ids).await.unwrap_err();
    assert_eq!(error.kind, StorageErrorKind::Corrupt, "a wrong count is not told");
    let report = verify(folder.path()).unwrap();
    assert_eq!(report.findings.len(), 1, "{report:?}");
    assert_eq!(report.findings[0].remedy, REPAIR);
    click_each(&stores, &made, 3, NOW.minute()).await;
    store.settle().await.unwrap();
    let counted = totals(&stores, &made).await;
    assert!(counted.iter().all(|clicks| [3, 4].contains(clicks)), "{counted:?}");
    assert!(counted.contains(&3) && counted.iter().filter(|clicks| **clicks == 4).count() > 150);
    let report = verify(folder.path()).unwrap();
    assert!(report.is_sound() && report.set_aside == 1, "{report:?}");
}

#[tokio::test]
async fn a_repair_sets_damaged_clicks_aside_that_were_not_folded() {
    let folder = tempfile::tempdir().unwrap();
    let made = store_with_links(folder.path(), 200).await;
    let store = open(folder.path());
    click_each(&store.stores(), &made, 2, NOW.minute()).await;
    store.close();
    edit(folder.path(), "UPDATE click_chunks SET body = zeroblob(9) WHERE id >> 48 = 3");
    repair(folder.path()).unwrap();
    let report = verify(folder.path()).unwrap();
    assert!(report.is_sound() && report.set_aside == 1, "{report:?}");
    let counted = totals(&open(folder.path()).stores(), &made).await;
    assert!(counted.contains(&2) && counted.iter().filter(|clicks| **clicks == 3).count() > 150);
    assert!(report.clicks > 550, "clicks that are whole stay: {report:?}");
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
        stores.clicks.erase(link.id, None).await.unwrap();
    }
    assert_eq!(totals(&stores, &made).await, [0]);
    assert_eq!(verify(folder.path()).unwrap().set_aside, 0);
}
