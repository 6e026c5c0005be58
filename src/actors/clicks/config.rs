//! `[clicks]`: how clicks travel from the redirect to the store.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::enrich::places::FILES_MAX;
use crate::domain::limits::DETAILS_KEPT_DAYS;
use crate::domain::problems::Problems;
use crate::domain::units::{Size, Span};

/// Smallest and largest segment, in bytes: it must hold several of the longest records, and the
/// positions in it must fit into 32 bits.
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 64 * 1_024..=1 << 30;
/// Longest time that single clicks are kept: as long as sums are.
const EVENTS_KEPT_MAX_MS: u64 = DETAILS_KEPT_DAYS as u64 * 86_400_000;
/// Segments that the spool must be able to hold: one in use, three spare.
const SPOOL_SEGMENTS_MIN: u64 = 4;

/// `[clicks]`: how clicks travel from the redirect to the store.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClicksConfig {
    /// Databases in MaxMind's format (.mmdb) that tell where a visitor is, at most eight; what the
    /// first does not know is taken from the next. Looked at every ten seconds, so that a file can
    /// be replaced while Shunt runs. None: visitors have no country.
    pub geoip: Vec<PathBuf>,
    /// How long single clicks are kept, 0s to 400d, in whole days; those of today always are.
    pub events_retention: Span,
    /// Clicks of one link and minute that are kept one by one, 1 to 1,000,000; those beyond are
    /// only counted.
    pub events_per_link_minute: usize,
    /// False: redirects are not counted at all, and no journal is opened. Click limits then begin
    /// again at each start, and when a link comes back into memory.
    pub enabled: bool,
    /// Bytes of one journal segment, 64KiB to 1GiB. Disk space is taken in these units: four per
    /// worker, one that waits to be used again, and those that wait to be counted.
    pub segment_size: Size,
    /// Age at which a segment that holds clicks is closed, 1s to 1h, so that it can be counted and
    /// deleted together with the visitors' addresses in it. While the store takes no counts, only
    /// full ones are closed.
    pub segment_age_max: Span,
    /// Bytes that the journal may take while the store is away, at least four segments and never
    /// more than 2,048 of them. Clicks beyond it are kept in memory for a while, then dropped and
    /// counted.
    pub spool_max: Size,
    /// Room that the journal leaves free on its file system: a share such as `5%`, or a size.
    pub free_disk_min: FreeDisk,
    /// How often the journal is written through to the disk, 1ms to 10s: what a loss of power can
    /// take along.
    pub sync_interval: Span,
    /// How often the journal is read behind the writers while somebody watches clicks live, 1ms to
    /// 1s; else it is read when the next flush is due.
    pub read_interval: Span,
    /// Shortest time between two flushes of counts to the store, 1ms to 4s. Slow flushes are made
    /// less often, but at least every 2 s, unless this is longer: statistics are never older than
    /// 5 s.
    pub flush_interval: Span,
    /// Actors that count, 1 to 16, each on a thread of its own. One counts more than a million
    /// clicks per second.
    pub counters: usize,
}

/// How much of the file system the journal must leave free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreeDisk {
    /// Of the whole file system, in percent.
    Percent(u8),
    Bytes(Size),
}

impl Default for ClicksConfig {
    fn default() -> Self {
        Self {
            geoip: Vec::new(),
            events_retention: Span::from_secs(90 * 86_400),
            events_per_link_minute: 1_000,
            enabled: true,
            segment_size: Size::mib(16),
            segment_age_max: Span::from_secs(60),
            spool_max: Size::gib(2),
            free_disk_min: FreeDisk::Percent(5),
            sync_interval: Span::from_millis(50),
            read_interval: Span::from_millis(100),
            flush_interval: Span::from_secs(1),
            counters: 1,
        }
    }
}

