//! Clicks and sums of every kind, for tests of what packs them.

use proptest::prelude::*;

use super::bytes::seal_at;
use crate::domain::click::ClickFlags;
use crate::domain::counted::{CountedClick, Surplus};
use crate::domain::day::{Counts, DayStats, Dimension, HourStats, Row, Times};
use crate::domain::id::Id;
use crate::domain::sketch::Sketch;
use crate::domain::time::Timestamp;
use crate::domain::words::{Word, Words};

/// Texts that the samples use; not all of them, and in no order.
pub(in crate::storage) fn words() -> Words {
    let texts = ["a", "EU\u{1f}DE\u{1f}\u{1f}Köln", "", "🦀", "long", "x y", "b", "c", "d"];
    texts.into_iter().map(|text| text.repeat(if text == "long" { 300 } else { 1 }).into()).collect()
}

fn word() -> impl Strategy<Value = Word> {
    (0..=9_u32).prop_map(Word)
}

/// Links of which some are neighbours and some are far away.
fn link() -> impl Strategy<Value = Id> {
    prop_oneof![(0..5_u64).prop_map(Id), any::<u64>().prop_map(Id)]
}

/// Clicks by link, then time.
pub(in crate::storage) fn clicks() -> impl Strategy<Value = Vec<CountedClick>> {
    let at =
        prop_oneof![1_780_000_000_000..1_780_000_900_000_i64, -90_000..u32::MAX as i64 * 60_000];
    let words = (word(), word(), word(), word(), word());
    let visitor = prop_oneof![Just(0), any::<u64>()];
    let rest = (0..1_u32 << 22, any::<u32>(), 0..128_u8, visitor);
    let one = (link(), at, words, rest).prop_map(|(link, at, words, rest)| CountedClick {
        link,
        at: Timestamp(at),
        serial: rest.0,
        version: rest.1,
        flags: ClickFlags(rest.2),
        visitor: rest.3,
        agent: words.0,
        place: words.1,
        referrer: words.2,
        language: words.3,
        utm: words.4,
    });
    prop::collection::vec(one, 0..60).prop_map(|mut clicks| {
        clicks.sort_by_key(|click| (click.link, click.at));
        clicks
    })
}

/// Rows by link, then minute.
pub(in crate::storage) fn surplus() -> impl Strategy<Value = Vec<Surplus>> {
    let one = (link(), any::<u32>(), stats()).prop_map(|(link, minute, stats)| Surplus {
        link,
        minute,
        stats,
    });
    prop::collection::vec(one, 0..6).prop_map(|mut rows| {
        rows.sort_by_key(|row| (row.link, row.minute));
        rows
    })
}

fn counts() -> impl Strategy<Value = Counts> {
    (any::<u64>(), 0..1_000_u64).prop_map(|(people, bots)| Counts { people, bots })
}

fn times() -> impl Strategy<Value = Option<Times>> {
    prop::option::of((0..1_i64 << 50, 0..1_i64 << 30).prop_map(|(first, length)| Times {
        first: Timestamp(first),
        last: Timestamp(first + length),
    }))
}

/// Sketches of no visitors, of some, and of so many that they are told from registers.
fn sketch() -> impl Strategy<Value = Sketch> {
    let n = prop_oneof![4 => Just(0), 4 => 1..20_u64, 1 => Just(3_000_u64)];
    (n, any::<u64>()).prop_map(|(n, seed)| {
        let mut sketch = Sketch::default();
        (0..n).for_each(|n| sketch.insert((seed ^ n).wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        sketch
    })
}

fn hours() -> impl Strategy<Value = Vec<HourStats>> {
    let hour = (counts(), 0..9_u64, sketch(), sketch());
    prop::collection::btree_map(0..24_u8, hour, 0..5).prop_map(|hours| {
        let one = |(hour, (counts, qr_scans, people, bots))| HourStats {
            hour,
            counts,
            qr_scans,
            people,
            bots,
        };
        hours.into_iter().map(one).collect()
    })
}

pub(in crate::storage) fn stats() -> impl Strategy<Value = DayStats> {
    let value = prop_oneof![8 => 1..=9_u32, 1 => Just(u32::MAX)];
    let rows = prop::collection::btree_map((0..13_usize, value), counts(), 0..20);
    (times(), times(), hours(), rows).prop_map(|(people_at, bots_at, hours, rows)| {
        let row = |((dimension, value), counts)| Row {
            dimension: Dimension::ALL[dimension],
            value: Word(value),
            counts,
        };
        DayStats { people_at, bots_at, hours, rows: rows.into_iter().map(row).collect() }
    })
}

/// The texts and not the numbers of words are what must stay; the empty text is none.
pub(in crate::storage) fn in_words_of(word: Word, from: &Words, to: &Words) -> Word {
    let Some(text) = from.text(word) else { return word };
    let at = to.iter().position(|known| &**known == text);
    at.map_or(Word::NONE, |at| Word(at as u32 + 1))
}

/// The same sums with the words of `to`.
pub(in crate::storage) fn stats_in(stats: &DayStats, from: &Words, to: &Words) -> DayStats {
    let mut stats = stats.clone();
    for row in &mut stats.rows {
        if row.dimension != Dimension::Version {
            row.value = in_words_of(row.value, from, to);
        }
    }
    stats.rows.sort_by_key(|row| (row.dimension, row.value));
    stats
}

/// Calls `decode` with one bit changed and with the end cut off: both must be damage.
pub(in crate::storage) fn assert_damage_is_found(
    body: &[u8],
    at: usize,
    bit: u8,
    is_damaged: impl Fn(&[u8]) -> bool,
) {
    let mut flipped = body.to_vec();
    flipped[at] ^= 1 << bit;
    assert!(is_damaged(&flipped), "a flipped bit at {at}");
    assert!(is_damaged(&body[..at]), "cut at {at}");
}

/// Changes a byte or cuts the end off, and makes the checksum right again, for row 7: nothing can
/// be told of what comes out, but that it does.
pub(in crate::storage) fn spoilt(body: &[u8], at: usize, byte: u8) -> [Vec<u8>; 2] {
    let at = at.max(4).min(body.len().saturating_sub(1)).max(4);
    let mut changed = body.to_vec();
    if let Some(place) = changed.get_mut(at) {
        *place = byte;
    }
    let mut cut = body[..at.min(body.len())].to_vec();
    cut.resize(cut.len().max(4), 0);
    seal_at(7, &mut changed);
    seal_at(7, &mut cut);
    [changed, cut]
}
