//! The feed of changes in the database itself: what it takes, no node misses, whatever becomes of
//! faster feeds.
//!
//! A change is written down before it is made, and again when it is. Every node reads the last
//! seconds over and over, so that a row that came late, or from a clock that is behind, is read as
//! well. A change that was written down and whose end was not is looked at for as long as it can
//! take; then its node has given it up.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::future::try_join_all;
use tokio::sync::Mutex;
use tokio::time::sleep_until;
use tracing::warn;

use super::Cql;
use crate::domain::code::{Code, DomainId, LinkKey};
use crate::domain::time::Clock;
use crate::storage::error::StorageResult;
use crate::storage::feed::{ChangeFeed, LinkChange};

/// Milliseconds that a partition holds.
const BUCKET_MS: i64 = 10_000;
/// How far back is read: what clocks may differ by, and a write may take.
const BACK_MS: i64 = 15_000;
/// How far ahead: what clocks may differ by.
const AHEAD_MS: i64 = 5_000;
/// How often is read.
const EVERY: Duration = Duration::from_secs(1);
/// For how long a change that was only prepared may still be made: longer than a conditional write
/// takes, with those that wait before it.
const PENDING_MAX: Duration = Duration::from_secs(15);

/// When, from whom, what.
type Row = (i64, i64, i32, String, i32);

/// The feed as one node hears it.
pub struct CqlFeed {
    cql: Cql,
    clock: Arc<dyn Clock>,
    /// Tells this node's rows from those of others.
    origin: i64,
    heard: Mutex<Heard>,
}

#[derive(Default)]
struct Heard {
    /// When to read again. `None`: it was never read.
    next_at: Option<Instant>,
    rows: HashSet<Row>,
    /// Changes that are on their way, and since when.
    pending: HashMap<LinkKey, Instant>,
}

impl CqlFeed {
    /// Errors: the system gives no randomness.
    pub fn new(cql: Cql, clock: Arc<dyn Clock>) -> Result<Self, getrandom::Error> {
        let mut origin = [0; 8];
        getrandom::fill(&mut origin)?;
        let origin = i64::from_le_bytes(origin);
        Ok(Self { cql, clock, origin, heard: Mutex::default() })
    }

    async fn tell(&self, changes: impl Iterator<Item = (LinkKey, i32)>) -> StorageResult<()> {
        let at = self.clock.now().as_millis();
        let add = &self.cql.statements().feed.add;
        let rows = changes.map(|(LinkKey { domain, code }, version)| async move {
            let values = (at / BUCKET_MS, at, self.origin, domain.0 as i32, code.as_str(), version);
            self.cql.put("announce", add, values).await
        });
        try_join_all(rows).await.map(|_| ())
    }

    async fn read(&self) -> StorageResult<HashSet<Row>> {
        let now = self.clock.now().as_millis();
        let buckets = (now - BACK_MS) / BUCKET_MS..=(now + AHEAD_MS) / BUCKET_MS;
        let read = &self.cql.statements().feed.read;
        let rows = buckets.map(|bucket| self.cql.all::<Row>("follow_feed", read, (bucket,)));
        Ok(try_join_all(rows).await?.into_iter().flatten().collect())
    }
}

#[async_trait]
impl ChangeFeed for CqlFeed {
    async fn prepare(&self, keys: &[LinkKey]) -> StorageResult<()> {
        self.tell(keys.iter().map(|key| (*key, 0))).await
    }

    async fn announce(&self, changes: &[LinkChange]) -> StorageResult<()> {
        // A link that is new was nothing to others that they could go on serving.
        let changes = changes.iter().filter_map(|LinkChange { key, version }| {
            Some((*key, version.filter(|version| *version > 1)? as i32))
        });
        self.tell(changes).await
    }

    async fn next(&self) -> StorageResult<Vec<LinkChange>> {
        let mut heard = self.heard.lock().await;
        if let Some(at) = heard.next_at {
            sleep_until(at.into()).await;
        }
        let began = Instant::now();
        let rows = self.read().await?;
        let is_first = heard.next_at.replace(began + EVERY).is_none();
        let news = heard.take_in(rows, self.origin, began);
        Ok(if is_first { Vec::new() } else { news })
    }
}

impl Heard {
    fn take_in(&mut self, rows: HashSet<Row>, own: i64, now: Instant) -> Vec<LinkChange> {
        let mut changes = Vec::new();
        let mut new: Vec<&Row> = rows.difference(&self.rows).collect();
        new.sort_unstable();
        for (_, origin, domain, code, version) in new {
            let Ok(code) = Code::parse(code.as_bytes()) else {
                warn!("a row of the feed names no code");
                continue;
            };
            let key = LinkKey::new(DomainId(*domain as u32), code);
            if *origin == own {
                continue;
            }
            if *version > 0 {
                self.pending.remove(&key);
                changes.push(LinkChange { key, version: Some(*version as u32) });
            } else {
                self.pending.insert(key, now);
            }
        }
        self.pending.retain(|_, since| now - *since < PENDING_MAX);
        changes.extend(self.pending.keys().map(|key| LinkChange { key: *key, version: None }));
        // Rows that are read no more need not be remembered.
        self.rows = rows;
        changes
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    const OWN: i64 = 7;

    fn row(at: i64, origin: i64, code: &str, version: i32) -> Row {
        (at, origin, 0, code.to_owned(), version)
    }

    fn change(code: &str, version: Option<u32>) -> LinkChange {
        let code = Code::parse(code.as_bytes()).unwrap();
        LinkChange { key: LinkKey::new(DomainId::DEFAULT, code), version }
    }

    #[test]
    fn a_row_is_told_once_and_those_of_this_node_not_at_all() {
        let (mut heard, now) = (Heard::default(), Instant::now());
        let rows: HashSet<Row> = [row(5, 1, "spring", 3), row(6, OWN, "own", 2)].into();
        assert_eq!(heard.take_in(rows.clone(), OWN, now), [change("spring", Some(3))]);
        assert_eq!(heard.take_in(rows.clone(), OWN, now), []);
        // From a clock that is behind.
        let late = rows.into_iter().chain([row(4, 2, "late", 9)]).collect();
        assert_eq!(heard.take_in(late, OWN, now), [change("late", Some(9))]);
    }

    #[test]
    fn a_change_on_its_way_is_told_until_it_is_made_or_given_up() {
        let (mut heard, now) = (Heard::default(), Instant::now());
        let prepared = || HashSet::from([row(5, 1, "spring", 0)]);
        assert_eq!(heard.take_in(prepared(), OWN, now), [change("spring", None)]);
        assert_eq!(heard.take_in(prepared(), OWN, now), [change("spring", None)]);
        // Also when its row is read no more.
        assert_eq!(heard.take_in(HashSet::new(), OWN, now), [change("spring", None)]);
        assert_eq!(heard.take_in(HashSet::new(), OWN, now + PENDING_MAX), []);

        heard.take_in(prepared(), OWN, now);
        let made = [row(5, 1, "spring", 0), row(6, 1, "spring", 4)].into();
        assert_eq!(heard.take_in(made, OWN, now), [change("spring", Some(4))]);
    }
}
