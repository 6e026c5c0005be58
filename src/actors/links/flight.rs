//! Work under way, per code: one store operation at a time, the rest waits in order.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::LoadError;
use super::key::Key;
use super::messages::{Job, Reply};
use crate::domain::code::LinkKey;

/// Least time between two looks through all who wait: under a flood of requests they must not cost
/// more than the requests.
const PRUNE_EVERY: Duration = Duration::from_millis(10);

/// Codes with work under way. Keyed by what strangers send, hence the standard library's hasher.
#[derive(Default)]
pub(super) struct Flights {
    codes: HashMap<Key, Flight>,
    tickets: u64,
    /// Callers and changes that wait, over all codes.
    waiting: usize,
    /// When those who gave up were last forgotten.
    pruned_at: Option<Instant>,
}

pub(super) struct Flight {
    pub(super) link: LinkKey,
    /// The operation under way. An answer with another ticket belongs to forgotten work.
    pub(super) ticket: u64,
    /// A load that answers with an older state than this was overtaken by a change.
    pub(super) version_min: u32,
    waiters: Vec<Reply<bool>>,
    jobs: VecDeque<Job>,
}

impl Flights {
    pub(super) fn len(&self) -> usize {
        self.codes.len()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    pub(super) fn get_mut(&mut self, key: &Key) -> Option<&mut Flight> {
        if self.codes.is_empty() {
            return None;
        }
        self.codes.get_mut(key)
    }

    /// Begins an operation on `key`, in a flight that is there or in a new one.
    pub(super) fn begin(&mut self, key: &Key, link: LinkKey) -> u64 {
        self.tickets += 1;
        let ticket = self.tickets;
        let flight = self.codes.entry(key.clone()).or_insert_with(|| Flight {
            link,
            ticket,
            version_min: 0,
            waiters: Vec::new(),
            jobs: VecDeque::new(),
        });
        flight.ticket = ticket;
        // What the store answers from now on includes every earlier change.
        flight.version_min = 0;
        ticket
    }

    /// Waits for the link at `key`, which must be in flight.
    pub(super) fn wait(&mut self, key: &Key, reply: Reply<bool>) {
        if let Some(flight) = self.codes.get_mut(key) {
            flight.waiters.push(reply);
            self.waiting += 1;
        }
    }

    /// Queues a change behind the work on `key`; gives it back when nothing is under way.
    pub(super) fn queue(&mut self, key: &Key, job: Job) -> Option<Job> {
        let Some(flight) = self.codes.get_mut(key) else {
            return Some(job);
        };
        flight.jobs.push_back(job);
        self.waiting += 1;
        None
    }

    /// Puts a job before all that wait.
    pub(super) fn queue_first(&mut self, key: &Key, job: Job) {
        if let Some(flight) = self.codes.get_mut(key) {
            flight.jobs.push_front(job);
            self.waiting += 1;
        }
    }

    /// Whether a change that was heard of waits to be taken over.
    pub(super) fn will_refresh(&self, key: &Key) -> bool {
        let flight = self.codes.get(key);
        flight.is_some_and(|flight| flight.jobs.iter().any(|job| matches!(job, Job::Refresh)))
    }

    pub(super) fn next_job(&mut self, key: &Key) -> Option<Job> {
        let job = self.codes.get_mut(key)?.jobs.pop_front()?;
        self.waiting -= 1;
        Some(job)
    }

    /// Answers everybody who waits for the link at `key`.
    pub(super) fn answer(&mut self, key: &Key, answer: &Result<bool, LoadError>) {
        let Some(flight) = self.codes.get_mut(key) else {
            return;
        };
        self.waiting -= flight.waiters.len();
        for reply in flight.waiters.drain(..) {
            // A caller that ran out of patience is gone.
            let _gone = reply.send(answer.clone());
        }
    }

    /// Somebody still waits for the link at `key`. Forgets those who gave up.
    pub(super) fn has_waiters(&mut self, key: &Key) -> bool {
        let Some(flight) = self.codes.get_mut(key) else {
            return false;
        };
        let before = flight.waiters.len();
        flight.waiters.retain(|reply| !reply.is_closed());
        self.waiting -= before - flight.waiters.len();
        !flight.waiters.is_empty()
    }

    /// Forgets who gave up, over all codes: one that hangs must not hold places of the dead.
    pub(super) fn prune(&mut self) {
        let now = Instant::now();
        if self.pruned_at.is_some_and(|at| now < at + PRUNE_EVERY) {
            return;
        }
        self.pruned_at = Some(now);
        for flight in self.codes.values_mut() {
            let before = flight.waiters.len();
            flight.waiters.retain(|reply| !reply.is_closed());
            self.waiting -= before - flight.waiters.len();
        }
    }

    /// Forgets everything under way; whoever waits finds its reply dropped. Tickets go on, so that
    /// no late report is taken for new work.
    pub(super) fn clear(&mut self) {
        self.codes.clear();
        self.waiting = 0;
    }

    pub(super) fn end(&mut self, key: &Key) {
        if let Some(flight) = self.codes.remove(key) {
            self.waiting -= flight.waiters.len() + flight.jobs.len();
        }
    }
}
