//! Snowflake ids: 41 bits of milliseconds since 2025-01-01, 10 bits of node, 12 bits of sequence.
//!
//! The layout is the one Twitter published in 2010. All entities use these ids.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::time::{Clock, Timestamp};

/// 2025-01-01T00:00:00Z in milliseconds since 1970.
pub const EPOCH_MS: i64 = 1_735_689_600_000;
const SEQUENCE_BITS: u32 = 12;
const NODE_BITS: u32 = 10;
/// Nodes that can make ids at the same time.
pub const NODES_MAX: u16 = 1 << NODE_BITS;
/// How far the clock may step back before the generator refuses, in milliseconds.
const CLOCK_BACK_MAX_MS: u64 = 10;
/// How far the generator may run ahead of the clock when a millisecond is used up.
const BORROW_MAX_MS: u64 = 10;

/// A 63-bit id, unique in an installation. Zero is never given out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub u64);

impl Id {
    /// When it was made, to the millisecond.
    pub const fn created_at(self) -> Timestamp {
        Timestamp((self.0 >> (SEQUENCE_BITS + NODE_BITS)) as i64 + EPOCH_MS)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl FromStr for Id {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// Why no id could be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("the clock stepped back by {behind_ms} ms; ids wait until it has caught up")]
    ClockBehind { behind_ms: u64 },
    #[error("more ids were asked for than this millisecond and the next ones hold")]
    Exhausted,
    #[error("the clock is outside the years that ids can tell")]
    OutOfRange,
}

/// Makes ids for one node. Lock-free; shared by reference.
#[derive(Debug)]
pub struct IdGenerator {
    node: u16,
    /// Milliseconds since the epoch, shifted left by the sequence bits, plus the sequence.
    last: AtomicU64,
}

impl IdGenerator {
    /// `not_before` is the persisted high-water mark: no id is made for an earlier time, so that a
    /// clock that went back across a restart cannot repeat one.
    pub fn new(node: u16, not_before: Timestamp) -> Self {
        assert!(node < NODES_MAX, "node ids have {NODE_BITS} bits");
        let millis = (not_before.as_millis() - EPOCH_MS).max(0) as u64;
        Self { node, last: AtomicU64::new(millis << SEQUENCE_BITS) }
    }

    /// The next id. Kinds: `ClockBehind` and `Exhausted` pass by waiting.
    pub fn next(&self, clock: &dyn Clock) -> Result<Id, IdError> {
        let now =
            u64::try_from(clock.now().as_millis() - EPOCH_MS).map_err(|_| IdError::OutOfRange)?;
        if now >= 1 << 41 {
            return Err(IdError::OutOfRange);
        }
        let mut last = self.last.load(Ordering::Relaxed);
        loop {
            let last_ms = last >> SEQUENCE_BITS;
            if last_ms > now + CLOCK_BACK_MAX_MS.max(BORROW_MAX_MS) {
                return Err(IdError::ClockBehind { behind_ms: last_ms - now });
            }
            // One more than the last; a full sequence carries into the next millisecond by itself.
            let next = if now > last_ms { now << SEQUENCE_BITS } else { last + 1 };
            if next >> SEQUENCE_BITS > now + BORROW_MAX_MS {
                return Err(IdError::Exhausted);
            }
            match self.last.compare_exchange_weak(last, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return Ok(self.assemble(next)),
                Err(seen) => last = seen,
            }
        }
    }

    fn assemble(&self, ms_and_sequence: u64) -> Id {
        let millis = ms_and_sequence >> SEQUENCE_BITS;
        let sequence = ms_and_sequence & ((1 << SEQUENCE_BITS) - 1);
        Id(millis << (SEQUENCE_BITS + NODE_BITS) | u64::from(self.node) << SEQUENCE_BITS | sequence)
    }
}
