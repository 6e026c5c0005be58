//! Sums of buckets that are no whole hours, from single clicks.
//!
//! Each UTC day is cut where buckets end, and of a workspace its slices are kept for the next
//! question. A visitor counts once in a bucket for each UTC day, so what the slices of a bucket
//! tell adds up.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::Span;
use super::members::{Choice, Members};
use super::shelf::{Cover, Leaves, Made, Shape, Shelf};
use super::slices::Slices;
use super::workspace::{marks, newest_day, next_seqs};
use crate::domain::day::day_of;
use crate::domain::id::Id;
use crate::domain::stats::BucketStats;
use crate::domain::time::Timestamp;
use crate::storage::StatsOf;
use crate::storage::chunk::clicks::{Chunk, decode, decode_link};
use crate::storage::embedded::days::{self, Place, places};
use crate::storage::embedded::epochs::Epoch;
use crate::storage::embedded::fault::{Outcome, or_damaged};
use crate::storage::embedded::pages::{group_of, shard_of};
use crate::storage::embedded::schema::CLICK_GROUPS;
use crate::storage::embedded::unfolded;

/// The buckets, and what is worth to be kept.
pub(super) fn buckets(
    conn: &Connection,
    of: &StatsOf,
    bounds: &[Timestamp],
) -> Outcome<(Vec<BucketStats>, Vec<Leaves>)> {
    let (Some(first), Some(last)) = (bounds.first(), bounds.last()) else {
        return Ok((Vec::new(), Vec::new()));
    };
    let span = Span { from: *first, to: *last };
    let mut cut = Cut { bounds, days: BTreeMap::new() };
    let leaves = match of {
        StatsOf::Link(link) => {
            cut.add_link(conn, *link, span)?;
            Vec::new()
        }
        StatsOf::Workspace { id, tag, domain } => {
            let choice = Choice { workspace: *id, tag: tag.clone(), domain: *domain };
            cut.add_links(conn, &choice, span)?
        }
    };
    Ok((cut.add_up(), leaves))
}

/// Makes the slices of a day for whoever asks for them later.
pub(super) fn ahead(
    conn: &Connection,
    choice: &Choice,
    day: u32,
    shape: &Shape,
) -> Outcome<Vec<Leaves>> {
    let members = choice.members(conn)?;
    let mut shelf = Shelf::new(conn, choice, newest_day(conn)?, true)?;
    add_day(conn, &members, &mut shelf, (day, true), Slices::of_shape(day, shape))?;
    Ok(shelf.leaves())
}

/// Days in the making.
struct Cut<'a> {
    bounds: &'a [Timestamp],
    days: BTreeMap<u32, Slices>,
}

