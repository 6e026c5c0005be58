//! Click allowances of limited links. Kept while the process lives, also for links that were
//! evicted, so that no click is given twice.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::hot::Allowance;
use crate::domain::id::Id;
use crate::domain::link::Link;

/// By link, not by code: a relocated link keeps its allowance. Only limited links get here, so the
/// lock is not on the way of others.
#[derive(Default)]
pub(super) struct Limits {
    links: Mutex<HashMap<Id, Limit>>,
    /// So that links without a limit need no lock.
    len: AtomicUsize,
}

struct Limit {
    version: u32,
    max: u64,
    allowance: Arc<Allowance>,
}

impl Limits {
    /// The allowance of a link that has one already, moved to `max` if `version` is newer.
    pub(super) fn share(&self, id: Id, version: u32, max: u64) -> Option<Arc<Allowance>> {
        let mut links = self.lock();
        let limit = links.get_mut(&id)?;
        if version > limit.version {
            limit.allowance.adjust(signed(max) - signed(limit.max));
            limit.version = version;
            limit.max = max;
        }
        Some(Arc::clone(&limit.allowance))
    }

    /// The allowance of a link that was clicked `clicks` times so far; one that is there already
    /// stays.
    pub(super) fn start(&self, link: &Link, max: u64, clicks: u64) -> Arc<Allowance> {
        if let Some(known) = self.share(link.id, link.version, max) {
            return known;
        }
        let allowance = Arc::new(Allowance::new(signed(max) - signed(clicks)));
        let limit = Limit { version: link.version, max, allowance: Arc::clone(&allowance) };
        let mut links = self.lock();
        links.insert(link.id, limit);
        self.len.store(links.len(), Ordering::Release);
        allowance
    }

    /// The clicks of a link were erased: it may take as many as at first.
    pub(super) fn refill(&self, id: Id) {
        if let Some(limit) = self.lock().get(&id) {
            limit.allowance.set(signed(limit.max));
        }
    }

    /// The link has no limit any more, or is no more.
    pub(super) fn end(&self, id: Id, version: u32) {
        if self.len.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut links = self.lock();
        if links.get(&id).is_some_and(|limit| limit.version < version) {
            links.remove(&id);
        }
        self.len.store(links.len(), Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Id, Limit>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn signed(clicks: u64) -> i64 {
    i64::try_from(clicks).unwrap_or(i64::MAX)
}
