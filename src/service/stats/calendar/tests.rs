//! Known days of known zones, what is chosen when nothing is asked, and refusals.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use chrono::DateTime;

use super::*;

/// A Wednesday.
const NOW: &str = "2026-12-16T12:34:56.789Z";

pub(super) fn instant(text: &str) -> Timestamp {
    Timestamp(DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis())
}

/// Asks with four parameters, of which `-` ones are not given.
fn ask_at(now: &str, [from, to, interval, zone]: [&str; 4]) -> Result<Period, PeriodError> {
    let given = |text| Some(text).filter(|text| *text != "-");
    Period::parse(given(from), given(to), given(interval), given(zone), instant(now))
}

fn ask(parameters: [&str; 4]) -> Result<Period, PeriodError> {
    ask_at(NOW, parameters)
}

/// Starts and lengths, in minutes, of the buckets of one day.
fn day_at(now: &str, day: &str, interval: &str, zone: &str) -> Vec<(String, i64)> {
    let period = ask_at(now, [day, day, interval, zone]).unwrap();
    let describe = |bucket: Bucket| {
        (period.format_start(bucket.start), (bucket.end.0 - bucket.start.0) / MINUTE_MS)
    };
    period.buckets().into_iter().map(describe).collect()
}

fn whole_day(day: &str, zone: &str) -> (String, i64) {
    let buckets = day_at(NOW, day, "day", zone);
    assert_eq!(buckets.len(), 1, "{buckets:?}");
    buckets[0].clone()
}

#[test]
fn days_of_a_change_of_clocks_are_shorter_or_longer() {
    let known = [
        ("2026-03-29", "Europe/Berlin", "2026-03-29T00:00:00+01:00", 23 * 60),
        ("2026-10-25", "Europe/Berlin", "2026-10-25T00:00:00+02:00", 25 * 60),
        ("2026-03-08", "America/New_York", "2026-03-08T00:00:00-05:00", 23 * 60),
        ("2026-11-01", "America/New_York", "2026-11-01T00:00:00-04:00", 25 * 60),
        ("2026-04-05", "Australia/Lord_Howe", "2026-04-05T00:00:00+11:00", 24 * 60 + 30),
        ("2026-10-04", "Australia/Lord_Howe", "2026-10-04T00:00:00+10:30", 23 * 60 + 30),
        ("2026-01-01", "Asia/Kolkata", "2026-01-01T00:00:00+05:30", 24 * 60),
        ("2026-01-01", "Asia/Kathmandu", "2026-01-01T00:00:00+05:45", 24 * 60),
        ("2026-01-01", "Europe/London", "2026-01-01T00:00:00+00:00", 24 * 60),
        ("2026-01-01", "UTC", "2026-01-01T00:00:00Z", 24 * 60),
        ("2026-01-01", "Etc/UTC", "2026-01-01T00:00:00Z", 24 * 60),
    ];
    for (day, zone, start, minutes) in known {
        assert_eq!(whole_day(day, zone), (start.to_owned(), minutes), "{zone}");
    }
}

#[test]
fn a_day_without_midnight_starts_when_clocks_skip_it() {
    assert_eq!(whole_day("2026-04-24", "Africa/Cairo"), ("2026-04-24T01:00:00+03:00".into(), 1380));
    assert_eq!(whole_day("2026-04-23", "Africa/Cairo"), ("2026-04-23T00:00:00+02:00".into(), 1440));
    assert_eq!(whole_day("2026-03-29", "Asia/Beirut"), ("2026-03-29T01:00:00+03:00".into(), 1380));
    let past = day_at("2019-01-01T00:00:00Z", "2018-11-04", "day", "America/Sao_Paulo");
    assert_eq!(past, [("2018-11-04T01:00:00-02:00".to_owned(), 23 * 60)]);
}

#[test]
fn a_day_whose_midnight_comes_twice_starts_at_the_first() {
    // Cuba sets 01:00 back to 00:00.
    assert_eq!(
        whole_day("2026-11-01", "America/Havana"),
        ("2026-11-01T00:00:00-04:00".to_owned(), 25 * 60)
    );
}

