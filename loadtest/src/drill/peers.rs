//! Peers that a server had better not wait for. Each is a socket that is looked at now and then.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{self, AddressFamily, SocketType};

use crate::answer::{Parsed, parse};
use crate::shunt::HOST;
use crate::tape::render_get;

/// Bytes that [`Kind::Drop`] reads at a time.
const DROP_BYTES: usize = 64;
/// Writes of one peer at a time.
const WRITES_MAX: usize = 16;
const RECEIVE_BYTES: usize = 4_096;
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// What a peer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Idle,
    /// Sends a head, a byte at a time, without end.
    Head,
    /// Asks as much as it can, and reads nothing.
    Deaf,
    /// Asks as much as it can, and reads a few bytes at a time.
    Drop,
}

#[derive(Debug)]
pub struct Peer {
    stream: TcpStream,
    pub kind: Kind,
    /// What it asks for, as often as it asks.
    requests: Vec<u8>,
    n_sent: usize,
    /// When its deadline began.
    since: Instant,
    /// When the server had enough of it.
    pub gone_after: Option<Duration>,
}

impl Peer {
    pub fn fresh(addr: SocketAddr, kind: Kind) -> Result<Self> {
        let socket = net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
        // Who does not read is to be noticed soon: with large buffers, filling them would be the
        // greater part of the drill.
        set_socket_recv_buffer_size(&socket, RECEIVE_BYTES)?;
        net::connect(&socket, &addr).context("connect a slow peer")?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let requests = b"GET /slow HTTP/1.1\r\nX-Slow: ".to_vec();
        let since = Instant::now();
        Ok(Self { stream, kind, requests, n_sent: 0, since, gone_after: None })
    }

    /// A connection that has had one answer.
    pub fn after(addr: SocketAddr, target: &str, kind: Kind) -> Result<Self> {
        let mut peer = Self::fresh(addr, Kind::Idle)?.asking(target);
        if !peer.is_answered(ANSWER_WITHIN)? {
            bail!("{target} was not answered");
        }
        let fresh = Self { kind, since: Instant::now(), ..peer };
        Ok(Self { requests: b"GET /slow HTTP/1.1\r\nX-Slow: ".to_vec(), n_sent: 0, ..fresh })
    }

    /// The same, to ask for this.
    pub fn asking(mut self, target: &str) -> Self {
        let mut request = Vec::new();
        render_get(&mut request, target.trim_start_matches('/'), HOST);
        request.extend_from_slice(b"\r\n");
        let n_times = if matches!(self.kind, Kind::Deaf | Kind::Drop) { 100 } else { 1 };
        self.requests = request.repeat(n_times);
        self
    }

    /// Asks once, and waits for a whole answer.
    pub fn is_answered(&mut self, within: Duration) -> Result<bool> {
        self.stream.set_nonblocking(false)?;
        self.stream.set_read_timeout(Some(within))?;
        if self.n_sent == 0 {
            self.stream.write_all(&self.requests).context("ask")?;
            self.n_sent = self.requests.len();
        }
        let mut received = Vec::new();
        let mut chunk = [0; 4_096];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => bail!("closed instead of answered"),
                Ok(n) => received.extend_from_slice(&chunk[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error).context("wait for an answer"),
            }
            match parse(&received) {
                Parsed::Complete { .. } => break,
                Parsed::Partial => (),
                Parsed::Malformed => bail!("the answer is malformed"),
            }
        }
        self.stream.set_nonblocking(true)?;
        Ok(true)
    }

    /// Goes on with what it does; true when the server has ended the connection.
    pub fn is_gone(&mut self) -> bool {
        if self.gone_after.is_none() && !self.goes_on() {
            self.gone_after = Some(self.since.elapsed());
        }
        self.gone_after.is_some()
    }

    /// How long its deadline has been running.
    pub fn waited(&self) -> Duration {
        self.since.elapsed()
    }

    fn goes_on(&mut self) -> bool {
        match self.kind {
            Kind::Idle => self.reads(DROP_BYTES),
            Kind::Head => self.sends_a_byte() && self.reads(DROP_BYTES),
            Kind::Deaf => self.asks(),
            Kind::Drop => self.asks() && self.reads(DROP_BYTES),
        }
    }

    fn reads(&mut self, n_bytes: usize) -> bool {
        let mut chunk = [0; DROP_BYTES];
        match self.stream.read(&mut chunk[..n_bytes]) {
            Ok(n) => n > 0,
            Err(error) => is_passing(&error),
        }
    }

    fn sends_a_byte(&mut self) -> bool {
        let byte = self.requests.get(self.n_sent).copied().unwrap_or(b'a');
        match self.stream.write_all(&[byte]) {
            Ok(()) => {
                if self.n_sent == 0 {
                    self.since = Instant::now();
                }
                self.n_sent += 1;
                true
            }
            Err(error) => is_passing(&error),
        }
    }

    /// Sends what the server takes. Its deadline begins when that is nothing.
    fn asks(&mut self) -> bool {
        // The others want to be looked at too.
        for _ in 0..WRITES_MAX {
            let at = self.n_sent % self.requests.len();
            match self.stream.write(&self.requests[at..]) {
                Ok(n) => {
                    self.n_sent += n;
                    self.since = Instant::now();
                }
                Err(error) => return is_passing(&error),
            }
        }
        true
    }
}

fn is_passing(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
