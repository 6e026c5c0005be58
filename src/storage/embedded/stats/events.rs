//! Single clicks of a link, the newest first.
//!
//! A page reads only those chunks in whose time its clicks may be, so that all pages together read
//! a chunk as often as it takes to tell its clicks, however many others the day has.

use std::cmp::Reverse;

use rusqlite::Connection;

use crate::domain::counted::click_id;
use crate::domain::day::{day_of, start_of};
use crate::domain::event::ClickEvent;
use crate::storage::EventQuery;
use crate::storage::chunk::newest::Newest;
use crate::storage::embedded::days::Place;
use crate::storage::embedded::fault::Outcome;
use crate::storage::embedded::pages::{group_of, shard_of};
use crate::storage::embedded::{outline, unfolded};

pub(super) fn events(conn: &Connection, query: &EventQuery) -> Outcome<Vec<ClickEvent>> {
    let shard = shard_of(query.link);
    let mut newest = Newest::new(query);
    unfolded::each_body(conn, group_of(shard), |id, body| Ok(newest.read(id, body)?))?;
    let mut before = day_of(newest.until) + 1;
    while let Some(day) = day_before(conn, before)?.filter(|day| *day >= day_of(query.from)) {
        if newest.has_all_from(click_id(start_of(day + 1, 0).plus_millis(-1), u32::MAX)) {
            break;
        }
        read_day(conn, Place { day, shard }, &mut newest)?;
        before = day;
    }
    Ok(newest.into_events())
}

fn read_day(conn: &Connection, place: Place, newest: &mut Newest<'_>) -> Outcome<()> {
    let mut chunks = outline::of_place(conn, place)?;
    chunks.sort_unstable_by_key(|chunk| Reverse(chunk.newest()));
    for chunk in chunks {
        if newest.has_all_from(chunk.newest()) {
            break;
        }
        let in_reach = newest.query.before.is_none_or(|before| chunk.oldest() < before);
        if in_reach && chunk.touches(newest.span.from, newest.span.to) {
            outline::read(conn, chunk.id, |body| Ok(newest.read(chunk.id, body)?))?;
        }
    }
    Ok(())
}

/// The last day before `day` of which there are single clicks, of whichever link.
fn day_before(conn: &Connection, day: u32) -> Outcome<Option<u32>> {
    let end = Place { day, shard: 0 }.chunk(0);
    let id: Option<i64> = conn
        .prepare_cached("SELECT max(id) FROM click_events WHERE id < ?1")?
        .query_row([end], |row| row.get(0))?;
    Ok(id.map(|id| Place::of_chunk(id).day))
}