#[test]
fn clocks_set_back_at_midnight_lengthen_the_day_before() {
    assert_eq!(whole_day("2026-10-29", "Africa/Cairo"), ("2026-10-29T00:00:00+03:00".into(), 1500));
    assert_eq!(whole_day("2026-10-30", "Africa/Cairo"), ("2026-10-30T00:00:00+02:00".into(), 1440));
    let past = day_at("2019-01-01T00:00:00Z", "2018-02-17", "day", "America/Sao_Paulo");
    assert_eq!(past, [("2018-02-17T00:00:00-02:00".to_owned(), 25 * 60)]);
}

#[test]
fn a_day_that_was_skipped_is_no_bucket() {
    // Samoa went from the 29th straight to the 31st.
    let now = "2012-01-15T00:00:00Z";
    let period = ask_at(now, ["2011-12-28", "2012-01-01", "day", "Pacific/Apia"]).unwrap();
    let buckets = period.buckets();
    let starts: Vec<String> = buckets.iter().map(|b| period.format_start(b.start)).collect();
    assert_eq!(
        starts,
        [
            "2011-12-28T00:00:00-10:00",
            "2011-12-29T00:00:00-10:00",
            "2011-12-31T00:00:00+14:00",
            "2012-01-01T00:00:00+14:00",
        ]
    );
    assert!(buckets.iter().all(|bucket| bucket.end.0 - bucket.start.0 == DAY_MS));
    let skipped = ask_at(now, ["2011-12-30", "2011-12-30", "day", "Pacific/Apia"]);
    assert_eq!(skipped, Err(PeriodError::Backwards));
}

#[test]
fn hours_are_real_hours_when_clocks_change() {
    let spring = day_at(NOW, "2026-03-29", "hour", "Europe/Berlin");
    assert_eq!(spring.len(), 23);
    assert_eq!(spring[1].0, "2026-03-29T01:00:00+01:00");
    assert_eq!(spring[2].0, "2026-03-29T03:00:00+02:00");
    let autumn = day_at(NOW, "2026-10-25", "hour", "Europe/Berlin");
    assert_eq!(autumn.len(), 25);
    assert_eq!(autumn[2].0, "2026-10-25T02:00:00+02:00");
    assert_eq!(autumn[3].0, "2026-10-25T02:00:00+01:00");
    assert!(spring.iter().chain(&autumn).all(|(_, minutes)| *minutes == 60));
}

#[test]
fn hours_follow_clocks_that_are_not_level_with_utc() {
    for (zone, start, minutes_past) in [
        ("Asia/Kolkata", "2026-12-10T00:00:00+05:30", 30),
        ("Asia/Kathmandu", "2026-12-10T00:00:00+05:45", 15),
    ] {
        let period = ask(["2026-12-10", "2026-12-10", "hour", zone]).unwrap();
        let buckets = period.buckets();
        assert_eq!(buckets.len(), 24);
        assert_eq!(period.format_start(buckets[0].start), start);
        for bucket in buckets {
            assert_eq!(bucket.start.0.rem_euclid(HOUR_MS), minutes_past * MINUTE_MS);
            let hours = period.hours(bucket);
            assert_eq!(hours.len(), 1, "{zone}");
            assert_eq!(i64::from(hours.start), bucket.start.0 / HOUR_MS + 1);
        }
    }
}

#[test]
fn clocks_that_move_by_half_an_hour_cut_one_hour() {
    let spring = day_at(NOW, "2026-10-04", "hour", "Australia/Lord_Howe");
    assert_eq!(spring.len(), 24);
    assert_eq!(spring[2], ("2026-10-04T02:30:00+11:00".to_owned(), 30));
    assert_eq!(spring[3], ("2026-10-04T03:00:00+11:00".to_owned(), 60));
    let autumn = day_at(NOW, "2026-04-05", "hour", "Australia/Lord_Howe");
    assert_eq!(autumn.len(), 25);
    assert_eq!(autumn[1], ("2026-04-05T01:00:00+11:00".to_owned(), 60));
    assert_eq!(autumn[2], ("2026-04-05T01:30:00+10:30".to_owned(), 30));
    assert_eq!(autumn[3], ("2026-04-05T02:00:00+10:30".to_owned(), 60));
}

