//! A store that keeps every click and fails on demand.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use tokio::sync::Semaphore;

use crate::domain::audit::Act;
use crate::domain::click::{ClickTotals, SegmentId};
use crate::domain::counted::SegmentClicks;
use crate::domain::event::ClickEvent;
use crate::domain::id::Id;
use crate::domain::time::Timestamp;
use crate::domain::visitor::VisitorKey;
use crate::storage::{
    ClickStore, Op, Resume, Retention, StorageError, StorageErrorKind, StorageResult,
};

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
    /// Where the next flush of a segment must end.
    cuts: BTreeMap<SegmentId, u64>,
    /// By link and minute; bots left out.
    added: BTreeMap<(Id, u32), u64>,
    /// One by one, bots included.
    clicks: Vec<ClickEvent>,
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

    /// Clicks of a link, bots left out.
    pub(super) fn clicks(&self, link: u64) -> u64 {
        self.books().added.range((Id(link), 0)..=(Id(link), u32::MAX)).map(|entry| entry.1).sum()
    }

    /// Single clicks of a link, in the order in which they came.
    pub(super) fn events(&self, link: u64) -> Vec<ClickEvent> {
        let books = self.books();
        books.clicks.iter().filter(|click| click.link == Id(link)).cloned().collect()
    }

    pub(super) fn attempts(&self) -> u32 {
        self.attempts.load(Ordering::Relaxed)
    }

    pub(super) fn n_positions(&self) -> usize {
        self.books().positions.len()
    }

    /// An earlier process began to flush these records of a segment.
    pub(super) fn cut(&self, segment: SegmentId, at: u64) {
        self.books().cuts.insert(segment, at);
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
    async fn resume(&self, segment: SegmentId) -> StorageResult<Resume> {
        self.available("resume")?;
        let books = self.books();
        let covered = books.positions.get(&segment).copied().unwrap_or(0);
        Ok(Resume { covered, cut: books.cuts.get(&segment).copied().filter(|cut| *cut > covered) })
    }

    async fn flush(&self, clicks: Arc<Vec<SegmentClicks>>) -> StorageResult<()> {
        self.pass().await;
        self.attempts.fetch_add(1, Ordering::Relaxed);
        self.available("flush")?;
        if use_up(&self.refused) {
            return Err(StorageError::new(StorageErrorKind::Unavailable, "flush", "refused"));
        }
        self.flushes.fetch_add(1, Ordering::Relaxed);
        self.books().apply(&clicks)?;
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

    async fn erase(&self, link: Id, _act: Option<Act>) -> StorageResult<()> {
        self.available("erase")?;
        let mut books = self.books();
        books.added.retain(|(id, _), _| *id != link);
        books.last.remove(&link);
        books.clicks.retain(|click| click.link != link);
        Ok(())
    }

    async fn visitor_keys(
        &self,
        _oldest: u32,
        _today: u32,
    ) -> StorageResult<Vec<(u32, VisitorKey)>> {
        self.available("visitor_keys")?;
        Ok(Vec::new())
    }

    async fn prune(&self, _keep: Retention) -> StorageResult<bool> {
        self.available("prune")?;
        Ok(false)
    }
}

impl Books {
    fn apply(&mut self, segments: &[SegmentClicks]) -> StorageResult<()> {
        for one in segments {
            assert!(one.clicks.is_sorted_by_key(|click| (click.link, click.at)), "clicks in order");
            let position = self.positions.entry(one.segment).or_default();
            if *position == one.to_record {
                continue;
            }
            if *position != one.from_record {
                let text = format!("{:?} is at {position}, not {}", one.segment, one.from_record);
                return Err(StorageError::new(StorageErrorKind::Invalid, "flush", text));
            }
            if let Some(cut) = self.cuts.get(&one.segment).filter(|cut| **cut > *position)
                && *cut != one.to_record
            {
                let text = format!("{:?} ends at {}, not {cut}", one.segment, one.to_record);
                return Err(StorageError::new(StorageErrorKind::Invalid, "flush", text));
            }
            *position = one.to_record;
            for click in &one.clicks {
                self.clicks.push(ClickEvent::new(click, &one.words));
                if !click.is_bot() {
                    self.add(click.link, click.at, 1);
                }
            }
            for row in &one.surplus {
                if let Some(times) = row.stats.people_at {
                    self.add(row.link, times.last, row.stats.counts().people);
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, link: Id, at: Timestamp, clicks: u64) {
        *self.added.entry((link, at.minute())).or_default() += clicks;
        let last = self.last.entry(link).or_default();
        *last = (*last).max(at);
    }
}
