//! The stock: a thread that keeps spare segments ready for every lane and takes spent ones away.
//!
//! Everything here makes, wipes, shortens or deletes files and may wait for the disk to do so. It
//! is one thread, so that a file that is used again is not shortened under its new name. Lanes
//! never wait for it.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use tracing::{info, warn};

use super::journal::spool::Obstacle;
use super::keeper::PREFAULT_BYTES;
use super::lane::Lane;
use super::shared::Shared;
use crate::domain::click::SegmentId;

pub(super) struct Stock {
    shared: Arc<Shared>,
    /// Closed segments whose free blocks were given back.
    trimmed: HashSet<SegmentId>,
}

impl Stock {
    pub(super) fn start(shared: Arc<Shared>) -> io::Result<JoinHandle<()>> {
        let stock = Self { shared, trimmed: HashSet::new() };
        thread::Builder::new().name("journal-stock".to_owned()).spawn(move || stock.run())
    }

    fn run(mut self) {
        while !self.shared.ended() {
            self.turn();
            thread::park_timeout(self.shared.config.sync_interval.0);
        }
        self.delete_spent(0);
        self.shared.spool.delete_idle();
    }

    fn turn(&mut self) {
        // As many as the lanes may need at the same moment.
        self.delete_spent(self.shared.lanes().len());
        self.trim();
        self.refill();
        let (_, bytes) = self.shared.spool.usage();
        self.shared.metrics.journal_bytes.set(bytes as i64);
    }

    fn delete_spent(&mut self, idle_max: usize) {
        if let Err(error) = self.shared.spool.delete_spent(idle_max) {
            warn!(%error, "a counted journal segment could not be deleted; it is tried again");
        }
        let shared = Arc::clone(&self.shared);
        shared.live().retain(|live| {
            let kept = shared.spool.holds(live.segment.id());
            if !kept {
                self.trimmed.remove(&live.segment.id());
            }
            kept
        });
    }

    /// Gives back what closed segments do not use.
    fn trim(&mut self) {
        let live = self.shared.live().clone();
        for segment in live.iter().map(|live| &live.segment) {
            if segment.closed() && self.trimmed.insert(segment.id()) {
                self.shared.spool.resize(segment.id(), segment.trim() as u64);
            }
        }
    }

    /// Keeps spares ready for every lane.
    fn refill(&self) {
        for lane in self.shared.lanes() {
            while lane.wants_spare() && !lane.gone() {
                if self.shared.is_shut() || self.rests() {
                    return;
                }
                self.add_spare(&lane);
            }
        }
    }

    fn rests(&self) -> bool {
        self.shared.troubles().journal_rests_until.is_some_and(|until| Instant::now() < until)
    }

    fn add_spare(&self, lane: &Arc<Lane>) {
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

    fn meet(&self, obstacle: &Obstacle) {
        if self.shared.trouble_journal(obstacle.error.to_string()) {
            warn!(error = %obstacle.error, reason = obstacle.reason.as_str(),
                "no room for the journal; clicks are kept in memory, then dropped and counted");
        }
    }
}
