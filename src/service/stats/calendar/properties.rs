//! What holds for every period, whatever was asked, in every zone.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use chrono::DateTime;
use chrono_tz::TZ_VARIANTS;
use proptest::prelude::*;
use proptest::sample::select;

use super::tests::instant;
use super::*;

/// What holds for every period: its buckets follow one another, cover it and no more, and share
/// out whatever is stored.
fn check(period: Period) {
    let Period { from, to, interval, zone } = period;
    let buckets = period.buckets();
    let (first, last) = (buckets[0], buckets[buckets.len() - 1]);
    assert!(first.start <= from && from < first.end && last.start < to && to <= last.end);
    // Two buckets are cut by the edges, the others by changes of clocks.
    assert!(buckets.len() as i64 <= BUCKETS_MAX + 8, "{}", buckets.len());
    for bucket in &buckets {
        assert!(bucket.start < bucket.end, "{bucket:?}");
        assert_eq!(instant(&period.format_start(bucket.start)), bucket.start);
        for within in [bucket.start, Timestamp(bucket.end.0 - 1)] {
            assert_eq!(clocks::floor(within, interval, zone), bucket.start);
        }
    }
    for pair in buckets.windows(2) {
        assert_eq!(pair[0].end, pair[1].start);
        assert_eq!(period.minutes(pair[0]).end, period.minutes(pair[1]).start);
        assert_eq!(period.hours(pair[0]).end, period.hours(pair[1]).start);
        assert_eq!(period.days(pair[0]).end, period.days(pair[1]).start);
    }
    assert!(period.minutes(first).contains(&from.minute()));
    assert!(period.minutes(last).contains(&Timestamp(to.0 - 1).minute()));
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        ".*",
        "[012][0-9]{3}-[01][0-9]-[0-3][0-9]",
        "20[0-9]{2}-0[1-9]-[0-2][0-9]",
        "20[0-9]{2}-0[1-9]-[0-2][0-9]T[01][0-9]:[0-5][0-9]:[0-5][0-9](Z|[+ -]0[0-9]:[03]0)",
        "20[0-9]{2}-0[1-9]-[0-2][0-9][Tt ][0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{1,30})?Z",
        "UTC|[A-Z][a-z]+/[A-Z][a-z]+",
        "minute|hour|day|week|month",
    ]
}

proptest! {
    #[test]
    fn any_texts_are_answered_without_panic(
        from in prop::option::of(text()),
        to in prop::option::of(text()),
        interval in prop::option::weighted(0.1, text()),
        zone in prop::option::weighted(0.1, text()),
        now: i64,
        is_sane: bool,
    ) {
        // Half of the clocks are somewhere in the years 1970 to 2100.
        let now = Timestamp(if is_sane { now.rem_euclid(4_102_444_800_000) } else { now });
        let [from, to, interval, zone] = [&from, &to, &interval, &zone].map(Option::as_deref);
        match Period::parse(from, to, interval, zone, now) {
            Ok(period) => prop_assert!(!period.buckets().is_empty()),
            Err(refusal) => prop_assert!(refusal.to_string().contains(refusal.field())),
        }
    }

    #[test]
    fn buckets_follow_one_another_and_cover_the_period(
        now in 1_735_689_600_000_i64..2_400_000_000_000,
        ago in prop_oneof![1..3 * DAY_MS, 1..200 * DAY_MS, 1..3_650 * DAY_MS],
        length in prop_oneof![1..3 * DAY_MS, 1..3_650 * DAY_MS],
        interval in prop::option::of(select(&Interval::ALL[..])),
        zone in select(&TZ_VARIANTS[..]),
    ) {
        let write = |ms: i64| DateTime::from_timestamp_millis(ms).unwrap().to_rfc3339();
        let period = Period::parse(
            Some(&write(now - ago)),
            Some(&write(now - ago + length)),
            interval.map(Interval::as_str),
            Some(zone.name()),
            Timestamp(now),
        );
        match period {
            Ok(period) => check(period),
            Err(
                PeriodError::TooFine { interval: asked, fits }
                | PeriodError::TooOld { interval: asked, fits },
            ) => {
                prop_assert_eq!(Some(asked), interval);
                prop_assert!(fits > asked);
            }
            Err(PeriodError::TooLong) => prop_assert!(length > 3_640 * DAY_MS),
            Err(refusal) => prop_assert!(false, "{}", refusal),
        }
    }
}

#[test]
fn days_and_changed_hours_of_all_zones_hold_together() {
    let end = instant("2030-01-01T00:00:00Z");
    for zone in TZ_VARIANTS {
        let mut day = clocks::floor(instant("2016-01-01T00:00:00Z"), Interval::Day, zone);
        while day < end {
            let next = clocks::next(day, Interval::Day, zone);
            let hours = (next.0 - day.0) as f64 / HOUR_MS as f64;
            assert!((20.0..=28.0).contains(&hours), "{zone} {day:?} {hours}");
            let last = Timestamp(next.0 - 1);
            assert_eq!(clocks::date(day, zone), clocks::date(last, zone), "{zone} {day:?}");
            if hours != 24.0 {
                let to = next.plus_millis(DAY_MS);
                let from = day.plus_millis(-DAY_MS);
                check(Period { from, to, interval: Interval::Hour, zone });
                check(Period { from, to, interval: Interval::Day, zone });
            }
            day = next;
        }
    }
}
