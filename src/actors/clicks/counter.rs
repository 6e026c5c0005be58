//! Click counter: reads the clicks in the journal, enriches them and flushes them to the store.
//!
//! Fed by     the journal segments and rings of its lanes, which never wait for it.
//! Feeds      `ClickStore`.
//! Bound      clicks that wait for a batch, `CLICKS_MAX`; one batch on its way.
//! When full  it stops to read: clicks stay in the journal, up to `clicks.spool_max`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::time::Instant;
use tracing::{info, warn};

use super::book::Book;
use super::enrich::Enricher;
use super::janitor;
use super::journal::spool::OldSegment;
use super::lane::Lane;
use super::recovery::recover;
use super::shared::{Inbox, Shared};
use crate::domain::click::ClickTotals;
use crate::domain::id::Id;
use crate::storage::{StorageError, StorageErrorKind, StorageResult};

/// Clicks that wait for a batch above which the journal is not read any further: some 15 MiB, as
/// much again for the batch on its way, and their texts. However many links are active, a counter
/// holds no more.
const CLICKS_MAX: usize = 262_144;
/// Clicks that are in memory only.
const MEMORY_CLICKS_MAX: usize = 262_144;
/// Records read before other messages get their turn.
const RECORDS_PER_TURN: usize = 100_000;
/// Most records that a question waits for.
const RECORDS_PER_ANSWER: usize = 2_000_000;
/// A slow flush pauses this many times its own length, so that flushing takes a small part of
/// the store's time, but never longer than `FLUSH_PAUSE_MAX`.
const FLUSH_PAUSE_FACTOR: u32 = 50;
const FLUSH_PAUSE_MAX: Duration = Duration::from_secs(2);
/// A store that does not answer for so long is asked again.
const FLUSH_WAIT_MAX: Duration = Duration::from_secs(30);
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);
const MAILBOX_MAX: usize = 256;

/// Finds out whether the store has the last batch, if that is not known. Send it while holding the
/// gate.
#[derive(Message)]
#[rtype(result = "StorageResult<()>")]
pub(super) struct Settle;

/// Asks for clicks that the store does not have. Send it while holding the gate, after `Settle`.
#[derive(Message)]
#[rtype(result = "Vec<ClickTotals>")]
pub(super) struct PendingTotals(pub(super) Vec<Id>);

/// Flushes everything read so far, after forgetting a link if one is given; answers how many
/// segments are still open. Send it while holding the gate for writing.
#[derive(Message)]
#[rtype(result = "StorageResult<usize>")]
pub(super) struct Flush {
    pub(super) forget: Option<Id>,
}

/// Looks at the counter.
#[derive(Message)]
#[rtype(result = "CounterState")]
pub(super) struct Inspect;

/// What a counter holds at this moment.
#[derive(Clone, Debug, MessageResponse, serde::Serialize)]
pub struct CounterState {
    pub segments: usize,
    /// Segments of earlier processes that wait to be counted.
    pub segments_to_recover: usize,
    pub lanes: usize,
    /// Clicks that the store does not have.
    pub clicks: usize,
    /// Of these, how many are in no batch yet.
    pub clicks_waiting: usize,
    /// A batch was sent and not acknowledged.
    pub unsettled: bool,
    /// Flushes that failed since the last that did not.
    pub failures: u32,
    /// Age of the oldest click that is not in the store yet, in milliseconds.
    pub flush_lag_ms: u64,
}

pub(super) struct ClickCounter {
    index: usize,
    shared: Arc<Shared>,
    book: Book,
    lanes: Vec<Arc<Lane>>,
    old: VecDeque<OldSegment>,
    /// A segment of an earlier process is being read.
    recovering: bool,
    /// Something is on its way to the store, or waits for the gate.
    flushing: bool,
    releasing: bool,
    /// The last look at the journal did not reach its end.
    behind: bool,
    next_flush_at: Instant,
    failures: u32,
}

impl ClickCounter {
    /// Starts one counter on `arbiter`, away from the threads that answer requests.
    pub(super) fn start_on(
        arbiter: &ArbiterHandle,
        index: usize,
        shared: Arc<Shared>,
        old: VecDeque<OldSegment>,
    ) -> Addr<Self> {
        Self::start_in_arbiter(arbiter, move |ctx| {
            ctx.set_mailbox_capacity(MAILBOX_MAX);
            let enricher = Enricher::new(Arc::clone(&shared.enrichment));
            let events_max = shared.config.events_per_link_minute;
            Self {
                index,
                book: Book::new(enricher, Arc::clone(&shared.watchers), events_max),
                shared,
                lanes: Vec::new(),
                old,
                recovering: false,
                flushing: false,
                releasing: false,
                behind: false,
                next_flush_at: Instant::now(),
                failures: 0,
            }
        })
    }

    /// One look at the journal.
    fn turn(&mut self, ctx: &mut Context<Self>) {
        self.shared.metrics.clicks_unclassified.inc_by(self.book.go_on());
        let due = Instant::now() >= self.next_flush_at;
        if due || self.must_read() {
            self.behind = self.read(RECORDS_PER_TURN) == RECORDS_PER_TURN;
        }
        self.recover_next(ctx);
        self.spend();
        self.release(ctx);
        let full = self.book.n_waiting() > CLICKS_MAX / 4 * 3 || self.book.is_full();
        if (due || full && self.failures == 0) && self.has_news() {
            self.start_flush(ctx);
        }
        self.show();
    }

