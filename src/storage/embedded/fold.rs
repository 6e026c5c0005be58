//! Folds click deltas into pages, one group of shards at a time, and erases single links.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::clicks::read_page;
use super::deltas::{self, Delta};
use super::fault::{Fault, Outcome};
use super::mend::{self, mend};
use super::pages::{
    self, Entry, PageKind, SHARDS_PER_GROUP, group_of, page_id, parse_page_id, shard_of,
};
use crate::domain::id::Id;
use crate::storage::StorageErrorKind;

/// Minutes are kept for three days.
const MINUTES_KEPT: u32 = 3 * 1_440;
/// Hours are kept for 400 days.
const HOURS_KEPT: u32 = 400 * 24;
/// Old pages that a fresh one pushes out: with one, a pause would never be caught up with.
const PRUNED_PER_FRESH: usize = 2;

/// Rows that are folded together at most: what a long pause or a damaged page left is worked off
/// bit by bit.
const ROWS_PER_FOLD: usize = 131_072;

/// Moves the oldest deltas of a group into its pages; false when there are none. A shard whose
/// pages are damaged is mended. Where even that fails, its deltas stay, the other shards go on, and
/// the fault is answered. Call inside a transaction.
pub(super) fn fold(conn: &Connection, group: u64) -> Outcome<Folded> {
    let mut shards = vec![Vec::new(); SHARDS_PER_GROUP as usize];
    let taken = deltas::take(conn, group, ROWS_PER_FOLD)?;
    let mut folded = Folded { is_empty: taken.is_empty(), stuck: None };
    for delta in taken {
        shards[(shard_of(Id(delta.link)) % SHARDS_PER_GROUP) as usize].push(delta);
    }
    let mut kept = Vec::new();
    for (shard, mut rows) in (group * SHARDS_PER_GROUP..).zip(shards) {
        if rows.is_empty() {
            continue;
        }
        // Stable, because it merges what is in order already: each delta is.
        rows.sort_by_key(|row| (row.link, row.minute));
        if let Err(fault) = fold_shard(conn, shard, &rows) {
            if fault.kind() != StorageErrorKind::Corrupt || conn.is_autocommit() {
                return Err(fault);
            }
            kept.append(&mut rows);
            folded.stuck = Some((shard, fault));
        }
    }
    deltas::store(conn, kept)?;
    Ok(folded)
}

/// What a fold did.
pub(super) struct Folded {
    /// There was nothing to fold.
    pub(super) is_empty: bool,
    /// A shard whose deltas stay where they are, and why.
    pub(super) stuck: Option<(u64, Fault)>,
}

/// Folds a group until nothing is left of it. Fails when a shard is stuck.
pub(super) fn fold_all(conn: &Connection, group: u64) -> Outcome<()> {
    loop {
        let folded = fold(conn, group)?;
        if let Some((_, fault)) = folded.stuck {
            return Err(fault);
        }
        if folded.is_empty {
            return Ok(());
        }
    }
}

fn fold_shard(conn: &Connection, shard: u64, rows: &[Delta]) -> Outcome<()> {
    match in_savepoint(conn, || add_to_shard(conn, shard, rows)) {
        Err(fault) if fault.kind() == StorageErrorKind::Corrupt && !conn.is_autocommit() => {
            in_savepoint(conn, || {
                mend(conn, shard)?;
                add_to_shard(conn, shard, rows)
            })
        }
        done => done,
    }
}

fn add_to_shard(conn: &Connection, shard: u64, rows: &[Delta]) -> Outcome<()> {
    let mut fresh = Vec::new();
    for (id, entries) in spread(shard, rows) {
        if add_to_page(conn, id, &entries)? {
            fresh.push(id);
        }
    }
    let newest = rows.iter().filter_map(|row| row.minute).max().unwrap_or(0);
    prune(conn, shard, newest, &fresh)
}

/// Runs `work` so that it can be taken back alone.
fn in_savepoint(conn: &Connection, work: impl FnOnce() -> Outcome<()>) -> Outcome<()> {
    conn.prepare_cached("SAVEPOINT fold")?.execute([])?;
    let done = work();
    if conn.is_autocommit() {
        // The store took back the whole transaction; nothing is left to end.
        return done;
    }
    if done.is_err() {
        conn.prepare_cached("ROLLBACK TO fold")?.execute([])?;
    }
    conn.prepare_cached("RELEASE fold")?.execute([])?;
    done
}

