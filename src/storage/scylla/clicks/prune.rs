//! Removes what is older than it is kept: single clicks that are added up, then sums by hour and
//! dimension of days whose counts stay.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::flush::{LISTED, SHARDS, WITH_EVENTS, WITH_SUMS};
use super::read::{DayRow, EVER, month_of};
use super::{CqlClicks, Place};
use crate::domain::id::Id;
use crate::storage::Retention;
use crate::storage::error::{Op, StorageResult};

const OP: Op = "prune_clicks";
/// Links that are pruned at once.
const LINKS: usize = 64;
/// A day of which something could not be removed is left alone for so long.
const BLOCKED_FOR: Duration = Duration::from_secs(3_600);

/// Kinds and days of which something could not be removed: another node did not fold it yet.
#[derive(Default)]
pub(super) struct Blocked(HashMap<(i32, u32), Instant>);

impl CqlClicks {
    /// Prunes one day; true when another one may be due.
    pub(super) async fn prune_some(&self, keep: Retention) -> StorageResult<bool> {
        for (kind, end) in [(WITH_EVENTS, keep.events_from), (WITH_SUMS, keep.details_from)] {
            if let Some(day) = self.due(kind, end).await? {
                self.prune_day(kind, day).await?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn due(&self, kind: i32, end: u32) -> StorageResult<Option<u32>> {
        let days = self.calendar(OP, kind, 0..end.min(EVER.end)).await?;
        let mut blocked = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
        blocked.0.retain(|_, at| at.elapsed() < BLOCKED_FOR);
        Ok(days.into_iter().find(|day| !blocked.0.contains_key(&(kind, *day))))
    }

    async fn prune_day(&self, kind: i32, day: u32) -> StorageResult<()> {
        let statements = &self.cql.statements().clicks;
        let mut whole = true;
        for shard in 0..SHARDS as i32 {
            let links = self.listed(OP, day, shard).await?;
            let pruned: Vec<bool> = stream::iter(links)
                .map(|link| self.prune_link(kind, link, day))
                .buffered(LINKS)
                .try_collect()
                .await?;
            whole &= pruned.into_iter().all(|pruned| pruned);
        }
        // Sums go after clicks: these are found through the same list.
        let of_day = day..day + 1;
        let later = kind == WITH_SUMS && !self.calendar(OP, WITH_EVENTS, of_day).await?.is_empty();
        if !whole || later {
            let mut blocked = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
            blocked.0.insert((kind, day), Instant::now());
            return Ok(());
        }
        if kind == WITH_SUMS {
            for shard in 0..SHARDS as i32 {
                self.cql.put(OP, &statements.unlist_links, (day as i32, shard)).await?;
            }
            self.cql.put(OP, &statements.unlist_day, (LISTED, day as i32)).await?;
        }
        self.cql.put(OP, &statements.unlist_day, (kind, day as i32)).await?;
        self.state.lock().await.forget_listed();
        Ok(())
    }

    /// Prunes a link; false when something of it is not added up yet.
    async fn prune_link(&self, kind: i32, link: Id, day: u32) -> StorageResult<bool> {
        let mut whole = true;
        for row in self.day_rows(OP, link, day..day + 1).await? {
            if row.is_open() {
                whole = false;
            } else if kind == WITH_EVENTS {
                self.forget_events(link, &row).await?;
            } else {
                self.forget_details(link, &row).await?;
            }
        }
        Ok(whole)
    }

    async fn forget_events(&self, link: Id, row: &DayRow) -> StorageResult<()> {
        let statements = self.cql.statements();
        let Place { day, node, .. } = row.place(link);
        let (id, mut upto) = (link.0 as i64, row.folded().upto);
        if !row.is_bare() && row.folded().upto > row.erased() {
            // Both rows must hold what is removed.
            let values = (id, month_of(day), day as i32, node);
            let reach: Option<(i64, i64)> =
                self.cql.one(OP, &statements.stats.sums_reach, values).await?;
            let reach = reach.filter(|(since, _)| *since >= row.erased());
            upto = upto.min(reach.map_or(row.erased(), |(_, upto)| upto));
        }
        self.cql.put(OP, &statements.clicks.forget_chunks, (id, day as i32, node, upto)).await
    }

    async fn forget_details(&self, link: Id, row: &DayRow) -> StorageResult<()> {
        let statements = &self.cql.statements().clicks;
        let Place { day, node, .. } = row.place(link);
        let id = link.0 as i64;
        // First, so that the counts are told instead.
        self.cql.put(OP, &statements.mark_bare, (id, day as i32, node)).await?;
        self.cql.put(OP, &statements.forget_sums, (id, month_of(day), day as i32, node)).await
    }
}
