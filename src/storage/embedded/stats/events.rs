//! Single clicks of a link, the newest first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use rusqlite::Connection;

use super::Span;
use crate::domain::counted::CountedClick;
use crate::domain::day::day_of;
use crate::domain::event::ClickEvent;
use crate::domain::id::Id;
use crate::domain::words::Words;
use crate::storage::EventQuery;
use crate::storage::embedded::chunks::{Chunk, decode_link};
use crate::storage::embedded::days::{self, Place};
use crate::storage::embedded::fault::Outcome;
use crate::storage::embedded::pages::{group_of, shard_of};
use crate::storage::embedded::unfolded;

/// The newest clicks found so far, at most as many as are asked for.
struct Newest<'a> {
    query: &'a EventQuery,
    span: Span,
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
    let mut newest = Newest { query, span, found: BinaryHeap::new() };
    for chunk in unfolded::chunks(conn, group_of(shard), Some(query.link))? {
        newest.add(chunk);
    }
    let last = query.before.map_or(query.to, |id| query.to.min(id.created_at().plus_millis(1)));
    let mut before = day_of(last) + 1;
    while let Some(day) = day_before(conn, before)?.filter(|day| *day >= day_of(query.from)) {
        if newest.has_all_since(day) {
            break;
        }
        days::each_chunk(conn, Place { day, shard }, 0, |id, _, body| {
            if let Some(chunk) = decode_link(id, body, query.link)? {
                newest.add(chunk);
            }
            Ok(true)
        })?;
        before = day;
    }
    let mut found = newest.found.into_vec();
    found.sort_unstable();
    Ok(found.iter().map(|Reverse(found)| ClickEvent::new(&found.click, &found.words)).collect())
}

impl Newest<'_> {
    fn add(&mut self, chunk: Chunk) {
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
    }

    /// Whether nothing of a day, or of one before it, can be among the newest any more.
    fn has_all_since(&self, day: u32) -> bool {
        self.found.len() >= self.query.limit as usize
            && self.found.peek().is_none_or(|least| day_of(least.0.click.at) > day)
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
