//! The book of one counter: which segments it reads, what it counted, what the store knows of it.
//!
//! Pure: no store, no timer. At most one batch is on its way, and a batch that was not acknowledged
//! is sent again exactly as it was, until it is: the store tells by the positions in it whether it
//! has it already. A batch that the store refused is known not to be there, so its clicks are
//! pending; one whose answer was lost is unsettled.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::enrich::Enricher;
use super::journal::segment::Segment;
use super::journal::spool::{Fate, Spent};
use super::journal::{HEADER_BYTES, Layout, Record};
use super::surplus::Kept;
use super::watch::Watchers;
use crate::domain::click::{ClickTotals, SegmentId};
use crate::domain::counted::{CountedClick, SegmentClicks, serial_of};
use crate::domain::id::Id;
use crate::domain::time::Timestamp;
use crate::domain::words::Words;

/// How far a click may lie from the first of its segment, in milliseconds: one day. Beyond it the
/// clock jumped, and the click is counted at the border. Measured from the segment itself, so that
/// counting it again gives the same times.
const APART_MAX_MS: i64 = 86_400_000;

/// Bytes of texts of recovered segments that may wait for a batch before another is read.
const RECOVERED_BYTES_MAX: usize = 16 << 20;

/// How far ahead the journal is fetched into the cache: some four records.
const READ_AHEAD_BYTES: usize = 1_024;
const CACHE_LINE_BYTES: usize = 64;

pub(super) struct Book {
    enricher: Enricher,
    watchers: Arc<Watchers>,
    kept: Kept,
    /// Clicks of a link and minute that are kept one by one.
    events_max: usize,
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
    /// What the store does not have yet, and its dictionary.
    pub(super) clicks: Vec<CountedClick>,
    pub(super) words: Words,
    pub(super) records: u64,
    /// Of these, how many the store had.
    pub(super) flushed: u64,
    /// Where the first batch must end.
    pub(super) cut: Option<u64>,
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
    /// Clicks that no batch has taken yet.
    clicks: Vec<CountedClick>,
    /// Their dictionary, if it is another than that of the book.
    words: Option<Words>,
    bounds: Bounds,
    /// Time of the oldest of `clicks`.
    oldest_at: Option<Timestamp>,
    read: u64,
    acknowledged: u64,
    /// Nothing will follow what was read.
    complete: bool,
    /// What the store must get in a batch of its own, after the next one.
    rest: Option<Rest>,
}

/// The records of a segment behind a cut. They count as read when the cut was acknowledged.
struct Rest {
    clicks: Vec<CountedClick>,
    to_record: u64,
}

/// Keeps the clicks of a segment together when the clock jumps.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bounds(Option<Timestamp>);

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
    clicks: Arc<Vec<SegmentClicks>>,
    oldest_at: Option<Timestamp>,
    /// How often it was sent without the answer that nothing of it was stored.
    in_doubt: u32,
}

impl Book {
    pub(super) fn new(enricher: Enricher, watchers: Arc<Watchers>, events_max: usize) -> Self {
        Self {
            enricher,
            watchers,
            kept: Kept::default(),
            events_max,
            pages: Vec::new(),
            memory: None,
            batch: None,
            batches: 0,
        }
    }

    pub(super) fn open(&mut self, segment: Arc<Segment>) {
        self.pages.push(Page::new(segment.id(), Source::Live(segment, HEADER_BYTES)));
    }

    pub(super) fn open_recovered(&mut self, found: Recovered) {
        let source = Source::Old { path: found.path, damaged: found.damaged };
        let mut page = Page {
            clicks: found.clicks,
            words: Some(found.words),
            read: found.records,
            acknowledged: found.flushed,
            complete: true,
            ..Page::new(found.id, source)
        };
        if let Some(cut) = found.cut {
            page.cut_at(cut);
        }
        page.oldest_at = page.clicks.iter().map(|click| click.at).min();
        self.pages.push(page);
    }

    /// Begins a turn; answers how many clicks of the last one were counted without user agent.
    pub(super) fn go_on(&mut self) -> u64 {
        self.enricher.go_on()
    }

