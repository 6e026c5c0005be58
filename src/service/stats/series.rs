//! The time series, and what it adds up to.
//!
//! A visitor counts once in a bucket for each UTC day, and once in the summary for each UTC day,
//! because nobody can tell whether the visitor of another day is the same.

use super::Bots;
use super::calendar::{Bucket, Period};
use crate::domain::day::{Counts, DayStats, HourStats, Times, day_of, start_of};
use crate::domain::sketch::Sketch;
use crate::domain::stats::BucketStats;
use crate::domain::time::Timestamp;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// What all clicks of the period add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    pub clicks: u64,
    /// An estimate; a visitor counts once per UTC day.
    pub unique_visitors: u64,
    /// Clicks of bots, whether or not they are asked for.
    pub bots: u64,
    /// Scans of QR codes by people; zero when only bots are asked for.
    pub qr_scans: u64,
    /// With one decimal.
    pub clicks_per_day: f64,
    pub first_at: Option<Timestamp>,
    pub last_at: Option<Timestamp>,
}

/// One bucket of the series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    pub start: Timestamp,
    pub clicks: u64,
    /// An estimate; a visitor counts once per UTC day.
    pub unique_visitors: u64,
}

/// Parts of buckets that each lie in one UTC day, counted from single clicks.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    /// Where the period begins: what is before it is asked for, but does not count.
    from: Timestamp,
    bounds: Vec<Timestamp>,
    stats: Vec<BucketStats>,
}

/// Visitors that were seen, as far as they are asked for.
#[derive(Default)]
struct Seen {
    people: Sketch,
    bots: Sketch,
}

impl Pieces {
    /// Nothing when the edges of all buckets are full UTC hours: sums by hour tell all then. `to`
    /// is the end of what the store is asked for.
    pub(super) fn needed_for(period: &Period, to: Timestamp) -> Option<Self> {
        let buckets = period.buckets();
        let full = |at: Timestamp| at.0.rem_euclid(HOUR_MS) == 0;
        if buckets.iter().all(|bucket| full(bucket.start) && full(bucket.end)) {
            return None;
        }
        // Whole UTC days, cut alike whenever they are asked for: stores keep what they found.
        let first = start_of(day_of(period.from), 0).min(period.from);
        let all = Period { from: first, to, ..*period }.buckets();
        let edges = all.iter().map(|bucket| bucket.start);
        let midnights = (day_of(period.from) + 1..=day_of(to)).map(|day| start_of(day, 0));
        let within = |at: &Timestamp| (first..to).contains(at);
        let mut bounds: Vec<Timestamp> = edges.chain(midnights).filter(within).collect();
        bounds.extend([first, period.from, to]);
        bounds.sort_unstable();
        bounds.dedup();
        Some(Self { from: period.from, bounds, stats: Vec::new() })
    }

    pub(super) fn bounds(&self) -> Vec<Timestamp> {
        self.bounds.clone()
    }

    /// Takes what is between each bound and the next.
    pub(super) fn fill(&mut self, stats: Vec<BucketStats>) {
        self.stats = stats;
    }

    /// Those of a day, if they tell of all clicks of the day that sums tell of. They may know some
    /// that came since.
    fn of_day(&self, day: u32, known: Counts) -> Option<impl Iterator<Item = Piece<'_>>> {
        let at = |day| self.bounds.partition_point(|bound| *bound < start_of(day, 0));
        let first = at(day).max(self.bounds.partition_point(|bound| *bound < self.from));
        let range = first.min(self.stats.len())..at(day + 1).min(self.stats.len());
        let mut counts = Counts::default();
        self.stats[range.clone()].iter().for_each(|stats| counts.add(stats.counts));
        let complete = counts.people >= known.people && counts.bots >= known.bots;
        let pieces = self.bounds[range.clone()].iter().zip(&self.stats[range]);
        complete.then(|| pieces.map(|(start, stats)| Piece { start: *start, stats }))
    }
}

/// Part of a bucket.
struct Piece<'a> {
    start: Timestamp,
    stats: &'a BucketStats,
}

impl Seen {
    fn add_hour(&mut self, hour: HourStats, bots: Bots) {
        if bots.people() {
            unite(&mut self.people, hour.people);
        }
        if bots.machines() {
            unite(&mut self.bots, hour.bots);
        }
    }

    fn add(&mut self, more: Self) {
        unite(&mut self.people, more.people);
        unite(&mut self.bots, more.bots);
    }

    fn estimate(&self) -> u64 {
        self.people.estimate() + self.bots.estimate()
    }
}

