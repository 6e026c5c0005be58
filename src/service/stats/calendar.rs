//! Which time a question about statistics is about, and the buckets its answer is cut into.
//!
//! Days, weeks and months are those of the asked time zone: a day of 23 or 25 hours is one bucket,
//! and a day that a country skipped is none. Hours are hours on the zone's clocks, so where clocks
//! are half an hour off UTC the buckets are too. An hour that comes twice is two buckets, and where
//! clocks move by half an hour, the hour that is cut short is a bucket of thirty minutes.
//!
//! Buckets keep their natural edges, but what is counted ends at those of the period: the first
//! and the last bucket may stand for a part of their time only.

use std::fmt;
use std::iter;
use std::ops::Range;
use std::str::FromStr;

use chrono::{Days, SecondsFormat};
use chrono_tz::Tz;

use crate::domain::time::Timestamp;

mod clocks;
mod error;
mod parse;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub use error::PeriodError;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Most buckets of one answer, not counting those that the edges of the period or a change of
/// clocks cut off.
pub const BUCKETS_MAX: i64 = 5_000;
/// Longest period on the zone's clocks: ten years with their leap days.
const PERIOD_MS_MAX: i64 = 3_653 * DAY_MS;
/// Local days of a period whose `from` is not given, the last one included, …
const DEFAULT_DAYS: u64 = 30;
/// … and its length when minutes are asked for, which are not kept that long.
const DEFAULT_MINUTES_MS: i64 = DAY_MS;
/// Lengths on the zone's clocks up to which an interval is chosen unasked: 120 minutes, 72 hours,
/// 93 days (any three months), 105 weeks (any two years). Longer periods come in months.
const SUITED_MS_MAX: [(i64, Interval); 4] = [
    (2 * HOUR_MS, Interval::Minute),
    (3 * DAY_MS, Interval::Hour),
    (93 * DAY_MS, Interval::Day),
    (731 * DAY_MS, Interval::Week),
];

/// Width of the buckets of a time series, the smallest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Interval {
    Minute,
    Hour,
    Day,
    /// From Monday, as ISO 8601 has it.
    Week,
    Month,
}

/// A stretch of time, in UTC milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    pub start: Timestamp,
    /// First instant after the bucket, and the start of the next one.
    pub end: Timestamp,
}

/// A checked question about time: everything from `from` up to but without `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    pub from: Timestamp,
    /// At most one millisecond after the question was asked.
    pub to: Timestamp,
    pub interval: Interval,
    pub zone: Tz,
}

impl Interval {
    /// All of them, the smallest first.
    pub const ALL: [Self; 5] = [Self::Minute, Self::Hour, Self::Day, Self::Week, Self::Month];

    /// The word of the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }

    /// For how many days counts as fine as this are kept. `None`: for ever.
    pub const fn days_kept(self) -> Option<i64> {
        match self {
            Self::Minute => Some(3),
            Self::Hour => Some(400),
            Self::Day | Self::Week | Self::Month => None,
        }
    }

    /// The least time between two starts, cut buckets aside, in milliseconds.
    const fn width_ms(self) -> i64 {
        match self {
            Self::Minute => MINUTE_MS,
            Self::Hour => HOUR_MS,
            Self::Day => DAY_MS - 2 * HOUR_MS,
            Self::Week => 6 * DAY_MS,
            Self::Month => 27 * DAY_MS,
        }
    }

    /// What suits a period that is `length` milliseconds long.
    fn suited_to(length: i64) -> Self {
        let suited = SUITED_MS_MAX.iter().find(|(length_max, _)| length <= *length_max);
        suited.map_or(Self::Month, |(_, interval)| *interval)
    }
}

// Days, weeks and months fit into every period.
const _: () = assert!(PERIOD_MS_MAX / Interval::Day.width_ms() <= BUCKETS_MAX);

impl FromStr for Interval {
    type Err = PeriodError;

