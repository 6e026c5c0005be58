//! Clicks as they are counted: enriched, without an address, ready to be stored.

use std::sync::Arc;

use crate::domain::click::{ClickFlags, SegmentId};
use crate::domain::day::DayStats;
use crate::domain::id::{EPOCH_MS, Id};
use crate::domain::time::Timestamp;
use crate::domain::words::{Word, Words};

/// Bits of a click's id that tell clicks of one millisecond apart.
const SERIAL_BITS: u32 = 22;

/// One click and what was found out about it. Texts are words of the [`Words`] it travels with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CountedClick {
    pub link: Id,
    pub at: Timestamp,
    /// Tells clicks of one link and millisecond apart: 22 bits.
    pub serial: u32,
    /// Version of the link that answered.
    pub version: u32,
    pub flags: ClickFlags,
    /// Keyed hash of address and user agent; zero when nothing of the visitor is kept.
    pub visitor: u64,
    /// Parts: device, os, browser.
    pub agent: Word,
    /// Parts: continent, country, region, city.
    pub place: Word,
    /// Parts: domain, the referrer as it was sent.
    pub referrer: Word,
    pub language: Word,
    /// Parts: source, medium, campaign, term, content.
    pub utm: Word,
}

impl CountedClick {
    pub fn is_bot(&self) -> bool {
        self.flags.has(ClickFlags::BOT)
    }

    /// Id in the form of a Snowflake: rises with time, and is the same whenever the click is
    /// counted again.
    pub fn id(&self) -> Id {
        click_id(self.at, self.serial)
    }
}

// Counters hold some hundred thousand of them.
const _: () = assert!(size_of::<CountedClick>() <= 64);

/// The id of a click: milliseconds since 2025-01-01, then the serial.
pub fn click_id(at: Timestamp, serial: u32) -> Id {
    let millis = at.as_millis().saturating_sub(EPOCH_MS).max(0) as u64;
    Id((millis << SERIAL_BITS) | u64::from(serial & ((1 << SERIAL_BITS) - 1)))
}

/// The serial of a click: its place in the journal, scattered (splitmix64's finaliser).
pub fn serial_of(segment: SegmentId, record: u64) -> u32 {
    let mut x = segment.0.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(record);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((x ^ (x >> 31)) as u32) & ((1 << SERIAL_BITS) - 1)
}

/// Clicks of one link in one minute that are counted but not kept one by one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surplus {
    pub link: Id,
    /// Whole minutes since the Unix epoch.
    pub minute: u32,
    pub stats: DayStats,
}

/// What is to be stored of one segment: everything up to record `to_record`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentClicks {
    pub segment: SegmentId,
    /// Records that earlier flushes of this segment covered; a store that adds checks it.
    pub from_record: u64,
    /// Records that this flush covers, counted from the start of the segment.
    pub to_record: u64,
    pub words: Arc<Words>,
    /// By link, then time.
    pub clicks: Vec<CountedClick>,
    /// By link, then minute.
    pub surplus: Vec<Surplus>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_clicks_rise_with_time_and_carry_it() {
        let (early, late) = (Timestamp(EPOCH_MS + 5), Timestamp(EPOCH_MS + 6));
        assert!(click_id(early, u32::MAX) < click_id(late, 0));
        assert_eq!(click_id(late, 7).created_at(), late);
        assert_eq!(click_id(Timestamp(0), 3), Id(3));
    }

    #[test]
    fn neighbours_in_the_journal_have_other_serials() {
        let serials: std::collections::HashSet<u32> =
            (0..1_000).map(|record| serial_of(SegmentId(1 << 24), record)).collect();
        assert!(serials.len() > 990);
        assert_eq!(serial_of(SegmentId(5), 9), serial_of(SegmentId(5), 9));
    }
}