/// Nothing is copied for the first of many.
fn unite(all: &mut Sketch, more: Sketch) {
    if all.is_empty() {
        *all = more;
    } else if !more.is_empty() {
        all.merge(&more);
    }
}

/// Takes the hours out of `days` and adds them up. Days whose single clicks are all in `pieces` are
/// counted from these.
pub(super) fn add_up(
    days: &mut [(u32, DayStats)],
    pieces: Option<&Pieces>,
    period: &Period,
    bots: Bots,
) -> (Summary, Vec<Point>) {
    let mut adding = Adding::new(period, bots);
    for (day, stats) in days {
        adding.add_times(stats.people_at, stats.bots_at);
        let known = stats.counts();
        let hours = std::mem::take(&mut stats.hours);
        match pieces.and_then(|pieces| pieces.of_day(*day, known)) {
            Some(pieces) => adding.add_pieces(pieces, hours),
            None => adding.add_hours(*day, hours),
        }
    }
    adding.finish(period)
}

/// Sums in the making.
struct Adding {
    buckets: Vec<Bucket>,
    points: Vec<Point>,
    bots: Bots,
    summary: Summary,
}

impl Adding {
    fn new(period: &Period, bots: Bots) -> Self {
        let buckets = period.buckets();
        let empty = |bucket: &Bucket| Point { start: bucket.start, clicks: 0, unique_visitors: 0 };
        let points = buckets.iter().map(empty).collect();
        Self { buckets, points, bots, summary: Summary::default() }
    }

    fn add_times(&mut self, people: Option<Times>, machines: Option<Times>) {
        let people = people.filter(|_| self.bots.people());
        let machines = machines.filter(|_| self.bots.machines());
        for Times { first, last } in people.into_iter().chain(machines) {
            let summary = &mut self.summary;
            summary.first_at = Some(summary.first_at.map_or(first, |known| known.min(first)));
            summary.last_at = summary.last_at.max(Some(last));
        }
    }

