//! Single clicks of a link, the newest first.
//!
//! A page reads only those chunks in whose time its clicks may be, so that all pages together read
//! a chunk as often as it takes to tell its clicks, however many others the day has. In memory are
//! as many clicks as are asked for, one chunk, and the texts that they use.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use rusqlite::Connection;

use super::Span;
use crate::domain::counted::{CountedClick, click_id};
use crate::domain::day::{day_of, start_of};
use crate::domain::event::ClickEvent;
use crate::domain::id::Id;
use crate::domain::time::Timestamp;
use crate::domain::words::Words;
use crate::storage::EventQuery;
use crate::storage::embedded::chunks::decode_until;
use crate::storage::embedded::days::Place;
use crate::storage::embedded::fault::Outcome;
use crate::storage::embedded::pages::{group_of, shard_of};
use crate::storage::embedded::{outline, unfolded};

/// The newest clicks found so far, at most as many as are asked for.
struct Newest<'a> {
    query: &'a EventQuery,
    span: Span,
    /// No wanted click is younger.
    until: Timestamp,
    /// The smallest id is on top: the first that gives way.
    found: BinaryHeap<Reverse<Found>>,
}

struct Found {
    id: Id,
    click: CountedClick,
    words: Arc<Words>,
}

pub(super) fn events(conn: &Connection, query: &EventQuery) -> Outcome<Vec<ClickEvent>> {
    let shard = shard_of(query.link);
    let span = Span { from: query.from, to: query.to };
    let last = query.to.plus_millis(-1);
    let until = query.before.map_or(last, |id| last.min(id.created_at()));
    let mut newest = Newest { query, span, until, found: BinaryHeap::new() };
    unfolded::each_body(conn, group_of(shard), |id, body| newest.read(id, body))?;
    let mut before = day_of(until) + 1;
    while let Some(day) = day_before(conn, before)?.filter(|day| *day >= day_of(query.from)) {
        if newest.has_all_from(click_id(start_of(day + 1, 0).plus_millis(-1), u32::MAX)) {
            break;
        }
        newest.read_day(conn, Place { day, shard })?;
        before = day;
    }
    let mut found = newest.found.into_vec();
    found.sort_unstable();
    Ok(found.iter().map(|Reverse(found)| ClickEvent::new(&found.click, &found.words)).collect())
}

impl Newest<'_> {
    fn read_day(&mut self, conn: &Connection, place: Place) -> Outcome<()> {
        let mut chunks = outline::of_place(conn, place)?;
        chunks.sort_unstable_by_key(|chunk| Reverse(chunk.newest()));
        for chunk in chunks {
            if self.has_all_from(chunk.newest()) {
                break;
            }
            let in_reach = self.query.before.is_none_or(|before| chunk.oldest() < before);
            if in_reach && chunk.touches(self.span.from, self.span.to) {
                outline::read(conn, chunk.id, |body| self.read(chunk.id, body))?;
            }
        }
        Ok(())
    }

    fn read(&mut self, id: i64, body: &[u8]) -> Outcome<()> {
        let chunk = decode_until(id, body, self.query.link, self.until)?;
        let (limit, words) = (self.query.limit as usize, Arc::new(chunk.words));
        for click in chunk.clicks {
            let id = click.id();
            let wanted = self.span.has(click.at)
                && self.query.before.is_none_or(|before| id < before)
                && self.query.bots.is_none_or(|bots| bots == click.is_bot());
            let room = self.found.len() < limit;
            if wanted && (room || self.found.peek().is_some_and(|least| id > least.0.id)) {
                self.found.push(Reverse(Found { id, click, words: Arc::clone(&words) }));
                if self.found.len() > limit {
                    self.found.pop();
                }
            }
        }
        Ok(())
    }

    /// Whether nothing up to and with this id can be among the newest any more.
    fn has_all_from(&self, id: Id) -> bool {
        self.found.len() >= self.query.limit as usize
            && self.found.peek().is_none_or(|least| least.0.id >= id)
    }
}

/// The last day before `day` of which there are single clicks, of whichever link.
fn day_before(conn: &Connection, day: u32) -> Outcome<Option<u32>> {
    let end = Place { day, shard: 0 }.chunk(0);
    let id: Option<i64> = conn
        .prepare_cached("SELECT max(id) FROM click_events WHERE id < ?1")?
        .query_row([end], |row| row.get(0))?;
    Ok(id.map(|id| Place::of_chunk(id).day))
}

impl PartialEq for Found {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Found {}

impl PartialOrd for Found {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Found {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.id.cmp(&other.id)
    }
}
