//! The keeper: a thread that writes the journal through to the disk.
//!
//! It also closes segments that are old and makes pages ready ahead of the writers. Nothing it
//! does makes or deletes a file, so that what a loss of power can take stays short; that is the
//! work of `super::stock`. Lanes never wait for it.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use tracing::error;

use super::journal::segment::Segment;
use super::shared::{Live, Shared};
use crate::domain::click::SegmentId;

/// Pages made ready ahead of each writer, in bytes: some 50 ms of 100,000 clicks per second.
pub(super) const PREFAULT_BYTES: usize = 2 << 20;

pub(super) struct Keeper {
    shared: Arc<Shared>,
    /// When the keeper first saw a click in a segment.
    used_since: HashMap<SegmentId, Instant>,
}

impl Keeper {
    pub(super) fn start(shared: Arc<Shared>) -> io::Result<JoinHandle<()>> {
        let keeper = Self { shared, used_since: HashMap::new() };
        thread::Builder::new().name("journal".to_owned()).spawn(move || keeper.run())
    }

    fn run(mut self) {
        while !self.shared.ended() {
            let live = self.shared.live().clone();
            self.close_old(&live);
            self.sync(&live);
            drop(live);
            thread::park_timeout(self.shared.config.sync_interval.0);
        }
        // What is there is written through. It stays for the next start.
        self.shared.shut();
        let live = self.shared.live().clone();
        self.sync(&live);
    }

    /// Closes segments that are old or whose disk failed, and those of lanes that are gone.
    fn close_old(&mut self, live: &[Live]) {
        let age_max = self.shared.config.segment_age_max.0;
        // A segment that cannot be counted cannot be deleted either: to close it would only add
        // another file and another mapping, as long as the store is away.
        let counted = self.shared.troubles().flush.is_none();
        let ids: HashSet<SegmentId> = live.iter().map(|live| live.segment.id()).collect();
        self.used_since.retain(|id, _| ids.contains(id));
        for Live { segment, lane } in live {
            if segment.closed() || (segment.is_empty() && !lane.gone()) {
                continue;
            }
            let since = *self.used_since.entry(segment.id()).or_insert_with(Instant::now);
            // Without a spare an old segment is better than none; a failed one is not.
            let old = counted && since.elapsed() >= age_max && lane.n_spares() > 0;
            if old || segment.failed() || lane.gone() {
                // False while a record is being written: then the next turn does it.
                segment.close();
            }
        }
    }

    /// Writes all segments through and makes pages ready for the writers.
    fn sync(&self, live: &[Live]) {
        for Live { segment, .. } in live {
            if let Err(error) = segment.sync() {
                self.abandon(segment, &error);
            }
            if !segment.closed() {
                segment.prefault(PREFAULT_BYTES);
            }
        }
    }

    /// A disk that refused a write makes no promise about it later, so nothing more is written to
    /// this segment. Its clicks are still in memory: the counter brings them to the store at its
    /// next flush, which makes them durable in another place.
    fn abandon(&self, segment: &Segment, error: &io::Error) {
        error!(%error, segment = %segment.path().display(),
            "the journal could not be written to the disk; check the disk and its file system");
        segment.close();
        self.shared.trouble_journal(error.to_string());
    }
}
