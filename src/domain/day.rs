//! What the clicks of one day add up to: by hour, by dimension, and how many visitors they were.
//!
//! The same sums serve a minute of one link and a day of a whole workspace: they only ever grow by
//! [`DayStats::add`] and [`DayStats::merge`], in any order.

use std::cmp::Reverse;

use crate::domain::click::ClickFlags;
use crate::domain::counted::CountedClick;
use crate::domain::limits::DIMENSION_VALUES_MAX;
use crate::domain::sketch::Sketch;
use crate::domain::time::Timestamp;
use crate::domain::words::{Lexicon, Translation, Word, Words};

/// Parts of the longest compound word.
const PARTS_MAX: usize = 5;

/// What clicks are told apart by. The numbers are part of the format of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Dimension {
    Continent = 0,
    Country = 1,
    Region = 2,
    City = 3,
    Referrer = 4,
    Device = 5,
    Os = 6,
    Browser = 7,
    Language = 8,
    UtmSource = 9,
    UtmMedium = 10,
    UtmCampaign = 11,
    /// Its values are no words but versions of the link, which tell where it led.
    Version = 12,
}

impl Dimension {
    pub const ALL: [Self; 13] = [
        Self::Continent,
        Self::Country,
        Self::Region,
        Self::City,
        Self::Referrer,
        Self::Device,
        Self::Os,
        Self::Browser,
        Self::Language,
        Self::UtmSource,
        Self::UtmMedium,
        Self::UtmCampaign,
        Self::Version,
    ];

    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }
}

/// Clicks of people and of bots, apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub people: u64,
    pub bots: u64,
}

impl Counts {
    pub const fn one(bot: bool) -> Self {
        Self { people: !bot as u64, bots: bot as u64 }
    }

    pub const fn add(&mut self, more: Self) {
        self.people = self.people.saturating_add(more.people);
        self.bots = self.bots.saturating_add(more.bots);
    }

    pub const fn sum(self) -> u64 {
        self.people.saturating_add(self.bots)
    }
}

/// Clicks with one value of one dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub dimension: Dimension,
    pub value: Word,
    pub counts: Counts,
}

/// One hour of a day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HourStats {
    /// 0 to 23, UTC.
    pub hour: u8,
    pub counts: Counts,
    /// Scans of QR codes by people.
    pub qr_scans: u64,
    pub people: Sketch,
    pub bots: Sketch,
}

/// First and last time of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    pub first: Timestamp,
    pub last: Timestamp,
}

/// Sums of the clicks of a day, or of a part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DayStats {
    pub people_at: Option<Times>,
    pub bots_at: Option<Times>,
    /// By hour; those without clicks are left out.
    pub hours: Vec<HourStats>,
    /// By dimension, then value; of each at most [`DIMENSION_VALUES_MAX`] and one for the others.
    pub rows: Vec<Row>,
}

impl DayStats {
    /// Adds clicks of one day. Texts go into `lexicon`.
    pub fn add(&mut self, clicks: &[CountedClick], parts: &mut Parts<'_>, lexicon: &mut Lexicon) {
        let mut rows = Vec::with_capacity(clicks.len().min(64) * 8);
        for click in clicks {
            let bot = click.is_bot();
            widen(if bot { &mut self.bots_at } else { &mut self.people_at }, click.at, click.at);
            let hour = self.hour(hour_of(click.at));
            hour.counts.add(Counts::one(bot));
            hour.qr_scans += u64::from(!bot && click.flags.has(ClickFlags::QR));
            if click.visitor != 0 {
                if bot { &mut hour.bots } else { &mut hour.people }.insert(click.visitor);
            }
            let mut row = |dimension, value: Word| {
                if !value.is_none() {
                    rows.push(Row { dimension, value, counts: Counts::one(bot) });
                }
            };
            let [device, os, browser, ..] = parts.of(click.agent, lexicon);
            row(Dimension::Device, device);
            row(Dimension::Os, os);
            row(Dimension::Browser, browser);
            let [continent, country, region, city, ..] = parts.of(click.place, lexicon);
            row(Dimension::Continent, continent);
            row(Dimension::Country, country);
            row(Dimension::Region, region);
            row(Dimension::City, city);
            row(Dimension::Referrer, parts.of(click.referrer, lexicon)[0]);
            row(Dimension::Language, parts.of(click.language, lexicon)[0]);
            let [source, medium, campaign, ..] = parts.of(click.utm, lexicon);
            row(Dimension::UtmSource, source);
            row(Dimension::UtmMedium, medium);
            row(Dimension::UtmCampaign, campaign);
            row(Dimension::Version, Word(click.version));
        }
        self.add_rows(combine(rows));
    }

