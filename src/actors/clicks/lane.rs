//! One worker's way into the journal.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use super::journal::segment::SegmentWriter;
use super::ring::Ring;
use super::shared::Shared;
use crate::domain::click::RawClick;
use crate::telemetry::metrics::{DropReason, WorkerStats};

/// Segments that are kept ready for one lane.
pub(super) const SPARES: usize = 2;
/// Looks at a lane's segments before a click goes to memory instead. The keeper holds them for
/// some nanoseconds per segment.
const LOOKS_MAX: u32 = 200;

/// One worker's way into the journal. Stays on its thread.
pub struct ClickLane {
    /// None when clicks are not counted.
    inner: Option<(Arc<Lane>, Arc<Shared>)>,
    /// Two threads must not push into one ring.
    _one_thread: PhantomData<Cell<()>>,
}

/// What a lane shares with the keeper and its counter.
pub(super) struct Lane {
    /// Only ever tried, never waited for.
    segments: Mutex<Segments>,
    pub(super) ring: Ring,
    /// Which counter reads it.
    pub(super) counter: usize,
    stats: Arc<WorkerStats>,
    /// Clicks taken in, dropped ones left out. Written by the worker only.
    taken: AtomicU64,
    /// Nobody will record here any more.
    gone: AtomicBool,
}

/// The segments of a lane.
#[derive(Default)]
pub(super) struct Segments {
    pub(super) active: Option<SegmentWriter>,
    /// Used from the end.
    pub(super) spares: Vec<SegmentWriter>,
    /// No segment will come: the journal is closing.
    pub(super) shut: bool,
}

impl ClickLane {
    pub(super) fn new(lane: Arc<Lane>, shared: Arc<Shared>) -> Self {
        Self { inner: Some((lane, shared)), _one_thread: PhantomData }
    }

    pub(super) fn idle() -> Self {
        Self { inner: None, _one_thread: PhantomData }
    }

    /// Writes one click into the journal. Never waits, never fails; a click that finds no room is
    /// counted as dropped.
    pub fn record(&self, click: &RawClick<'_>) {
        let Some((lane, shared)) = &self.inner else { return };
        lane.stats.accept_click();
        if lane.write(click) {
            lane.take();
        } else {
            lane.degrade(click, shared);
        }
    }
}

impl Drop for ClickLane {
    fn drop(&mut self) {
        if let Some((lane, _)) = &self.inner {
            lane.gone.store(true, Ordering::Release);
        }
    }
}

impl Lane {
    pub(super) fn new(
        stats: Arc<WorkerStats>,
        first: Option<SegmentWriter>,
        counter: usize,
    ) -> Self {
        let mut spares = Vec::with_capacity(SPARES);
        spares.extend(first);
        Self {
            segments: Mutex::new(Segments { active: None, spares, shut: false }),
            ring: Ring::new(),
            counter,
            stats,
            taken: AtomicU64::new(0),
            gone: AtomicBool::new(false),
        }
    }

    /// The segments, unless somebody else has them at this moment.
    pub(super) fn segments(&self) -> Option<MutexGuard<'_, Segments>> {
        match self.segments.try_lock() {
            Ok(segments) => Some(segments),
            // Nothing that can panic leaves the segments half changed.
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// True when no click follows those that can be seen after this call.
    pub(super) fn gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    fn write(&self, click: &RawClick<'_>) -> bool {
        let mut looks = 0;
        let mut segments = loop {
            if let Some(segments) = self.segments() {
                break segments;
            }
            looks += 1;
            if looks == LOOKS_MAX {
                return false;
            }
            std::hint::spin_loop();
        };
        if segments.active.as_mut().is_some_and(|writer| writer.append(click)) {
            return true;
        }
        segments.turn_over() && segments.active.as_mut().is_some_and(|writer| writer.append(click))
    }

    /// The order of retreat: memory, then nothing.
    #[cold]
    fn degrade(&self, click: &RawClick<'_>, shared: &Shared) {
        if !shared.ended() && self.ring.push(click.at, click.link) {
            self.take();
            shared.metrics.clicks_unjournaled.inc();
        } else {
            self.stats.drop_click(shared.spool.obstacle().unwrap_or(DropReason::SpoolFull));
        }
    }

    /// One more was taken in. The worker is the only writer, so no locked instruction is needed.
    fn take(&self) {
        self.taken.store(self.taken.load(Ordering::Relaxed) + 1, Ordering::Release);
    }
}

impl Segments {
    /// Goes on to the next spare; false when there is none. The old segment is closed by dropping
    /// its writer.
    pub(super) fn turn_over(&mut self) -> bool {
        self.active = self.spares.pop();
        self.active.is_some()
    }

    /// Closes everything and takes nothing in any more.
    pub(super) fn shut(&mut self) {
        self.shut = true;
        self.active = None;
        self.spares.clear();
    }
}
