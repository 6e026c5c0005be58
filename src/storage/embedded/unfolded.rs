//! What flushes brought and what is not folded yet: chunks of clicks, and deltas of imports.
//!
//! A flush writes one chunk per group of shards, whatever it touches; pages and the events of each
//! shard, of which a flush would touch thousands, are brought up to date behind it (see `fold`).
//! Readers add what is still here.

use rusqlite::Connection;
use tracing::warn;

use super::deltas;
use super::fault::{Outcome, or_damaged};
use super::pages::{Entry, damaged};
use crate::domain::counted::{CountedClick, Surplus};
use crate::domain::id::Id;
use crate::domain::words::Words;
use crate::storage::chunk::clicks::{Chunk, Walk, decode, decode_link, encode};
use crate::storage::chunk::sums::Numbering;

/// Bytes that are taken out together at most: texts of strangers may be long.
const BYTES_PER_TAKE: usize = 32 << 20;
/// What is added to the number of a group for chunks that were set aside. Part of the file format.
const ASIDE: i64 = 64;

/// Adds clicks and surplus rows, both by link, then time, to a group as one chunk.
pub(super) fn store(
    conn: &Connection,
    group: i64,
    words: &Words,
    numbering: &mut Numbering,
    (clicks, surplus): (&[CountedClick], &[Surplus]),
) -> Outcome<()> {
    let id = next_id(conn, group)?;
    let body = encode(id, words, numbering, clicks, surplus);
    let n_clicks = clicks.len() + surplus.len();
    conn.prepare_cached("INSERT INTO click_chunks (id, n_clicks, body) VALUES (?1, ?2, ?3)")?
        .execute((id, n_clicks as i64, body))?;
    Ok(())
}

/// Hands out what is not folded yet of the links that are `wanted`, in pieces.
pub(super) fn each(
    conn: &Connection,
    group: u64,
    wanted: impl Fn(u64) -> bool,
    mut look: impl FnMut(Entry),
) -> Outcome<()> {
    deltas::each(conn, group, |delta| {
        if wanted(delta.link) {
            look(Entry { link: delta.link, clicks: delta.clicks, last_at: delta.last_at });
        }
    })?;
    each_body(conn, group, |id, body| {
        let mut walk = Walk::open(id, body)?;
        while let Some(part) = walk.next()? {
            let link = part.link.0;
            if wanted(link) {
                let (clicks, last_at) = walk.count(part)?;
                if clicks > 0 {
                    look(Entry { link, clicks, last_at });
                }
            }
        }
        Ok(())
    })
}

/// The chunks of a group that are not folded yet, what is of other links than `only` left out.
pub(super) fn chunks(conn: &Connection, group: u64, only: Option<Id>) -> Outcome<Vec<Chunk>> {
    let mut found = Vec::new();
    each_body(conn, group, |id, body| {
        match only {
            Some(link) => found.extend(decode_link(id, body, link)?),
            None => found.push(decode(id, body)?),
        }
        Ok(())
    })?;
    Ok(found)
}

/// Takes the oldest chunks of a group out of the store, until there are `clicks_max` clicks or none
/// are left. Chunks that do not parse are set aside, so that they are met once.
pub(super) fn take(conn: &Connection, group: u64, clicks_max: usize) -> Outcome<Vec<Chunk>> {
    let (first, end) = range(group as i64);
    let (mut taken, mut spoilt, mut n, mut last) = (Vec::new(), Vec::new(), 0, None);
    let mut bytes = 0;
    {
        let mut statement = conn.prepare_cached(
            "SELECT id, n_clicks, body FROM click_chunks WHERE id >= ?1 AND id < ?2 ORDER BY id",
        )?;
        let mut found = statement.query((first, end))?;
        while n < clicks_max
            && bytes < BYTES_PER_TAKE
            && let Some(row) = found.next()?
        {
            let id: i64 = row.get(0)?;
            last = Some(id);
            n += row.get::<_, i64>(1)?.unsigned_abs() as usize;
            let body = row.get_ref(2)?.as_blob().map_err(|_| damaged());
            bytes += body.as_ref().map_or(0, |body| body.len());
            match or_damaged(body.and_then(|body| Ok(decode(id, body)?)))? {
                Some(chunk) => taken.push(chunk),
                None => spoilt.push(id),
            }
        }
    }
    let Some(last) = last else { return Ok(taken) };
    spoilt.iter().try_for_each(|id| set_aside(conn, *id))?;
    conn.prepare_cached("DELETE FROM click_chunks WHERE id BETWEEN ?1 AND ?2")?
        .execute((first, last))?;
    Ok(taken)
}

