//! A bounded queue between async callers, who never wait for room, and threads, who wait for work.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Many producers, many consumers, first in, first out.
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    bound: usize,
}

/// Why nothing was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("too many operations wait for the store")]
    Full,
    #[error("the store is closed")]
    Closed,
}

/// What a consumer got.
pub(super) enum Popped<T> {
    Work(Vec<T>),
    /// Nothing came in the time the consumer had.
    Idle,
    /// Nothing is left and nothing will come.
    Closed,
}

struct State<T> {
    waiting: VecDeque<T>,
    open: bool,
}

impl<T> Queue<T> {
    pub(super) fn new(bound: usize) -> Self {
        let state = State { waiting: VecDeque::new(), open: true };
        Self { state: Mutex::new(state), changed: Condvar::new(), bound }
    }

    pub(super) fn push(&self, item: T) -> Result<(), Refused> {
        let mut state = self.lock();
        if !state.open {
            return Err(Refused::Closed);
        }
        if state.waiting.len() >= self.bound {
            return Err(Refused::Full);
        }
        state.waiting.push_back(item);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Takes up to `max` items; waits up to `patience` for the first.
    pub(super) fn pop(&self, max: usize, patience: Duration) -> Popped<T> {
        let state = self.lock();
        let (mut state, _) = self
            .changed
            .wait_timeout_while(state, patience, |state| state.open && state.waiting.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        if state.waiting.is_empty() {
            return if state.open { Popped::Idle } else { Popped::Closed };
        }
        let n = state.waiting.len().min(max);
        Popped::Work(state.waiting.drain(..n).collect())
    }

    /// Refuses new items; those that wait are still handed out.
    pub(super) fn close(&self) {
        self.lock().open = false;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
