//! Ids of this node, never the same twice, not even when the clock went back across a restart.
//!
//! Ids are only made for times below a mark that the store holds. Whoever needs an id beyond the
//! mark raises it first, some time ahead, so an idle node writes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use crate::domain::id::{Id, IdError, IdGenerator};
use crate::domain::time::{Clock, Timestamp};
use crate::storage::{NodeStore, StorageError, patience};

/// How far ahead of the newest id the mark is put, in milliseconds. After a restart, ids go on
/// behind it.
const MARK_AHEAD_MS: i64 = 1_000;
/// How far ids may be ahead of the clock before somebody is told, in milliseconds. A quick restart
/// after a quick restart is no news.
const CLOCK_BEHIND_MS: i64 = 10_000;
/// Longest wait for an id when more are asked for than there are.
const WAIT_MAX: Duration = Duration::from_secs(3);
/// How often a waiting caller tries again.
const WAIT_STEP: Duration = Duration::from_millis(5);

/// Makes ids. Shared by everything on this node that names an entity.
pub struct IdSource {
    node: u16,
    generator: IdGenerator,
    store: Arc<dyn NodeStore>,
    clock: Arc<dyn Clock>,
    started: Instant,
    /// Ids are made for earlier times only. Milliseconds; the store holds at least this.
    mark: AtomicI64,
    raising: tokio::sync::Mutex<()>,
    /// The clock is behind the ids, and somebody was told.
    behind: AtomicBool,
}

/// Why no id could be made. The caller answers 503.
#[derive(Debug, thiserror::Error)]
pub enum IdSourceError {
    #[error(transparent)]
    Generator(#[from] IdError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl IdSource {
    /// Reads where this node's ids may begin. Kinds: those of `NodeStore::clock_mark`.
    pub async fn open(
        node: u16,
        store: Arc<dyn NodeStore>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StorageError> {
        let mark = store.clock_mark(node).await?;
        Ok(Self {
            node,
            generator: IdGenerator::new(node, mark),
            store,
            clock,
            started: Instant::now(),
            mark: AtomicI64::new(mark.as_millis()),
            raising: tokio::sync::Mutex::new(()),
            behind: AtomicBool::new(false),
        })
    }

    /// The next id. Waits a moment when too many are asked for.
    pub async fn next(&self) -> Result<Id, IdSourceError> {
        let asked_at = Instant::now();
        loop {
            match self.generator.next(self.clock.as_ref(), self.started.elapsed()) {
                Ok(id) => {
                    self.cover(id.created_at()).await?;
                    self.compare(id.created_at());
                    return Ok(id);
                }
                Err(IdError::OutOfRange) => return Err(IdError::OutOfRange.into()),
                Err(error) if asked_at.elapsed() >= WAIT_MAX => return Err(error.into()),
                Err(_) => tokio::time::sleep(WAIT_STEP).await,
            }
        }
    }

    /// Says once that the clock is behind the ids, until it has caught up.
    fn compare(&self, newest: Timestamp) {
        let behind_ms = newest.as_millis().saturating_sub(self.clock.now().as_millis());
        let behind = behind_ms > CLOCK_BEHIND_MS;
        if self.behind.load(Ordering::Relaxed) != behind
            && self.behind.swap(behind, Ordering::Relaxed) != behind
            && behind
        {
            warn!(behind_ms, "the clock is behind the ids made so far; they go on from the last");
        }
    }

    /// Makes sure that the store's mark is above `at` before an id of that time is used.
    async fn cover(&self, at: Timestamp) -> Result<(), StorageError> {
        if at.as_millis() < self.mark.load(Ordering::Acquire) {
            return Ok(());
        }
        let _turn = patience::within("raise_clock_mark", self.raising.lock()).await?;
        if at.as_millis() < self.mark.load(Ordering::Acquire) {
            return Ok(());
        }
        let mark = at.plus_millis(MARK_AHEAD_MS);
        self.store.raise_clock_mark(self.node, mark).await?;
        self.mark.store(mark.as_millis(), Ordering::Release);
        Ok(())
    }
}
