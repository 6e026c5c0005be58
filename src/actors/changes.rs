//! Changes follower: takes over what other nodes changed, and knows whether it would hear of it.
//!
//! Fed by     one or more `ChangeFeed`s, each followed by a task of its own.
//! Feeds      `LinkTable`, `Recent`.
//! Bound      one answer of a feed at a time.
//! When full  it waits for the link shards; the feeds keep what is not read yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tracing::{info, warn};

use crate::actors::links::LinkTable;
use crate::domain::time::SteadyClock;
use crate::storage::feed::ChangeFeed;
use crate::storage::recent::Recent;

/// A node that heard from no feed for this long may be serving what was changed elsewhere.
const LEASE_MS: u64 = 3_000;
/// How soon a feed that failed is asked again.
const RETRY: Duration = Duration::from_millis(500);

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

/// Follows a feed for as long as it is polled. Spawn it.
pub async fn follow(
    name: &'static str,
    feed: Arc<dyn ChangeFeed>,
    links: LinkTable,
    recent: Arc<Recent>,
    (coherence, heard): (Arc<Coherence>, Counter),
) {
    let mut is_well = true;
    loop {
        let asked_ms = coherence.clock.elapsed_ms();
        match feed.next().await {
            Ok(changes) => {
                // Before the links: what is loaded because of them must be new enough.
                recent.note(&changes);
                links.heard(&changes).await;
                coherence.heard(asked_ms);
                heard.inc_by(changes.len() as u64);
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
