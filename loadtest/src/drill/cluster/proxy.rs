//! A wire between nodes and what they depend on, and what can go wrong on it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::sockets::owner;
use crate::process::pause;

const ACCEPT_EVERY: Duration = Duration::from_millis(1);
const HELD_LOOK_EVERY: Duration = Duration::from_millis(5);
const SHUT_WITHIN: Duration = Duration::from_secs(5);
const CHUNK_BYTES: usize = 64 << 10;

/// The command that announces a change in Redis, the end of the stream's name, and that of one
/// that nobody reads.
const ANNOUNCE: &[u8] = b"XADD";
const FEED: &[u8] = b":feed\r\n";
const NOWHERE: &[u8] = b":lost\r\n";

/// Listens in place of a server. Dropping it closes everything.
pub struct Proxy {
    pub addr: SocketAddr,
    wire: Arc<Wire>,
}

struct Wire {
    upstream: SocketAddr,
    is_open: AtomicBool,
    /// Whether somebody who connects is refused by now.
    refuses: AtomicBool,
    is_over: AtomicBool,
    /// Before every piece of an answer.
    delay_ms: AtomicU64,
    /// Whether announced changes go where nobody reads them.
    loses_feed: AtomicBool,
    /// Processes that hear nothing and are not heard.
    cut: Mutex<Vec<u32>>,
    streams: Mutex<Vec<TcpStream>>,
    n_accepted: AtomicU64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Request,
    Answer,
}

impl Proxy {
    /// Passes on to `upstream` what comes in at `addr`, once it is opened.
    pub fn start(addr: SocketAddr, upstream: SocketAddr) -> Self {
        let wire = Arc::new(Wire {
            upstream,
            is_open: AtomicBool::new(false),
            refuses: AtomicBool::new(true),
            is_over: AtomicBool::new(false),
            delay_ms: AtomicU64::new(0),
            loses_feed: AtomicBool::new(false),
            cut: Mutex::default(),
            streams: Mutex::default(),
            n_accepted: AtomicU64::new(0),
        });
        let shared = Arc::clone(&wire);
        thread::spawn(move || accept(addr, &shared));
        Self { addr, wire }
    }

    /// From now on connections are taken, or refused and those that there are broken off.
    pub fn open(&self, is_open: bool) -> Result<()> {
        self.wire.is_open.store(is_open, Ordering::SeqCst);
        let mut waited = Duration::ZERO;
        while self.wire.refuses.load(Ordering::SeqCst) == is_open {
            ensure!(waited < SHUT_WITHIN, "{} cannot be listened on", self.addr);
            pause(ACCEPT_EVERY);
            waited += ACCEPT_EVERY;
        }
        if !is_open {
            self.wire.break_off();
        }
        Ok(())
    }

    /// Keeps back everything that these processes say and are told, until it is said again for
    /// none: what is on its way then arrives late, as on a network that was down.
    pub fn cut(&self, processes: &[u32]) {
        *lock(&self.wire.cut) = processes.to_vec();
    }

    pub fn delay(&self, span: Duration) {
        self.wire.delay_ms.store(span.as_millis() as u64, Ordering::SeqCst);
    }

    pub fn lose_feed(&self, is_lost: bool) {
        self.wire.loses_feed.store(is_lost, Ordering::SeqCst);
    }

    /// Connections so far.
    pub fn n_accepted(&self) -> u64 {
        self.wire.n_accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.wire.is_over.store(true, Ordering::SeqCst);
        self.wire.break_off();
    }
}

