//! Changes follower: takes over what other nodes changed, and knows whether it would hear of it.
//!
//! Fed by     one or more `ChangeFeed`s, each followed by a task of its own.
//! Feeds      `LinkTable`, `Recent`, and the cache behind `LinkStore`.
//! Bound      one answer of a feed at a time.
//! When full  it waits for the link shards; the feeds keep what is not read yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use tracing::{debug, info, warn};

use crate::actors::links::LinkTable;
use crate::domain::time::{Clock, SteadyClock};
use crate::storage::LinkStore;
use crate::storage::feed::{ChangeFeed, LinkChange, News};
use crate::storage::recent::Recent;

/// A node that heard from no feed for this long may be serving what was changed elsewhere.
const LEASE_MS: u64 = 3_000;
/// How soon a feed that failed is asked again.
const RETRY: Duration = Duration::from_millis(500);
/// How soon it is noticed that nothing is heard any more, or something again.
const WATCH_EVERY: Duration = Duration::from_millis(250);
/// What is loaded while nothing was heard for too long is served for at most this long.
const FORGET_EVERY: Duration = Duration::from_secs(5);
/// Changes under way that are looked at at a time.
const COMPLETED_AT_ONCE: usize = 16;

/// Whether this node would know of a change. Shared by all who ask.
pub struct Coherence {
    clock: Arc<dyn SteadyClock>,
    /// When a feed last said that nothing was missed.
    heard_ms: AtomicU64,
}

impl Coherence {
    /// Coherent from the start: nothing was loaded before.
    pub fn new(clock: Arc<dyn SteadyClock>) -> Self {
        let heard_ms = AtomicU64::new(clock.elapsed_ms());
        Self { clock, heard_ms }
    }

    /// Milliseconds since this node last knew that it missed nothing.
    pub fn age_ms(&self) -> u64 {
        self.clock.elapsed_ms().saturating_sub(self.heard_ms.load(Ordering::Relaxed))
    }

    pub fn is_coherent(&self) -> bool {
        self.age_ms() <= LEASE_MS
    }

    /// A feed answered a question that was asked at `asked_ms`.
    fn heard(&self, asked_ms: u64) {
        self.heard_ms.fetch_max(asked_ms, Ordering::Relaxed);
    }
}

/// What a feed is followed with.
pub struct Follower {
    pub links: LinkTable,
    pub store: Arc<dyn LinkStore>,
    pub recent: Arc<Recent>,
    pub coherence: Arc<Coherence>,
    pub clock: Arc<dyn Clock>,
    /// Counts changes.
    pub heard: Counter,
    /// Observes how long ago they were told, in seconds.
    pub delay: Histogram,
}

impl Follower {
    /// Follows `feed` for as long as it is polled. Spawn it.
    pub async fn follow(self, name: &'static str, feed: Arc<dyn ChangeFeed>) {
        let mut is_well = true;
        loop {
            let asked_ms = self.coherence.clock.elapsed_ms();
            match feed.next().await {
                Ok(news) => {
                    self.take_over(&news).await;
                    self.coherence.heard(asked_ms);
                    self.complete(&news.changes).await;
                    if !std::mem::replace(&mut is_well, true) {
                        info!(feed = name, "the feed of changes is heard again");
                    }
                }
                Err(error) => {
                    if std::mem::replace(&mut is_well, false) {
                        warn!(feed = name, %error, "the feed of changes is not heard");
                    }
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    async fn take_over(&self, news: &News) {
        if news.is_torn {
            warn!("changes were missed that nobody can tell any more; all links are loaded again");
            self.links.forget_all().await;
        }
        // Before the links: what is loaded because of them must be new enough.
        self.recent.note(&news.changes);
        self.links.heard(&news.changes).await;
        self.heard.inc_by(news.changes.len() as u64);
        let now_ms = self.clock.now().as_millis();
        for at in &news.told_at {
            let millis = now_ms.saturating_sub(at.as_millis()).max(0);
            self.delay.observe(millis as f64 / 1e3);
        }
    }

    /// Has what nodes share know what became of changes that are under way for long: whoever makes
    /// one may die when it is made, and before anybody is told.
    async fn complete(&self, changes: &[LinkChange]) {
        let unknown = changes.iter().filter(|change| change.version.is_none());
        stream::iter(unknown)
            .for_each_concurrent(COMPLETED_AT_ONCE, async |LinkChange { key, .. }| {
                if let Err(error) = self.store.fetch_fresh(key).await {
                    debug!(%error, "what became of a change is not known yet");
                }
            })
            .await;
    }
}

/// Has the table know whether it may be out of date, and takes everything out of it when this node
/// heard nothing for `stale_max`: what is asked for then is loaded, or cannot be had. Spawn it.
pub async fn watch(coherence: Arc<Coherence>, links: LinkTable, stale_max: Duration) {
    let stale_max_ms = u64::try_from(stale_max.as_millis()).unwrap_or(u64::MAX);
    let mut forgot_at: Option<Instant> = None;
    let mut is_coherent = true;
    loop {
        let age_ms = coherence.age_ms();
        let was_coherent = std::mem::replace(&mut is_coherent, coherence.is_coherent());
        links.set_may_be_stale(!is_coherent);
        if was_coherent && !is_coherent {
            warn!(age_ms, "no feed is heard; links are served as they were last known");
        }
        let is_due = forgot_at.is_none_or(|at| at.elapsed() >= FORGET_EVERY);
        if age_ms > stale_max_ms && is_due {
            warn!(age_ms, "nothing was heard for `links.stale_max`; links in memory are given up");
            links.forget_all().await;
            forgot_at = Some(Instant::now());
        }
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    struct Hand(AtomicU64);

    impl SteadyClock for Hand {
        fn elapsed_ms(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn a_node_is_coherent_for_as_long_as_its_lease_after_it_asked() {
        let hand = Arc::new(Hand(AtomicU64::new(1_000)));
        let coherence = Coherence::new(Arc::clone(&hand) as _);
        assert!(coherence.is_coherent());
        hand.0.store(1_000 + LEASE_MS, Ordering::Relaxed);
        assert!(coherence.is_coherent());
        hand.0.store(1_001 + LEASE_MS, Ordering::Relaxed);
        assert!(!coherence.is_coherent());
        // An answer tells of what was before the question.
        coherence.heard(1_500);
        assert_eq!(coherence.age_ms(), LEASE_MS - 499);
        assert!(coherence.is_coherent());
        coherence.heard(1_200);
        assert_eq!(coherence.age_ms(), LEASE_MS - 499, "a slow answer takes nothing back");
    }
}
