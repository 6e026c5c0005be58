//! What the handle, the lanes, the journal's threads and the counters have in common.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{RwLock, watch};

use super::ClicksConfig;
use super::enrich::Enrichment;
use super::journal::segment::Segment;
use super::journal::spool::{Obstacle, Spool};
use super::lane::Lane;
use super::watch::Watchers;
use crate::domain::time::Clock;
use crate::storage::ClickStore;
use crate::telemetry::metrics::{DropReason, Metrics, WorkerStats};

/// How long a disk is left alone that had no room or failed.
const RETRY_AFTER: Duration = Duration::from_secs(1);

pub(super) struct Shared {
    pub(super) config: ClicksConfig,
    pub(super) store: Arc<dyn ClickStore>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) spool: Spool,
    pub(super) enrichment: Arc<Enrichment>,
    pub(super) watchers: Arc<Watchers>,
    /// Accounts of clicks that no worker of this process took in: damaged ones of earlier
    /// processes. Locked, because counters recover side by side and accounts have one writer.
    stats: Mutex<Arc<WorkerStats>>,
    /// Whoever flushes holds it for writing, whoever adds live counts to stored ones for reading,
    /// so that no count is seen twice or not at all on its way into the store.
    pub(super) gate: Arc<RwLock<()>>,
    /// Counters that still count what an earlier process left.
    pub(super) recovering: watch::Sender<usize>,
    lanes: Mutex<Vec<Arc<Lane>>>,
    /// Lanes ever made.
    n_lanes: AtomicUsize,
    /// Every segment of this process that is still on disk.
    live: Mutex<Vec<Live>>,
    /// By counter: what it has to start to read.
    inboxes: Vec<Mutex<Inbox>>,
    /// Clicks taken in by lanes that are gone.
    taken_before: AtomicU64,
    /// Clicks of this process that are in the store.
    settled: AtomicU64,
    troubles: Mutex<Troubles>,
    /// By counter: age of its oldest click that is not in the store, in milliseconds.
    lags: Vec<AtomicU64>,
    /// No click is taken in any more.
    shut: AtomicBool,
    /// The threads of the journal may end.
    ended: AtomicBool,
}

/// A segment on disk and whose it is.
#[derive(Clone)]
pub(super) struct Live {
    pub(super) segment: Arc<Segment>,
    pub(super) lane: Arc<Lane>,
}

#[derive(Default)]
pub(super) struct Inbox {
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) lanes: Vec<Arc<Lane>>,
}

/// What does not work just now.
#[derive(Clone, Debug, Default)]
pub(super) struct Troubles {
    pub(super) journal: Option<String>,
    /// The disk of the journal had no room or failed: it is left alone until then.
    pub(super) journal_rests_until: Option<Instant>,
    pub(super) flush: Option<String>,
}

/// The parts that `Shared` does not make itself.
pub(super) struct SharedParts {
    pub(super) config: ClicksConfig,
    pub(super) store: Arc<dyn ClickStore>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) spool: Spool,
    pub(super) enrichment: Enrichment,
}

impl Shared {
    pub(super) fn new(parts: SharedParts) -> Self {
        let SharedParts { config, store, metrics, clock, spool, enrichment } = parts;
        let counters = config.counters.max(1);
        Self {
            stats: Mutex::new(metrics.worker()),
            config,
            store,
            metrics,
            clock,
            spool,
            enrichment: Arc::new(enrichment),
            watchers: Arc::default(),
            gate: Arc::new(RwLock::new(())),
            recovering: watch::Sender::new(counters),
            lanes: Mutex::default(),
            n_lanes: AtomicUsize::new(0),
            live: Mutex::default(),
            inboxes: (0..counters).map(|_| Mutex::default()).collect(),
            taken_before: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            troubles: Mutex::default(),
            lags: (0..counters).map(|_| AtomicU64::new(0)).collect(),
            shut: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        }
    }

    /// Makes a lane with one segment ready.
    pub(super) fn add_lane(&self, stats: Arc<WorkerStats>) -> Arc<Lane> {
        let counter = self.n_lanes.fetch_add(1, Ordering::Relaxed) % self.inboxes.len();
        let lane = Arc::new(Lane::new(stats, counter));
        match self.spool.prepare(self.clock.now()) {
            Ok(segment) => self.hand_over(segment, &lane),
            Err(Obstacle { error, .. }) => {
                tracing::warn!(%error, "a worker starts without a journal segment");
            }
        }
        lock(&self.inboxes[counter]).lanes.push(Arc::clone(&lane));
        lock(&self.lanes).push(Arc::clone(&lane));
        lane
    }

