//! Click deltas: what flushes added and what is not folded into pages yet.
//!
//! A flush writes at most one small row per group of shards, whatever it touches; the pages, of
//! which a flush would touch thousands, are brought up to date behind it (see `fold`). Readers add
//! both. Layout of a body: CRC-32, number of rows, base minute, then per row the distance to the
//! previous link id, the minute, the count and the time of the newest click; numbers are LEB128.

use rusqlite::Connection;
use tracing::warn;

use super::fault::{Outcome, or_damaged};
use super::pages::{Reader, damaged, group_of, put, seal, shard_of, unzigzag, zigzag};
use super::schema::CLICK_GROUPS;
use crate::domain::id::Id;

/// What is added to the number of a group for deltas that were set aside. Part of the file format.
const ASIDE: i64 = 64;

/// One link in one minute, as a flush or an import brought it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Delta {
    pub(super) link: u64,
    /// `None`: brought by an import, without a time of its own.
    pub(super) minute: Option<u32>,
    pub(super) clicks: u64,
    /// Milliseconds; zero is unknown.
    pub(super) last_at: u64,
}

/// Stores rows, in any order, as one delta per group.
pub(super) fn store(conn: &Connection, rows: Vec<Delta>) -> Outcome<()> {
    let mut groups = vec![Vec::new(); CLICK_GROUPS as usize];
    for row in rows {
        groups[group_of(shard_of(Id(row.link))) as usize].push(row);
    }
    for (group, mut rows) in (0_i64..).zip(groups) {
        if rows.is_empty() {
            continue;
        }
        // Stable, because it merges what is in order already: each segment's rows are.
        rows.sort_by_key(|row| (row.link, row.minute));
        rows.dedup_by(|next, kept| {
            let same = (next.link, next.minute) == (kept.link, kept.minute);
            if same {
                kept.clicks = kept.clicks.saturating_add(next.clicks);
                kept.last_at = kept.last_at.max(next.last_at);
            }
            same
        });
        let id = next_id(conn, first_of(group))?;
        conn.prepare_cached("INSERT INTO click_deltas (id, n_rows, body) VALUES (?1, ?2, ?3)")?
            .execute((id, rows.len() as i64, encode(&rows)))?;
    }
    Ok(())
}

/// Calls `look` with every row of a group that is not folded yet.
pub(super) fn each(conn: &Connection, group: u64, mut look: impl FnMut(Delta)) -> Outcome<()> {
    let first = first_of(group as i64);
    let mut statement =
        conn.prepare_cached("SELECT body FROM click_deltas WHERE id BETWEEN ?1 AND ?2")?;
    let mut found = statement.query((first, last_of(first)))?;
    while let Some(row) = found.next()? {
        let body = row.get_ref(0)?.as_blob().map_err(|_| damaged())?;
        decode(body, &mut look)?;
    }
    Ok(())
}

/// Takes the oldest rows of a group out of the store: whole deltas, until there are `rows_max` rows
/// or none are left. Deltas that do not parse are set aside, so that they are met once.
pub(super) fn take(conn: &Connection, group: u64, rows_max: usize) -> Outcome<Vec<Delta>> {
    let first = first_of(group as i64);
    let (mut rows, mut damaged_ids, mut last) = (Vec::new(), Vec::new(), first);
    {
        let mut statement = conn.prepare_cached(
            "SELECT id, body FROM click_deltas WHERE id BETWEEN ?1 AND ?2 ORDER BY id",
        )?;
        let mut found = statement.query((first, last_of(first)))?;
        while rows.len() < rows_max
            && let Some(row) = found.next()?
        {
            last = row.get(0)?;
            let n_before = rows.len();
            let body = row.get_ref(1)?.as_blob().map_err(|_| damaged());
            if or_damaged(body.and_then(|body| decode(body, &mut |delta| rows.push(delta))))?
                .is_none()
            {
                rows.truncate(n_before);
                damaged_ids.push(last);
            }
        }
    }
    for id in damaged_ids {
        set_aside(conn, id)?;
    }
    conn.prepare_cached("DELETE FROM click_deltas WHERE id BETWEEN ?1 AND ?2")?
        .execute((first, last))?;
    Ok(rows)
}

/// Sets every delta aside that does not parse; answers how many there were.
pub(super) fn mend(conn: &Connection) -> Outcome<usize> {
    let mut damaged_ids = Vec::new();
    {
        let mut statement =
            conn.prepare("SELECT id, body FROM click_deltas WHERE id BETWEEN 0 AND ?1")?;
        let mut found = statement.query([last_of(first_of(CLICK_GROUPS as i64 - 1))])?;
        while let Some(row) = found.next()? {
            let body = row.get_ref(1)?.as_blob().map_err(|_| damaged());
            if or_damaged(body.and_then(|body| decode(body, &mut |_| ())))?.is_none() {
                damaged_ids.push(row.get(0)?);
            }
        }
    }
    damaged_ids.iter().try_for_each(|id| set_aside(conn, *id))?;
    Ok(damaged_ids.len())
}

