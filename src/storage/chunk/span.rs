//! Ranges of time that questions are about.

use crate::domain::counted::Surplus;
use crate::domain::day::{day_of, start_of};
use crate::domain::time::Timestamp;

const DAY_MS: i64 = 86_400_000;

/// A range of time, its end not included.
#[derive(Clone, Copy, Debug)]
pub(in crate::storage) struct Span {
    pub(in crate::storage) from: Timestamp,
    pub(in crate::storage) to: Timestamp,
}

impl Span {
    pub(in crate::storage) fn has(self, at: Timestamp) -> bool {
        (self.from..self.to).contains(&at)
    }

    /// Whether the minute of a row begins in it.
    pub(in crate::storage) fn has_row(self, row: &Surplus) -> bool {
        self.has(Timestamp(i64::from(row.minute) * 60_000))
    }

    /// The days that it touches.
    pub(in crate::storage) fn days(self) -> std::ops::Range<u32> {
        if self.from >= self.to {
            return 0..0;
        }
        day_of(self.from)..day_of(self.to.plus_millis(-1)) + 1
    }

    /// Whether a day lies in it as a whole.
    pub(in crate::storage) fn covers(self, day: u32) -> bool {
        let start = start_of(day, 0);
        self.from <= start && start.plus_millis(DAY_MS) <= self.to
    }
}
