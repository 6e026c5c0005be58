//! Moves an embedded store, whole: reads everything as records, and writes records as rows.
//!
//! A page of records and how far the import came are one transaction, so each record is written
//! once. Clicks are kept aside until all of them are there (`build`).

mod build;
mod clicks;
mod rows;
mod tables;

use std::path::PathBuf;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension};

use super::Embedded;
use super::fault::{Fault, Outcome};
use super::readers::Lane;
use crate::domain::audit::AuditKey;
use crate::storage::error::{Op, StorageError, StorageErrorKind, StorageResult};
use crate::storage::moving::records::SecretsRecord;
use crate::storage::moving::{Kind, Move, MoveStore, Out, Record};
use crate::storage::secrets::{self, Secrets};

const SCAN: Op = "scan_records";
const PUT: Op = "put_records";

/// A store and the folder that it is in, where its secrets are.
pub struct EmbeddedMove {
    store: Embedded,
    folder: PathBuf,
}

impl EmbeddedMove {
    pub fn new(store: Embedded, folder: PathBuf) -> Self {
        Self { store, folder }
    }

    fn secrets(&self, op: Op) -> StorageResult<Secrets> {
        let refused = |error| StorageError::new(StorageErrorKind::Invalid, op, error);
        Secrets::open(&self.folder).map_err(refused)
    }

    fn audit_key(&self, op: Op) -> StorageResult<AuditKey> {
        Ok(AuditKey::of(&self.secrets(op)?.api_keys))
    }

    fn put_secrets(&self, record: &SecretsRecord) -> StorageResult<()> {
        let invalid = |reason: String| StorageError::new(StorageErrorKind::Invalid, PUT, reason);
        let secrets = Secrets::from_text(&record.secrets).map_err(invalid)?;
        secrets.replace(&self.folder).map_err(|error| {
            let text = format!("{}: {error}", self.folder.join(secrets::FILE_NAME).display());
            StorageError::new(StorageErrorKind::Unavailable, PUT, text)
        })
    }
}

#[async_trait]
impl MoveStore for EmbeddedMove {
    async fn settle(&self) -> StorageResult<()> {
        self.store.settle().await
    }

    async fn scan(&self, kind: Kind, mut out: Out) -> StorageResult<()> {
        let key = match kind {
            Kind::Secrets => {
                let secrets = self.secrets(SCAN)?.to_text();
                out.send(SCAN, SecretsRecord { secrets }).await?;
                return out.end(SCAN).await;
            }
            Kind::Audit => Some(self.audit_key(SCAN)?),
            _ => None,
        };
        self.store
            .read(SCAN, Lane::Long, move |conn| {
                match (kind, key) {
                    (Kind::Audit, Some(key)) => rows::scan_audit(conn, key, &mut out)?,
                    (Kind::Links, _) => rows::scan_links(conn, &mut out)?,
                    (Kind::Batches, _) => rows::scan_batches(conn, &mut out)?,
                    (Kind::ClickDays, _) => clicks::scan_days(conn, &mut out)?,
                    (Kind::Clicks, _) => clicks::scan_clicks(conn, &mut out)?,
                    (Kind::ClickTotals, _) => clicks::scan_totals(conn, &mut out)?,
                    _ => tables::scan(conn, kind, &mut out)?,
                }
                out.end_blocking(SCAN).map_err(|error| refused(&error))
            })
            .await
    }

    async fn moved(&self) -> StorageResult<Option<Move>> {
        self.store.moved().await
    }

    async fn begin(&self, archive: [u8; 32]) -> StorageResult<bool> {
        if self.folder.join(secrets::FILE_NAME).exists() {
            return Ok(false);
        }
        self.store
            .write("begin_import", move |conn| {
                let used = "SELECT EXISTS (SELECT 1 FROM workspaces) \
                     OR EXISTS (SELECT 1 FROM links) OR EXISTS (SELECT 1 FROM moves)";
                if conn.query_row(used, [], |row| row.get(0))? {
                    return Ok(false);
                }
                let note = "INSERT INTO moves (id, archive, done, finished) VALUES (0, ?1, 0, 0)";
                conn.execute(note, [archive.as_slice()])?;
                Ok(true)
            })
            .await
    }

    async fn put(&self, from: u64, records: Vec<Record>) -> StorageResult<()> {
        for record in &records {
            if let Record::Secrets(record) = record {
                self.put_secrets(record)?;
            }
        }
        let has_audit = records.iter().any(|record| record.kind() == Kind::Audit);
        let key = has_audit.then(|| self.audit_key(PUT)).transpose()?;
        self.store.write_clean(PUT, move |conn| put(conn, from, &records, key.as_ref())).await
    }

    async fn complete(&self) -> StorageResult<()> {
        while self.store.write("complete_import", build::some).await? {}
        Ok(())
    }

    async fn finish(&self) -> StorageResult<()> {
        self.store
            .write("finish_import", |conn| {
                conn.execute("UPDATE moves SET finished = 1 WHERE id = 0", [])?;
                Ok(())
            })
            .await
    }
}

impl Embedded {
    /// The import that this store came from, whether it is finished or not.
    pub async fn moved(&self) -> StorageResult<Option<Move>> {
        self.read("import_state", Lane::Short, moved).await
    }
}

fn moved(conn: &Connection) -> Outcome<Option<Move>> {
    let sql = "SELECT archive, done, finished FROM moves WHERE id = 0";
    let found = conn.prepare_cached(sql)?.query_row([], |row| {
        let done = row.get::<_, i64>(1)?.unsigned_abs();
        Ok(Move { archive: row.get(0)?, done, finished: row.get(2)? })
    });
    Ok(found.optional()?)
}

fn put(conn: &Connection, from: u64, records: &[Record], key: Option<&AuditKey>) -> Outcome<()> {
    let there = moved(conn)?.filter(|there| !there.finished && there.done >= from);
    let there = there.ok_or_else(|| Fault::Invalid("no import is at this record".into()))?;
    let known = usize::try_from(there.done - from).unwrap_or(usize::MAX);
    let mut tally = rows::Counts::default();
    for (number, record) in (from..).zip(records).skip(known) {
        match record {
            // Their file is written.
            Record::Secrets(_) => (),
            Record::Links(record) => rows::put_link(conn, record, &mut tally)?,
            Record::Audit(record) => rows::put_audit(conn, record)?,
            Record::Batches(record) => rows::put_batch(conn, record)?,
            Record::ClickDays(_) | Record::Clicks(_) | Record::ClickTotals(_) => {
                build::keep(conn, number, record)?;
            }
            record => tables::put(conn, record)?,
        }
    }
    tally.store(conn)?;
    if let Some(key) = key {
        rows::seal_audit(conn, key)?;
    }
    let done = (from + records.len() as u64).max(there.done);
    conn.prepare_cached("UPDATE moves SET done = ?1 WHERE id = 0")?.execute([done as i64])?;
    Ok(())
}

/// An error of whoever takes records, where the store's own are told.
fn refused(error: &StorageError) -> Fault {
    Fault::Batch { kind: error.kind, text: error.to_string() }
}

/// Hands a record out.
fn send(out: &mut Out, record: impl Into<Record>) -> Outcome<()> {
    out.send_blocking(SCAN, record).map_err(|error| refused(&error))
}

fn unreadable(kind: Kind) -> Fault {
    Fault::Invalid(format!("a record of {} says what no store holds", kind.as_str()))
}
