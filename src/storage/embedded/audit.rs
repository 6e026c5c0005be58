//! The audit log: rows that are only ever added, each sealed together with the one before.
//!
//! An entry is written in the transaction of the change it tells of. Where the log ends is kept
//! apart and sealed too, so that a log that was cut off is noticed.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension};
use tracing::warn;

use super::fault::{Fault, Outcome};
use super::readers::{Lane, in_snapshot};
use super::verify::{RESTORE, Report};
use super::{Embedded, signed};
use crate::domain::audit::{
    Act, AuditDraft, AuditEntry, AuditHash, AuditKey, GENESIS, decode, encode,
};
use crate::domain::time::Timestamp;
use crate::storage::StorageResult;
use crate::storage::audit::{AuditPage, AuditQuery, AuditStore};

/// Entries that one page looks at.
const SCAN_MAX: u32 = 20_000;
/// Entries that are verified in one snapshot.
const VERIFY_ROWS: u32 = 20_000;
/// What keeps the rows as they are, by name.
const GUARDS: [&str; 2] = ["audit_log_stays", "audit_log_is_kept"];

#[async_trait]
impl AuditStore for Embedded {
    async fn append(&self, entries: Vec<AuditDraft>) -> StorageResult<()> {
        let key = self.audit_key();
        self.write("append_audit", move |conn| append(conn, key.as_ref(), &entries)).await
    }

    async fn audit_log(&self, query: AuditQuery) -> StorageResult<AuditPage> {
        self.read("audit_log", Lane::Long, move |conn| page(conn, &query)).await
    }

    async fn audit_count(&self, query: AuditQuery) -> StorageResult<u64> {
        self.read("audit_count", Lane::Long, move |conn| count(conn, &query)).await
    }
}

/// What an operation adds to the log: nothing where nobody acts.
pub(super) struct Log {
    pub(super) key: Option<AuditKey>,
    pub(super) act: Option<Act>,
}

impl Log {
    /// Adds the entry that `make` makes of the act.
    pub(super) fn add(
        &self,
        conn: &Connection,
        make: impl FnOnce(Act) -> AuditDraft,
    ) -> Outcome<()> {
        match self.act {
            Some(act) => append(conn, self.key.as_ref(), &[make(act)]),
            None => Ok(()),
        }
    }

    /// Adds one entry for each of `items`.
    pub(super) fn add_each<'a, T: 'a>(
        &self,
        conn: &Connection,
        items: impl Iterator<Item = &'a T>,
        make: impl Fn(Act, &T) -> AuditDraft,
    ) -> Outcome<()> {
        let Some(act) = self.act else { return Ok(()) };
        let entries: Vec<_> = items.map(|item| make(act, item)).collect();
        append(conn, self.key.as_ref(), &entries)
    }
}

/// Appends entries. Must run in the transaction of what they tell of.
pub(super) fn append(
    conn: &Connection,
    key: Option<&AuditKey>,
    entries: &[AuditDraft],
) -> Outcome<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let key = key.ok_or_else(|| Fault::Invalid("the store was opened without its keys".into()))?;
    let (mut seq, mut hash) = end(conn, key)?;
    let mut insert = conn.prepare_cached(
        "INSERT OR IGNORE INTO audit_log (seq, at, workspace, body, hash)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for entry in entries {
        let (at, workspace) = (entry.act.at.as_millis(), signed(entry.act.workspace));
        let body = encode(entry);
        let mut put = |seq: u64, hash: &AuditHash| {
            insert.execute((seq as i64, at, workspace, body.as_slice(), hash.as_slice()))
        };
        let sealed = key.link(&hash, seq + 1, &body);
        (seq, hash) = if put(seq + 1, &sealed)? == 1 {
            (seq + 1, sealed)
        } else {
            // Somebody put rows behind the end. The log goes on behind them, and the place that is
            // left out keeps telling of it.
            let behind = last(conn)?.map_or(seq, |(seq, _)| seq) + 2;
            let sealed = key.link(&hash, behind, &body);
            put(behind, &sealed)?;
            (behind, sealed)
        };
    }
    seal_end(conn, key, (seq, &hash))
}

/// Notes where the log ends.
pub(super) fn seal_end(
    conn: &Connection,
    key: &AuditKey,
    (seq, hash): (u64, &AuditHash),
) -> Outcome<()> {
    conn.prepare_cached(
        "INSERT OR REPLACE INTO audit_head (id, seq, hash, seal) VALUES (0, ?1, ?2, ?3)",
    )?
    .execute((seq as i64, hash.as_slice(), key.head(seq, hash).as_slice()))?;
    Ok(())
}

