//! Points in time as the domain sees them: milliseconds since 1970-01-01 UTC. Clocks are injected.

use std::time::Duration;

/// Milliseconds since the Unix epoch, UTC. Year 9999 is the last that RFC 3339 can write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole minutes since the epoch, the finest bucket clicks are counted in.
    pub const fn minute(self) -> u32 {
        let minute = self.0.div_euclid(60_000);
        if minute < 0 {
            0
        } else if minute > u32::MAX as i64 {
            u32::MAX
        } else {
            minute as u32
        }
    }

    pub const fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }
}

/// A length of time in whole milliseconds; what no `i64` holds is its largest.
pub fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// Tells the wall-clock time. Handed in wherever time matters, so that tests can set it.
pub trait Clock: Send + Sync + 'static {
    fn now(&self) -> Timestamp;
}

/// Tells how much time has passed, whatever happens to the wall clock.
pub trait SteadyClock: Send + Sync + 'static {
    /// Milliseconds since some moment that stays the same while the process runs.
    fn elapsed_ms(&self) -> u64;
}
