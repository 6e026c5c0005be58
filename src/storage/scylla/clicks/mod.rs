//! Clicks: every one of them counted exactly once, by plain writes that may all be repeated.
//!
//! **What is written.** A flush of a node gets a number that rises, and its bounds and the days of
//! links that it touches are made durable before its clicks (`click_positions`, `click_flushes`).
//! Its clicks stand in rows by (link, day), node, number and segment, each written as a whole. A
//! flush that failed is sent again with the same bounds, also by the next process (`Resume::cut`),
//! and so replaces what it left, row by row; what it made of a click may differ. Once all rows are
//! there the position moves on, and from then on nobody writes them again.
//!
//! **What is added up.** Every minute a node folds its own flushes: for each day of a link that
//! they touched it adds their rows to two rows of its own, the sums by hour and dimension and the
//! plain counts. Each of these says which numbers it holds, `since` until before `upto`, in the
//! same write, and rows with single clicks stay. So a reader takes a row of sums and the clicks of
//! numbers outside of it.
//!
//! **Why each click counts once at every moment.**
//! 1. No row below `upto` appears later. A fold takes a number above all that were given out as
//!    `upto`, and makes that durable before it uses it, so later flushes have higher numbers. For
//!    what a flush touched that is not whole, `upto` is the number of that flush.
//! 2. A fold that was cut short left some rows that hold more and some that hold less; each of them
//!    says so. Its flushes are still in `click_flushes`, and are folded again: a row that holds
//!    them already takes nothing twice.
//! 3. A reader reads single clicks first, from an `upto` on that it saw before, and then the row of
//!    sums, whose `upto` is the same or higher: it leaves out what that row holds by then. Single
//!    clicks are removed only when they are held by the row of sums and by that of counts.
//! 4. `newest` is written before the clicks and never falls below one of them, so who sees a click
//!    nowhere but in its row is told to look there.
//!
//! **What is erased.** To erase a link is to note, for every node, a number above those of all
//! flushes that were begun. What stands below it does not count, whoever writes it later: rows of a
//! flush that is sent again, or sums that a fold had read before.

mod erase;
mod flush;
mod fold;
mod hot;
mod keys;
mod moved;
mod moving;
mod packed;
mod prune;
mod read;
mod state;
mod totals;

use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use tokio::sync::Mutex;

pub(super) use self::flush::{LISTED, SHARDS};
use self::hot::Hot;
use self::prune::Blocked;
pub(super) use self::read::{ALL, DayRow, EVER, Flushed, PartKey, Place, Sums};
use self::state::State;
use super::Cql;
use crate::domain::audit::Act;
use crate::domain::click::{ClickTotals, SegmentId};
use crate::domain::counted::SegmentClicks;
use crate::domain::id::Id;
use crate::domain::visitor::VisitorKey;
use crate::storage::audit::AuditStore;
use crate::storage::error::StorageResult;
use crate::storage::{ClickStore, LinkStore, Resume, Retention};

/// Statements that are under way at once for one call.
pub(super) const IN_FLIGHT: usize = 256;

/// What clicks are counted with.
pub struct ClickParts {
    /// Number of the node that counts. No two processes may have the same at once.
    pub node: u16,
    /// Tells whose a link is.
    pub links: Arc<dyn LinkStore>,
    /// Is told what was erased.
    pub audit: Arc<dyn AuditStore>,
}

/// The clicks in a database, as one node counts them.
pub struct CqlClicks {
    pub(super) cql: Cql,
    pub(super) node: i32,
    pub(super) links: Arc<dyn LinkStore>,
    audit: Arc<dyn AuditStore>,
    /// Held by whoever flushes, for as long as that takes.
    state: Mutex<State>,
    /// Held by whoever folds.
    folding: Mutex<()>,
    hot: std::sync::Mutex<Hot>,
    blocked: std::sync::Mutex<Blocked>,
}

impl Cql {
    /// The ports for clicks and statistics, for one node.
    pub fn clicks(&self, parts: ClickParts) -> Arc<CqlClicks> {
        Arc::new(self.clicks_as(parts.node.into(), parts.links, parts.audit))
    }

    /// The same under any number.
    fn clicks_as(
        &self,
        node: i32,
        links: Arc<dyn LinkStore>,
        audit: Arc<dyn AuditStore>,
    ) -> CqlClicks {
        CqlClicks {
            cql: self.clone(),
            node,
            links,
            audit,
            state: Mutex::default(),
            folding: Mutex::default(),
            hot: std::sync::Mutex::default(),
            blocked: std::sync::Mutex::default(),
        }
    }
}

#[async_trait]
impl ClickStore for CqlClicks {
    async fn resume(&self, segment: SegmentId) -> StorageResult<Resume> {
        let position = self.position("resume_clicks", segment).await?;
        Ok(position.map_or_else(Resume::default, |position| Resume {
            covered: position.covered as u64,
            cut: position.is_open().then_some(position.to_record as u64),
        }))
    }

    async fn flush(&self, clicks: Arc<Vec<SegmentClicks>>) -> StorageResult<()> {
        self.flush_all(&clicks).await?;
        let hot = self.hot.lock().unwrap_or_else(PoisonError::into_inner).add(&clicks);
        if let Some(hot) = hot {
            self.put_hot(hot).await;
        }
        Ok(())
    }

    async fn release(&self, segments: Vec<SegmentId>) -> StorageResult<()> {
        let mut state = self.state.lock().await;
        for segment in segments {
            let forget = &self.cql.statements().clicks.forget_segment;
            self.cql.put("release_segments", forget, (segment.0 as i64,)).await?;
            state.forget(segment);
        }
        Ok(())
    }

    async fn totals(&self, links: &[Id]) -> StorageResult<Vec<ClickTotals>> {
        self.totals_of(links).await
    }

    async fn erase(&self, link: Id, act: Option<Act>) -> StorageResult<()> {
        self.erase_link(link, act).await
    }

    async fn visitor_keys(&self, oldest: u32, today: u32) -> StorageResult<Vec<(u32, VisitorKey)>> {
        self.keys_of_visitors(oldest, today).await
    }

    async fn prune(&self, keep: Retention) -> StorageResult<bool> {
        Ok(self.fold().await? || self.prune_some(keep).await?)
    }
}
