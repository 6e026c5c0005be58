//! Puts clicks in order, and adds up those of a link and minute that are too many to be kept one by
//! one.

use foldhash::{HashMap, HashMapExt};

use crate::domain::counted::{CountedClick, Surplus};
use crate::domain::day::{DayStats, Parts};
use crate::domain::id::Id;
use crate::domain::time::Timestamp;
use crate::domain::words::{Lexicon, Words};

/// Links and minutes that are remembered to have had many clicks.
const BUSY_MAX: usize = 65_536;
/// Clicks of one link and minute in one batch from which on it is remembered.
const BUSY_FROM: usize = 16;

/// How many clicks of a link and minute were kept so far.
#[derive(Default)]
pub(super) struct Kept(HashMap<(Id, u32), usize>);

impl Kept {
    /// Sorts clicks by link, then time, and takes those out that are more than `max` per link and
    /// minute, the latest first; answers their sums, whose words are put into `words`.
    pub(super) fn split(
        &mut self,
        clicks: &mut Vec<CountedClick>,
        words: &mut Words,
        max: usize,
    ) -> Vec<Surplus> {
        sort(clicks);
        let mut dropped: Vec<std::ops::Range<usize>> = Vec::new();
        let mut at = 0;
        for run in clicks.chunk_by(|a, b| bucket(a) == bucket(b)) {
            let kept = self.0.get(&bucket(&run[0])).copied().unwrap_or(0);
            let room = max.saturating_sub(kept).min(run.len());
            if room < run.len() {
                dropped.push(at + room..at + run.len());
            }
            if kept + run.len() >= BUSY_FROM.min(max) {
                self.remember(bucket(&run[0]), kept + room);
            }
            at += run.len();
        }
        if dropped.is_empty() {
            return Vec::new();
        }
        let source = words.clone();
        let (mut parts, mut lexicon) = (Parts::new(&source), Lexicon::of(std::mem::take(words)));
        let surplus = dropped.iter().map(|range| {
            let run = &clicks[range.clone()];
            let mut stats = DayStats::default();
            stats.add(run, &mut parts, &mut lexicon);
            let (link, minute) = bucket(&run[0]);
            Surplus { link, minute, stats }
        });
        let surplus = surplus.collect();
        *words = lexicon.into_words();
        let mut index = 0;
        let mut dropped = dropped.into_iter().peekable();
        clicks.retain(|_| {
            while dropped.next_if(|range| range.end <= index).is_some() {}
            let keep = dropped.peek().is_none_or(|range| index < range.start);
            index += 1;
            keep
        });
        surplus
    }

    fn remember(&mut self, bucket: (Id, u32), kept: usize) {
        if self.0.len() >= BUSY_MAX && !self.0.contains_key(&bucket) {
            // Minutes that are over; or so many busy links that some may keep too many.
            let newest = self.0.keys().map(|(_, minute)| *minute).max().unwrap_or(0);
            self.0.retain(|(_, minute), _| *minute == newest);
            if self.0.len() >= BUSY_MAX {
                self.0 = HashMap::new();
            }
        }
        self.0.insert(bucket, kept);
    }
}

/// Sorts clicks by link, then time, those of one moment as they came. Clicks are large and come
/// nearly in order of time: small keys are sorted, and each click is moved once.
fn sort(clicks: &mut Vec<CountedClick>) {
    let Some(first_at) = clicks.iter().map(|click| click.at).min() else { return };
    let after = |at: Timestamp| u32::try_from(at.as_millis().abs_diff(first_at.as_millis()));
    let mut keys = Vec::with_capacity(clicks.len());
    for (index, click) in (0_u32..).zip(&*clicks) {
        // Clicks of a segment lie at most days apart.
        let Ok(after) = after(click.at) else {
            return clicks.sort_by_key(|click| (click.link, click.at));
        };
        keys.push(u128::from(click.link.0) << 64 | u128::from(after) << 32 | u128::from(index));
    }
    keys.sort_unstable();
    *clicks = keys.into_iter().map(|key| clicks[key as u32 as usize]).collect();
}

fn bucket(click: &CountedClick) -> (Id, u32) {
    (click.link, click.at.minute())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn click(link: u64, at: i64) -> CountedClick {
        CountedClick { link: Id(link), at: Timestamp(at), ..CountedClick::default() }
    }

    #[test]
    fn the_first_clicks_of_a_minute_are_kept_and_the_others_add_up() {
        let (mut kept, mut words) = (Kept::default(), Words::default());
        let mut n_surplus = 0;
        for batch in 0..5 {
            let mut clicks: Vec<CountedClick> =
                (0..30).map(|n| click(n % 3 / 2 + 1, i64::from(n as u32) + batch * 100)).collect();
            let surplus = kept.split(&mut clicks, &mut words, 50);
            n_surplus += surplus.iter().map(|row| row.stats.counts().people).sum::<u64>();
            assert!(clicks.is_sorted_by_key(|click| (click.link, click.at)));
            let total = clicks.len() as u64
                + surplus.iter().map(|row| row.stats.counts().people).sum::<u64>();
            assert_eq!(total, 30);
        }
        // Link 1 had 100 clicks, link 2 had 50.
        assert_eq!(n_surplus, 50);
        let mut next_minute = vec![click(1, 60_000)];
        assert!(kept.split(&mut next_minute, &mut words, 50).is_empty());
    }
}
