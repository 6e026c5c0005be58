//! One click as bytes: how a record is laid out and checked.
//!
//! A record begins at a multiple of eight: a commit word (length of the payload, written last), a
//! CRC-32 of the payload, the payload, zeros up to the next multiple of eight. The CRC starts from
//! the segment's id and the record's offset, so that bytes of another segment, or of another
//! place, never validate. It is written behind the record, before the record goes to the disk
//! (ADR 11): until then the word is zero, and the record holds as long as the kernel runs on. All
//! numbers are little-endian.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::domain::click::{ClickFlags, RawClick, SegmentId};
use crate::domain::id::Id;
use crate::domain::limits::CLICK_FIELD_BYTES_MAX;
use crate::domain::time::Timestamp;

/// Records begin at multiples of this.
pub(super) const ALIGNMENT: usize = 8;
/// Commit word and CRC.
pub(super) const FRAME_BYTES: usize = 8;
/// Time, link, four lengths, flags, length of the address, version of the link.
const FIXED_BYTES: usize = 30;
/// The same in journals of version 1, which do not tell the version of the link.
const FIXED_BYTES_1: usize = 26;
const FIELDS: usize = 4;
const ADDRESS_BYTES_MAX: usize = 16;
/// Shortest and longest payload; fields of version 1 were one byte longer.
pub(super) const PAYLOAD_BYTES: std::ops::RangeInclusive<usize> =
    FIXED_BYTES_1..=FIXED_BYTES + ADDRESS_BYTES_MAX + FIELDS * (CLICK_FIELD_BYTES_MAX + 1);

// The lengths of fields are stored in 16 bits, and compared all at once.
const _: () = assert!(CLICK_FIELD_BYTES_MAX <= u16::MAX as usize);
const _: () = assert!((CLICK_FIELD_BYTES_MAX + 1).is_power_of_two());

/// How records are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Of journals of version 1: with a checksum from the start, without the version of the link.
    Sealed,
    /// The checksum is written behind the record.
    SealedBehind,
}

impl Layout {
    /// What this build writes.
    pub const NEWEST: Self = Self::SealedBehind;

    const fn fixed_bytes(self) -> usize {
        match self {
            Self::Sealed => FIXED_BYTES_1,
            Self::SealedBehind => FIXED_BYTES,
        }
    }
}

/// A click as it was read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub at: Timestamp,
    pub link: Id,
    /// Version of the link that answered; zero when it is not known.
    pub version: u32,
    pub flags: ClickFlags,
    /// Absent when the visitor asked for privacy.
    pub address: Option<IpAddr>,
    pub user_agent: &'a [u8],
    pub referrer: &'a [u8],
    pub language: &'a [u8],
    pub query: &'a [u8],
}

/// Bytes of the payload at most. The address may take less, and so does a private click.
#[inline]
pub(super) fn room(click: &RawClick<'_>) -> usize {
    let fields =
        click.user_agent.len() + click.referrer.len() + click.language.len() + click.query.len();
    FIXED_BYTES + ADDRESS_BYTES_MAX + fields
}

/// Writes the payload to the beginning of `out`, which is zero and as long as [`room`] says;
/// answers its bytes. The fields of `click` fit (see [`fits`]). Every instruction here is one of
/// each redirect.
#[inline]
pub(super) fn write(click: &RawClick<'_>, out: &mut [u8]) -> usize {
    let room = out.len();
    let (fixed, rest) = out.split_first_chunk_mut::<FIXED_BYTES>().expect("it is that long");
    fixed[..8].copy_from_slice(&click.at.as_millis().to_le_bytes());
    fixed[8..16].copy_from_slice(&click.link.0.to_le_bytes());
    fixed[24] = click.flags.0;
    fixed[26..].copy_from_slice(&click.version.to_le_bytes());
    if click.flags.has(ClickFlags::PRIVATE) {
        // Nothing of the visitor is kept: all lengths are zero, as they were.
        return FIXED_BYTES;
    }
    let rest = match click.address {
        IpAddr::V4(v4) => {
            fixed[25] = 4;
            put(rest, &v4.octets())
        }
        IpAddr::V6(v6) => {
            fixed[25] = 16;
            put(rest, &v6.octets())
        }
    };
    let RawClick { user_agent, referrer, language, query, .. } = *click;
    let lengths = user_agent.len() as u64
        | (referrer.len() as u64) << 16
        | (language.len() as u64) << 32
        | (query.len() as u64) << 48;
    fixed[16..24].copy_from_slice(&lengths.to_le_bytes());
    let mut rest = put(rest, user_agent);
    for field in [referrer, language, query] {
        if !field.is_empty() {
            rest = put(rest, field);
        }
    }
    room - rest.len()
}

