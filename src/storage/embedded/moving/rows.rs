//! Links, the audit log and imported batches as records.

use rusqlite::Connection;

use super::{send, unreadable};
use crate::domain::audit::{AuditKey, GENESIS};
use crate::storage::Imported;
use crate::storage::embedded::fault::{Fault, Outcome};
use crate::storage::embedded::links::{self, Inserted};
use crate::storage::embedded::rows::{self, COLUMNS};
use crate::storage::embedded::{audit, imports};
use crate::storage::moving::records::{AuditRecord, BatchRecord, LinkRecord};
use crate::storage::moving::{Chain, Hex, Kind, Out};

pub(super) use crate::storage::embedded::links::Tally as Counts;

const OP: &str = super::SCAN;

pub(super) fn scan_links(conn: &Connection, out: &mut Out) -> Outcome<()> {
    let mut statement = conn.prepare(&format!("SELECT {COLUMNS} FROM links ORDER BY id"))?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        send(out, LinkRecord::from(&rows::decode(row)?))?;
    }
    Ok(())
}

pub(super) fn put_link(conn: &Connection, record: &LinkRecord, tally: &mut Counts) -> Outcome<()> {
    let link = record.to_link().ok_or_else(|| unreadable(Kind::Links))?;
    match links::insert(conn, &link, tally)? {
        Inserted::Yes => Ok(()),
        Inserted::CodeTaken | Inserted::ExternalIdTaken => {
            Err(Fault::Invalid(format!("the code or external id of link {} is in use", link.id)))
        }
    }
}

/// Fails where the log is not what was written.
pub(super) fn scan_audit(conn: &Connection, key: AuditKey, out: &mut Out) -> Outcome<()> {
    let mut chain = Chain::new(key);
    let sql = "SELECT seq, at, workspace, body, hash FROM audit_log ORDER BY seq";
    let mut statement = conn.prepare(sql)?;
    let mut found = statement.query([])?;
    let mut n_entries = 0_u64;
    while let Some(row) = found.next()? {
        let (body, hash) = (Hex(row.get(3)?), Hex(row.get(4)?));
        let (seq, at, workspace) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let entry = AuditRecord { seq, at, workspace, body, hash };
        chain.follow(OP, &entry).map_err(|error| Fault::corrupt(broken(&error)))?;
        send(out, entry)?;
        n_entries += 1;
    }
    let end = match audit::head(conn)? {
        Some((seq, hash, seal)) => chain.end(OP, seq, &hash, &seal),
        None if n_entries == 0 => Ok(()),
        None => chain.end(OP, 0, &GENESIS, &GENESIS),
    };
    end.map_err(|error| Fault::corrupt(broken(&error)))
}

fn broken(error: &crate::storage::StorageError) -> String {
    error.source.as_ref().map_or_else(|| error.to_string(), ToString::to_string)
}

pub(super) fn put_audit(conn: &Connection, record: &AuditRecord) -> Outcome<()> {
    let AuditRecord { seq, at, workspace, body, hash } = record;
    conn.prepare_cached(
        "INSERT INTO audit_log (seq, at, workspace, body, hash) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute((seq, at, workspace, &body.0, &hash.0))?;
    Ok(())
}

/// Notes that the log ends with its last row.
pub(super) fn seal_audit(conn: &Connection, key: &AuditKey) -> Outcome<()> {
    let Some((seq, hash)) = audit::last(conn)? else { return Ok(()) };
    audit::seal_end(conn, key, (seq, &hash))
}

/// Batches of which no answer is remembered are left out: to import one again finds its links.
pub(super) fn scan_batches(conn: &Connection, out: &mut Out) -> Outcome<()> {
    let mut statement = conn.prepare(
        "SELECT digest, fingerprint, outcomes FROM import_batches
         WHERE fingerprint IS NOT NULL AND outcomes IS NOT NULL",
    )?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        let outcomes: Vec<u8> = row.get(2)?;
        let outcomes = imports::decode(&outcomes)?.iter().map(Imported::letter).collect();
        let (digest, fingerprint) = (Hex(row.get(0)?), Hex(row.get(1)?));
        send(out, BatchRecord { digest, fingerprint, outcomes })?;
    }
    Ok(())
}

pub(super) fn put_batch(conn: &Connection, record: &BatchRecord) -> Outcome<()> {
    let outcomes: Option<Vec<Imported>> =
        record.outcomes.chars().map(Imported::from_letter).collect();
    let outcomes = outcomes.ok_or_else(|| unreadable(Kind::Batches))?;
    conn.prepare_cached(
        "INSERT INTO import_batches (digest, outcomes, fingerprint) VALUES (?1, ?2, ?3)",
    )?
    .execute((&record.digest.0, imports::encode(&outcomes), &record.fingerprint.0))?;
    Ok(())
}
