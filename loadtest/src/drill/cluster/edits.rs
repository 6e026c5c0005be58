//! An editor who changes links on one node and looks at all others until they serve the change,
//! at the same time an observer who holds every answer against the bound.

use std::time::{Duration, Instant};

use serde_json::json;

use super::ask::{Asked, Client, brief};
use super::stage::{N_NODES, Phase, Stage, Standing};
use crate::drill::ledger::Promised;
use crate::process::pause;

/// After this long no node serves what was before: five seconds, and a load.
const STALE_MAX: Duration = Duration::from_secs(6);
const POLL_EVERY: Duration = Duration::from_millis(1);

/// Somebody who changes these links all the time.
pub struct Editor<'a> {
    pub stage: &'a Stage,
    pub key: &'a str,
    pub links: &'a [Edited],
    pub every: Duration,
    /// Whether nodes without a database are asked too. Who does that may wait there, and sees
    /// little of the others meanwhile.
    pub asks_all: bool,
    /// Takes one change for made that was never asked for: the observer must notice.
    pub lies: bool,
}

/// A link that is changed, over several trials.
#[derive(Clone, Debug)]
pub struct Edited {
    pub code: String,
    /// The change that was last answered, and the last one that was asked for.
    pub answered: u64,
    pub asked: u64,
    /// Redirects answered, and lost with a node.
    pub n_acked: u64,
    pub n_in_flight: u64,
}

/// What an editor saw.
#[derive(Default)]
pub struct Edits {
    pub links: Vec<Edited>,
    /// From the answer to the first new answer on each other node.
    pub quiet: Vec<Duration>,
    pub fault: Vec<Duration>,
    pub n_refused: u64,
    /// Refusals of a node that has its database, and waited for it for too long.
    pub n_overdue: u64,
    pub slowest: Duration,
}

/// How looking at one node ended.
enum Look {
    New,
    Old,
    /// It cannot be asked, or is excused.
    Nothing,
}

impl Edited {
    pub fn new(link: &Promised) -> Self {
        Self { code: link.code.clone(), answered: 0, asked: 0, n_acked: 0, n_in_flight: 0 }
    }

    pub fn target(version: u64) -> String {
        format!("https://www.example.com/edited/{version}")
    }

    /// As a link whose clicks are counted.
    pub fn as_promised(&self) -> Promised {
        let mut link = Promised::new(self.code.clone(), Self::target(self.answered));
        (link.n_acked, link.n_in_flight) = (self.n_acked, self.n_in_flight);
        link
    }

    /// Which change this leads to, if it is one that was asked for.
    pub fn version(&self, location: Option<&str>) -> Option<u64> {
        let version = location?.strip_prefix("https://www.example.com/edited/")?.parse().ok()?;
        (version <= self.asked).then_some(version)
    }
}

