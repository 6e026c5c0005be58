//! Who needs the database: visitors of links that no node has in memory, and creators.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::ask::{Asked, Client, brief};
use super::stage::{N_NODES, Stage, Standing};
use crate::api::Reply;
use crate::drill::ledger::Promised;
use crate::links;
use crate::process::pause;

/// Every so many requests one is for a code that there is not.
const UNKNOWN_EVERY: usize = 8;
/// A creation that takes longer hangs.
const CREATED_WITHIN: Duration = Duration::from_secs(10);

/// Links that are in the database, and in the memory of no node: each is asked for once.
#[derive(Default)]
pub struct ColdLinks {
    from: u64,
    to: u64,
    next: [AtomicUsize; N_NODES],
}

impl ColdLinks {
    pub fn new(ranks: std::ops::Range<u64>) -> Self {
        Self { from: ranks.start, to: ranks.end, next: Default::default() }
    }

    /// How many more each node can be asked for.
    pub fn n_left(&self) -> u64 {
        let n_taken = self.next.iter().map(|next| next.load(Ordering::SeqCst)).max().unwrap_or(0);
        ((self.to - self.from) / N_NODES as u64).saturating_sub(n_taken as u64)
    }

    /// One that nobody has asked this node for, nor another one.
    pub fn take(&self, node: usize) -> Option<Promised> {
        let number = self.next[node].fetch_add(1, Ordering::SeqCst) * N_NODES + node;
        let rank = self.from + number as u64;
        (rank < self.to).then(|| Promised::new(links::code(rank), links::target(rank)))
    }
}

/// Asks one node for things that it has to ask the database for.
pub struct Stranger<'a> {
    pub stage: &'a Stage,
    pub cold: &'a ColdLinks,
    pub node: usize,
    pub key: &'a str,
    pub every: Duration,
    /// What a refusal may take while the database is gone.
    pub refused_within: Duration,
}

/// What a stranger saw.
#[derive(Default)]
pub struct Met {
    /// Links whose redirect was answered, or was lost with the node.
    pub visited: Vec<Promised>,
    pub created: Vec<Promised>,
    pub n_found: u64,
    /// Refusals of a node that has its database, and waited for it for too long.
    pub n_overdue: u64,
    pub n_refused: u64,
    pub slowest_refusal: Duration,
    pub n_created: u64,
    pub n_not_created: u64,
    pub slowest_creation: Duration,
}

impl Stranger<'_> {
    pub fn look_for_links(&self) -> Met {
        let mut met = Met::default();
        let mut client = self.client("");
        let mut due = Instant::now();
        for n in 0.. {
            if !self.wait(&mut due) {
                break;
            }
            if !self.stage.nodes[self.node].is_in() {
                continue;
            }
            if n % UNKNOWN_EVERY == UNKNOWN_EVERY - 1 {
                self.look_for_none(n, &mut client, &mut met);
                continue;
            }
            let Some(link) = self.cold.take(self.node) else {
                self.stage.deviate("there are too few links that nobody has asked for");
                break;
            };
            self.look_for(link, &mut client, &mut met);
        }
        met
    }

    fn look_for(&self, mut link: Promised, client: &mut Client, met: &mut Met) {
        let excuse = Excuse::before(self);
        match client.get(&link.code) {
            Asked::Answered(reply, _) if leads_to(&reply, &link.destination) => {
                met.n_found += 1;
                link.n_acked = 1;
                met.visited.push(link);
            }
            Asked::Answered(reply, took) if reply.status == 503 && excuse.store(self) => {
                self.note_refusal(took, met);
            }
            Asked::Answered(reply, _) if reply.status == 503 => met.n_overdue += 1,
            Asked::Answered(reply, took) => {
                let reply = brief(&reply);
                self.deviate(&format!("a link in the database is answered {reply} after {took:?}"));
            }
            Asked::Refused if excuse.standing(self) != Standing::Up => (),
            Asked::Broken(_) if excuse.standing(self) == Standing::Killed => {
                link.n_in_flight = 1;
                met.visited.push(link);
            }
            failed => self.deviate(&format!("a link in the database: {failed}")),
        }
    }

    fn look_for_none(&self, n: usize, client: &mut Client, met: &mut Met) {
        let excuse = Excuse::before(self);
        match client.get(&format!("no-such-link-{n}-{}", self.node)) {
            Asked::Answered(reply, _) if reply.status == 404 => (),
            Asked::Answered(reply, took) if reply.status == 503 && excuse.store(self) => {
                self.note_refusal(took, met);
            }
            Asked::Answered(reply, _) if reply.status == 503 => met.n_overdue += 1,
            Asked::Answered(reply, _) => {
                self.deviate(&format!("an unknown code is answered {}", brief(&reply)));
            }
            _ if excuse.standing(self) != Standing::Up => (),
            failed => self.deviate(&format!("an unknown code: {failed}")),
        }
    }

    fn note_refusal(&self, took: Duration, met: &mut Met) {
        met.n_refused += 1;
        met.slowest_refusal = met.slowest_refusal.max(took);
        if took > self.refused_within {
            self.deviate(&format!("\"come back later\" took {took:?}"));
        }
    }

    pub fn create(&self) -> Met {
        let mut met = Met::default();
        let mut client = self.client(self.key);
        let mut due = Instant::now();
        for n in 0.. {
            if !self.wait(&mut due) {
                break;
            }
            if !self.stage.nodes[self.node].is_in() {
                continue;
            }
            let folder = std::process::id();
            let destination = format!("https://www.example.com/{folder}/{}/{n}", self.node);
            let excuse = Excuse::before(self);
            match create(&mut client, &destination) {
                Created::Made(link, took) => {
                    met.n_created += 1;
                    met.slowest_creation = met.slowest_creation.max(took);
                    met.created.push(link);
                }
                Created::Unavailable(took) if excuse.store(self) => {
                    met.n_not_created += 1;
                    met.slowest_creation = met.slowest_creation.max(took);
                }
                Created::Unavailable(_) => met.n_overdue += 1,
                Created::Failed(_) if excuse.standing(self) != Standing::Up => (),
                failed => self.deviate(&format!("a creation: {failed}")),
            }
        }
        if met.slowest_creation > CREATED_WITHIN {
            self.deviate(&format!("a creation took {:?}", met.slowest_creation));
        }
        met
    }

    fn client(&self, key: &str) -> Client {
        Client::new(self.stage.nodes[self.node].public, key)
    }

    /// Until it is time again; false when the trial is over.
    fn wait(&self, due: &mut Instant) -> bool {
        pause(due.saturating_duration_since(Instant::now()));
        *due = (*due + self.every).max(Instant::now());
        !self.stage.is_over()
    }

    fn deviate(&self, text: &str) {
        self.stage.deviate(format!("node {}: {text}", self.node));
    }
}