    /// Adds clicks of which nothing is known but their number and time.
    pub fn add_plain(&mut self, n: u64, at: Timestamp) {
        if n > 0 {
            widen(&mut self.people_at, at, at);
            self.hour(hour_of(at)).counts.add(Counts { people: n, bots: 0 });
        }
    }

    /// Adds other sums, whose words are those of `translation`.
    pub fn merge(
        &mut self,
        other: &Self,
        translation: &mut Translation<'_>,
        lexicon: &mut Lexicon,
    ) {
        let translated = other.rows.iter().map(|row| Row {
            value: match row.dimension {
                Dimension::Version => row.value,
                _ => translation.word(row.value, lexicon),
            },
            ..*row
        });
        let rows = combine(translated.collect());
        self.merge_hours(other);
        self.add_rows(rows);
    }

    /// Adds the hours of other sums, and nothing that is told by dimension.
    pub fn merge_hours(&mut self, other: &Self) {
        if let Some(times) = other.people_at {
            widen(&mut self.people_at, times.first, times.last);
        }
        if let Some(times) = other.bots_at {
            widen(&mut self.bots_at, times.first, times.last);
        }
        for more in &other.hours {
            let hour = self.hour(more.hour);
            hour.counts.add(more.counts);
            hour.qr_scans += more.qr_scans;
            hour.people.merge(&more.people);
            hour.bots.merge(&more.bots);
        }
    }

    /// Replaces the rows by others, in any order, each value once.
    pub fn set_rows(&mut self, rows: Vec<Row>) {
        self.rows.clear();
        self.add_rows(combine(rows));
    }

    /// Leaves out the hours that do not begin from `from` until before `to`. Rows by dimension do
    /// not tell hours and stay.
    pub fn restrict(&mut self, day: u32, from: Timestamp, to: Timestamp) {
        self.hours.retain(|hour| (from..to).contains(&start_of(day, hour.hour)));
        for times in [&mut self.people_at, &mut self.bots_at] {
            *times = times
                .map(|known| Times { first: known.first.max(from), last: known.last.min(to) })
                .filter(|known| known.first <= known.last);
        }
    }

    /// Clicks of the whole day.
    pub fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        self.hours.iter().for_each(|hour| sum.add(hour.counts));
        sum
    }

    pub fn is_empty(&self) -> bool {
        self.hours.is_empty()
    }

    fn hour(&mut self, hour: u8) -> &mut HourStats {
        let index = match self.hours.binary_search_by_key(&hour, |known| known.hour) {
            Ok(index) => index,
            Err(index) => {
                self.hours.insert(index, HourStats { hour, ..HourStats::default() });
                index
            }
        };
        &mut self.hours[index]
    }

    /// Adds rows, each value once, in order. Values that are here already always find place; of
    /// new ones the most frequent do, until the dimension is full.
    fn add_rows(&mut self, more: Vec<Row>) {
        let mut fresh = Vec::new();
        for row in more {
            match self.rows.binary_search_by_key(&place(&row), place) {
                Ok(index) => self.rows[index].counts.add(row.counts),
                Err(_) => fresh.push(row),
            }
        }
        if fresh.is_empty() {
            return;
        }
        let mut kept = Vec::with_capacity(fresh.len());
        for fresh in fresh.chunk_by_mut(|a, b| a.dimension == b.dimension) {
            let dimension = fresh[0].dimension;
            let from = self.rows.partition_point(|row| row.dimension < dimension);
            let known = self.rows[from..].partition_point(|row| row.dimension == dimension);
            let has_other = known > 0 && self.rows[from + known - 1].value == Word::OTHER;
            let room = DIMENSION_VALUES_MAX.saturating_sub(known - usize::from(has_other));
            // The row of the others, which is the last, is no value and never crowded out.
            let brings_other = fresh.last().is_some_and(|row| row.value == Word::OTHER);
            let (values, others) = fresh.split_at_mut(fresh.len() - usize::from(brings_other));
            if values.len() > room {
                values.sort_by_key(|row| (Reverse(row.counts.sum()), row.value));
                let mut other = Counts::default();
                for row in values[room..].iter().chain(&*others) {
                    other.add(row.counts);
                }
                kept.extend_from_slice(&values[..room]);
                kept.push(Row { dimension, value: Word::OTHER, counts: other });
            } else {
                kept.extend_from_slice(fresh);
            }
        }
        self.rows.append(&mut kept);
        self.rows = combine(std::mem::take(&mut self.rows));
    }
}

