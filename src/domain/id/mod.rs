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
/// How far ids may run ahead of the clock: because a millisecond was used up, or because the clock
/// stepped back by no more than this.
const AHEAD_MAX_MS: u64 = 10;
/// How far the mark of an earlier process may lie ahead of the clock without making ids wait. The
/// mark is written ahead of use, so a quick restart always finds it in the near future.
const MARK_AHEAD_MAX_MS: u64 = 60_000;
const MILLIS_BITS: u32 = 41;
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
    #[error("the clock stepped back by {behind_ms} ms; ids wait until it has caught up")]
    ClockBehind { behind_ms: u64 },
    #[error("more ids were asked for than this millisecond and the next ones hold")]
    Exhausted,
    #[error("the clock is outside the years that ids can tell")]
    OutOfRange,
}

/// Makes ids for one node. Lock-free; shared by reference.
///
/// Ids of one generator rise strictly. They may be up to 10 ms ahead of the clock, and right after
/// a restart they continue after the mark, up to a minute ahead: whoever persists marks must keep
/// them above [`newest`](Self::newest), not only above the clock.
#[derive(Debug)]
pub struct IdGenerator {
    node: u16,
    /// The mark that this generator started from, in milliseconds since the epoch of ids.
    mark_ms: u64,
    /// Milliseconds since the epoch, shifted left by the sequence bits, plus the sequence.
    last: AtomicU64,
}

impl IdGenerator {
    /// `not_before` is the persisted high-water mark: ids may exist up to and including it, so
    /// every new one is later. A clock that went back across a restart cannot repeat one.
    pub fn new(node: u16, not_before: Timestamp) -> Self {
        assert!(node < NODES_MAX, "node ids have {NODE_BITS} bits");
        let mark_ms = since_epoch(not_before).unwrap_or(0);
        // The whole millisecond of the mark counts as used. Without a mark only id 0 does.
        let used = if mark_ms > 0 { mark_ms << SEQUENCE_BITS | SEQUENCE_MASK } else { 0 };
        Self { node, mark_ms, last: AtomicU64::new(used) }
    }

    /// The next id. Kinds: `ClockBehind` and `Exhausted` pass by waiting.
    pub fn next(&self, clock: &dyn Clock) -> Result<Id, IdError> {
        let now = since_epoch(clock.now()).ok_or(IdError::OutOfRange)?;
        let limit_ms = self.limit_ms(now);
        let mut last = self.last.load(Ordering::Relaxed);
        loop {
            let last_ms = last >> SEQUENCE_BITS;
            if last_ms > limit_ms {
                return Err(IdError::ClockBehind { behind_ms: last_ms - now });
            }
            // One more than the last; a full sequence carries into the next millisecond by itself.
            let next = if now > last_ms { now << SEQUENCE_BITS } else { last + 1 };
            let next_ms = next >> SEQUENCE_BITS;
            if next_ms > limit_ms {
                return Err(IdError::Exhausted);
            }
            if next_ms >= 1 << MILLIS_BITS {
                return Err(IdError::OutOfRange);
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

    /// The latest millisecond that an id may carry now.
    fn limit_ms(&self, now: u64) -> u64 {
        let mark_is_near = self.mark_ms.saturating_sub(now) <= MARK_AHEAD_MAX_MS;
        let start = if mark_is_near { now.max(self.mark_ms) } else { now };
        start + AHEAD_MAX_MS
    }

    fn assemble(&self, ms_and_sequence: u64) -> Id {
        let millis = ms_and_sequence >> SEQUENCE_BITS;
        let sequence = ms_and_sequence & SEQUENCE_MASK;
        Id(millis << (SEQUENCE_BITS + NODE_BITS) | u64::from(self.node) << SEQUENCE_BITS | sequence)
    }
}

/// Milliseconds since the epoch of ids, if ids can tell that time.
fn since_epoch(time: Timestamp) -> Option<u64> {
    let millis = u64::try_from(time.as_millis().checked_sub(EPOCH_MS)?).ok()?;
    (millis < 1 << MILLIS_BITS).then_some(millis)
}

#[cfg(test)]
mod tests;
