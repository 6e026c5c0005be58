//! Clicks: journal first, counted behind.
//!
//! A lane writes each click into a mapped segment of the journal ([`journal`]) and returns. One
//! thread writes segments through (`keeper`), another keeps spare ones ready (`stock`).
//! Counters read behind the lanes, add up per (link, minute) and flush sums that are absolute per
//! segment. A segment is deleted, or wiped and used again, when all its sums are acknowledged;
//! until then its file is the truth.

mod book;
mod config;
mod counter;
pub mod enrich;
mod janitor;
pub mod journal;
mod keeper;
mod lane;
mod recovery;
mod ring;
mod shared;
mod stock;
mod surplus;
mod watch;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use actix::prelude::*;
use tracing::{info, warn};

use self::counter::{ClickCounter, Flush, Inspect, PendingTotals, Settle};
use self::enrich::agent::Agents;
use self::enrich::places::{Places, Watch as DatabaseWatch};
use self::enrich::{Enrichment, Keys};
use self::journal::spool::Spool;
use self::keeper::Keeper;
use self::shared::{Shared, SharedParts};
use self::stock::Stock;
use crate::domain::audit::Act;
use crate::domain::click::ClickTotals;
use crate::domain::id::Id;
use crate::domain::time::Clock;
use crate::domain::visitor::VisitorKey;
use crate::storage::patience;
use crate::storage::{ClickStore, StorageError, StorageErrorKind, StorageResult};
use crate::telemetry::metrics::{Metrics, WorkerStats};

pub use self::config::{ClicksConfig, FreeDisk};
pub use self::counter::CounterState;
pub use self::enrich::places::DatabaseHealth;
pub use self::janitor::{keep_house, remove_old};
pub use self::lane::ClickLane;
pub use self::watch::Watch;

/// How long a stop waits for the store to take the last counts.
const DRAIN_MAX: Duration = Duration::from_secs(10);
const DRAIN_PAUSE: Duration = Duration::from_millis(20);

/// Everything the click actors need to start.
pub struct ClickSinkParts {
    pub config: ClicksConfig,
    /// Folder of the journal; made if absent.
    pub folder: PathBuf,
    /// Number of this process among all that share the store, 0 to 1,023.
    pub node: u16,
    pub store: Arc<dyn ClickStore>,
    pub metrics: Arc<Metrics>,
    pub clock: Arc<dyn Clock>,
    /// The store's keys of visitors, by day.
    pub keys: Vec<(u32, VisitorKey)>,
}

/// The public face of the click actors. Clones share one journal.
#[derive(Clone)]
pub struct ClickSink {
    store: Arc<dyn ClickStore>,
    /// None when clicks are not counted.
    running: Option<Arc<Running>>,
}

/// How the journal is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct JournalHealth {
    /// Clicks are kept in memory or dropped, because the journal has no room or its disk failed.
    pub degraded: bool,
    pub segments: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Age of the oldest click that is not in the store.
    pub lag_ms: u64,
    /// Why the journal is degraded.
    pub journal_error: Option<String>,
    /// Why counts are not reaching the store.
    pub last_flush_error: Option<String>,
}

/// Where the clicks are that this process took in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    pub accepted: u64,
    /// In the store.
    pub counted: u64,
    /// Recorded, and not in the store yet.
    pub in_journal: u64,
    /// For whatever reason.
    pub dropped: u64,
    /// Clicks that may be between two of these: taken in while they were read, one per worker at
    /// least.
    pub moving: u64,
}

impl Accounts {
    /// accepted = counted + in the journal + dropped, but for what is moving.
    pub fn are_even(&self) -> bool {
        self.accepted.abs_diff(self.counted + self.in_journal + self.dropped) <= self.moving
    }
}

struct Running {
    shared: Arc<Shared>,
    counters: Vec<Addr<ClickCounter>>,
    arbiters: Vec<Arbiter>,
    /// The keeper and the stock.
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Looks after the databases of places, if there are any.
    databases: Mutex<Option<DatabaseWatch>>,
}

