//! Times and zones as a query writes them.
//!
//! A `+` that nobody escaped reaches us as a space. Neither a zone's name nor an offset has spaces,
//! so there it is read as the `+` it was.

use std::ops::RangeInclusive;

use chrono::{DateTime, Datelike, Days, FixedOffset, NaiveDate, Timelike};
use chrono_tz::Tz;

use super::PeriodError;
use super::clocks;
use crate::domain::time::Timestamp;

/// Longest text that is looked at, in bytes: nothing that is a time or a zone is longer.
const TEXT_BYTES_MAX: usize = 64;
/// Bytes of an offset such as `+02:00`.
const OFFSET_BYTES: usize = 6;
/// Years that a time may lie in. No click is older, and time zones are not decided for later.
const YEARS: RangeInclusive<i32> = 1970..=2199;
/// Last millisecond of these years, UTC.
pub(super) const LAST_MS: i64 = 7_258_118_399_999;

enum Moment {
    Instant(Timestamp),
    Day(NaiveDate),
}

pub(super) fn zone(text: &str) -> Result<Tz, PeriodError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(PeriodError::UnknownZone);
    }
    text.replace(' ', "+").parse().map_err(|_| PeriodError::UnknownZone)
}

/// A `from`: a date is where its day starts.
pub(super) fn start(text: &str, zone: Tz) -> Result<Timestamp, PeriodError> {
    match moment("from", text)? {
        Moment::Instant(at) => Ok(at),
        Moment::Day(date) => Ok(clocks::day_start(date, zone)),
    }
}

/// A `to`: a date is where its day ends.
pub(super) fn end(text: &str, zone: Tz) -> Result<Timestamp, PeriodError> {
    match moment("to", text)? {
        Moment::Instant(at) => Ok(at),
        Moment::Day(date) => Ok(clocks::day_start(date + Days::new(1), zone)),
    }
}

fn moment(field: &'static str, text: &str) -> Result<Moment, PeriodError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(PeriodError::NotATime { field });
    }
    let (moment, year) = if let Some(date) = date(text) {
        (Moment::Day(date), date.year())
    } else if let Some(time) = instant(text) {
        (Moment::Instant(Timestamp(time.timestamp_millis())), time.to_utc().year())
    } else {
        return Err(PeriodError::NotATime { field });
    };
    if YEARS.contains(&year) { Ok(moment) } else { Err(PeriodError::OutsideYears { field }) }
}

/// `2026-01-31` and nothing looser; chrono alone would also take signs, spaces and short numbers.
fn date(text: &str) -> Option<NaiveDate> {
    let is_shaped = text.bytes().enumerate().all(|(place, byte)| match place {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    (is_shaped && text.len() == 10).then_some(())?;
    NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()
}

/// An RFC 3339 time without a leap second, which milliseconds since the epoch cannot tell.
fn instant(text: &str) -> Option<DateTime<FixedOffset>> {
    let mut text = text.to_owned();
    let sign = text.len().saturating_sub(OFFSET_BYTES);
    if text.as_bytes().get(sign) == Some(&b' ') {
        text.replace_range(sign..=sign, "+");
    }
    let time = DateTime::parse_from_rfc3339(&text).ok()?;
    (time.nanosecond() < 1_000_000_000).then_some(time)
}