/// The parts of compound words, each taken apart once.
#[derive(Debug)]
pub struct Parts<'a> {
    words: &'a Words,
    known: Vec<Option<[Word; PARTS_MAX]>>,
}

impl<'a> Parts<'a> {
    pub fn new(words: &'a Words) -> Self {
        Self { words, known: vec![None; words.len()] }
    }

    /// The parts of `word` as words of `lexicon`, which must be the same in every call.
    fn of(&mut self, word: Word, lexicon: &mut Lexicon) -> [Word; PARTS_MAX] {
        if word == Word::OTHER {
            return [Word::OTHER; PARTS_MAX];
        }
        let Some(known) = (word.0 as usize).checked_sub(1).and_then(|at| self.known.get_mut(at))
        else {
            return [Word::NONE; PARTS_MAX];
        };
        *known.get_or_insert_with(|| {
            self.words.parts::<PARTS_MAX>(word).map(|part| lexicon.word(part.unwrap_or_default()))
        })
    }
}

/// Whole days since the Unix epoch, UTC.
pub const fn day_of(at: Timestamp) -> u32 {
    at.minute() / 1_440
}

/// Hour of its day, UTC.
pub const fn hour_of(at: Timestamp) -> u8 {
    (at.minute() / 60 % 24) as u8
}

/// Beginning of an hour of a day.
pub const fn start_of(day: u32, hour: u8) -> Timestamp {
    Timestamp((day as i64 * 24 + hour as i64) * 3_600_000)
}

fn widen(times: &mut Option<Times>, first: Timestamp, last: Timestamp) {
    let known = times.get_or_insert(Times { first, last });
    known.first = known.first.min(first);
    known.last = known.last.max(last);
}

const fn place(row: &Row) -> (u8, u32) {
    (row.dimension as u8, row.value.0)
}

