//! Click allowances of limited links, one per link however many copies there are of it.
//!
//! On a node that shares the links with others, an allowance is a part of what the link may take;
//! see `grants.rs`. Those of links that are in memory are kept. Those of evicted links are kept for
//! a while, and may go: every click that was drawn is on record by then, so the counters know what
//! is left.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::stream::{self, StreamExt};

use super::LoadError;
use super::grants::{Grants, Queue};
use crate::domain::hot::Allowance;
use crate::domain::id::Id;
use crate::domain::link::Link;
use crate::domain::time::Timestamp;

/// Limits that are kept before those that nobody shares are looked for.
const KEPT_MIN: usize = 1_024;

/// Links whose unused clicks are given back at once.
const GIVEN_BACK_AT_ONCE: usize = 64;

/// Bytes that the limit of a link in memory takes here. As many again may be of evicted links, and
/// up to half of a map is empty.
pub(super) const LIMIT_BYTES: usize =
    32 + 4 * (size_of::<Id>() + size_of::<Limit>() + size_of::<u8>());

/// By link, not by code: a relocated link keeps its allowance. Only limited links get here, so the
/// lock is not on the way of others.
#[derive(Default)]
pub(super) struct Limits {
    links: Mutex<Links>,
    /// Where parts come from. `None`: this node has all of each.
    grants: Option<Grants>,
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
    /// There when the allowance is a part.
    queue: Option<Arc<Queue>>,
}

impl Limits {
    pub(super) fn new(grants: Option<Grants>) -> Self {
        Self { grants, ..Self::default() }
    }

    pub(super) fn are_shared(&self) -> bool {
        self.grants.is_some()
    }

    /// Gets clicks for a link whose part is used up, or finds out that there are none.
    pub(super) async fn replenish(&self, id: Id, now: Timestamp) -> Result<(), LoadError> {
        let Some(grants) = &self.grants else { return Ok(()) };
        let known = self.lock().limits.get(&id).map(|limit| {
            (limit.max, Arc::clone(&limit.allowance), limit.queue.clone().unwrap_or_default())
        });
        // Not known any more: the link is loaded again, with a part of its own.
        let Some((max, allowance, queue)) = known else { return Ok(()) };
        grants.replenish(id, max, (&allowance, &queue), now).await
    }

    /// Gives back what this node did not use, before it stops.
    pub(super) async fn give_back(&self) {
        let Some(grants) = &self.grants else { return };
        let unused: Vec<(Id, u64)> = self
            .lock()
            .limits
            .iter()
            .map(|(id, limit)| (*id, limit.allowance.empty()))
            .filter(|(_, unused)| *unused > 0)
            .collect();
        stream::iter(unused)
            .for_each_concurrent(GIVEN_BACK_AT_ONCE, |(id, unused)| grants.give_back(id, unused))
            .await;
    }

    /// The allowance of a link that has one already, moved to `max` if `version` is newer.
    pub(super) fn share(&self, id: Id, version: u32, max: u64) -> Option<Arc<Allowance>> {
        Some(self.lock().limits.get_mut(&id)?.share(id, version, max, self.grants.as_ref()))
    }

    /// The allowance of a link that was clicked `clicks` times so far; one that is there already
    /// stays.
    pub(super) fn start(&self, link: &Link, max: u64, clicks: u64) -> Arc<Allowance> {
        let (mut links, grants) = (self.lock(), self.grants.as_ref());
        links.make_room(grants);
        let allowance = match links.limits.entry(link.id) {
            Entry::Occupied(known) => known.into_mut().share(link.id, link.version, max, grants),
            Entry::Vacant(place) => {
                let allowance = match grants {
                    None => Allowance::new(signed(max) - signed(clicks)),
                    Some(_) => Allowance::part(),
                };
                let allowance = Arc::new(allowance);
                let shared = Arc::clone(&allowance);
                let queue = grants.map(|_| Arc::default());
                place.insert(Limit { version: link.version, max, allowance, queue });
                shared
            }
        };
        self.len.store(links.limits.len(), Ordering::Release);
        allowance
    }

    /// The clicks of a link were erased: it may take as many as at first.
    pub(super) async fn refill(&self, id: Id) -> Result<(), LoadError> {
        if let Some(grants) = &self.grants {
            grants.reset(id).await?;
            if let Some(limit) = self.lock().limits.get(&id) {
                limit.allowance.empty();
            }
        } else if let Some(limit) = self.lock().limits.get(&id) {
            limit.allowance.set(signed(limit.max));
        }
        Ok(())
    }

    /// The link has no limit any more, or is no more.
    pub(super) fn end(&self, id: Id, version: u32) {
        if self.len.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut links = self.lock();
        if links.limits.get(&id).is_some_and(|limit| limit.version < version)
            && let Some(limit) = links.limits.remove(&id)
        {
            limit.give_back(id, self.grants.as_ref());
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
    fn make_room(&mut self, grants: Option<&Grants>) {
        if self.limits.len() >= KEPT_MIN.max(2 * self.shared) {
            self.limits.retain(|id, limit| {
                let is_shared = Arc::strong_count(&limit.allowance) > 1;
                if !is_shared {
                    limit.give_back(*id, grants);
                }
                is_shared
            });
            self.shared = self.limits.len();
        }
    }
}

impl Limit {
    fn share(&mut self, id: Id, version: u32, max: u64, grants: Option<&Grants>) -> Arc<Allowance> {
        if version > self.version {
            match grants {
                None => self.allowance.adjust(signed(max) - signed(self.max)),
                // What was taken under another limit may be more than this one leaves.
                Some(_) => self.give_back(id, grants),
            }
            self.version = version;
            self.max = max;
        }
        Arc::clone(&self.allowance)
    }

    /// Gives back, behind, what is left of a part.
    fn give_back(&self, id: Id, grants: Option<&Grants>) {
        let Some(grants) = grants.cloned() else { return };
        let unused = self.allowance.empty();
        if unused > 0 {
            actix_rt::spawn(async move { grants.give_back(id, unused).await });
        }
    }
}

fn signed(clicks: u64) -> i64 {
    i64::try_from(clicks).unwrap_or(i64::MAX)
}
