//! While something is done to a server: what creators are answered, what its probes say.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::ledger::Promised;
use crate::api::{Api, Reply};
use crate::process::pause;
use crate::shunt::Shunt;

/// A creation that takes longer hangs.
const CREATED_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Links asked for through the API, and the answers by phase of the drill.
#[derive(Default)]
pub struct Creations {
    phase: AtomicUsize,
    made: Mutex<Vec<Promised>>,
    /// Answers to what was asked and answered in the present phase.
    tally: Mutex<Tally>,
    deviations: Mutex<Vec<String>>,
}

/// Answers of one phase.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub n_made: u64,
    pub n_refused: u64,
}

impl Creations {
    /// Links whose 201 has arrived.
    pub fn made(&self) -> &Mutex<Vec<Promised>> {
        &self.made
    }

    pub fn into_deviations(self) -> Vec<String> {
        self.deviations.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates links until it is told to stop or gets no answer. A refusal must be the one that
    /// the contract knows.
    pub fn create_until(&self, stop: &AtomicBool, public: SocketAddr, key: &str, folder: &str) {
        let mut api = Api::with_key(public, key);
        for n in 0_u64.. {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let destination = format!("{folder}/{n}");
            let body = json!({ "destination": destination }).to_string();
            let (phase, asked) = (self.phase.load(Ordering::SeqCst), Instant::now());
            let reply = match api.post("/api/v1/links", &body) {
                Ok(reply) => reply,
                Err(error) => return self.deviate(format!("a creation got no answer: {error:#}")),
            };
            if asked.elapsed() > CREATED_WITHIN {
                self.deviate(format!("a creation took {:?}", asked.elapsed()));
            }
            self.note(phase, &destination, &reply);
            // Some hundred links per second are enough to check.
            pause(Duration::from_millis(5));
        }
    }

    fn note(&self, phase: usize, destination: &str, reply: &Reply) {
        let body: Value = serde_json::from_str(&reply.body).unwrap_or_default();
        let code = body["code"].as_str().unwrap_or_default();
        let mut tally = lock(&self.tally);
        // What was asked before the phase began or is answered after it says nothing about it.
        let same_phase = u64::from(phase == self.phase.load(Ordering::SeqCst));
        match reply.status {
            201 if !code.is_empty() => {
                tally.n_made += same_phase;
                let promised = Promised::new(code.to_owned(), destination.to_owned());
                lock(&self.made).push(promised);
            }
            503 if code == "unavailable" => tally.n_refused += same_phase,
            status => self.deviate(format!("a creation is answered {status}: {}", reply.body)),
        }
    }

    fn deviate(&self, text: String) {
        lock(&self.deviations).push(text);
    }
}

/// What whoever breaks the disk can see meanwhile.
pub struct Watch<'a> {
    public: SocketAddr,
    ops: SocketAddr,
    creations: &'a Creations,
}

/// `/healthz`, in words.
#[derive(Clone, Debug)]
pub struct Health {
    pub status: String,
    pub store: String,
    pub journal: String,
    text: String,
}

impl<'a> Watch<'a> {
    pub fn new(shunt: &Shunt, creations: &'a Creations) -> Self {
        Self { public: shunt.public, ops: shunt.ops, creations }
    }

    pub fn public(&self) -> SocketAddr {
        self.public
    }

    /// Begins a phase: what is counted starts at zero.
    pub fn begin(&self) {
        let mut tally = lock(&self.creations.tally);
        self.creations.phase.fetch_add(1, Ordering::SeqCst);
        *tally = Tally::default();
    }

    /// What creators were answered in this phase.
    pub fn creations(&self) -> Tally {
        *lock(&self.creations.tally)
    }

    pub fn deviate(&self, text: impl Into<String>) {
        self.creations.deviate(text.into());
    }

    pub fn health(&self) -> Result<Health> {
        let reply = Api::ops(self.ops).get("/healthz")?;
        let body: Value = serde_json::from_str(&reply.body).context("understand /healthz")?;
        let word = |value: &Value| value.as_str().unwrap_or("unknown").to_owned();
        let health = Health {
            status: word(&body["status"]),
            store: word(&body["checks"]["store"][0]["status"]),
            journal: word(&body["checks"]["journal"][0]["status"]),
            text: reply.body,
        };
        let fits = (reply.status == 503) == (health.status == "fail");
        ensure!(fits, "/healthz answers {} {}", reply.status, health.text);
        Ok(health)
    }

    /// Whether the server takes visitors, as a load balancer would ask.
    pub fn ready(&self) -> Result<bool> {
        Ok(Api::ops(self.ops).get("/readyz")?.status == 200)
    }

    /// For `span`: the node stays ready, because it redirects.
    pub fn hold(&self, span: Duration) -> Result<()> {
        let until = Instant::now() + span;
        while Instant::now() < until {
            if !self.ready()? {
                self.deviate("a node that redirects said it was not ready");
                return Ok(());
            }
            pause(LOOK_EVERY);
        }
        Ok(())
    }

    /// Waits until `done`; answers how long that took, or nothing when it was too long.
    pub fn wait(
        &self,
        within: Duration,
        mut done: impl FnMut() -> Result<bool>,
    ) -> Result<Option<Duration>> {
        let began = Instant::now();
        while !done()? {
            if began.elapsed() > within {
                return Ok(None);
            }
            pause(LOOK_EVERY);
        }
        Ok(Some(began.elapsed()))
    }

    /// After the fault has gone: links are made again and every probe is content, by itself.
    pub fn recover(&self, within: Duration) -> Result<Option<Duration>> {
        self.begin();
        let took = self
            .wait(within, || Ok(self.creations().n_made > 0 && self.health()?.status == "pass"))?;
        if took.is_none() {
            let (creations, health) = (self.creations(), self.health()?);
            self.deviate(format!("not well {within:?} later: {creations:?}, {}", health.text));
        }
        Ok(took)
    }
}

/// A thread that panicked left nothing half done in these.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
