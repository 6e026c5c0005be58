//! The feed of changes in the database itself: what it takes, no node misses, whatever becomes of
//! faster feeds.
//!
//! A change is written down before it is made, and again when it is. Every node reads the last
//! seconds over and over, so that a row that came late, or from a clock that is behind, is read as
//! well; a node that could not read for a while reads everything since. A change that was written
//! down and whose end was not is looked at for as long as it can take; then its node has given it
//! up.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::Mutex;
use tokio::time::sleep_until;
use tracing::{debug, warn};

use super::Cql;
use crate::domain::code::{Code, DomainId, LinkKey};
use crate::domain::time::{Clock, Timestamp};
use crate::storage::error::StorageResult;
use crate::storage::feed::{ChangeFeed, LinkChange, News};

/// Milliseconds that a partition holds.
const BUCKET_MS: i64 = 10_000;
/// How far back is read: what clocks may differ by, and a write may take.
const BACK_MS: i64 = 15_000;
/// How far ahead: what clocks may differ by.
const AHEAD_MS: i64 = 5_000;
/// A node that did not read for longer cannot read up on everything. An hour less than rows live.
const KEPT_MS: i64 = 86_400_000;
/// Partitions that are read at once.
const AT_ONCE: usize = 16;
/// How often is read.
const EVERY: Duration = Duration::from_secs(1);
/// For how long a change that was only prepared may still be made: longer than a conditional write
/// takes, with those that wait before it.
const PENDING_MAX: Duration = Duration::from_secs(15);

/// How often a change that is made is told to a database that does not take it: for minutes.
const TELLS: u32 = 60;

/// When, from whom, what.
type Row = (i64, i64, i32, String, i32);

/// The feed as one node hears it.
pub struct CqlFeed {
    teller: Teller,
    heard: Mutex<Heard>,
}

#[derive(Clone)]
struct Teller {
    cql: Cql,
    clock: Arc<dyn Clock>,
    /// Tells this node's rows from those of others.
    origin: i64,
}

#[derive(Default)]
struct Heard {
    /// When to read again. `None`: it was never read.
    next_at: Option<Instant>,
    /// Up to when everything was read, by this node's clock.
    upto_ms: i64,
    /// What was read last, of the seconds that are read again.
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
        let upto_ms = clock.now().as_millis();
        let heard = Mutex::new(Heard { upto_ms, ..Heard::default() });
        Ok(Self { teller: Teller { cql, clock, origin }, heard })
    }

    /// Everything from some seconds before `from_ms` on.
    async fn read(&self, from_ms: i64, now_ms: i64) -> StorageResult<HashSet<Row>> {
        let buckets = (from_ms - BACK_MS) / BUCKET_MS..=(now_ms + AHEAD_MS) / BUCKET_MS;
        let cql = &self.teller.cql;
        let read = &cql.statements().feed.read;
        stream::iter(buckets)
            .map(|bucket| cql.all::<Row>("follow_feed", read, (bucket,)))
            .buffer_unordered(AT_ONCE)
            .try_fold(HashSet::new(), async |mut rows, of_bucket| {
                rows.extend(of_bucket);
                Ok(rows)
            })
            .await
    }
}

impl Teller {
    async fn tell(&self, changes: impl Iterator<Item = (LinkKey, i32)>) -> StorageResult<()> {
        let at = self.clock.now().as_millis();
        let add = &self.cql.statements().feed.add;
        let rows = changes.map(|(LinkKey { domain, code }, version)| async move {
            let values = (at / BUCKET_MS, at, self.origin, domain.0 as i32, code.as_str(), version);
            self.cql.put("announce", add, values).await
        });
        try_join_all(rows).await.map(|_| ())
    }

    /// Tells until the database takes it: nobody else tells of a change once those who heard that
    /// it was coming have given it up.
    async fn tell_surely(self, changes: Vec<(LinkKey, i32)>) {
        for _ in 0..TELLS {
            match self.tell(changes.iter().copied()).await {
                Ok(()) => return,
                Err(error) => debug!(%error, "the feed in the database did not take a change"),
            }
            tokio::time::sleep(EVERY).await;
        }
        warn!("other nodes were not told of a change through the database");
    }
}

