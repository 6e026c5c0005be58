//! The index of the audit log by workspace. How far it is written is kept; whoever reads writes
//! what is missing first, so that nothing is lost when a process ends in between.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tracing::warn;

use super::super::Cql;
use super::super::fault::is_unknown;
use super::super::finding::{Candidates, key_of};
use super::super::ids::{signed, unsigned};
use super::bucket_of;
use crate::domain::audit::{AuditEntry, decode};
use crate::domain::id::Id;
use crate::storage::audit::{AuditPage, AuditQuery};
use crate::storage::error::{Op, StorageResult};

/// The last place that the index holds, like all before it.
const INDEXED: &str = "audit_indexed";
/// Places of a block of the index.
const BLOCK: i64 = 50_000;
/// Entries that one page looks at.
const SCAN_MAX: usize = 20_000;
/// Entries read at once when some are left out.
const CHUNK: usize = 1_000;
/// Rows of the index written at once.
const AT_ONCE: usize = 64;

/// Place, workspace, entry and seal of a row of the log.
type LogRow = (i64, i64, Vec<u8>, Vec<u8>);
/// The same in the index.
type IndexRow = (i64, Vec<u8>, Vec<u8>);

impl Cql {
    /// Writes what the index lacks.
    pub(in crate::storage::scylla) async fn index_log(&self, op: Op) -> StorageResult<()> {
        let statements = &self.statements().audit;
        let mut mark = self.mark(op, INDEXED).await?;
        loop {
            let done = mark.unwrap_or_default();
            let bucket = bucket_of(done as u64 + 1) as i64;
            let end: Option<(i64, Option<i64>, Option<Vec<u8>>)> =
                self.one(op, &statements.end, (bucket,)).await?;
            let last = end.and_then(|(_, last, _)| last).filter(|last| *last > done);
            let Some(last) = last else { return Ok(()) };
            let rows: Vec<LogRow> = self.all(op, &statements.part, (bucket, done, last)).await?;
            self.index_rows(op, rows).await?;
            match self.move_mark(op, INDEXED, mark, last).await {
                Ok(true) => mark = Some(last),
                // Somebody else writes it too; where it is then, is read again.
                Ok(false) => mark = self.settled_mark(op, INDEXED).await?,
                Err(error) if is_unknown(&error) => mark = self.settled_mark(op, INDEXED).await?,
                Err(error) => return Err(error),
            }
        }
    }

    async fn index_rows(&self, op: Op, rows: Vec<LogRow>) -> StorageResult<()> {
        let blocks: BTreeSet<(i64, i64)> =
            rows.iter().map(|(seq, workspace, ..)| (*workspace, seq / BLOCK)).collect();
        for (workspace, block) in blocks {
            let key = key_of(unsigned(workspace));
            self.note(op, Candidates::AuditBlocks, &key, (block, Id(0))).await?;
        }
        let statement = &self.statements().audit.index;
        let writes = rows.into_iter().map(|(seq, workspace, body, hash)| {
            self.put(op, statement, (workspace, seq / BLOCK, seq, body, hash))
        });
        stream::iter(writes).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Blocks that have entries of a workspace, the newest first.
    async fn blocks_of(&self, op: Op, workspace: Id) -> StorageResult<Vec<i64>> {
        self.index_log(op).await?;
        let noted = self.noted(op, Candidates::AuditBlocks, &key_of(workspace)).await?;
        Ok(noted.into_iter().rev().map(|candidate| candidate.item).collect())
    }

    pub(super) async fn entries_of(&self, op: Op, query: &AuditQuery) -> StorageResult<AuditPage> {
        let limit = query.limit.max(1) as usize;
        let chunk = if is_plain(query) { CHUNK.min(limit + 1) } else { CHUNK };
        let mut before =
            query.before.map_or(i64::MAX, |seq| i64::try_from(seq).unwrap_or(i64::MAX));
        let (mut page, mut n_seen, mut reached) = (AuditPage::default(), 0, None);
        for block in self.blocks_of(op, query.workspace).await? {
            loop {
                let rows = self.entries_before(op, query.workspace, (block, before), chunk).await?;
                let n_rows = rows.len();
                for (seq, body, hash) in rows {
                    if page.entries.len() >= limit || n_seen >= SCAN_MAX {
                        page.next = reached;
                        return Ok(page);
                    }
                    (n_seen, before, reached) = (n_seen + 1, seq, Some(seq as u64));
                    let entry = entry(seq, &body, hash);
                    page.entries.extend(entry.filter(|entry| query.matches(&entry.draft)));
                }
                if n_rows < chunk {
                    break;
                }
            }
        }
        Ok(page)
    }

    async fn entries_before(
        &self,
        op: Op,
        workspace: Id,
        (block, before): (i64, i64),
        limit: usize,
    ) -> StorageResult<Vec<IndexRow>> {
        let values = (signed(workspace), block, before, limit as i32);
        self.all(op, &self.statements().audit.entries, values).await
    }

    pub(super) async fn count_of(&self, op: Op, query: &AuditQuery) -> StorageResult<u64> {
        let (mut n, workspace) = (0, query.workspace);
        for block in self.blocks_of(op, workspace).await? {
            if is_plain(query) {
                let statement = &self.statements().audit.n_entries;
                let row: Option<(i64,)> =
                    self.one(op, statement, (signed(workspace), block)).await?;
                n += row.map_or(0, |(n,)| n.cast_unsigned());
                continue;
            }
            let mut before = i64::MAX;
            loop {
                let rows = self.entries_before(op, workspace, (block, before), CHUNK).await?;
                let n_rows = rows.len();
                for (seq, body, hash) in rows {
                    before = seq;
                    n += u64::from(
                        entry(seq, &body, hash).is_some_and(|entry| query.matches(&entry.draft)),
                    );
                }
                if n_rows < CHUNK {
                    break;
                }
            }
        }
        Ok(n)
    }
}

/// Whether all entries of the workspace are asked for.
fn is_plain(query: &AuditQuery) -> bool {
    let AuditQuery { action, actor, target, from, to, .. } = query;
    action.is_none() && actor.is_none() && target.is_none() && from.is_none() && to.is_none()
}

fn entry(seq: i64, body: &[u8], hash: Vec<u8>) -> Option<AuditEntry> {
    let entry = decode(body).zip(hash.try_into().ok());
    if entry.is_none() {
        warn!(seq, "an entry of the audit log cannot be read and is left out");
    }
    entry.map(|(draft, hash)| AuditEntry { seq: seq as u64, hash, draft })
}
