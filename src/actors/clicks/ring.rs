//! Where clicks go when the journal has no room: a ring from one lane to its counter.
//!
//! One thread pushes, one pulls, neither ever waits. What is in here does not survive the process.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::domain::id::Id;
use crate::domain::time::Timestamp;

/// Clicks that one lane can keep until its counter comes by.
pub(super) const RING_CLICKS_MAX: usize = 8_192;

pub(super) struct Ring {
    slots: Box<[(AtomicU64, AtomicU64)]>,
    /// Clicks ever pushed; written by the pusher only.
    pushed: AtomicUsize,
    /// Clicks ever pulled; written by the puller only.
    pulled: AtomicUsize,
}

impl Ring {
    pub(super) fn new() -> Self {
        let slots = (0..RING_CLICKS_MAX).map(|_| Default::default()).collect();
        Self { slots, pushed: AtomicUsize::new(0), pulled: AtomicUsize::new(0) }
    }

    /// False when the ring is full. Called by one thread only.
    pub(super) fn push(&self, at: Timestamp, link: Id) -> bool {
        let pushed = self.pushed.load(Ordering::Relaxed);
        if pushed.wrapping_sub(self.pulled.load(Ordering::Acquire)) == self.slots.len() {
            return false;
        }
        let (time, id) = &self.slots[pushed % RING_CLICKS_MAX];
        time.store(at.as_millis() as u64, Ordering::Relaxed);
        id.store(link.0, Ordering::Relaxed);
        self.pushed.store(pushed.wrapping_add(1), Ordering::Release);
        true
    }

    /// The oldest click. Called by one thread only.
    pub(super) fn pull(&self) -> Option<(Timestamp, Id)> {
        let pulled = self.pulled.load(Ordering::Relaxed);
        if pulled == self.pushed.load(Ordering::Acquire) {
            return None;
        }
        let (time, id) = &self.slots[pulled % RING_CLICKS_MAX];
        let click =
            (Timestamp(time.load(Ordering::Relaxed) as i64), Id(id.load(Ordering::Relaxed)));
        self.pulled.store(pulled.wrapping_add(1), Ordering::Release);
        Some(click)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pulled.load(Ordering::Acquire) == self.pushed.load(Ordering::Acquire)
    }
}

// Counters wrap at a power of two, so the slots must be one as well.
const _: () = assert!(RING_CLICKS_MAX.is_power_of_two());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clicks_come_out_in_order_and_a_full_ring_says_so() {
        let ring = Ring::new();
        for n in 0..RING_CLICKS_MAX as u64 {
            assert!(ring.push(Timestamp(n as i64), Id(n + 1)));
        }
        assert!(!ring.push(Timestamp(0), Id(1)));
        assert_eq!(ring.pull(), Some((Timestamp(0), Id(1))));
        assert!(ring.push(Timestamp(7), Id(9)));
        assert_eq!(std::iter::from_fn(|| ring.pull()).last(), Some((Timestamp(7), Id(9))));
        assert!(ring.is_empty());
    }

    #[test]
    fn nothing_is_lost_or_torn_between_two_threads() {
        const CLICKS: u64 = 200_000;
        let ring = Ring::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 1..=CLICKS {
                    while !ring.push(Timestamp(n as i64), Id(n)) {
                        std::thread::yield_now();
                    }
                }
            });
            let mut next = 1;
            while next <= CLICKS {
                match ring.pull() {
                    Some(click) => {
                        assert_eq!(click, (Timestamp(next as i64), Id(next)));
                        next += 1;
                    }
                    None => std::thread::yield_now(),
                }
            }
        });
    }
}
