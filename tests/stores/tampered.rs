//! An audit log that was tampered with in the file: what `verify` says of it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;
use shunt::domain::audit::{AuditAction, AuditKey};
use shunt::domain::time::Timestamp;
use shunt::storage::audit::AuditQuery;
use shunt::storage::embedded::backup::backup;
use shunt::storage::embedded::restore::restore;
use shunt::storage::embedded::verify::{repair, verify};
use shunt::storage::embedded::{Embedded, Mode, database_file};
use shunt::storage::secrets::Secrets;

use crate::audit::{act, all};
use crate::damage::edit;
use crate::make::{NOW, link};

/// The store in a folder, with its keys.
fn open(path: &Path) -> Embedded {
    let secrets = Secrets::open_or_create(path).unwrap();
    let store = Embedded::open(path, Mode::Create).unwrap();
    store.seal_audit_log(AuditKey::of(&secrets.api_keys));
    store
}

/// A closed store whose log has `n` entries.
async fn store_with_log(path: &Path, n: u64) {
    let store = open(path);
    add(&store, 0..n).await;
    store.close();
}

async fn add(store: &Embedded, entries: std::ops::Range<u64>) {
    let stores = store.stores();
    for n in entries {
        let made = link(&format!("told-{n}"));
        stores.links.claim(vec![made], Some(act())).await.unwrap();
    }
}

/// What `verify` finds.
fn found(path: &Path) -> Vec<String> {
    verify(path).unwrap().findings.into_iter().map(|finding| finding.what).collect()
}

/// Edits the log past what guards it, as somebody does who can write the file.
fn tamper(path: &Path, sql: &str) {
    let conn = Connection::open(database_file(path)).unwrap();
    let guards: Vec<String> = {
        let mut guards =
            conn.prepare("SELECT sql FROM sqlite_schema WHERE type = 'trigger'").unwrap();
        let found = guards.query_map([], |row| row.get(0)).unwrap();
        found.collect::<Result<_, _>>().unwrap()
    };
    conn.execute_batch("DROP TRIGGER audit_log_stays; DROP TRIGGER audit_log_is_kept").unwrap();
    conn.execute_batch(sql).unwrap();
    conn.execute_batch(&guards.join(";")).unwrap();
}

#[tokio::test]
async fn a_whole_log_is_whole_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    store_with_log(folder.path(), 9).await;
    let report = verify(folder.path()).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(report.audit_entries, 9);
    repair(folder.path()).unwrap();
    assert_eq!(verify(folder.path()).unwrap().audit_entries, 9, "a repair leaves it alone");
}

