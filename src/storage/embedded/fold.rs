//! Folds click deltas into pages, one group of shards at a time, and erases single links.

use rusqlite::Connection;

use super::clicks::read_page;
use super::deltas::{self, Delta};
use super::fault::Outcome;
use super::pages::{self, Entry, PageKind, group_of, page_id, parse_page_id, shard_of};
use crate::domain::id::Id;

/// Minutes are kept for three days.
const MINUTES_KEPT: u32 = 3 * 1_440;
/// Hours are kept for 400 days.
const HOURS_KEPT: u32 = 400 * 24;

/// Moves the deltas of a group into its pages. Call inside a transaction.
pub(super) fn fold(conn: &Connection, group: u64) -> Outcome<()> {
    let mut additions = Vec::new();
    let mut newest = 0;
    deltas::each(conn, group, |delta| {
        newest = newest.max(delta.minute.unwrap_or(0));
        spread(&delta, &mut additions);
    })?;
    additions.sort_unstable_by_key(|(page, entry)| (*page, entry.link));
    for additions in additions.chunk_by(|a, b| a.0 == b.0) {
        add_to_page(conn, additions[0].0, additions)?;
    }
    prune(conn, &additions, newest)?;
    deltas::clear(conn, group)
}

/// Removes every count of a link. Reads all pages of its shard: rare, and takes a moment.
pub(super) fn erase(conn: &Connection, link: Id) -> Outcome<()> {
    let shard = shard_of(link);
    fold(conn, group_of(shard))?;
    let kinds =
        [PageKind::Minute, PageKind::Hour, PageKind::Day, PageKind::Total, PageKind::Brought];
    for kind in kinds {
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

/// What a delta adds, by page.
fn spread(delta: &Delta, out: &mut Vec<(i64, Entry)>) {
    let shard = shard_of(Id(delta.link));
    let entry = Entry { link: delta.link, clicks: delta.clicks, last_at: 0 };
    match delta.minute {
        Some(minute) => {
            for kind in [PageKind::Minute, PageKind::Hour, PageKind::Day] {
                out.push((page_id(kind, shard, minute / kind.minutes()), entry));
            }
        }
        None => out.push((page_id(PageKind::Brought, shard, 0), entry)),
    }
    let total = Entry { last_at: delta.last_at, ..entry };
    out.push((page_id(PageKind::Total, shard, 0), total));
}

/// `additions` are ordered by link; a link may come several times.
fn add_to_page(conn: &Connection, id: i64, additions: &[(i64, Entry)]) -> Outcome<()> {
    let Some((kind, shard, bucket)) = parse_page_id(id) else {
        return Err(pages::damaged());
    };
    let mut more: Vec<Entry> = additions.iter().map(|(_, entry)| *entry).collect();
    more.dedup_by(|next, kept| {
        let same = next.link == kept.link;
        if same {
            kept.clicks = kept.clicks.saturating_add(next.clicks);
            kept.last_at = kept.last_at.max(next.last_at);
        }
        same
    });
    let page = read_page(conn, kind, shard, bucket)?;
    write_page(conn, kind, id, &pages::merge(&page, &more))
}

fn write_page(conn: &Connection, kind: PageKind, id: i64, page: &[Entry]) -> Outcome<()> {
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

/// Removes fine buckets that are older than they are kept, in the shards just written. "Now" is
/// the newest click: no clock that jumps can make this forget what it should keep.
fn prune(conn: &Connection, touched: &[(i64, Entry)], newest: u32) -> Outcome<()> {
    let ends = [
        (PageKind::Minute, newest.saturating_sub(MINUTES_KEPT)),
        (PageKind::Hour, (newest / 60).saturating_sub(HOURS_KEPT)),
    ];
    let mut remove = conn.prepare_cached("DELETE FROM click_pages WHERE id >= ?1 AND id < ?2")?;
    let mut previous = None;
    for (id, _) in touched {
        let Some((PageKind::Total, shard, _)) = parse_page_id(*id) else {
            continue;
        };
        if previous.replace(shard) == Some(shard) {
            continue;
        }
        for (kind, end) in ends {
            remove.execute((page_id(kind, shard, 0), page_id(kind, shard, end)))?;
        }
    }
    Ok(())
}
