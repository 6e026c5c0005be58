//! What everybody in a trial can see: where the nodes are and how they stand, which part of the
//! trial it is, and what went wrong so far.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::api::Api;
use crate::drill::ledger::Deviations;
use crate::process::pause;

pub const N_NODES: usize = 3;
/// How a balancer looks after nodes: HAProxy's `inter 250ms fall 2 rise 1`.
const CHECK_EVERY: Duration = Duration::from_millis(250);
const CHECK_WITHIN: Duration = Duration::from_secs(2);
const FALL: u32 = 2;

/// Parts of a trial. What is measured in one is held against the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Quiet,
    Fault,
    /// Recovering, or getting ready: not measured.
    Rest,
}

/// How a node stands, for those who judge what it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Up,
    /// It was asked to stop: connections may be refused, requests that were sent are answered.
    Leaving,
    /// It was killed: what was sent may be lost.
    Killed,
}

/// A node, as clients see it.
pub struct Station {
    pub public: SocketAddr,
    pub ops: SocketAddr,
    standing: AtomicUsize,
    /// Whether the balancer sends nobody there.
    is_out: AtomicBool,
    /// Whether it may say that the database is gone.
    store_gone: AtomicBool,
}

pub struct Stage {
    pub nodes: Vec<Station>,
    phase: AtomicUsize,
    is_over: AtomicBool,
    deviations: Mutex<Deviations>,
}

impl Station {
    pub fn new(public: SocketAddr, ops: SocketAddr) -> Self {
        let (standing, is_out, store_gone) = Default::default();
        Self { public, ops, standing, is_out, store_gone }
    }

    pub fn standing(&self) -> Standing {
        [Standing::Up, Standing::Leaving, Standing::Killed][self.standing.load(Ordering::SeqCst)]
    }

    pub fn stands(&self, standing: Standing) {
        self.standing.store(standing as usize, Ordering::SeqCst);
    }

    pub fn is_up(&self) -> bool {
        self.standing() == Standing::Up
    }

    pub fn is_in(&self) -> bool {
        !self.is_out.load(Ordering::SeqCst)
    }

    pub fn is_without_store(&self) -> bool {
        self.store_gone.load(Ordering::SeqCst)
    }

    pub fn lacks_store(&self, lacks: bool) {
        self.store_gone.store(lacks, Ordering::SeqCst);
    }
}

impl Stage {
    pub fn new(nodes: Vec<Station>) -> Self {
        let phase = AtomicUsize::new(Phase::Rest as usize);
        Self { nodes, phase, is_over: AtomicBool::new(false), deviations: Mutex::default() }
    }

    pub fn phase(&self) -> Phase {
        [Phase::Quiet, Phase::Fault, Phase::Rest][self.phase.load(Ordering::SeqCst)]
    }

    pub fn begin(&self, phase: Phase) {
        self.phase.store(phase as usize, Ordering::SeqCst);
    }

    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    pub fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }

    pub fn deviate(&self, text: impl Into<String>) {
        lock(&self.deviations).add(text.into());
    }

    pub fn into_deviations(self) -> Deviations {
        self.deviations.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first node from `wanted` on that the balancer sends visitors to, but for `tried` ones.
    pub fn route(&self, wanted: usize, tried: usize) -> Option<usize> {
        let order = (0..N_NODES).map(|step| (wanted + step) % N_NODES);
        order.filter(|at| self.nodes[*at].is_in()).nth(tried)
    }

    /// Takes nodes out and in as a balancer does, until the trial is over. A node that is up and
    /// redirects has no reason to be out.
    pub fn balance(&self) {
        let mut n_failures = [0; N_NODES];
        while !self.is_over() {
            for (node, n_failures) in self.nodes.iter().zip(&mut n_failures) {
                let reply = Api::ops(node.ops).within(CHECK_WITHIN).get("/readyz");
                if reply.is_ok_and(|reply| reply.status == 200) {
                    *n_failures = 0;
                    node.is_out.store(false, Ordering::SeqCst);
                    continue;
                }
                *n_failures += 1;
                if *n_failures == FALL {
                    node.is_out.store(true, Ordering::SeqCst);
                    if node.is_up() {
                        self.deviate(format!("{}: not ready, although it redirects", node.public));
                    }
                }
            }
            pause(CHECK_EVERY);
        }
    }
}

/// A thread that panicked left nothing half done in these.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::free_addr;

    #[test]
    fn visitors_go_to_their_own_node_and_to_the_next_one_when_it_is_out() -> anyhow::Result<()> {
        let addr = free_addr()?;
        let stage = Stage::new((0..N_NODES).map(|_| Station::new(addr, addr)).collect());
        assert_eq!((stage.route(1, 0), stage.route(1, 1)), (Some(1), Some(2)));
        stage.nodes[1].is_out.store(true, Ordering::SeqCst);
        assert_eq!((stage.route(1, 0), stage.route(1, 1)), (Some(2), Some(0)));
        assert_eq!(stage.route(1, 2), None);
        Ok(())
    }
}