impl Editor<'_> {
    pub fn edit(&self) -> Edits {
        let mut edits = Edits { links: self.links.to_vec(), ..Edits::default() };
        let nodes = &self.stage.nodes;
        let mut editors: Vec<_> =
            nodes.iter().map(|node| Client::new(node.public, self.key)).collect();
        let mut visitors: Vec<_> = nodes.iter().map(|node| Client::new(node.public, "")).collect();
        let mut lies = self.lies;
        for n in 0_usize.. {
            if self.stage.is_over() {
                break;
            }
            pause(self.every);
            // Every node changes every link, as their numbers have no common divisor.
            let (at, index) = (n % N_NODES, n % edits.links.len());
            if !nodes[at].is_in() || (nodes[at].is_without_store() && !self.asks_all) {
                continue;
            }
            let mut link = edits.links[index].clone();
            let phase = self.stage.phase();
            let is_made = match std::mem::take(&mut lies) {
                true => {
                    link.asked += 1;
                    link.answered = link.asked;
                    true
                }
                false => self.change(&mut editors[at], at, &mut link, &mut edits),
            };
            if is_made {
                self.observe(&mut visitors, (at, phase), &mut link, &mut edits);
            }
            edits.links[index] = link;
        }
        edits
    }

    /// Whether the change was made for sure.
    fn change(&self, client: &mut Client, at: usize, link: &mut Edited, edits: &mut Edits) -> bool {
        let node = &self.stage.nodes[at];
        let (standing, without_store) = (node.standing(), node.is_without_store());
        link.asked += 1;
        let body = json!({ "destination": Edited::target(link.asked) }).to_string();
        let asked = client.ask("PATCH", &format!("/api/v1/links/{}", link.code), &body);
        let standing = if standing == Standing::Up { node.standing() } else { standing };
        match asked {
            Asked::Answered(reply, took) if reply.status == 200 => {
                link.answered = link.asked;
                edits.slowest = edits.slowest.max(took);
                return true;
            }
            Asked::Answered(reply, took)
                if reply.status == 503 && (without_store || node.is_without_store()) =>
            {
                edits.n_refused += 1;
                edits.slowest = edits.slowest.max(took);
            }
            Asked::Answered(reply, _) if reply.status == 503 => edits.n_overdue += 1,
            Asked::Answered(reply, _) => {
                self.stage.deviate(format!("node {at}: a change is answered {}", brief(&reply)));
            }
            Asked::Refused if standing != Standing::Up => (),
            Asked::Broken(_) if standing == Standing::Killed => (),
            failed => self.stage.deviate(format!("node {at}: a change failed: {failed}")),
        }
        false
    }

    /// Looks at all nodes until they serve the change, for as long as they may take for it.
    fn observe(
        &self,
        clients: &mut [Client],
        (made_at, phase): (usize, Phase),
        link: &mut Edited,
        edits: &mut Edits,
    ) {
        let answered = Instant::now();
        // At once where it was made.
        if let Look::Old = self.look(made_at, &mut clients[made_at], link) {
            let code = &link.code;
            self.stage.deviate(format!("node {made_at}: /{code} is old where it was changed"));
        }
        let mut waiting: Vec<usize> = (0..N_NODES).filter(|at| *at != made_at).collect();
        while !waiting.is_empty() {
            waiting.retain(|at| {
                // Counts from when it was asked: what leaves a node earlier was right.
                let after = answered.elapsed();
                match self.look(*at, &mut clients[*at], link) {
                    Look::Nothing => false,
                    Look::New => {
                        let (took, now) = (answered.elapsed(), self.stage.phase());
                        match phase {
                            Phase::Quiet if now == phase => edits.quiet.push(took),
                            Phase::Fault => edits.fault.push(took),
                            _ => (),
                        }
                        false
                    }
                    Look::Old if after > STALE_MAX => {
                        let code = &link.code;
                        let text = format!("node {at}: /{code} is old {after:?} after its change");
                        self.stage.deviate(text);
                        false
                    }
                    Look::Old => true,
                }
            });
            pause(POLL_EVERY);
        }
    }

    fn look(&self, at: usize, client: &mut Client, link: &mut Edited) -> Look {
        let node = &self.stage.nodes[at];
        if !node.is_in() || !node.is_up() || node.is_without_store() {
            return Look::Nothing;
        }
        match client.get(&link.code) {
            Asked::Answered(reply, _) if reply.status == 302 => {
                link.n_acked += 1;
                match link.version(reply.location.as_deref()) {
                    Some(version) if version >= link.answered => Look::New,
                    Some(_) => Look::Old,
                    None => {
                        let (code, reply) = (&link.code, brief(&reply));
                        self.stage.deviate(format!("node {at}: /{code} is answered {reply}"));
                        Look::Nothing
                    }
                }
            }
            Asked::Refused if !node.is_up() => Look::Nothing,
            failed => {
                link.n_in_flight += 1;
                if node.standing() != Standing::Killed {
                    self.stage.deviate(format!("node {at}: an edited link: {failed}"));
                }
                Look::Nothing
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_change_that_was_asked_for_or_none() {
        let mut link = Edited::new(&Promised::new("spring".to_owned(), Edited::target(0)));
        link.asked = 7;
        assert_eq!(link.version(Some(&Edited::target(7))), Some(7));
        assert_eq!(link.version(Some(&Edited::target(8))), None);
        assert_eq!(link.version(Some("https://www.example.com/")), None);
        assert_eq!(link.version(None), None);
    }
}
