//! Answers to questions about many clicks.

use crate::domain::day::{Counts, DayStats};
use crate::domain::id::Id;
use crate::domain::words::Words;

/// Sums of a range of time, by UTC day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeStats {
    pub words: Words,
    /// Day since the epoch and its sums, in order; days without clicks are left out.
    pub days: Vec<(u32, DayStats)>,
    /// Clicks by link and version, the links in order; for workspaces only, where the rows of the
    /// days do not tell versions.
    pub links: Vec<LinkCounts>,
}

/// Clicks that one version of a link took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkCounts {
    pub link: Id,
    pub version: u32,
    pub counts: Counts,
}

/// Sums of one bucket of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BucketStats {
    pub counts: Counts,
    /// Scans of QR codes by people.
    pub qr_scans: u64,
    /// Estimates; a visitor counts once per UTC day.
    pub visitors: Counts,
}