/// Whether all fields are short enough to be kept whole. One comparison for all four, since the
/// bound is all ones.
#[inline]
pub(super) fn fits(click: &RawClick<'_>) -> bool {
    let lengths =
        click.user_agent.len() | click.referrer.len() | click.language.len() | click.query.len();
    lengths <= CLICK_FIELD_BYTES_MAX
}

/// The same click with fields that fit.
#[cold]
pub(super) fn cut<'a>(click: &RawClick<'a>) -> RawClick<'a> {
    let cut = |field: &'a [u8]| &field[..field.len().min(CLICK_FIELD_BYTES_MAX)];
    RawClick {
        user_agent: cut(click.user_agent),
        referrer: cut(click.referrer),
        language: cut(click.language),
        query: cut(click.query),
        ..*click
    }
}

/// Copies `part` to the beginning of `out`; answers what is behind it.
#[inline]
fn put<'a>(out: &'a mut [u8], part: &[u8]) -> &'a mut [u8] {
    let (here, rest) = out.split_at_mut(part.len());
    here.copy_from_slice(part);
    rest
}

impl<'a> Record<'a> {
    /// Reads a payload; `None` when its lengths do not add up.
    pub(in super::super) fn parse(payload: &'a [u8], layout: Layout) -> Option<Self> {
        let (fixed, rest) = payload.split_at_checked(layout.fixed_bytes())?;
        let at = Timestamp(i64::from_le_bytes(fixed[..8].try_into().ok()?));
        let link = Id(u64::from_le_bytes(fixed[8..16].try_into().ok()?));
        let version = match fixed[26..].try_into() {
            Ok(version) => u32::from_le_bytes(version),
            Err(_) => 0,
        };
        let (address, mut rest) = rest.split_at_checked(usize::from(fixed[25]))?;
        let address = match address.len() {
            0 => None,
            4 => Some(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(address).ok()?))),
            16 => Some(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(address).ok()?))),
            _ => return None,
        };
        let mut fields = [&[][..]; FIELDS];
        for (field, len) in fields.iter_mut().zip(fixed[16..24].chunks_exact(2)) {
            (*field, rest) =
                rest.split_at_checked(usize::from(u16::from_le_bytes([len[0], len[1]])))?;
        }
        let [user_agent, referrer, language, query] = fields;
        let flags = ClickFlags(fixed[24]);
        let record =
            Self { at, link, version, flags, address, user_agent, referrer, language, query };
        rest.is_empty().then_some(record)
    }
}

/// Where the CRCs of a segment start from.
pub(super) fn seed(segment: SegmentId) -> u32 {
    crc32fast::hash(&segment.0.to_le_bytes())
}

/// CRC of the payload of the record at `offset`, never zero. Two offsets, or two seeds, never give
/// the same CRC for the same payload, because a CRC keeps the difference of its starting values.
pub(super) fn checksum(seed: u32, offset: usize, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed ^ offset as u32);
    hasher.update(payload);
    // Zero says that there is none yet.
    hasher.finalize().max(1)
}

/// Bytes from the beginning of a record to the beginning of the next.
pub(super) const fn record_bytes(payload_bytes: usize) -> usize {
    // By a mask: `next_multiple_of` takes a branch more, and each hit asks twice.
    (FRAME_BYTES + payload_bytes + ALIGNMENT - 1) & !(ALIGNMENT - 1)
}
