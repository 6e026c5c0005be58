//! Lists of a workspace's links, and their tags.
//!
//! By creation alone, a list goes straight through the index. Every other order and filter reads
//! all rows of the workspace, within a bound.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::super::ids::signed;
use super::each;
use super::owner::{Owned, OwnedRow, Span, place_of};
use crate::domain::id::Id;
use crate::domain::link::Link;
use crate::storage::error::{Op, StorageResult};
use crate::storage::scylla::{ClickParts, Cql};
use crate::storage::text::{fold, link_holds};
use crate::storage::{ClickStore, LinkPage, LinkQuery, LinkSort, PageMark, SortValue};

const OP: Op = "list_links";
/// Links, deleted ones included, that a list looks through which does not follow the creation.
pub(super) const ROWS_MAX: usize = 100_000;

impl Cql {
    pub(super) async fn list_links(&self, query: &LinkQuery) -> StorageResult<LinkPage> {
        if let Some(external_id) = &query.external_id {
            let link = self.of_external(OP, query.workspace, external_id).await?;
            return self.chosen_page(link.into_iter().collect(), query).await;
        }
        if is_by_creation(query) {
            return self.page_by_creation(query).await;
        }
        let span = Span::created(query.created_after, query.created_before);
        let links = self.sketches(OP, query.workspace, span, ROWS_MAX).await?;
        self.chosen_page(links, query).await
    }

    pub(super) async fn count_tags(&self, workspace: Id) -> StorageResult<Vec<(String, u64)>> {
        let mut counts = BTreeMap::new();
        for link in self.sketches("list_tags", workspace, Span::ALL, ROWS_MAX).await? {
            for tag in link.tags.into_iter().collect::<HashSet<_>>() {
                *counts.entry(tag).or_default() += 1;
            }
        }
        Ok(counts.into_iter().collect())
    }

    /// The page of those of `links` that a query asks for.
    async fn chosen_page(&self, links: Vec<Link>, query: &LinkQuery) -> StorageResult<LinkPage> {
        let asks = Asks::of(query);
        let mut found: Vec<Link> = links.into_iter().filter(|link| asks.fits(link)).collect();
        let clicks = match asks.needs_clicks() {
            true => self.clicks_by_id(&found).await?,
            false => HashMap::new(),
        };
        let clicks = |link: &Link| clicks.get(&link.id).copied().unwrap_or(0);
        if let Some(state) = query.state {
            found.retain(|link| link.state(query.now, clicks(link)) == state);
        }
        let mut found: Vec<(PageMark, Link)> =
            found.into_iter().map(|link| (mark(&link, query.sort, clicks(&link)), link)).collect();
        found.sort_by(|a, b| compare(query.sort, &a.0, &b.0));
        let total = found.len() as u64;
        if let Some(after) = &query.after {
            found.retain(|(mark, _)| compare(query.sort, mark, after).is_gt());
        }
        self.list_page(found, total, query).await
    }

    /// The beginning of `found`, as the truth has it.
    async fn list_page(
        &self,
        mut found: Vec<(PageMark, Link)>,
        total: u64,
        query: &LinkQuery,
    ) -> StorageResult<LinkPage> {
        let limit = query.limit.max(1) as usize;
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|(mark, _)| mark.clone());
        let sketches = found.into_iter().map(|(_, link)| link);
        let links =
            each(sketches, |link| async move { self.confirm_link(OP, &link).await }).await?;
        Ok(LinkPage { links: links.into_iter().flatten().collect(), next, total })
    }

    async fn page_by_creation(&self, query: &LinkQuery) -> StorageResult<LinkPage> {
        let span = Span::created(query.created_after, query.created_before);
        let buckets = self.owner_buckets(OP, query.workspace, &span).await?;
        let counts = each(buckets.clone(), |bucket| self.count_owned(OP, bucket, span)).await?;
        let oldest_first = query.sort == LinkSort::CreatedAsc;
        let mut walk = Walk { span, oldest_first };
        if let Some(PageMark { value: SortValue::Number(at), id }) = &query.after {
            walk.go_behind((*at, signed(*id)));
        }
        let wanted = query.limit.max(1) as usize + 1;
        let mut found = Vec::new();
        for period in by_period(buckets, oldest_first) {
            let mut walk = Some(walk);
            while let Some(from) = walk
                && found.len() < wanted
            {
                let (links, rest) = self.walk_owned(&period, from, wanted - found.len()).await?;
                found.extend(links.into_iter().map(|link| (mark(&link, query.sort, 0), link)));
                walk = rest;
            }
        }
        self.list_page(found, counts.iter().sum(), query).await
    }

    /// The next links of one period, in order, about `wanted`; and from where on there may be more.
    async fn walk_owned(
        &self,
        period: &[Owned],
        walk: Walk,
        wanted: usize,
    ) -> StorageResult<(Vec<Link>, Option<Walk>)> {
        let limit = i32::try_from(wanted).unwrap_or(i32::MAX);
        let shards = each(period.to_vec(), |bucket| {
            self.owned_rows(OP, bucket, walk.span, (walk.oldest_first, limit))
        });
        let shards = shards.await?;
        let full = shards.iter().filter(|rows| rows.len() >= wanted);
        let ends = full.filter_map(|rows| rows.last()).map(OwnedRow::place);
        // Behind the end of a shard that has more, rows of others come too early.
        let end = if walk.oldest_first { ends.min() } else { ends.max() };
        let mut rest = walk;
        if let Some(end) = end {
            rest.go_behind(end);
        }
        let rows = shards.into_iter().flatten();
        let rows = rows.filter(|row| end.is_none_or(|end| !walk.is_behind(row.place(), end)));
        let Some(workspace) = period.first().map(|bucket| bucket.workspace) else {
            return Ok((Vec::new(), None));
        };
        let links = each(rows, |row| self.see_owned(OP, workspace, row)).await?;
        let mut links: Vec<Link> = links.into_iter().flatten().collect();
        links.sort_by_key(place_of);
        if !walk.oldest_first {
            links.reverse();
        }
        Ok((links, end.map(|_| rest)))
    }

    async fn clicks_by_id(&self, links: &[Link]) -> StorageResult<HashMap<Id, u64>> {
        let ids: Vec<Id> = links.iter().map(|link| link.id).collect();
        let clicks = self.clicks_of(&ids).await?;
        Ok(ids.into_iter().zip(clicks).collect())
    }

    /// Clicks of links, in order.
    async fn clicks_of(&self, links: &[Id]) -> StorageResult<Vec<u64>> {
        // To read totals takes nothing of what this node keeps of its clicks.
        let this = Arc::new(self.clone());
        let parts = ClickParts { node: 0, links: Arc::clone(&this) as _, audit: this };
        let totals = self.clicks(parts).totals(links).await?;
        Ok(totals.into_iter().map(|total| total.clicks).collect())
    }
}

