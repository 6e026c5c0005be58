//! Click counts: positions and deltas are written together, so a flush counts once or not at all.

use std::collections::BTreeMap;
use std::ops::Range;

use async_trait::async_trait;
use foldhash::{HashMap, HashMapExt};
use rusqlite::{Connection, OptionalExtension};
use tracing::warn;

use super::deltas::{self, Delta};
use super::fault::{Fault, Outcome, or_damaged};
use super::pages::{self, Entry, PageKind, group_of, page_id, shard_of};
use super::readers::Lane;
use super::schema::{CLICK_GROUPS, CLICK_SHARDS};
use super::{Embedded, fold};
use crate::domain::click::{ClickTotals, Granularity, SegmentCounts, SegmentId};
use crate::domain::id::Id;
use crate::domain::time::Timestamp;
use crate::storage::{ClickStore, StorageResult};

#[async_trait]
impl ClickStore for Embedded {
    async fn resume(&self, segment: SegmentId) -> StorageResult<u64> {
        self.read("resume_clicks", Lane::Short, move |conn| position(conn, segment)).await
    }

    async fn flush(&self, counts: Vec<SegmentCounts>) -> StorageResult<()> {
        self.write("flush_clicks", move |conn| flush(conn, &counts)).await
    }

    async fn release(&self, segments: Vec<SegmentId>) -> StorageResult<()> {
        self.write("release_segments", move |conn| {
            let mut forget =
                conn.prepare_cached("DELETE FROM click_positions WHERE segment = ?1")?;
            for segment in &segments {
                forget.execute([segment.0 as i64])?;
            }
            Ok(())
        })
        .await
    }

    async fn totals(&self, links: &[Id]) -> StorageResult<Vec<ClickTotals>> {
        let links = links.to_vec();
        self.read("click_totals", Lane::Short, move |conn| totals(conn, &links)).await
    }

    async fn series(
        &self,
        link: Id,
        granularity: Granularity,
        minutes: Range<u32>,
    ) -> StorageResult<Vec<(u32, u64)>> {
        self.read("click_series", Lane::Short, move |conn| series(conn, link, granularity, minutes))
            .await
    }

    async fn erase(&self, link: Id) -> StorageResult<()> {
        self.write("erase_clicks", move |conn| fold::erase(conn, link)).await
    }
}

fn position(conn: &Connection, segment: SegmentId) -> Outcome<u64> {
    let applied: Option<i64> = conn
        .prepare_cached("SELECT applied FROM click_positions WHERE segment = ?1")?
        .query_row([segment.0 as i64], |row| row.get(0))
        .optional()?;
    Ok(applied.unwrap_or(0) as u64)
}

fn flush(conn: &Connection, counts: &[SegmentCounts]) -> Outcome<()> {
    let mut rows = Vec::with_capacity(counts.iter().map(|segment| segment.rows.len()).sum());
    for segment in counts {
        let applied = position(conn, segment.segment)?;
        if segment.to_record <= applied {
            continue;
        }
        if segment.from_record != applied {
            return Err(Fault::Invalid(format!(
                "segment {} is counted up to record {applied}, and the flush begins at {}",
                segment.segment.0, segment.from_record
            )));
        }
        rows.extend(segment.rows.iter().filter(|row| row.added > 0).map(|row| Delta {
            link: row.link.0,
            minute: Some(row.minute),
            clicks: row.added.into(),
            last_at: row.last_at.as_millis().max(0) as u64,
        }));
        conn.prepare_cached(
            "INSERT INTO click_positions (segment, applied) VALUES (?1, ?2)
             ON CONFLICT (segment) DO UPDATE SET applied = excluded.applied",
        )?
        .execute((segment.segment.0 as i64, segment.to_record as i64))?;
    }
    deltas::store(conn, rows)
}

/// Adds clicks that an import brought along.
pub(super) fn bring(conn: &Connection, brought: &[(Id, u64, Option<Timestamp>)]) -> Outcome<()> {
    let row = |(link, clicks, last_at): &(Id, u64, Option<Timestamp>)| Delta {
        link: link.0,
        minute: None,
        clicks: *clicks,
        last_at: last_at.map_or(0, |at| at.as_millis().max(0) as u64),
    };
    deltas::store(conn, brought.iter().map(row).collect())
}

