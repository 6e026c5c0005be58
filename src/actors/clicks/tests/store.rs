//! A store that keeps both books, the added and the absolute one, and fails on demand.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use tokio::sync::Semaphore;

use crate::domain::click::{ClickTotals, Granularity, SegmentCounts, SegmentId};
use crate::domain::id::Id;
use crate::domain::time::Timestamp;
use crate::storage::{ClickStore, Op, StorageError, StorageErrorKind, StorageResult};

#[derive(Default)]
pub(super) struct FakeStore {
    books: Mutex<Books>,
    /// Every call fails and changes nothing.
    pub(super) down: AtomicBool,
    /// So many flushes are applied, and answered with a timeout.
    pub(super) late: AtomicU32,
    /// So many flushes are refused before they are applied.
    pub(super) refused: AtomicU32,
    /// When set, each flush needs a permit to be applied and another one to be answered.
    pub(super) turnstile: Mutex<Option<Arc<Semaphore>>>,
    pub(super) flushes: AtomicU32,
    /// Flushes asked for, whatever became of them.
    attempts: AtomicU32,
}

#[derive(Clone, Default)]
struct Books {
    positions: BTreeMap<SegmentId, u64>,
    /// By adding up what is new.
    added: BTreeMap<(Id, u32), u64>,
    /// By taking the last word of each segment.
    absolute: BTreeMap<(Id, u32, SegmentId), u64>,
    last: BTreeMap<Id, Timestamp>,
    released: Vec<SegmentId>,
}

impl FakeStore {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A store with the same content and no faults.
    pub(super) fn copy(&self) -> Arc<Self> {
        Arc::new(Self { books: Mutex::new(self.books().clone()), ..Self::default() })
    }

    /// Clicks of a link; both books must agree.
    pub(super) fn clicks(&self, link: u64) -> u64 {
        let books = self.books();
        let added: u64 = books.added.range((Id(link), 0)..=(Id(link), u32::MAX)).map(|e| e.1).sum();
        let absolute: u64 =
            books.absolute.iter().filter(|entry| entry.0.0 == Id(link)).map(|entry| entry.1).sum();
        assert_eq!(added, absolute, "the two ways of counting differ");
        added
    }

    pub(super) fn attempts(&self) -> u32 {
        self.attempts.load(Ordering::Relaxed)
    }

    pub(super) fn n_positions(&self) -> usize {
        self.books().positions.len()
    }

    pub(super) fn n_released(&self) -> usize {
        self.books().released.len()
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap()
    }

    fn available(&self, op: Op) -> StorageResult<()> {
        if self.down.load(Ordering::Relaxed) {
            return Err(StorageError::new(StorageErrorKind::Unavailable, op, "told to be down"));
        }
        Ok(())
    }

    async fn pass(&self) {
        let turnstile = self.turnstile.lock().unwrap().clone();
        if let Some(turnstile) = turnstile {
            turnstile.acquire().await.unwrap().forget();
        }
    }
}

fn use_up(counter: &AtomicU32) -> bool {
    counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok()
}

#[async_trait]
impl ClickStore for FakeStore {
    async fn resume(&self, segment: SegmentId) -> StorageResult<u64> {
        self.available("resume")?;
        Ok(self.books().positions.get(&segment).copied().unwrap_or(0))
    }

    async fn flush(&self, counts: Vec<SegmentCounts>) -> StorageResult<()> {
        self.pass().await;
        self.attempts.fetch_add(1, Ordering::Relaxed);
        self.available("flush")?;
        if use_up(&self.refused) {
            return Err(StorageError::new(StorageErrorKind::Unavailable, "flush", "refused"));
        }
        self.flushes.fetch_add(1, Ordering::Relaxed);
        self.books().apply(counts)?;
        self.pass().await;
        if use_up(&self.late) {
            return Err(StorageError::new(StorageErrorKind::Timeout, "flush", "applied"));
        }
        Ok(())
    }

    async fn release(&self, segments: Vec<SegmentId>) -> StorageResult<()> {
        self.available("release")?;
        let mut books = self.books();
        books.positions.retain(|segment, _| !segments.contains(segment));
        books.released.extend(segments);
        Ok(())
    }

    async fn totals(&self, links: &[Id]) -> StorageResult<Vec<ClickTotals>> {
        self.available("totals")?;
        let total = |link: &Id| ClickTotals {
            clicks: self.clicks(link.0),
            last_clicked_at: self.books().last.get(link).copied(),
        };
        Ok(links.iter().map(total).collect())
    }

    async fn series(
        &self,
        link: Id,
        granularity: Granularity,
        minutes: Range<u32>,
    ) -> StorageResult<Vec<(u32, u64)>> {
        self.available("series")?;
        let mut buckets = BTreeMap::new();
        for ((_, minute), clicks) in self.books().added.range((link, 0)..=(link, u32::MAX)) {
            let first = minute - minute % granularity.minutes();
            if minutes.contains(&first) {
                *buckets.entry(first).or_default() += clicks;
            }
        }
        Ok(buckets.into_iter().collect())
    }

    async fn erase(&self, link: Id) -> StorageResult<()> {
        self.available("erase")?;
        let mut books = self.books();
        books.added.retain(|(id, _), _| *id != link);
        books.absolute.retain(|(id, _, _), _| *id != link);
        books.last.remove(&link);
        Ok(())
    }
}

impl Books {
    fn apply(&mut self, counts: Vec<SegmentCounts>) -> StorageResult<()> {
        for one in counts {
            let keys: Vec<(Id, u32)> = one.rows.iter().map(|row| (row.link, row.minute)).collect();
            assert!(keys.is_sorted_by(|a, b| a < b), "rows come in order, each once");
            let position = self.positions.entry(one.segment).or_default();
            if *position == one.to_record {
                continue;
            }
            if *position != one.from_record {
                let text = format!("{:?} is at {position}, not {}", one.segment, one.from_record);
                return Err(StorageError::new(StorageErrorKind::Invalid, "flush", text));
            }
            *position = one.to_record;
            for row in one.rows {
                *self.added.entry((row.link, row.minute)).or_default() += u64::from(row.added);
                let absolute = (row.link, row.minute, one.segment);
                self.absolute.insert(absolute, u64::from(row.total));
                let last = self.last.entry(row.link).or_default();
                *last = (*last).max(row.last_at);
            }
        }
        Ok(())
    }
}
