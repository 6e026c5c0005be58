//! Reads everything and says what is damaged; rebuilds what can be made from the rest.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use rusqlite::Connection;

use super::fault::{Fault, Outcome};
use super::links::live_counter;
use super::readers::in_snapshot;
use super::rows::{self, COLUMNS};
use super::{audit, check, counter, database_file, mend, open_for_reading, open_for_writing};
use crate::domain::audit::AuditKey;
use crate::domain::link::LinkStatus;
use crate::storage::secrets::Secrets;
use crate::storage::{Op, StorageError, StorageErrorKind, StorageResult};

/// Findings that a report lists; the rest is counted.
const FINDINGS_MAX: usize = 100;

/// What to do about a finding.
pub const REPAIR: &str = "shunt verify --repair";
/// What to do when the data itself is damaged.
pub const RESTORE: &str = "shunt restore";

/// What a check of the whole store found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Links that were read and are whole.
    pub links: u64,
    /// Pages of click counts and sums that were read and are whole.
    pub click_pages: u64,
    /// Single clicks that were read and are whole, rows of those that are not kept one by one
    /// among them.
    pub clicks: u64,
    /// Damaged pieces of clicks and of their counts that were set aside earlier. What the others
    /// told of them was kept.
    pub set_aside: u64,
    /// Entries of the audit log that were read and whose chain is whole.
    pub audit_entries: u64,
    pub findings: Vec<Finding>,
    /// Findings beyond those listed.
    pub more: u64,
}

/// One thing that is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub what: String,
    /// The command that brings it right: [`REPAIR`] or [`RESTORE`].
    pub remedy: &'static str,
}

impl Report {
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    pub(super) fn add(&mut self, what: impl Into<String>, remedy: &'static str) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding { what: what.into(), remedy });
        } else {
            self.more += 1;
        }
    }

    /// Keeps what went wrong in one part of the check and lets the other parts go on.
    fn part(&mut self, name: &str, outcome: Outcome<()>) {
        if let Err(fault) = outcome {
            self.add(format!("{name}: {fault}"), RESTORE);
        }
    }
}

/// Checks the store in the folder `store`, which may be in use. Blocks for as long as reading
/// everything takes. Kinds: `Unavailable` (there is no store).
pub fn verify(store: &Path) -> StorageResult<Report> {
    let file = existing("verify", store)?;
    let mut report = Report::default();
    let secrets = Secrets::open(store);
    if let Err(error) = &secrets {
        report.add(error.to_string(), RESTORE);
    }
    let key = secrets.ok().map(|secrets| AuditKey::of(&secrets.api_keys));
    match open_for_reading(&file) {
        Ok(conn) => examine(&conn, key.as_ref(), &mut report),
        Err(fault) => report.add(format!("{}: {fault}", file.display()), RESTORE),
    }
    Ok(report)
}

/// Checks a database. What is compared is read in one snapshot each: others may be writing, and a
/// snapshot of everything would keep the log from being written back for as long as this takes.
/// Without its key nothing can be said about the audit log.
pub(super) fn examine(conn: &Connection, key: Option<&AuditKey>, report: &mut Report) {
    let structure = in_snapshot(conn, |conn| check_structure(conn, report));
    report.part("structure", structure);
    let links = in_snapshot(conn, |conn| check_links(conn, report));
    report.part("links", links);
    let clicks = check::clicks(conn, report);
    report.part("clicks", clicks);
    if let Some(key) = key {
        let log = audit::check(conn, key, report);
        report.part("audit log", log);
    }
}

/// Rebuilds indexes, tags, counters and the index of texts from the links, damaged pages of counts
/// from the others, and damaged pages of sums from the clicks. Damaged clicks are set aside, and
/// damaged rows of links stay as they are. Kinds: `Unavailable`, `Corrupt` (nothing
/// to rebuild from: restore a backup).
pub fn repair(store: &Path) -> StorageResult<()> {
    const OP: Op = "repair";
    let file = existing(OP, store)?;
    let rebuild = || -> Outcome<()> {
        let conn = open_for_writing(&file, &super::EmbeddedConfig::default())?;
        conn.execute_batch("REINDEX")?;
        conn.execute_batch("BEGIN IMMEDIATE")?;
        rebuild_from_links(&conn)?;
        mend::mend_all(&conn)?;
        conn.execute_batch("COMMIT")?;
        Ok(())
    };
    rebuild().map_err(|fault| fault.into_error(OP, &file))
}

