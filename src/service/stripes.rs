//! Turns: who reads, judges and writes what others may write too goes one after the other.
//!
//! A bounded number of locks stands for any number of things, so two of them may share a turn. Who
//! has a turn never waits for another one.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::RandomState;
use tokio::sync::{Mutex, MutexGuard};

use crate::storage::{StorageResult, patience};

/// Turns that can be had at a time. More than the store has writes under way.
const STRIPES: usize = 256;

pub(super) struct Stripes {
    locks: Box<[Mutex<()>]>,
    hasher: RandomState,
}

impl Default for Stripes {
    fn default() -> Self {
        let locks = (0..STRIPES).map(|_| Mutex::new(())).collect();
        Self { locks, hasher: RandomState::default() }
    }
}

impl Stripes {
    /// Waits for the turn of `thing`, first come, first served; it ends with the guard. Kind
    /// `Timeout`: the request has waited for the store long enough, with those before it.
    pub(super) async fn turn(&self, thing: impl Hash) -> StorageResult<MutexGuard<'_, ()>> {
        let stripe = self.hasher.hash_one(thing) as usize % self.locks.len();
        patience::within("turn", self.locks[stripe].lock()).await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn one_thing_has_one_turn_at_a_time() {
        let stripes = Stripes::default();
        let turn = stripes.turn("spring").await;
        assert!(turn.is_ok());
        assert!(stripes.turn("spring").now_or_never().is_none());
        drop(turn);
        assert!(stripes.turn("spring").now_or_never().is_some());
    }
}
