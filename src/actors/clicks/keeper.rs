//! The keeper: a thread that does for the journal what may wait for a disk.
//!
//! It keeps spare segments ready, writes through, closes segments that are old, gives back what
//! is spent. Lanes never wait for it.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::journal::segment::Segment;
use super::journal::spool::Obstacle;
use super::lane::{Lane, SPARES};
use super::shared::Shared;
use crate::domain::click::SegmentId;

/// How long the keeper leaves a disk alone that had no room or failed.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Pages made ready ahead of each writer, in bytes: some 50 ms of 100,000 clicks per second.
const PREFAULT_BYTES: usize = 2 << 20;
/// Tries to get hold of a lane's segments at the end, a millisecond apart.
const SHUT_TRIES_MAX: u32 = 1_000;

pub(super) struct Keeper {
    shared: Arc<Shared>,
    /// When the keeper first saw a click in a segment.
    used_since: HashMap<SegmentId, Instant>,
    /// Closed segments whose free blocks were given back.
    trimmed: Vec<SegmentId>,
    retry_at: Option<Instant>,
}

impl Keeper {
    pub(super) fn start(shared: Arc<Shared>) -> io::Result<JoinHandle<()>> {
        let keeper =
            Self { shared, used_since: HashMap::new(), trimmed: Vec::new(), retry_at: None };
        thread::Builder::new().name("journal".to_owned()).spawn(move || keeper.run())
    }

    fn run(mut self) {
        while !self.shared.ended() {
            self.turn();
            thread::park_timeout(self.shared.config.sync_interval.0);
        }
        self.finish();
    }

    fn turn(&mut self) {
        self.rest_lanes();
        self.sync();
        self.delete_spent();
        self.refill();
        let (_, bytes) = self.shared.spool.usage();
        self.shared.metrics.journal_bytes.set(bytes as i64);
    }

    /// Closes segments that are old or whose disk failed, and those of lanes that are gone.
    fn rest_lanes(&mut self) {
        let age_max = self.shared.config.segment_age_max.0;
        for lane in self.shared.lanes() {
            let Some(mut segments) = lane.segments() else { continue };
            if lane.gone() {
                segments.shut();
                continue;
            }
            let Some(active) = segments.active.as_ref().map(|writer| writer.segment()) else {
                continue;
            };
            if active.is_empty() {
                continue;
            }
            let since = *self.used_since.entry(active.id()).or_insert_with(Instant::now);
            // Without a spare an old segment is better than none; a failed one is not.
            if active.failed() || (since.elapsed() >= age_max && !segments.spares.is_empty()) {
                segments.turn_over();
            }
        }
    }

    /// Writes all segments through and makes pages ready for the writers.
    fn sync(&mut self) {
        let live = self.shared.live().clone();
        for segment in &live {
            if let Err(error) = segment.sync() {
                self.abandon(segment, &error);
            }
            if !segment.closed() {
                segment.prefault(PREFAULT_BYTES);
            } else if !self.trimmed.contains(&segment.id()) {
                self.shared.spool.resize(segment.id(), segment.trim() as u64);
                self.trimmed.push(segment.id());
            }
        }
    }

    /// A disk that refused a write makes no promise about it later, so nothing more is written to
    /// this segment. Its clicks are still in memory: the counter brings them to the store at its
    /// next flush, which makes them durable in another place.
    fn abandon(&mut self, segment: &Arc<Segment>, error: &io::Error) {
        error!(%error, segment = segment.path().display().to_string(),
            "the journal could not be written to the disk; check the disk and its file system");
        segment.fail();
        self.shared.troubles().journal = Some(error.to_string());
        self.retry_at = Some(Instant::now() + RETRY_AFTER);
        self.rest_lanes();
    }

    fn delete_spent(&mut self) {
        if let Err(error) = self.shared.spool.delete_spent() {
            warn!(%error, "a counted journal segment could not be deleted; it is tried again");
        }
        let shared = Arc::clone(&self.shared);
        shared.live().retain(|segment| {
            let kept = shared.spool.holds(segment.id());
            if !kept {
                self.used_since.remove(&segment.id());
                self.trimmed.retain(|id| *id != segment.id());
            }
            kept
        });
    }

    /// Keeps spares ready for every lane.
    fn refill(&mut self) {
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        self.retry_at = None;
        for lane in self.shared.lanes() {
            while !lane.gone() && self.add_spare(&lane) {}
        }
    }

    /// True when a spare was added.
    fn add_spare(&mut self, lane: &Lane) -> bool {
        let wanted = |lane: &Lane| {
            lane.segments().is_some_and(|held| !held.shut && held.spares.len() < SPARES)
        };
        if self.retry_at.is_some() || !wanted(lane) {
            return false;
        }
        let writer = match self.shared.spool.prepare(self.shared.clock.now()) {
            Ok(writer) => writer,
            Err(obstacle) => {
                self.meet(&obstacle);
                return false;
            }
        };
        if self.shared.troubles().journal.take().is_some() {
            info!("the journal has room again");
        }
        let segment = writer.segment();
        segment.prefault(PREFAULT_BYTES);
        self.shared.announce(segment, lane.counter);
        match lane.segments() {
            Some(mut held) if !held.shut => {
                held.spares.push(writer);
                true
            }
            // Dropping the writer closes the empty segment, and the counter spends it.
            _ => false,
        }
    }

    fn meet(&mut self, obstacle: &Obstacle) {
        self.retry_at = Some(Instant::now() + RETRY_AFTER);
        let text = obstacle.error.to_string();
        let before = self.shared.troubles().journal.replace(text);
        if before.is_none() {
            warn!(error = %obstacle.error, reason = obstacle.reason.as_str(),
                "no room for the journal; clicks are kept in memory, then dropped and counted");
        }
    }

    /// Closes what is open and writes it through.
    fn finish(&mut self) {
        for lane in self.shared.lanes() {
            shut(&lane);
        }
        self.sync();
        self.delete_spent();
    }
}

/// Closes the segments of a lane, whether or not its worker is still there.
pub(super) fn shut(lane: &Lane) {
    for _ in 0..SHUT_TRIES_MAX {
        if let Some(mut segments) = lane.segments() {
            segments.shut();
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
    warn!("a worker kept hold of its journal segment; it is counted at the next start");
}
