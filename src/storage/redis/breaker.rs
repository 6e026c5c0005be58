//! Keeps requests away from a Redis that does not answer.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Failures in a row after which nobody is sent there any more, until a probe succeeds.
const FAILURES_MAX: u32 = 5;

/// Closed while all is well. Opened by failures in a row, or a lost connection; closed by whoever
/// probes.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    closed: AtomicBool,
    failures: AtomicU32,
}

impl Breaker {
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    pub(super) fn close(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.closed.store(true, Ordering::Relaxed);
    }

    /// True when it was closed.
    pub(super) fn open(&self) -> bool {
        self.closed.swap(false, Ordering::Relaxed)
    }

    pub(super) fn succeeded(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// True when this failure is the one that opens it.
    pub(super) fn failed(&self) -> bool {
        self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES_MAX && self.open()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_open_it_once_and_a_probe_closes_it() {
        let breaker = Breaker::default();
        assert!(!breaker.is_closed(), "nothing is known yet");
        breaker.close();
        for _ in 0..FAILURES_MAX - 1 {
            assert!(!breaker.failed());
        }
        breaker.succeeded();
        for _ in 0..FAILURES_MAX - 1 {
            assert!(!breaker.failed());
        }
        assert!(breaker.is_closed());
        assert!(breaker.failed());
        assert!(!breaker.failed(), "it is open already");
        assert!(!breaker.is_closed());
        breaker.close();
        assert!(breaker.is_closed() && !breaker.failed());
    }
}
