//! Mends what is damaged of clicks.
//!
//! A total is the sum of its days and of what imports brought along, so any one of these can be
//! told from the others. Where that does not reach, the total stays and the day of its clicks is
//! lost, unless its single clicks or their sums tell it. Pages of sums are made again from single
//! clicks; single clicks that are damaged are set aside, and only counts tell of them.

use std::collections::BTreeMap;

use rusqlite::Connection;
use tracing::warn;

use super::check::{Found, look_at};
use super::clicks::read_page;
use super::days::{self, DayPage, Mark, Place};
use super::fault::{Outcome, or_damaged};
use super::fold::{fold_all, write_page};
use super::pages::{self, ASIDE, Entry, PageKind, aside_id, page_id, parse_page_id};
use super::schema::{CLICK_GROUPS, CLICK_SHARDS};
use super::{deltas, epochs, unfolded};

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

/// Mends everything. Call inside a transaction.
pub(super) fn mend_all(conn: &Connection) -> Outcome<()> {
    deltas::mend(conn)?;
    unfolded::mend(conn)?;
    (0..CLICK_SHARDS).try_for_each(|shard| mend(conn, shard).map(|_| ()))?;
    // What the counts of days still lack is not to be counted twice.
    (0..CLICK_GROUPS).try_for_each(|group| fold_all(conn, group))?;
    for day in days::all(conn)? {
        for place in days::places_with_something(conn, day)? {
            mend_place(conn, place)?;
        }
        epochs::touch(conn, day)?;
    }
    Ok(())
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
        let Some(page) = or_damaged(body.and_then(|body| pages::decode(kind, id, body)))? else {
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
    let page = read_page(conn, kind, shard, id as u32)?;
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

/// Sets damaged clicks of a place aside, makes a damaged page of sums again, and the mark and the
/// counts of the day fit.
fn mend_place(conn: &Connection, place: Place) -> Outcome<()> {
    let mark = mend_sums(conn, place)?;
    raise_counts(conn, place, &look_at(conn, place, &mark)?)
}

/// The same without the counts; answers the mark.
pub(super) fn mend_sums(conn: &Connection, place: Place) -> Outcome<Mark> {
    let known = or_damaged(Mark::read(conn, place))?;
    let mut mark = known.unwrap_or_default();
    let found = look_at(conn, place, &mark)?;
    let fits = known.is_some() && found.fits(&mark);
    if found.spoilt.is_empty() && found.page.is_none() && fits {
        return Ok(mark);
    }
    found.spoilt.iter().try_for_each(|id| days::set_chunk_aside(conn, *id))?;
    if found.page.is_some() {
        days::set_page_aside(conn, place)?;
    }
    mark.next_seq = mark.next_seq.max(found.next_seq);
    if found.page.is_some() || (!fits && found.in_chunks >= found.on_page) {
        // The chunks tell all that the page does, if not more.
        days::write_page(conn, place, &DayPage::default())?;
        mark = Mark { folded: 0, folded_seq: 0, ..mark };
    } else if !fits {
        mark = Mark { folded: found.on_page, folded_seq: mark.next_seq, ..mark };
    }
    mark.pending = days::n_clicks_from(conn, place, mark.folded_seq)?;
    mark.write(conn, place)?;
    epochs::touch(conn, place.day)?;
    if mark.folded_seq == 0 {
        days::fold_all(conn, place)?;
    }
    Mark::read(conn, place)
}

/// Gives the count of a day what its clicks tell, and takes it from what has no day.
fn raise_counts(conn: &Connection, place: Place, told: &Found) -> Outcome<()> {
    let Place { day, shard } = place;
    let (kind, id) = (PageKind::Day, page_id(PageKind::Day, shard, day));
    let counted = read_page(conn, kind, shard, day)?;
    let missing = told.missing(&counted);
    if missing.is_empty() {
        return Ok(());
    }
    write_page(conn, kind, id, &pages::merge(&counted, &missing))?;
    let mut brought = read_page(conn, PageKind::Brought, shard, 0)?;
    let mut more = Vec::new();
    for entry in missing {
        let mut left = entry.clicks;
        if let Ok(at) = brought.binary_search_by_key(&entry.link, |known| known.link) {
            let taken = left.min(brought[at].clicks);
            brought[at].clicks -= taken;
            left -= taken;
        }
        if left > 0 {
            more.push(Entry { clicks: left, last_at: start_of_day(day), ..entry });
        }
    }
    brought.retain(|entry| entry.clicks > 0);
    write_page(conn, PageKind::Brought, page_id(PageKind::Brought, shard, 0), &brought)?;
    let totals = read_page(conn, PageKind::Total, shard, 0)?;
    let id = page_id(PageKind::Total, shard, 0);
    write_page(conn, PageKind::Total, id, &pages::merge(&totals, &more))
}
