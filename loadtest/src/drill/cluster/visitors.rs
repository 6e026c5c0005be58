//! Visitors of links that every node has in memory: nothing that happens may cost them a redirect.

use std::time::{Duration, Instant};

use super::ask::{Asked, Client, brief};
use super::stage::{N_NODES, Phase, Stage, Standing};
use crate::drill::ledger::Promised;
use crate::process::pause;
use crate::rng::Rng;

/// Who comes to one node, by the balancer's leave, and how often.
pub struct Visitor<'a> {
    pub stage: &'a Stage,
    pub links: &'a [Promised],
    pub home: usize,
    pub every: Duration,
    pub seed: u64,
}

/// What a visitor saw.
#[derive(Default)]
pub struct Seen {
    /// Redirects answered, and those whose answer was lost with the node, by link.
    pub answered: Vec<u64>,
    pub lost: Vec<u64>,
    /// Nanoseconds of each answer.
    pub quiet: Vec<u64>,
    pub fault: Vec<u64>,
    /// Requests that another node was asked for, because the first one took no connection.
    pub n_moved: u64,
}

impl Visitor<'_> {
    pub fn visit(&self) -> Seen {
        let zeros = vec![0; self.links.len()];
        let mut seen = Seen { answered: zeros.clone(), lost: zeros, ..Seen::default() };
        let mut clients: Vec<_> =
            self.stage.nodes.iter().map(|node| Client::new(node.public, "")).collect();
        let mut rng = Rng::new(self.seed);
        let mut due = Instant::now() + self.every.mul_f64(rng.unit());
        while !self.stage.is_over() {
            pause(due.saturating_duration_since(Instant::now()));
            // After an answer that took long, as often as before and not faster.
            due = (due + self.every).max(Instant::now());
            self.ask_for(rng.below(self.links.len()), &mut clients, &mut seen);
        }
        seen
    }

    /// Asks a node, and another one if it takes no connection.
    fn ask_for(&self, index: usize, clients: &mut [Client], seen: &mut Seen) {
        let link = &self.links[index];
        for tried in 0..N_NODES {
            let Some(at) = self.stage.route(self.home, tried) else {
                return self.stage.deviate("the balancer has no node left");
            };
            let (node, phase) = (&self.stage.nodes[at], self.stage.phase());
            let before = node.standing();
            let asked = clients[at].get(&link.code);
            // It may have been told to go while it was asked.
            let excuse = if before == Standing::Up { node.standing() } else { before };
            match asked {
                Asked::Answered(reply, took) => {
                    if reply.status == 302 && reply.location.as_ref() == Some(&link.destination) {
                        seen.answered[index] += 1;
                        self.note(phase, took, seen);
                    } else {
                        let (code, reply) = (&link.code, brief(&reply));
                        self.stage.deviate(format!("node {at}: /{code} is answered {reply}"));
                    }
                    return;
                }
                Asked::Refused if excuse != Standing::Up => seen.n_moved += 1,
                Asked::Broken(_) if excuse == Standing::Killed => {
                    seen.lost[index] += 1;
                    return;
                }
                failed => {
                    seen.lost[index] += 1;
                    return self.stage.deviate(format!("node {at}: a redirect failed: {failed}"));
                }
            }
        }
        self.stage.deviate("no node took a connection");
    }

    /// What was asked in one phase and answered in another says nothing of either.
    fn note(&self, phase: Phase, took: Duration, seen: &mut Seen) {
        if phase != self.stage.phase() {
            return;
        }
        let nanos = took.as_nanos() as u64;
        match phase {
            Phase::Quiet => seen.quiet.push(nanos),
            Phase::Fault => seen.fault.push(nanos),
            Phase::Rest => (),
        }
    }
}
