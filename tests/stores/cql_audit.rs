//! The audit log of several nodes: one chain, in buckets, with an index behind it.

use scylla::value::CqlValue;
use shunt::domain::audit::{AuditAction, AuditEntry, AuditKey, GENESIS, encode};
use shunt::domain::seal::SealKey;
use shunt::storage::audit::{AuditQuery, AuditStore as _};
use shunt::storage::moving::{Kind, MoveStore as _, Out};
use shunt::storage::scylla::moving::CqlMove;
use shunt::storage::secrets::Secrets;
use shunt::storage::{StorageError, StorageErrorKind};

use crate::audit::{act, all};
use crate::cql::{Lent, lend, open};

/// Entries of the whole log, the oldest first; all of them are of one workspace.
async fn log(lent: &Lent) -> Vec<AuditEntry> {
    let mut entries = lent.cql().audit_log(all()).await.unwrap().entries;
    entries.reverse();
    entries
}

fn assert_chain(entries: &[AuditEntry], mut before: (u64, [u8; 32])) {
    let key = AuditKey::of(&[7; 32]);
    for entry in entries {
        let seq = before.0 + 1;
        let hash = key.link(&before.1, seq, &encode(&entry.draft));
        assert_eq!((entry.seq, entry.hash), (seq, hash));
        before = (seq, hash);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_append_at_once_make_one_chain() {
    let lent = lend().await;
    let nodes = [lent.cql().clone(), open(lent.keyspace).await];
    // Each of them thinks that the log ends where it left it.
    for node in [&nodes[0], &nodes[1], &nodes[0], &nodes[1]] {
        let entry = act().entry(AuditAction::UserLogin, None).saying("0:first");
        node.append(vec![entry]).await.unwrap();
    }
    let writers = (0..60).map(|n| {
        let node = nodes[n % 2].clone();
        tokio::spawn(async move {
            let entries = (0..=n % 3).map(|part| {
                // Writes are full of bytes before they are full of rows.
                let detail = format!("{part}:{n}:{}", "-".repeat(150));
                act().entry(AuditAction::UserLogin, None).saying(detail)
            });
            node.append(entries.collect()).await.unwrap();
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let entries = log(&lent).await;
    assert_eq!(entries.len(), 124);
    assert_chain(&entries, (0, GENESIS));
    // What one call brings stays together.
    for entry in entries.windows(2) {
        let (one, two) = (&entry[0].draft.detail, &entry[1].draft.detail);
        if !two.starts_with("0:") {
            assert_eq!(one.split(':').nth(1), two.split(':').nth(1));
        }
    }
    assert_eq!(nodes[1].audit_count(all()).await.unwrap(), 124);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_chain_goes_on_in_the_next_bucket() {
    let lent = lend().await;
    let hash = "ab".repeat(32);
    for (bucket, last) in [(0, 9_999), (1, 19_998)] {
        lent.run(&format!(
            "UPDATE audit_log SET last_seq = {last}, last_hash = 0x{hash} WHERE bucket = {bucket}"
        ))
        .await;
    }
    let entries = (0..70).map(|_| act().entry(AuditAction::UserLogin, None)).collect();
    lent.cql().append(entries).await.unwrap();
    let entries = log(&lent).await;
    assert_eq!(entries.len(), 70);
    assert_chain(&entries, (19_998, [0xab; 32]));
    let ends = lent.run("SELECT DISTINCT bucket, last_seq FROM audit_log").await;
    assert_eq!(ends.len(), 3, "{ends:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_was_cut_short_is_completed_by_whoever_reads() {
    let lent = lend().await;
    for _ in 0..5 {
        lent.cql().append(vec![act().entry(AuditAction::UserLogin, None)]).await.unwrap();
    }
    assert_eq!(log(&lent).await.len(), 5);
    for table in ["audit_by_workspace", "candidates"] {
        lent.run(&format!("TRUNCATE {table}")).await;
    }
    lent.run("UPDATE marks SET value = 2 WHERE name = 'audit_indexed'").await;
    let entries = log(&lent).await;
    assert_eq!(entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [3, 4, 5]);
    let query = AuditQuery { action: Some(AuditAction::UserLogin), ..all() };
    assert_eq!(lent.cql().audit_count(query).await.unwrap(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_not_what_was_written_is_neither_moved_nor_verified() {
    let lent = lend().await;
    let seal = vec![SealKey { version: 1, secret: [5; 32] }];
    let secrets = Secrets { api_keys: [7; 32], cursors: [6; 32], seal };
    let made = || Ok::<_, StorageError>(secrets.to_text());
    lent.cql().secrets(made).await.unwrap();
    for _ in 0..3 {
        lent.cql().append(vec![act().entry(AuditAction::UserLogin, None)]).await.unwrap();
    }
    let database = CqlMove::of(open(lent.keyspace).await);
    let read = async || {
        let (out, mut pages) = Out::channel();
        let taken = async { while pages.recv().await.is_some() {} };
        let (scanned, ()) = tokio::join!(database.scan(Kind::Audit, out), taken);
        scanned.map_err(|error| (error.kind, error.source.unwrap().to_string()))
    };
    assert_eq!(read().await, Ok(()));
    let of_two = "SELECT hash FROM audit_log WHERE bucket = 0 AND seq = 2";
    let hash: String = match lent.run(of_two).await.remove(0).columns.remove(0) {
        Some(CqlValue::Blob(hash)) => hash.iter().map(|byte| format!("{byte:02x}")).collect(),
        other => panic!("{other:?}"),
    };
    // The end first: what is in the middle is noticed before it.
    for (change, told) in [
        (
            format!("UPDATE audit_log SET last_seq = 2, last_hash = 0x{hash} WHERE bucket = 0"),
            "end behind entry 2",
        ),
        (
            "UPDATE audit_log SET body = 0x00 WHERE bucket = 0 AND seq = 2".to_owned(),
            "entry 2 of the audit log is missing",
        ),
        (
            "DELETE FROM audit_log WHERE bucket = 0 AND seq = 1".to_owned(),
            "entry 1 of the audit log is missing",
        ),
    ] {
        lent.run(&change).await;
        let (kind, text) = read().await.unwrap_err();
        assert_eq!(kind, StorageErrorKind::Corrupt);
        assert!(text.contains(told), "{change}: {text}");
    }
}