    /// Whether somebody waits for what the journal holds. Else it is read when the next flush is
    /// due: many clicks at once cost less each, and every look takes the processor's caches from
    /// whoever answers redirects.
    fn must_read(&self) -> bool {
        self.behind
            || self.shared.watchers.any()
            || self.lanes.iter().any(|lane| lane.gone() || !lane.ring.is_empty())
    }

    fn has_news(&self) -> bool {
        self.book.has_news() || self.book.has_batch()
    }

    /// Counts what the lanes wrote; answers how many records of segments that were.
    fn read(&mut self, records_max: usize) -> usize {
        let Inbox { segments, lanes } = self.shared.take_inbox(self.index);
        for segment in segments {
            self.book.open(segment);
        }
        self.lanes.extend(lanes);
        let shared = Arc::clone(&self.shared);
        for lane in &self.lanes {
            while self.book.n_in_memory() < MEMORY_CLICKS_MAX {
                let Some((at, link)) = lane.ring.pull() else { break };
                self.book.add_unjournaled(at, link, || shared.spool.next_id());
            }
        }
        self.lanes.retain(|lane| {
            let finished = lane.gone() && lane.ring.is_empty();
            if finished {
                shared.forget_lane(lane);
            }
            !finished
        });
        let full = self.book.n_waiting() > CLICKS_MAX || self.book.is_full();
        if full { 0 } else { self.book.read(records_max) }
    }

    /// Counts everything that was written before this call.
    fn read_all(&mut self) {
        let mut left = RECORDS_PER_ANSWER;
        while left > 0 {
            let n = self.read(RECORDS_PER_TURN.min(left));
            if n < RECORDS_PER_TURN {
                break;
            }
            left -= n;
        }
    }

    /// Starts to count the next segment of an earlier process, when there is room for its clicks.
    fn recover_next(&mut self, ctx: &mut Context<Self>) {
        if self.recovering || self.book.n_waiting() > CLICKS_MAX || self.book.is_full() {
            return;
        }
        let Some(old) = self.old.pop_front() else { return };
        self.recovering = true;
        let found = recover(Arc::clone(&self.shared), old);
        ctx.spawn(found.into_actor(self).map(|found, this, ctx| {
            this.recovering = false;
            this.book.open_recovered(found);
            if this.old.is_empty() {
                this.end_recovery();
            }
            this.recover_next(ctx);
        }));
    }

    fn end_recovery(&self) {
        self.shared.recovering.send_modify(|counters| *counters -= 1);
    }

    /// Waits for its turn at the gate, then sends what there is.
    fn start_flush(&mut self, ctx: &mut Context<Self>) {
        if self.flushing {
            return;
        }
        self.flushing = true;
        let gate = Arc::clone(&self.shared.gate).write_owned();
        let flush = gate.into_actor(self).then(|held, this, _| {
            this.send_batch().map(move |_, this: &mut Self, _| {
                this.flushing = false;
                // Only now: the acknowledgement is in the book.
                drop(held);
            })
        });
        ctx.spawn(flush);
    }

    /// Sends the batch that was not acknowledged, or all news. The caller holds the gate.
    fn send_batch(&mut self) -> ResponseActFuture<Self, StorageResult<()>> {
        let Some((number, clicks)) = self.book.batch() else {
            return Box::pin(actix::fut::ready(Ok(())));
        };
        let store = Arc::clone(&self.shared.store);
        let begun = Instant::now();
        let flush = async move {
            match tokio::time::timeout(FLUSH_WAIT_MAX, store.flush(clicks)).await {
                Ok(outcome) => outcome,
                Err(late) => Err(StorageError::new(StorageErrorKind::Timeout, "flush", late)),
            }
        };
        Box::pin(
            flush
                .into_actor(self)
                .map(move |outcome, this, _| this.settle(number, begun.elapsed(), outcome)),
        )
    }

    /// Reads and sends everything that was written before this call, in as many batches as it
    /// takes, after forgetting a link if one is given.
    fn flush_all(&mut self, forget: Option<Id>) -> ResponseActFuture<Self, StorageResult<()>> {
        self.read_all();
        let more =
            self.book.n_waiting() > CLICKS_MAX || self.book.is_full() || self.book.has_rest();
        if let Some(link) = forget {
            self.book.forget(link);
        }
        Box::pin(self.send_batch().then(move |outcome, this, _| match outcome {
            Ok(()) if more => this.flush_all(forget),
            outcome => Box::pin(actix::fut::ready(outcome)),
        }))
    }

