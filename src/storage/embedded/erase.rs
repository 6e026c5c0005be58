//! Erases single links from everything that is known of clicks.

use std::num::NonZero;

use rusqlite::Connection;

use super::days::{self, DayPage, Mark, Place};
use super::fault::{Outcome, or_damaged};
use super::fold::{fold_all, write_page};
use super::mend::{self, mend};
use super::pages::{self, PageKind, group_of, page_id, shard_of};
use super::schema::CLICK_SHARDS;
use super::stats::shelf;
use super::{deltas, unfolded};
use crate::domain::id::Id;
use crate::storage::chunk::clicks::{self as chunks, Chunk};
use crate::storage::chunk::sums::Numbering;

/// Removes everything that is known of the clicks of a link. Reads all pages and chunks of its
/// shard: rare, and takes a moment.
pub(super) fn erase(conn: &Connection, link: Id) -> Outcome<()> {
    let shard = shard_of(link);
    fold_all(conn, group_of(shard))?;
    // What cannot be read may hold counts of the link.
    mend(conn, shard)?;
    mend::forget_aside(conn, shard)?;
    deltas::forget_aside(conn, group_of(shard))?;
    unfolded::forget_aside(conn, group_of(shard))?;
    days::forget_aside(conn, shard)?;
    for kind in PageKind::ALL {
        erase_from_pages(conn, kind, shard, link)?;
    }
    for place in places_of(conn, shard)? {
        erase_from_place(conn, place, link)?;
    }
    Ok(())
}

fn erase_from_pages(conn: &Connection, kind: PageKind, shard: u64, link: Id) -> Outcome<()> {
    let mut hit = Vec::new();
    {
        let mut statement =
            conn.prepare_cached("SELECT id, body FROM click_pages WHERE id BETWEEN ?1 AND ?2")?;
        let range = (page_id(kind, shard, 0), page_id(kind, shard, u32::MAX));
        let mut found = statement.query(range)?;
        while let Some(row) = found.next()? {
            let id: i64 = row.get(0)?;
            let body = row.get_ref(1)?.as_blob().map_err(|_| pages::damaged())?;
            let mut page = pages::decode(kind, id, body)?;
            if let Ok(index) = page.binary_search_by_key(&link.0, |entry| entry.link) {
                page.remove(index);
                hit.push((id, page));
            }
        }
    }
    for (id, page) in hit {
        write_page(conn, kind, id, &page)?;
        if let Some(minutes) = NonZero::new(kind.minutes()) {
            // The page may be all that is known of the day.
            shelf::forget(conn, (u64::from(id as u32) * u64::from(minutes.get()) / 1_440) as u32)?;
        }
    }
    Ok(())
}

/// All places of a shard, by day.
fn places_of(conn: &Connection, shard: u64) -> Outcome<Vec<Place>> {
    let mut statement =
        conn.prepare_cached("SELECT id FROM click_marks WHERE id % ?1 = ?2 ORDER BY id")?;
    let found = statement.query_map((CLICK_SHARDS as i64, shard as i64), |row| row.get(0))?;
    Ok(found.collect::<Result<Vec<i64>, _>>()?.into_iter().map(Place::of).collect())
}

fn erase_from_place(conn: &Connection, place: Place, link: Id) -> Outcome<()> {
    let mut mark = days::whole_mark(conn, place)?;
    let (mut hit, mut spoilt) = (Vec::new(), Vec::new());
    days::each_chunk(conn, place, 0, |id, _, body| {
        let mut chunk = match or_damaged(chunks::decode_link(id, body, link))? {
            Some(None) => return Ok(true),
            Some(Some(_)) => chunks::decode(id, body)?,
            None => {
                spoilt.push(id);
                return Ok(true);
            }
        };
        let n = chunk.clicks.len() + chunk.surplus.len();
        chunk.clicks.retain(|click| click.link != link);
        chunk.surplus.retain(|row| row.link != link);
        let left = chunk.clicks.len() + chunk.surplus.len();
        if left < n {
            hit.push((id, (n - left) as u64, chunk));
        }
        Ok(true)
    })?;
    let page = days::page_body(conn, place)?.map(|body| or_damaged(DayPage::decode(place, &body)));
    let page = page.transpose()?;
    // What cannot be read may hold clicks of the link.
    let is_spoilt = matches!(page, Some(None));
    let mut on_page = None;
    if let Some(Some(mut page)) = page {
        on_page = page.links.remove(&link).map(|_| page);
    }
    if hit.is_empty() && spoilt.is_empty() && !is_spoilt && on_page.is_none() {
        return Ok(());
    }
    for (id, removed, chunk) in hit {
        if id < place.chunk(mark.folded_seq) {
            mark.folded = mark.folded.saturating_sub(removed);
        }
        rewrite(conn, id, &chunk)?;
    }
    for id in spoilt {
        remove(conn, id)?;
    }
    if let Some(page) = on_page {
        if page.links.is_empty() {
            mark.folded = 0;
        }
        days::write_page(conn, place, &page)?;
    }
    if is_spoilt {
        days::write_page(conn, place, &DayPage::default())?;
        mark = Mark { folded: 0, folded_seq: 0, ..mark };
    }
    mark.pending = days::n_clicks_from(conn, place, mark.folded_seq)?;
    mark.write(conn, place)?;
    if is_spoilt {
        days::fold_all(conn, place)?;
    }
    shelf::forget(conn, place.day)
}

/// Writes a chunk anew, or removes it when nothing is left of it.
fn rewrite(conn: &Connection, id: i64, chunk: &Chunk) -> Outcome<()> {
    let n_clicks = chunk.clicks.len() + chunk.surplus.len();
    if n_clicks == 0 {
        return remove(conn, id);
    }
    let mut numbering = Numbering::new(&chunk.words);
    let body = chunks::encode(id, &chunk.words, &mut numbering, &chunk.clicks, &chunk.surplus);
    conn.prepare_cached("UPDATE click_events SET n_clicks = ?2, body = ?3 WHERE id = ?1")?
        .execute((id, n_clicks as i64, body))?;
    Ok(())
}

fn remove(conn: &Connection, id: i64) -> Outcome<()> {
    conn.prepare_cached("DELETE FROM click_events WHERE id = ?1")?.execute([id])?;
    Ok(())
}