/// What a node may be excused with: how it stood before or stands after it was asked.
struct Excuse {
    standing: Standing,
    without_store: bool,
}

impl Excuse {
    fn before(stranger: &Stranger<'_>) -> Self {
        let node = &stranger.stage.nodes[stranger.node];
        Self { standing: node.standing(), without_store: node.is_without_store() }
    }

    fn standing(&self, stranger: &Stranger<'_>) -> Standing {
        let now = stranger.stage.nodes[stranger.node].standing();
        if self.standing == Standing::Up { now } else { self.standing }
    }

    fn store(&self, stranger: &Stranger<'_>) -> bool {
        self.without_store || stranger.stage.nodes[stranger.node].is_without_store()
    }
}

/// How a creation ended.
pub enum Created {
    Made(Promised, Duration),
    /// The refusal that the contract knows.
    Unavailable(Duration),
    Failed(String),
}

impl fmt::Display for Created {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Made(link, took) => write!(out, "/{} after {took:?}", link.code),
            Self::Unavailable(took) => write!(out, "\"unavailable\" after {took:?}"),
            Self::Failed(cause) => write!(out, "{cause}"),
        }
    }
}

/// Asks for a link.
pub fn create(client: &mut Client, destination: &str) -> Created {
    let body = json!({ "destination": destination }).to_string();
    let (reply, took) = match client.ask("POST", "/api/v1/links", &body) {
        Asked::Answered(reply, took) => (reply, took),
        failed => return Created::Failed(failed.to_string()),
    };
    let word: Value = serde_json::from_str(&reply.body).unwrap_or_default();
    match (reply.status, word["code"].as_str()) {
        (201, Some(code)) => {
            Created::Made(Promised::new(code.to_owned(), destination.to_owned()), took)
        }
        (503, Some("unavailable")) => Created::Unavailable(took),
        _ => Created::Failed(brief(&reply)),
    }
}

/// Whether an answer is the redirect that it should be.
pub fn leads_to(reply: &Reply, destination: &str) -> bool {
    reply.status == 302 && reply.location.as_deref() == Some(destination)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_nodes_are_asked_for_the_same_link_and_none_twice() {
        let cold = ColdLinks::new(10..19);
        let mut codes = Vec::new();
        for node in [0, 0, 1, 2, 1, 2, 1] {
            codes.extend(cold.take(node).map(|link| link.code));
        }
        assert_eq!((codes.len(), cold.n_left()), (7, 0));
        codes.sort();
        codes.dedup();
        assert_eq!(codes.len(), 7);
        assert!(cold.take(1).is_none());
    }
}