#[async_trait]
impl ChangeFeed for CqlFeed {
    async fn prepare(&self, keys: &[LinkKey]) -> StorageResult<()> {
        self.teller.tell(keys.iter().map(|key| (*key, 0))).await
    }

    async fn announce(&self, changes: &[LinkChange]) -> StorageResult<()> {
        // A link that is new was nothing to others that they could go on serving.
        let changes = changes.iter().filter_map(|LinkChange { key, version }| {
            Some((*key, version.filter(|version| *version > 1)? as i32))
        });
        let changes: Vec<_> = changes.collect();
        if !changes.is_empty() {
            let telling = self.teller.clone().tell_surely(changes);
            self.teller.cql.follow_up(telling).await;
        }
        Ok(())
    }

    async fn next(&self) -> StorageResult<News> {
        let mut heard = self.heard.lock().await;
        if let Some(at) = heard.next_at {
            sleep_until(at.into()).await;
        }
        let (began, now_ms) = (Instant::now(), self.teller.clock.now().as_millis());
        let (from_ms, is_torn) = begin(heard.upto_ms, now_ms);
        let rows = self.read(from_ms, now_ms).await?;
        heard.next_at = Some(began + EVERY);
        heard.upto_ms = now_ms;
        Ok(News { is_torn, ..heard.take_in(rows, self.teller.origin, began) })
    }
}

/// From when on is read, and whether there was more before that nobody can read any more.
fn begin(upto_ms: i64, now_ms: i64) -> (i64, bool) {
    let kept_ms = now_ms - KEPT_MS;
    // A clock that went back is no reason to read less.
    (upto_ms.min(now_ms).max(kept_ms), upto_ms < kept_ms)
}

impl Heard {
    fn take_in(&mut self, rows: HashSet<Row>, own: i64, now: Instant) -> News {
        let mut news = News::default();
        let mut new: Vec<&Row> = rows.difference(&self.rows).collect();
        new.sort_unstable();
        for (at, origin, domain, code, version) in new {
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
                news.changes.push(LinkChange { key, version: Some(*version as u32) });
                news.told_at.push(Timestamp(*at));
            } else {
                self.pending.insert(key, now);
            }
        }
        self.pending.retain(|_, since| now - *since < PENDING_MAX);
        let pending = self.pending.keys().map(|key| LinkChange { key: *key, version: None });
        news.changes.extend(pending);
        // Rows that are read no more need not be remembered.
        self.rows = rows;
        news
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
        assert_eq!(heard.take_in(rows.clone(), OWN, now).changes, [change("spring", Some(3))]);
        assert_eq!(heard.take_in(rows.clone(), OWN, now).changes, []);
        // From a clock that is behind.
        let late = rows.into_iter().chain([row(4, 2, "late", 9)]).collect();
        assert_eq!(heard.take_in(late, OWN, now).changes, [change("late", Some(9))]);
    }

    #[test]
    fn a_change_on_its_way_is_told_until_it_is_made_or_given_up() {
        let (mut heard, now) = (Heard::default(), Instant::now());
        let prepared = || HashSet::from([row(5, 1, "spring", 0)]);
        assert_eq!(heard.take_in(prepared(), OWN, now).changes, [change("spring", None)]);
        assert_eq!(heard.take_in(prepared(), OWN, now).changes, [change("spring", None)]);
        // Also when its row is read no more.
        assert_eq!(heard.take_in(HashSet::new(), OWN, now).changes, [change("spring", None)]);
        assert_eq!(heard.take_in(HashSet::new(), OWN, now + PENDING_MAX).changes, []);

        heard.take_in(prepared(), OWN, now);
        let made = [row(5, 1, "spring", 0), row(6, 1, "spring", 4)].into();
        assert_eq!(heard.take_in(made, OWN, now).changes, [change("spring", Some(4))]);
    }

    #[test]
    fn reading_goes_on_where_it_ended_for_as_long_as_rows_are_kept() {
        let now = 10 * KEPT_MS;
        assert_eq!(begin(now - 1_000, now), (now - 1_000, false));
        assert_eq!(begin(now - KEPT_MS, now), (now - KEPT_MS, false));
        assert_eq!(begin(now - KEPT_MS - 1, now), (now - KEPT_MS, true));
        assert_eq!(begin(now + 5_000, now), (now, false), "the clock went back");
    }
}
