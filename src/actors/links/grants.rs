//! Clicks that this node may pass on, where several nodes share what a limited link may take.
//!
//! A node takes a part of what is left, conditionally on what was taken so far, and passes it on
//! click by click. Parts get smaller towards the end, so that no node sits on the last clicks; what
//! is unused goes back when the node stops. A node that is killed takes its unused part with it: a
//! limit may then be reached early, never late.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tracing::warn;

use super::{ClickCounts, LoadError};
use crate::domain::hot::Allowance;
use crate::domain::id::Id;
use crate::domain::time::Timestamp;
use crate::storage::StorageResult;
use crate::storage::grants::GrantStore;

/// A node takes one in so many of the clicks that are left.
const PART: u64 = 16;
/// Tries against other nodes that take from the same link.
const TRIES: u32 = 20;
/// How long a link without clicks is not asked for again. A limit that is raised elsewhere is heard
/// of; this is for clicks that came back, or were erased.
const NONE_FOR_MS: i64 = 1_000;

/// Gets clicks for this node, and gives them back.
#[derive(Clone)]
pub(super) struct Grants {
    store: Arc<dyn GrantStore>,
    clicks: Arc<dyn ClickCounts>,
}

/// Who waits for clicks of one link: one asks, for all.
#[derive(Default)]
pub(super) struct Queue {
    turn: tokio::sync::Mutex<()>,
    waiting: AtomicUsize,
}

/// One who waits, until it is dropped.
struct Place<'a>(&'a AtomicUsize);

impl Grants {
    pub(super) fn new(store: Arc<dyn GrantStore>, clicks: Arc<dyn ClickCounts>) -> Self {
        Self { store, clicks }
    }

    /// Has `allowance` hold clicks, or know that there are none.
    pub(super) async fn replenish(
        &self,
        link: Id,
        max: u64,
        (allowance, queue): (&Allowance, &Queue),
        now: Timestamp,
    ) -> Result<(), LoadError> {
        queue.waiting.fetch_add(1, Ordering::Relaxed);
        let place = Place(&queue.waiting);
        let _turn = queue.turn.lock().await;
        let waiting = queue.waiting.load(Ordering::Relaxed) as u64;
        drop(place);
        if allowance.remaining() > 0 || allowance.is_spent(now) {
            return Ok(());
        }
        for _ in 0..TRIES {
            let granted = self.store.granted(link).await?;
            let taken = match granted {
                Some(taken) => taken,
                None => self.counted(link).await?,
            };
            let left = max.saturating_sub(taken);
            if left == 0 {
                allowance.note_none(now.plus_millis(NONE_FOR_MS));
                return Ok(());
            }
            let part = (left / PART).max(waiting).min(left);
            if self.store.grant(link, granted, taken + part).await? {
                allowance.adjust(part as i64);
                return Ok(());
            }
        }
        Err(LoadError::Overloaded)
    }

    /// Clicks from before anybody took a part: the link had no limit then, or another store.
    async fn counted(&self, link: Id) -> StorageResult<u64> {
        self.clicks.recovered().await;
        Ok(self.clicks.clicks(&[link]).await?.first().copied().unwrap_or(0))
    }

    /// Gives back what was not passed on.
    pub(super) async fn give_back(&self, link: Id, unused: u64) {
        if let Err(error) = self.change(link, |granted| granted.saturating_sub(unused)).await {
            warn!(%error, %link, unused, "clicks of a limited link were not given back");
        }
    }

    /// The clicks of a link were erased: all of them may be taken again.
    pub(super) async fn reset(&self, link: Id) -> Result<(), LoadError> {
        self.change(link, |_| 0).await
    }

    async fn change(&self, link: Id, to: impl Fn(u64) -> u64) -> Result<(), LoadError> {
        for _ in 0..TRIES {
            let Some(granted) = self.store.granted(link).await? else { return Ok(()) };
            if self.store.grant(link, Some(granted), to(granted)).await? {
                return Ok(());
            }
        }
        Err(LoadError::Overloaded)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