/// Removes every count of a link. Reads all pages of its shard: rare, and takes a moment.
pub(super) fn erase(conn: &Connection, link: Id) -> Outcome<()> {
    let shard = shard_of(link);
    fold_all(conn, group_of(shard))?;
    // What cannot be read may hold counts of the link.
    mend(conn, shard)?;
    mend::forget_aside(conn, shard)?;
    deltas::forget_aside(conn, group_of(shard))?;
    for kind in PageKind::ALL {
        let mut hit = Vec::new();
        let mut statement =
            conn.prepare_cached("SELECT id, body FROM click_pages WHERE id BETWEEN ?1 AND ?2")?;
        let mut found =
            statement.query((page_id(kind, shard, 0), page_id(kind, shard, u32::MAX)))?;
        while let Some(row) = found.next()? {
            let body = row.get_ref(1)?.as_blob().map_err(|_| pages::damaged())?;
            let mut page = pages::decode(kind, body)?;
            if let Ok(index) = page.binary_search_by_key(&link.0, |entry| entry.link) {
                page.remove(index);
                hit.push((row.get(0)?, page));
            }
        }
        for (id, page) in hit {
            write_page(conn, kind, id, &page)?;
        }
    }
    Ok(())
}

/// What the rows of a shard, in order, add to its pages.
fn spread(shard: u64, rows: &[Delta]) -> BTreeMap<i64, Vec<Entry>> {
    let mut pages = BTreeMap::new();
    for row in rows {
        let mut add = |kind, bucket, last_at| {
            let page: &mut Vec<Entry> = pages.entry(page_id(kind, shard, bucket)).or_default();
            match page.last_mut() {
                Some(last) if last.link == row.link => {
                    last.clicks = last.clicks.saturating_add(row.clicks);
                    last.last_at = last.last_at.max(last_at);
                }
                _ => page.push(Entry { link: row.link, clicks: row.clicks, last_at }),
            }
        };
        match row.minute {
            Some(minute) => {
                for kind in [PageKind::Minute, PageKind::Hour, PageKind::Day] {
                    add(kind, minute / kind.minutes(), 0);
                }
            }
            None => add(PageKind::Brought, 0, 0),
        }
        add(PageKind::Total, 0, row.last_at);
    }
    pages
}

/// True when the page is new. `more` is ordered by link and has each link once.
fn add_to_page(conn: &Connection, id: i64, more: &[Entry]) -> Outcome<bool> {
    let Some((kind, shard, bucket)) = parse_page_id(id) else {
        return Err(pages::damaged());
    };
    let page = read_page(conn, kind, shard, bucket)?;
    write_page(conn, kind, id, &pages::merge(&page, more))?;
    Ok(page.is_empty())
}

pub(super) fn write_page(
    conn: &Connection,
    kind: PageKind,
    id: i64,
    page: &[Entry],
) -> Outcome<()> {
    if page.is_empty() {
        conn.prepare_cached("DELETE FROM click_pages WHERE id = ?1")?.execute([id])?;
    } else {
        conn.prepare_cached(
            "INSERT INTO click_pages (id, body) VALUES (?1, ?2)
             ON CONFLICT (id) DO UPDATE SET body = excluded.body",
        )?
        .execute((id, pages::encode(kind, page)))?;
    }
    Ok(())
}

/// Removes fine buckets that are older than they are kept, the oldest first, in a shard just
/// written. "Now" is the newest click, and clocks jump: so each fresh page of those to be kept
/// pushes out two old ones at most, and an hour on a wrong clock costs no more than two hours.
fn prune(conn: &Connection, shard: u64, newest: u32, fresh: &[i64]) -> Outcome<()> {
    let ends = [
        (PageKind::Minute, newest.saturating_sub(MINUTES_KEPT)),
        (PageKind::Hour, (newest / 60).saturating_sub(HOURS_KEPT)),
    ];
    let mut remove = conn.prepare_cached(
        "DELETE FROM click_pages WHERE id IN
         (SELECT id FROM click_pages WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT ?3)",
    )?;
    for (kind, end) in ends {
        let (first, end) = (page_id(kind, shard, 0), page_id(kind, shard, end));
        let kept = end..=page_id(kind, shard, u32::MAX);
        let n_fresh = fresh.iter().filter(|id| kept.contains(id)).count();
        remove.execute((first, end, (n_fresh * PRUNED_PER_FRESH) as i64))?;
    }
    Ok(())
}
