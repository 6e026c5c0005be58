//! Codes that the store does not have, or whose row it cannot read, for a few seconds. Bounded: the
//! oldest gives way.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::LoadError;
use super::key::Key;

/// How long an absence is believed, before the spread.
const TTL: Duration = Duration::from_secs(5);
/// Up to a fifth is added or taken, so that codes missed together are not asked for together.
const SPREAD_PERMILLE: u64 = 200;

/// Keyed by what strangers send, hence the standard library's hasher.
pub(super) struct Negatives {
    entries: HashMap<Key, Entry>,
    /// Keys in the order they came, with the stamp of the entry they stand for.
    order: VecDeque<(Key, u64)>,
    stamp: u64,
    capacity: usize,
}

struct Entry {
    until: Instant,
    absence: Absence,
    stamp: u64,
}

enum Absence {
    /// Deleted at this version; zero when there never was a link.
    Gone(u32),
    /// There is a row, which is damaged.
    Damaged(LoadError),
}

impl Negatives {
    pub(super) fn new(capacity: usize) -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new(), stamp: 0, capacity }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Remembers that there is nothing at `key`, deleted at `version` or never there (zero).
    pub(super) fn insert(&mut self, key: Key, version: u32, now: Instant) {
        self.remember(key, Absence::Gone(version), now);
    }

    /// Remembers that what is at `key` cannot be read.
    pub(super) fn insert_damaged(&mut self, key: Key, error: LoadError, now: Instant) {
        self.remember(key, Absence::Damaged(error), now);
    }

    fn remember(&mut self, key: Key, absence: Absence, now: Instant) {
        if self.capacity == 0 {
            return;
        }
        while self.order.len() >= self.capacity {
            self.drop_oldest();
        }
        while self.front_is_over(now) {
            self.drop_oldest();
        }
        self.stamp += 1;
        let entry = Entry { until: now + ttl(self.stamp), absence, stamp: self.stamp };
        self.order.push_back((key.clone(), self.stamp));
        self.entries.insert(key, entry);
    }

    /// The version of the absence at `key`, if one is known and still believed.
    pub(super) fn version(&self, key: &Key, now: Instant) -> Option<u32> {
        match self.believed(key, now)? {
            Absence::Gone(version) => Some(*version),
            Absence::Damaged(_) => None,
        }
    }

    /// Why what is at `key` could not be read a moment ago.
    pub(super) fn damage(&self, key: &Key, now: Instant) -> Option<LoadError> {
        match self.believed(key, now)? {
            Absence::Gone(_) => None,
            Absence::Damaged(error) => Some(error.clone()),
        }
    }

    fn believed(&self, key: &Key, now: Instant) -> Option<&Absence> {
        if self.entries.is_empty() {
            return None;
        }
        self.entries.get(key).filter(|entry| entry.until > now).map(|entry| &entry.absence)
    }

    /// Forgets the absence: something was put there.
    pub(super) fn remove(&mut self, key: &Key) {
        if !self.entries.is_empty() {
            self.entries.remove(key);
        }
    }

    fn front_is_over(&self, now: Instant) -> bool {
        self.order.front().is_some_and(|(key, stamp)| {
            self.entries.get(key).is_none_or(|entry| entry.stamp != *stamp || entry.until <= now)
        })
    }

    fn drop_oldest(&mut self) {
        let Some((key, stamp)) = self.order.pop_front() else {
            return;
        };
        if self.entries.get(&key).is_some_and(|entry| entry.stamp == stamp) {
            self.entries.remove(&key);
        }
    }
}

/// Five seconds, give or take a fifth; the stamp, scrambled, decides.
fn ttl(stamp: u64) -> Duration {
    let scrambled = stamp.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    let permille = 1_000 - SPREAD_PERMILLE + scrambled % (2 * SPREAD_PERMILLE + 1);
    TTL * permille as u32 / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::code::{Code, DomainId, LinkKey};

    fn key(n: u64) -> Key {
        let code = Code::parse(n.to_string().as_bytes()).expect("digits are a code");
        Key::from(&LinkKey::new(DomainId::DEFAULT, code))
    }

    #[test]
    fn a_million_unknown_codes_do_not_grow_it() {
        let mut negatives = Negatives::new(100);
        let now = Instant::now();
        for n in 0..1_000_000 {
            negatives.insert(key(n), 0, now);
        }
        assert_eq!(negatives.len(), 100);
        assert!(negatives.order.len() <= 100);
        assert_eq!(negatives.version(&key(999_999), now), Some(0));
        assert_eq!(negatives.version(&key(0), now), None);
    }

    #[test]
    fn an_absence_is_believed_for_four_to_six_seconds() {
        let mut negatives = Negatives::new(10_000);
        let now = Instant::now();
        (0..1_000).for_each(|n| negatives.insert(key(n), 0, now));
        let known = |after: u64| {
            let then = now + Duration::from_millis(after);
            (0..1_000).filter(|n| negatives.version(&key(*n), then).is_some()).count()
        };
        assert_eq!(known(3_999), 1_000);
        assert!((300..700).contains(&known(5_000)), "{}", known(5_000));
        assert_eq!(known(6_001), 0);
    }

    #[test]
    fn the_same_code_again_does_not_use_up_room() {
        let mut negatives = Negatives::new(4);
        let now = Instant::now();
        negatives.insert(key(1), 3, now);
        (0..100).for_each(|_| negatives.insert(key(2), 0, now));
        negatives.remove(&key(2));
        assert_eq!(negatives.version(&key(2), now), None);
        assert!(negatives.len() <= 4 && negatives.order.len() <= 4);
    }
}