    /// Counts up to `records_max` records behind the writers; answers how many.
    pub(super) fn read(&mut self, records_max: usize) -> usize {
        let mut left = records_max;
        for page in &mut self.pages {
            left -= page.read(left, &mut self.enricher, &self.watchers);
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
        let serial = serial_of(page.id, page.read);
        page.add(CountedClick { link, at, serial, ..CountedClick::default() });
        page.read += 1;
    }

    /// The batch to send now: the last one if it was not acknowledged, else all news. None: no
    /// news.
    pub(super) fn batch(&mut self) -> Option<(u64, Arc<Vec<SegmentClicks>>)> {
        if self.batch.is_none() {
            self.batch = self.make_batch();
        }
        let batch = self.batch.as_mut()?;
        batch.in_doubt += 1;
        Some((batch.number, Arc::clone(&batch.clicks)))
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
        let by_segment: HashMap<SegmentId, &SegmentClicks> =
            batch.clicks.iter().map(|clicks| (clicks.segment, clicks)).collect();
        for page in &mut self.pages {
            let Some(sent) = by_segment.get(&page.id) else { continue };
            page.acknowledged = sent.to_record;
            page.take_rest();
            outcome.rows += (sent.clicks.len() + sent.surplus.len()) as u64;
            let clicks = sent.to_record - sent.from_record;
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

    /// Clicks held in memory: those that wait for a batch and those in one.
    pub(super) fn n_clicks(&self) -> usize {
        let sent = self.batch.iter().flat_map(|batch| batch.clicks.iter());
        self.n_waiting() + sent.map(|clicks| clicks.clicks.len()).sum::<usize>()
    }

    /// True while there are records that the store does not cover.
    pub(super) fn has_news(&self) -> bool {
        self.all().any(|page| page.read > page.acknowledged)
    }

    /// Clicks that wait for a batch.
    pub(super) fn n_waiting(&self) -> usize {
        self.all().flat_map(Page::lists).map(<[_]>::len).sum()
    }

    /// True while what was read does not all fit into the next batch.
    pub(super) fn has_rest(&self) -> bool {
        self.all().any(|page| page.rest.is_some())
    }

    /// True when what was read should be sent before more is.
    pub(super) fn is_full(&self) -> bool {
        self.enricher.is_full() || self.recovered_bytes() > RECOVERED_BYTES_MAX
    }

    /// Bytes of texts of segments that were recovered and are in no batch yet.
    fn recovered_bytes(&self) -> usize {
        self.pages.iter().filter_map(|page| page.words.as_ref()).map(Words::bytes).sum()
    }

    /// Clicks that are in memory only.
    pub(super) fn n_in_memory(&self) -> usize {
        self.memory.as_ref().map_or(0, |page| page.clicks.len())
    }

    /// Time of the oldest click that the store is not known to have.
    pub(super) fn oldest_at(&self) -> Option<Timestamp> {
        let sent = self.batch.as_ref().and_then(|batch| batch.oldest_at);
        self.all().filter_map(|page| page.oldest_at).chain(sent).min()
    }

    /// Clicks of `links` that the store does not have, in order; bots left out. Call it while
    /// settled.
    pub(super) fn pending_totals(&self, links: &[Id]) -> Vec<ClickTotals> {
        let mut by_link: foldhash::HashMap<Id, ClickTotals> =
            links.iter().map(|link| (*link, ClickTotals::default())).collect();
        let mut add = |link: Id, clicks: u64, last_at: Timestamp| {
            if let Some(totals) = by_link.get_mut(&link) {
                totals.clicks += clicks;
                totals.last_clicked_at = totals.last_clicked_at.max(Some(last_at));
            }
        };
        let refused = self.batch.iter().flat_map(|batch| batch.clicks.iter());
        let (mut clicks, mut surplus) = (Vec::new(), Vec::new());
        for sent in refused {
            clicks.push(sent.clicks.as_slice());
            surplus.push(sent.surplus.as_slice());
        }
        clicks.extend(self.all().flat_map(Page::lists));
        for click in clicks.into_iter().flatten().filter(|click| !click.is_bot()) {
            add(click.link, 1, click.at);
        }
        for row in surplus.into_iter().flatten() {
            if let Some(times) = row.stats.people_at {
                add(row.link, row.stats.counts().people, times.last);
            }
        }
        links.iter().map(|link| by_link.get(link).copied().unwrap_or_default()).collect()
    }

    /// Drops what was counted for a link and is not in the store. Call it while settled.
    pub(super) fn forget(&mut self, link: Id) {
        for page in self.pages.iter_mut().chain(&mut self.memory) {
            page.clicks.retain(|click| click.link != link);
            if let Some(rest) = &mut page.rest {
                rest.clicks.retain(|click| click.link != link);
            }
        }
    }

    fn make_batch(&mut self) -> Option<Batch> {
        let oldest_at = self.oldest_at();
        if let Some(mut memory) = self.memory.take() {
            memory.complete = true;
            self.pages.push(memory);
        }
        if !self.has_news() {
            return None;
        }
        let mut words = self.enricher.take_words();
        let (kept, max) = (&mut self.kept, self.events_max);
        let mut news = Vec::new();
        for page in self.pages.iter_mut().filter(|page| page.read > page.acknowledged) {
            let mut taken = page.take_news();
            let mut own = if page.rest.is_some() { page.words.clone() } else { page.words.take() };
            let words = own.as_mut().unwrap_or(&mut words);
            taken.surplus = kept.split(&mut taken.clicks, words, max);
            news.push((taken, own.map(Arc::new)));
        }
        let words = Arc::new(words);
        let clicks = news.into_iter().map(|(taken, own)| SegmentClicks {
            words: own.unwrap_or_else(|| Arc::clone(&words)),
            ..taken
        });
        self.batches += 1;
        let clicks = Arc::new(clicks.collect());
        Some(Batch { number: self.batches, clicks, oldest_at, in_doubt: 0 })
    }

    fn all(&self) -> impl Iterator<Item = &Page> {
        self.pages.iter().chain(&self.memory)
    }
}

impl Bounds {
    /// The time that a record of the segment counts at.
    pub(super) fn time(&mut self, at: Timestamp) -> Timestamp {
        let first = self.0.get_or_insert(at).as_millis();
        let (low, high) = (first.saturating_sub(APART_MAX_MS), first.saturating_add(APART_MAX_MS));
        Timestamp(at.as_millis().clamp(low, high))
    }
}

impl Page {
    fn new(id: SegmentId, source: Source) -> Self {
        Self {
            id,
            source,
            clicks: Vec::new(),
            words: None,
            bounds: Bounds::default(),
            oldest_at: None,
            read: 0,
            acknowledged: 0,
            complete: false,
            rest: None,
        }
    }

    /// Lets the next batch end at a record. Records that a loss of power took from the file count
    /// as read: what the store has of them is true.
    fn cut_at(&mut self, cut: u64) {
        if cut < self.read {
            let own = usize::try_from(cut.saturating_sub(self.acknowledged)).unwrap_or(usize::MAX);
            let clicks = self.clicks.split_off(own.min(self.clicks.len()));
            self.rest = Some(Rest { clicks, to_record: self.read });
        }
        self.read = cut;
    }

    /// Goes on behind the cut.
    fn take_rest(&mut self) {
        if let Some(rest) = self.rest.take() {
            self.oldest_at = rest.clicks.iter().map(|click| click.at).min();
            (self.clicks, self.read) = (rest.clicks, rest.to_record);
        }
    }

    /// Clicks that no batch has taken yet.
    fn lists(&self) -> impl Iterator<Item = &[CountedClick]> {
        let rest = self.rest.as_ref().map(|rest| rest.clicks.as_slice());
        rest.into_iter().chain([self.clicks.as_slice()])
    }

    fn add(&mut self, click: CountedClick) {
        let at = click.at;
        self.oldest_at = Some(self.oldest_at.map_or(at, |oldest| oldest.min(at)));
        self.clicks.push(click);
    }

    fn read(&mut self, records_max: usize, enricher: &mut Enricher, watchers: &Watchers) -> usize {
        let Source::Live(segment, at) = &self.source else { return 0 };
        let (segment, mut next_at) = (Arc::clone(segment), *at);
        // Asked before the records: a segment that was closed then has no more than these.
        let closed = segment.closed();
        let mut n = 0;
        while n < records_max && !enricher.is_full() {
            let Some((payload, next)) = segment.record_at(next_at) else {
                self.complete = closed;
                break;
            };
            for line in (next_at..next).step_by(CACHE_LINE_BYTES) {
                segment.fetch_ahead(line + READ_AHEAD_BYTES);
            }
            if let Some(record) = Record::parse(payload, Layout::NEWEST) {
                let at = self.bounds.time(record.at);
                let click = enricher.click(&record, at, self.id, self.read);
                watchers.tell(&click, enricher.words());
                self.add(click);
            }
            self.read += 1;
            next_at = next;
            n += 1;
        }
        if let Source::Live(_, at) = &mut self.source {
            *at = next_at;
        }
        n
    }

    /// What the next batch says of the segment; its surplus and words are still to come.
    fn take_news(&mut self) -> SegmentClicks {
        self.oldest_at = None;
        let room = if self.complete { 0 } else { self.clicks.len() };
        SegmentClicks {
            segment: self.id,
            from_record: self.acknowledged,
            to_record: self.read,
            // The next batch will be about as large.
            clicks: std::mem::replace(&mut self.clicks, Vec::with_capacity(room)),
            ..SegmentClicks::default()
        }
    }

    fn spent(&self) -> bool {
        self.complete && self.read == self.acknowledged
    }

    fn into_spent(self) -> Spent {
        let (path, fate) = match self.source {
            Source::Live(segment, _) => {
                // A file that the keeper may still write to must not become another segment.
                let reusable = !segment.failed() && segment.is_synced();
                let fate = if reusable { Fate::Reuse } else { Fate::Delete };
                (Some(segment.path().to_owned()), fate)
            }
            Source::Old { path, damaged: true } => (Some(path), Fate::SetAside),
            Source::Old { path, damaged: false } => (Some(path), Fate::Delete),
            Source::Memory => (None, Fate::Delete),
        };
        Spent { id: self.id, path, fate }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_within_a_segment_does_not_scatter_clicks() {
        let mut bounds = Bounds::default();
        let start = 600_000_000_000;
        let times = [start, start + 90 * APART_MAX_MS, start - 90 * APART_MAX_MS, start + 60_000]
            .map(|at| bounds.time(Timestamp(at)).as_millis() - start);
        assert_eq!(times, [0, APART_MAX_MS, -APART_MAX_MS, 60_000]);
    }
}
