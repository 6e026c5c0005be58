//! Counted clicks: positions and chunks are written together, so a flush counts once or not at all.

use std::collections::hash_map;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use foldhash::{HashMap, HashMapExt};
use rusqlite::{Connection, OptionalExtension};
use tracing::warn;

use super::deltas::{self, Delta};
use super::fault::{Fault, Outcome, or_damaged};
use super::pages::{self, Entry, PageKind, group_of, page_id, shard_of};
use super::readers::Lane;
use super::schema::{CLICK_GROUPS, CLICK_SHARDS};
use super::{Embedded, erase, keys, prune, unfolded};
use crate::domain::audit::{Act, AuditAction, Target};
use crate::domain::click::{ClickTotals, SegmentId};
use crate::domain::counted::{CountedClick, SegmentClicks, Surplus};
use crate::domain::id::Id;
use crate::domain::time::Timestamp;
use crate::domain::visitor::VisitorKey;
use crate::storage::chunk::sums::Numbering;
use crate::storage::{ClickStore, Resume, Retention, StorageResult};

#[async_trait]
impl ClickStore for Embedded {
    async fn resume(&self, segment: SegmentId) -> StorageResult<Resume> {
        let covered =
            self.read("resume_clicks", Lane::Short, move |conn| position(conn, segment)).await?;
        Ok(Resume { covered, cut: None })
    }

