//! Chunks of single clicks as they are seen from outside: how many clicks, and of which time.
//!
//! Pages of clicks pass over chunks by this alone, and small ones are found to be joined. The times
//! may be wider than those of the clicks, never narrower.

use rusqlite::Connection;

use super::days::{self, Place};
use super::fault::Outcome;
use super::pages::damaged;
use crate::domain::counted::{CountedClick, Surplus, click_id};
use crate::domain::id::Id;
use crate::domain::time::Timestamp;
use crate::domain::words::Words;
use crate::storage::chunk::clicks as chunks;
use crate::storage::chunk::sums::Numbering;

/// Clicks and surplus rows of a chunk at most: what a page of clicks reads at once.
pub(super) const CLICKS_PER_CHUNK: usize = 32_768;

/// A chunk without what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outline {
    /// Row id.
    pub(super) id: i64,
    /// Clicks and surplus rows.
    pub(super) n_clicks: u64,
    pub(super) bytes: u64,
    /// Of the clicks; surplus rows have no time of their own.
    pub(super) first_at: Timestamp,
    /// Before `first_at` when there are no clicks.
    pub(super) last_at: Timestamp,
}

impl Outline {
    /// No click of it has a smaller id.
    pub(super) fn oldest(&self) -> Id {
        click_id(self.first_at, 0)
    }

    /// No click of it has a larger id.
    pub(super) fn newest(&self) -> Id {
        click_id(self.last_at, u32::MAX)
    }

    /// Whether clicks may be within, from one time until before another.
    pub(super) fn touches(&self, from: Timestamp, to: Timestamp) -> bool {
        self.first_at <= self.last_at && from <= self.last_at && self.first_at < to
    }

    /// Whether a click of this time is of it.
    pub(super) fn has(&self, at: Timestamp) -> bool {
        (self.first_at..=self.last_at).contains(&at)
    }
}

/// Chunks whose row ids are in a range, by row id.
pub(super) fn between(conn: &Connection, first: i64, end: i64) -> Outcome<Vec<Outline>> {
    let mut statement = conn.prepare_cached(
        "SELECT id, n_clicks, length(body), first_at, last_at FROM click_events
         WHERE id >= ?1 AND id < ?2 ORDER BY id",
    )?;
    let outlines = statement.query_map((first, end), |row| {
        Ok(Outline {
            id: row.get(0)?,
            n_clicks: row.get::<_, i64>(1)?.unsigned_abs(),
            bytes: row.get::<_, i64>(2)?.unsigned_abs(),
            first_at: Timestamp(row.get(3)?),
            last_at: Timestamp(row.get(4)?),
        })
    })?;
    Ok(outlines.collect::<Result<_, _>>()?)
}

/// All chunks of a place, by row id.
pub(super) fn of_place(conn: &Connection, place: Place) -> Outcome<Vec<Outline>> {
    between(conn, place.chunk(0), place.end())
}

/// The place of the first chunk from row `from` on.
pub(super) fn next_place(conn: &Connection, from: i64) -> Outcome<Option<Place>> {
    let id: Option<i64> = conn
        .prepare_cached("SELECT min(id) FROM click_events WHERE id >= ?1 AND id < ?2")?
        .query_row((from, days::ASIDE), |row| row.get(0))?;
    Ok(id.map(Place::of_chunk))
}

/// Reads what is in a chunk.
pub(super) fn read<T>(
    conn: &Connection,
    id: i64,
    look: impl FnOnce(&[u8]) -> Outcome<T>,
) -> Outcome<T> {
    let mut statement = conn.prepare_cached("SELECT body FROM click_events WHERE id = ?1")?;
    let mut found = statement.query([id])?;
    let row = found.next()?.ok_or_else(damaged)?;
    look(row.get_ref(0)?.as_blob().map_err(|_| damaged())?)
}

/// Writes clicks and surplus rows, both by link, then time, as a chunk; one that is there is
/// replaced.
pub(super) fn write(
    conn: &Connection,
    id: i64,
    words: &Words,
    numbering: &mut Numbering,
    (clicks, surplus): (&[CountedClick], &[Surplus]),
) -> Outcome<()> {
    let times = clicks.iter().map(|click| click.at.as_millis());
    let first_at = times.clone().min().unwrap_or(0);
    let last_at = times.max().unwrap_or(-1);
    let body = chunks::encode(id, words, numbering, clicks, surplus);
    let n_clicks = (clicks.len() + surplus.len()) as i64;
    conn.prepare_cached(
        "INSERT OR REPLACE INTO click_events (id, n_clicks, first_at, last_at, body)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute((id, n_clicks, first_at, last_at, body))?;
    Ok(())
}
