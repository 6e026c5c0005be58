//! What the handle, the shards and their tasks have in common.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use actix::Addr;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::watch;

use super::config::LinksConfig;
use super::foreign::ForeignSealed;
use super::limits::Limits;
use super::shard::LinkShard;
use super::table::Table;
use super::{ClickCounts, LoadError, Warmed};
use crate::domain::destination::DestinationPolicy;
use crate::domain::seal::Sealer;
use crate::storage::{LinkStore, StorageError, StorageErrorKind};
use crate::telemetry::metrics::{ActorLabel, Metrics, ResultLabel};

pub(super) struct Shared {
    pub(super) table: Table,
    /// This node would not know if somebody else had changed what is in the table.
    pub(super) may_be_stale: AtomicBool,
    pub(super) config: LinksConfig,
    pub(super) store: Arc<dyn LinkStore>,
    pub(super) clicks: Arc<dyn ClickCounts>,
    pub(super) policy: DestinationPolicy,
    pub(super) sealer: Sealer,
    pub(super) sole_writer: bool,
    pub(super) limits: Limits,
    pub(super) foreign: ForeignSealed,
    pub(super) lanes: Vec<Lane>,
    pub(super) counts: Counts,
    /// Loads that the store is busy with.
    pub(super) loads: AtomicUsize,
    /// Writes that were accepted and are not settled.
    pub(super) writes: watch::Sender<usize>,
    /// Set once when everything that fits is in memory.
    pub(super) warmed: watch::Sender<Option<Warmed>>,
    pub(super) stopping: AtomicBool,
}

/// One shard as seen from outside.
pub(super) struct Lane {
    /// The one long-lived address: a fresh clone would not respect the bound.
    pub(super) addr: OnceLock<Addr<LinkShard>>,
    /// Messages sent and not handled yet.
    pub(super) depth: AtomicUsize,
    pub(super) depth_shown: Gauge,
    /// Every link of this slice that the store has is in the table: a miss is an absence.
    pub(super) complete: AtomicBool,
    pub(super) restarts: AtomicU64,
}

/// Handles of metrics, looked up once.
pub(super) struct Counts {
    pub(super) in_memory: Gauge,
    pub(super) memory_bytes: Gauge,
    pub(super) evictions: Counter,
    pub(super) restarts: Counter,
    pub(super) found: Counter,
    pub(super) absent: Counter,
    pub(super) failed: Counter,
    pub(super) damaged: Counter,
    pub(super) timed_out: Counter,
    pub(super) overloaded: Counter,
}

/// Counts one accepted write until it is settled, whoever drops it.
pub(super) struct WriteGuard(Arc<Shared>);

/// Counts one load that the store is busy with.
pub(super) struct LoadGuard(Arc<Shared>);

impl Shared {
    pub(super) fn lane(&self, shard: usize) -> &Lane {
        &self.lanes[shard]
    }

    /// The address of a shard.
    pub(super) fn addr(&self, shard: usize) -> &Addr<LinkShard> {
        self.lanes[shard].addr.get().expect("set before the handle that sends is given out")
    }

    /// Fails with `Overloaded` when as many writes wait as may.
    pub(super) fn begin_write(self: &Arc<Self>) -> Result<WriteGuard, LoadError> {
        let max = self.config.mailbox_max;
        let begun = self.writes.send_if_modified(|n| {
            let free = *n < max;
            *n += usize::from(free);
            free
        });
        if begun { Ok(WriteGuard(Arc::clone(self))) } else { Err(LoadError::Overloaded) }
    }

    /// `None` when the store has as many loads as it may have.
    pub(super) fn begin_load(self: &Arc<Self>) -> Option<LoadGuard> {
        let max = self.config.loads_max;
        self.loads
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| (n < max).then_some(n + 1))
            .ok()
            .map(|_| LoadGuard(Arc::clone(self)))
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

impl Lane {
    pub(super) fn new(index: usize, metrics: &Metrics) -> Self {
        let label = ActorLabel { actor: format!("link_shard_{index}") };
        Self {
            addr: OnceLock::new(),
            depth: AtomicUsize::new(0),
            depth_shown: metrics.mailbox_depth.get_or_create(&label).clone(),
            complete: AtomicBool::new(false),
            restarts: AtomicU64::new(0),
        }
    }

    /// Takes a place in the mailbox; false when `max` are taken.
    pub(super) fn enter(&self, max: usize) -> bool {
        let entered = self
            .depth
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| (n < max).then_some(n + 1))
            .is_ok();
        if entered {
            self.depth_shown.inc();
        }
        entered
    }

    pub(super) fn leave(&self) {
        self.depth.fetch_sub(1, Ordering::AcqRel);
        self.depth_shown.dec();
    }

    pub(super) fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }
}

impl Counts {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let loads = |result| metrics.link_loads.get_or_create(&ResultLabel { result }).clone();
        Self {
            in_memory: metrics.links_in_memory.clone(),
            memory_bytes: metrics.links_memory_bytes.clone(),
            evictions: metrics.link_evictions.clone(),
            restarts: metrics.shard_restarts.clone(),
            found: loads("found"),
            absent: loads("absent"),
            failed: loads("failed"),
            damaged: loads("damaged"),
            timed_out: loads("timed_out"),
            overloaded: loads("overloaded"),
        }
    }
}

impl Drop for WriteGuard {
    fn drop(&mut self) {
        self.0.writes.send_modify(|n| *n -= 1);
    }
}

impl Drop for LoadGuard {
    fn drop(&mut self) {
        self.0.loads.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The answer to whoever waited for work that a restart or a shutdown lost.
pub(super) fn lost() -> LoadError {
    let kind = StorageErrorKind::Unavailable;
    LoadError::from(StorageError::new(kind, "link_shard", "the owner of this link was restarted"))
}
