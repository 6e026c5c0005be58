//! The load: many connections, one thread, no waiting on any single one.
//!
//! Closed loop: every connection asks again as soon as it is answered; this finds the throughput.
//! Open loop: requests are due at fixed moments whether or not the server keeps up, and latency
//! counts from the moment a request was due, so that a stall is charged to everyone it delays.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::answer::{Answer, Parsed, parse};

/// Connections that may fail during one run before it is given up.
const FAILURES_MAX: u64 = 10_000;
/// How long answers are awaited after the last request was sent.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// Longest latency that is told apart from longer ones: one minute.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
const READ_BYTES: usize = 64 * 1_024;

/// Where requests come from and answers go to.
pub trait Workload {
    /// Appends the next request to `out` and names it; `None` ends the run.
    fn next(&mut self, out: &mut Vec<u8>) -> Option<u32>;

    /// The request named `token` got this answer.
    fn answered(&mut self, token: u32, answer: &Answer<'_>);

    /// The request named `token` was sent, at least in part, and its connection broke.
    fn unanswered(&mut self, _token: u32) {}
}

/// When the next request is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// At once when an earlier one is answered.
    Closed,
    /// So many per second, whatever happens.
    Open(f64),
}

/// How hard, and for how long.
#[derive(Clone, Debug)]
pub struct Load {
    pub addr: SocketAddr,
    pub connections: usize,
    /// Requests in flight per connection.
    pub depth: usize,
    pub pace: Pace,
    /// Time before anything is counted.
    pub warmup: Duration,
    /// Time in which answers are counted.
    pub duration: Duration,
    /// Whether a broken connection is made anew; if not, the run ends with the last one.
    pub reconnect: bool,
    /// Whether to ask the kernel for news without ever sleeping. The server then never pays for
    /// waking this thread.
    pub spin: bool,
}

/// What came back within [`Load::duration`].
#[derive(Debug)]
pub struct Tally {
    pub n_requests: u64,
    pub seconds: f64,
    /// Answers by status.
    pub statuses: Vec<u64>,
    /// Requests that were due and could not be sent, because the server was too far behind.
    pub n_unsent: u64,
    /// Connections refused, broken or closed within an answer, and answers not understood.
    pub n_errors: u64,
    /// Nanoseconds from sending (closed) or from being due (open) to the end of the answer.
    pub latency: Histogram<u64>,
    /// Share of one core that this thread used.
    pub client_busy: f64,
}

impl Tally {
    pub fn rps(&self) -> f64 {
        if self.seconds > 0.0 { self.n_requests as f64 / self.seconds } else { 0.0 }
    }

    pub fn n_status(&self, status: u16) -> u64 {
        self.statuses.get(usize::from(status)).copied().unwrap_or(0)
    }
}

/// Runs until the time is over, the workload ends, every connection is gone, or `stop` is set.
pub fn run<W: Workload>(load: &Load, workload: &mut W, stop: &AtomicBool) -> Result<Tally> {
    ensure!(load.connections > 0 && load.depth > 0, "no connections, no load");
    if let Pace::Open(rate) = load.pace {
        ensure!(rate > 0.0, "an open loop needs a rate above zero");
    }
    let mut engine = Engine::connect(load, workload)?;
    engine.run(stop)?;
    Ok(engine.finish())
}

struct Sent {
    token: u32,
    /// Nanoseconds since the start.
    at: u64,
}

struct Connection {
    stream: TcpStream,
    /// What the kernel has not taken yet.
    out: Vec<u8>,
    /// The beginning of an answer whose end has not arrived.
    partial: Vec<u8>,
    in_flight: VecDeque<Sent>,
    alive: bool,
}

struct Engine<'a, W> {
    load: &'a Load,
    workload: &'a mut W,
    poll: Poll,
    connections: Vec<Connection>,
    /// Connections with room for a request; used by the open loop only.
    idle: Vec<usize>,
    n_alive: usize,
    n_in_flight: usize,
    n_failures: u64,
    /// Requests that the open loop has sent so far.
    n_due_sent: u64,
    sending: bool,
    /// Whether the workload had no more requests.
    exhausted: bool,
    /// When sending ended, in nanoseconds since the start.
    sent_until: u64,
    started: Instant,
    cpu_at_start: Duration,
    counting_from: u64,
    counting_to: u64,
    last_answer_at: u64,
    tally: Tally,
    scratch: Vec<u8>,
}

