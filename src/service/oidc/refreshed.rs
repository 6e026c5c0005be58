//! A document of a provider that is fetched when somebody needs it, and kept.
//!
//! Whoever asks, and however often: one fetch at a time, and none within [`FETCH_EVERY_MS`] of the
//! last, failed or not. What was fetched last is kept when fetching again fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arc_swap::ArcSwapOption;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::domain::time::{Clock, Timestamp};

/// Least time between two fetches of one document, in milliseconds.
pub(super) const FETCH_EVERY_MS: i64 = 30_000;
/// Age at which a document is fetched again behind the answer, in milliseconds.
pub(super) const FRESH_MS: i64 = 15 * 60_000;
/// Stands for "never".
const NEVER: i64 = i64::MIN;

/// Holds the newest good version of a document.
pub(super) struct Refreshed<T> {
    held: ArcSwapOption<T>,
    /// When the last fetch began.
    tried_at: AtomicI64,
    /// When the last good fetch began.
    fetched_at: AtomicI64,
    /// Held by the one fetch under way.
    flight: Arc<Mutex<()>>,
    clock: Arc<dyn Clock>,
}

impl<T: Send + Sync + 'static> Refreshed<T> {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            held: ArcSwapOption::empty(),
            tried_at: AtomicI64::new(NEVER),
            fetched_at: AtomicI64::new(NEVER),
            flight: Arc::default(),
            clock,
        })
    }

    /// What is held, whatever its age.
    pub(super) fn get(&self) -> Option<Arc<T>> {
        self.held.load_full()
    }

    /// True when what is held wants to be fetched again and may be.
    pub(super) fn is_due(&self) -> bool {
        self.may_fetch() && self.is_past(&self.fetched_at, FRESH_MS)
    }

    fn may_fetch(&self) -> bool {
        self.is_past(&self.tried_at, FETCH_EVERY_MS)
    }

    /// A clock that was set back counts as past: else a document would be out of reach for as long.
    fn is_past(&self, mark: &AtomicI64, span: i64) -> bool {
        let mark = mark.load(Ordering::Acquire);
        mark == NEVER || self.clock.now().as_millis().abs_diff(mark) >= span.unsigned_abs()
    }

    /// Fetches once more if it may be, waiting for a fetch that is under way. The fetch goes on
    /// when the caller leaves: others wait for it, and it has used up the interval.
    pub(super) async fn refresh<F>(self: &Arc<Self>, fetch: F)
    where
        F: Future<Output = Option<T>> + Send + 'static,
    {
        let guard = Arc::clone(&self.flight).lock_owned().await;
        if self.may_fetch() {
            // An error is a panic in the fetch; then nothing was fetched.
            let _ = self.launch(guard, fetch).await;
        }
    }

    /// Like [`refresh`](Self::refresh), without waiting for it.
    pub(super) fn refresh_behind<F>(self: &Arc<Self>, fetch: F)
    where
        F: Future<Output = Option<T>> + Send + 'static,
    {
        let Ok(guard) = Arc::clone(&self.flight).try_lock_owned() else { return };
        if self.may_fetch() {
            drop(self.launch(guard, fetch));
        }
    }

    fn launch<F>(
        self: &Arc<Self>,
        guard: OwnedMutexGuard<()>,
        fetch: F,
    ) -> tokio::task::JoinHandle<()>
    where
        F: Future<Output = Option<T>> + Send + 'static,
    {
        let Timestamp(began) = self.clock.now();
        self.tried_at.store(began, Ordering::Release);
        let this = Arc::clone(self);
        tokio::spawn(async move {
            if let Some(fetched) = fetch.await {
                this.held.store(Some(Arc::new(fetched)));
                this.fetched_at.store(began, Ordering::Release);
            }
            drop(guard);
        })
    }
}
