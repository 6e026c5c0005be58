//! The audit log: one chain for the installation, however many nodes add to it.
//!
//! Entries are rows of a bucket of places; they and the end of the bucket are one conditional
//! write. Entries wait in the order in which they were told, one task of the process appends them,
//! and goes on trying when the database does not take them: an outage loses none, but for those
//! beyond a bound. What each workspace did is found through an index, which is written behind.

mod index;
mod moving;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;
use tracing::{debug, error, warn};

use super::Cql;
use super::fault::is_unknown;
use super::ids::signed;
use super::run::damaged;
use super::together::{Step, TRIES, contended};
use crate::domain::audit::{AuditDraft, AuditHash, AuditKey, GENESIS, encode};
use crate::domain::limits::AUDIT_WAITING_MAX;
use crate::storage::audit::{AuditPage, AuditQuery, AuditStore};
use crate::storage::error::{Op, StorageError, StorageErrorKind, StorageResult};
use crate::storage::patience;

/// Places of a bucket.
const BUCKET: u64 = 10_000;
/// What one append holds at most, in rows and in bytes of entries.
const BATCH_ROWS_MAX: usize = 30;
const BATCH_BYTES_MAX: usize = 4_096;
/// Bytes of a row beside its entry.
const ROW_BYTES: usize = 96;
/// Entries between two times that the index is written.
const INDEX_EVERY: u64 = 64;
/// How soon what the database did not take is tried again; the wait doubles.
const AGAIN: Duration = Duration::from_millis(250);
const AGAIN_MAX: Duration = Duration::from_secs(2);

/// What is to be appended, and where the log was seen to end.
#[derive(Default)]
pub(super) struct Log {
    queue: Mutex<Queue>,
    /// Held by whoever appends.
    end: tokio::sync::Mutex<Option<End>>,
    n_lost: AtomicU64,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// Entries that wait or are being written.
    n_entries: usize,
    /// Somebody appends, and will look here again.
    writing: bool,
}

struct Waiting {
    entries: Vec<Entry>,
    done: oneshot::Sender<StorageResult<()>>,
}

/// Where the log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct End {
    seq: u64,
    hash: AuditHash,
}

/// A write of so many entries whose outcome nobody knows: the place and the seal of the first.
#[derive(Clone, Copy)]
struct Doubt {
    seq: u64,
    hash: AuditHash,
    n_entries: usize,
}

const BEGIN: End = End { seq: 0, hash: GENESIS };

/// An entry as it is stored.
struct Entry {
    at: i64,
    workspace: i64,
    body: Vec<u8>,
}

#[async_trait]
impl AuditStore for Cql {
    /// Answers a moment later at the latest: what the database does not take by then waits for it,
    /// and is logged if it is lost all the same. Kind `Full`: too many wait already.
    async fn append(&self, entries: Vec<AuditDraft>) -> StorageResult<()> {
        const OP: Op = "append_audit";
        if entries.is_empty() {
            return Ok(());
        }
        let key = self.audit_key().ok_or_else(|| {
            StorageError::new(StorageErrorKind::Invalid, OP, "the store was opened without keys")
        })?;
        let entries = entries.iter().map(Entry::of).collect();
        let (done, outcome) = oneshot::channel();
        if self.log().add(Waiting { entries, done })? {
            let this = self.clone();
            self.spawn(async move { this.append_waiting(OP, key).await });
        }
        match patience::briefly(outcome).await {
            Some(outcome) => outcome.unwrap_or_else(|_| {
                let end = "the store was closed";
                Err(StorageError::new(StorageErrorKind::Timeout, OP, end))
            }),
            None => Ok(()),
        }
    }

    async fn audit_log(&self, query: AuditQuery) -> StorageResult<AuditPage> {
        self.entries_of("audit_log", &query).await
    }

    async fn audit_count(&self, query: AuditQuery) -> StorageResult<u64> {
        self.count_of("audit_count", &query).await
    }
}

impl Log {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn n_waiting(&self) -> usize {
        self.queue().n_entries
    }

    pub(super) fn n_lost(&self) -> u64 {
        self.n_lost.load(Ordering::Relaxed)
    }

    /// Takes entries to be appended; true when somebody has to begin with it.
    fn add(&self, new: Waiting) -> StorageResult<bool> {
        let mut queue = self.queue();
        if queue.n_entries + new.entries.len() > AUDIT_WAITING_MAX {
            let full = "too many entries wait for the database";
            return Err(StorageError::new(StorageErrorKind::Full, "append_audit", full));
        }
        queue.n_entries += new.entries.len();
        queue.waiting.push_back(new);
        Ok(!std::mem::replace(&mut queue.writing, true))
    }