#[test]
fn weeks_start_on_monday_and_months_on_the_first() {
    let period = ask(["2026-10-01", "2026-11-30", "week", "Europe/Berlin"]).unwrap();
    let buckets = period.buckets();
    assert_eq!(period.format_start(buckets[0].start), "2026-09-28T00:00:00+02:00");
    assert_eq!(period.format_start(buckets[4].start), "2026-10-26T00:00:00+01:00");
    assert_eq!(buckets.len(), 10);
    let period = ask(["2025-11-30", "2026-03-01", "month", "Europe/Berlin"]).unwrap();
    let starts: Vec<String> =
        period.buckets().iter().map(|b| period.format_start(b.start)[..10].to_owned()).collect();
    assert_eq!(starts, ["2025-11-01", "2025-12-01", "2026-01-01", "2026-02-01", "2026-03-01"]);
}

#[test]
fn nothing_asked_means_thirty_days_with_today() {
    for zone in ["-", "Pacific/Kiritimati", "America/Los_Angeles", "Asia/Kathmandu"] {
        let period = ask(["-", "-", "-", zone]).unwrap();
        let buckets = period.buckets();
        assert_eq!((period.interval, buckets.len()), (Interval::Day, 30), "{zone}");
        assert_eq!(period.from, buckets[0].start);
        assert_eq!(period.to.0, instant(NOW).0 + 1);
    }
    assert_eq!(ask_at("2026-12-16T00:00:00Z", ["-"; 4]).unwrap().buckets().len(), 30);
    assert_eq!(ask(["-", "2026-01-31", "-", "-"]).unwrap().from, instant("2026-01-02T00:00:00Z"));
    assert_eq!(ask(["-", "-", "hour", "-"]).unwrap().buckets().len(), 29 * 24 + 13);
    assert_eq!(ask(["-", "-", "minute", "-"]).unwrap().buckets().len(), 24 * 60 + 1);
}

#[test]
fn the_interval_suits_the_length_and_what_is_kept() {
    for (from, to, interval) in [
        ("2026-12-16T10:00:00Z", "2026-12-16T12:00:00Z", Interval::Minute),
        ("2026-12-16T10:00:00Z", "2026-12-16T12:00:01Z", Interval::Hour),
        ("2026-12-10T10:00:00Z", "2026-12-10T12:00:00Z", Interval::Hour),
        ("2026-10-24", "2026-10-26", Interval::Hour),
        ("2026-10-24", "2026-10-27", Interval::Day),
        ("2025-10-24", "2025-10-25", Interval::Day),
        ("2026-07-01", "2026-09-30", Interval::Day),
        ("2026-07-01", "2026-10-02", Interval::Week),
        ("2024-01-01", "2025-12-31", Interval::Week),
        ("2024-01-01", "2026-01-01", Interval::Month),
        ("2016-12-16", "-", Interval::Month),
    ] {
        assert_eq!(ask([from, to, "-", "Europe/Berlin"]).unwrap().interval, interval, "{from}");
    }
}

#[test]
fn the_future_is_cut_off() {
    let now_passed = Timestamp(instant(NOW).0 + 1);
    for to in ["2026-12-16", "2026-12-31", "2027-01-01T00:00:00Z", "2028-12-31"] {
        assert_eq!(ask(["2026-12-01", to, "day", "-"]).unwrap().to, now_passed, "{to}");
        assert_eq!(ask(["-", to, "-", "-"]), ask(["-"; 4]));
    }
    let now = ask([NOW, "-", "-", "-"]).unwrap();
    assert_eq!((now.to.0 - now.from.0, now.buckets().len()), (1, 1));
}

