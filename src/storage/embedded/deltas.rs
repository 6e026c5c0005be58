//! Click deltas: what flushes added and what is not folded into pages yet.
//!
//! A flush writes at most one small row per group of shards, whatever it touches; the pages, of
//! which a flush would touch thousands, are brought up to date behind it (see `fold`). Readers add
//! both. Layout of a body: CRC-32, number of rows, base minute, then per row the distance to the
//! previous link id, the minute, the count and the time of the newest click; numbers are LEB128.

use rusqlite::Connection;

use super::fault::Outcome;
use super::pages::{Reader, damaged, group_of, put, seal, shard_of};
use super::schema::CLICK_GROUPS;
use crate::domain::id::Id;

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
        let first = group << 48;
        let newest: Option<i64> = conn
            .prepare_cached("SELECT max(id) FROM click_deltas WHERE id BETWEEN ?1 AND ?2")?
            .query_row((first, last_of(first)), |row| row.get(0))?;
        let id = newest.map_or(first, |newest| newest + 1);
        conn.prepare_cached("INSERT INTO click_deltas (id, n_rows, body) VALUES (?1, ?2, ?3)")?
            .execute((id, rows.len() as i64, encode(&rows)))?;
    }
    Ok(())
}

/// Calls `look` with every row of a group that is not folded yet.
pub(super) fn each(conn: &Connection, group: u64, mut look: impl FnMut(Delta)) -> Outcome<()> {
    let first = (group as i64) << 48;
    let mut statement =
        conn.prepare_cached("SELECT body FROM click_deltas WHERE id BETWEEN ?1 AND ?2")?;
    let mut found = statement.query((first, last_of(first)))?;
    while let Some(row) = found.next()? {
        let body = row.get_ref(0)?.as_blob().map_err(|_| damaged())?;
        decode(body, &mut look)?;
    }
    Ok(())
}

/// The same for all groups.
pub(super) fn each_of_all(conn: &Connection, mut look: impl FnMut(Delta)) -> Outcome<()> {
    (0..CLICK_GROUPS).try_for_each(|group| each(conn, group, &mut look))
}

/// Forgets the rows of a group.
pub(super) fn clear(conn: &Connection, group: u64) -> Outcome<()> {
    let first = (group as i64) << 48;
    conn.prepare_cached("DELETE FROM click_deltas WHERE id BETWEEN ?1 AND ?2")?
        .execute((first, last_of(first)))?;
    Ok(())
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
    reader.finish()
}

const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

const fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
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
