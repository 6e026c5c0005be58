//! What stands in the values of rows: single clicks in parts, sums of a day, touched days of links.

use std::collections::BTreeMap;
use std::ops::Range;

use super::read::Place;
use crate::domain::counted::{CountedClick, SegmentClicks, Surplus};
use crate::domain::day::{Counts, DayStats, day_of};
use crate::domain::id::Id;
use crate::domain::words::Words;
use crate::storage::chunk::bytes::{Damage, Outcome, Reader, put, seal_at};
use crate::storage::chunk::clicks::encode;
use crate::storage::chunk::sums::{Numbering, RawWords, put_stats, read_stats};

/// Bytes of a value, about: servers refuse a write of some megabytes.
const PART_BYTES: usize = 256 << 10;
const TOUCHED_BYTES: usize = 64 << 10;

/// A link, and a day on which it was clicked.
pub(super) type Pair = (Id, u32);

/// What a segment has of one link on one day.
pub(super) struct Unit {
    pub(super) pair: Pair,
    clicks: Range<usize>,
    rows: Range<usize>,
}

/// A unit as rows have it.
pub(super) struct Packed {
    pub(super) counts: Counts,
    /// Time of the last click of a person, in milliseconds.
    pub(super) last_at: Option<i64>,
    pub(super) parts: Vec<Part>,
}

/// Some clicks. Its seal is still to be set.
pub(super) struct Part {
    /// Times of the first and the last of its single clicks, in milliseconds.
    pub(super) first: Option<i64>,
    pub(super) last: Option<i64>,
    pub(super) body: Vec<u8>,
}

/// The units of a segment, by link, then day.
pub(super) fn units(segment: &SegmentClicks) -> Vec<Unit> {
    let mut units: BTreeMap<Pair, [Range<usize>; 2]> = BTreeMap::new();
    let of_click = |click: &CountedClick| (click.link, day_of(click.at));
    let mut at = 0;
    for run in segment.clicks.chunk_by(|a, b| of_click(a) == of_click(b)) {
        units.entry(of_click(&run[0])).or_default()[0] = at..at + run.len();
        at += run.len();
    }
    let of_row = |row: &Surplus| (row.link, row.minute / 1_440);
    let mut at = 0;
    for run in segment.surplus.chunk_by(|a, b| of_row(a) == of_row(b)) {
        units.entry(of_row(&run[0])).or_default()[1] = at..at + run.len();
        at += run.len();
    }
    units.into_iter().map(|(pair, [clicks, rows])| Unit { pair, clicks, rows }).collect()
}

impl Unit {
    pub(super) fn pack(&self, segment: &SegmentClicks, numbering: &mut Numbering) -> Packed {
        let clicks = &segment.clicks[self.clicks.clone()];
        let rows = &segment.surplus[self.rows.clone()];
        let (mut counts, mut last_at) = (Counts::default(), None);
        for click in clicks {
            counts.add(Counts::one(click.is_bot()));
            last_at = last_at.max((!click.is_bot()).then_some(click.at));
        }
        for row in rows {
            counts.add(row.stats.counts());
            last_at = last_at.max(row.stats.people_at.map(|times| times.last));
        }
        let mut parts = Vec::new();
        split(&segment.words, numbering, (clicks, rows), &mut parts);
        Packed { counts, last_at: last_at.map(|at| at.as_millis()), parts }
    }
}

/// Packs clicks into as many parts as it takes.
fn split(
    words: &Words,
    numbering: &mut Numbering,
    (clicks, rows): (&[CountedClick], &[Surplus]),
    parts: &mut Vec<Part>,
) {
    let body = encode(0, words, numbering, clicks, rows);
    if body.len() > PART_BYTES && clicks.len() + rows.len() > 1 {
        let at = if rows.is_empty() { clicks.len() / 2 } else { clicks.len() };
        let (some, others) = clicks.split_at(at);
        let at = if clicks.is_empty() { rows.len() / 2 } else { 0 };
        let (some_rows, other_rows) = rows.split_at(at);
        split(words, numbering, (some, some_rows), parts);
        split(words, numbering, (others, other_rows), parts);
        return;
    }
    let millis = |click: &CountedClick| click.at.as_millis();
    parts.push(Part { first: clicks.first().map(millis), last: clicks.last().map(millis), body });
}