/// A list by creation under way.
#[derive(Clone, Copy)]
struct Walk {
    span: Span,
    oldest_first: bool,
}

impl Walk {
    fn go_behind(&mut self, place: (i64, i64)) {
        match self.oldest_first {
            true => self.span.above = self.span.above.max(place),
            false => self.span.below = self.span.below.min(place),
        }
    }

    fn is_behind(&self, place: (i64, i64), end: (i64, i64)) -> bool {
        if self.oldest_first { place > end } else { place < end }
    }
}

/// What a query asks of links, but for their state.
struct Asks<'a> {
    query: &'a LinkQuery,
    text: Option<String>,
}

impl<'a> Asks<'a> {
    fn of(query: &'a LinkQuery) -> Self {
        Self { query, text: query.text.as_deref().map(fold) }
    }

    fn fits(&self, link: &Link) -> bool {
        let query = self.query;
        self.text.as_deref().is_none_or(|text| link_holds(link, text))
            && query.tags.iter().all(|tag| link.tags.contains(tag))
            && query.domain.is_none_or(|domain| link.domain == domain)
            && query.created_via.is_none_or(|via| link.created_via == via)
            && query.created_after.is_none_or(|after| link.created_at >= after)
            && query.created_before.is_none_or(|before| link.created_at < before)
            && (query.external_id.is_none() || query.external_id == link.external_id)
    }

    fn needs_clicks(&self) -> bool {
        self.query.state.is_some()
            || matches!(self.query.sort, LinkSort::ClicksDesc | LinkSort::ClicksAsc)
    }
}

/// Nothing but the order of creation and its times.
fn is_by_creation(query: &LinkQuery) -> bool {
    matches!(query.sort, LinkSort::CreatedDesc | LinkSort::CreatedAsc)
        && query.text.is_none()
        && query.tags.is_empty()
        && query.state.is_none()
        && query.domain.is_none()
        && query.created_via.is_none()
}

/// Partitions of the same period together, in the order of a list.
fn by_period(buckets: Vec<Owned>, oldest_first: bool) -> Vec<Vec<Owned>> {
    let mut periods: BTreeMap<i64, Vec<Owned>> = BTreeMap::new();
    for bucket in buckets {
        periods.entry(bucket.period).or_default().push(bucket);
    }
    let mut periods: Vec<_> = periods.into_values().collect();
    if !oldest_first {
        periods.reverse();
    }
    periods
}

fn mark(link: &Link, sort: LinkSort, clicks: u64) -> PageMark {
    let value = match sort {
        LinkSort::CreatedDesc | LinkSort::CreatedAsc => SortValue::Number(link.created_at.0),
        LinkSort::UpdatedDesc => SortValue::Number(link.updated_at.0),
        LinkSort::ClicksDesc | LinkSort::ClicksAsc => SortValue::Number(clicks.cast_signed()),
        LinkSort::TitleAsc => SortValue::Text(fold(&link.title)),
    };
    PageMark { value, id: link.id }
}

fn compare(sort: LinkSort, a: &PageMark, b: &PageMark) -> std::cmp::Ordering {
    let order = match (&a.value, &b.value) {
        (SortValue::Number(a), SortValue::Number(b)) => a.cmp(b),
        (SortValue::Text(a), SortValue::Text(b)) => a.cmp(b),
        (SortValue::Number(_), SortValue::Text(_)) => std::cmp::Ordering::Less,
        (SortValue::Text(_), SortValue::Number(_)) => std::cmp::Ordering::Greater,
    };
    let order = order.then(a.id.cmp(&b.id));
    match sort {
        LinkSort::CreatedAsc | LinkSort::ClicksAsc | LinkSort::TitleAsc => order,
        LinkSort::CreatedDesc | LinkSort::UpdatedDesc | LinkSort::ClicksDesc => order.reverse(),
    }
}
