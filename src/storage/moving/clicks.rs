//! Clicks and their sums as records: texts stand for themselves, in an order that follows from them
//! alone, so that equal sums are equal lines.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Hex;
use super::records::{ClickDayRecord, ClicksRecord};
use crate::domain::click::ClickFlags;
use crate::domain::counted::{CountedClick, Surplus};
use crate::domain::day::{Counts, DayStats, Dimension, HourStats, Row, Times};
use crate::domain::id::Id;
use crate::domain::sketch::Sketch;
use crate::domain::time::Timestamp;
use crate::domain::words::{Lexicon, Word, Words};

/// Clicks in one record at most.
pub const CLICKS_PER_RECORD: usize = 1_000;

/// A click: time, serial, version of the link, flags, visitor, then agent, place, referrer,
/// language and campaign as numbers of words, zero for none.
#[derive(Clone, Copy, Deserialize, PartialEq, Eq, Serialize)]
pub struct ClickLine(i64, u32, u32, u8, u64, [u32; 5]);

/// Clicks of one minute that were counted together.
#[derive(Clone, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SurplusLine {
    pub minute: u32,
    pub sums: SumsLine,
}

/// Sums of clicks of one day or minute.
#[derive(Clone, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SumsLine {
    people_at: Option<(i64, i64)>,
    bots_at: Option<(i64, i64)>,
    hours: Vec<HourLine>,
    rows: Vec<RowLine>,
}

/// An hour: its number, people, bots, scans of QR codes, sketches of who the people and bots were.
#[derive(Clone, Deserialize, PartialEq, Eq, Serialize)]
struct HourLine(u8, u64, u64, u64, Hex, Hex);

/// A value of a dimension: number of the dimension, the value, people, bots.
#[derive(Clone, Deserialize, PartialEq, Eq, Serialize)]
struct RowLine(u8, ValueLine, u64, u64);

/// A text, a version, or what stands for all other values.
#[derive(Clone, Deserialize, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(untagged)]
enum ValueLine {
    Version(u32),
    Text(String),
    Others(()),
}

impl SumsLine {
    pub fn of(stats: &DayStats, words: &Words) -> Self {
        let times = |at: Option<Times>| at.map(|at| (at.first.as_millis(), at.last.as_millis()));
        let sketch = |sketch: &Sketch| {
            let mut bytes = Vec::new();
            if !sketch.is_empty() {
                sketch.encode(&mut bytes);
            }
            Hex(bytes)
        };
        let hour = |hour: &HourStats| {
            let Counts { people, bots } = hour.counts;
            let sketches = (sketch(&hour.people), sketch(&hour.bots));
            HourLine(hour.hour, people, bots, hour.qr_scans, sketches.0, sketches.1)
        };
        let row = |row: &Row| {
            let value = match (row.dimension, row.value) {
                (_, Word::OTHER) => ValueLine::Others(()),
                (Dimension::Version, Word(version)) => ValueLine::Version(version),
                (_, word) => ValueLine::Text(words.text(word).unwrap_or_default().to_owned()),
            };
            RowLine(row.dimension as u8, value, row.counts.people, row.counts.bots)
        };
        let mut rows: Vec<RowLine> = stats.rows.iter().map(row).collect();
        rows.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        let (people_at, bots_at) = (times(stats.people_at), times(stats.bots_at));
        Self { people_at, bots_at, hours: stats.hours.iter().map(hour).collect(), rows }
    }

    /// The sums with words of `lexicon`. `None`: no sums are written so.
    pub fn stats(&self, lexicon: &mut Lexicon) -> Option<DayStats> {
        let times = |at: Option<(i64, i64)>| {
            at.map(|(first, last)| Times { first: Timestamp(first), last: Timestamp(last) })
        };
        let sketch = |bytes: &Hex| match bytes.0.is_empty() {
            true => Some(Sketch::default()),
            false => Sketch::decode(&bytes.0),
        };
        let mut hours = Vec::with_capacity(self.hours.len());
        for HourLine(hour, people, bots, qr_scans, of_people, of_bots) in &self.hours {
            if *hour > 23 || hours.last().is_some_and(|last: &HourStats| last.hour >= *hour) {
                return None;
            }
            hours.push(HourStats {
                hour: *hour,
                counts: Counts { people: *people, bots: *bots },
                qr_scans: *qr_scans,
                people: sketch(of_people)?,
                bots: sketch(of_bots)?,
            });
        }
        let mut rows = Vec::with_capacity(self.rows.len());
        for RowLine(number, value, people, bots) in &self.rows {
            let dimension = Dimension::from_number(u64::from(*number))?;
            let value = match value {
                ValueLine::Others(()) => Word::OTHER,
                ValueLine::Version(version) if dimension == Dimension::Version => Word(*version),
                ValueLine::Text(text) if dimension != Dimension::Version => lexicon.word(text),
                _ => return None,
            };
            rows.push(Row { dimension, value, counts: Counts { people: *people, bots: *bots } });
        }
        let (people_at, bots_at) = (times(self.people_at), times(self.bots_at));
        let mut stats = DayStats { people_at, bots_at, hours, rows: Vec::new() };
        stats.set_rows(rows);
        Some(stats)
    }
}