/// What a value is sealed with, so that it counts in this place only.
pub(in crate::storage::scylla) fn seal_of(place: Place, numbers: [i64; 3]) -> i64 {
    let place = [place.link.0, place.day.into(), place.node as u64];
    let numbers = place.into_iter().chain(numbers.map(i64::cast_unsigned));
    numbers.fold(0, |hash: u64, number| {
        let hash = (hash ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        hash ^ (hash >> 29)
    }) as i64
}

pub(super) fn encode_sums(seal: i64, stats: &DayStats, words: &Words) -> Vec<u8> {
    let mut numbering = Numbering::new(words);
    numbering.begin();
    let mut sums = Vec::new();
    put_stats(&mut sums, stats, |word| numbering.number(word));
    let mut out = vec![0; 4];
    numbering.put(&mut out, words);
    out.extend_from_slice(&sums);
    seal_at(seal, &mut out);
    out
}

pub(super) fn decode_sums(seal: i64, body: &[u8]) -> Outcome<(Words, DayStats)> {
    let mut reader = Reader::open_at(seal, body)?;
    let words = RawWords::read(&mut reader)?;
    let stats = read_stats(&mut reader, &words)?;
    reader.finish()?;
    Ok((words.words()?, stats))
}

/// Pairs, in order, as values.
pub(super) fn encode_touched(pairs: &[Pair]) -> Vec<Vec<u8>> {
    let mut parts = vec![Vec::<u8>::new()];
    let mut previous = 0;
    for (link, day) in pairs {
        if parts.last().is_some_and(|part| part.len() >= TOUCHED_BYTES) {
            parts.push(Vec::new());
            previous = 0;
        }
        let part = parts.last_mut().expect("there is one");
        put(part, link.0 - previous);
        put(part, (*day).into());
        previous = link.0;
    }
    parts
}

/// Appends what a value tells.
pub(super) fn decode_touched(body: &[u8], pairs: &mut Vec<Pair>) -> Outcome<()> {
    let (mut reader, mut link) = (Reader::of(body), 0_u64);
    while !reader.is_empty() {
        link = link.checked_add(reader.number()?).ok_or(Damage)?;
        pairs.push((Id(link), u32::try_from(reader.number()?).map_err(|_| Damage)?));
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::time::Timestamp;
    use crate::storage::chunk::clicks::decode;

    #[test]
    fn touched_days_read_back_as_they_were_written() {
        let pairs: Vec<Pair> = (0..40_000).map(|n| (Id(n / 2 * 1_000_000_007), 20_000)).collect();
        let parts = encode_touched(&pairs);
        assert!(parts.len() > 1 && parts.iter().all(|part| part.len() < TOUCHED_BYTES + 20));
        let mut read = Vec::new();
        parts.iter().for_each(|part| decode_touched(part, &mut read).unwrap());
        assert_eq!(read, pairs);
        assert!(decode_touched(&[0x80], &mut read).is_err());
        assert_eq!(encode_touched(&[]), [Vec::<u8>::new()]);
    }

    #[test]
    fn clicks_that_are_too_many_for_one_value_are_in_several() {
        let click = |n: u32| CountedClick {
            link: Id(u64::from(n / 30_000)),
            at: Timestamp(86_400_000 + i64::from(n % 30_000)),
            visitor: u64::MAX,
            ..CountedClick::default()
        };
        let clicks: Vec<CountedClick> = (0..30_100).map(click).collect();
        let surplus = vec![Surplus { link: Id(1), minute: 5_000, stats: DayStats::default() }];
        let words = Arc::new(Words::default());
        let segment = SegmentClicks { clicks, surplus, words, ..SegmentClicks::default() };
        let found = units(&segment);
        let pairs: Vec<Pair> = found.iter().map(|unit| unit.pair).collect();
        assert_eq!(pairs, [(Id(0), 1), (Id(1), 1), (Id(1), 3)]);
        let mut numbering = Numbering::new(&segment.words);
        let packed = found[0].pack(&segment, &mut numbering);
        assert!(packed.parts.len() > 1, "{}", packed.parts.len());
        let all = packed.parts.iter().flat_map(|part| {
            assert!(part.body.len() <= PART_BYTES);
            decode(0, &part.body).unwrap().clicks
        });
        assert!(all.eq(segment.clicks[..30_000].iter().copied()));
        assert_eq!(packed.counts, Counts { people: 30_000, bots: 0 });
        assert_eq!(packed.last_at, Some(86_400_000 + 29_999));
        assert_eq!(found[2].pack(&segment, &mut numbering).parts.len(), 1);
    }
}
