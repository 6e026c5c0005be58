//! Click pages: the counts of many links in one bucket, packed into one value.
//!
//! Layout: CRC-32 of row id and rest (4 bytes, little endian; in pages of older versions of the
//! rest alone), number of entries, then per entry the distance to the previous link id, the count
//! and, in totals, the time of the last click in milliseconds (0: unknown). All numbers are LEB128.
//! Ids rise strictly.

use super::fault::{Fault, Outcome};
use super::schema::{CLICK_GROUPS, CLICK_SHARDS};
use crate::domain::id::Id;
pub(super) use crate::storage::chunk::bytes::{Reader, put, seal, seal_at, unzigzag, zigzag};

/// The shards of group `g` are those from `g` times this.
pub(super) const SHARDS_PER_GROUP: u64 = CLICK_SHARDS / CLICK_GROUPS;

/// What a page counts. The number is part of the file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum PageKind {
    /// Not written any more since single clicks are kept.
    Minute = 0,
    /// Not written any more; what is there is still told.
    Hour = 1,
    Day = 2,
    /// Everything a link was ever clicked, with the time of the last click. Bucket 0.
    Total = 3,
    /// Clicks that an import brought along: in the totals, but in no bucket of time. Bucket 0.
    Brought = 4,
}

impl PageKind {
    pub(super) const ALL: [Self; 5] =
        [Self::Minute, Self::Hour, Self::Day, Self::Total, Self::Brought];

    pub(super) const fn from_number(number: u64) -> Option<Self> {
        match number {
            0 => Some(Self::Minute),
            1 => Some(Self::Hour),
            2 => Some(Self::Day),
            3 => Some(Self::Total),
            4 => Some(Self::Brought),
            _ => None,
        }
    }

    /// Minutes that a bucket spans; zero when the kind has one bucket only.
    pub(super) const fn minutes(self) -> u32 {
        match self {
            Self::Minute => 1,
            Self::Hour => 60,
            Self::Day => 1_440,
            Self::Total | Self::Brought => 0,
        }
    }

    const fn has_time(self) -> bool {
        matches!(self, Self::Total)
    }
}

/// One link on a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) link: u64,
    pub(super) clicks: u64,
    /// Milliseconds; zero is unknown. Only totals keep it.
    pub(super) last_at: u64,
}

/// Where the counts of a link are kept: splitmix64's finaliser, so that neighbours spread.
pub(super) const fn shard_of(link: Id) -> u64 {
    let mut x = link.0;
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (x ^ (x >> 31)) % CLICK_SHARDS
}

/// Group of deltas that a shard belongs to.
pub(super) const fn group_of(shard: u64) -> u64 {
    shard / SHARDS_PER_GROUP
}

/// Row id of a page.
pub(super) const fn page_id(kind: PageKind, shard: u64, bucket: u32) -> i64 {
    ((kind as i64) << 48) | ((shard as i64) << 32) | bucket as i64
}

/// Where a damaged page is kept that was set aside: beyond every kind.
pub(super) const fn aside_id(id: i64) -> i64 {
    id | ASIDE
}

/// Row id bit of pages that were set aside. Part of the file format.
pub(super) const ASIDE: i64 = 1 << 56;

/// Kind, shard and bucket of a row id.
pub(super) fn parse_page_id(id: i64) -> Option<(PageKind, u64, u32)> {
    let id = u64::try_from(id).ok()?;
    let shard = (id >> 32) & 0xFFFF;
    let kind = PageKind::from_number(id >> 48)?;
    (shard < CLICK_SHARDS).then_some((kind, shard, id as u32))
}

/// Packs entries, which must be ordered by link without repetition.
pub(super) fn encode(kind: PageKind, id: i64, entries: &[Entry]) -> Vec<u8> {
    let mut body = vec![0; 4];
    body.reserve(entries.len() * if kind.has_time() { 14 } else { 8 } + 4);
    put(&mut body, entries.len() as u64);
    let mut previous = 0;
    for entry in entries {
        put(&mut body, entry.link - previous);
        put(&mut body, entry.clicks);
        if kind.has_time() {
            put(&mut body, entry.last_at);
        }
        previous = entry.link;
    }
    seal_at(id, &mut body);
    body
}