impl ClickSink {
    /// Opens the journal, starts to count again what an earlier process left, and starts the
    /// counters on an arbiter of their own. Call inside an actix `System`. Fails when the folder
    /// cannot be used.
    pub fn start(parts: ClickSinkParts) -> io::Result<Self> {
        let ClickSinkParts { config, folder, node, store, metrics, clock, keys } = parts;
        if !config.enabled {
            return Ok(Self { store, running: None });
        }
        let (spool, old) = Spool::open(&folder, &config, node, clock.now())?;
        if !old.is_empty() {
            info!(segments = old.len(), "counting the clicks that an earlier process left");
        }
        let n_counters = config.counters.max(1);
        let places = Arc::new(Places::open(&config.geoip));
        let enrichment = Enrichment {
            agents: Arc::new(Agents::new()),
            places: Arc::clone(&places),
            keys: Keys::new(keys),
        };
        let databases = match config.geoip.is_empty() {
            true => None,
            false => Some(DatabaseWatch::start(places)?),
        };
        let shared = Arc::new(Shared::new(SharedParts {
            config,
            store: Arc::clone(&store),
            metrics,
            clock,
            spool,
            enrichment,
        }));
        let weak = Arc::downgrade(&shared);
        shared.metrics.before_scrape(move || {
            if let Some(shared) = weak.upgrade() {
                shared.show_in_journal();
            }
        });
        let mut shares: Vec<VecDeque<_>> = vec![VecDeque::new(); n_counters];
        for (index, segment) in old.into_iter().enumerate() {
            shares[index % n_counters].push_back(segment);
        }
        let threads = vec![Keeper::start(Arc::clone(&shared))?, Stock::start(Arc::clone(&shared))?];
        let arbiters: Vec<Arbiter> = (0..n_counters).map(|_| Arbiter::new()).collect();
        let counters = shares
            .into_iter()
            .enumerate()
            .map(|(index, old)| {
                let shared = Arc::clone(&shared);
                ClickCounter::start_on(&arbiters[index].handle(), index, shared, old)
            })
            .collect();
        let threads = Mutex::new(threads);
        let databases = Mutex::new(databases);
        let running = Running { shared, counters, arbiters, threads, databases };
        Ok(Self { store, running: Some(Arc::new(running)) })
    }

    /// A lane for one worker, with room in the journal; none when clicks are not counted. Makes a
    /// file: not for a request's path. `stats` are those of the worker, and of no other lane.
    pub fn lane(&self, stats: Arc<WorkerStats>) -> Option<ClickLane> {
        let running = self.running.as_ref()?;
        let lane = running.shared.add_lane(stats);
        running.wake_threads();
        Some(ClickLane::new(lane, Arc::clone(&running.shared)))
    }

    /// Resolves when everything that an earlier process left in the journal is in the store or in
    /// the live counts. Waits for the store if that is away.
    pub async fn recovered(&self) {
        if let Some(running) = &self.running {
            let mut counters = running.shared.recovering.subscribe();
            // The sender lives as long as `running`, so this cannot fail.
            if counters.wait_for(|left| *left == 0).await.is_err() {
                warn!("the click counters ended before they had counted the journal");
            }
        }
    }

    /// Totals of links, the clicks not yet in the store included: every click that was recorded
    /// before the call. Waits for a flush that is on its way, and needs none to go well: what the
    /// store refused is counted as not yet in it. Kinds: those of the store.
    ///
    /// Exact because of the gate: while it is held no flush begins, and `Settle` has made sure
    /// that none is half known. So the store has exactly the acknowledged clicks until the live
    /// ones are added; those that come meanwhile only ever add to the live ones.
    pub async fn totals(&self, links: &[Id]) -> StorageResult<Vec<ClickTotals>> {
        let Some(running) = &self.running else { return self.store.totals(links).await };
        // With its waits for the counters, which wait for the store themselves.
        patience::within("click_totals", self.all_totals(running, links)).await?
    }

    async fn all_totals(&self, running: &Running, links: &[Id]) -> StorageResult<Vec<ClickTotals>> {
        let _held = running.shared.gate.read().await;
        running.settle().await?;
        let mut totals = self.store.totals(links).await?;
        for counter in &running.counters {
            let pending = counter.send(PendingTotals(links.to_vec())).await.map_err(stopped)?;
            for (total, more) in totals.iter_mut().zip(pending) {
                total.clicks += more.clicks;
                total.last_clicked_at = total.last_clicked_at.max(more.last_clicked_at);
            }
        }
        Ok(totals)
    }

    /// The clicks of a link as they are counted, from now on. `None`: clicks are not counted, or
    /// too many watch already.
    pub fn watch(&self, link: Id) -> Option<Watch> {
        self.running.as_ref()?.shared.watchers.watch(link)
    }

    /// Whether the user agent is that of a bot, by the same rules as in statistics. Takes some
    /// microseconds, more for one that was not seen yet.
    pub fn is_bot(&self, user_agent: &[u8]) -> bool {
        match &self.running {
            Some(running) => running.shared.enrichment.agents.is_bot(user_agent),
            None => false,
        }
    }

    /// The databases that tell where visitors are. Empty when none are configured.
    pub fn databases(&self) -> Vec<DatabaseHealth> {
        match &self.running {
            Some(running) => running.shared.enrichment.places.health(),
            None => Vec::new(),
        }
    }

