//! One shard's slice of the table: what is in it, what it weighs, what gives way.
//!
//! Eviction is CLOCK: a hand walks the ring; a link that was visited since its last pass is
//! spared once, another goes. Links that came by a load are not marked until they are read again,
//! so a scan over cold codes evicts itself and leaves hot links alone.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::key::{Key, LongKey, ShortKey};
use super::ring::Ring;
use super::shared::Shared;
use super::table::{Passed, Put, weigh};
use crate::domain::hot::HotLink;

/// Links the hand spares in one go. If all of these were visited, the next one goes all the same:
/// finding a victim takes bounded time.
const SPARED_MAX: usize = 1_024;
/// Changes remembered while bulk reads run; beyond it their rows are no longer taken.
const CHANGES_MAX: usize = 1_000_000;

pub(super) struct Slice {
    index: usize,
    shared: Arc<Shared>,
    short: Ring<ShortKey>,
    long: Ring<LongKey>,
    /// Steps of the hand, to share them between both rings.
    steps: usize,
    len: usize,
    bytes: usize,
    bytes_max: usize,
    /// Keys in the rings that are not in the table any more.
    dead: usize,
    /// What the gauges were told.
    shown: (usize, usize),
    warm: Option<Warm>,
}

/// Kept while links are read in bulk.
struct Warm {
    /// Versions that changes since the start have made. A row read before is older.
    changes: HashMap<Key, u32>,
    /// Nothing happened that could leave a stored link out of the table.
    intact: bool,
}