    async fn flush(&self, clicks: Arc<Vec<SegmentClicks>>) -> StorageResult<()> {
        self.write("flush_clicks", move |conn| flush(conn, &clicks)).await
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

    async fn erase(&self, link: Id, act: Option<Act>) -> StorageResult<()> {
        let log = self.log(act);
        self.write("erase_clicks", move |conn| {
            erase::erase(conn, link)?;
            log.add(conn, |act| act.entry(AuditAction::LinkResetClicks, Some(Target::link(link))))
        })
        .await
    }

    async fn visitor_keys(&self, oldest: u32, today: u32) -> StorageResult<Vec<(u32, VisitorKey)>> {
        let rotate = move |conn: &Connection| keys::rotate(conn, oldest, today);
        let rotated = self.write("visitor_keys", rotate).await?;
        if rotated.destroyed {
            self.inner.cut_log.store(true, Ordering::Relaxed);
        }
        Ok(rotated.keys)
    }

    async fn prune(&self, keep: Retention) -> StorageResult<bool> {
        self.write("prune_clicks", move |conn| prune::prune(conn, keep)).await
    }

    async fn roll_up(&self) -> StorageResult<bool> {
        self.make_ahead().await
    }
}

fn position(conn: &Connection, segment: SegmentId) -> Outcome<u64> {
    let applied: Option<i64> = conn
        .prepare_cached("SELECT applied FROM click_positions WHERE segment = ?1")?
        .query_row([segment.0 as i64], |row| row.get(0))
        .optional()?;
    Ok(applied.unwrap_or(0) as u64)
}

fn flush(conn: &Connection, clicks: &[SegmentClicks]) -> Outcome<()> {
    let mut fresh: Vec<&SegmentClicks> = Vec::with_capacity(clicks.len());
    for segment in clicks {
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
        conn.prepare_cached(
            "INSERT INTO click_positions (segment, applied) VALUES (?1, ?2)
             ON CONFLICT (segment) DO UPDATE SET applied = excluded.applied",
        )?
        .execute((segment.segment.0 as i64, segment.to_record as i64))?;
        fresh.push(segment);
    }
    // Segments that were read together have one dictionary, and so one chunk per group.
    while let Some(first) = fresh.first() {
        let words = Arc::clone(&first.words);
        let (same, others): (Vec<_>, Vec<_>) =
            fresh.into_iter().partition(|segment| Arc::ptr_eq(&segment.words, &words));
        store_chunks(conn, &same)?;
        fresh = others;
    }
    Ok(())
}

/// Stores the clicks of segments with one dictionary as one chunk per group.
fn store_chunks(conn: &Connection, segments: &[&SegmentClicks]) -> Outcome<()> {
    let mut n_clicks = [0_usize; CLICK_GROUPS as usize];
    for click in segments.iter().flat_map(|segment| &segment.clicks) {
        n_clicks[group_of(shard_of(click.link)) as usize] += 1;
    }
    let room = |n: &usize| (Vec::with_capacity(*n), Vec::new());
    let mut groups: Vec<(Vec<CountedClick>, Vec<Surplus>)> = n_clicks.iter().map(room).collect();
    for segment in segments {
        for click in &segment.clicks {
            groups[group_of(shard_of(click.link)) as usize].0.push(*click);
        }
        for row in &segment.surplus {
            groups[group_of(shard_of(row.link)) as usize].1.push(row.clone());
        }
    }
    let words = &*segments[0].words;
    let mut numbering = Numbering::new(words);
    for (group, (mut clicks, mut surplus)) in (0..).zip(groups) {
        // Stable, because it merges what is in order already: each segment's clicks are.
        clicks.sort_by_key(|click| (click.link, click.at));
        surplus.sort_by_key(|row| (row.link, row.minute));
        if !clicks.is_empty() || !surplus.is_empty() {
            unfolded::store(conn, group, words, &mut numbering, (&clicks, &surplus))?;
        }
    }
    Ok(())
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
    let id = page_id(kind, shard, bucket);
    let mut found = statement.query([id])?;
    match found.next()? {
        Some(row) => {
            let body = row.get_ref(0)?.as_blob().map_err(|_| pages::damaged())?;
            pages::decode(kind, id, body)
        }
        None => Ok(Vec::new()),
    }
}

/// The first and the last bucket of a kind of which some of these shards have a page.
pub(super) fn buckets_of(
    conn: &Connection,
    kind: PageKind,
    shards: Range<u64>,
) -> Outcome<Option<(u32, u32)>> {
    let ends = |first, last| -> Outcome<Option<(i64, i64)>> {
        let mut statement = conn.prepare_cached(
            "SELECT min(id), (SELECT max(id) FROM click_pages WHERE id BETWEEN ?1 AND ?2)
             FROM click_pages WHERE id BETWEEN ?1 AND ?2",
        )?;
        let found: (Option<i64>, Option<i64>) =
            statement.query_row((first, last), |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(found.0.zip(found.1))
    };
    let last = page_id(kind, shards.end.saturating_sub(1), u32::MAX);
    if ends(page_id(kind, shards.start, 0), last)?.is_none() {
        return Ok(None);
    }
    let mut known: Option<(u32, u32)> = None;
    for shard in shards {
        if let Some((first, last)) = ends(page_id(kind, shard, 0), page_id(kind, shard, u32::MAX))?
        {
            let (first, last) = (first as u32, last as u32);
            known = Some(known.map_or((first, last), |(a, b)| (a.min(first), b.max(last))));
        }
    }
    Ok(known)
}

fn totals(conn: &Connection, links: &[Id]) -> Outcome<Vec<ClickTotals>> {
    let mut found: HashMap<u64, Entry> = HashMap::with_capacity(links.len());
    let mut shards: HashMap<u64, Vec<Entry>> = HashMap::new();
    let mut groups = [false; CLICK_GROUPS as usize];
    for link in links {
        let shard = shard_of(*link);
        groups[group_of(shard) as usize] = true;
        let page = match shards.entry(shard) {
            hash_map::Entry::Occupied(known) => known.into_mut(),
            hash_map::Entry::Vacant(place) => {
                place.insert(read_page(conn, PageKind::Total, shard, 0)?)
            }
        };
        let at = page.binary_search_by_key(&link.0, |entry| entry.link);
        let none = Entry { link: link.0, ..Entry::default() };
        found.insert(link.0, at.map_or(none, |index| page[index]));
    }
    for group in (0..CLICK_GROUPS).filter(|group| groups[*group as usize]) {
        let wanted: Vec<u64> = found.keys().copied().collect();
        let wanted = foldhash::HashSet::from_iter(wanted);
        unfolded::each(
            conn,
            group,
            |link| wanted.contains(&link),
            |more| {
                if let Some(entry) = found.get_mut(&more.link) {
                    add(entry, &more);
                }
            },
        )?;
    }
    let total = |link: &Id| found.get(&link.0).map_or_else(ClickTotals::default, totals_of);
    Ok(links.iter().map(total).collect())
}

fn add(entry: &mut Entry, more: &Entry) {
    entry.clicks = entry.clicks.saturating_add(more.clicks);
    entry.last_at = entry.last_at.max(more.last_at);
}

fn totals_of(entry: &Entry) -> ClickTotals {
    let known = entry.last_at > 0;
    ClickTotals {
        clicks: entry.clicks,
        last_clicked_at: known.then_some(Timestamp(entry.last_at as i64)),
    }
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
        (0..CLICK_GROUPS).try_for_each(|group| {
            unfolded::each(
                conn,
                group,
                |_| true,
                |more| {
                    *self.unfolded.entry(more.link).or_default() += more.clicks;
                },
            )
        })
    }
}

/// The links that are most likely to be clicked next: most clicks, each day since the last click
/// counting against them. Days are told from the newest click in the store, not from a clock.
pub(super) fn hottest(conn: &Connection, limit: u32) -> Outcome<Vec<Id>> {
    const DAY_MS: u64 = 86_400_000;
    let mut fresh: HashMap<u64, Entry> = HashMap::new();
    let mut n_damaged = 0_u32;
    for group in 0..CLICK_GROUPS {
        let added = unfolded::each(
            conn,
            group,
            |_| true,
            |more| {
                let entry = fresh.entry(more.link).or_default();
                entry.link = more.link;
                add(entry, &more);
            },
        );
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
            if let Some(more) = fresh.remove(&entry.link) {
                entry.clicks = entry.clicks.saturating_add(more.clicks);
                entry.last_at = entry.last_at.max(more.last_at);
            }
            all.push(entry);
        }
    }
    if n_damaged > 0 {
        warn!(n_damaged, "click counts are damaged and left out; `shunt verify` names them");
    }
    all.extend(fresh.into_values());
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