impl<'a, W: Workload> Engine<'a, W> {
    fn connect(load: &'a Load, workload: &'a mut W) -> Result<Self> {
        let poll = Poll::new().context("open a poll")?;
        let mut connections = Vec::with_capacity(load.connections);
        for index in 0..load.connections {
            let stream = open(&poll, load.addr, index)
                .with_context(|| format!("connect to {}", load.addr))?;
            connections.push(Connection {
                stream,
                out: Vec::new(),
                partial: Vec::new(),
                in_flight: VecDeque::with_capacity(load.depth),
                alive: true,
            });
        }
        let nanos = |span: Duration| span.as_nanos().min(u128::from(u64::MAX / 4)) as u64;
        Ok(Self {
            load,
            workload,
            poll,
            idle: (0..load.connections).collect(),
            n_alive: load.connections,
            n_in_flight: 0,
            n_failures: 0,
            n_due_sent: 0,
            sending: true,
            exhausted: false,
            sent_until: u64::MAX,
            started: Instant::now(),
            cpu_at_start: thread_cpu(),
            counting_from: nanos(load.warmup),
            counting_to: nanos(load.warmup) + nanos(load.duration),
            last_answer_at: 0,
            tally: Tally {
                n_requests: 0,
                seconds: 0.0,
                statuses: vec![0; 600],
                n_unsent: 0,
                n_errors: 0,
                latency: Histogram::new_with_max(LATENCY_NS_MAX, 3)?,
                client_busy: 0.0,
            },
            scratch: vec![0; READ_BYTES],
            connections,
        })
    }

    fn run(&mut self, stop: &AtomicBool) -> Result<()> {
        let mut events = Events::with_capacity(1_024);
        if self.load.pace == Pace::Closed {
            for index in 0..self.connections.len() {
                self.refill(index, self.now());
            }
        }
        let mut drain_until = u64::MAX;
        loop {
            let now = self.now();
            if self.sending && (now >= self.counting_to || stop.load(Ordering::Relaxed)) {
                self.sending = false;
            }
            if !self.sending {
                self.sent_until = self.sent_until.min(now);
                drain_until = drain_until.min(now + DRAIN_MAX.as_nanos() as u64);
                if self.n_in_flight == 0 || now >= drain_until {
                    return Ok(());
                }
            }
            if self.n_alive == 0 {
                return Ok(());
            }
            ensure!(self.n_failures <= FAILURES_MAX, "too many connections failed");
            self.send_due(now);

            let timeout = if self.load.spin || self.load.pace != Pace::Closed {
                Duration::ZERO
            } else {
                Duration::from_millis(20)
            };
            match self.poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                polled => polled.context("wait for the server")?,
            }
            for event in &events {
                let index = event.token().0;
                if event.is_writable() && !self.connections[index].out.is_empty() {
                    self.flush(index);
                }
                if event.is_readable() || event.is_read_closed() || event.is_error() {
                    self.receive(index, event.is_read_closed() || event.is_error());
                }
            }
        }
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    /// Open loop: sends everything that is due while a connection has room.
    fn send_due(&mut self, now: u64) {
        let Pace::Open(rate) = self.load.pace else { return };
        while self.sending {
            let due_at = due_at(self.n_due_sent, rate);
            if due_at > now || due_at >= self.counting_to {
                return;
            }
            let Some(index) = self.idle.pop() else { return };
            if self.push_request(index, due_at) {
                self.n_due_sent += 1;
                self.flush(index);
            }
        }
    }

    /// Closed loop: fills the connection up to its depth.
    fn refill(&mut self, index: usize, now: u64) {
        while self.sending
            && self.connections[index].alive
            && self.connections[index].in_flight.len() < self.load.depth
        {
            if !self.push_request(index, now) {
                break;
            }
        }
        self.flush(index);
    }

    fn push_request(&mut self, index: usize, at: u64) -> bool {
        let connection = &mut self.connections[index];
        if !connection.alive {
            return false;
        }
        let Some(token) = self.workload.next(&mut connection.out) else {
            self.sending = false;
            self.exhausted = true;
            return false;
        };
        connection.in_flight.push_back(Sent { token, at });
        self.n_in_flight += 1;
        if self.load.pace != Pace::Closed && connection.in_flight.len() < self.load.depth {
            self.idle.push(index);
        }
        true
    }