impl Cut<'_> {
    fn add_link(&mut self, conn: &Connection, link: Id, span: Span) -> Outcome<()> {
        let (shard, asked) = (shard_of(link), span.days());
        let mut next = asked.start;
        while let Some(day) = days::next_day_of_chunks(conn, next)?.filter(|d| asked.contains(d)) {
            let mut slices = Slices::of_day(day, self.bounds);
            days::each_chunk(conn, Place { day, shard }, 0, |id, _, body| {
                if let Some(chunk) = decode_link(id, body, link)? {
                    slices.add_chunk(&chunk, &Members::All);
                }
                Ok(true)
            })?;
            self.days.insert(day, slices);
            next = day + 1;
        }
        let chunks = unfolded::chunks(conn, group_of(shard), Some(link))?;
        chunks.iter().for_each(|chunk| self.add_unfolded(chunk, &Members::All, span));
        Ok(())
    }

    fn add_links(
        &mut self,
        conn: &Connection,
        choice: &Choice,
        span: Span,
    ) -> Outcome<Vec<Leaves>> {
        let members = choice.members(conn)?;
        let mut shelf = Shelf::new(conn, choice, newest_day(conn)?, false)?;
        let asked = span.days();
        let mut next = asked.start;
        while let Some(day) = days::next_day_of_chunks(conn, next)?.filter(|d| asked.contains(d)) {
            let slices = Slices::of_day(day, self.bounds);
            let is_last = day + 1 == asked.end;
            let slices = add_day(conn, &members, &mut shelf, (day, is_last), slices)?;
            self.days.insert(day, slices);
            next = day + 1;
        }
        for group in 0..CLICK_GROUPS {
            let chunks = unfolded::chunks(conn, group, None)?;
            chunks.iter().for_each(|chunk| self.add_unfolded(chunk, &members, span));
        }
        Ok(shelf.leaves())
    }

    /// Adds clicks of any days.
    fn add_unfolded(&mut self, chunk: &Chunk, members: &Members, span: Span) {
        let clicks = chunk.clicks.iter().filter(|click| members.has(click.link));
        for click in clicks.filter(|click| span.has(click.at)) {
            self.day(day_of(click.at)).add(click);
        }
        let rows = chunk.surplus.iter().filter(|row| members.has(row.link));
        for row in rows.filter(|row| span.has_row(row)) {
            self.day(row.minute / 1_440).add_row(row);
        }
    }

    fn day(&mut self, day: u32) -> &mut Slices {
        self.days.entry(day).or_insert_with(|| Slices::of_day(day, self.bounds))
    }

    fn add_up(self) -> Vec<BucketStats> {
        let mut sums = vec![BucketStats::default(); self.bounds.len() - 1];
        for (start, stats) in self.days.values().flat_map(Slices::told) {
            let behind = self.bounds.partition_point(|bound| *bound <= start);
            if let Some(sum) = behind.checked_sub(1).and_then(|bucket| sums.get_mut(bucket)) {
                sum.counts.add(stats.counts);
                sum.qr_scans += stats.qr_scans;
                sum.visitors.add(stats.visitors);
            }
        }
        sums
    }
}

/// Adds what is folded of a day to its empty slices. A mark that is damaged tells nothing, and then
/// nothing is kept.
fn add_day(
    conn: &Connection,
    members: &Members,
    shelf: &mut Shelf<'_>,
    (day, is_last): (u32, bool),
    mut slices: Slices,
) -> Outcome<Slices> {
    let Some(shape) = slices.shape(day) else {
        add_chunks(conn, members, &mut slices, all_places(day), |_| 0)?;
        return Ok(slices);
    };
    let epoch = Epoch::read(conn, day)?;
    let found = shelf.find(&shape, (day, epoch), |found| slices.fill(found, members))?;
    if found.as_ref().is_some_and(|(_, seen)| *seen == epoch) {
        return Ok(slices);
    }
    let Some(marks) = or_damaged(marks(conn, day))? else {
        slices.clear();
        add_chunks(conn, members, &mut slices, all_places(day), |_| 0)?;
        return Ok(slices);
    };
    let n_added = match &found {
        None => {
            add_chunks(conn, members, &mut slices, all_places(day), |_| 0)?;
            None
        }
        Some((cover, _)) => {
            let covered = |place: Place| cover.next_seqs[place.shard as usize];
            let later = marks.iter().filter(|(place, mark)| covered(*place) < mark.next_seq);
            let later = later.map(|(place, _)| *place);
            Some(add_chunks(conn, members, &mut slices, later, covered)?)
        }
    };
    let cover = Cover { census: members.census(), next_seqs: next_seqs(&marks) };
    let made = Made { day, epoch, n_added, is_last };
    shelf.leave(&shape, &made, |seal| slices.encode(seal, &cover))?;
    Ok(slices)
}

fn all_places(day: u32) -> impl Iterator<Item = Place> {
    let (first, end) = places(day);
    (first..end).map(Place::of)
}

/// Adds the chunks of places from a number on; answers how many there were.
fn add_chunks(
    conn: &Connection,
    members: &Members,
    slices: &mut Slices,
    places: impl Iterator<Item = Place>,
    seq: impl Fn(Place) -> u32,
) -> Outcome<u32> {
    let mut n = 0;
    for place in places.filter(|place| members.are_in(place.shard)) {
        days::each_chunk(conn, place, seq(place), |id, _, body| {
            slices.add_chunk(&decode(id, body)?, members);
            n += 1;
            Ok(true)
        })?;
    }
    Ok(n)
}