/// Where the log ends. When that was tampered with, the log goes on all the same, and leaves a
/// place out that keeps telling of it.
fn end(conn: &Connection, key: &AuditKey) -> Outcome<(u64, AuditHash)> {
    match head(conn)? {
        Some((seq, hash, seal)) if key.head(seq, &hash) == seal => Ok((seq, hash)),
        kept => Ok(match last(conn)? {
            Some((seq, hash)) => (seq + 1, hash),
            None if kept.is_some() => (1, GENESIS),
            None => (0, GENESIS),
        }),
    }
}

/// The end as it is kept: place, seal of the last entry, seal of both.
pub(super) fn head(conn: &Connection) -> Outcome<Option<(u64, AuditHash, AuditHash)>> {
    let found = conn
        .prepare_cached("SELECT seq, hash, seal FROM audit_head WHERE id = 0")?
        .query_row([], |row| Ok((row.get::<_, i64>(0)? as u64, row.get(1)?, row.get(2)?)))
        .optional();
    found_or_damaged(found)
}

/// The last row there is.
pub(super) fn last(conn: &Connection) -> Outcome<Option<(u64, AuditHash)>> {
    let found = conn
        .prepare_cached("SELECT seq, hash FROM audit_log ORDER BY seq DESC LIMIT 1")?
        .query_row([], |row| Ok((row.get::<_, i64>(0)? as u64, row.get(1)?)))
        .optional();
    // A seal of another length is that of nothing.
    match found_or_damaged(found)? {
        None => {
            let seq: Option<i64> =
                conn.query_row("SELECT max(seq) FROM audit_log", [], |row| row.get(0))?;
            Ok(seq.map(|seq| (seq as u64, GENESIS)))
        }
        found => Ok(found),
    }
}

/// What cannot be read as what it should be is not there.
fn found_or_damaged<T>(found: rusqlite::Result<Option<T>>) -> Outcome<Option<T>> {
    match found {
        Err(rusqlite::Error::FromSqlConversionFailure(..)) => Ok(None),
        Err(rusqlite::Error::InvalidColumnType(..)) => Ok(None),
        found => Ok(found?),
    }
}

fn page(conn: &Connection, query: &AuditQuery) -> Outcome<AuditPage> {
    let before = query.before.map_or(i64::MAX, |seq| i64::try_from(seq).unwrap_or(i64::MAX));
    let mut statement = conn.prepare_cached(
        "SELECT seq, body, hash FROM audit_log WHERE workspace = ?1 AND seq < ?2
         ORDER BY seq DESC LIMIT ?3",
    )?;
    let mut found = statement.query((signed(query.workspace), before, SCAN_MAX))?;
    let (mut page, mut seen) = (AuditPage::default(), 0);
    let mut reached = None;
    while let Some(row) = found.next()? {
        let seq = row.get::<_, i64>(0)? as u64;
        if page.entries.len() >= query.limit.max(1) as usize {
            page.next = reached;
            return Ok(page);
        }
        (seen, reached) = (seen + 1, Some(seq));
        let body = row.get_ref(1)?.as_blob().ok().and_then(decode);
        match (body, row.get(2)) {
            (Some(draft), Ok(hash)) if query.matches(&draft) => {
                page.entries.push(AuditEntry { seq, hash, draft });
            }
            (Some(_), Ok(_)) => (),
            _ => warn!(seq, "an entry of the audit log cannot be read and is left out"),
        }
    }
    page.next = reached.filter(|_| seen == SCAN_MAX);
    Ok(page)
}

fn count(conn: &Connection, query: &AuditQuery) -> Outcome<u64> {
    let everything = AuditQuery { workspace: query.workspace, ..AuditQuery::default() };
    if (AuditQuery { before: None, limit: 0, ..query.clone() }) == everything {
        let sql = "SELECT count(*) FROM audit_log WHERE workspace = ?1";
        let n = conn.prepare_cached(sql)?.query_row([signed(query.workspace)], |row| row.get(0));
        return Ok(n.map(|n: i64| n as u64)?);
    }
    let sql = "SELECT body FROM audit_log WHERE workspace = ?1 AND at >= ?2 AND at < ?3";
    let from = query.from.map_or(i64::MIN, Timestamp::as_millis);
    let to = query.to.map_or(i64::MAX, Timestamp::as_millis);
    let mut statement = conn.prepare_cached(sql)?;
    let mut found = statement.query((signed(query.workspace), from, to))?;
    let mut n = 0;
    while let Some(row) = found.next()? {
        let body = row.get_ref(0)?.as_blob().ok().and_then(decode);
        n += u64::from(body.is_some_and(|draft| query.matches(&draft)));
    }
    Ok(n)
}