    /// Forgets all clicks of a link that were recorded before the call, those in the journal
    /// included. The audit log tells of it as `act`. Kinds: those of the store; then some may be
    /// left, and it can be called again.
    pub async fn erase(&self, link: Id, act: Option<Act>) -> StorageResult<()> {
        let Some(running) = &self.running else { return self.store.erase(link, act).await };
        let op = "erase_clicks";
        patience::within(op, self.recovered()).await?;
        let _held = patience::within(op, running.shared.gate.write()).await?;
        for counter in &running.counters {
            // Flushed as well, so that a crash right after this does not count them again.
            let flushed = counter.send(Flush { forget: Some(link) });
            patience::within(op, flushed).await?.map_err(stopped)??;
        }
        self.store.erase(link, act).await
    }

    /// After the last lane was dropped: counts and stores everything, closes the journal. What
    /// cannot be stored stays in the journal for the next start. Clicks recorded later are
    /// dropped and counted.
    pub async fn drain(&self) {
        let Some(running) = &self.running else { return };
        let begun = tokio::time::Instant::now();
        loop {
            running.shared.shut();
            let left = running.flush().await;
            running.wake_threads();
            match left {
                Ok(0) => break,
                Ok(_) if begun.elapsed() < DRAIN_MAX => (),
                Err(_) if begun.elapsed() < DRAIN_MAX => (),
                Ok(left) => {
                    warn!(left, "not all journal segments were closed; the next start goes on");
                    break;
                }
                Err(error) => {
                    warn!(%error, "the last clicks stay in the journal for the next start");
                    break;
                }
            }
            tokio::time::sleep(DRAIN_PAUSE).await;
        }
        running.end().await;
    }

    /// How the journal is doing. Answers at once.
    pub fn health(&self) -> JournalHealth {
        let Some(running) = &self.running else { return JournalHealth::default() };
        let shared = &running.shared;
        let (segments, bytes) = shared.spool.usage();
        let troubles = shared.troubles().clone();
        JournalHealth {
            degraded: troubles.journal.is_some(),
            segments,
            bytes,
            lag_ms: shared.lag_ms(),
            journal_error: troubles.journal,
            last_flush_error: troubles.flush,
        }
    }

    /// True unless clicks are switched off.
    pub fn is_counting(&self) -> bool {
        self.running.is_some()
    }

    /// Where the clicks are. Answers at once, while clicks come in.
    pub fn accounts(&self) -> Accounts {
        let Some(running) = &self.running else { return Accounts::default() };
        let (shared, metrics) = (&running.shared, &running.shared.metrics);
        let (before, _) = metrics.clicks();
        shared.show_in_journal();
        let in_journal = metrics.clicks_in_journal.get().unsigned_abs();
        let counted = metrics.clicks_counted.get();
        let (accepted, dropped) = metrics.clicks();
        let moving = accepted - before + shared.lanes().len() as u64;
        Accounts { accepted, counted, in_journal, dropped, moving }
    }

    /// What each counter holds.
    pub async fn inspect(&self) -> Vec<CounterState> {
        let mut states = Vec::new();
        for counter in self.running.iter().flat_map(|running| &running.counters) {
            states.extend(counter.send(Inspect).await);
        }
        states
    }
}

impl Running {
    async fn settle(&self) -> StorageResult<()> {
        for counter in &self.counters {
            counter.send(Settle).await.map_err(stopped)??;
        }
        Ok(())
    }

    /// Flushes all counters; answers how many segments are left.
    async fn flush(&self) -> StorageResult<usize> {
        let _held = self.shared.gate.write().await;
        let mut left = 0;
        for counter in &self.counters {
            left += counter.send(Flush { forget: None }).await.map_err(stopped)??;
        }
        Ok(left + self.shared.spool.n_leaving())
    }

    async fn end(&self) {
        self.shared.end();
        self.wake_threads();
        let threads = std::mem::take(&mut *self.threads());
        let databases = self.databases.lock().unwrap_or_else(PoisonError::into_inner).take();
        let joined = tokio::task::spawn_blocking(move || {
            if let Some(databases) = databases {
                databases.end();
            }
            threads.into_iter().try_for_each(|thread| thread.join())
        });
        if !matches!(joined.await, Ok(Ok(()))) {
            warn!("a thread of the journal did not end in order");
        }
    }

    fn wake_threads(&self) {
        self.threads().iter().for_each(|thread| thread.thread().unpark());
    }

    fn threads(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Running {
    /// Without a drain everything stays in the journal.
    fn drop(&mut self) {
        self.shared.end();
        self.wake_threads();
        for arbiter in &self.arbiters {
            arbiter.stop();
        }
    }
}

fn stopped(error: MailboxError) -> StorageError {
    StorageError::new(StorageErrorKind::Unavailable, "clicks", error)
}