#[tokio::test]
async fn every_kind_of_tampering_is_found_where_it_is() {
    let last = "(SELECT max(seq) FROM audit_log)";
    for (what, sql, place) in [
        (
            "a byte of a body",
            "UPDATE audit_log
             SET body = CAST(substr(body, 1, 20) || x'ff' || substr(body, 22) AS BLOB)
             WHERE seq = 4"
                .to_owned(),
            "entry 4 ",
        ),
        ("a seal", "UPDATE audit_log SET hash = zeroblob(32) WHERE seq = 4".to_owned(), "entry 4 "),
        ("a short seal", "UPDATE audit_log SET hash = x'00' WHERE seq = 4".to_owned(), "entry 4 "),
        ("a workspace", "UPDATE audit_log SET workspace = 1 WHERE seq = 5".to_owned(), "entry 5 "),
        ("a time", "UPDATE audit_log SET at = at - 1 WHERE seq = 5".to_owned(), "entry 5 "),
        ("a row taken out", "DELETE FROM audit_log WHERE seq = 3".to_owned(), "entry 3 "),
        ("the first row taken out", "DELETE FROM audit_log WHERE seq = 1".to_owned(), "entry 1 "),
        (
            "two rows swapped",
            "UPDATE audit_log SET seq = 100 WHERE seq = 3;
             UPDATE audit_log SET seq = 3 WHERE seq = 6;
             UPDATE audit_log SET seq = 6 WHERE seq = 100;"
                .to_owned(),
            "entry 3 ",
        ),
        (
            "a row taken out and the others moved up",
            "DELETE FROM audit_log WHERE seq = 3;
             UPDATE audit_log SET seq = -seq WHERE seq > 3;
             UPDATE audit_log SET seq = -seq - 1 WHERE seq < 0;"
                .to_owned(),
            "entry 3 ",
        ),
        ("the tail cut off", "DELETE FROM audit_log WHERE seq > 6".to_owned(), "entry 7 "),
        (
            "the tail cut off and the end put there",
            format!(
                "DELETE FROM audit_log WHERE seq > 6;
                 UPDATE audit_head SET seq = 6, hash =
                    (SELECT hash FROM audit_log WHERE seq = {last});"
            ),
            "entry 6,",
        ),
        (
            "a row put in behind the end",
            format!(
                "INSERT INTO audit_log SELECT seq + 1, at, workspace, body, hash FROM audit_log
                 WHERE seq = {last}"
            ),
            "entry 10 ",
        ),
        (
            "a row put in before the first",
            "INSERT INTO audit_log SELECT 0, at, workspace, body, hash FROM audit_log
             WHERE seq = 1"
                .to_owned(),
            "before its first",
        ),
        ("all rows taken out", "DELETE FROM audit_log".to_owned(), "entry 1 "),
        ("the end forgotten", "DELETE FROM audit_head".to_owned(), "entry 9,"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        store_with_log(folder.path(), 9).await;
        tamper(folder.path(), &sql);
        let findings = found(folder.path());
        assert_eq!(findings.len(), 1, "{what}: {findings:?}");
        assert!(findings[0].contains(place), "{what}: {findings:?}");
        // The log goes on, and nothing that is written later hides what was done.
        let store = open(folder.path());
        add(&store, 20..24).await;
        store.close();
        assert!(!found(folder.path()).is_empty(), "{what} was healed over");
    }
}

#[tokio::test]
async fn the_store_itself_refuses_to_change_an_entry() {
    let folder = tempfile::tempdir().unwrap();
    store_with_log(folder.path(), 3).await;
    let conn = Connection::open(database_file(folder.path())).unwrap();
    for sql in ["UPDATE audit_log SET at = 0", "DELETE FROM audit_log WHERE seq = 3"] {
        let refused = conn.execute_batch(sql).unwrap_err().to_string();
        assert!(refused.contains("entries of the audit log are never"), "{refused}");
    }
    drop(conn);
    assert_eq!(verify(folder.path()).unwrap().audit_entries, 3);
    edit(folder.path(), "DROP TRIGGER audit_log_stays");
    assert_eq!(found(folder.path()).len(), 1, "a guard that is gone is noticed");
}

#[tokio::test]
async fn without_its_key_nothing_is_put_into_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let stores = Embedded::open(folder.path(), Mode::Create).unwrap().stores();
    stores.links.claim(vec![link("told")], Some(act())).await.unwrap_err();
    assert_eq!(stores.links.count().await.unwrap(), 0, "and nothing is done that it must tell");
}

#[tokio::test]
async fn an_entry_shares_the_fate_of_its_change() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let stores = store.stores();
    let made = link("first");
    stores.links.claim(vec![made.clone()], Some(act())).await.unwrap();
    // The id is in use: the whole call is taken back.
    let clash = shunt::domain::link::Link { id: made.id, ..link("second") };
    stores.links.claim(vec![link("third"), clash], Some(act())).await.unwrap_err();
    assert_eq!(stores.audit.audit_log(all()).await.unwrap().entries.len(), 1);
    store.close();
    assert!(verify(folder.path()).unwrap().is_sound());
}

#[tokio::test]
async fn two_processes_and_a_check_beside_them_agree_on_one_log() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (open(folder.path()), open(folder.path()));
    let done = Arc::new(AtomicBool::new(false));
    let checks = std::thread::spawn({
        let (path, done) = (folder.path().to_owned(), Arc::clone(&done));
        move || {
            while !done.load(Ordering::Relaxed) {
                let report = verify(&path).unwrap();
                assert!(report.is_sound(), "{report:?}");
            }
        }
    });
    tokio::join!(add(&one, 0..150), add(&other, 200..350));
    done.store(true, Ordering::Relaxed);
    checks.join().unwrap();
    one.close();
    other.close();
    let report = verify(folder.path()).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(report.audit_entries, 300);
}

#[tokio::test]
async fn a_backup_holds_the_log_whole_and_one_that_was_tampered_with_is_not_restored() {
    let folder = tempfile::tempdir().unwrap();
    let [home, copy, back] = ["home", "copy", "back"].map(|name| folder.path().join(name));
    store_with_log(&home, 5).await;
    backup(&home, &copy).unwrap();
    let now = Timestamp(NOW.as_millis());
    restore(&copy, &back, false, now).unwrap();
    assert_eq!(verify(&back).unwrap().audit_entries, 5);
    let store = open(&back);
    add(&store, 50..53).await;
    let query = AuditQuery { action: Some(AuditAction::LinkCreate), ..all() };
    let entries = store.stores().audit.audit_log(query).await.unwrap().entries;
    assert_eq!((entries.len(), entries[0].seq), (8, 8));
    store.close();
    assert!(verify(&back).unwrap().is_sound());

    tamper(&copy, "DELETE FROM audit_log WHERE seq = 2");
    let refused = restore(&copy, &folder.path().join("other"), false, now).unwrap_err();
    let words = refused.source.unwrap().to_string();
    assert!(words.contains("entry 2 of the audit log is missing"), "{words}");
}
