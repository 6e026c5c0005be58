//! Sums of days as bytes: what chunks, pages of days and roll-ups have in common.
//!
//! All numbers are LEB128. Words are numbers of a dictionary that stands before the sums.

use std::sync::Arc;

use super::bytes::{Outcome, Reader, damaged, put};
use crate::domain::day::{Counts, DayStats, Dimension, HourStats, Row, Times};
use crate::domain::limits::DIMENSION_VALUES_MAX;
use crate::domain::sketch::Sketch;
use crate::domain::time::Timestamp;
use crate::domain::words::{Lexicon, Word, Words};

/// Stands for [`Word::OTHER`], which no dictionary numbers.
const OTHER: u64 = u32::MAX as u64;

/// Numbers words in the order in which they are used, for one value after the other.
pub(in crate::storage) struct Numbering {
    /// By word: the value that numbered it last, and the number.
    known: Vec<(u32, u32)>,
    value: u32,
    used: Vec<Word>,
}

impl Numbering {
    pub(in crate::storage) fn new(words: &Words) -> Self {
        Self { known: vec![(0, 0); words.len()], value: 0, used: Vec::new() }
    }

    /// Begins the next value.
    pub(in crate::storage) fn begin(&mut self) {
        self.value += 1;
        self.used.clear();
    }

    pub(in crate::storage) fn number(&mut self, word: Word) -> u64 {
        let at = (word.0 as usize).checked_sub(1);
        let Some(known) = at.and_then(|at| self.known.get_mut(at)) else { return 0 };
        if known.0 != self.value {
            self.used.push(word);
            *known = (self.value, self.used.len() as u32);
        }
        known.1.into()
    }

    /// Writes the dictionary of what was numbered, in that order.
    pub(in crate::storage) fn put(&self, out: &mut Vec<u8>, words: &Words) {
        put(out, self.used.len() as u64);
        for word in &self.used {
            let text = words.text(*word).unwrap_or_default();
            put(out, text.len() as u64);
            out.extend_from_slice(text.as_bytes());
        }
    }
}

/// A dictionary whose texts are looked at when they are needed.
pub(in crate::storage) struct RawWords<'a>(Vec<&'a [u8]>);

impl<'a> RawWords<'a> {
    pub(in crate::storage) fn read(reader: &mut Reader<'a>) -> Outcome<Self> {
        let n = reader.count(1)?;
        let mut texts = Vec::with_capacity(n);
        for _ in 0..n {
            let len = reader.count(1)?;
            texts.push(reader.bytes(len)?);
        }
        Ok(Self(texts))
    }

    pub(in crate::storage) fn len(&self) -> usize {
        self.0.len()
    }

    /// The text of the word with the number `at` + 1.
    pub(in crate::storage) fn text(&self, at: usize) -> Outcome<&'a str> {
        std::str::from_utf8(self.0[at]).map_err(|_| damaged())
    }

    /// All of it.
    pub(in crate::storage) fn words(&self) -> Outcome<Words> {
        (0..self.len()).map(|at| Ok(Arc::from(self.text(at)?))).collect()
    }

    /// All of it as words of `lexicon`, in order.
    pub(in crate::storage) fn in_lexicon(&self, lexicon: &mut Lexicon) -> Outcome<Vec<Word>> {
        (0..self.len()).map(|at| Ok(lexicon.word(self.text(at)?))).collect()
    }

    /// The word with this number, if there is one.
    pub(in crate::storage) fn check(&self, number: u64) -> Outcome<Word> {
        if number <= self.len() as u64 { Ok(Word(number as u32)) } else { Err(damaged()) }
    }
}

pub(in crate::storage) fn put_stats(
    out: &mut Vec<u8>,
    stats: &DayStats,
    mut word: impl FnMut(Word) -> u64,
) {
    for times in [stats.people_at, stats.bots_at] {
        let (first, last) = times.map_or((0, 0), |times| (millis(times.first), millis(times.last)));
        // Zero stands for "none".
        put(out, times.map_or(0, |_| first + 1));
        put(out, last.saturating_sub(first));
    }
    put(out, stats.hours.len() as u64);
    for hour in &stats.hours {
        out.push(hour.hour);
        put_counts(out, hour.counts);
        put(out, hour.qr_scans);
        put_sketch(out, &hour.people);
        put_sketch(out, &hour.bots);
    }
    put(out, stats.rows.len() as u64);
    for row in &stats.rows {
        out.push(row.dimension as u8);
        put(
            out,
            match (row.dimension, row.value) {
                (_, Word::OTHER) => OTHER,
                (Dimension::Version, Word(version)) => version.into(),
                (_, value) => word(value),
            },
        );
        put_counts(out, row.counts);
    }
}

