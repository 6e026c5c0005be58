//! A blocking client for single calls: one keep-alive connection, one call at a time.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::answer::{Parsed, parse, parse_bodiless};
use crate::shunt::HOST;

/// Longest wait for one answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// An answer with its body as text.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub location: Option<String>,
    pub body: String,
}

/// Calls one listener, with a key or without.
#[derive(Debug)]
pub struct Api {
    addr: SocketAddr,
    key: Option<String>,
    client: Option<String>,
    answer_within: Duration,
    stream: Option<TcpStream>,
}

impl Api {
    pub fn ops(addr: SocketAddr) -> Self {
        Self::with_key(addr, "")
    }

    pub fn with_key(addr: SocketAddr, key: &str) -> Self {
        let key = (!key.is_empty()).then(|| key.to_owned());
        Self { addr, key, client: None, answer_within: ANSWER_WITHIN, stream: None }
    }

    /// With a longest wait for one answer.
    pub fn within(mut self, span: Duration) -> Self {
        self.answer_within = span;
        self
    }

    pub fn get(&mut self, target: &str) -> Result<Reply> {
        self.call("GET", target, "")
    }

    pub fn head(&mut self, target: &str) -> Result<Reply> {
        self.call("HEAD", target, "")
    }

    pub fn post(&mut self, target: &str, json: &str) -> Result<Reply> {
        self.call("POST", target, json)
    }

    /// In the name of a client, for a server that trusts this machine as a proxy.
    pub fn post_from(&mut self, client: &str, target: &str, json: &str) -> Result<Reply> {
        self.client = Some(client.to_owned());
        let reply = self.call("POST", target, json);
        self.client = None;
        reply
    }

    /// Makes sure of a connection, as far as anybody can know: one that the server has closed is
    /// made anew.
    pub fn connect(&mut self) -> Result<()> {
        if self.stream.as_ref().is_some_and(is_over) {
            self.stream = None;
        }
        if self.stream.is_none() {
            let stream = TcpStream::connect(self.addr)
                .with_context(|| format!("connect to {}", self.addr))?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(self.answer_within))?;
            self.stream = Some(stream);
        }
        Ok(())
    }

    /// Asks once, and never again when that fails.
    pub fn once(&mut self, method: &str, target: &str, body: &str) -> Result<Reply> {
        self.attempt(method, target, body)
    }

    fn call(&mut self, method: &str, target: &str, body: &str) -> Result<Reply> {
        let reused = self.stream.is_some();
        match self.attempt(method, target, body) {
            // An idle connection may have been closed meanwhile; that says nothing of the server.
            Err(_) if reused && method != "POST" => {
                self.stream = None;
                self.attempt(method, target, body)
            }
            tried => tried,
        }
    }

    fn attempt(&mut self, method: &str, target: &str, body: &str) -> Result<Reply> {
        if self.stream.is_none() {
            self.connect()?;
        }
        let mut stream = self.stream.take().context("there is no connection")?;
        let mut request = format!("{method} {target} HTTP/1.1\r\nHost: {HOST}\r\n");
        if let Some(key) = &self.key {
            request.push_str(&format!("X-API-Key: {key}\r\n"));
        }
        if let Some(client) = &self.client {
            request.push_str(&format!("X-Forwarded-For: {client}\r\n"));
        }
        if !body.is_empty() {
            let length = body.len();
            request.push_str(&format!(
                "Content-Type: application/json\r\nContent-Length: {length}\r\n"
            ));
        }
        request.push_str("\r\n");
        request.push_str(body);
        stream.write_all(request.as_bytes()).context("send")?;

        let mut received = Vec::new();
        let mut chunk = [0; 16 * 1_024];
        loop {
            let parsed = match method {
                "HEAD" => parse_bodiless(&received),
                _ => parse(&received),
            };
            match parsed {
                Parsed::Complete { answer, body, .. } => {
                    if !answer.closes {
                        self.stream = Some(stream);
                    }
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    return Ok(Reply {
                        status: answer.status,
                        location: answer.location.map(text),
                        body: text(&received[body]),
                    });
                }
                Parsed::Malformed => bail!("the answer to {method} {target} is malformed"),
                Parsed::Partial => (),
            }
            match stream.read(&mut chunk).context("receive")? {
                0 => bail!("the connection closed before {method} {target} was answered"),
                n => received.extend_from_slice(&chunk[..n]),
            }
        }
    }
}

/// Whether the server has closed an idle connection.
fn is_over(stream: &TcpStream) -> bool {
    let peeked = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut [0]));
    let is_waiting = matches!(peeked, Err(error) if error.kind() == ErrorKind::WouldBlock);
    !is_waiting || stream.set_nonblocking(false).is_err()
}
