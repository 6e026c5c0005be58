//! A click as it happens, and as it is counted.

use std::net::IpAddr;

use crate::domain::id::Id;
use crate::domain::time::Timestamp;

/// One redirect that was answered, borrowed from the request. Written to the journal at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawClick<'a> {
    pub at: Timestamp,
    pub link: Id,
    pub address: IpAddr,
    pub flags: ClickFlags,
    pub user_agent: &'a [u8],
    pub referrer: &'a [u8],
    pub language: &'a [u8],
    pub query: &'a [u8],
}

/// Bits that travel with a click.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClickFlags(pub u8);

impl ClickFlags {
    /// `DNT: 1` or `Sec-GPC: 1`: counted, but nothing about the visitor is kept.
    pub const PRIVATE: Self = Self(1);
    /// `?qr=1`: the scan of a QR code.
    pub const QR: Self = Self(2);
    /// `Purpose`, `Sec-Purpose` or `X-Moz` said prefetch or preview.
    pub const PREFETCH: Self = Self(4);

    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// A journal segment: the unit in which clicks are counted exactly once. High 40 bits are the
/// epoch of the process that wrote it, low 24 bits count its segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub u64);

/// What one segment adds to one link in one minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketCount {
    pub link: Id,
    /// Whole minutes since the Unix epoch.
    pub minute: u32,
    /// Clicks in this bucket since the start of the segment: an absolute value, idempotent.
    pub total: u32,
    /// Clicks in this bucket since the last acknowledged flush of this segment.
    pub added: u32,
    /// Time of the newest of them.
    pub last_at: Timestamp,
}

/// What is to be stored of one segment: everything up to record `to_record`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentCounts {
    pub segment: SegmentId,
    /// Records that earlier flushes of this segment covered; a store that adds checks it.
    pub from_record: u64,
    /// Records that this flush covers, counted from the start of the segment.
    pub to_record: u64,
    /// At most one row per link and minute, ordered by link, then minute.
    pub rows: Vec<BucketCount>,
}

/// How often a link was clicked in all, and when last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClickTotals {
    pub clicks: u64,
    pub last_clicked_at: Option<Timestamp>,
}

/// Width of a stored bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Granularity {
    Minute = 0,
    Hour = 1,
    Day = 2,
}

impl Granularity {
    pub const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    /// Minutes that one bucket spans.
    pub const fn minutes(self) -> u32 {
        match self {
            Self::Minute => 1,
            Self::Hour => 60,
            Self::Day => 1_440,
        }
    }
}