pub(in crate::storage) fn read_stats(
    reader: &mut Reader<'_>,
    words: &RawWords<'_>,
) -> Outcome<DayStats> {
    let mut stats = DayStats { people_at: read_times(reader)?, ..DayStats::default() };
    stats.bots_at = read_times(reader)?;
    for _ in 0..reader.count(6)? {
        let hour = HourStats {
            hour: reader.byte()?,
            counts: read_counts(reader)?,
            qr_scans: reader.number()?,
            people: read_sketch(reader)?,
            bots: read_sketch(reader)?,
        };
        if hour.hour > 23 || stats.hours.last().is_some_and(|last| last.hour >= hour.hour) {
            return Err(damaged());
        }
        stats.hours.push(hour);
    }
    let n = reader.count(4)?;
    let mut rows = Vec::new();
    if n > Dimension::ALL.len() * (DIMENSION_VALUES_MAX + 1) {
        return Err(damaged());
    }
    rows.reserve_exact(n);
    for _ in 0..n {
        let dimension = Dimension::from_number(reader.byte()?.into()).ok_or_else(damaged)?;
        let value = match (dimension, reader.number()?) {
            (_, OTHER) => Word::OTHER,
            (Dimension::Version, version) => Word(u32::try_from(version).map_err(|_| damaged())?),
            (_, number) => words.check(number)?,
        };
        rows.push(Row { dimension, value, counts: read_counts(reader)? });
    }
    // Words have other numbers here than where the rows were put in order.
    rows.sort_unstable_by_key(|row| (row.dimension, row.value));
    let same = |a: &Row, b: &Row| (a.dimension, a.value) == (b.dimension, b.value);
    if rows.windows(2).any(|two| same(&two[0], &two[1])) {
        return Err(damaged());
    }
    stats.rows = rows;
    Ok(stats)
}

pub(in crate::storage) fn put_counts(out: &mut Vec<u8>, counts: Counts) {
    put(out, counts.people);
    put(out, counts.bots);
}

pub(in crate::storage) fn read_counts(reader: &mut Reader<'_>) -> Outcome<Counts> {
    Ok(Counts { people: reader.number()?, bots: reader.number()? })
}

fn read_times(reader: &mut Reader<'_>) -> Outcome<Option<Times>> {
    let (first, length) = (reader.number()?, reader.number()?);
    let Some(first) = first.checked_sub(1) else { return Ok(None) };
    let last = first.checked_add(length).ok_or_else(damaged)?;
    let time = |millis: u64| i64::try_from(millis).map(Timestamp).map_err(|_| damaged());
    Ok(Some(Times { first: time(first)?, last: time(last)? }))
}

pub(in crate::storage) fn put_sketch(out: &mut Vec<u8>, sketch: &Sketch) {
    if sketch.is_empty() {
        out.push(0);
        return;
    }
    let mut bytes = Vec::new();
    sketch.encode(&mut bytes);
    put(out, bytes.len() as u64);
    out.extend_from_slice(&bytes);
}

pub(in crate::storage) fn read_sketch(reader: &mut Reader<'_>) -> Outcome<Sketch> {
    let len = reader.count(1)?;
    if len == 0 {
        return Ok(Sketch::default());
    }
    Sketch::decode(reader.bytes(len)?).ok_or_else(damaged)
}

/// Times before 1970 are counted as its beginning.
fn millis(at: Timestamp) -> u64 {
    at.as_millis().max(0) as u64
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::super::bytes::seal;
    use super::super::samples::{stats, stats_in, words};
    use super::*;

    fn packed(stats: &[DayStats]) -> Vec<u8> {
        let words = words();
        let mut numbering = Numbering::new(&words);
        numbering.begin();
        let mut sums = Vec::new();
        stats.iter().for_each(|one| put_stats(&mut sums, one, |word| numbering.number(word)));
        let mut out = vec![0; 4];
        numbering.put(&mut out, &words);
        out.extend_from_slice(&sums);
        seal(&mut out);
        out
    }

    fn unpacked(body: &[u8], n: usize) -> Outcome<(Words, Vec<DayStats>)> {
        let mut reader = Reader::open(body)?;
        let words = RawWords::read(&mut reader)?;
        let stats = (0..n).map(|_| read_stats(&mut reader, &words)).collect::<Outcome<_>>()?;
        reader.finish()?;
        Ok((words.words()?, stats))
    }

    proptest! {
        #[test]
        fn sums_read_back_as_they_were_written(
            stats in prop::collection::vec(stats(), 0..5),
        ) {
            let (read, found) = unpacked(&packed(&stats), stats.len()).unwrap();
            let expected: Vec<_> =
                stats.iter().map(|one| stats_in(one, &words(), &read)).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 4..400)) {
            let mut body = noise;
            seal(&mut body);
            let _ = unpacked(&body, 1);
        }
    }

    #[test]
    fn rows_are_in_order_whatever_numbers_their_words_got() {
        let row = |value| Row {
            dimension: Dimension::Country,
            value: Word(value),
            counts: Counts { people: 1, bots: 0 },
        };
        let stats = |values: &[u32]| DayStats {
            rows: values.iter().copied().map(row).collect(),
            ..DayStats::default()
        };
        // The second text is numbered first.
        let (_, found) = unpacked(&packed(&[stats(&[2]), stats(&[1, 2, 4])]), 2).unwrap();
        assert!(found[1].rows.is_sorted_by_key(|row| row.value), "{found:?}");
        assert!(unpacked(&packed(&[stats(&[1, 1])]), 1).is_err(), "a value twice");
    }
}
