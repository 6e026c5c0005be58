//! The fastest server there can be without tricks: one thread, one poll, and the same bytes for
//! everybody. It looks for the end of a request and parses nothing.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

use anyhow::{Context, Result};
use memchr::memmem::Finder;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

/// Shaped like an answer of Shunt: the same kind of headers, nothing computed.
const ANSWER: &[u8] = b"HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\
    location: https://www.example.com/landing/2026/spring/collection?item=0000001&from=short\r\n\
    cache-control: private, no-store\r\nx-robots-tag: noindex\r\n\
    date: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\n";
const LISTENER: Token = Token(usize::MAX);

struct Peer {
    stream: TcpStream,
    /// The beginning of a request whose end has not arrived.
    partial: Vec<u8>,
    /// Answers that the kernel has not taken yet.
    out: Vec<u8>,
}

/// Serves until the process ends.
pub fn serve(addr: SocketAddr) -> Result<()> {
    let mut poll = Poll::new().context("open a poll")?;
    let mut listener = TcpListener::bind(addr).with_context(|| format!("listen on {addr}"))?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;

    let mut events = Events::with_capacity(1_024);
    let mut peers: Vec<Option<Peer>> = Vec::new();
    let mut buffer = vec![0; 64 * 1_024];
    let end_of_request = Finder::new(b"\r\n\r\n");
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled.context("wait for requests")?,
        }
        for event in &events {
            if event.token() == LISTENER {
                accept_all(&poll, &listener, &mut peers)?;
                continue;
            }
            let slot = &mut peers[event.token().0];
            if let Some(peer) = slot
                && !peer.turn(&mut buffer, &end_of_request)
            {
                *slot = None;
            }
        }
    }
}

fn accept_all(poll: &Poll, listener: &TcpListener, peers: &mut Vec<Option<Peer>>) -> Result<()> {
    loop {
        match listener.accept() {
            Ok((mut stream, _)) => {
                stream.set_nodelay(true)?;
                let free = peers.iter().position(Option::is_none);
                let index = free.unwrap_or(peers.len());
                let interest = Interest::READABLE | Interest::WRITABLE;
                poll.registry().register(&mut stream, Token(index), interest)?;
                let peer = Some(Peer { stream, partial: Vec::new(), out: Vec::new() });
                match free {
                    Some(index) => peers[index] = peer,
                    None => peers.push(peer),
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error).context("accept"),
        }
    }
}

impl Peer {
    /// Reads and answers what is there; false when the peer is gone.
    fn turn(&mut self, buffer: &mut [u8], end_of_request: &Finder<'_>) -> bool {
        loop {
            let n = match self.stream.read(buffer) {
                Ok(0) => return false,
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return self.flush(),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_gone) => return false,
            };
            let n_requests = self.count_requests(&buffer[..n], end_of_request);
            for _ in 0..n_requests {
                self.out.extend_from_slice(ANSWER);
            }
            if !self.flush() {
                return false;
            }
            if n < buffer.len() {
                return true;
            }
        }
    }

    fn count_requests(&mut self, fresh: &[u8], end_of_request: &Finder<'_>) -> usize {
        if self.partial.is_empty() && fresh.ends_with(b"\r\n\r\n") {
            return end_of_request.find_iter(fresh).count();
        }
        self.partial.extend_from_slice(fresh);
        let mut used = 0;
        let mut n_requests = 0;
        for at in end_of_request.find_iter(&self.partial) {
            used = at + 4;
            n_requests += 1;
        }
        self.partial.drain(..used);
        n_requests
    }

    fn flush(&mut self) -> bool {
        while !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(n) if n == self.out.len() => self.out.clear(),
                Ok(n) => {
                    self.out.drain(..n);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => (),
                Err(_gone) => return false,
            }
        }
        true
    }
}
