//! The first page of a segment: whose records these are.

use super::boot::Boot;
use super::record::Layout;
use crate::domain::click::SegmentId;
use crate::domain::time::Timestamp;

/// Bytes before the first record: one page.
pub(in super::super) const HEADER_BYTES: usize = 4_096;
const MAGIC: [u8; 8] = *b"shuntseg";
/// Bytes of a header of version 1, and of one of version 2.
const USED_BYTES: [usize; 2] = [40, 56];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub segment: SegmentId,
    pub created_at: Timestamp,
    /// Bytes of the whole segment.
    pub bytes: u32,
    pub layout: Layout,
    /// The run of the kernel in which it was written; nothing in version 1.
    pub boot: Boot,
}

impl Header {
    /// Writes a header of the newest version.
    pub(super) fn encode(&self) -> [u8; USED_BYTES[1]] {
        let mut out = [0; USED_BYTES[1]];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&2_u32.to_le_bytes());
        out[12..16].copy_from_slice(&self.bytes.to_le_bytes());
        out[16..24].copy_from_slice(&self.segment.0.to_le_bytes());
        out[24..32].copy_from_slice(&self.created_at.as_millis().to_le_bytes());
        out[32..48].copy_from_slice(&self.boot.0);
        let end = out.len() - 4;
        let crc = crc32fast::hash(&out[..end]);
        out[end..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    pub(super) fn parse(page: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_le_bytes(page.get(at..at + 4)?.try_into().ok()?));
        let long = |at: usize| Some(u64::from_le_bytes(page.get(at..at + 8)?.try_into().ok()?));
        let layout = match word(8)? {
            1 => Layout::Sealed,
            2 => Layout::SealedBehind,
            _ => return None,
        };
        let known = Self::is_whole(page) && page[..8] == MAGIC;
        let boot = match layout {
            Layout::Sealed => Boot::default(),
            Layout::SealedBehind => Boot(page.get(32..48)?.try_into().ok()?),
        };
        known.then_some(Self {
            segment: SegmentId(long(16)?),
            created_at: Timestamp(long(24)? as i64),
            bytes: word(12)?,
            layout,
            boot,
        })
    }

    /// True when these bytes are as they were written, by whichever version.
    pub(super) fn is_whole(page: &[u8]) -> bool {
        USED_BYTES.iter().any(|used| {
            let text = page.get(..*used).and_then(|used| used.split_last_chunk());
            text.is_some_and(|(text, crc)| u32::from_le_bytes(*crc) == crc32fast::hash(text))
        })
    }
}