impl ClicksConfig {
    pub fn check(&self, problems: &mut Problems) {
        if self.geoip.len() > FILES_MAX {
            problems.add(format!(
                "`clicks.geoip` names {} files; it must be at most {FILES_MAX}",
                self.geoip.len()
            ));
        }
        span(problems, "clicks.events_retention", self.events_retention, 0..=EVENTS_KEPT_MAX_MS);
        let per_minute = self.events_per_link_minute;
        problems.range("clicks.events_per_link_minute", per_minute, 1..=1_000_000);
        span(problems, "clicks.segment_age_max", self.segment_age_max, 1_000..=3_600_000);
        span(problems, "clicks.sync_interval", self.sync_interval, 1..=10_000);
        span(problems, "clicks.read_interval", self.read_interval, 1..=1_000);
        span(problems, "clicks.flush_interval", self.flush_interval, 1..=4_000);
        problems.range("clicks.counters", self.counters, 1..=16);
        let (low, high) = (*SEGMENT_BYTES.start(), *SEGMENT_BYTES.end());
        if !SEGMENT_BYTES.contains(&self.segment_size.0) {
            problems.add(format!(
                "`clicks.segment_size` is {}; it must be from {} to {}",
                self.segment_size,
                Size(low),
                Size(high)
            ));
        } else if self.spool_max.0 / self.segment_size.0 < SPOOL_SEGMENTS_MIN {
            problems.add(format!(
                "`clicks.spool_max` is {}; it must be at least {SPOOL_SEGMENTS_MIN} times \
                 `clicks.segment_size`, which is {}",
                self.spool_max, self.segment_size
            ));
        }
        if let FreeDisk::Percent(percent) = self.free_disk_min
            && percent > 90
        {
            problems.add(format!(
                "`clicks.free_disk_min` is {percent}%; it must be from 0% to 90%, or a size"
            ));
        }
    }
}

impl FreeDisk {
    /// The floor in bytes on a file system of `total` bytes.
    pub fn bytes(self, total: u64) -> u64 {
        match self {
            Self::Percent(percent) => total / 100 * u64::from(percent),
            Self::Bytes(size) => size.0,
        }
    }
}

impl fmt::Display for FreeDisk {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(percent) => write!(out, "{percent}%"),
            Self::Bytes(size) => size.fmt(out),
        }
    }
}

impl FromStr for FreeDisk {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("{text:?} is neither a share like 5% nor a size like 512MiB");
        match text.trim().strip_suffix('%') {
            Some(number) => number.trim().parse().map(Self::Percent).map_err(|_| wrong()),
            None => text.parse().map(Self::Bytes).map_err(|_| wrong()),
        }
    }
}

impl Serialize for FreeDisk {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FreeDisk {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

fn span(problems: &mut Problems, key: &str, value: Span, millis: std::ops::RangeInclusive<u64>) {
    let allowed = Duration::from_millis(*millis.start())..=Duration::from_millis(*millis.end());
    if !allowed.contains(&value.0) {
        let (low, high) = (Span(*allowed.start()), Span(*allowed.end()));
        problems.add(format!("`{key}` is {value}; it must be from {low} to {high}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_have_no_problems() {
        let mut problems = Problems::default();
        ClicksConfig::default().check(&mut problems);
        assert!(problems.is_empty(), "{problems}");
    }

    #[test]
    fn every_wrong_setting_is_named() {
        let mut problems = Problems::default();
        let config = ClicksConfig {
            segment_size: Size::mib(1),
            spool_max: Size::mib(3),
            sync_interval: Span::from_secs(11),
            flush_interval: Span::from_secs(5),
            free_disk_min: FreeDisk::Percent(91),
            counters: 0,
            ..ClicksConfig::default()
        };
        config.check(&mut problems);
        let text = problems.to_string();
        for key in ["spool_max", "sync_interval", "flush_interval", "free_disk_min", "counters"] {
            assert!(text.contains(&format!("`clicks.{key}`")), "{key} is missing in:\n{text}");
        }
        assert_eq!(problems.sentences().len(), 5);
    }

    #[test]
    fn free_disk_is_a_share_or_a_size() {
        assert_eq!("5%".parse(), Ok(FreeDisk::Percent(5)));
        assert_eq!("1GiB".parse(), Ok(FreeDisk::Bytes(Size::gib(1))));
        assert!("5 parsecs".parse::<FreeDisk>().is_err());
        assert_eq!(FreeDisk::Percent(5).bytes(1_000), 50);
    }
}