    fn from_str(text: &str) -> Result<Self, PeriodError> {
        let named = Self::ALL.into_iter().find(|interval| interval.as_str() == text);
        named.ok_or(PeriodError::UnknownInterval)
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl Period {
    /// The period that the parameters of a query ask for at the moment `now`.
    ///
    /// `from` and `to` are RFC 3339 times, or dates in `timezone` (UTC if not given). A date as
    /// `from` is the first instant of its day; as `to` it includes the whole day. A `to` that is
    /// missing or in the future becomes `now`, with this millisecond included: what has not yet
    /// happened is not a row of zeroes. A missing `from` is the start of the 29th day before the
    /// last one, or 24 hours before `to` if minutes are asked for. A missing `interval` becomes
    /// one that suits the length and whose counts are still kept.
    ///
    /// Fails with the parameter at fault and what it may be: [`PeriodError`].
    pub fn parse(
        from: Option<&str>,
        to: Option<&str>,
        interval: Option<&str>,
        timezone: Option<&str>,
        now: Timestamp,
    ) -> Result<Self, PeriodError> {
        // A clock gone astray is taken for the nearest moment that can be asked for.
        let now = Timestamp(now.0.clamp(0, parse::LAST_MS));
        let zone = timezone.map_or(Ok(Tz::UTC), parse::zone)?;
        let asked: Option<Interval> = interval.map(str::parse).transpose()?;
        let from = from.map(|text| parse::start(text, zone)).transpose()?;
        let to = to.map(|text| parse::end(text, zone)).transpose()?;

        if from.is_some_and(|from| from > now) {
            return Err(PeriodError::InFuture);
        }
        let after_now = now.plus_millis(1);
        let past_to = to.map_or(after_now, |to| to.min(after_now));
        let from = from.unwrap_or_else(|| default_from(past_to, asked, zone));
        if from >= past_to {
            return Err(PeriodError::Backwards);
        }
        // The future counts here: a century is a slip of the hand wherever it lies.
        if length_ms(from, to.unwrap_or(past_to), zone) > PERIOD_MS_MAX {
            return Err(PeriodError::TooLong);
        }
        let period = Self { from, to: past_to, interval: Interval::Month, zone };
        period.with_interval(asked, now)
    }

    /// The buckets that the period touches, in order and without gaps. The first may start before
    /// `from` and the last end after `to`.
    pub fn buckets(&self) -> Vec<Bucket> {
        let Self { from, to, interval, zone } = *self;
        let bucket = |start| Bucket { start, end: clocks::next(start, interval, zone) };
        let first = bucket(clocks::floor(from, interval, zone));
        iter::successors(Some(first), |last| Some(bucket(last.end)))
            // Clocks that are set back over midnight come to the day before for a second time,
            // when its bucket has long ended.
            .skip_while(|bucket| bucket.end <= from)
            .take_while(|bucket| bucket.start < to)
            .collect()
    }

    /// Minutes since the epoch whose counts belong to `bucket`, chosen like its hours.
    pub fn minutes(&self, bucket: Bucket) -> Range<u32> {
        self.stored(bucket, MINUTE_MS)
    }

    /// UTC hours since the epoch whose counts belong to `bucket`: those that start inside the
    /// bucket, as far as the period touches them. No hour belongs to two buckets. An hour that an
    /// edge of the period cuts is counted as a whole; so is, where clocks are half an hour off UTC,
    /// one that reaches into the next bucket.
    pub fn hours(&self, bucket: Bucket) -> Range<u32> {
        self.stored(bucket, HOUR_MS)
    }

    /// UTC days since the epoch whose counts belong to `bucket`, chosen like its hours.
    pub fn days(&self, bucket: Bucket) -> Range<u32> {
        self.stored(bucket, DAY_MS)
    }

    /// An instant as RFC 3339 to the second, with the offset that the zone has then. UTC is `Z`, as
    /// in all other times of the API. A zone that is level with UTC for a season has `+00:00`, so
    /// that the starts of one answer are written alike.
    pub fn format_start(&self, at: Timestamp) -> String {
        let is_utc = matches!(self.zone, Tz::UTC | Tz::Etc__UTC);
        clocks::local(at, self.zone).to_rfc3339_opts(SecondsFormat::Secs, is_utc)
    }

    /// The same time in buckets of the asked interval, or of what suits it.
    fn with_interval(self, asked: Option<Interval>, now: Timestamp) -> Result<Self, PeriodError> {
        let is_too_fine =
            |interval: Interval| (self.to.0 - self.from.0) / interval.width_ms() > BUCKETS_MAX;
        let is_too_old = |interval: Interval| {
            interval.days_kept().is_some_and(|days| now.0 - self.from.0 > days * DAY_MS)
        };
        let fits = Interval::ALL
            .into_iter()
            .find(|interval| !is_too_fine(*interval) && !is_too_old(*interval))
            .unwrap_or(Interval::Month);

        let suited = Interval::suited_to(length_ms(self.from, self.to, self.zone));
        match asked {
            Some(interval) if is_too_fine(interval) => Err(PeriodError::TooFine { interval, fits }),
            Some(interval) if is_too_old(interval) => Err(PeriodError::TooOld { interval, fits }),
            _ => Ok(Self { interval: asked.unwrap_or(suited.max(fits)), ..self }),
        }
    }

    /// Stored cells, `width_ms` wide and numbered from the epoch, that belong to `bucket`.
    fn stored(&self, bucket: Bucket, width_ms: i64) -> Range<u32> {
        let number = |cell: i64| cell.clamp(0, i64::from(u32::MAX)) as u32;
        let holding = |at: Timestamp| number(at.0.div_euclid(width_ms));
        let starting_from =
            |at: Timestamp| number(at.0.saturating_add(width_ms - 1).div_euclid(width_ms));
        let first = starting_from(bucket.start).max(holding(self.from));
        first..starting_from(bucket.end.min(self.to))
    }
}

fn default_from(to: Timestamp, asked: Option<Interval>, zone: Tz) -> Timestamp {
    if asked == Some(Interval::Minute) {
        // From the beginning of a minute, so that the first bucket is a whole one.
        let from = to.plus_millis(-DEFAULT_MINUTES_MS);
        return from.plus_millis(-from.0.rem_euclid(MINUTE_MS));
    }
    let last_day = clocks::date(to.plus_millis(-1), zone);
    clocks::day_start(last_day - Days::new(DEFAULT_DAYS - 1), zone)
}

/// Time between two instants as a clock on the wall shows it: two days are 48 hours, always.
fn length_ms(from: Timestamp, to: Timestamp, zone: Tz) -> i64 {
    clocks::wall_ms(to, zone) - clocks::wall_ms(from, zone)
}
