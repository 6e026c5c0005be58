//! Reads a segment as plain bytes and believes nothing: for recovery and `shunt verify`.

use super::record::{self, ALIGNMENT, FRAME_BYTES, Layout, PAYLOAD_BYTES, Record};
use super::{Boot, HEADER_BYTES, Header};
use crate::domain::click::SegmentId;

/// Bytes that the search for records behind damage may checksum, as a multiple of the segment:
/// bytes that merely look like records must not keep it busy for long.
const SEARCH_FACTOR: usize = 16;

/// What a segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// Intact records before the first that is not.
    pub records: u64,
    /// Where they end.
    pub end: usize,
    pub damage: Option<Damage>,
}

/// Where a segment is damaged, and what is known to be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    pub offset: usize,
    /// Records at and behind the damage that can be told from garbage; at least one.
    pub lost: u64,
}

/// Hands every intact record up to the first that is not to `each`. A record that was never
/// finished ends the segment without being damage: it was not promised to anybody.
pub fn scan(bytes: &[u8], segment: SegmentId, mut each: impl FnMut(Record<'_>)) -> Scanned {
    let seed = record::seed(segment);
    let trust = Trust::of(bytes);
    let mut end = HEADER_BYTES;
    let mut records = 0;
    while let Some((record, next)) = intact(bytes, seed, end, trust) {
        each(record);
        records += 1;
        end = next;
    }
    Scanned { records, end, damage: damage(bytes, seed, end, trust) }
}

/// The header of a segment. `None`: these bytes are no segment.
pub fn header(bytes: &[u8]) -> Option<Header> {
    Header::parse(bytes.get(..HEADER_BYTES)?)
}

/// What the header of a file says about a scan of its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Head {
    Intact,
    /// The records alone prove which segment this is.
    Damaged,
    /// These bytes are no segment, another one, or one of a newer version.
    Foreign,
}

/// Judges the header of a file that was scanned as `segment`, which is what its name says.
pub(in super::super) fn head(bytes: &[u8], segment: SegmentId, scanned: &Scanned) -> Head {
    // A single record that is lost may as well be garbage.
    let proven = scanned.records > 0 || scanned.damage.is_some_and(|damage| damage.lost > 1);
    match header(bytes) {
        Some(header) if header.segment == segment => Head::Intact,
        None if proven && !Header::is_whole(bytes) => Head::Damaged,
        _ => Head::Foreign,
    }
}

/// How records are read.
#[derive(Clone, Copy)]
struct Trust {
    layout: Layout,
    /// Records without a checksum count: the kernel that they were written under still runs.
    unsealed: bool,
}

impl Trust {
    fn of(bytes: &[u8]) -> Self {
        match header(bytes) {
            Some(Header { layout, boot, .. }) => {
                let unsealed = layout == Layout::SealedBehind && boot == Boot::current();
                Self { layout, unsealed }
            }
            // Without a header the records are taken for those of this build.
            None => Self { layout: Layout::NEWEST, unsealed: false },
        }
    }
}

fn intact(bytes: &[u8], seed: u32, at: usize, trust: Trust) -> Option<(Record<'_>, usize)> {
    let frame = bytes.get(at..at + FRAME_BYTES)?;
    let len = word(frame)? as usize;
    if !PAYLOAD_BYTES.contains(&len) {
        return None;
    }
    let payload = bytes.get(at + FRAME_BYTES..at + FRAME_BYTES + len)?;
    let crc = word(&frame[4..])?;
    if !(crc == 0 && trust.unsealed) && record::checksum(seed, at, payload) != crc {
        return None;
    }
    Some((Record::parse(payload, trust.layout)?, at + record::record_bytes(len)))
}

/// A commit word is written after its record and nothing comes behind the last one, so a commit
/// word without its record, or a record further on, was damaged after it was written. A record that
/// never got its checksum is none: a loss of power may take what was not on the disk yet.
fn damage(bytes: &[u8], seed: u32, end: usize, trust: Trust) -> Option<Damage> {
    let broken = bytes.get(end..).and_then(word).is_some_and(|commit| commit != 0);
    let unsealed = bytes.get(end + 4..).and_then(word) == Some(0);
    let broken = broken && (trust.unsealed || trust.layout == Layout::Sealed || !unsealed);
    let mut lost = u64::from(broken);
    let mut budget = bytes.len().saturating_mul(SEARCH_FACTOR);
    let mut at = end.saturating_add(ALIGNMENT);
    while let Some(commit) = bytes.get(at..).and_then(word) {
        let mut next = at + ALIGNMENT;
        if PAYLOAD_BYTES.contains(&(commit as usize)) {
            budget = budget.saturating_sub(commit as usize);
            if let Some((_, behind)) = intact(bytes, seed, at, trust) {
                lost += 1;
                next = behind;
            }
        }
        if budget == 0 {
            break;
        }
        at = next;
    }
    (lost > 0).then_some(Damage { offset: end, lost })
}

fn word(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?))
}
