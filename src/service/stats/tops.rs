//! The most frequent values of each dimension. Words stay numbers until the few that are shown are
//! known.

use std::cmp::Ordering;

use foldhash::{HashMap, HashMapExt};

use super::{Bots, Past};
use crate::domain::day::Dimension;
use crate::domain::link::Link;
use crate::domain::stats::RangeStats;
use crate::domain::words::{Word, Words};

/// The dimensions that have a list of words.
pub const DIMENSIONS: [Dimension; 12] = [
    Dimension::Country,
    Dimension::Region,
    Dimension::City,
    Dimension::Continent,
    Dimension::Referrer,
    Dimension::Device,
    Dimension::Browser,
    Dimension::Os,
    Dimension::Language,
    Dimension::UtmSource,
    Dimension::UtmMedium,
    Dimension::UtmCampaign,
];

/// What stands for all values beyond those that are kept.
const OTHER: &str = "other";

/// One value and its clicks.
#[derive(Clone, Debug, PartialEq)]
pub struct Top {
    pub value: String,
    pub clicks: u64,
    /// Of all clicks that are asked for: 0 to 1, with three decimals.
    pub share: f64,
}

/// Clicks by dimension and value.
pub(super) struct Tops {
    clicks: [Vec<(Word, u64)>; Dimension::ALL.len()],
}

impl Tops {
    pub(super) fn of(range: &RangeStats, bots: Bots) -> Self {
        let mut sums: HashMap<(Dimension, Word), u64> = HashMap::new();
        for row in range.days.iter().flat_map(|(_, stats)| &stats.rows) {
            let clicks = bots.count(row.counts);
            if clicks > 0 {
                *sums.entry((row.dimension, row.value)).or_default() += clicks;
            }
        }
        let mut clicks = [const { Vec::new() }; Dimension::ALL.len()];
        for ((dimension, value), n) in sums {
            clicks[dimension as usize].push((value, n));
        }
        Self { clicks }
    }

    /// The newest version of a link that took clicks.
    pub(super) fn newest_version(&self) -> u32 {
        let versions = self.clicks[Dimension::Version as usize].iter();
        versions.map(|(Word(version), _)| *version).filter(|v| *v != u32::MAX).max().unwrap_or(0)
    }

    /// Where the versions of one link led.
    pub(super) fn destinations(
        &self,
        link: &Link,
        past: &Past,
        top: usize,
        total: u64,
    ) -> Vec<Top> {
        let mut sums: HashMap<&str, u64> = HashMap::new();
        for (version, clicks) in &self.clicks[Dimension::Version as usize] {
            let destination = match *version {
                Word::OTHER => OTHER,
                Word(version) => past.destination(link, version),
            };
            *sums.entry(destination).or_default() += clicks;
        }
        rank(sums, top, total)
    }

    pub(super) fn finish(
        self,
        words: &Words,
        top: usize,
        total: u64,
    ) -> [Vec<Top>; DIMENSIONS.len()] {
        DIMENSIONS.map(|dimension| {
            let clicks = &self.clicks[dimension as usize];
            let texts = clicks.iter().filter_map(|(word, clicks)| match *word {
                Word::OTHER => Some((OTHER, *clicks)),
                word => Some((words.text(word)?, *clicks)),
            });
            if clicks.iter().any(|(word, _)| *word == Word::OTHER) {
                // A visitor may bring that very word.
                let mut sums: HashMap<&str, u64> = HashMap::new();
                texts.for_each(|(text, clicks)| *sums.entry(text).or_default() += clicks);
                rank(sums, top, total)
            } else {
                rank(texts, top, total)
            }
        })
    }
}

/// The `top` most frequent of values that are all different: by clicks, then by value.
pub(super) fn rank<'a>(
    values: impl IntoIterator<Item = (&'a str, u64)>,
    top: usize,
    total: u64,
) -> Vec<Top> {
    let order =
        |a: &(&str, u64), b: &(&str, u64)| -> Ordering { b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)) };
    let mut values: Vec<(&str, u64)> =
        values.into_iter().filter(|(_, clicks)| *clicks > 0).collect();
    if values.len() > top {
        values.select_nth_unstable_by(top, order);
        values.truncate(top);
    }
    values.sort_unstable_by(order);
    let shown = |(value, clicks): (&str, u64)| Top {
        value: value.to_owned(),
        clicks,
        share: share(clicks, total),
    };
    values.into_iter().map(shown).collect()
}

/// A share with three decimals. Rows of a day may tell more clicks than the part of it that is
/// asked for: never more than all.
pub(super) fn share(clicks: u64, total: u64) -> f64 {
    if total == 0 {
        return 0.0;
    }
    ((clicks as f64 / total as f64) * 1_000.0).round().min(1_000.0) / 1_000.0
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::day::{Counts, DayStats, Row};

    fn row(value: Word, people: u64, bots: u64) -> Row {
        Row { dimension: Dimension::UtmSource, value, counts: Counts { people, bots } }
    }

    fn range(days: Vec<Vec<Row>>) -> RangeStats {
        let words = ["mail", "other", "ads"].map(Arc::from).into_iter().collect();
        let day = |rows| DayStats { rows, ..DayStats::default() };
        let days = (0..).zip(days.into_iter().map(day)).collect();
        RangeStats { words, days, links: Vec::new() }
    }

    fn sources(range: &RangeStats, bots: Bots, top: usize) -> Vec<(String, u64, f64)> {
        let mut tops = Tops::of(range, bots).finish(&range.words, top, 20);
        let sources = std::mem::take(&mut tops[9]);
        sources.into_iter().map(|top| (top.value, top.clicks, top.share)).collect()
    }

    #[test]
    fn values_are_added_over_days_and_ranked_by_clicks_then_value() {
        let range = range(vec![
            vec![row(Word(1), 3, 1), row(Word(3), 5, 0)],
            vec![row(Word(1), 2, 0), row(Word(2), 0, 9)],
        ]);
        let shown = |rows: &[(&str, u64, f64)]| -> Vec<(String, u64, f64)> {
            rows.iter().map(|(value, n, share)| ((*value).to_owned(), *n, *share)).collect()
        };
        let people = shown(&[("ads", 5, 0.25), ("mail", 5, 0.25)]);
        assert_eq!(sources(&range, Bots::Exclude, 10), people);
        assert_eq!(sources(&range, Bots::Only, 1), shown(&[("other", 9, 0.45)]));
        assert_eq!(
            sources(&range, Bots::Include, 2),
            shown(&[("other", 9, 0.45), ("mail", 6, 0.3)])
        );
    }

    #[test]
    fn what_is_beyond_the_values_that_are_kept_is_one_row() {
        let range = range(vec![vec![row(Word(2), 2, 0), row(Word::OTHER, 6, 0)]]);
        assert_eq!(sources(&range, Bots::Exclude, 10), [("other".to_owned(), 8, 0.4)]);
    }

    #[test]
    fn a_share_has_three_decimals_and_is_never_more_than_all() {
        assert_eq!((share(1, 3), share(2, 3), share(5, 4)), (0.333, 0.667, 1.0));
        assert_eq!(share(0, 0), 0.0);
    }
}
