//! Mends the click pages of a shard in which some are damaged.
//!
//! A total is the sum of its days and of what imports brought along, so any one of these can be
//! told from the others. Where that does not reach, the total stays and the day of its clicks is
//! lost.

use std::collections::BTreeMap;

use rusqlite::Connection;
use tracing::warn;

use super::fault::{Outcome, or_damaged};
use super::fold::write_page;
use super::pages::{self, ASIDE, Entry, PageKind, aside_id, page_id, parse_page_id};

/// What the whole pages of a shard say about one link.
#[derive(Default)]
struct Told {
    /// Of all days and imports together.
    summed: u64,
    newest_day: Option<u32>,
    total: Option<Entry>,
}

/// Sets damaged pages of a shard aside and makes totals and sums equal again; answers how many were
/// set aside. Call inside a transaction.
pub(super) fn mend(conn: &Connection, shard: u64) -> Outcome<usize> {
    let mut links: BTreeMap<u64, Told> = BTreeMap::new();
    let mut lost = Vec::new();
    for kind in PageKind::ALL {
        lost.extend(read_all(conn, kind, shard, &mut links)?);
    }
    for id in &lost {
        warn!(shard, page = id, "a damaged page of click counts is set aside");
        conn.prepare_cached("UPDATE OR REPLACE click_pages SET id = ?2 WHERE id = ?1")?
            .execute((id, aside_id(*id)))?;
    }
    settle(conn, shard, &lost, links)?;
    Ok(lost.len())
}

/// Forgets what was set aside of a shard.
pub(super) fn forget_aside(conn: &Connection, shard: u64) -> Outcome<()> {
    for kind in PageKind::ALL {
        let range = (aside_id(page_id(kind, shard, 0)), aside_id(page_id(kind, shard, u32::MAX)));
        conn.prepare_cached("DELETE FROM click_pages WHERE id BETWEEN ?1 AND ?2")?
            .execute(range)?;
    }
    Ok(())
}

/// Pages that were set aside and are still there.
pub(super) fn n_aside(conn: &Connection) -> Outcome<u64> {
    let n: i64 =
        conn.query_row("SELECT count(*) FROM click_pages WHERE id >= ?1", [ASIDE], |row| {
            row.get(0)
        })?;
    Ok(n.unsigned_abs())
}

/// Adds what the pages of a kind say; answers those that do not parse.
fn read_all(
    conn: &Connection,
    kind: PageKind,
    shard: u64,
    links: &mut BTreeMap<u64, Told>,
) -> Outcome<Vec<i64>> {
    let mut lost = Vec::new();
    let mut statement =
        conn.prepare_cached("SELECT id, body FROM click_pages WHERE id BETWEEN ?1 AND ?2")?;
    let mut found = statement.query((page_id(kind, shard, 0), page_id(kind, shard, u32::MAX)))?;
    while let Some(row) = found.next()? {
        let id: i64 = row.get(0)?;
        let body = row.get_ref(1)?.as_blob().map_err(|_| pages::damaged());
        let Some(page) = or_damaged(body.and_then(|body| pages::decode(kind, body)))? else {
            lost.push(id);
            continue;
        };
        for entry in page {
            let told = links.entry(entry.link).or_default();
            match kind {
                PageKind::Minute | PageKind::Hour => (),
                PageKind::Day | PageKind::Brought => {
                    told.summed = told.summed.saturating_add(entry.clicks);
                    let day = (kind == PageKind::Day).then_some(id as u32);
                    told.newest_day = told.newest_day.max(day);
                }
                PageKind::Total => told.total = Some(entry),
            }
        }
    }
    Ok(lost)
}

/// Writes the totals, and what they have more than their sums.
fn settle(conn: &Connection, shard: u64, lost: &[i64], links: BTreeMap<u64, Told>) -> Outcome<()> {
    let mut totals = Vec::new();
    let mut unsummed = Vec::new();
    for (link, told) in links {
        let total = told.total.unwrap_or_else(|| Entry {
            link,
            clicks: 0,
            last_at: told.newest_day.map_or(0, start_of_day),
        });
        let clicks = total.clicks.max(told.summed);
        if clicks > told.summed {
            unsummed.push(Entry { link, clicks: clicks - told.summed, last_at: 0 });
        }
        if told.total.is_some() || clicks > 0 {
            totals.push(Entry { clicks, ..total });
        }
    }
    write_page(conn, PageKind::Total, page_id(PageKind::Total, shard, 0), &totals)?;
    if unsummed.is_empty() {
        return Ok(());
    }
    let (kind, id) = place_of_unsummed(shard, lost);
    let page = super::clicks::read_page(conn, kind, shard, id as u32)?;
    write_page(conn, kind, id, &pages::merge(&page, &unsummed))
}

/// The page that clicks without a day belong to: the one that was lost, if it was one.
fn place_of_unsummed(shard: u64, lost: &[i64]) -> (PageKind, i64) {
    let mut summed = lost.iter().filter_map(|id| {
        let (kind, ..) = parse_page_id(*id)?;
        matches!(kind, PageKind::Day | PageKind::Brought).then_some((kind, *id))
    });
    match (summed.next(), summed.next()) {
        (Some(only), None) => only,
        _ => (PageKind::Brought, page_id(PageKind::Brought, shard, 0)),
    }
}

/// Milliseconds. The least that is true of the last click of a link that was clicked on that day.
fn start_of_day(day: u32) -> u64 {
    u64::from(day) * u64::from(PageKind::Day.minutes()) * 60_000
}
