//! A client of one node that asks once, and knows how that ended.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::api::{Api, Reply};

/// Longer than anything may take: a request that gets no answer in this time hangs.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// How a request ended.
pub enum Asked {
    Answered(Reply, Duration),
    /// Nobody took the connection, so nothing was sent.
    Refused,
    /// The connection ended, or nothing came.
    Broken(String),
}

impl fmt::Display for Asked {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered(reply, took) => write!(out, "{} after {took:?}", brief(reply)),
            Self::Refused => write!(out, "the connection was refused"),
            Self::Broken(cause) => write!(out, "{cause}"),
        }
    }
}

pub struct Client {
    api: Api,
}

impl Client {
    pub fn new(addr: SocketAddr, key: &str) -> Self {
        Self { api: Api::with_key(addr, key).within(ANSWER_WITHIN) }
    }

    pub fn ask(&mut self, method: &str, target: &str, body: &str) -> Asked {
        let asked = Instant::now();
        if self.api.connect().is_err() {
            return Asked::Refused;
        }
        match self.api.once(method, target, body) {
            Ok(reply) => Asked::Answered(reply, asked.elapsed()),
            Err(error) => Asked::Broken(format!("{error:#} after {:?}", asked.elapsed())),
        }
    }

    pub fn get(&mut self, code: &str) -> Asked {
        self.ask("GET", &format!("/{code}"), "")
    }
}

/// An answer in a line.
pub fn brief(reply: &Reply) -> String {
    let location = reply.location.as_deref().unwrap_or("no target");
    // Pages have many lines, and say in none of them what the status does not.
    let body: String = match reply.body.starts_with('{') {
        true => reply.body.chars().take(240).collect(),
        false => "and a page".to_owned(),
    };
    format!("{} {location} {body}", reply.status)
}
