//! Sums of buckets that are no whole hours, from single clicks.

use std::collections::BTreeMap;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::workspace::Choice;
use crate::domain::click::ClickFlags;
use crate::domain::counted::{CountedClick, Surplus};
use crate::domain::day::{Counts, day_of};
use crate::domain::id::Id;
use crate::domain::sketch::Sketch;
use crate::domain::stats::BucketStats;
use crate::domain::time::Timestamp;
use crate::storage::StatsOf;
use crate::storage::chunk::clicks::Chunk;
use crate::storage::chunk::span::Span;
use crate::storage::error::{Op, StorageResult};
use crate::storage::scylla::clicks::{ALL, CqlClicks};

const OP: Op = "stats_buckets";
/// Days of links whose clicks are read at once.
const DAYS: usize = 16;

/// Buckets in the making. A visitor counts once in a bucket for each UTC day.
struct Cut<'a> {
    bounds: &'a [Timestamp],
    slices: BTreeMap<(u32, usize), Slice>,
}

#[derive(Default)]
struct Slice {
    counts: Counts,
    qr_scans: u64,
    people: Sketch,
    bots: Sketch,
}

impl CqlClicks {
    pub(super) async fn buckets_of(
        &self,
        of: StatsOf,
        bounds: &[Timestamp],
    ) -> StorageResult<Vec<BucketStats>> {
        let (Some(from), Some(to)) = (bounds.first().copied(), bounds.last().copied()) else {
            return Ok(Vec::new());
        };
        let span = Span { from, to };
        let links = match of {
            StatsOf::Link(link) => vec![link],
            StatsOf::Workspace { id, tag, domain } => {
                self.clicked(&Choice { workspace: id, tag, domain }, span.days()).await?
            }
        };
        let mut cut = Cut { bounds, slices: BTreeMap::new() };
        for link in links {
            self.cut_link(link, span, &mut cut).await?;
        }
        Ok(cut.add_up())
    }

    async fn cut_link(&self, link: Id, span: Span, cut: &mut Cut<'_>) -> StorageResult<()> {
        let rows = self.day_rows(OP, link, span.days()).await?;
        let mut days = stream::iter(rows)
            .map(|row| {
                let (place, from) = (row.place(link), row.erased());
                async move { self.flushed(OP, place, from..ALL.end).await }
            })
            .buffered(DAYS);
        while let Some(flushed) = days.try_next().await? {
            flushed.iter().flat_map(|one| &one.chunks).for_each(|chunk| cut.add(chunk));
        }
        Ok(())
    }
}

impl Cut<'_> {
    fn add(&mut self, chunk: &Chunk) {
        chunk.clicks.iter().for_each(|click| self.add_click(click));
        chunk.surplus.iter().for_each(|row| self.add_row(row));
    }

    fn add_click(&mut self, click: &CountedClick) {
        let Some(slice) = self.slice(day_of(click.at), click.at) else { return };
        let bot = click.is_bot();
        slice.counts.add(Counts::one(bot));
        slice.qr_scans += u64::from(!bot && click.flags.has(ClickFlags::QR));
        if click.visitor != 0 {
            if bot { &mut slice.bots } else { &mut slice.people }.insert(click.visitor);
        }
    }

    fn add_row(&mut self, row: &Surplus) {
        let at = Timestamp(i64::from(row.minute) * 60_000);
        let Some(slice) = self.slice(row.minute / 1_440, at) else { return };
        slice.counts.add(row.stats.counts());
        for hour in &row.stats.hours {
            slice.qr_scans += hour.qr_scans;
            slice.people.merge(&hour.people);
            slice.bots.merge(&hour.bots);
        }
    }

    /// Where what happened at a time belongs; nowhere when that is in no bucket.
    fn slice(&mut self, day: u32, at: Timestamp) -> Option<&mut Slice> {
        let behind = self.bounds.partition_point(|bound| *bound <= at);
        let bucket = behind.checked_sub(1).filter(|bucket| bucket + 1 < self.bounds.len())?;
        Some(self.slices.entry((day, bucket)).or_default())
    }

    fn add_up(self) -> Vec<BucketStats> {
        let mut buckets = vec![BucketStats::default(); self.bounds.len() - 1];
        for ((_, bucket), slice) in self.slices {
            let sum = &mut buckets[bucket];
            sum.counts.add(slice.counts);
            sum.qr_scans += slice.qr_scans;
            let visitors = Counts { people: slice.people.estimate(), bots: slice.bots.estimate() };
            sum.visitors.add(visitors);
        }
        buckets
    }
}
