//! Removes what is older than it is kept, in steps that do not hold up the writer.
//!
//! The caller's "today" comes from a clock, and clocks jump. So a call removes at most one day of
//! each kind, the oldest: an hour on a wrong clock costs no more than the calls in it.

use rusqlite::Connection;

use super::clicks::buckets_of;
use super::days::{self, Place, places};
use super::epochs;
use super::fault::Outcome;
use super::pages::{PageKind, page_id};
use super::schema::CLICK_SHARDS;
use super::stats::shelf;
use crate::storage::Retention;

/// Chunks of clicks, and pages by minute, that one call removes.
const ROWS_PER_STEP: i64 = 2_048;

/// Removes some of what is older than it is kept; true when more of the same day is left.
pub(super) fn prune(conn: &Connection, keep: Retention) -> Outcome<bool> {
    // Without the marks of its place a chunk could not be told from later ones.
    let events_from = keep.events_from.max(keep.details_from);
    // The sums of one day are removed once a day of clicks is done with, and not with each step.
    if prune_events(conn, events_from)? || prune_pages(conn, keep.details_from)? {
        return Ok(true);
    }
    prune_details(conn, keep.details_from)?;
    days::forget_aside_before(conn, events_from)?;
    Ok(false)
}

fn prune_events(conn: &Connection, from: u32) -> Outcome<bool> {
    let Some(day) = days::next_day_of_chunks(conn, 0)?.filter(|day| *day < from) else {
        return Ok(false);
    };
    // Sums are kept longer: what waits for its page is added to it first.
    if let Some(place) = pending_of(conn, day)? {
        days::fold(conn, place)?;
        return Ok(true);
    }
    let end = Place { day: day + 1, shard: 0 }.chunk(0);
    let removed = conn
        .prepare_cached(
            "DELETE FROM click_events WHERE id IN
             (SELECT id FROM click_events WHERE id < ?1 ORDER BY id LIMIT ?2)",
        )?
        .execute((end, ROWS_PER_STEP))?;
    // A roll-up that does not cover all of them could not add the others any more, and parts of the
    // day are told by the hour from now on, whoever asked for them before.
    epochs::touch(conn, day)?;
    Ok(removed as i64 == ROWS_PER_STEP)
}

/// A place of a day whose page is not up to date.
fn pending_of(conn: &Connection, day: u32) -> Outcome<Option<Place>> {
    let id: Option<i64> = conn
        .prepare_cached(
            "SELECT min(id) FROM click_marks WHERE pending > 0 AND id >= ?1 AND id < ?2",
        )?
        .query_row(places(day), |row| row.get(0))?;
    Ok(id.map(Place::of))
}

fn prune_details(conn: &Connection, from: u32) -> Outcome<()> {
    let oldest: Option<i64> =
        conn.prepare_cached("SELECT min(id) FROM click_marks")?.query_row([], |row| row.get(0))?;
    let Some(day) = oldest.map(|id| Place::of(id).day).filter(|day| *day < from) else {
        return Ok(());
    };
    if days::next_day_of_chunks(conn, 0)?.is_some_and(|first| first <= day) {
        return Ok(());
    }
    for table in ["click_days", "click_marks"] {
        conn.prepare_cached(&format!("DELETE FROM {table} WHERE id >= ?1 AND id < ?2"))?
            .execute(places(day))?;
    }
    // Its epoch is counted on, not begun again: a roll-up in the making is of another one.
    shelf::forget(conn, day)
}

/// Removes what versions before single clicks were kept left: minutes, which nobody asks for any
/// more, and the oldest day of hours. True when more minutes are left.
fn prune_pages(conn: &Connection, from: u32) -> Outcome<bool> {
    let removed = conn
        .prepare_cached(
            "DELETE FROM click_pages WHERE id IN
             (SELECT id FROM click_pages WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT ?3)",
        )?
        .execute((page_id(PageKind::Minute, 0, 0), page_id(PageKind::Hour, 0, 0), ROWS_PER_STEP))?;
    let end = from.saturating_mul(24);
    if let Some(oldest) = buckets_of(conn, PageKind::Hour, 0..CLICK_SHARDS)?
        .map(|(oldest, _)| oldest)
        .filter(|hour| *hour < end)
    {
        let day = oldest / 24;
        let mut remove =
            conn.prepare_cached("DELETE FROM click_pages WHERE id >= ?1 AND id < ?2")?;
        for shard in 0..CLICK_SHARDS {
            let first = page_id(PageKind::Hour, shard, day * 24);
            remove.execute((first, first + 24))?;
        }
        epochs::touch(conn, day)?;
    }
    Ok(removed as i64 == ROWS_PER_STEP)
}