/// Moves a delta to where nobody counts it. It stays in the file for whoever wants to look.
fn set_aside(conn: &Connection, id: i64) -> Outcome<()> {
    warn!(delta = id, "clicks that were not folded yet do not parse and are set aside");
    let place = next_id(conn, first_of((id >> 48) + ASIDE))?;
    conn.prepare_cached("UPDATE click_deltas SET id = ?2 WHERE id = ?1")?.execute((id, place))?;
    Ok(())
}

/// Forgets what was set aside of a group.
pub(super) fn forget_aside(conn: &Connection, group: u64) -> Outcome<()> {
    let first = first_of(group as i64 + ASIDE);
    conn.prepare_cached("DELETE FROM click_deltas WHERE id BETWEEN ?1 AND ?2")?
        .execute((first, last_of(first)))?;
    Ok(())
}

/// Deltas that were set aside and are still there.
pub(super) fn n_aside(conn: &Connection) -> Outcome<u64> {
    let n: i64 = conn.query_row(
        "SELECT count(*) FROM click_deltas WHERE id >= ?1",
        [first_of(ASIDE)],
        |row| row.get(0),
    )?;
    Ok(n.unsigned_abs())
}

fn next_id(conn: &Connection, first: i64) -> Outcome<i64> {
    let newest: Option<i64> = conn
        .prepare_cached("SELECT max(id) FROM click_deltas WHERE id BETWEEN ?1 AND ?2")?
        .query_row((first, last_of(first)), |row| row.get(0))?;
    Ok(newest.map_or(first, |newest| newest + 1))
}

const fn first_of(group: i64) -> i64 {
    group << 48
}

const fn last_of(first: i64) -> i64 {
    first | ((1 << 48) - 1)
}

fn encode(rows: &[Delta]) -> Vec<u8> {
    let base = rows.iter().filter_map(|row| row.minute).min().unwrap_or(0);
    let mut body = vec![0; 4];
    body.reserve(rows.len() * 10 + 8);
    put(&mut body, rows.len() as u64);
    put(&mut body, base.into());
    let mut previous = 0;
    for row in rows {
        put(&mut body, row.link - previous);
        previous = row.link;
        // Zero stands for "no minute".
        put(&mut body, row.minute.map_or(0, |minute| u64::from(minute - base) + 1));
        put(&mut body, row.clicks);
        let start = row.minute.map_or(0, |minute| i64::from(minute) * 60_000);
        put(&mut body, zigzag(row.last_at as i64 - start));
    }
    seal(&mut body);
    body
}

pub(super) fn decode(body: &[u8], look: &mut impl FnMut(Delta)) -> Outcome<()> {
    let mut reader = Reader::open(body)?;
    let n = reader.count(4)?;
    let base = u32::try_from(reader.number()?).map_err(|_| damaged())?;
    let mut link = 0_u64;
    for _ in 0..n {
        link = link.checked_add(reader.number()?).ok_or_else(damaged)?;
        let minute = match reader.number()? {
            0 => None,
            after => {
                let after = u32::try_from(after - 1).map_err(|_| damaged())?;
                Some(base.checked_add(after).ok_or_else(damaged)?)
            }
        };
        let clicks = reader.number()?;
        let start = minute.map_or(0, |minute| i64::from(minute) * 60_000);
        let last_at = start.checked_add(unzigzag(reader.number()?)).ok_or_else(damaged)?;
        let last_at = u64::try_from(last_at).map_err(|_| damaged())?;
        look(Delta { link, minute, clicks, last_at });
    }
    Ok(reader.finish()?)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_read_back_as_they_were_written(
            rows in prop::collection::btree_map(
                (any::<u64>(), prop::option::of(any::<u32>())),
                (any::<u64>(), 0..1_u64 << 60),
                1..100,
            )
        ) {
            let rows: Vec<Delta> = rows
                .into_iter()
                .map(|((link, minute), (clicks, last_at))| Delta { link, minute, clicks, last_at })
                .collect();
            let mut back = Vec::new();
            decode(&encode(&rows), &mut |row| back.push(row)).unwrap();
            prop_assert_eq!(back, rows);
        }

        #[test]
        fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 4..400)) {
            let mut body = noise;
            seal(&mut body);
            let _ = decode(&body, &mut |_| ());
        }
    }
}
