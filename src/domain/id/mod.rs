//! Snowflake ids: 41 bits of milliseconds since 2025-01-01, 10 bits of node, 12 bits of sequence.
//!
//! The layout is the one Twitter published in 2010. All entities use these ids.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::domain::time::{Clock, Timestamp, millis};

/// 2025-01-01T00:00:00Z in milliseconds since 1970.
pub const EPOCH_MS: i64 = 1_735_689_600_000;
const SEQUENCE_BITS: u32 = 12;
const NODE_BITS: u32 = 10;
/// Nodes that can make ids at the same time.
pub const NODES_MAX: u16 = 1 << NODE_BITS;
/// How far ids may run ahead of what has passed: because a millisecond was used up.
const AHEAD_MAX_MS: u64 = 10;
/// The first millisecond that ids cannot tell.
const MILLIS_END: u64 = 1 << 41;
const SEQUENCE_MASK: u64 = (1 << SEQUENCE_BITS) - 1;

/// A 63-bit id, unique in an installation. Zero is never given out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub u64);

impl Id {
    /// When it was made, to the millisecond (ids may run ahead of the clock, see [`IdGenerator`]).
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

    /// Decimal digits only, no sign.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = if text.starts_with('+') { "+" } else { text };
        digits.parse().map(Self)
    }
}

/// Why no id could be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("more ids were asked for than this millisecond and the next ones hold")]
    Exhausted,
    #[error("the clock, or the ids made so far, are beyond the years that ids can tell")]
    OutOfRange,
}

/// Makes ids for one node. Lock-free; shared by reference.
///
/// Ids of one generator rise strictly, and begin after the mark: that alone makes them unique. The
/// clock only moves them forward. While it is behind the last id, because somebody set it back or
/// because the mark was written ahead, ids go on from there. They spend no more milliseconds than
/// really pass, so they end up ahead of the clock by the largest step back and never run away.
/// Whoever persists marks must keep them above [`newest`](Self::newest), not above the clock.
#[derive(Debug)]
pub struct IdGenerator {
    node: u16,
    /// Milliseconds since the epoch, shifted left by the sequence bits, plus the sequence.
    last: AtomicU64,
    /// What the furthest clock so far said when this process began, in milliseconds since the
    /// epoch: with the uptime added, a clock that never goes back.
    began_ms: AtomicI64,
}

impl IdGenerator {
    /// `not_before` is the persisted high-water mark: ids may exist up to and including it, so
    /// every new one is later. A clock that went back across a restart cannot repeat one.
    pub fn new(node: u16, not_before: Timestamp) -> Self {
        assert!(node < NODES_MAX, "node ids have {NODE_BITS} bits");
        let mark_ms = since_epoch(not_before);
        // The whole millisecond of the mark counts as used. Without a mark only id 0 does.
        let used = if mark_ms > 0 { mark_ms << SEQUENCE_BITS | SEQUENCE_MASK } else { 0 };
        let began_ms = AtomicI64::new(mark_ms.cast_signed());
        Self { node, last: AtomicU64::new(used), began_ms }
    }

    /// The next id. `uptime` is what really passed since the generator was made, whatever the
    /// clock says. Kinds: `Exhausted` passes by waiting.
    pub fn next(&self, clock: &dyn Clock, uptime: Duration) -> Result<Id, IdError> {
        let now = since_epoch(clock.now());
        let limit_ms = self.steady_ms(now, uptime) + AHEAD_MAX_MS;
        let mut last = self.last.load(Ordering::Relaxed);
        loop {
            // One more than the last; a full sequence carries into the next millisecond by itself.
            let next = if now > last >> SEQUENCE_BITS { now << SEQUENCE_BITS } else { last + 1 };
            let next_ms = next >> SEQUENCE_BITS;
            if next_ms >= MILLIS_END {
                return Err(IdError::OutOfRange);
            }
            if next_ms > limit_ms {
                return Err(IdError::Exhausted);
            }
            match self.last.compare_exchange_weak(last, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return Ok(self.assemble(next)),
                Err(seen) => last = seen,
            }
        }
    }

    /// The latest time that an id of this generator carries, or the mark it started from.
    pub fn newest(&self) -> Timestamp {
        let millis = self.last.load(Ordering::Relaxed) >> SEQUENCE_BITS;
        Timestamp(millis as i64 + EPOCH_MS)
    }

    /// What a clock that never goes back says: the furthest one so far, moved on by what passed.
    fn steady_ms(&self, now: u64, uptime: Duration) -> u64 {
        let uptime_ms = millis(uptime);
        let began_ms = now.cast_signed().saturating_sub(uptime_ms);
        let furthest = self.began_ms.fetch_max(began_ms, Ordering::Relaxed).max(began_ms);
        furthest.saturating_add(uptime_ms).max(0).cast_unsigned()
    }

    fn assemble(&self, ms_and_sequence: u64) -> Id {
        let millis = ms_and_sequence >> SEQUENCE_BITS;
        let sequence = ms_and_sequence & SEQUENCE_MASK;
        Id(millis << (SEQUENCE_BITS + NODE_BITS) | u64::from(self.node) << SEQUENCE_BITS | sequence)
    }
}

/// Milliseconds since the epoch of ids; zero before it. Later than ids can tell is `MILLIS_END`.
fn since_epoch(time: Timestamp) -> u64 {
    let millis = time.as_millis().saturating_sub(EPOCH_MS).max(0).cast_unsigned();
    millis.min(MILLIS_END)
}

#[cfg(test)]
mod tests;
