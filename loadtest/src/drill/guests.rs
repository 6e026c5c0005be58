//! People who log in, all at once and again and again: each on a connection of its own, from an
//! address of its own, and after the pause that the server asks for.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::ledger::Deviations;
use crate::answer::{Parsed, parse};
use crate::rng::Rng;
use crate::shunt::HOST;

/// What everybody waits after an answer that asks for no other pause, and the longest.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long answers are awaited after the last login was sent.
const DRAIN_MAX: Duration = Duration::from_secs(15);
/// What a login may be answered.
const ALLOWED: [u16; 4] = [200, 401, 429, 503];

pub const PASSWORD: &str = "correct Horse battery 9";

/// The address of an account of the drill.
pub fn email(number: usize) -> String {
    format!("guest-{number}@example.com")
}

/// A POST with a JSON body in the name of a client, each number another network.
pub fn render_post(out: &mut Vec<u8>, path: &str, client: u64, body: &str) {
    let (high, low) = ((client >> 8) & 0xff, client & 0xff);
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-For: 11.{high}.{low}.1\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(body.as_bytes());
}

/// What they were answered.
#[derive(Debug, Default)]
pub struct Welcome {
    pub statuses: BTreeMap<u16, u64>,
    /// Most that waited for an answer at one moment.
    pub most_waiting: usize,
}

impl Welcome {
    pub fn n(&self, status: u16) -> u64 {
        self.statuses.get(&status).copied().unwrap_or(0)
    }

    /// Adds up phases.
    pub fn add(&mut self, other: Self) {
        for (status, n) in other.statuses {
            *self.statuses.entry(status).or_default() += n;
        }
        self.most_waiting = self.most_waiting.max(other.most_waiting);
    }
}

/// All guests. They keep their connections from one phase to the next.
pub struct Guests {
    addr: SocketAddr,
    n_accounts: usize,
    rng: Rng,
    n_tries: u64,
    guests: Vec<Guest>,
    poll: Poll,
}

struct Guest {
    stream: TcpStream,
    received: Vec<u8>,
    state: State,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Waits,
    Pauses { until: Instant },
}

impl Guests {
    pub fn connect(addr: SocketAddr, n: usize, n_accounts: usize, seed: u64) -> Result<Self> {
        let poll = Poll::new().context("open a poll")?;
        let mut guests = Vec::with_capacity(n);
        for index in 0..n {
            let stream = connect(&poll, addr, index)?;
            let state = State::Pauses { until: Instant::now() };
            guests.push(Guest { stream, received: Vec::new(), state });
        }
        Ok(Self { addr, n_accounts, rng: Rng::new(seed), n_tries: 0, guests, poll })
    }

    /// Everybody logs in at once, and again after each answer, until `stop`; then the last answers
    /// are awaited.
    pub fn log_in(&mut self, stop: &AtomicBool, deviations: &mut Deviations) -> Result<Welcome> {
        let mut welcome = Welcome::default();
        let mut events = Events::with_capacity(1_024);
        let mut drain_until = None;
        for guest in &mut self.guests {
            guest.state = State::Pauses { until: Instant::now() };
        }
        loop {
            let now = Instant::now();
            if stop.load(Ordering::Relaxed) {
                let until = *drain_until.get_or_insert(now + DRAIN_MAX);
                let n_waiting = self.n_waiting();
                if n_waiting == 0 {
                    return Ok(welcome);
                }
                if now > until {
                    deviations.add(format!("{n_waiting} logins were not answered at all"));
                    return Ok(welcome);
                }
            } else {
                self.send_due(now)?;
            }
            welcome.most_waiting = welcome.most_waiting.max(self.n_waiting());
            self.poll.poll(&mut events, Some(LOOK_EVERY)).context("wait for the server")?;
            for event in &events {
                self.receive(event.token().0, &mut welcome, deviations)?;
            }
        }
    }

    fn n_waiting(&self) -> usize {
        self.guests.iter().filter(|guest| guest.state == State::Waits).count()
    }

    fn send_due(&mut self, now: Instant) -> Result<()> {
        for index in 0..self.guests.len() {
            if !matches!(self.guests[index].state, State::Pauses { until } if until <= now) {
                continue;
            }
            let request = self.request();
            // The server may have closed a connection that paused.
            if self.guests[index].stream.write_all(&request).is_err() {
                self.reconnect(index)?;
                continue;
            }
            self.guests[index].state = State::Waits;
        }
        Ok(())
    }