    fn add_pieces<'a>(&mut self, pieces: impl Iterator<Item = Piece<'a>>, hours: Vec<HourStats>) {
        for Piece { start, stats } in pieces {
            let point = self.count(start, stats.counts, stats.qr_scans);
            self.points[point].unique_visitors += self.bots.count(stats.visitors);
        }
        let mut seen = Seen::default();
        hours.into_iter().for_each(|hour| seen.add_hour(hour, self.bots));
        self.summary.unique_visitors += seen.estimate();
    }

    fn add_hours(&mut self, day: u32, hours: Vec<HourStats>) {
        let mut seen_in_day = Seen::default();
        let mut open: Option<(usize, Seen)> = None;
        for hour in hours {
            let point = self.count(start_of(day, hour.hour), hour.counts, hour.qr_scans);
            if open.as_ref().is_some_and(|(index, _)| *index != point) {
                self.close(open.take(), &mut seen_in_day);
            }
            let (_, seen) = open.get_or_insert_with(|| (point, Seen::default()));
            seen.add_hour(hour, self.bots);
        }
        self.close(open, &mut seen_in_day);
        self.summary.unique_visitors += seen_in_day.estimate();
    }

    /// Ends the part of a bucket that lies in one day.
    fn close(&mut self, open: Option<(usize, Seen)>, day: &mut Seen) {
        if let Some((point, seen)) = open {
            self.points[point].unique_visitors += seen.estimate();
            day.add(seen);
        }
    }

    /// Counts clicks in the bucket of `at`, and answers which that is.
    fn count(&mut self, at: Timestamp, counts: Counts, qr_scans: u64) -> usize {
        let clicks = self.bots.count(counts);
        self.summary.clicks += clicks;
        self.summary.bots += counts.bots;
        self.summary.qr_scans += if self.bots.people() { qr_scans } else { 0 };
        // An hour that the edge of the period cuts belongs to the bucket at that edge.
        let point = self.buckets.partition_point(|bucket| bucket.end <= at);
        let point = point.min(self.buckets.len().saturating_sub(1));
        if let Some(point) = self.points.get_mut(point) {
            point.clicks += clicks;
        }
        point
    }

    fn finish(mut self, period: &Period) -> (Summary, Vec<Point>) {
        let days = (period.to.0 - period.from.0) as f64 / DAY_MS as f64;
        let per_day = self.summary.clicks as f64 / days;
        self.summary.clicks_per_day = (per_day * 10.0).round() / 10.0;
        (self.summary, self.points)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_780_000_000_000);

    fn period(from: &str, to: &str, interval: &str, zone: &str) -> Period {
        Period::parse(Some(from), Some(to), Some(interval), Some(zone), NOW).unwrap()
    }

    fn counts(people: u64, bots: u64) -> Counts {
        Counts { people, bots }
    }

    fn hour(hour: u8, people: u64, bots: u64, visitors: &[u64]) -> HourStats {
        let mut stats = HourStats { hour, counts: counts(people, bots), ..HourStats::default() };
        visitors.iter().for_each(|visitor| stats.people.insert(visitor << 40));
        stats
    }

    fn day(hours: Vec<HourStats>) -> DayStats {
        DayStats { hours, ..DayStats::default() }
    }

    fn clicks(points: &[Point]) -> Vec<u64> {
        points.iter().map(|point| point.clicks).collect()
    }

    fn visitors(points: &[Point]) -> Vec<u64> {
        points.iter().map(|point| point.unique_visitors).collect()
    }

    /// 2026-03-01.
    const FIRST: u32 = 20_513;

    #[test]
    fn a_visitor_counts_once_in_each_bucket_and_once_per_utc_day_in_all() {
        let days = || {
            let first = day(vec![hour(2, 3, 1, &[1, 2]), hour(7, 2, 0, &[1, 3])]);
            vec![(FIRST, first), (FIRST + 1, day(vec![hour(3, 1, 0, &[1])]))]
        };
        let utc = period("2026-03-01", "2026-03-02", "day", "UTC");
        let (summary, points) = add_up(&mut days(), None, &utc, Bots::Exclude);
        assert_eq!((summary.clicks, summary.bots, summary.unique_visitors), (6, 1, 4));
        assert_eq!((clicks(&points), visitors(&points)), (vec![5, 1], vec![3, 1]));
        assert_eq!(summary.clicks_per_day, 3.0);

        // In New York the first hour is still the day before.
        let zoned = period("2026-02-28", "2026-03-01", "day", "America/New_York");
        let (summary, points) = add_up(&mut days(), None, &zoned, Bots::Include);
        assert_eq!((clicks(&points), visitors(&points)), (vec![4, 3], vec![2, 3]));
        assert_eq!((summary.clicks, summary.unique_visitors), (7, 4));
        let (summary, _) = add_up(&mut days(), None, &zoned, Bots::Only);
        assert_eq!((summary.clicks, summary.unique_visitors), (1, 0));
    }

    #[test]
    fn half_hour_zones_are_counted_from_single_clicks_while_these_are_all_there() {
        let period = period("2026-03-01", "2026-03-02", "day", "Asia/Kolkata");
        let mut pieces = Pieces::needed_for(&period, period.to).unwrap();
        let starts: Vec<_> =
            pieces.bounds().iter().map(|at| (at.0 - period.from.0) / 1_800_000).collect();
        // Local midnights at half past six UTC, and the UTC midnights between them.
        // And what of the first UTC day is before the period.
        assert_eq!(starts, [-37, 0, 11, 48, 59, 96]);
        let piece = |people, visitors| BucketStats {
            counts: counts(people, 0),
            visitors: counts(visitors, 0),
            ..BucketStats::default()
        };
        pieces.fill(vec![piece(9, 9), piece(0, 0), piece(3, 2), piece(4, 3), piece(0, 0)]);
        let days = |n| {
            let whole = day(vec![hour(18, n, 0, &[1, 2, 3])]);
            vec![(FIRST, whole)]
        };
        let (summary, points) = add_up(&mut days(7), Some(&pieces), &period, Bots::Exclude);
        assert_eq!((clicks(&points), visitors(&points)), (vec![3, 4], vec![2, 3]));
        assert_eq!((summary.clicks, summary.unique_visitors), (7, 3));
        // One click is known by its hour only, which begins before the second local day.
        let (summary, points) = add_up(&mut days(8), Some(&pieces), &period, Bots::Exclude);
        assert_eq!((clicks(&points), summary.clicks), (vec![8, 0], 8));
    }

    #[test]
    fn full_hours_need_no_single_clicks() {
        let hours = period("2026-03-01T10:17:00Z", "2026-03-01T12:00:00Z", "hour", "Europe/Berlin");
        assert!(Pieces::needed_for(&hours, hours.to).is_none());
        let mut days = vec![(FIRST, day(vec![hour(10, 5, 0, &[1]), hour(11, 1, 0, &[2])]))];
        let (_, points) = add_up(&mut days, None, &hours, Bots::Exclude);
        assert_eq!(clicks(&points), [5, 1]);
    }
}
