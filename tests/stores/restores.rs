//! A restored store is the one of the backup, and gives out nothing that its past gave out.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use shunt::domain::seal::SEALED_SPACE;
use shunt::domain::time::Timestamp;
use shunt::storage::embedded::backup::backup;
use shunt::storage::embedded::restore::restore;
use shunt::storage::embedded::{Embedded, Mode};
use shunt::storage::lock::StoreLock;
use shunt::storage::secrets::Secrets;
use shunt::storage::{StorageErrorKind, Stores};

use crate::damage::{edit, store_with_links};
use crate::make::{NOW, key, link};

fn open(path: &Path) -> Stores {
    Embedded::open(path, Mode::Create).unwrap().stores()
}

#[tokio::test]
async fn a_restore_replaces_a_store_only_when_told_and_never_one_in_use() {
    let (home, vault) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    Secrets::open_or_create(home.path()).unwrap();
    open(home.path()).links.claim(vec![link("old")], None).await.unwrap();
    let copy = vault.path().join("copy");
    backup(home.path(), &copy).unwrap();
    open(home.path()).links.claim(vec![link("new")], None).await.unwrap();

    let refused = restore(&copy, home.path(), false, NOW).unwrap_err();
    assert_eq!(refused.kind, StorageErrorKind::Invalid);
    let lock = StoreLock::try_acquire(home.path()).unwrap();
    let refused = restore(&copy, home.path(), true, NOW).unwrap_err();
    assert_eq!(refused.kind, StorageErrorKind::Unavailable);
    drop(lock);
    restore(&copy, home.path(), true, NOW).unwrap();
    let stores = open(home.path());
    assert!(stores.links.fetch(&key("old")).await.unwrap().is_some());
    assert!(stores.links.fetch(&key("new")).await.unwrap().is_none());
}

#[tokio::test]
async fn ids_given_out_after_the_backup_are_not_given_out_again() {
    let (home, vault) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    Secrets::open_or_create(home.path()).unwrap();
    let copy = vault.path().join("copy");
    {
        let stores = open(home.path());
        stores.nodes.lease_block("others", 10).await.unwrap();
        stores.nodes.raise_clock_mark(0, Timestamp(5)).await.unwrap();
    }
    // No sealed code yet: the backup does not know of the space.
    backup(home.path(), &copy).unwrap();
    let (mut newest, mut mark) = (HashMap::new(), NOW);
    {
        let stores = open(home.path());
        for space in [SEALED_SPACE, "others"] {
            newest.insert(space, stores.nodes.lease_block(space, 65_536).await.unwrap() + 65_535);
        }
    }
    let fresh = tempfile::tempdir().unwrap();
    // The first goes elsewhere, where nothing tells what was given out; the second over the store.
    for target in [fresh.path(), home.path()] {
        restore(&copy, target, true, NOW).unwrap();
        let stores = open(target);
        for space in [SEALED_SPACE, "others"] {
            let first = stores.nodes.lease_block(space, 65_536).await.unwrap();
            assert!(first > newest[space], "{space} begins again at {first}");
        }
        assert!(stores.nodes.clock_mark(0).await.unwrap() > mark, "ids of links may come again");
        drop(stores);
        // A store that is replaced is believed: its clock was ahead, its ids are far away.
        let stores = open(home.path());
        let leased = stores.nodes.lease_block(SEALED_SPACE, 1 << 25).await.unwrap();
        newest.insert(SEALED_SPACE, leased + (1 << 25) - 1);
        mark = NOW.plus_millis(40_000);
        stores.nodes.raise_clock_mark(0, mark.plus_millis(1)).await.unwrap();
    }
}

#[tokio::test]
async fn every_store_that_is_replaced_is_kept() {
    let (home, vault) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    Secrets::open_or_create(home.path()).unwrap();
    let copy = vault.path().join("copy");
    open(home.path()).links.claim(vec![link("zero")], None).await.unwrap();
    backup(home.path(), &copy).unwrap();
    for code in ["one", "two", "three"] {
        open(home.path()).links.claim(vec![link(code)], None).await.unwrap();
        restore(&copy, home.path(), true, NOW).unwrap();
    }
    for (code, suffix) in [("one", ""), ("two", ".2"), ("three", ".3")] {
        let again = tempfile::tempdir().unwrap();
        let kept = home.path().join(format!("shunt.db.replaced{suffix}"));
        fs::copy(kept, again.path().join("shunt.db")).unwrap();
        assert!(open(again.path()).links.fetch(&key(code)).await.unwrap().is_some(), "{code}");
        assert!(home.path().join(format!("keys.toml.replaced{suffix}")).exists());
    }
}

#[tokio::test]
async fn a_backup_with_a_damaged_link_or_damaged_counts_replaces_nothing() {
    let home = tempfile::tempdir().unwrap();
    store_with_links(home.path(), 20).await;
    let spoils = [
        ("UPDATE links SET destination = 'https://evil.example/' WHERE code = 'code-1'", "another"),
        ("UPDATE click_pages SET body = zeroblob(9) WHERE id >> 48 = 3", "--repair"),
    ];
    for (sql, advice) in spoils {
        let vault = tempfile::tempdir().unwrap();
        let copy = vault.path().join("copy");
        backup(home.path(), &copy).unwrap();
        edit(&copy, sql);
        let refused = restore(&copy, home.path(), true, NOW).unwrap_err();
        assert_eq!(refused.kind, StorageErrorKind::Corrupt);
        let told = refused.source.unwrap().to_string();
        assert!(told.contains(advice), "{told}");
        assert!(!home.path().join("shunt.db.replaced").exists());
    }
    assert!(open(home.path()).links.fetch(&key("code-1")).await.unwrap().is_some());
}

#[tokio::test]
async fn a_backup_holds_no_key_that_tells_visitors() {
    let (home, vault) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    Secrets::open_or_create(home.path()).unwrap();
    let stores = open(home.path());
    let before = stores.clicks.visitor_keys(100, 100).await.unwrap();
    let copy = vault.path().join("copy");
    backup(home.path(), &copy).unwrap();
    assert_eq!(stores.clicks.visitor_keys(100, 100).await.unwrap(), before, "the store has it");
    let bytes = fs::read(copy.join("shunt.db")).unwrap();
    for (_, key) in &before {
        assert!(!bytes.windows(16).any(|window| window == key.bytes()));
    }
    let restored = tempfile::tempdir().unwrap();
    restore(&copy, restored.path(), false, NOW).unwrap();
    let after = open(restored.path()).clicks.visitor_keys(100, 100).await.unwrap();
    assert!(before.iter().all(|key| !after.contains(key)));
}