/// One page; empty when there is none.
pub(super) fn read_page(
    conn: &Connection,
    kind: PageKind,
    shard: u64,
    bucket: u32,
) -> Outcome<Vec<Entry>> {
    let mut statement = conn.prepare_cached("SELECT body FROM click_pages WHERE id = ?1")?;
    let mut found = statement.query([page_id(kind, shard, bucket)])?;
    match found.next()? {
        Some(row) => pages::decode(kind, row.get_ref(0)?.as_blob().map_err(|_| pages::damaged())?),
        None => Ok(Vec::new()),
    }
}

fn totals(conn: &Connection, links: &[Id]) -> Outcome<Vec<ClickTotals>> {
    // By group, then link: the order in which deltas come.
    let mut wanted: Vec<(u64, u64)> = links.iter().map(|id| (shard_of(*id), id.0)).collect();
    wanted.sort_unstable_by_key(|(shard, link)| (group_of(*shard), *link));
    wanted.dedup();
    let mut found: HashMap<u64, Entry> = HashMap::new();
    let mut shards: HashMap<u64, Vec<Entry>> = HashMap::new();
    for (shard, link) in &wanted {
        if !shards.contains_key(shard) {
            shards.insert(*shard, read_page(conn, PageKind::Total, *shard, 0)?);
        }
        let at = shards[shard].binary_search_by_key(link, |entry| entry.link);
        let none = Entry { link: *link, ..Entry::default() };
        found.insert(*link, at.map_or(none, |index| shards[shard][index]));
    }
    for wanted in wanted.chunk_by(|a, b| group_of(a.0) == group_of(b.0)) {
        let (mut next, mut previous) = (0, 0);
        deltas::each(conn, group_of(wanted[0].0), |delta| {
            if delta.link < previous {
                // The next flush begins.
                next = 0;
            }
            previous = delta.link;
            while wanted.get(next).is_some_and(|(_, link)| *link < delta.link) {
                next += 1;
            }
            if wanted.get(next).is_some_and(|(_, link)| *link == delta.link)
                && let Some(entry) = found.get_mut(&delta.link)
            {
                add_delta(entry, &delta);
            }
        })?;
    }
    let total = |link: &Id| found.get(&link.0).map_or_else(ClickTotals::default, totals_of);
    Ok(links.iter().map(total).collect())
}

fn add_delta(entry: &mut Entry, delta: &Delta) {
    entry.clicks = entry.clicks.saturating_add(delta.clicks);
    entry.last_at = entry.last_at.max(delta.last_at);
}

fn totals_of(entry: &Entry) -> ClickTotals {
    let known = entry.last_at > 0;
    ClickTotals {
        clicks: entry.clicks,
        last_clicked_at: known.then_some(Timestamp(entry.last_at as i64)),
    }
}

fn series(
    conn: &Connection,
    link: Id,
    granularity: Granularity,
    minutes: Range<u32>,
) -> Outcome<Vec<(u32, u64)>> {
    let (kind, width) = (PageKind::of(granularity), granularity.minutes());
    let shard = shard_of(link);
    // Buckets whose first minute lies in the range.
    let (first, end) = (minutes.start.div_ceil(width), minutes.end.div_ceil(width));
    let mut buckets: BTreeMap<u32, u64> = BTreeMap::new();
    if first >= end {
        return Ok(Vec::new());
    }
    let mut statement =
        conn.prepare_cached("SELECT id, body FROM click_pages WHERE id >= ?1 AND id < ?2")?;
    let mut found = statement.query((page_id(kind, shard, first), page_id(kind, shard, end)))?;
    while let Some(row) = found.next()? {
        let bucket = row.get::<_, i64>(0)? as u32;
        let body = row.get_ref(1)?.as_blob().map_err(|_| pages::damaged())?;
        let page = pages::decode(kind, body)?;
        if let Ok(index) = page.binary_search_by_key(&link.0, |entry| entry.link) {
            buckets.insert(bucket, page[index].clicks);
        }
    }
    deltas::each(conn, group_of(shard), |delta| {
        if delta.link == link.0
            && let Some(minute) = delta.minute
            && (first..end).contains(&(minute / width))
        {
            *buckets.entry(minute / width).or_default() += delta.clicks;
        }
    })?;
    Ok(buckets.into_iter().map(|(bucket, clicks)| (bucket * width, clicks)).collect())
}

