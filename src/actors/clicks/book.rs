//! The book of one counter: which segments it reads, what it counted, what the store knows of it.
//!
//! Pure: no store, no timer. At most one batch is on its way, and a batch that was not acknowledged
//! is sent again exactly as it was, until it is: the store tells by the positions in it whether it
//! has it already. A batch that the store refused is known not to be there, so its rows are
//! pending; one whose answer was lost is unsettled.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::journal::segment::Segment;
use super::journal::spool::{Fate, Spent};
use super::journal::{HEADER_BYTES, time_and_link, user_agent};
use super::tally::{Tally, bucket};
use crate::domain::bot::BotMemo;
use crate::domain::click::{BucketCount, ClickTotals, Granularity, SegmentCounts, SegmentId};
use crate::domain::id::Id;
use crate::domain::time::Timestamp;

#[derive(Default)]
pub(super) struct Book {
    pages: Vec<Page>,
    /// Clicks that found no room in the journal; they get a page of their own with each batch.
    memory: Option<Page>,
    batch: Option<Batch>,
    batches: u64,
}

/// A segment of an earlier process, counted.
pub(super) struct Recovered {
    pub(super) id: SegmentId,
    pub(super) path: PathBuf,
    pub(super) tally: Tally,
    pub(super) records: u64,
    /// Of these, how many the store had.
    pub(super) flushed: u64,
    pub(super) damaged: bool,
}

/// What an acknowledgement changed.
#[derive(Default)]
pub(super) struct Acknowledged {
    /// Clicks of this process.
    pub(super) counted: u64,
    /// Clicks of earlier processes.
    pub(super) recovered: u64,
    pub(super) rows: u64,
}

/// One segment in the book.
struct Page {
    id: SegmentId,
    source: Source,
    tally: Tally,
    read: u64,
    acknowledged: u64,
    /// Nothing will follow what was read.
    complete: bool,
}

enum Source {
    /// A segment of this process and where its next record begins.
    Live(Arc<Segment>, usize),
    Old {
        path: PathBuf,
        damaged: bool,
    },
    Memory,
}

struct Batch {
    number: u64,
    counts: Vec<SegmentCounts>,
    oldest_at: Option<Timestamp>,
    /// How often it was sent without the answer that nothing of it was stored.
    in_doubt: u32,
}

impl Book {
    pub(super) fn open(&mut self, segment: Arc<Segment>) {
        self.pages.push(Page::new(segment.id(), Source::Live(segment, HEADER_BYTES)));
    }

    pub(super) fn open_recovered(&mut self, found: Recovered) {
        let source = Source::Old { path: found.path, damaged: found.damaged };
        self.pages.push(Page {
            tally: found.tally,
            read: found.records,
            acknowledged: found.flushed,
            complete: true,
            ..Page::new(found.id, source)
        });
    }

    /// Counts up to `records_max` records behind the writers; answers how many.
    pub(super) fn read(&mut self, records_max: usize) -> usize {
        let mut left = records_max;
        for page in &mut self.pages {
            left -= page.read(left);
        }
        records_max - left
    }

    /// Counts a click that is in no journal. `next_id` names its page if there is none.
    pub(super) fn add_unjournaled(
        &mut self,
        at: Timestamp,
        link: Id,
        next_id: impl FnOnce() -> SegmentId,
    ) {
        let page = self.memory.get_or_insert_with(|| Page::new(next_id(), Source::Memory));
        page.tally.add(at, link);
        page.read += 1;
    }

    /// The batch to send now: the last one if it was not acknowledged, else all news. None: no
    /// news.
    pub(super) fn batch(&mut self) -> Option<(u64, Vec<SegmentCounts>)> {
        if self.batch.is_none() {
            self.batch = self.make_batch();
        }
        let batch = self.batch.as_mut()?;
        batch.in_doubt += 1;
        Some((batch.number, batch.counts.clone()))
    }

    /// True while the last batch was not acknowledged.
    pub(super) fn has_batch(&self) -> bool {
        self.batch.is_some()
    }

    /// True while it is not known whether the store has the last batch.
    pub(super) fn unsettled(&self) -> bool {
        self.batch.as_ref().is_some_and(|batch| batch.in_doubt > 0)
    }

    /// The store has nothing of what was sent as batch `number` this time. An answer that was lost
    /// before keeps it in doubt.
    pub(super) fn refuse(&mut self, number: u64) {
        if let Some(batch) = self.batch.as_mut().filter(|batch| batch.number == number) {
            batch.in_doubt = batch.in_doubt.saturating_sub(1);
        }
    }

    /// The store has the batch `number`. Says nothing new when that was known.
    pub(super) fn acknowledge(&mut self, number: u64) -> Acknowledged {
        let mut outcome = Acknowledged::default();
        let Some(batch) = self.batch.take_if(|batch| batch.number == number) else {
            return outcome;
        };
        let mut by_segment: HashMap<SegmentId, SegmentCounts> =
            batch.counts.into_iter().map(|counts| (counts.segment, counts)).collect();
        for page in &mut self.pages {
            let Some(counts) = by_segment.remove(&page.id) else { continue };
            page.tally.acknowledge(&counts.rows);
            page.acknowledged = counts.to_record;
            outcome.rows += counts.rows.len() as u64;
            let clicks = counts.to_record - counts.from_record;
            match page.source {
                Source::Old { .. } => outcome.recovered += clicks,
                Source::Live(..) | Source::Memory => outcome.counted += clicks,
            }
        }
        outcome
    }

