//! What one segment adds to every link, minute by minute.

use std::collections::HashMap;
use std::ops::Range;

use crate::domain::click::{BucketCount, Granularity};
use crate::domain::id::Id;
use crate::domain::time::Timestamp;

/// How far a click may lie from the first of its segment, in minutes: one day. Beyond it the clock
/// jumped, and the click is counted at the border. Measured from the segment itself, so that
/// counting it again gives the same buckets.
const MINUTES_APART_MAX: u32 = 1_440;

type Key = (Id, u32);

/// Counts of one segment, those in the store included: rows are absolute.
#[derive(Default)]
pub(super) struct Tally {
    rows: HashMap<Key, Row, foldhash::fast::RandomState>,
    /// Rows with clicks that no batch has taken yet.
    dirty: Vec<Key>,
    /// Minute of the first click.
    first_minute: Option<u32>,
    /// Time of the oldest click that no batch has taken yet.
    oldest_at: Option<Timestamp>,
}

#[derive(Default)]
struct Row {
    total: u32,
    /// Of these, how many the store has acknowledged.
    flushed: u32,
    last_at: Timestamp,
    dirty: bool,
}

impl Tally {
    /// Counts a click that the store does not have.
    pub(super) fn add(&mut self, at: Timestamp, link: Id) {
        let key = (link, self.minute(at));
        let row = self.rows.entry(key).or_default();
        row.total += 1;
        row.last_at = row.last_at.max(at);
        if !row.dirty {
            row.dirty = true;
            self.dirty.push(key);
        }
        self.oldest_at = Some(self.oldest_at.map_or(at, |oldest| oldest.min(at)));
    }

    /// Counts a click that the store has already.
    pub(super) fn add_flushed(&mut self, at: Timestamp, link: Id) {
        let key = (link, self.minute(at));
        let row = self.rows.entry(key).or_default();
        row.total += 1;
        row.flushed += 1;
        row.last_at = row.last_at.max(at);
    }

    /// Rows that wait for a batch.
    pub(super) fn n_dirty(&self) -> usize {
        self.dirty.len()
    }

    /// Rows held in memory.
    pub(super) fn n_rows(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn oldest_at(&self) -> Option<Timestamp> {
        self.oldest_at
    }

    /// Takes the rows with news, by link, then minute.
    pub(super) fn take_dirty(&mut self) -> Vec<BucketCount> {
        let mut keys = std::mem::take(&mut self.dirty);
        self.oldest_at = None;
        keys.sort_unstable();
        let take = |(link, minute): Key| {
            let row = self.rows.get_mut(&(link, minute))?;
            row.dirty = false;
            Some(BucketCount {
                link,
                minute,
                total: row.total,
                added: row.total - row.flushed,
                last_at: row.last_at,
            })
        };
        keys.into_iter().filter_map(take).collect()
    }

    /// The store has these rows.
    pub(super) fn acknowledge(&mut self, rows: &[BucketCount]) {
        for count in rows {
            if let Some(row) = self.rows.get_mut(&(count.link, count.minute)) {
                row.flushed = row.flushed.max(count.total);
            }
        }
    }

    /// Forgets a link: clicks that follow count from zero.
    pub(super) fn forget(&mut self, link: Id) {
        self.rows.retain(|(id, _), _| *id != link);
        self.dirty.retain(|(id, _)| *id != link);
    }

    /// Hands out, for every row without acknowledgement, its link, minute, clicks and last time.
    /// `refused` are the rows of a batch that the store does not have. Call it while no batch is
    /// on its way.
    pub(super) fn pending(
        &self,
        refused: &[BucketCount],
        mut each: impl FnMut(Id, u32, u64, Timestamp),
    ) {
        let mut hand_out = |(link, minute): Key, row: &Row| {
            each(link, minute, u64::from(row.total - row.flushed), row.last_at);
        };
        for key in &self.dirty {
            if let Some(row) = self.rows.get(key) {
                hand_out(*key, row);
            }
        }
        for key in refused.iter().map(|count| (count.link, count.minute)) {
            // One with clicks since then was handed out above.
            if let Some(row) = self.rows.get(&key).filter(|row| !row.dirty) {
                hand_out(key, row);
            }
        }
    }

    fn minute(&mut self, at: Timestamp) -> u32 {
        let minute = at.minute();
        let first = *self.first_minute.get_or_insert(minute);
        minute
            .clamp(first.saturating_sub(MINUTES_APART_MAX), first.saturating_add(MINUTES_APART_MAX))
    }
}

/// First minute of the bucket that holds `minute`, when that bucket begins within `range`.
pub(super) fn bucket(minute: u32, granularity: Granularity, range: &Range<u32>) -> Option<u32> {
    let first = minute - minute % granularity.minutes();
    range.contains(&first).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    #[test]
    fn rows_are_absolute_and_say_what_is_new() {
        let mut tally = Tally::default();
        tally.add(Timestamp(0), Id(2));
        tally.add(Timestamp(5), Id(1));
        tally.add(Timestamp(7), Id(2));
        let first = tally.take_dirty();
        assert_eq!(
            first.iter().map(|row| (row.link, row.total, row.added)).collect::<Vec<_>>(),
            [(Id(1), 1, 1), (Id(2), 2, 2)]
        );
        assert_eq!(first[1].last_at, Timestamp(7));

        tally.acknowledge(&first);
        tally.add(Timestamp(9), Id(2));
        let second = tally.take_dirty();
        assert_eq!((second.len(), second[0].total, second[0].added), (1, 3, 1));
        assert_eq!(tally.n_dirty(), 0);
    }

    #[test]
    fn a_clock_that_jumps_within_a_segment_does_not_scatter_buckets() {
        let mut tally = Tally::default();
        let start = 10_000_000 * MINUTE;
        for at in [start, start + 100_000 * MINUTE, start - 100_000 * MINUTE, start + MINUTE] {
            tally.add(Timestamp(at), Id(1));
        }
        let minutes: Vec<u32> = tally.take_dirty().iter().map(|row| row.minute).collect();
        assert_eq!(minutes, [9_998_560, 10_000_000, 10_000_001, 10_001_440]);
    }

    #[test]
    fn a_forgotten_link_starts_from_zero() {
        let mut tally = Tally::default();
        tally.add(Timestamp(0), Id(1));
        let sent = tally.take_dirty();
        tally.add(Timestamp(0), Id(1));
        tally.forget(Id(1));
        tally.acknowledge(&sent);
        tally.add(Timestamp(0), Id(1));
        assert_eq!(tally.take_dirty()[0].total, 1);
    }
}
