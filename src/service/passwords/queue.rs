//! Work that waits for a thread. Bounded; what nobody waits for any more takes nobody's place.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use super::kiln::Kiln;

/// What a thread does for one caller.
pub(super) type Work = Box<dyn FnOnce(&mut Kiln) + Send>;

/// A caller's side of its work. Dropping it gives the work up.
pub(super) struct Claim(Arc<AtomicBool>);

/// The queue is full, or closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Full,
    Closed,
}

pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
    max: usize,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    closed: bool,
}

struct Job {
    /// Whether somebody has decided about this work: a thread that it begins, or its caller that it
    /// does not. Gone with the caller.
    decided: Weak<AtomicBool>,
    work: Work,
}

impl Claim {
    /// Takes the work back. False: a thread has begun it.
    pub(super) fn give_up(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }
}

impl Job {
    fn is_wanted(&self) -> bool {
        self.decided.upgrade().is_some_and(|decided| !decided.load(Ordering::Acquire))
    }

    /// Begins it, unless nobody waits for it.
    fn begin(self) -> Option<Work> {
        let decided = self.decided.upgrade()?;
        (!decided.swap(true, Ordering::AcqRel)).then_some(self.work)
    }
}

impl Queue {
    pub(super) fn new(max: usize) -> Self {
        Self { waiting: Mutex::default(), wake: Condvar::new(), max }
    }

    /// Adds work, or refuses it at once.
    pub(super) fn push(&self, work: Work) -> Result<Claim, Refused> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(Refused::Closed);
        }
        if waiting.jobs.len() >= self.max {
            waiting.jobs.retain(Job::is_wanted);
        }
        if waiting.jobs.len() >= self.max {
            return Err(Refused::Full);
        }
        let claim = Claim(Arc::new(AtomicBool::new(false)));
        waiting.jobs.push_back(Job { decided: Arc::downgrade(&claim.0), work });
        drop(waiting);
        self.wake.notify_one();
        Ok(claim)
    }

    /// Whether `push` would refuse.
    pub(super) fn is_full(&self) -> bool {
        let mut waiting = self.lock();
        if waiting.jobs.len() >= self.max {
            waiting.jobs.retain(Job::is_wanted);
        }
        waiting.jobs.len() >= self.max
    }

    /// The next work that somebody waits for. Waits for it; `None` after `close`.
    pub(super) fn pop(&self) -> Option<Work> {
        let mut waiting = self.lock();
        loop {
            while let Some(job) = waiting.jobs.pop_front() {
                if let Some(work) = job.begin() {
                    return Some(work);
                }
            }
            if waiting.closed {
                return None;
            }
            waiting = self.wake.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// How many wait.
    pub(super) fn depth(&self) -> usize {
        self.lock().jobs.iter().filter(|job| job.is_wanted()).count()
    }

    /// Ends the threads; what waits is dropped.
    pub(super) fn close(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        waiting.jobs.clear();
        drop(waiting);
        self.wake.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
