//! The client against servers that answer slowly, break off, or stall.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::net::{Ipv4Addr, TcpListener};
use std::thread;

use super::*;

struct Counted {
    left: u32,
    answered: u32,
    unanswered: u32,
}

impl Workload for Counted {
    fn next(&mut self, out: &mut Vec<u8>) -> Option<u32> {
        self.left = self.left.checked_sub(1)?;
        out.extend_from_slice(b"GET /x HTTP/1.1\r\n\r\n");
        Some(self.left)
    }

    fn answered(&mut self, _token: u32, _answer: &Answer<'_>) {
        self.answered += 1;
    }

    fn unanswered(&mut self, _token: u32) {
        self.unanswered += 1;
    }
}

/// Answers `n` requests on one connection, each after `delay`, then closes.
fn server(n: u32, delay: Duration) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0; 4_096];
        for _ in 0..n {
            if stream.read(&mut buffer).unwrap() == 0 {
                return;
            }
            crate::process::pause(delay);
            stream.write_all(b"HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n").unwrap();
        }
        // Takes one more request and breaks off.
        let _ = stream.read(&mut buffer);
    });
    addr
}

fn load(addr: SocketAddr, pace: Pace) -> Load {
    Load {
        addr,
        connections: 1,
        depth: 1,
        pace,
        warmup: Duration::ZERO,
        duration: Duration::from_secs(30),
        reconnect: false,
        spin: false,
    }
}

#[test]
fn a_run_ends_with_its_workload_and_counts_every_answer() {
    let addr = server(20, Duration::ZERO);
    let mut workload = Counted { left: 20, answered: 0, unanswered: 0 };
    let tally = run(&load(addr, Pace::Closed), &mut workload, &AtomicBool::new(false)).unwrap();
    assert_eq!((workload.answered, workload.unanswered), (20, 0));
    assert_eq!((tally.n_requests, tally.n_status(302), tally.n_errors), (20, 20, 0));
}

#[test]
fn requests_in_flight_at_a_break_are_reported_as_unanswered() {
    let addr = server(5, Duration::ZERO);
    let mut workload = Counted { left: 20, answered: 0, unanswered: 0 };
    let tally = run(&load(addr, Pace::Closed), &mut workload, &AtomicBool::new(false)).unwrap();
    assert_eq!((workload.answered, workload.unanswered), (5, 1));
    assert_eq!(tally.n_errors, 1);
}

#[test]
fn open_loop_latency_counts_from_when_a_request_was_due() {
    // 1,000 requests/s at a server that takes 5 ms each: the 20th waits for 19 others.
    let addr = server(20, Duration::from_millis(5));
    let mut workload = Counted { left: 20, answered: 0, unanswered: 0 };
    let tally =
        run(&load(addr, Pace::Open(1_000.0)), &mut workload, &AtomicBool::new(false)).unwrap();
    assert_eq!(tally.n_requests, 20);
    assert!(tally.latency.max() >= 80_000_000, "{}", tally.latency.max());
    assert!(tally.latency.min() >= 5_000_000, "{}", tally.latency.min());
}

#[test]
fn what_was_due_and_never_sent_is_charged() {
    // Ten requests are due in the time that the server takes for the first one.
    let addr = server(1, Duration::from_millis(300));
    let mut workload = Counted { left: 1_000, answered: 0, unanswered: 0 };
    let load = Load { duration: Duration::from_millis(100), ..load(addr, Pace::Open(100.0)) };
    let tally = run(&load, &mut workload, &AtomicBool::new(false)).unwrap();
    assert_eq!((tally.n_requests, tally.n_unsent), (1, 9));
    assert_eq!(tally.latency.len(), 10);
}
