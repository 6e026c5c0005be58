//! The keeper: a thread that does for the journal what may wait for a disk.
//!
//! It keeps spare segments ready, writes through, closes segments that are old, gives back what
//! is spent. Lanes never wait for it.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::journal::segment::Segment;
use super::journal::spool::Obstacle;
use super::lane::Lane;
use super::shared::{Live, Shared};
use crate::domain::click::SegmentId;

/// How long the keeper leaves a disk alone that had no room or failed.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Pages made ready ahead of each writer, in bytes: some 50 ms of 100,000 clicks per second.
const PREFAULT_BYTES: usize = 2 << 20;

pub(super) struct Keeper {
    shared: Arc<Shared>,
    /// When the keeper first saw a click in a segment.
    used_since: HashMap<SegmentId, Instant>,
    /// Closed segments whose free blocks were given back.
    trimmed: HashSet<SegmentId>,
    retry_at: Option<Instant>,
}

impl Keeper {
    pub(super) fn start(shared: Arc<Shared>) -> io::Result<JoinHandle<()>> {
        let keeper =
            Self { shared, used_since: HashMap::new(), trimmed: HashSet::new(), retry_at: None };
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
        self.close_old();
        self.sync();
        self.delete_spent();
        self.refill();
        let (_, bytes) = self.shared.spool.usage();
        self.shared.metrics.journal_bytes.set(bytes as i64);
    }

    /// Closes segments that are old or whose disk failed, and those of lanes that are gone.
    fn close_old(&mut self) {
        let age_max = self.shared.config.segment_age_max.0;
        let live = self.shared.live().clone();
        for Live { segment, lane } in &live {
            if segment.closed() || (segment.is_empty() && !lane.gone()) {
                continue;
            }
            let since = *self.used_since.entry(segment.id()).or_insert_with(Instant::now);
            // Without a spare an old segment is better than none; a failed one is not.
            let old = since.elapsed() >= age_max && lane.n_spares() > 0;
            if old || segment.failed() || lane.gone() {
                // False while a record is being written: then the next turn does it.
                segment.close();
            }
        }
    }

    /// Writes all segments through and makes pages ready for the writers.
    fn sync(&mut self) {
        let live = self.shared.live().clone();
        for Live { segment, .. } in &live {
            // Asked first: what is written through after that is all there is.
            let closed = segment.closed();
            if let Err(error) = segment.sync() {
                self.abandon(segment, &error);
            }
            if !closed {
                segment.prefault(PREFAULT_BYTES);
            } else if self.trimmed.insert(segment.id()) {
                self.shared.spool.resize(segment.id(), segment.trim() as u64);
            }
        }
    }

    /// A disk that refused a write makes no promise about it later, so nothing more is written to
    /// this segment. Its clicks are still in memory: the counter brings them to the store at its
    /// next flush, which makes them durable in another place.
    fn abandon(&mut self, segment: &Segment, error: &io::Error) {
        error!(%error, segment = %segment.path().display(),
            "the journal could not be written to the disk; check the disk and its file system");
        segment.close();
        self.shared.troubles().journal = Some(error.to_string());
        self.retry_at = Some(Instant::now() + RETRY_AFTER);
    }

    fn delete_spent(&mut self) {
        if let Err(error) = self.shared.spool.delete_spent() {
            warn!(%error, "a counted journal segment could not be deleted; it is tried again");
        }
        let shared = Arc::clone(&self.shared);
        shared.live().retain(|live| {
            let id = live.segment.id();
            let kept = shared.spool.holds(id);
            if !kept {
                self.used_since.remove(&id);
                self.trimmed.remove(&id);
            }
            kept
        });
    }

    /// Keeps spares ready for every lane.
    fn refill(&mut self) {
        if self.shared.is_shut() || self.retry_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        self.retry_at = None;
        for lane in self.shared.lanes() {
            while self.retry_at.is_none() && lane.wants_spare() && !lane.gone() {
                self.add_spare(&lane);
            }
        }
    }

    fn add_spare(&mut self, lane: &Arc<Lane>) {
        match self.shared.spool.prepare(self.shared.clock.now()) {
            Ok(segment) => {
                if self.shared.troubles().journal.take().is_some() {
                    info!("the journal has room again");
                }
                segment.prefault(PREFAULT_BYTES);
                self.shared.hand_over(segment, lane);
            }
            Err(obstacle) => self.meet(&obstacle),
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

    /// Writes through what is there. It stays for the next start.
    fn finish(&mut self) {
        self.shared.shut();
        self.sync();
        self.delete_spent();
    }
}