impl Slice {
    pub(super) fn new(index: usize, shared: Arc<Shared>) -> Self {
        let bytes_max = shared.config.memory_bytes() as usize / shared.lanes.len();
        Self {
            index,
            shared,
            short: Ring::default(),
            long: Ring::default(),
            steps: 0,
            len: 0,
            bytes: 0,
            bytes_max,
            dead: 0,
            shown: (0, 0),
            warm: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes >= self.bytes_max
    }

    pub(super) fn is_complete(&self) -> bool {
        self.shared.lane(self.index).is_complete()
    }

    /// A miss is no longer an absence. Must come before a link leaves the table.
    pub(super) fn distrust(&mut self) {
        self.shared.lane(self.index).complete.store(false, Ordering::Release);
        if let Some(warm) = &mut self.warm {
            warm.intact = false;
        }
    }

    /// Puts a link in unless the same or a newer version is there; evicts others if need be.
    /// False when it was stale.
    pub(super) fn put(&mut self, key: &Key, link: HotLink) -> bool {
        if self.shared.table.version(key).is_some_and(|known| known >= link.version()) {
            return false;
        }
        self.note(key, link.version());
        // Before it is in, so that a new link is not its own victim.
        self.make_room(weigh(key.heap_bytes(), &link));
        self.insert(key, link)
    }

    /// Puts a link in that was read in bulk. False when something newer is known.
    pub(super) fn fill(&mut self, key: &Key, link: HotLink) -> bool {
        let Some(warm) = &self.warm else {
            return false;
        };
        let overtaken = warm.changes.len() >= CHANGES_MAX
            || warm.changes.get(key).is_some_and(|version| *version >= link.version());
        !overtaken && self.insert(key, link)
    }

    /// Takes out the link that was deleted at `version`.
    pub(super) fn bury(&mut self, key: &Key, version: u32) {
        self.note(key, version);
        self.remove(key);
    }

    /// Takes a link out; its key stays in the ring until the hand comes by or enough are dead.
    pub(super) fn remove(&mut self, key: &Key) {
        let Some(weight) = self.shared.table.remove(key) else {
            return;
        };
        self.len -= 1;
        self.bytes -= weight;
        self.dead += 1;
        if self.dead > 1_024 && self.dead > self.len {
            self.rebuild_rings();
        }
    }

    /// Takes every link out.
    pub(super) fn clear(&mut self) {
        self.distrust();
        let mut keys = Vec::with_capacity(self.len);
        self.shared.table.each_of(self.index, |key, _| keys.push(key));
        for key in &keys {
            self.shared.table.remove(key);
        }
        self.rebuild_rings();
    }

    pub(super) fn begin_warm(&mut self) {
        self.warm = Some(Warm { changes: HashMap::new(), intact: true });
    }

    /// True when the slice is complete from now on.
    pub(super) fn end_warm(&mut self, whole: bool) -> bool {
        let Some(warm) = self.warm.take() else {
            return false;
        };
        let complete =
            whole && warm.intact && warm.changes.len() < CHANGES_MAX && self.shared.sole_writer;
        self.shared.lane(self.index).complete.store(complete, Ordering::Release);
        complete
    }

    /// Makes rings and sums again from the table, after a panic.
    pub(super) fn rebuild(&mut self) {
        self.distrust();
        self.rebuild_rings();
        self.publish();
    }

    /// Tells the gauges what changed since the last time.
    pub(super) fn publish(&mut self) {
        let now = (self.len, self.bytes);
        if now == self.shown {
            return;
        }
        let counts = &self.shared.counts;
        counts.in_memory.inc_by(now.0 as i64 - self.shown.0 as i64);
        counts.memory_bytes.inc_by(now.1 as i64 - self.shown.1 as i64);
        self.shown = now;
    }

    fn insert(&mut self, key: &Key, link: HotLink) -> bool {
        let weight = weigh(key.heap_bytes(), &link);
        match self.shared.table.insert(key.clone(), link) {
            Put::Stale => return false,
            Put::Replaced(old) => self.bytes -= old,
            Put::Inserted => {
                self.len += 1;
                self.enrol(key.clone());
            }
        }
        self.bytes += weight;
        true
    }

    fn enrol(&mut self, key: Key) {
        match key {
            Key::Short(key) => self.short.push(key),
            Key::Long(key) => self.long.push(key),
        }
    }

    fn note(&mut self, key: &Key, version: u32) {
        if let Some(warm) = &mut self.warm {
            // A row of version one cannot be older than another.
            if version > 1 && warm.changes.len() < CHANGES_MAX {
                warm.changes.insert(key.clone(), version);
            }
        }
    }

    fn make_room(&mut self, weight: usize) {
        while self.bytes + weight > self.bytes_max && self.len > 0 {
            self.evict_one();
        }
    }

    fn evict_one(&mut self) {
        let mut spared = 0;
        while let Some((key, ring)) = self.under_hand() {
            match self.shared.table.pass(&key) {
                Passed::Absent => {
                    self.take(ring);
                    self.dead = self.dead.saturating_sub(1);
                }
                Passed::Visited if spared < SPARED_MAX => {
                    spared += 1;
                    self.advance(ring);
                }
                Passed::Visited | Passed::Cold => {
                    self.distrust();
                    self.take(ring);
                    let weight = self.shared.table.remove(&key).unwrap_or(0);
                    self.len -= 1;
                    self.bytes -= weight;
                    self.shared.counts.evictions.inc();
                    return;
                }
            }
        }
    }

    /// The key to look at next. One turn of the short ring, one of the long ring, and so on.
    fn under_hand(&mut self) -> Option<(Key, Which)> {
        let total = self.short.len() + self.long.len();
        if total == 0 {
            return None;
        }
        self.steps = (self.steps + 1) % total;
        if self.steps < self.short.len() {
            self.short.current().map(|key| (Key::Short(*key), Which::Short))
        } else {
            self.long.current().map(|key| (Key::Long(key.clone()), Which::Long))
        }
    }

    fn take(&mut self, ring: Which) {
        match ring {
            Which::Short => drop(self.short.take()),
            Which::Long => drop(self.long.take()),
        }
    }

    fn advance(&mut self, ring: Which) {
        match ring {
            Which::Short => self.short.advance(),
            Which::Long => self.long.advance(),
        }
    }

    fn rebuild_rings(&mut self) {
        let (mut short, mut long) = (Ring::default(), Ring::default());
        let (mut len, mut bytes) = (0, 0);
        self.shared.table.each_of(self.index, |key, weight| {
            len += 1;
            bytes += weight;
            match key {
                Key::Short(key) => short.push(key),
                Key::Long(key) => long.push(key),
            }
        });
        self.short = short;
        self.long = long;
        self.len = len;
        self.bytes = bytes;
        self.dead = 0;
    }
}

/// Which ring the hand is on.
#[derive(Clone, Copy)]
enum Which {
    Short,
    Long,
}
