//! The load of a drill: redirects that are noted one by one, and links created meanwhile.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;

use super::kill::{N_HOT, create};
use super::ledger::{Ledger, Promised};
use crate::answer::Answer;
use crate::api::Api;
use crate::client::Workload;
use crate::process::pause;
use crate::rng::Rng;
use crate::shunt::HOST;
use crate::tape::{header, render_get};

/// Half of the redirects go to this many of the newest links.
const N_NEWEST: usize = 64;

/// The redirect load: half to the links of all rounds, half to the newest ones.
pub struct Asking<'a> {
    ledger: &'a mut Ledger,
    created: &'a Mutex<Vec<Promised>>,
    round: usize,
    rng: Rng,
    n_asked: u64,
}

impl<'a> Asking<'a> {
    pub fn new(
        ledger: &'a mut Ledger,
        created: &'a Mutex<Vec<Promised>>,
        round: usize,
        seed: u64,
    ) -> Self {
        Self { ledger, created, round, rng: Rng::new(seed), n_asked: 0 }
    }

    /// Links become part of the load as soon as their 201 has arrived.
    pub fn take_new_links(&mut self) {
        let mut created = self.created.lock().unwrap_or_else(PoisonError::into_inner);
        self.ledger.links.append(&mut created);
    }
}

impl Workload for Asking<'_> {
    fn next(&mut self, out: &mut Vec<u8>) -> Option<u32> {
        if self.n_asked.is_multiple_of(32) {
            self.take_new_links();
        }
        self.n_asked += 1;
        let n_links = self.ledger.links.len();
        let index = if self.rng.below(2) == 0 {
            self.rng.below(N_HOT)
        } else {
            n_links - 1 - self.rng.below(N_NEWEST.min(n_links))
        };
        let link = &mut self.ledger.links[index];
        link.touched_in = self.round;
        render_get(out, &link.code, HOST);
        header(out, "User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Firefox/143.0");
        out.extend_from_slice(b"\r\n");
        Some(index as u32)
    }

    fn answered(&mut self, index: u32, answer: &Answer<'_>) {
        let link = &mut self.ledger.links[index as usize];
        if link.kept_by(answer) {
            link.n_acked += 1;
            return;
        }
        let text = format!("/{}: under load answered {}", link.code, answer.status);
        self.ledger.deviations.add(text);
    }

    fn unanswered(&mut self, index: u32) {
        self.ledger.links[index as usize].n_in_flight += 1;
    }
}

/// Holds the server to the targets of these links. HEAD is not counted, so the check does not
/// disturb what is checked.
pub fn check_targets(
    ledger: &mut Ledger,
    public: SocketAddr,
    indices: impl Iterator<Item = usize>,
) -> Result<()> {
    let mut api = Api::with_key(public, "");
    for index in indices {
        let link = &ledger.links[index];
        let reply = api.head(&format!("/{}", link.code))?;
        let target = reply.location.as_deref();
        if reply.status != 302 || target != Some(&link.destination) {
            ledger.deviations.add(format!(
                "/{}: promised {}, answered {} {}",
                link.code,
                link.destination,
                reply.status,
                target.unwrap_or("without a target"),
            ));
        }
    }
    Ok(())
}

/// Somebody who creates links while others use them.
pub struct Creator<'a> {
    pub public: SocketAddr,
    pub key: &'a str,
    pub round: usize,
    pub number: usize,
}

impl Creator<'_> {
    /// Creates links until it is told to stop or the server is gone.
    pub fn create_until(&self, stop: &AtomicBool, created: &Mutex<Vec<Promised>>) {
        let mut api = Api::with_key(self.public, self.key);
        let folder = format!("https://www.example.com/drill/{}/{}", self.round, self.number);
        for n in 0_u64.. {
            let Ok(link) = create(&mut api, &format!("{folder}/{n}")) else { return };
            created.lock().unwrap_or_else(PoisonError::into_inner).push(link);
            if stop.load(Ordering::Relaxed) {
                return;
            }
            // Some hundred links per second and round are enough to check.
            pause(Duration::from_millis(2));
        }
    }
}
