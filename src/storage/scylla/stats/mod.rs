//! Answers questions about clicks from rows of sums and single clicks. In which order these are
//! read, and why nothing is told twice, stands in `super::clicks`.

mod buckets;
mod events;
mod link;
mod workspace;

use async_trait::async_trait;

use super::clicks::CqlClicks;
use crate::domain::event::ClickEvent;
use crate::domain::id::Id;
use crate::domain::stats::{BucketStats, RangeStats};
use crate::domain::time::Timestamp;
use crate::storage::chunk::span::Span;
use crate::storage::error::StorageResult;
use crate::storage::{EventQuery, StatsOf, StatsStore};

#[async_trait]
impl StatsStore for CqlClicks {
    async fn days(&self, of: StatsOf, from: Timestamp, to: Timestamp) -> StorageResult<RangeStats> {
        let span = Span { from, to };
        match of {
            StatsOf::Link(link) => self.days_of_link(link, span).await,
            StatsOf::Workspace { id, tag, domain } => {
                let choice = workspace::Choice { workspace: id, tag, domain };
                self.days_of_workspace(&choice, span).await
            }
        }
    }

    async fn buckets(
        &self,
        of: StatsOf,
        bounds: Vec<Timestamp>,
    ) -> StorageResult<Vec<BucketStats>> {
        self.buckets_of(of, &bounds).await
    }

    async fn events(&self, query: EventQuery) -> StorageResult<Vec<ClickEvent>> {
        self.newest_events(&query).await
    }

    async fn past_destinations(&self, links: &[Id]) -> StorageResult<Vec<(Id, u32, String)>> {
        const OP: &str = "past_destinations";
        let mut past = Vec::new();
        for link in links {
            let statement = &self.cql.statements().stats.past_destinations;
            let rows: Vec<(i32, String)> = self.cql.all(OP, statement, (link.0 as i64,)).await?;
            past.extend(rows.into_iter().rev().map(|(version, to)| (*link, version as u32, to)));
        }
        Ok(past)
    }
}