impl Wire {
    fn break_off(&self) {
        for stream in lock(&self.streams).drain(..) {
            // It may have ended by itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Two threads for a connection, one each way.
    fn join(self: &Arc<Self>, client: TcpStream, addr: SocketAddr) -> Result<()> {
        self.n_accepted.fetch_add(1, Ordering::SeqCst);
        let process = owner(client.peer_addr()?, addr);
        let server = TcpStream::connect(self.upstream).context("connect behind the wire")?;
        client.set_nonblocking(false)?;
        for stream in [&client, &server] {
            stream.set_nodelay(true)?;
            lock(&self.streams).push(stream.try_clone()?);
        }
        let ways = [
            (client.try_clone()?, server.try_clone()?, Way::Request),
            (server, client, Way::Answer),
        ];
        for (from, to, way) in ways {
            let wire = Arc::clone(self);
            thread::spawn(move || wire.carry(from, to, (way, process)));
        }
        Ok(())
    }

    fn carry(&self, mut from: TcpStream, mut to: TcpStream, (way, process): (Way, Option<u32>)) {
        let mut chunk = vec![0; CHUNK_BYTES];
        while let Ok(n @ 1..) = from.read(&mut chunk) {
            let bytes = &mut chunk[..n];
            if way == Way::Request && self.loses_feed.load(Ordering::SeqCst) {
                divert(bytes);
            }
            if way == Way::Answer {
                pause(Duration::from_millis(self.delay_ms.load(Ordering::SeqCst)));
            }
            while process.is_some_and(|process| lock(&self.cut).contains(&process)) {
                pause(HELD_LOOK_EVERY);
            }
            if to.write_all(bytes).is_err() {
                break;
            }
        }
        for stream in [from, to] {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn accept(addr: SocketAddr, wire: &Arc<Wire>) {
    let mut listener: Option<TcpListener> = None;
    while !wire.is_over.load(Ordering::SeqCst) {
        if !wire.is_open.load(Ordering::SeqCst) {
            listener = None;
            wire.refuses.store(true, Ordering::SeqCst);
            pause(ACCEPT_EVERY);
            continue;
        }
        let Some(listening) = &listener else {
            // Whoever opened it waits, and says so when it takes too long.
            listener = TcpListener::bind(addr).ok();
            wire.refuses.store(listener.is_none(), Ordering::SeqCst);
            continue;
        };
        let accepted = listening.set_nonblocking(true).and_then(|()| listening.accept());
        match accepted {
            // A client whose server is not there is hung up on.
            Ok((client, _)) => drop(wire.join(client, addr)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => pause(ACCEPT_EVERY),
            Err(_aborted) => (),
        }
    }
}

/// Has announced changes written to another stream: Redis answers as ever, and nobody hears.
fn divert(bytes: &mut [u8]) {
    if memchr::memmem::find(bytes, ANNOUNCE).is_none() {
        return;
    }
    let places: Vec<usize> = memchr::memmem::find_iter(bytes, FEED).collect();
    for at in places {
        bytes[at..at + FEED.len()].copy_from_slice(NOWHERE);
    }
}

/// A thread that panicked left nothing half done in these.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;
    use crate::process::free_addr;

    fn ask(addr: SocketAddr, text: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(addr)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.write_all(text)?;
        let mut answer = vec![0; text.len()];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    }

    /// Says what it hears.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut to = stream.try_clone().unwrap();
                thread::spawn(move || std::io::copy(&mut stream, &mut to));
            }
        });
        addr
    }

    #[test]
    fn a_wire_that_is_shut_refuses_and_one_that_is_open_passes() {
        let proxy = Proxy::start(free_addr().unwrap(), echo());
        assert!(ask(proxy.addr, b"hello").is_err());
        proxy.open(true).unwrap();
        assert_eq!(ask(proxy.addr, b"hello").unwrap(), b"hello");
        proxy.open(false).unwrap();
        assert!(ask(proxy.addr, b"hello").is_err());
        assert_eq!(proxy.n_accepted(), 1);
    }

    #[test]
    fn who_is_cut_off_is_answered_when_it_is_over() {
        let proxy = Proxy::start(free_addr().unwrap(), echo());
        proxy.open(true).unwrap();
        proxy.cut(&[std::process::id()]);
        let mut stream = TcpStream::connect(proxy.addr).unwrap();
        stream.write_all(b"hello").unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        assert!(stream.read(&mut [0; 5]).is_err());
        proxy.cut(&[]);
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"hello");
    }

    #[test]
    fn announcements_go_astray_and_nothing_else_does() {
        let proxy = Proxy::start(free_addr().unwrap(), echo());
        proxy.open(true).unwrap();
        proxy.lose_feed(true);
        let read = b"XREAD\r\n$10\r\nshunt:feed\r\n";
        assert_eq!(ask(proxy.addr, read).unwrap(), read);
        let told = b"XADD\r\n$10\r\nshunt:feed\r\n";
        assert_eq!(ask(proxy.addr, told).unwrap(), b"XADD\r\n$10\r\nshunt:lost\r\n");
        proxy.lose_feed(false);
        assert_eq!(ask(proxy.addr, told).unwrap(), told);
    }
}