/// Clicks of many links at once, for sorting and for limits.
#[derive(Default)]
pub(super) struct ClickView {
    /// By shard, each ordered by link.
    shards: HashMap<u64, Vec<(u64, u64)>>,
    unfolded: HashMap<u64, u64>,
}

impl ClickView {
    /// Of all links.
    pub(super) fn of_all(conn: &Connection) -> Outcome<Self> {
        let mut view = Self::default();
        (0..CLICK_SHARDS).try_for_each(|shard| view.add_shard(conn, shard))?;
        view.add_unfolded(conn)?;
        Ok(view)
    }

    /// Of some links, at least.
    pub(super) fn of(conn: &Connection, links: &[Id]) -> Outcome<Self> {
        let mut view = Self::default();
        for link in links {
            let shard = shard_of(*link);
            if !view.shards.contains_key(&shard) {
                view.add_shard(conn, shard)?;
            }
        }
        view.add_unfolded(conn)?;
        Ok(view)
    }

    pub(super) fn clicks(&self, link: Id) -> u64 {
        let folded = self.shards.get(&shard_of(link)).map_or(0, |page| {
            page.binary_search_by_key(&link.0, |entry| entry.0).map_or(0, |index| page[index].1)
        });
        folded.saturating_add(self.unfolded.get(&link.0).copied().unwrap_or(0))
    }

    fn add_shard(&mut self, conn: &Connection, shard: u64) -> Outcome<()> {
        let page = read_page(conn, PageKind::Total, shard, 0)?;
        self.shards.insert(shard, page.iter().map(|entry| (entry.link, entry.clicks)).collect());
        Ok(())
    }

    fn add_unfolded(&mut self, conn: &Connection) -> Outcome<()> {
        deltas::each_of_all(conn, |delta| {
            *self.unfolded.entry(delta.link).or_default() += delta.clicks;
        })
    }
}

/// The links that are most likely to be clicked next: most clicks, each day since the last click
/// counting against them. Days are told from the newest click in the store, not from a clock.
pub(super) fn hottest(conn: &Connection, limit: u32) -> Outcome<Vec<Id>> {
    const DAY_MS: u64 = 86_400_000;
    let mut unfolded: HashMap<u64, Entry> = HashMap::new();
    let mut n_damaged = 0_u32;
    for group in 0..CLICK_GROUPS {
        let added = deltas::each(conn, group, |delta| {
            let entry = unfolded.entry(delta.link).or_default();
            entry.link = delta.link;
            add_delta(entry, &delta);
        });
        n_damaged += u32::from(or_damaged(added)?.is_none());
    }
    let mut all = Vec::new();
    for shard in 0..CLICK_SHARDS {
        // A guess at what comes next need not know everything.
        let Some(page) = or_damaged(read_page(conn, PageKind::Total, shard, 0))? else {
            n_damaged += 1;
            continue;
        };
        for mut entry in page {
            if let Some(more) = unfolded.remove(&entry.link) {
                entry.clicks = entry.clicks.saturating_add(more.clicks);
                entry.last_at = entry.last_at.max(more.last_at);
            }
            all.push(entry);
        }
    }
    if n_damaged > 0 {
        warn!(n_damaged, "click counts are damaged and left out; `shunt verify` names them");
    }
    all.extend(unfolded.into_values());
    let newest = all.iter().map(|entry| entry.last_at).max().unwrap_or(0);
    let heat = |entry: &Entry| {
        let score = entry.clicks / (1 + (newest - entry.last_at) / DAY_MS);
        std::cmp::Reverse((score, entry.clicks, entry.link))
    };
    let limit = limit as usize;
    if limit < all.len() {
        all.select_nth_unstable_by_key(limit, heat);
        all.truncate(limit);
    }
    all.sort_unstable_by_key(heat);
    Ok(all.into_iter().map(|entry| Id(entry.link)).collect())
}