fn existing(op: Op, store: &Path) -> StorageResult<std::path::PathBuf> {
    let file = database_file(store);
    if file.exists() {
        return Ok(file);
    }
    let text = format!("there is no store in {}", store.display());
    Err(StorageError::new(StorageErrorKind::Unavailable, op, text))
}

fn check_structure(conn: &Connection, report: &mut Report) -> Outcome<()> {
    let mut statement = conn.prepare("PRAGMA integrity_check")?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        let verdict: String = row.get(0)?;
        if verdict != "ok" {
            let in_index = verdict.contains("index") || verdict.contains("link_texts");
            report.add(verdict, if in_index { REPAIR } else { RESTORE });
        }
    }
    let mut statement = conn.prepare("PRAGMA foreign_key_check")?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        let table: String = row.get(0)?;
        report.add(format!("a row of {table} belongs to nothing"), RESTORE);
    }
    Ok(())
}

fn check_links(conn: &Connection, report: &mut Report) -> Outcome<()> {
    let (mut n_rows, mut n_tags) = (0, 0);
    let mut live: BTreeMap<_, i64> = BTreeMap::new();
    let mut statement = conn.prepare(&format!("SELECT {COLUMNS} FROM links ORDER BY id"))?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        n_rows += 1;
        match rows::decode(row) {
            Ok(link) => {
                report.links += 1;
                if link.status != LinkStatus::Deleted {
                    *live.entry(link.workspace).or_default() += 1;
                    n_tags += link.tags.iter().collect::<HashSet<_>>().len() as i64;
                }
            }
            Err(fault) => report.add(fault.to_string(), RESTORE),
        }
    }
    if report.links as i64 != n_rows {
        // What follows is derived from whole rows only.
        return Ok(());
    }
    if counter(conn, "links")? != n_rows {
        report.add("the counter of links is wrong", REPAIR);
    }
    for (workspace, n) in &live {
        if counter(conn, &live_counter(*workspace))? != *n {
            report.add(format!("the counter of workspace {workspace} is wrong"), REPAIR);
        }
    }
    let kept: i64 = conn.query_row("SELECT count(*) FROM link_tags", [], |row| row.get(0))?;
    if kept != n_tags {
        report.add("the index of tags does not fit the links", REPAIR);
    }
    let unknown: i64 = conn.query_row(
        "SELECT count(*) FROM links WHERE status <> 4
         AND NOT EXISTS (SELECT 1 FROM link_texts_docsize AS known WHERE known.id = links.id)
         AND NOT EXISTS (SELECT 1 FROM link_texts_pending WHERE link = links.id)",
        [],
        |row| row.get(0),
    )?;
    if unknown > 0 {
        report.add(format!("searches do not find {unknown} links"), REPAIR);
    }
    Ok(())
}

fn rebuild_from_links(conn: &Connection) -> Outcome<()> {
    conn.execute_batch(
        "DELETE FROM link_tags;
         DELETE FROM counters WHERE name = 'links' OR name LIKE 'live:%';
         INSERT INTO counters (name, value) SELECT 'links', count(*) FROM links;
         INSERT INTO counters (name, value)
            SELECT 'live:' || workspace, count(*) FROM links WHERE status <> 4 GROUP BY workspace;
         DELETE FROM link_texts_pending;
         INSERT INTO link_texts (link_texts) VALUES ('delete-all');
         INSERT INTO link_texts_pending (link, fresh) SELECT id, 1 FROM links WHERE status <> 4;
         INSERT OR IGNORE INTO link_tags (workspace, tag, link)
            SELECT links.workspace, tag.value, links.id FROM links, json_each(links.tags) AS tag
            WHERE links.tags IS NOT NULL AND links.status <> 4;",
    )
    .map_err(Fault::from)
}