impl ClickDayRecord {
    /// Of a day with sums.
    pub fn with_sums((link, day): (Id, u32), stats: &DayStats, words: &Words) -> Self {
        let people = stats.counts().people;
        Self { link: link.0.cast_signed(), day, people, sums: Some(SumsLine::of(stats, words)) }
    }

    /// Of a day of which only the count of people is kept.
    pub fn bare((link, day): (Id, u32), people: u64) -> Self {
        Self { link: link.0.cast_signed(), day, people, sums: None }
    }
}

impl ClicksRecord {
    /// Clicks and surplus rows of one link on one day, in as many records as it takes.
    pub fn of(
        (link, day): (Id, u32),
        words: &Words,
        clicks: &[CountedClick],
        surplus: &[Surplus],
    ) -> Vec<Self> {
        let mut records: Vec<Self> = Vec::new();
        let new = || Self {
            link: link.0.cast_signed(),
            day,
            words: Vec::new(),
            clicks: Vec::new(),
            surplus: Vec::new(),
        };
        for clicks in clicks.chunks(CLICKS_PER_RECORD) {
            let mut record = new();
            let mut known = BTreeMap::new();
            for click in clicks {
                let words = [click.agent, click.place, click.referrer, click.language, click.utm]
                    .map(|word| record.number(word, words, &mut known));
                let CountedClick { at, serial, version, flags, visitor, .. } = *click;
                let line = ClickLine(at.as_millis(), serial, version, flags.0, visitor, words);
                record.clicks.push(line);
            }
            records.push(record);
        }
        // Sums of visitors may be large: they have records of their own.
        for rows in surplus.chunks(16) {
            let line = |row: &Surplus| SurplusLine {
                minute: row.minute,
                sums: SumsLine::of(&row.stats, words),
            };
            records.push(Self { surplus: rows.iter().map(line).collect(), ..new() });
        }
        records
    }

    fn number(&mut self, word: Word, from: &Words, known: &mut BTreeMap<Word, u32>) -> u32 {
        let Some(text) = from.text(word) else { return 0 };
        *known.entry(word).or_insert_with(|| {
            self.words.push(text.to_owned());
            self.words.len() as u32
        })
    }

    /// Its clicks and rows, with words of `lexicon`. `None`: none are written so.
    pub fn clicks(&self, lexicon: &mut Lexicon) -> Option<(Vec<CountedClick>, Vec<Surplus>)> {
        let link = Id(self.link.cast_unsigned());
        let words: Vec<Word> = self.words.iter().map(|text| lexicon.word(text)).collect();
        let word = |number: u32| match (number as usize).checked_sub(1) {
            Some(at) => words.get(at).copied(),
            None => Some(Word::NONE),
        };
        let click = |line: &ClickLine| {
            let ClickLine(at, serial, version, flags, visitor, words) = *line;
            let [agent, place, referrer, language, utm] = words;
            Some(CountedClick {
                link,
                at: Timestamp(at),
                serial,
                version,
                flags: ClickFlags(flags),
                visitor,
                agent: word(agent)?,
                place: word(place)?,
                referrer: word(referrer)?,
                language: word(language)?,
                utm: word(utm)?,
            })
        };
        let clicks = self.clicks.iter().map(click).collect::<Option<Vec<_>>>()?;
        let mut surplus = Vec::with_capacity(self.surplus.len());
        for row in &self.surplus {
            surplus.push(Surplus { link, minute: row.minute, stats: row.sums.stats(lexicon)? });
        }
        Some((clicks, surplus))
    }
}

/// Hands out what stands for each click and surplus row of a record, however they are packed.
pub(super) fn each_unit(record: &ClicksRecord, mut each: impl FnMut(&str)) {
    let text = |number: u32| match (number as usize).checked_sub(1) {
        Some(at) => record.words.get(at).map_or("", String::as_str),
        None => "",
    };
    let link = record.link;
    for ClickLine(at, serial, version, flags, visitor, words) in &record.clicks {
        let texts = words.map(text);
        each(&format!("{link} {at} {serial} {version} {flags} {visitor} {texts:?}"));
    }
    for row in &record.surplus {
        let sums = serde_json::to_string(row).expect("texts, numbers and lists are JSON");
        each(&format!("{link} {sums}"));
    }
}