/// Puts rows in order and makes one of those with the same value.
fn combine(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_unstable_by_key(place);
    rows.dedup_by(|next, kept| {
        let same = place(next) == place(kept);
        if same {
            kept.counts.add(next.counts);
        }
        same
    });
    rows
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::id::Id;

    const HOUR_MS: i64 = 3_600_000;

    fn click(
        hour: i64,
        agent: Word,
        referrer: Word,
        visitor: u64,
        flags: ClickFlags,
    ) -> CountedClick {
        let at = Timestamp(hour * HOUR_MS);
        CountedClick {
            link: Id(1),
            at,
            version: 1,
            flags,
            visitor,
            agent,
            referrer,
            ..CountedClick::default()
        }
    }

    fn value(stats: &DayStats, words: &Words, dimension: Dimension, text: &str) -> (u64, u64) {
        let found = stats
            .rows
            .iter()
            .find(|row| row.dimension == dimension && words.text(row.value) == Some(text));
        found.map_or((0, 0), |row| (row.counts.people, row.counts.bots))
    }

    #[test]
    fn clicks_add_up_by_hour_and_by_dimension() {
        let words: Words =
            ["mobile\u{1f}iOS\u{1f}Safari", "bot\u{1f}\u{1f}", "news.example\u{1f}https://x"]
                .map(Arc::from)
                .into_iter()
                .collect();
        let clicks = [
            click(1, Word(1), Word(3), 1 << 40, ClickFlags::default()),
            click(1, Word(1), Word::NONE, 1 << 40, ClickFlags::QR),
            click(5, Word(2), Word(3), 1 << 50, ClickFlags::BOT.with(ClickFlags::QR)),
        ];
        let (mut stats, mut lexicon) = (DayStats::default(), Lexicon::default());
        stats.add(&clicks, &mut Parts::new(&words), &mut lexicon);
        let hours: Vec<_> = stats.hours.iter().map(|h| (h.hour, h.counts, h.qr_scans)).collect();
        let (two, bot) = (Counts { people: 2, bots: 0 }, Counts { people: 0, bots: 1 });
        assert_eq!(hours, [(1, two, 1), (5, bot, 0)]);
        assert_eq!((stats.hours[0].people.estimate(), stats.hours[1].bots.estimate()), (1, 1));
        assert_eq!(value(&stats, lexicon.words(), Dimension::Referrer, "news.example"), (1, 1));
        assert_eq!(value(&stats, lexicon.words(), Dimension::Os, "iOS"), (2, 0));
        assert_eq!(value(&stats, lexicon.words(), Dimension::Device, "bot"), (0, 1));
        let at = |hour| Timestamp(hour * HOUR_MS);
        assert_eq!(stats.people_at, Some(Times { first: at(1), last: at(1) }));
        assert_eq!(stats.bots_at, Some(Times { first: at(5), last: at(5) }));
    }

    #[test]
    fn sums_are_the_same_whichever_way_they_were_added() {
        let words: Words = (0..50).map(|n| Arc::from(format!("d{n}\u{1f}o\u{1f}b"))).collect();
        let clicks: Vec<CountedClick> = (0..300)
            .map(|n| {
                let flags = if n % 7 == 0 { ClickFlags::BOT } else { ClickFlags::default() };
                click(i64::from(n % 24), Word(n % 50 + 1), Word::NONE, u64::from(n) << 40, flags)
            })
            .collect();
        let mut lexicon = Lexicon::default();
        let mut whole = DayStats::default();
        whole.add(&clicks, &mut Parts::new(&words), &mut lexicon);
        let words_of_whole = lexicon.words().clone();
        for part in [1, 7, 100] {
            let mut sum = DayStats::default();
            let mut to = Lexicon::of(words_of_whole.clone());
            for clicks in clicks.chunks(part).rev() {
                let (mut some, mut own) = (DayStats::default(), Lexicon::default());
                some.add(clicks, &mut Parts::new(&words), &mut own);
                sum.merge(&some, &mut Translation::new(own.words()), &mut to);
            }
            assert_eq!(sum, whole);
        }
    }

    #[test]
    fn a_dimension_keeps_so_many_values_and_the_rest_is_other() {
        let words: Words = (0..3_000).map(|n| Arc::from(format!("site-{n}.example"))).collect();
        let (mut stats, mut lexicon) = (DayStats::default(), Lexicon::default());
        let mut parts = Parts::new(&words);
        for first in [0, 500, 0, 2_000] {
            let clicks: Vec<CountedClick> = (first..first + 1_000)
                .map(|n| click(0, Word::NONE, Word(n + 1), 0, ClickFlags::default()))
                .collect();
            stats.add(&clicks, &mut parts, &mut lexicon);
        }
        let referrers: Vec<&Row> =
            stats.rows.iter().filter(|row| row.dimension == Dimension::Referrer).collect();
        assert_eq!(referrers.len(), DIMENSION_VALUES_MAX + 1);
        assert_eq!(referrers.iter().map(|row| row.counts.people).sum::<u64>(), 4_000);
        let other = referrers.iter().find(|row| row.value == Word::OTHER).map(|row| row.counts);
        assert_eq!(other, Some(Counts { people: 1_500, bots: 0 }));
        assert_eq!(value(&stats, lexicon.words(), Dimension::Referrer, "site-600.example"), (3, 0));
    }

    #[test]
    fn a_full_dimension_loses_no_value_when_it_is_merged_again() {
        let mut words = Lexicon::default();
        let row = |value, people| Row {
            dimension: Dimension::Referrer,
            value,
            counts: Counts { people, bots: 0 },
        };
        let mut rows: Vec<Row> =
            (0..DIMENSION_VALUES_MAX).map(|n| row(words.word(&format!("site {n}")), 1)).collect();
        rows.push(row(Word::OTHER, 500));
        let full = DayStats { rows, ..DayStats::default() };
        let mut merged = DayStats::default();
        for _ in 0..3 {
            let from = words.words().clone();
            let mut again = DayStats::default();
            again.merge(&full, &mut Translation::new(&from), &mut words);
            merged.merge(&again, &mut Translation::new(&from), &mut words);
        }
        assert_eq!(merged.rows.len(), DIMENSION_VALUES_MAX + 1);
        assert_eq!(merged.rows.last(), Some(&row(Word::OTHER, 1_500)));
    }
}