    fn flush(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        while connection.alive && !connection.out.is_empty() {
            match connection.stream.write(&connection.out) {
                Ok(n) if n == connection.out.len() => connection.out.clear(),
                Ok(n) => {
                    connection.out.drain(..n);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => (),
                // The poll reports the break too, after the answers that arrived before it.
                Err(_broken) => connection.out.clear(),
            }
        }
    }

    /// Reads what is there; `to_the_end` when the peer will send no more.
    fn receive(&mut self, index: usize, to_the_end: bool) {
        let mut scratch = std::mem::take(&mut self.scratch);
        while self.connections[index].alive {
            match self.connections[index].stream.read(&mut scratch) {
                Ok(0) => self.lose(index, false),
                Ok(n) => {
                    self.digest(index, &scratch[..n]);
                    if n < scratch.len() && !to_the_end {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => (),
                Err(_broken) => self.lose(index, true),
            }
        }
        self.scratch = scratch;
    }

    /// Takes all complete answers out of `fresh` and asks again.
    fn digest(&mut self, index: usize, fresh: &[u8]) {
        let now = self.now();
        let joined;
        let kept = std::mem::take(&mut self.connections[index].partial);
        let mut bytes = if kept.is_empty() {
            fresh
        } else {
            joined = [kept.as_slice(), fresh].concat();
            joined.as_slice()
        };
        while !bytes.is_empty() {
            match parse(bytes) {
                Parsed::Complete { answer, used, .. } => {
                    bytes = &bytes[used..];
                    if !self.settle(index, &answer, now) {
                        return self.lose(index, true);
                    }
                    if answer.closes {
                        return self.lose(index, false);
                    }
                }
                Parsed::Partial => {
                    self.connections[index].partial.extend_from_slice(bytes);
                    break;
                }
                Parsed::Malformed => return self.lose(index, true),
            }
        }
        if self.load.pace == Pace::Closed {
            self.refill(index, now);
        }
    }

    /// Books an answer on the oldest request in flight; false when there is none.
    fn settle(&mut self, index: usize, answer: &Answer<'_>, now: u64) -> bool {
        let Some(sent) = self.connections[index].in_flight.pop_front() else { return false };
        self.n_in_flight -= 1;
        if self.load.pace != Pace::Closed
            && self.connections[index].in_flight.len() + 1 == self.load.depth
        {
            self.idle.push(index);
        }
        self.workload.answered(sent.token, answer);
        self.last_answer_at = now;
        // The open loop is judged by when a request was due, so that the slow ones count too.
        let counts_at = if self.load.pace == Pace::Closed { now } else { sent.at };
        if (self.counting_from..self.counting_to).contains(&counts_at) {
            self.tally.n_requests += 1;
            self.tally.statuses[usize::from(answer.status)] += 1;
            self.tally.latency.saturating_record((now - sent.at).max(1));
        }
        true
    }

    /// The connection is over. With requests in flight, or `broken`, that is an error.
    fn lose(&mut self, index: usize, broken: bool) {
        let connection = &mut self.connections[index];
        if !connection.alive {
            return;
        }
        if broken || !connection.in_flight.is_empty() {
            self.tally.n_errors += 1;
        }
        self.n_failures += 1;
        self.n_in_flight -= connection.in_flight.len();
        for sent in connection.in_flight.drain(..) {
            self.workload.unanswered(sent.token);
        }
        connection.out.clear();
        connection.partial.clear();
        connection.alive = false;
        self.idle.retain(|idle| *idle != index);
        self.n_alive -= 1;

        if !self.load.reconnect || !self.sending {
            return;
        }
        match open(&self.poll, self.load.addr, index) {
            Ok(stream) => {
                self.connections[index].stream = stream;
                self.connections[index].alive = true;
                self.n_alive += 1;
                if self.load.pace == Pace::Closed {
                    let now = self.now();
                    self.refill(index, now);
                } else {
                    self.idle.push(index);
                }
            }
            Err(_refused) => self.tally.n_errors += 1,
        }
    }

    /// Open loop: what was due and never sent has waited until now at least, and leaving it out
    /// would make the slowest servers look good.
    fn charge_unsent(&mut self) {
        let Pace::Open(rate) = self.load.pace else { return };
        if self.exhausted {
            return;
        }
        let end = self.now().min(self.sent_until).min(self.counting_to);
        for n in self.n_due_sent.. {
            let due_at = due_at(n, rate);
            if due_at >= end {
                return;
            }
            if due_at >= self.counting_from {
                self.tally.n_unsent += 1;
                self.tally.latency.saturating_record(end - due_at);
            }
        }
    }

    fn finish(mut self) -> Tally {
        for connection in &mut self.connections {
            for sent in connection.in_flight.drain(..) {
                self.tally.n_errors += 1;
                self.workload.unanswered(sent.token);
            }
        }
        self.charge_unsent();
        // A run that ended early is as long as its last answer.
        let end = self.now().min(self.counting_to);
        let end = if end < self.counting_to { end.min(self.last_answer_at) } else { end };
        self.tally.seconds = end.saturating_sub(self.counting_from) as f64 / 1e9;
        let busy = thread_cpu().saturating_sub(self.cpu_at_start).as_secs_f64();
        self.tally.client_busy = busy / self.started.elapsed().as_secs_f64().max(1e-9);
        self.tally
    }
}

fn open(poll: &Poll, addr: SocketAddr, index: usize) -> std::io::Result<TcpStream> {
    let stream = std::net::TcpStream::connect(addr)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    let mut stream = TcpStream::from_std(stream);
    let interest = Interest::READABLE | Interest::WRITABLE;
    poll.registry().register(&mut stream, Token(index), interest)?;
    Ok(stream)
}

/// When the n-th request of an open loop is due, in nanoseconds since the start.
fn due_at(n: u64, rate: f64) -> u64 {
    (n as f64 * 1e9 / rate) as u64
}

/// Processor time of the calling thread.
fn thread_cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}

#[cfg(test)]
mod tests;
