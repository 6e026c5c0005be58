//! A click as it happens, before anything is known of its visitor.

use std::net::IpAddr;

use crate::domain::id::Id;
use crate::domain::time::Timestamp;

/// One redirect that was answered, borrowed from the request. Written to the journal at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawClick<'a> {
    pub at: Timestamp,
    pub link: Id,
    /// Version of the link that answered: tells the destination, also when it is changed later.
    pub version: u32,
    pub address: IpAddr,
    pub flags: ClickFlags,
    pub user_agent: &'a [u8],
    pub referrer: &'a [u8],
    pub language: &'a [u8],
    pub query: &'a [u8],
}

/// Bits that travel with a click. The numbers are part of the formats of journal and store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClickFlags(pub u8);

impl ClickFlags {
    /// `DNT: 1` or `Sec-GPC: 1`: counted, but nothing about the visitor is kept.
    pub const PRIVATE: Self = Self(1);
    /// `?qr=1`: the scan of a QR code.
    pub const QR: Self = Self(2);
    /// `Purpose`, `Sec-Purpose` or `X-Moz` said prefetch or preview.
    pub const PREFETCH: Self = Self(4);
    /// The user agent is that of a bot. Found out when the click is counted.
    pub const BOT: Self = Self(8);

    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that are also in `other`.
    pub const fn only(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// A journal segment: the unit in which clicks are counted exactly once. High 40 bits are the
/// epoch of the process that wrote it, low 24 bits count its segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub u64);

/// How often a link was clicked in all, bots left out, and when last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClickTotals {
    pub clicks: u64,
    pub last_clicked_at: Option<Timestamp>,
}
