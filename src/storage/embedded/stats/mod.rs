//! Reads statistics: sums from pages of days, single clicks where a page does not tell enough, and
//! what is not folded yet.

pub(super) mod ahead;
mod buckets;
mod events;
mod link;
mod members;
mod rollup;
pub(super) mod shelf;
mod slices;
mod workspace;

use std::ops::Range;

use async_trait::async_trait;
use rusqlite::Connection;
use tracing::warn;

use super::Embedded;
use super::clicks::{buckets_of, read_page};
use super::days::Place;
use super::fault::{Fault, Outcome};
use super::pages::{self, Entry, PageKind, page_id};
use super::readers::Lane;
use crate::domain::day::{DayStats, start_of};
use crate::domain::event::ClickEvent;
use crate::domain::id::Id;
use crate::domain::stats::{BucketStats, RangeStats};
use crate::domain::time::Timestamp;
use crate::storage::chunk::span::Span;
use crate::storage::{EventQuery, StatsOf, StatsStore, StorageErrorKind, StorageResult};

/// Destinations of one link that are looked at: the newest.
const PAST_MAX: u32 = 1_000;

#[async_trait]
impl StatsStore for Embedded {
    async fn days(&self, of: StatsOf, from: Timestamp, to: Timestamp) -> StorageResult<RangeStats> {
        let span = Span { from, to };
        match of {
            StatsOf::Link(link) => {
                self.read("stats_days", Lane::Long, move |conn| link::days(conn, link, span)).await
            }
            StatsOf::Workspace { id, tag, domain } => {
                let links = members::Choice { workspace: id, tag, domain };
                let (stats, leaves) = self
                    .read("stats_days", Lane::Long, move |conn| workspace::days(conn, &links, span))
                    .await?;
                self.keep(leaves).await;
                Ok(stats)
            }
        }
    }

    async fn buckets(
        &self,
        of: StatsOf,
        bounds: Vec<Timestamp>,
    ) -> StorageResult<Vec<BucketStats>> {
        let (buckets, leaves) = self
            .read("stats_buckets", Lane::Long, move |conn| buckets::buckets(conn, &of, &bounds))
            .await?;
        self.keep(leaves).await;
        Ok(buckets)
    }

    async fn events(&self, query: EventQuery) -> StorageResult<Vec<ClickEvent>> {
        self.read("stats_events", Lane::Long, move |conn| events::events(conn, &query)).await
    }

    async fn past_destinations(&self, links: &[Id]) -> StorageResult<Vec<(Id, u32, String)>> {
        let links = links.to_vec();
        self.read("past_destinations", Lane::Short, move |conn| past_destinations(conn, &links))
            .await
    }
}

/// Days of a range of which something may be known of these shards. What is not folded yet is not
/// asked.
fn known_days(conn: &Connection, shards: Range<u64>, span: Span) -> Outcome<Range<u32>> {
    let ends = "SELECT min(id), (SELECT max(id) FROM click_marks) FROM click_marks";
    let (first, last): (Option<i64>, Option<i64>) =
        conn.prepare_cached(ends)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let marks = first.zip(last).map(|(first, last)| (Place::of(first).day, Place::of(last).day));
    let counts = buckets_of(conn, PageKind::Day, shards)?;
    let (a, b) = match (marks, counts) {
        (Some(one), Some(other)) => (one.0.min(other.0), one.1.max(other.1)),
        (one, other) => match one.or(other) {
            Some(ends) => ends,
            None => return Ok(0..0),
        },
    };
    let days = span.days();
    Ok(days.start.max(a)..days.end.min(b.saturating_add(1)))
}

/// Hands out what versions before single clicks were kept counted by hour, of a shard on a day.
pub(super) fn each_hour(
    conn: &Connection,
    place: Place,
    mut look: impl FnMut(u8, Entry),
) -> Outcome<()> {
    let first = page_id(PageKind::Hour, place.shard, place.day * 24);
    let mut statement =
        conn.prepare_cached("SELECT id, body FROM click_pages WHERE id >= ?1 AND id < ?2")?;
    let mut found = statement.query((first, first + 24))?;
    while let Some(row) = found.next()? {
        let id: i64 = row.get(0)?;
        let hour = (id - first) as u8;
        let body = row.get_ref(1)?.as_blob().map_err(|_| pages::damaged())?;
        pages::decode(PageKind::Hour, id, body)?.into_iter().for_each(|entry| look(hour, entry));
    }
    Ok(())
}

fn is_damage(fault: &Fault) -> bool {
    fault.kind() == StorageErrorKind::Corrupt
}

fn tell_damaged_page(place: Place) {
    let Place { day, shard } = place;
    warn!(day, shard, "a page of sums is damaged; its clicks are added up instead");
}

/// Adds what the counts of a day tell beyond its sums: days from before single clicks were kept, or
/// whose sums are not kept any more. They have no hour of their own and are told at noon, which is
/// the same day in nearly all zones.
pub(super) fn add_rest(stats: &mut DayStats, day: u32, counted: u64) {
    let rest = counted.saturating_sub(stats.counts().people);
    stats.add_plain(rest, noon(day));
}

fn noon(day: u32) -> Timestamp {
    start_of(day, 12)
}

/// Clicks of a link on a page of counts.
fn count_on_page(
    conn: &Connection,
    kind: PageKind,
    shard: u64,
    bucket: u32,
    link: Id,
) -> Outcome<u64> {
    let page = read_page(conn, kind, shard, bucket)?;
    let at = page.binary_search_by_key(&link.0, |entry| entry.link);
    Ok(at.map_or(0, |index| page[index].clicks))
}

fn past_destinations(conn: &Connection, links: &[Id]) -> Outcome<Vec<(Id, u32, String)>> {
    let mut statement = conn.prepare_cached(
        "SELECT version, destination FROM link_destinations WHERE link = ?1
         ORDER BY version DESC LIMIT ?2",
    )?;
    let mut past = Vec::new();
    for link in links {
        let first = past.len();
        let mut found = statement.query((super::signed(*link), PAST_MAX))?;
        while let Some(row) = found.next()? {
            past.push((*link, row.get(0)?, row.get(1)?));
        }
        past[first..].reverse();
    }
    Ok(past)
}