    /// Takes as many of those who wait as one write holds, but at least one: what one of them
    /// brings stays together. None: nobody waits, and whoever asked appends no more.
    fn take(&self) -> Vec<Waiting> {
        let (mut queue, mut taken) = (self.queue(), Vec::<Waiting>::new());
        let (mut n_entries, mut n_bytes) = (0, 0);
        while let Some(next) = queue.waiting.front() {
            n_entries += next.entries.len();
            n_bytes += next.entries.iter().map(Entry::n_bytes).sum::<usize>();
            let fits = n_entries <= BATCH_ROWS_MAX && n_bytes <= BATCH_BYTES_MAX;
            if !taken.is_empty() && !fits {
                break;
            }
            taken.extend(queue.waiting.pop_front());
        }
        queue.writing = !taken.is_empty();
        taken
    }

    fn settle(&self, n_entries: usize) {
        self.queue().n_entries -= n_entries;
    }
}

impl Cql {
    /// Appends what tells of a change that is made. It never fails what it tells of: what is lost
    /// is logged, and counted.
    pub(super) async fn tell(&self, drafts: Vec<AuditDraft>) {
        let actions: Vec<_> = drafts.iter().map(|draft| draft.action.as_str()).collect();
        if let Err(error) = self.append(drafts).await {
            self.log().n_lost.fetch_add(actions.len() as u64, Ordering::Relaxed);
            error!(%error, ?actions, "entries are missing in the audit log");
        }
    }

    async fn append_waiting(&self, op: Op, key: AuditKey) {
        let mut end = self.log().end.lock().await;
        loop {
            let taken = self.log().take();
            if taken.is_empty() {
                return;
            }
            let (mut entries, mut dones) = (Vec::new(), Vec::new());
            for Waiting { entries: new, done } in taken {
                entries.extend(new);
                dones.push(done);
            }
            let before = end.map_or(0, |end: End| end.seq);
            let outcome = self.append_all(op, &key, &entries, &mut end).await;
            let after = end.map_or(0, |end| end.seq);
            self.log().settle(entries.len());
            answer(dones, &outcome);
            if before / INDEX_EVERY != after / INDEX_EVERY
                && let Err(error) = self.index_log(op).await
            {
                // Whoever reads does it.
                debug!(%error, "the index of the audit log is behind");
            }
        }
    }

