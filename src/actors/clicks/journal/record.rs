//! One click as bytes: how a record is laid out and checked.
//!
//! A record begins at a multiple of eight: a commit word (length of the payload, written last), a
//! CRC-32 of the payload, the payload, zeros up to the next multiple of eight. The CRC starts from
//! the segment's id and the record's offset, so that bytes of another segment, or of another
//! place, never validate. All numbers are little-endian.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::domain::click::{ClickFlags, RawClick, SegmentId};
use crate::domain::id::Id;
use crate::domain::limits::CLICK_FIELD_BYTES_MAX;
use crate::domain::time::Timestamp;

/// Records begin at multiples of this.
pub(super) const ALIGNMENT: usize = 8;
/// Commit word and CRC.
pub(super) const FRAME_BYTES: usize = 8;
/// Time, link, four lengths, flags, length of the address.
const FIXED_BYTES: usize = 26;
const FIELDS: usize = 4;
/// Shortest and longest payload.
pub(super) const PAYLOAD_BYTES: std::ops::RangeInclusive<usize> =
    FIXED_BYTES..=FIXED_BYTES + 16 + FIELDS * CLICK_FIELD_BYTES_MAX;

// The lengths of fields are stored in 16 bits.
const _: () = assert!(CLICK_FIELD_BYTES_MAX <= u16::MAX as usize);

/// A click on its way into a payload; fields are cut, private ones left out.
pub(super) struct Draft<'a> {
    click: &'a RawClick<'a>,
    fields: [&'a [u8]; FIELDS],
    address: ([u8; 16], usize),
}

/// A click as it was read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub at: Timestamp,
    pub link: Id,
    pub flags: ClickFlags,
    /// Absent when the visitor asked for privacy.
    pub address: Option<IpAddr>,
    pub user_agent: &'a [u8],
    pub referrer: &'a [u8],
    pub language: &'a [u8],
    pub query: &'a [u8],
}

impl<'a> Draft<'a> {
    pub(super) fn new(click: &'a RawClick<'a>) -> Self {
        if click.flags.has(ClickFlags::PRIVATE) {
            return Self { click, fields: [&[]; FIELDS], address: ([0; 16], 0) };
        }
        let mut address = [0; 16];
        let address_bytes = match click.address {
            IpAddr::V4(v4) => {
                address[..4].copy_from_slice(&v4.octets());
                4
            }
            IpAddr::V6(v6) => {
                address = v6.octets();
                16
            }
        };
        let fields = [click.user_agent, click.referrer, click.language, click.query].map(cut);
        Self { click, fields, address: (address, address_bytes) }
    }

    /// Bytes of the payload.
    pub(super) fn payload_bytes(&self) -> usize {
        FIXED_BYTES + self.address.1 + self.fields.iter().map(|field| field.len()).sum::<usize>()
    }

    /// Fills `out`, which is exactly `payload_bytes` long.
    pub(super) fn write(&self, out: &mut [u8]) {
        let (fixed, mut rest) = out.split_at_mut(FIXED_BYTES);
        fixed[..8].copy_from_slice(&self.click.at.as_millis().to_le_bytes());
        fixed[8..16].copy_from_slice(&self.click.link.0.to_le_bytes());
        for (slot, field) in fixed[16..24].chunks_exact_mut(2).zip(&self.fields) {
            slot.copy_from_slice(&(field.len() as u16).to_le_bytes());
        }
        fixed[24] = self.click.flags.0;
        fixed[25] = self.address.1 as u8;
        for part in [&self.address.0[..self.address.1]].into_iter().chain(self.fields) {
            let (here, after) = rest.split_at_mut(part.len());
            here.copy_from_slice(part);
            rest = after;
        }
    }
}

impl<'a> Record<'a> {
    /// Reads a payload; `None` when its lengths do not add up.
    pub(super) fn parse(payload: &'a [u8]) -> Option<Self> {
        let (at, link) = time_and_link(payload)?;
        let (fixed, rest) = payload.split_at_checked(FIXED_BYTES)?;
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
        let record = Self { at, link, flags, address, user_agent, referrer, language, query };
        rest.is_empty().then_some(record)
    }
}

/// The part of a payload that counting needs.
pub(in super::super) fn time_and_link(payload: &[u8]) -> Option<(Timestamp, Id)> {
    let at = i64::from_le_bytes(payload.get(..8)?.try_into().ok()?);
    let link = u64::from_le_bytes(payload.get(8..16)?.try_into().ok()?);
    Some((Timestamp(at), Id(link)))
}

/// The user agent of a payload; empty when there is none.
pub(in super::super) fn user_agent(payload: &[u8]) -> &[u8] {
    let Some((fixed, rest)) = payload.split_at_checked(FIXED_BYTES) else { return &[] };
    let from = usize::from(fixed[25]);
    let length = usize::from(u16::from_le_bytes([fixed[16], fixed[17]]));
    rest.get(from..from + length).unwrap_or_default()
}

/// Where the CRCs of a segment start from.
pub(super) fn seed(segment: SegmentId) -> u32 {
    crc32fast::hash(&segment.0.to_le_bytes())
}

/// CRC of the payload of the record at `offset`. Two offsets, or two seeds, never give the same
/// CRC for the same payload, because a CRC keeps the difference of its starting values.
pub(super) fn checksum(seed: u32, offset: usize, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed ^ offset as u32);
    hasher.update(payload);
    hasher.finalize()
}

/// Bytes from the beginning of a record to the beginning of the next.
pub(super) const fn record_bytes(payload_bytes: usize) -> usize {
    (FRAME_BYTES + payload_bytes).next_multiple_of(ALIGNMENT)
}

fn cut(field: &[u8]) -> &[u8] {
    &field[..field.len().min(CLICK_FIELD_BYTES_MAX)]
}