    /// Half of them are right; of the others, half name an account that there is not.
    fn request(&mut self) -> Vec<u8> {
        self.n_tries += 1;
        let account = self.rng.below(self.n_accounts);
        let (account, password) = match self.rng.below(4) {
            0 | 1 => (account, PASSWORD),
            2 => (account, "wrong Horse battery 9"),
            _ => (self.n_accounts + account, PASSWORD),
        };
        let email = email(account);
        let body = serde_json::json!({ "email": email, "password": password }).to_string();
        let mut request = Vec::new();
        render_post(&mut request, "/api/v1/auth/login", self.n_tries, &body);
        request
    }

    fn receive(
        &mut self,
        index: usize,
        welcome: &mut Welcome,
        deviations: &mut Deviations,
    ) -> Result<()> {
        let mut chunk = [0; 4_096];
        loop {
            let guest = &mut self.guests[index];
            match guest.stream.read(&mut chunk) {
                Ok(0) => break,
                Ok(n) => guest.received.extend_from_slice(&chunk[..n]),
                Err(error) if error.kind() == ErrorKind::Interrupted => (),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(_broken) => break,
            }
            let (status, body, closes, pause) = match parse(&guest.received) {
                Parsed::Partial => continue,
                Parsed::Malformed => break,
                Parsed::Complete { answer, body, .. } => {
                    let pause = pause_asked(&guest.received[..body.start]);
                    let body = String::from_utf8_lossy(&guest.received[body]).into_owned();
                    (answer.status, body, answer.closes, pause)
                }
            };
            guest.received.clear();
            guest.state = State::Pauses { until: Instant::now() + pause };
            *welcome.statuses.entry(status).or_default() += 1;
            if !ALLOWED.contains(&status) {
                deviations.add(format!("a login is answered {status}: {body}"));
            }
            if closes {
                return self.reconnect(index);
            }
        }
        if self.guests[index].state == State::Waits {
            deviations.add("a connection broke before a login was answered".to_owned());
        }
        self.reconnect(index)
    }

    fn reconnect(&mut self, index: usize) -> Result<()> {
        let stream = connect(&self.poll, self.addr, index)?;
        let state = State::Pauses { until: Instant::now() + PAUSE };
        self.guests[index] = Guest { stream, received: Vec::new(), state };
        Ok(())
    }
}

/// What `Retry-After` says, in bounds.
fn pause_asked(head: &[u8]) -> Duration {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let value = head.lines().find_map(|line| line.strip_prefix("retry-after:"));
    let seconds = value.and_then(|value| value.trim().parse().ok()).map(Duration::from_secs);
    seconds.map_or(PAUSE, |pause| pause.clamp(PAUSE, PAUSE_MAX))
}

fn connect(poll: &Poll, addr: SocketAddr, index: usize) -> Result<TcpStream> {
    let stream = std::net::TcpStream::connect(addr).context("connect a guest")?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    let mut stream = TcpStream::from_std(stream);
    poll.registry().register(&mut stream, Token(index), Interest::READABLE)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_login_comes_from_a_network_of_its_own() {
        let client = |number| {
            let mut out = Vec::new();
            render_post(&mut out, "/x", number, "{}");
            let text = String::from_utf8_lossy(&out).into_owned();
            assert!(text.ends_with("Content-Length: 2\r\n\r\n{}"), "{text}");
            text.lines().find(|line| line.starts_with("X-Forwarded-For")).map(str::to_owned)
        };
        assert_eq!(client(1).as_deref(), Some("X-Forwarded-For: 11.0.1.1"));
        assert_eq!(client(0x01_02_03).as_deref(), Some("X-Forwarded-For: 11.2.3.1"));
    }

    #[test]
    fn a_pause_is_as_long_as_the_server_asks_for_within_bounds() {
        for (line, seconds) in [("Retry-After: 3", 3), ("retry-after:900", 5), ("x: 3", 1)] {
            let head = format!("HTTP/1.1 503 Unavailable\r\n{line}\r\n\r\n");
            assert_eq!(pause_asked(head.as_bytes()), Duration::from_secs(seconds));
        }
    }
}