    /// Tries for as long as it takes. Fails with what does not pass by itself; entries before it
    /// are there.
    async fn append_all(
        &self,
        op: Op,
        key: &AuditKey,
        mut entries: &[Entry],
        end: &mut Option<End>,
    ) -> StorageResult<()> {
        let (mut doubt, mut wait) = (None, AGAIN);
        while !entries.is_empty() {
            match self.append_some(op, key, entries, (end, &mut doubt)).await {
                Ok(n) => entries = &entries[n..],
                Err(error) if error.kind.retryable() => {
                    if wait == AGAIN {
                        warn!(%error, "entries of the audit log wait for the database");
                    }
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(AGAIN_MAX);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Appends as many entries as one write holds; answers how many. A write whose outcome nobody
    /// knows stays in `doubt`: the same entries are then to be tried again. At the same end of the
    /// log they make the same rows, of which only one write can succeed; and when the log has gone
    /// on from there, its rows tell with which entries.
    async fn append_some(
        &self,
        op: Op,
        key: &AuditKey,
        entries: &[Entry],
        (known, doubt): (&mut Option<End>, &mut Option<Doubt>),
    ) -> StorageResult<usize> {
        let mut from = 0;
        for _ in 0..TRIES {
            let end = match known.take() {
                Some(end) => end,
                None => self.end_of_log(op, from).await?,
            };
            from = bucket_of(end.seq);
            if let Some(Doubt { seq, hash, n_entries }) = *doubt
                && end.seq >= seq
            {
                let is_there = self.hash_at(op, bucket_of(seq), seq).await? == Some(hash);
                *doubt = None;
                if is_there {
                    return Ok(n_entries);
                }
            }
            let (bucket, room) = (bucket_of(end.seq + 1), BUCKET - (end.seq + 1) % BUCKET);
            let some = fitting(entries, room);
            let (steps, first, last) = self.log_extension(key, end, bucket, some);
            match self.apply_all(op, &steps).await {
                Ok(true) => {
                    (*known, *doubt) = (Some(last), None);
                    return Ok(some.len());
                }
                Ok(false) => (),
                Err(error) if is_unknown(&error) => {
                    let seq = end.seq + 1;
                    *doubt = Some(Doubt { seq, hash: first, n_entries: some.len() });
                }
                Err(error) => return Err(error),
            }
        }
        Err(contended(op))
    }

    /// The write of entries behind `end`, the seal of the first, and where the log ends then.
    fn log_extension(
        &self,
        key: &AuditKey,
        end: End,
        bucket: u64,
        entries: &[Entry],
    ) -> (Vec<Step<'_>>, AuditHash, End) {
        let statements = &self.statements().audit;
        let (mut rows, mut last, mut first) = (Vec::<Step<'_>>::new(), end, None);
        for Entry { at, workspace, body } in entries {
            let seq = last.seq + 1;
            last = End { seq, hash: key.link(&last.hash, seq, body) };
            first.get_or_insert(last.hash);
            let hash = last.hash.to_vec();
            let values = (bucket as i64, seq as i64, *at, *workspace, body.clone(), hash);
            rows.push((&statements.add, Box::new(values)));
        }
        let before = (end.seq > 0 && bucket_of(end.seq) == bucket).then_some(end.seq as i64);
        let seal = key.head(last.seq, &last.hash).to_vec();
        let extend = (last.seq as i64, last.hash.to_vec(), seal, bucket as i64, before);
        let mut steps: Vec<Step<'_>> = vec![(&statements.extend, Box::new(extend))];
        steps.append(&mut rows);
        (steps, first.unwrap_or(end.hash), last)
    }

    /// Where the log ends, in the bucket `from` or behind it. A bucket begins when the one before
    /// is full, so those that there are have no gap.
    async fn end_of_log(&self, op: Op, from: u64) -> StorageResult<End> {
        if self.end_in(op, from).await?.is_none() {
            return Ok(BEGIN);
        }
        let (mut there, mut step) = (from, 1);
        while self.end_in(op, there + step).await?.is_some() {
            (there, step) = (there + step, step * 2);
        }
        let mut beyond = there + step;
        while beyond - there > 1 {
            let middle = there + (beyond - there) / 2;
            match self.end_in(op, middle).await? {
                Some(_) => there = middle,
                None => beyond = middle,
            }
        }
        Ok(self.end_in(op, there).await?.unwrap_or(BEGIN))
    }

    async fn end_in(&self, op: Op, bucket: u64) -> StorageResult<Option<End>> {
        let statement = &self.statements().audit.settled_end;
        let row: Option<(Option<i64>, Option<Vec<u8>>)> =
            self.one(op, statement, (bucket as i64,)).await?;
        let Some((Some(seq), hash)) = row else { return Ok(None) };
        let hash = hash.and_then(|hash| hash.try_into().ok());
        let hash = hash.ok_or_else(|| damaged(op, "where the audit log ends cannot be read"))?;
        Ok(Some(End { seq: seq as u64, hash }))
    }

    async fn hash_at(&self, op: Op, bucket: u64, seq: u64) -> StorageResult<Option<AuditHash>> {
        let statement = &self.statements().audit.hash_at;
        let row: Option<(Option<Vec<u8>>,)> =
            self.one(op, statement, (bucket as i64, seq as i64)).await?;
        Ok(row.and_then(|(hash,)| hash?.try_into().ok()))
    }
}

impl Entry {
    fn of(draft: &AuditDraft) -> Self {
        let (at, workspace) = (draft.act.at.as_millis(), signed(draft.act.workspace));
        Self { at, workspace, body: encode(draft) }
    }

    /// What it takes of a write.
    fn n_bytes(&self) -> usize {
        self.body.len() + ROW_BYTES
    }
}

fn bucket_of(seq: u64) -> u64 {
    seq / BUCKET
}

/// The first entries that fit into one write and into a bucket with so much room; at least one.
fn fitting(entries: &[Entry], room: u64) -> &[Entry] {
    let mut n_bytes = 0;
    let fits = |entry: &&Entry| {
        n_bytes += entry.n_bytes();
        n_bytes <= BATCH_BYTES_MAX
    };
    let n = entries.iter().take(BATCH_ROWS_MAX).take_while(fits).count().max(1);
    &entries[..n.min(usize::try_from(room).unwrap_or(usize::MAX))]
}

/// Tells everybody what became of a write that they shared.
fn answer(dones: Vec<oneshot::Sender<StorageResult<()>>>, outcome: &StorageResult<()>) {
    for done in dones {
        let shared = outcome.as_ref().copied().map_err(|error| StorageError {
            kind: error.kind,
            op: error.op,
            source: error.source.as_ref().map(|source| source.to_string().into()),
        });
        if let Err(Err(error)) = done.send(shared) {
            error!(%error, "entries are missing in the audit log");
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_fits_into_one_write() {
        let log = Log::default();
        let sizes = [(2, 900), (1, 2_500), (3, 10), (29, 10), (1, 10), (40, 10), (1, 10)];
        for (n_entries, n_bytes) in sizes {
            let entry = || Entry { at: 0, workspace: 0, body: vec![0; n_bytes] };
            let entries = (0..n_entries).map(|_| entry()).collect();
            log.add(Waiting { entries, done: oneshot::channel().0 }).unwrap();
        }
        let mut taken = Vec::new();
        loop {
            let some = log.take();
            let entries: Vec<Entry> = some.into_iter().flat_map(|one| one.entries).collect();
            if entries.is_empty() {
                break;
            }
            let n_written = fitting(&entries, BUCKET).len();
            taken.push((entries.len(), n_written));
        }
        // What is too much for one write by itself comes alone.
        assert_eq!(taken, [(2, 2), (4, 4), (30, 30), (40, 30), (1, 1)]);
    }
}