/// Checks the chain from its first entry to its end. Names the first place where it is broken:
/// what stands behind that cannot be told from what was made up.
pub(super) fn check(conn: &Connection, key: &AuditKey, report: &mut Report) -> Outcome<()> {
    if !is_there(conn, "audit_log")? {
        // The layout before.
        return Ok(());
    }
    for guard in GUARDS {
        if !is_there(conn, guard)? {
            report.add("what keeps the audit log from being changed is missing", RESTORE);
        }
    }
    let mut walk = Walk { seq: 0, hash: GENESIS };
    loop {
        // Rows stay as they are, so each part may have a snapshot of its own; whether the log ends
        // where it should is asked in that of the last one.
        let broken = in_snapshot(conn, |conn| walk.part(conn, key))?;
        match broken {
            Part::More => (),
            Part::End => break,
            Part::Broken(what) => {
                report.add(what, RESTORE);
                break;
            }
        }
    }
    report.audit_entries = walk.seq;
    Ok(())
}

/// How far the chain is known to be whole.
struct Walk {
    seq: u64,
    hash: AuditHash,
}

enum Part {
    More,
    End,
    Broken(String),
}

impl Walk {
    fn part(&mut self, conn: &Connection, key: &AuditKey) -> Outcome<Part> {
        let mut statement = conn.prepare_cached(
            "SELECT seq, at, workspace, body, hash FROM audit_log WHERE seq > ?1
             ORDER BY seq LIMIT ?2",
        )?;
        let mut found = statement.query((self.seq as i64, VERIFY_ROWS))?;
        let mut n_rows = 0;
        while let Some(row) = found.next()? {
            n_rows += 1;
            let seq = row.get::<_, i64>(0)? as u64;
            if seq != self.seq + 1 {
                let missing = self.seq + 1;
                return Ok(Part::Broken(format!("entry {missing} of the audit log is missing")));
            }
            let body = row.get_ref(3)?.as_blob().unwrap_or_default();
            let sealed = key.link(&self.hash, seq, body);
            let kept: Option<AuditHash> = row.get(4).ok();
            let told =
                decode(body).map(|draft| (draft.act.at.as_millis(), signed(draft.act.workspace)));
            let beside: (i64, i64) = (row.get(1)?, row.get(2)?);
            if kept != Some(sealed) || told != Some(beside) {
                let what = format!("entry {seq} of the audit log is not what was written there");
                return Ok(Part::Broken(what));
            }
            (self.seq, self.hash) = (seq, sealed);
        }
        if n_rows == VERIFY_ROWS {
            return Ok(Part::More);
        }
        self.ends(conn, key)
    }

    /// The log must end where it is said to end.
    fn ends(&self, conn: &Connection, key: &AuditKey) -> Outcome<Part> {
        let next = self.seq + 1;
        let row: Option<i64> =
            conn.query_row("SELECT min(seq) FROM audit_log", [], |row| row.get(0))?;
        if row.is_some_and(|first| first < 1) {
            return Ok(Part::Broken("the audit log has an entry before its first".into()));
        }
        Ok(match head(conn)? {
            None if self.seq == 0 => Part::End,
            Some((seq, hash, seal)) if key.head(seq, &hash) == seal => {
                if (seq, hash) == (self.seq, self.hash) {
                    Part::End
                } else if seq > self.seq {
                    Part::Broken(format!(
                        "entry {next} of the audit log is missing: it was cut off"
                    ))
                } else {
                    let first = seq + 1;
                    Part::Broken(format!("entry {first} of the audit log was put in"))
                }
            }
            _ => Part::Broken(format!(
                "where the audit log ends, behind entry {}, is not what was written there",
                self.seq
            )),
        })
    }
}

/// Whether the schema has something of this name.
fn is_there(conn: &Connection, name: &str) -> Outcome<bool> {
    Ok(conn.prepare_cached("SELECT 1 FROM sqlite_schema WHERE name = ?1")?.exists([name])?)
}
