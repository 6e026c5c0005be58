//! Sums of buckets that are no whole hours, from single clicks.

use std::collections::HashMap;

use rusqlite::Connection;

use super::Span;
use super::workspace::{Choice, Members};
use crate::domain::click::ClickFlags;
use crate::domain::day::{Counts, DayStats, day_of};
use crate::domain::id::Id;
use crate::domain::sketch::Sketch;
use crate::domain::stats::BucketStats;
use crate::domain::time::Timestamp;
use crate::storage::StatsOf;
use crate::storage::embedded::chunks::{Chunk, decode, decode_link};
use crate::storage::embedded::days::{self, Place, places};
use crate::storage::embedded::fault::Outcome;
use crate::storage::embedded::pages::{group_of, shard_of};
use crate::storage::embedded::schema::CLICK_GROUPS;
use crate::storage::embedded::unfolded;

struct Buckets<'a> {
    bounds: &'a [Timestamp],
    sums: Vec<BucketStats>,
    /// By bucket and day: people, bots.
    visitors: HashMap<(usize, u32), (Sketch, Sketch)>,
}

pub(super) fn buckets(
    conn: &Connection,
    of: &StatsOf,
    bounds: &[Timestamp],
) -> Outcome<Vec<BucketStats>> {
    let (Some(first), Some(last)) = (bounds.first(), bounds.last()) else {
        return Ok(Vec::new());
    };
    let span = Span { from: *first, to: *last };
    let sums = vec![BucketStats::default(); bounds.len() - 1];
    let mut buckets = Buckets { bounds, sums, visitors: HashMap::new() };
    match of {
        StatsOf::Link(link) => buckets.add_link(conn, *link, span)?,
        StatsOf::Workspace { id, tag, domain } => {
            let choice = Choice { workspace: *id, tag: tag.clone(), domain: *domain };
            buckets.add_links(conn, &choice.members(conn)?, span)?;
        }
    }
    Ok(buckets.finish())
}

impl Buckets<'_> {
    fn add_link(&mut self, conn: &Connection, link: Id, span: Span) -> Outcome<()> {
        let shard = shard_of(link);
        for day in span.days() {
            days::each_chunk(conn, Place { day, shard }, 0, |id, _, body| {
                if let Some(chunk) = decode_link(id, body, link)? {
                    self.add(&chunk, &Members::All);
                }
                Ok(true)
            })?;
        }
        let chunks = unfolded::chunks(conn, group_of(shard), Some(link))?;
        chunks.iter().for_each(|chunk| self.add(chunk, &Members::All));
        Ok(())
    }

    fn add_links(&mut self, conn: &Connection, members: &Members, span: Span) -> Outcome<()> {
        for day in span.days() {
            let (first, end) = places(day);
            let wanted = |id: &i64| members.are_in(Place::of(*id).shard);
            for id in (first..end).filter(wanted) {
                days::each_chunk(conn, Place::of(id), 0, |id, _, body| {
                    self.add(&decode(id, body)?, members);
                    Ok(true)
                })?;
            }
        }
        for group in 0..CLICK_GROUPS {
            let chunks = unfolded::chunks(conn, group, None)?;
            chunks.iter().for_each(|chunk| self.add(chunk, members));
        }
        Ok(())
    }

    fn add(&mut self, chunk: &Chunk, members: &Members) {
        for click in chunk.clicks.iter().filter(|click| members.has(click.link)) {
            let Some(bucket) = self.bucket(click.at) else { continue };
            let bot = click.is_bot();
            self.sums[bucket].counts.add(Counts::one(bot));
            let scan = !bot && click.flags.has(ClickFlags::QR);
            self.sums[bucket].qr_scans += u64::from(scan);
            if click.visitor != 0 {
                let visitors = self.visitors.entry((bucket, day_of(click.at))).or_default();
                if bot { &mut visitors.1 } else { &mut visitors.0 }.insert(click.visitor);
            }
        }
        for row in chunk.surplus.iter().filter(|row| members.has(row.link)) {
            if let Some(bucket) = self.bucket(Timestamp(i64::from(row.minute) * 60_000)) {
                self.add_row(bucket, row.minute / 1_440, &row.stats);
            }
        }
    }

    fn add_row(&mut self, bucket: usize, day: u32, stats: &DayStats) {
        self.sums[bucket].counts.add(stats.counts());
        let visitors = self.visitors.entry((bucket, day)).or_default();
        for hour in &stats.hours {
            self.sums[bucket].qr_scans += hour.qr_scans;
            visitors.0.merge(&hour.people);
            visitors.1.merge(&hour.bots);
        }
    }

    fn bucket(&self, at: Timestamp) -> Option<usize> {
        let behind = self.bounds.partition_point(|bound| *bound <= at);
        (behind > 0 && behind < self.bounds.len()).then(|| behind - 1)
    }

    fn finish(mut self) -> Vec<BucketStats> {
        for ((bucket, _), (people, bots)) in self.visitors {
            let visitors = Counts { people: people.estimate(), bots: bots.estimate() };
            self.sums[bucket].visitors.add(visitors);
        }
        self.sums
    }
}