#[test]
fn a_plus_that_became_a_space_is_a_plus() {
    let meant = ask(["2026-12-01T00:00:00+02:00", "-", "day", "Etc/GMT+5"]).unwrap();
    assert_eq!(ask(["2026-12-01T00:00:00 02:00", "-", "day", "Etc/GMT 5"]), Ok(meant));
    assert_eq!(meant.from, instant("2026-11-30T22:00:00Z"));
}

#[test]
fn refusals_name_the_parameter_and_what_it_may_be() {
    let too_old = |interval, fits| PeriodError::TooOld { interval, fits };
    let too_fine = |interval, fits| PeriodError::TooFine { interval, fits };
    let refusals = [
        (["2026-02-30", "-", "-", "-"], PeriodError::NotATime { field: "from" }, "from"),
        (["-", "yesterday", "-", "-"], PeriodError::NotATime { field: "to" }, "to"),
        (["0001-01-01", "-", "-", "-"], PeriodError::OutsideYears { field: "from" }, "from"),
        (["-", "9999-12-31", "-", "-"], PeriodError::OutsideYears { field: "to" }, "to"),
        (["-", "-", "fortnight", "-"], PeriodError::UnknownInterval, "interval"),
        (["-", "-", "-", "Mars/Olympus"], PeriodError::UnknownZone, "timezone"),
        (["2026-12-02", "2026-12-01", "-", "-"], PeriodError::Backwards, "from"),
        ([NOW, NOW, "-", "-"], PeriodError::Backwards, "from"),
        (["2026-12-17", "2026-12-18", "-", "-"], PeriodError::InFuture, "from"),
        (
            ["1926-01-01", "2026-01-01", "-", "-"],
            PeriodError::OutsideYears { field: "from" },
            "from",
        ),
        (["2000-01-01", "2100-01-01", "-", "-"], PeriodError::TooLong, "from"),
        (["2020-01-01", "2120-01-01", "-", "-"], PeriodError::TooLong, "from"),
        (["2016-12-14", "-", "-", "-"], PeriodError::TooLong, "from"),
        (["2025-12-16", "-", "minute", "-"], too_fine(Interval::Minute, Interval::Day), "interval"),
        (
            ["2026-03-01", "2026-03-07", "minute", "-"],
            too_fine(Interval::Minute, Interval::Hour),
            "interval",
        ),
        (["2026-05-01", "-", "hour", "-"], too_fine(Interval::Hour, Interval::Day), "interval"),
        (
            ["2026-12-13T10:00:00Z", "-", "minute", "-"],
            too_old(Interval::Minute, Interval::Hour),
            "from",
        ),
        (
            ["2025-11-11", "2025-11-12", "minute", "-"],
            too_old(Interval::Minute, Interval::Day),
            "from",
        ),
        (["2025-11-11", "2025-11-12", "hour", "-"], too_old(Interval::Hour, Interval::Day), "from"),
    ];
    for (parameters, refusal, field) in refusals {
        assert_eq!(ask(parameters), Err(refusal), "{parameters:?}");
        assert_eq!(refusal.field(), field);
        assert!(refusal.to_string().contains(&format!("`{field}`")), "{refusal}");
    }
    let text = too_old(Interval::Minute, Interval::Hour).to_string();
    assert!(text.contains("minute are kept for 3 days") && text.ends_with("is hour"), "{text}");
    let text = too_fine(Interval::Hour, Interval::Day).to_string();
    assert!(text.contains(&BUCKETS_MAX.to_string()) && text.ends_with("is day"), "{text}");
}

#[test]
fn what_is_no_time_is_refused() {
    for text in [
        "",
        "-1",
        "now",
        "1767225600",
        "2026-1-1",
        "+2026-01-01",
        " 2026-01-01",
        "2026-01-01T00:00:00",
        "2026-01-01 00:00",
        "2026-01-01T24:00:00Z",
        "2026-01-01T23:59:60Z",
        "2026-01-01T00:00:00+25:00",
        "２０２６-01-01",
        "2026-01-0é",
        &"2026-01-01".repeat(1_000),
    ] {
        let refused = Period::parse(Some(text), None, None, None, instant(NOW));
        assert_eq!(refused, Err(PeriodError::NotATime { field: "from" }), "{text}");
    }
}
