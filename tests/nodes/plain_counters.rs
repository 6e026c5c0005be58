//! Clicks as they are often counted: a counter for each link, to which every flush is added, once
//! more when nobody knows whether it was. Here to show that the check of others finds it out.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::Counter;
use shunt::domain::audit::Act;
use shunt::domain::click::{ClickTotals, SegmentId};
use shunt::domain::counted::SegmentClicks;
use shunt::domain::id::Id;
use shunt::domain::visitor::VisitorKey;
use shunt::storage::{
    ClickStore, Resume, Retention, StorageError, StorageErrorKind, StorageResult,
};

/// How often an addition is tried.
const TRIES: u32 = 3;

pub(crate) struct PlainCounters {
    session: Session,
    add: PreparedStatement,
    read: PreparedStatement,
    /// Exact, so that it is the counters alone that are not.
    positions: Mutex<HashMap<SegmentId, u64>>,
}

impl PlainCounters {
    pub(crate) async fn open(address: &str, keyspace: &str) -> Self {
        let session = SessionBuilder::new().known_node(address).build().await.unwrap();
        session.use_keyspace(keyspace, true).await.unwrap();
        let table = "CREATE TABLE plain_counters (link bigint PRIMARY KEY, n counter)";
        session.query_unpaged(table, ()).await.unwrap();
        session.await_schema_agreement().await.unwrap();
        let add = "UPDATE plain_counters SET n = n + ? WHERE link = ?";
        let add = session.prepare(add).await.unwrap();
        let read = session.prepare("SELECT n FROM plain_counters WHERE link = ?").await.unwrap();
        Self { session, add, read, positions: Mutex::default() }
    }

    async fn add(&self, link: Id, clicks: i64) -> StorageResult<()> {
        let mut outcome = Ok(());
        for _ in 0..TRIES {
            let done =
                self.session.execute_unpaged(&self.add, (Counter(clicks), link.0 as i64)).await;
            outcome = done.map(drop).map_err(timed_out);
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }
}

fn timed_out(error: impl std::error::Error + Send + Sync + 'static) -> StorageError {
    StorageError::new(StorageErrorKind::Timeout, "plain_counters", error)
}

#[async_trait]
impl ClickStore for PlainCounters {
    async fn resume(&self, segment: SegmentId) -> StorageResult<Resume> {
        let covered = self.positions.lock().unwrap().get(&segment).copied().unwrap_or(0);
        Ok(Resume { covered, cut: None })
    }

    async fn flush(&self, clicks: Arc<Vec<SegmentClicks>>) -> StorageResult<()> {
        let mut sums: BTreeMap<Id, i64> = BTreeMap::new();
        for segment in clicks.iter() {
            for click in &segment.clicks {
                *sums.entry(click.link).or_default() += 1;
            }
            for row in &segment.surplus {
                *sums.entry(row.link).or_default() += row.stats.counts().people as i64;
            }
        }
        for (link, n) in sums {
            self.add(link, n).await?;
        }
        let mut positions = self.positions.lock().unwrap();
        positions.extend(clicks.iter().map(|one| (one.segment, one.to_record)));
        Ok(())
    }

    async fn release(&self, _segments: Vec<SegmentId>) -> StorageResult<()> {
        Ok(())
    }

    async fn totals(&self, links: &[Id]) -> StorageResult<Vec<ClickTotals>> {
        let mut totals = Vec::new();
        for link in links {
            let row = self.session.execute_unpaged(&self.read, (link.0 as i64,)).await;
            let row = row.map_err(timed_out)?.into_rows_result().map_err(timed_out)?;
            let row = row.maybe_first_row::<(Counter,)>().map_err(timed_out)?;
            let clicks = row.map_or(0, |(Counter(n),)| n as u64);
            totals.push(ClickTotals { clicks, last_clicked_at: None });
        }
        Ok(totals)
    }

    async fn erase(&self, _link: Id, _act: Option<Act>) -> StorageResult<()> {
        Ok(())
    }

    async fn visitor_keys(&self, _: u32, _: u32) -> StorageResult<Vec<(u32, VisitorKey)>> {
        Ok(Vec::new())
    }

    async fn prune(&self, _keep: Retention) -> StorageResult<bool> {
        Ok(false)
    }
}