    /// Takes out the segments whose clicks are all in the store.
    pub(super) fn take_spent(&mut self) -> Vec<Spent> {
        self.pages.extract_if(.., |page| page.spent()).map(Page::into_spent).collect()
    }

    pub(super) fn n_pages(&self) -> usize {
        self.pages.len() + usize::from(self.memory.is_some())
    }

    pub(super) fn n_rows(&self) -> usize {
        self.all().map(|page| page.tally.n_rows()).sum()
    }

    /// True while there are records that the store does not cover; those of bots have no rows.
    pub(super) fn has_news(&self) -> bool {
        self.all().any(|page| page.read > page.acknowledged)
    }

    /// Rows that wait for a batch.
    pub(super) fn n_dirty(&self) -> usize {
        self.all().map(|page| page.tally.n_dirty()).sum()
    }

    /// Rows of clicks that are in memory only.
    pub(super) fn n_memory_rows(&self) -> usize {
        self.memory.as_ref().map_or(0, |page| page.tally.n_rows())
    }

    /// Time of the oldest click that the store is not known to have.
    pub(super) fn oldest_at(&self) -> Option<Timestamp> {
        let sent = self.batch.as_ref().and_then(|batch| batch.oldest_at);
        self.all().filter_map(|page| page.tally.oldest_at()).chain(sent).min()
    }

    /// Clicks of `links` that the store does not have, in order. Call it while settled.
    pub(super) fn pending_totals(&self, links: &[Id]) -> Vec<ClickTotals> {
        let mut by_link: HashMap<Id, ClickTotals> =
            links.iter().map(|link| (*link, ClickTotals::default())).collect();
        self.each_pending(|link, _, clicks, last_at| {
            if let Some(totals) = by_link.get_mut(&link) {
                totals.clicks += clicks;
                totals.last_clicked_at = totals.last_clicked_at.max(Some(last_at));
            }
        });
        links.iter().map(|link| by_link.get(link).copied().unwrap_or_default()).collect()
    }

    /// Buckets of `link` that the store does not have. Call it while settled.
    pub(super) fn pending_series(
        &self,
        link: Id,
        granularity: Granularity,
        minutes: &Range<u32>,
    ) -> BTreeMap<u32, u64> {
        let mut buckets = BTreeMap::new();
        self.each_pending(|id, minute, clicks, _| {
            if id == link
                && let Some(first) = bucket(minute, granularity, minutes)
            {
                *buckets.entry(first).or_default() += clicks;
            }
        });
        buckets
    }

    /// Drops what was counted for a link and is not in the store. Call it while settled.
    pub(super) fn forget(&mut self, link: Id) {
        for page in self.pages.iter_mut().chain(&mut self.memory) {
            page.tally.forget(link);
        }
    }

    fn make_batch(&mut self) -> Option<Batch> {
        let oldest_at = self.oldest_at();
        if let Some(mut memory) = self.memory.take() {
            memory.complete = true;
            self.pages.push(memory);
        }
        let counts: Vec<SegmentCounts> =
            self.pages.iter_mut().filter_map(Page::take_news).collect();
        if counts.is_empty() {
            return None;
        }
        self.batches += 1;
        Some(Batch { number: self.batches, counts, oldest_at, in_doubt: 0 })
    }

    /// Hands out every row that the store does not have, those of a refused batch included.
    fn each_pending(&self, mut each: impl FnMut(Id, u32, u64, Timestamp)) {
        let refused = self.batch.iter().flat_map(|batch| &batch.counts);
        let by_segment: HashMap<SegmentId, &[BucketCount]> =
            refused.map(|counts| (counts.segment, counts.rows.as_slice())).collect();
        for page in self.all() {
            let sent = by_segment.get(&page.id).copied().unwrap_or_default();
            page.tally.pending(sent, &mut each);
        }
    }

    fn all(&self) -> impl Iterator<Item = &Page> {
        self.pages.iter().chain(&self.memory)
    }
}

impl Page {
    fn new(id: SegmentId, source: Source) -> Self {
        Self { id, source, tally: Tally::default(), read: 0, acknowledged: 0, complete: false }
    }

    fn read(&mut self, records_max: usize) -> usize {
        let Source::Live(segment, at) = &mut self.source else { return 0 };
        // Asked before the records: a segment that was closed then has no more than these.
        let closed = segment.closed();
        let mut bots = BotMemo::default();
        let mut n = 0;
        while n < records_max {
            let Some((payload, next)) = segment.record_at(*at) else {
                self.complete = closed;
                break;
            };
            if let Some((clicked_at, link)) = time_and_link(payload)
                && !bots.is_bot(user_agent(payload))
            {
                self.tally.add(clicked_at, link);
            }
            *at = next;
            n += 1;
        }
        self.read += n as u64;
        n
    }

    fn take_news(&mut self) -> Option<SegmentCounts> {
        (self.read > self.acknowledged).then(|| SegmentCounts {
            segment: self.id,
            from_record: self.acknowledged,
            to_record: self.read,
            rows: self.tally.take_dirty(),
        })
    }

    fn spent(&self) -> bool {
        self.complete && self.read == self.acknowledged
    }

    fn into_spent(self) -> Spent {
        let (path, fate) = match self.source {
            Source::Live(segment, _) => {
                let fate = if segment.failed() { Fate::Delete } else { Fate::Reuse };
                (Some(segment.path().to_owned()), fate)
            }
            Source::Old { path, damaged: true } => (Some(path), Fate::SetAside),
            Source::Old { path, damaged: false } => (Some(path), Fate::Delete),
            Source::Memory => (None, Fate::Delete),
        };
        Spent { id: self.id, path, fate }
    }
}