    fn settle(
        &mut self,
        number: u64,
        took: Duration,
        outcome: StorageResult<()>,
    ) -> StorageResult<()> {
        let now = Instant::now();
        if let Err(error) = outcome {
            if nothing_applied(error.kind) {
                self.book.refuse(number);
            }
            self.failures = self.failures.saturating_add(1);
            let pause = RETRY_FIRST * 2u32.saturating_pow(self.failures.min(10) - 1);
            self.next_flush_at = now + pause.min(RETRY_MAX);
            if self.failures == 1 {
                warn!(%error, "click counts were not stored; they stay in the journal");
            }
            self.shared.troubles().flush = Some(error.to_string());
            return Err(error);
        }
        let done = self.book.acknowledge(number);
        if std::mem::take(&mut self.failures) > 0 {
            info!("click counts are stored again");
        }
        self.shared.troubles().flush = None;
        let shortest = self.shared.config.flush_interval.0;
        let pause = (took * FLUSH_PAUSE_FACTOR).clamp(shortest, FLUSH_PAUSE_MAX.max(shortest));
        self.next_flush_at = now + pause;
        self.shared.settle(done.counted);
        let metrics = &self.shared.metrics;
        metrics.clicks_recovered.inc_by(done.recovered);
        metrics.flush_rows.observe(done.rows as f64);
        metrics.flush_duration.observe(took.as_secs_f64());
        self.spend();
        Ok(())
    }

    fn spend(&mut self) {
        self.shared.spool.spend(self.book.take_spent());
    }

    /// Lets the store forget segments whose files are gone.
    fn release(&mut self, ctx: &mut Context<Self>) {
        if self.releasing || self.index != 0 {
            return;
        }
        let segments = self.shared.spool.take_deleted();
        if segments.is_empty() {
            return;
        }
        self.releasing = true;
        let store = Arc::clone(&self.shared.store);
        let release = async move { (store.release(segments.clone()).await, segments) };
        ctx.spawn(release.into_actor(self).map(|(outcome, segments), this, _| {
            this.releasing = false;
            if outcome.is_err() {
                this.shared.spool.put_deleted(segments);
            }
        }));
    }

    fn show(&self) {
        self.shared.show_in_journal();
        self.shared.show_lag(self.index, self.lag_ms());
    }

    fn lag_ms(&self) -> u64 {
        let now = self.shared.clock.now().as_millis();
        self.book.oldest_at().map_or(0, |oldest| (now - oldest.as_millis()).max(0) as u64)
    }
}

impl Actor for ClickCounter {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        if self.old.is_empty() {
            self.end_recovery();
        }
        self.recover_next(ctx);
        ctx.run_interval(self.shared.config.read_interval.0, Self::turn);
        if self.index == 0 {
            janitor::start(&self.shared, ctx);
        }
    }
}

impl Handler<Settle> for ClickCounter {
    type Result = ResponseActFuture<Self, StorageResult<()>>;

    fn handle(&mut self, _: Settle, _ctx: &mut Context<Self>) -> Self::Result {
        if self.book.unsettled() { self.send_batch() } else { Box::pin(actix::fut::ready(Ok(()))) }
    }
}

impl Handler<PendingTotals> for ClickCounter {
    type Result = MessageResult<PendingTotals>;

    fn handle(&mut self, asked: PendingTotals, _ctx: &mut Context<Self>) -> Self::Result {
        self.read_all();
        MessageResult(self.book.pending_totals(&asked.0))
    }
}

impl Handler<Flush> for ClickCounter {
    type Result = ResponseActFuture<Self, StorageResult<usize>>;

    fn handle(&mut self, asked: Flush, _ctx: &mut Context<Self>) -> Self::Result {
        // A batch without acknowledgement may hold the link: it goes first, as it was.
        let earlier = match self.book.has_batch() {
            true => self.send_batch(),
            false => Box::pin(actix::fut::ready(Ok(()))),
        };
        let all = earlier.then(move |outcome, this, _| {
            if let Err(error) = outcome {
                return Box::pin(actix::fut::ready(Err(error))) as ResponseActFuture<_, _>;
            }
            this.flush_all(asked.forget)
        });
        Box::pin(all.map(|outcome, this, ctx| {
            this.spend();
            this.release(ctx);
            this.show();
            outcome.map(|()| this.book.n_pages() + this.old.len())
        }))
    }
}

impl Handler<Inspect> for ClickCounter {
    type Result = MessageResult<Inspect>;

    fn handle(&mut self, _: Inspect, _ctx: &mut Context<Self>) -> Self::Result {
        MessageResult(CounterState {
            segments: self.book.n_pages(),
            segments_to_recover: self.old.len() + usize::from(self.recovering),
            lanes: self.lanes.len(),
            clicks: self.book.n_clicks(),
            clicks_waiting: self.book.n_waiting(),
            unsettled: self.book.has_batch(),
            failures: self.failures,
            flush_lag_ms: self.lag_ms(),
        })
    }
}

/// The store refused, so that it has nothing of the batch. Of the other kinds that is not certain.
fn nothing_applied(kind: StorageErrorKind) -> bool {
    match kind {
        StorageErrorKind::Unavailable | StorageErrorKind::Full => true,
        StorageErrorKind::Timeout
        | StorageErrorKind::Corrupt
        | StorageErrorKind::Damaged
        | StorageErrorKind::TooMany
        | StorageErrorKind::Invalid => false,
    }
}