/// Unpacks a page. Anything that `encode` would not write is damage.
pub(super) fn decode(kind: PageKind, id: i64, body: &[u8]) -> Outcome<Vec<Entry>> {
    let mut reader = Reader::open_at(id, body).or_else(|_| Reader::open(body))?;
    let n = reader.count(if kind.has_time() { 3 } else { 2 })?;
    let mut entries = Vec::with_capacity(n);
    let mut link = 0_u64;
    for index in 0..n {
        let step = reader.number()?;
        link = link.checked_add(step).ok_or_else(damaged)?;
        if step == 0 && index > 0 {
            return Err(damaged());
        }
        let clicks = reader.number()?;
        let last_at = if kind.has_time() { reader.number()? } else { 0 };
        entries.push(Entry { link, clicks, last_at });
    }
    reader.finish()?;
    Ok(entries)
}

/// Adds `more` to a page, both ordered by link; `more` has each link once.
pub(super) fn merge(page: &[Entry], more: &[Entry]) -> Vec<Entry> {
    let mut merged = Vec::with_capacity(page.len() + more.len());
    let (mut left, mut right) = (page.iter().peekable(), more.iter().peekable());
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        match a.link.cmp(&b.link) {
            std::cmp::Ordering::Less => merged.extend(left.next()),
            std::cmp::Ordering::Greater => merged.extend(right.next()),
            std::cmp::Ordering::Equal => {
                merged.push(Entry {
                    link: a.link,
                    clicks: a.clicks.saturating_add(b.clicks),
                    last_at: a.last_at.max(b.last_at),
                });
                left.next();
                right.next();
            }
        }
    }
    merged.extend(left);
    merged.extend(right);
    merged
}

pub(super) fn damaged() -> Fault {
    Fault::corrupt("click counts that do not parse")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entries() -> impl Strategy<Value = Vec<Entry>> {
        prop::collection::btree_map(any::<u64>(), (any::<u64>(), any::<u64>()), 0..200).prop_map(
            |map| {
                let entry = |(link, (clicks, last_at))| Entry { link, clicks, last_at };
                map.into_iter().map(entry).collect()
            },
        )
    }

    proptest! {
        #[test]
        fn a_page_reads_back_as_it_was_written(entries in entries()) {
            let body = encode(PageKind::Total, 7, &entries);
            prop_assert_eq!(&decode(PageKind::Total, 7, &body).unwrap(), &entries);
            prop_assert!(decode(PageKind::Total, 8, &body).is_err(), "a page of another place");
            let mut older = body;
            seal(&mut older);
            prop_assert_eq!(decode(PageKind::Total, 7, &older).unwrap(), entries);
        }

        #[test]
        fn damage_is_found_and_never_panics(
            entries in entries(),
            at in any::<prop::sample::Index>(),
            bit in 0..8_u8,
        ) {
            let mut body = encode(PageKind::Day, 7, &entries);
            let at = at.index(body.len());
            body[at] ^= 1 << bit;
            prop_assert!(decode(PageKind::Day, 7, &body).is_err());
            prop_assert!(decode(PageKind::Day, 7, &body[..at]).is_err());
        }

        #[test]
        fn noise_with_a_right_checksum_never_panics(
            noise in prop::collection::vec(any::<u8>(), 4..400),
        ) {
            let mut body = noise;
            seal(&mut body);
            let _ = decode(PageKind::Total, 7, &body);
        }

        #[test]
        fn merging_adds_link_by_link(a in entries(), b in entries()) {
            let merged = merge(&a, &b);
            prop_assert!(merged.is_sorted_by(|x, y| x.link < y.link));
            let sum = |list: &[Entry], link: u64| {
                list.iter().find(|e| e.link == link).map_or(0, |e| e.clicks)
            };
            for entry in &merged {
                let both = sum(&a, entry.link).saturating_add(sum(&b, entry.link));
                prop_assert_eq!(entry.clicks, both);
            }
        }
    }

    #[test]
    fn a_page_id_keeps_its_parts() {
        let id = page_id(PageKind::Day, 1_023, u32::MAX);
        assert_eq!(parse_page_id(id), Some((PageKind::Day, 1_023, u32::MAX)));
        assert_eq!(parse_page_id(-1), None);
        assert_eq!(parse_page_id(7 << 48), None);
    }
}
