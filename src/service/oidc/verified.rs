//! Bearer tokens that were checked a moment ago, so that a repeated one costs one hash.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use super::ExternalIdentity;
use crate::domain::time::Timestamp;

/// Tokens remembered in each of the two halves.
const HALF_MAX: usize = 4_096;

type Digest = [u8; 32];
type Half = HashMap<Digest, Arc<Verified>, foldhash::fast::RandomState>;

/// What checking a token gave, and how long it holds.
pub(super) struct Verified {
    pub(super) identity: Arc<ExternalIdentity>,
    /// Which provider, by its place in the list.
    pub(super) provider: usize,
    /// The keys that it was checked with: when they change, it is checked again.
    pub(super) keys: Digest,
    /// First and last second, leeway included, that it is good for.
    pub(super) from: i64,
    pub(super) until: i64,
}

/// Remembers tokens by their hashes. When the young half is full it becomes the old one, and what
/// nobody used meanwhile is forgotten.
pub(super) struct VerifiedCache(Mutex<Halves>);

#[derive(Default)]
struct Halves {
    young: Half,
    old: Half,
}

impl VerifiedCache {
    pub(super) fn new() -> Self {
        Self(Mutex::default())
    }

    pub(super) fn digest(token: &str) -> Digest {
        *blake3::hash(token.as_bytes()).as_bytes()
    }

    pub(super) fn get(&self, digest: &Digest) -> Option<Arc<Verified>> {
        let mut halves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = halves.young.get(digest) {
            return Some(Arc::clone(found));
        }
        let found = halves.old.remove(digest)?;
        halves.put(*digest, Arc::clone(&found));
        Some(found)
    }

    pub(super) fn put(&self, digest: Digest, verified: Arc<Verified>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).put(digest, verified);
    }
}

impl Halves {
    fn put(&mut self, digest: Digest, verified: Arc<Verified>) {
        if self.young.len() >= HALF_MAX {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(digest, verified);
    }
}

impl Verified {
    /// Whether it still holds at `now`, with these keys.
    pub(super) fn holds(&self, now: Timestamp, keys: &Digest) -> bool {
        let now = now.as_millis().div_euclid(1_000);
        (self.from..self.until).contains(&now) && self.keys == *keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verified(name: u64) -> Arc<Verified> {
        let identity = Arc::new(ExternalIdentity {
            provider: "acme".to_owned(),
            issuer: "https://login.acme.example".to_owned(),
            subject: name.to_string(),
            email: None,
            email_verified: false,
            name: None,
        });
        Arc::new(Verified { identity, provider: 0, keys: [1; 32], from: 100, until: 200 })
    }

    fn digest(name: u64) -> Digest {
        VerifiedCache::digest(&name.to_string())
    }

    #[test]
    fn it_never_holds_more_than_its_bound_and_keeps_what_is_used() {
        let cache = VerifiedCache::new();
        for name in 0..4 * HALF_MAX as u64 {
            cache.put(digest(name), verified(name));
            let used = cache.get(&digest(0)).map(|found| found.identity.subject.clone());
            assert_eq!(used.as_deref(), Some("0"));
        }
        let halves = cache.0.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(halves.young.len() <= HALF_MAX && halves.old.len() <= HALF_MAX);
        assert!(!halves.young.contains_key(&digest(1)) && !halves.old.contains_key(&digest(1)));
    }

    #[test]
    fn what_was_true_holds_for_its_time_and_its_keys() {
        let one = verified(1);
        let at = |secs: i64| Timestamp::from_millis(secs * 1_000);
        assert!(one.holds(at(100), &[1; 32]) && one.holds(at(199), &[1; 32]));
        assert!(!one.holds(at(99), &[1; 32]) && !one.holds(at(200), &[1; 32]));
        assert!(!one.holds(at(150), &[2; 32]));
    }
}
