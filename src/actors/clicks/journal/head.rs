//! The first page of a segment: whose records these are.

use crate::domain::click::SegmentId;
use crate::domain::time::Timestamp;

/// Bytes before the first record: one page.
pub(in super::super) const HEADER_BYTES: usize = 4_096;
const MAGIC: [u8; 8] = *b"shuntseg";
const VERSION: u32 = 1;
const USED_BYTES: usize = 40;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub segment: SegmentId,
    pub created_at: Timestamp,
    /// Bytes of the whole segment.
    pub bytes: u32,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; USED_BYTES] {
        let mut out = [0; USED_BYTES];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&self.bytes.to_le_bytes());
        out[16..24].copy_from_slice(&self.segment.0.to_le_bytes());
        out[24..32].copy_from_slice(&self.created_at.as_millis().to_le_bytes());
        let crc = crc32fast::hash(&out[..USED_BYTES - 4]);
        out[USED_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    pub(super) fn parse(page: &[u8]) -> Option<Self> {
        let used = page.get(..USED_BYTES)?;
        let word = |at: usize| Some(u32::from_le_bytes(used[at..at + 4].try_into().ok()?));
        let long = |at: usize| Some(u64::from_le_bytes(used[at..at + 8].try_into().ok()?));
        let known = Self::is_whole(page) && used[..8] == MAGIC && word(8)? == VERSION;
        known.then_some(Self {
            segment: SegmentId(long(16)?),
            created_at: Timestamp(long(24)? as i64),
            bytes: word(12)?,
        })
    }

    /// True when these bytes are as they were written, by whichever version.
    pub(super) fn is_whole(page: &[u8]) -> bool {
        let Some((text, crc)) = page.get(..USED_BYTES).and_then(|used| used.split_last_chunk())
        else {
            return false;
        };
        u32::from_le_bytes(*crc) == crc32fast::hash(text)
    }
}