/// Checks every chunk; answers how many clicks they hold. Fails when one does not parse.
pub(super) fn check(conn: &Connection, group: u64) -> Outcome<u64> {
    let mut n = 0;
    each_body(conn, group, |id, body| {
        let chunk = decode(id, body)?;
        n += (chunk.clicks.len() + chunk.surplus.len()) as u64;
        Ok(())
    })?;
    Ok(n)
}

/// Sets every chunk aside that does not parse.
pub(super) fn mend(conn: &Connection) -> Outcome<()> {
    let mut spoilt = Vec::new();
    {
        let mut statement =
            conn.prepare("SELECT id, body FROM click_chunks WHERE id >= 0 AND id < ?1")?;
        let mut found = statement.query([ASIDE << 48])?;
        while let Some(row) = found.next()? {
            let id: i64 = row.get(0)?;
            let body = row.get_ref(1)?.as_blob().map_err(|_| damaged());
            if or_damaged(body.and_then(|body| Ok(decode(id, body)?)))?.is_none() {
                spoilt.push(id);
            }
        }
    }
    spoilt.iter().try_for_each(|id| set_aside(conn, *id))
}

/// Forgets what was set aside of a group.
pub(super) fn forget_aside(conn: &Connection, group: u64) -> Outcome<()> {
    conn.prepare_cached("DELETE FROM click_chunks WHERE id >= ?1 AND id < ?2")?
        .execute(range(group as i64 + ASIDE))?;
    Ok(())
}

/// Chunks that were set aside and are still there.
pub(super) fn n_aside(conn: &Connection) -> Outcome<u64> {
    let n: i64 =
        conn.query_row("SELECT count(*) FROM click_chunks WHERE id >= ?1", [ASIDE << 48], |row| {
            row.get(0)
        })?;
    Ok(n.unsigned_abs())
}

/// Hands out the chunks of a group, packed, the oldest first.
pub(super) fn each_body(
    conn: &Connection,
    group: u64,
    mut look: impl FnMut(i64, &[u8]) -> Outcome<()>,
) -> Outcome<()> {
    let mut statement = conn.prepare_cached(
        "SELECT id, body FROM click_chunks WHERE id >= ?1 AND id < ?2 ORDER BY id",
    )?;
    let mut found = statement.query(range(group as i64))?;
    while let Some(row) = found.next()? {
        look(row.get(0)?, row.get_ref(1)?.as_blob().map_err(|_| damaged())?)?;
    }
    Ok(())
}

/// Moves a chunk to where nobody counts it. It stays in the file for whoever wants to look.
fn set_aside(conn: &Connection, id: i64) -> Outcome<()> {
    warn!(chunk = id, "clicks that were not folded yet do not parse and are set aside");
    let place = next_id(conn, (id >> 48) + ASIDE)?;
    conn.prepare_cached("UPDATE click_chunks SET id = ?2 WHERE id = ?1")?.execute((id, place))?;
    Ok(())
}

fn next_id(conn: &Connection, group: i64) -> Outcome<i64> {
    let (first, end) = range(group);
    let newest: Option<i64> = conn
        .prepare_cached("SELECT max(id) FROM click_chunks WHERE id >= ?1 AND id < ?2")?
        .query_row((first, end), |row| row.get(0))?;
    Ok(newest.map_or(first, |newest| newest + 1))
}

const fn range(group: i64) -> (i64, i64) {
    (group << 48, (group + 1) << 48)
}
