//! Statistics as texts, so that answers of different stores can be compared: words have numbers of
//! their own in each.

use std::collections::BTreeMap;

use shunt::domain::day::{Counts, DayStats, Dimension, Times};
use shunt::domain::id::Id;
use shunt::domain::stats::RangeStats;
use shunt::domain::time::Timestamp;
use shunt::domain::words::{Word, Words};
use shunt::storage::{StatsOf, Stores};

/// A time after every other.
pub(crate) const END: Timestamp = Timestamp(i64::MAX / 2);
pub(crate) const BEGIN: Timestamp = Timestamp(0);

/// The sums of a day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Day {
    pub(crate) people_at: Option<Times>,
    pub(crate) bots_at: Option<Times>,
    pub(crate) hours: Vec<Hour>,
    pub(crate) rows: BTreeMap<(Dimension, String), Counts>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hour {
    pub(crate) hour: u8,
    pub(crate) counts: Counts,
    pub(crate) qr_scans: u64,
    /// People, bots.
    pub(crate) visitors: (u64, u64),
}

/// Everything that a range tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) days: BTreeMap<u32, Day>,
    /// By link and version.
    pub(crate) links: Vec<(Id, u32, Counts)>,
}

pub(crate) fn told(stats: &RangeStats) -> Told {
    let days = stats.days.iter().map(|(day, sums)| (*day, told_of_day(sums, &stats.words)));
    let links = stats.links.iter().map(|one| (one.link, one.version, one.counts)).collect();
    let told = Told { days: days.collect(), links };
    assert_eq!(told.days.len(), stats.days.len(), "a day twice");
    told
}

fn told_of_day(stats: &DayStats, words: &Words) -> Day {
    let hour = |hour: &shunt::domain::day::HourStats| Hour {
        hour: hour.hour,
        counts: hour.counts,
        qr_scans: hour.qr_scans,
        visitors: (hour.people.estimate(), hour.bots.estimate()),
    };
    let mut rows = BTreeMap::new();
    for row in &stats.rows {
        let text = match (row.dimension, row.value) {
            (_, Word::OTHER) => "(other)".to_owned(),
            (Dimension::Version, Word(version)) => version.to_string(),
            (_, value) => words.text(value).expect("a word of this answer").to_owned(),
        };
        let twice = rows.insert((row.dimension, text), row.counts);
        assert_eq!(twice, None, "a value twice");
    }
    Day {
        people_at: stats.people_at,
        bots_at: stats.bots_at,
        hours: stats.hours.iter().map(hour).collect(),
        rows,
    }
}

pub(crate) async fn ask(stores: &Stores, of: StatsOf, from: Timestamp, to: Timestamp) -> Told {
    told(&stores.stats.days(of, from, to).await.unwrap())
}

/// Everything that is known of a link.
pub(crate) async fn all_of(stores: &Stores, link: Id) -> Told {
    ask(stores, StatsOf::Link(link), BEGIN, END).await
}

pub(crate) const fn people(people: u64) -> Counts {
    Counts { people, bots: 0 }
}

impl Told {
    /// Clicks of people by day.
    pub(crate) fn people(&self) -> Vec<(u32, u64)> {
        let sum = |day: &Day| day.hours.iter().map(|hour| hour.counts.people).sum();
        self.days.iter().map(|(day, sums)| (*day, sum(sums))).collect()
    }

    /// Clicks by day and hour.
    pub(crate) fn hours(&self) -> Vec<(u32, u8, Counts)> {
        let hours = |(day, sums): (&u32, &Day)| {
            let day = *day;
            sums.hours.iter().map(|hour| (day, hour.hour, hour.counts)).collect::<Vec<_>>()
        };
        self.days.iter().flat_map(hours).collect()
    }

    /// Clicks with a value of a dimension, on all days.
    pub(crate) fn value(&self, dimension: Dimension, text: &str) -> Counts {
        let mut sum = Counts::default();
        for day in self.days.values() {
            sum.add(day.rows.get(&(dimension, text.to_owned())).copied().unwrap_or_default());
        }
        sum
    }
}
