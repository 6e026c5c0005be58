//! Click allowances of limited links, one per link however many copies there are of it.
//!
//! Those of links that are in memory are kept. Those of evicted links are kept for a while, and may
//! go: every click that was drawn is on record by then, so the counters know what is left.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::hot::Allowance;
use crate::domain::id::Id;
use crate::domain::link::Link;

/// Limits that are kept before those that nobody shares are looked for.
const KEPT_MIN: usize = 1_024;

/// Bytes that the limit of a link in memory takes here. As many again may be of evicted links, and
/// up to half of a map is empty.
pub(super) const LIMIT_BYTES: usize =
    32 + 4 * (size_of::<Id>() + size_of::<Limit>() + size_of::<u8>());

/// By link, not by code: a relocated link keeps its allowance. Only limited links get here, so the
/// lock is not on the way of others.
#[derive(Default)]
pub(super) struct Limits {
    links: Mutex<Links>,
    /// So that links without a limit need no lock.
    len: AtomicUsize,
}

#[derive(Default)]
struct Links {
    limits: HashMap<Id, Limit>,
    /// Left over the last time that unshared ones were dropped.
    shared: usize,
}

struct Limit {
    version: u32,
    max: u64,
    allowance: Arc<Allowance>,
}

impl Limits {
    /// The allowance of a link that has one already, moved to `max` if `version` is newer.
    pub(super) fn share(&self, id: Id, version: u32, max: u64) -> Option<Arc<Allowance>> {
        Some(self.lock().limits.get_mut(&id)?.share(version, max))
    }

    /// The allowance of a link that was clicked `clicks` times so far; one that is there already
    /// stays.
    pub(super) fn start(&self, link: &Link, max: u64, clicks: u64) -> Arc<Allowance> {
        let mut links = self.lock();
        links.make_room();
        let allowance = match links.limits.entry(link.id) {
            Entry::Occupied(known) => known.into_mut().share(link.version, max),
            Entry::Vacant(place) => {
                let allowance = Arc::new(Allowance::new(signed(max) - signed(clicks)));
                let shared = Arc::clone(&allowance);
                place.insert(Limit { version: link.version, max, allowance });
                shared
            }
        };
        self.len.store(links.limits.len(), Ordering::Release);
        allowance
    }

    /// The clicks of a link were erased: it may take as many as at first.
    pub(super) fn refill(&self, id: Id) {
        if let Some(limit) = self.lock().limits.get(&id) {
            limit.allowance.set(signed(limit.max));
        }
    }

    /// The link has no limit any more, or is no more.
    pub(super) fn end(&self, id: Id, version: u32) {
        if self.len.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut links = self.lock();
        if links.limits.get(&id).is_some_and(|limit| limit.version < version) {
            links.limits.remove(&id);
        }
        self.len.store(links.limits.len(), Ordering::Release);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().limits.len()
    }

    fn lock(&self) -> MutexGuard<'_, Links> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Links {
    /// Drops the limits of links that are not in memory when they may be as many as the others.
    fn make_room(&mut self) {
        if self.limits.len() >= KEPT_MIN.max(2 * self.shared) {
            self.limits.retain(|_, limit| Arc::strong_count(&limit.allowance) > 1);
            self.shared = self.limits.len();
        }
    }
}

impl Limit {
    fn share(&mut self, version: u32, max: u64) -> Arc<Allowance> {
        if version > self.version {
            self.allowance.adjust(signed(max) - signed(self.max));
            self.version = version;
            self.max = max;
        }
        Arc::clone(&self.allowance)
    }
}

fn signed(clicks: u64) -> i64 {
    i64::try_from(clicks).unwrap_or(i64::MAX)
}
