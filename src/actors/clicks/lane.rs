//! One worker's way into the journal.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;

use super::enrich::agent::AgentMemo;
use super::journal::segment::{Segment, SegmentWriter};
use super::ring::Ring;
use super::shared::Shared;
use crate::domain::click::RawClick;
use crate::domain::limits::CLICK_FIELD_BYTES_MAX;
use crate::telemetry::metrics::{DropReason, WorkerStats};

/// Segments that are kept ready for one lane.
const SPARES: usize = 3;

/// One worker's way into the journal. Stays on its thread.
pub struct ClickLane {
    lane: Arc<Lane>,
    shared: Arc<Shared>,
    /// Which user agents are bots.
    bots: RefCell<AgentMemo<bool>>,
    /// Not shared between threads, and so neither is the lane: one thread pushes into its ring.
    active: RefCell<Option<SegmentWriter>>,
}

/// What a lane shares with the keeper and its counter.
pub(super) struct Lane {
    /// Filled by the keeper, taken by the worker; neither waits.
    spares: [ArcSwapOption<Segment>; SPARES],
    pub(super) ring: Ring,
    /// Which counter reads it.
    pub(super) counter: usize,
    /// Its own: no other lane counts there.
    stats: Arc<WorkerStats>,
    /// Nobody will record here any more.
    gone: AtomicBool,
}

impl ClickLane {
    pub(super) fn new(lane: Arc<Lane>, shared: Arc<Shared>) -> Self {
        Self { lane, shared, bots: RefCell::default(), active: RefCell::new(None) }
    }

    /// Whether a user agent is that of a bot, so that its visits are no clicks. Some microseconds
    /// for one that was not met before.
    pub fn is_bot(&self, user_agent: &[u8]) -> bool {
        let known = user_agent.get(..CLICK_FIELD_BYTES_MAX).unwrap_or(user_agent);
        let mut bots = self.bots.borrow_mut();
        bots.get(known).unwrap_or_else(|| {
            let bot = self.shared.enrichment.agents.is_bot(known);
            bots.insert(known, bot);
            bot
        })
    }

    /// Writes one click into the journal. Never waits, never fails; a click that finds no room is
    /// counted as dropped.
    pub fn record(&self, click: &RawClick<'_>) {
        self.lane.stats.accept_click();
        let mut active = self.active.borrow_mut();
        if !active.as_mut().is_some_and(|writer| writer.append(click))
            && !self.lane.write_to_next(&mut active, click)
        {
            self.lane.degrade(click, &self.shared);
        }
    }
}

impl Drop for ClickLane {
    fn drop(&mut self) {
        // The last segment is closed first: after a lane is gone, nothing is written.
        self.active.replace(None);
        self.lane.gone.store(true, Ordering::Release);
    }
}

impl Lane {
    pub(super) fn new(stats: Arc<WorkerStats>, counter: usize) -> Self {
        Self {
            spares: Default::default(),
            ring: Ring::new(),
            counter,
            stats,
            gone: AtomicBool::new(false),
        }
    }

    /// Puts a spare into a free place; without one the segment is closed, and so spent.
    pub(super) fn add_spare(&self, segment: Arc<Segment>) {
        match self.spares.iter().find(|place| place.load().is_none()) {
            Some(place) => place.store(Some(segment)),
            None => {
                segment.close();
            }
        }
    }

    pub(super) fn n_spares(&self) -> usize {
        self.spares.iter().filter(|place| place.load().is_some()).count()
    }

    /// True when there is place for another spare.
    pub(super) fn wants_spare(&self) -> bool {
        self.n_spares() < SPARES
    }

    /// Clicks taken in, dropped ones left out.
    pub(super) fn taken(&self) -> u64 {
        self.stats.clicks_kept()
    }

    /// True when no click follows those that can be seen after this call.
    pub(super) fn gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Goes on to the next spare, because the active segment is full or was closed. The old
    /// writer is dropped, which closes its segment.
    #[cold]
    fn write_to_next(&self, active: &mut Option<SegmentWriter>, click: &RawClick<'_>) -> bool {
        for place in &self.spares {
            *active = place.swap(None).and_then(SegmentWriter::open);
            if active.as_mut().is_some_and(|writer| writer.append(click)) {
                return true;
            }
        }
        false
    }

    /// The order of retreat: memory, then nothing.
    #[cold]
    fn degrade(&self, click: &RawClick<'_>, shared: &Shared) {
        if shared.is_shut() {
            self.stats.drop_click(DropReason::JournalFailed);
        } else if self.ring.push(click.at, click.link) {
            shared.metrics.clicks_unjournaled.inc();
        } else {
            self.stats.drop_click(shared.spool.obstacle().unwrap_or(DropReason::SpoolFull));
        }
    }
}
