//! Clicks as they are counted, for whoever watches a link.
//!
//! Counters never wait for a watcher: what one cannot take in time it misses, and is told how much.

use std::cell::LazyCell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::HashMap;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::domain::counted::CountedClick;
use crate::domain::event::ClickEvent;
use crate::domain::id::Id;
use crate::domain::words::Words;

/// Watchers at once, of all links.
pub(super) const WATCHERS_MAX: usize = 1_024;
/// Watchers of one link at once: each costs a little with each of its clicks.
const WATCHERS_OF_LINK_MAX: usize = 64;
/// Clicks that one watcher may be behind.
const BACKLOG_MAX: usize = 256;

/// Who watches which link.
#[derive(Default)]
pub(super) struct Watchers {
    /// So that clicks need not look when nobody watches.
    n: AtomicUsize,
    by_link: Mutex<HashMap<Id, Vec<Watcher>>>,
}

struct Watcher {
    clicks: Sender<Arc<ClickEvent>>,
    /// Clicks that it did not take in time.
    missed: Arc<AtomicU64>,
}

/// The clicks of a link from now on. Dropping it ends the watch.
pub struct Watch {
    link: Id,
    watchers: Arc<Watchers>,
    clicks: Option<Receiver<Arc<ClickEvent>>>,
    missed: Arc<AtomicU64>,
}

impl Watchers {
    /// `None` when there are [`WATCHERS_MAX`] already, or [`WATCHERS_OF_LINK_MAX`] of this link.
    pub(super) fn watch(self: &Arc<Self>, link: Id) -> Option<Watch> {
        let mut by_link = self.lock();
        let of_link = by_link.get(&link).map_or(0, Vec::len);
        if self.n.load(Ordering::Relaxed) >= WATCHERS_MAX || of_link >= WATCHERS_OF_LINK_MAX {
            return None;
        }
        let (sender, clicks) = channel(BACKLOG_MAX);
        let missed = Arc::new(AtomicU64::new(0));
        let watcher = Watcher { clicks: sender, missed: Arc::clone(&missed) };
        by_link.entry(link).or_default().push(watcher);
        self.n.fetch_add(1, Ordering::Relaxed);
        Some(Watch { link, watchers: Arc::clone(self), clicks: Some(clicks), missed })
    }

    /// True while somebody watches.
    pub(super) fn any(&self) -> bool {
        self.n.load(Ordering::Relaxed) > 0
    }

    /// Hands a click to those who watch its link.
    pub(super) fn tell(&self, click: &CountedClick, words: &Words) {
        if !self.any() {
            return;
        }
        if let Some(watchers) = self.lock().get(&click.link) {
            // Made for the first that has room for it.
            let event = LazyCell::new(|| Arc::new(ClickEvent::new(click, words)));
            for watcher in watchers {
                match watcher.clicks.try_reserve() {
                    Ok(place) => place.send(Arc::clone(&event)),
                    Err(_) => {
                        watcher.missed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        }
    }

    /// Ends all watches.
    pub(super) fn end(&self) {
        let mut by_link = self.lock();
        by_link.clear();
        self.n.store(WATCHERS_MAX, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Id, Vec<Watcher>>> {
        self.by_link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    /// The next click. `None` when the server stops.
    pub async fn next(&mut self) -> Option<Arc<ClickEvent>> {
        self.clicks.as_mut()?.recv().await
    }

    /// How many clicks were missed since this was last asked.
    pub fn missed(&self) -> u64 {
        self.missed.swap(0, Ordering::Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.clicks = None;
        let mut by_link = self.watchers.lock();
        if let Some(watchers) = by_link.get_mut(&self.link) {
            let before = watchers.len();
            watchers.retain(|watcher| !watcher.clicks.is_closed());
            // Others may have closed theirs at the same time, and find nothing to do.
            let gone = before - watchers.len();
            if watchers.is_empty() {
                by_link.remove(&self.link);
            }
            self.watchers.n.fetch_sub(gone, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn click(link: u64) -> CountedClick {
        CountedClick { link: Id(link), ..CountedClick::default() }
    }

    #[tokio::test]
    async fn a_watcher_sees_the_clicks_of_its_link() {
        let watchers = Arc::new(Watchers::default());
        let mut watch = watchers.watch(Id(1)).unwrap();
        watchers.tell(&click(2), &Words::default());
        watchers.tell(&click(1), &Words::default());
        assert_eq!(watch.next().await.unwrap().link, Id(1));
        watchers.end();
        assert!(watch.next().await.is_none());
        drop(watch);
        assert!(watchers.watch(Id(1)).is_none(), "a sink that ended is watched");
    }

    #[tokio::test]
    async fn a_slow_watcher_holds_up_nobody_and_gone_ones_make_place() {
        let watchers = Arc::new(Watchers::default());
        let slow = watchers.watch(Id(1)).unwrap();
        (0..10 * BACKLOG_MAX).for_each(|_| watchers.tell(&click(1), &Words::default()));
        assert_eq!((slow.missed(), slow.missed()), (9 * BACKLOG_MAX as u64, 0));
        let link = |n: usize| Id(2 + (n / WATCHERS_OF_LINK_MAX) as u64);
        let others: Vec<_> = (1..WATCHERS_MAX).map(|n| watchers.watch(link(n)).unwrap()).collect();
        assert!(watchers.watch(Id(1_000)).is_none());
        drop(others);
        assert!(watchers.watch(Id(1_000)).is_some());
        drop(slow);
        assert_eq!(watchers.n.load(Ordering::Relaxed), 0);
    }
}
