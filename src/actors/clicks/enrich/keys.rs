//! The keys of visitors, as far as this process knows them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::domain::visitor::VisitorKey;

/// Days without a key of the store that are remembered: clocks jump.
const OWN_KEYS_MAX: usize = 16;

/// Keys by day.
#[derive(Default)]
pub(in super::super) struct Keys(Mutex<Known>);

#[derive(Default)]
struct Known {
    stored: BTreeMap<u32, VisitorKey>,
    /// For days of which the store has no key any more, or not yet.
    own: BTreeMap<u32, VisitorKey>,
}

impl Keys {
    pub(in super::super) fn new(stored: Vec<(u32, VisitorKey)>) -> Self {
        let keys = Self::default();
        keys.set(stored);
        keys
    }

    /// Replaces what the store has. Keys that it destroyed are destroyed here too.
    pub(in super::super) fn set(&self, stored: Vec<(u32, VisitorKey)>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.stored = stored.into_iter().collect();
        let oldest = known.stored.first_key_value().map_or(0, |(day, _)| *day);
        known.own.retain(|day, _| *day >= oldest);
    }

    /// The key of a day. Without one of the store's it is one that nobody else has: visitors of
    /// that day are then told apart anew.
    pub(in super::super) fn of(&self, day: u32) -> VisitorKey {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = known.stored.get(&day).or_else(|| known.own.get(&day)) {
            return *key;
        }
        if known.own.len() >= OWN_KEYS_MAX {
            known.own.pop_first();
        }
        let mut key = [0; VisitorKey::BYTES];
        for half in key.chunks_exact_mut(8) {
            half.copy_from_slice(&getrandom::u64().unwrap_or_default().to_ne_bytes());
        }
        *known.own.entry(day).or_insert(VisitorKey::new(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_keeps_its_key_until_it_is_destroyed() {
        let keys = Keys::new(vec![(7, VisitorKey::new([7; 16])), (8, VisitorKey::new([8; 16]))]);
        assert_eq!(keys.of(7), VisitorKey::new([7; 16]));
        let unknown = keys.of(3);
        assert_eq!(keys.of(3), unknown);
        keys.set(vec![(8, VisitorKey::new([8; 16]))]);
        assert_ne!(keys.of(7), VisitorKey::new([7; 16]));
        assert_ne!(keys.of(3), unknown);
    }

    #[test]
    fn clocks_that_jump_do_not_fill_the_memory() {
        let keys = Keys::default();
        for day in 0..1_000 {
            keys.of(day);
        }
        assert!(keys.0.lock().unwrap_or_else(PoisonError::into_inner).own.len() <= OWN_KEYS_MAX);
    }
}
