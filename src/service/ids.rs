//! Ids of this node, never the same twice, not even when the clock went back across a restart.
//!
//! Ids are only made for times below a mark that the store holds. Whoever needs an id beyond the
//! mark raises it first, some time ahead, so an idle node writes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::domain::id::{Id, IdError, IdGenerator};
use crate::domain::time::{Clock, Timestamp};
use crate::storage::{NodeStore, StorageError};

/// How far ahead of the clock the mark is put, in milliseconds. After a crash and a restart within
/// this time, the first id waits for the rest of it.
const MARK_AHEAD_MS: i64 = 1_000;
/// Longest wait for a clock that is behind its mark.
const CLOCK_WAIT_MAX: Duration = Duration::from_secs(3);
/// How often a waiting caller looks at the clock again.
const CLOCK_WAIT_STEP: Duration = Duration::from_millis(5);

/// Makes ids. Shared by everything on this node that names an entity.
pub struct IdSource {
    node: u16,
    generator: IdGenerator,
    store: Arc<dyn NodeStore>,
    clock: Arc<dyn Clock>,
    /// Ids are made for earlier times only. Milliseconds; the store holds at least this.
    mark: AtomicI64,
    raising: tokio::sync::Mutex<()>,
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
            mark: AtomicI64::new(mark.as_millis()),
            raising: tokio::sync::Mutex::new(()),
        })
    }

    /// The next id. Waits a moment when the clock is behind what ids already tell.
    pub async fn next(&self) -> Result<Id, IdSourceError> {
        let started = tokio::time::Instant::now();
        loop {
            match self.generator.next(self.clock.as_ref()) {
                Ok(id) => {
                    self.cover(id.created_at()).await?;
                    return Ok(id);
                }
                Err(IdError::OutOfRange) => return Err(IdError::OutOfRange.into()),
                Err(error) if started.elapsed() >= CLOCK_WAIT_MAX => return Err(error.into()),
                Err(_) => tokio::time::sleep(CLOCK_WAIT_STEP).await,
            }
        }
    }

    /// Makes sure that the store's mark is above `at` before an id of that time is used.
    async fn cover(&self, at: Timestamp) -> Result<(), StorageError> {
        if at.as_millis() < self.mark.load(Ordering::Acquire) {
            return Ok(());
        }
        let _turn = self.raising.lock().await;
        if at.as_millis() < self.mark.load(Ordering::Acquire) {
            return Ok(());
        }
        let mark = at.plus_millis(MARK_AHEAD_MS);
        self.store.raise_clock_mark(self.node, mark).await?;
        self.mark.store(mark.as_millis(), Ordering::Release);
        Ok(())
    }
}
