//! Sums of one link, by day.

use std::collections::{BTreeMap, HashMap};

use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::domain::counted::CountedClick;
use crate::domain::day::{DayStats, Parts, start_of};
use crate::domain::id::Id;
use crate::domain::stats::RangeStats;
use crate::domain::words::{Lexicon, Translation};
use crate::storage::chunk::clicks::Chunk;
use crate::storage::chunk::span::Span;
use crate::storage::error::{Op, StorageResult};
use crate::storage::scylla::clicks::{ALL, CqlClicks, DayRow, Flushed, Sums};

const OP: Op = "stats_days";
/// Days whose clicks are read at once.
const DAYS: usize = 16;

/// What was read of a day of one node.
struct Seen {
    row: DayRow,
    /// The first number whose clicks were read.
    from: i64,
    flushed: Vec<Flushed>,
}

/// Days in the making.
#[derive(Default)]
struct Days {
    lexicon: Lexicon,
    days: BTreeMap<u32, DayStats>,
}

impl CqlClicks {
    pub(super) async fn days_of_link(&self, link: Id, span: Span) -> StorageResult<RangeStats> {
        let rows = self.day_rows(OP, link, span.days()).await?;
        let seen = stream::iter(rows).map(|row| self.see(link, row, span));
        let seen: Vec<Seen> = seen.buffered(DAYS).try_collect().await?;
        // After the clicks: what was folded meanwhile is in the sums, and is left out of them.
        let with_sums = |seen: &&Seen| !seen.row.is_bare();
        let days = seen.iter().filter(with_sums).map(|seen| seen.row.day());
        let mut sums = match (days.clone().min(), days.max()) {
            (Some(first), Some(last)) => self.sums(OP, link, first..last + 1).await?,
            _ => HashMap::new(),
        };
        let mut days = Days::default();
        for mut seen in seen {
            let sums = sums
                .remove(&(seen.row.day(), seen.row.node()))
                .filter(|sums| sums.since >= seen.row.erased());
            let lower = sums.as_ref().map_or(seen.row.erased(), |sums| sums.upto);
            let folded = seen.row.folded();
            if lower < seen.from && folded.people + folded.bots > 0 && !seen.row.is_bare() {
                // The sums went, or went back: the clicks tell the same.
                seen.flushed = self.flushed(OP, seen.row.place(link), lower..ALL.end).await?;
            }
            days.add(&seen, sums, span);
        }
        days.days.retain(|_, stats| !stats.is_empty());
        Ok(RangeStats {
            words: days.lexicon.into_words(),
            days: days.days.into_iter().collect(),
            links: Vec::new(),
        })
    }

    /// Reads what the sums may not hold; of a day that is asked for in part, everything.
    async fn see(&self, link: Id, row: DayRow, span: Span) -> StorageResult<Seen> {
        let in_part = !span.covers(row.day()) && !row.is_bare();
        let from = if in_part { row.erased() } else { row.folded().upto };
        let flushed = match in_part || row.is_open() {
            true => self.flushed(OP, row.place(link), from..ALL.end).await?,
            false => Vec::new(),
        };
        Ok(Seen { row, from, flushed })
    }
}

impl Days {
    fn add(&mut self, seen: &Seen, sums: Option<Sums>, span: Span) {
        let Seen { row, flushed, .. } = seen;
        if row.is_bare() {
            self.add_counts(row, span);
            flushed.iter().for_each(|one| self.add_flushed(row.day(), one, span));
            return;
        }
        let Some(sums) = sums else {
            flushed.iter().for_each(|one| self.add_flushed(row.day(), one, span));
            return;
        };
        let (held, rest): (Vec<_>, Vec<_>) =
            flushed.iter().partition(|one| one.head.seq < sums.upto);
        let n_held: u64 = held.iter().map(|one| one.head.people + one.head.bots).sum();
        if !span.covers(row.day()) && n_held == sums.stats.counts().sum() {
            // All of them are still there one by one.
            held.into_iter().for_each(|one| self.add_flushed(row.day(), one, span));
        } else {
            self.add_sums(row.day(), sums, span);
        }
        rest.into_iter().for_each(|one| self.add_flushed(row.day(), one, span));
    }

    fn add_sums(&mut self, day: u32, sums: Sums, span: Span) {
        let Sums { mut stats, words, .. } = sums;
        if !span.covers(day) {
            stats.restrict(day, span.from, span.to);
        }
        let sum = self.days.entry(day).or_default();
        sum.merge(&stats, &mut Translation::new(&words), &mut self.lexicon);
    }

    /// Clicks without an hour of their own are told at noon, which is the same day in nearly all
    /// zones.
    fn add_counts(&mut self, row: &DayRow, span: Span) {
        let noon = start_of(row.day(), 12);
        if span.has(noon) {
            self.days.entry(row.day()).or_default().add_plain(row.folded().people, noon);
        }
    }

    fn add_flushed(&mut self, day: u32, flushed: &Flushed, span: Span) {
        for chunk in &flushed.chunks {
            self.add_chunk(day, chunk, span);
        }
    }

    fn add_chunk(&mut self, day: u32, chunk: &Chunk, span: Span) {
        let clicks: Vec<CountedClick> =
            chunk.clicks.iter().filter(|click| span.has(click.at)).copied().collect();
        let sum = self.days.entry(day).or_default();
        sum.add(&clicks, &mut Parts::new(&chunk.words), &mut self.lexicon);
        let mut translation = Translation::new(&chunk.words);
        for row in chunk.surplus.iter().filter(|row| span.has_row(row)) {
            sum.merge(&row.stats, &mut translation, &mut self.lexicon);
        }
    }
}
