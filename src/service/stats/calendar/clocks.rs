//! What the clocks of a time zone show, and where its hours and days begin.

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveTime, Offset, TimeZone, Weekday};
use chrono_tz::Tz;

use super::{DAY_MS, HOUR_MS, Interval, MINUTE_MS};
use crate::domain::time::Timestamp;

/// First and last millisecond that four digits of a year can write.
const YEAR_1_MS: i64 = -62_135_596_800_000;
const YEAR_9999_MS: i64 = 253_402_300_799_999;

/// An instant on the zone's clocks.
pub(super) fn local(at: Timestamp, zone: Tz) -> DateTime<Tz> {
    DateTime::from_timestamp_millis(at.0.clamp(YEAR_1_MS, YEAR_9999_MS))
        .expect("chrono holds the years 1 to 9999 and many more")
        .with_timezone(&zone)
}

/// Milliseconds that the zone's clocks are ahead of UTC.
fn ahead_ms(at: Timestamp, zone: Tz) -> i64 {
    i64::from(local(at, zone).offset().fix().local_minus_utc()) * 1_000
}

/// What the zone's clocks show, in milliseconds from their own 1970-01-01.
pub(super) fn wall_ms(at: Timestamp, zone: Tz) -> i64 {
    at.0.saturating_add(ahead_ms(at, zone))
}

pub(super) fn date(at: Timestamp, zone: Tz) -> NaiveDate {
    local(at, zone).date_naive()
}

/// First instant of a day. If clocks skip its midnight, the moment they do; if they show it twice,
/// the first time. A day that was skipped starts where the next one does.
pub(super) fn day_start(date: NaiveDate, zone: Tz) -> Timestamp {
    let midnight = date.and_time(NaiveTime::MIN);
    if let Some(start) = zone.from_local_datetime(&midnight).earliest() {
        return Timestamp(start.timestamp_millis());
    }
    // No zone is a day ahead of UTC or behind, so the skip lies between these.
    let as_if_utc = Timestamp(midnight.and_utc().timestamp_millis());
    change_within(as_if_utc.plus_millis(-DAY_MS), as_if_utc.plus_millis(DAY_MS), zone)
}

/// Start of the bucket that holds `at`.
pub(super) fn floor(at: Timestamp, interval: Interval, zone: Tz) -> Timestamp {
    match interval {
        Interval::Minute => floor_to(at, MINUTE_MS, zone),
        Interval::Hour => floor_to(at, HOUR_MS, zone),
        Interval::Day | Interval::Week | Interval::Month => {
            day_start(first_day(date(at, zone), interval), zone)
        }
    }
}

/// End of the bucket that starts at `start`, always later.
pub(super) fn next(start: Timestamp, interval: Interval, zone: Tz) -> Timestamp {
    let first_day = || first_day(date(start, zone), interval);
    match interval {
        Interval::Minute => next_of(start, MINUTE_MS, zone),
        Interval::Hour => next_of(start, HOUR_MS, zone),
        Interval::Day => day_start(first_day() + Days::new(1), zone),
        Interval::Week => day_start(first_day() + Days::new(7), zone),
        Interval::Month => day_start(first_day() + Months::new(1), zone),
    }
}

/// First date of the day, week or month that `date` is in.
fn first_day(date: NaiveDate, interval: Interval) -> NaiveDate {
    match interval {
        Interval::Week => date.week(Weekday::Mon).first_day(),
        Interval::Month => date - Days::new(u64::from(date.day0())),
        Interval::Minute | Interval::Hour | Interval::Day => date,
    }
}

/// When the clocks last showed a multiple of `width_ms`, or were last changed if that was later.
fn floor_to(at: Timestamp, width_ms: i64, zone: Tz) -> Timestamp {
    let start = at.plus_millis(-wall_ms(at, zone).rem_euclid(width_ms));
    if ahead_ms(start, zone) == ahead_ms(at, zone) { start } else { change_within(start, at, zone) }
}

/// When the clocks next show a multiple of `width_ms`, or are changed if that comes first.
fn next_of(start: Timestamp, width_ms: i64, zone: Tz) -> Timestamp {
    let end = start.plus_millis(width_ms - wall_ms(start, zone).rem_euclid(width_ms));
    if ahead_ms(end, zone) == ahead_ms(start, zone) { end } else { change_within(start, end, zone) }
}

/// First instant after `before`, at most `after`, at which clocks are set otherwise than at
/// `before`, given that they are at `after`. Found by halving, as no table of changes is public.
fn change_within(before: Timestamp, after: Timestamp, zone: Tz) -> Timestamp {
    let ahead_before = ahead_ms(before, zone);
    let (mut before, mut after) = (before.0, after.0);
    while after - before > 1 {
        let middle = before + (after - before) / 2;
        if ahead_ms(Timestamp(middle), zone) == ahead_before {
            before = middle;
        } else {
            after = middle;
        }
    }
    Timestamp(after)
}