    /// Gives a lane a spare segment, known to its counter and to the journal's threads before.
    pub(super) fn hand_over(&self, segment: Segment, lane: &Arc<Lane>) {
        let segment = Arc::new(segment);
        lock(&self.live).push(Live { segment: Arc::clone(&segment), lane: Arc::clone(lane) });
        lock(&self.inboxes[lane.counter]).segments.push(Arc::clone(&segment));
        lane.add_spare(segment);
    }

    pub(super) fn take_inbox(&self, counter: usize) -> Inbox {
        std::mem::take(&mut *lock(&self.inboxes[counter]))
    }

    pub(super) fn lanes(&self) -> Vec<Arc<Lane>> {
        lock(&self.lanes).clone()
    }

    /// Forgets a lane that is gone and empty; what it took in stays in the accounts.
    pub(super) fn forget_lane(&self, lane: &Arc<Lane>) {
        let mut lanes = lock(&self.lanes);
        if let Some(index) = lanes.iter().position(|known| Arc::ptr_eq(known, lane)) {
            lanes.swap_remove(index);
            self.taken_before.fetch_add(lane.taken(), Ordering::Relaxed);
        }
    }

    pub(super) fn live(&self) -> MutexGuard<'_, Vec<Live>> {
        lock(&self.live)
    }

    /// Clicks of this process reached the store.
    pub(super) fn settle(&self, clicks: u64) {
        self.settled.fetch_add(clicks, Ordering::Relaxed);
        self.metrics.clicks_counted.inc_by(clicks);
        self.show_in_journal();
    }

    /// Clicks of an earlier process are lost.
    pub(super) fn drop_damaged(&self, clicks: u64) {
        let stats = lock(&self.stats);
        for _ in 0..clicks {
            stats.accept_click();
            stats.drop_click(DropReason::Damaged);
        }
    }

    /// Brings the gauge up to date.
    pub(super) fn show_in_journal(&self) {
        let lanes = lock(&self.lanes);
        // Settled first: what is settled meanwhile would else make the difference negative.
        let settled = self.settled.load(Ordering::Acquire);
        let before = self.taken_before.load(Ordering::Relaxed);
        let taken = before + lanes.iter().map(|lane| lane.taken()).sum::<u64>();
        self.metrics.clicks_in_journal.set(taken.saturating_sub(settled) as i64);
    }

    pub(super) fn show_lag(&self, counter: usize, lag_ms: u64) {
        self.lags[counter].store(lag_ms, Ordering::Relaxed);
        self.metrics.journal_lag_milliseconds.set(self.lag_ms() as i64);
    }

    /// Age of the oldest click that is not in the store.
    pub(super) fn lag_ms(&self) -> u64 {
        self.lags.iter().map(|lag| lag.load(Ordering::Relaxed)).max().unwrap_or(0)
    }

    pub(super) fn troubles(&self) -> MutexGuard<'_, Troubles> {
        lock(&self.troubles)
    }

    /// The disk of the journal does not do as it should; answers whether that is news.
    pub(super) fn trouble_journal(&self, text: String) -> bool {
        let mut troubles = self.troubles();
        troubles.journal_rests_until = Some(Instant::now() + RETRY_AFTER);
        troubles.journal.replace(text).is_none()
    }

    /// Takes no click in any more, and closes every segment that no record is being written to at
    /// this moment. Call it again until all are closed.
    pub(super) fn shut(&self) {
        self.shut.store(true, Ordering::Release);
        for live in self.live().iter() {
            live.segment.close();
        }
    }

    pub(super) fn is_shut(&self) -> bool {
        self.shut.load(Ordering::Acquire)
    }

    /// Lets the threads of the journal end.
    pub(super) fn end(&self) {
        self.shut.store(true, Ordering::Release);
        self.watchers.end();
        self.ended.store(true, Ordering::Release);
    }

    pub(super) fn ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

/// These are held for moments, never by a lane, and nothing in between can be left half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
