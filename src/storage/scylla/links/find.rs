//! Links by id, by destination and by who made them; counts.

use scylla::DeserializeRow;
use scylla::value::CqlTimestamp;

use super::super::ids::{signed, unsigned};
use super::index::{ID_SHARDS, Phase, bucket, destination_slot, stamp};
use super::row::parse_key;
use super::{GIVEN_UP_AFTER_MS, each, now};
use crate::domain::code::{DomainId, LinkKey};
use crate::domain::id::Id;
use crate::domain::link::{CreatedVia, Link, LinkStatus};
use crate::storage::error::{Op, StorageResult};
use crate::storage::scylla::Cql;

/// Candidates that are looked at together.
const CANDIDATES: i32 = 32;
/// Days behind the newest one after which ids of a day are not made any more.
const CLOSED_AFTER: i32 = 2;

/// A row of `links_by_id`.
#[derive(DeserializeRow)]
struct PlaceRow {
    id: i64,
    domain: i32,
    code: String,
    open: Option<i32>,
    pending: Option<i64>,
    pending_at: Option<CqlTimestamp>,
}

impl Cql {
    pub(super) async fn of_destination(
        &self,
        (workspace, domain): (Id, DomainId),
        destination: &str,
        limit: usize,
    ) -> StorageResult<Vec<Link>> {
        const OP: Op = "find_by_destination";
        let statement = &self.statements().links.of_destination;
        let mut below = (CqlTimestamp(i64::MAX), i64::MAX);
        let mut found = Vec::new();
        let leads_there = |link: &Link| {
            (link.workspace, link.domain) == (workspace, domain)
                && link.status == LinkStatus::Active
                && link.destination.as_str() == destination
        };
        while found.len() < limit {
            let (workspace, on, digest) = destination_slot(workspace, domain, destination);
            let values = (workspace, on, digest, below.0, below.1, CANDIDATES);
            let rows: Vec<(CqlTimestamp, i64)> = self.all(OP, statement, values).await?;
            let Some(last) = rows.last() else { break };
            below = *last;
            let links = each(rows, |(_, id)| self.link_by_id(OP, unsigned(id))).await?;
            found.extend(links.into_iter().flatten().filter(leads_there));
        }
        found.truncate(limit);
        Ok(found)
    }

    pub(super) async fn of_creator(
        &self,
        creator: Id,
        before: Option<Id>,
        limit: usize,
    ) -> StorageResult<(Vec<Link>, u64)> {
        const OP: Op = "anonymous_links";
        let statement = &self.statements().links.of_creator;
        let ids: Vec<(i64,)> = self.all(OP, statement, (signed(creator),)).await?;
        let links = each(ids, |(id,)| self.link_by_id(OP, unsigned(id))).await?;
        let is_theirs = |link: &Link| {
            link.created_via == CreatedVia::Anonymous
                && link.created_by == Some(creator)
                && !matches!(link.status, LinkStatus::Deleted | LinkStatus::Blocked)
        };
        let theirs: Vec<Link> = links.into_iter().flatten().filter(is_theirs).collect();
        let total = theirs.len() as u64;
        let page = theirs.into_iter().filter(|link| before.is_none_or(|before| link.id < before));
        Ok((page.take(limit).collect(), total))
    }

    pub(super) async fn scan_links(&self, after: Id, limit: usize) -> StorageResult<Vec<Link>> {
        const OP: Op = "scan_links";
        let statement = &self.statements().links.buckets;
        let buckets: Vec<(i32, Option<i64>)> = self.all(OP, statement, (bucket(after),)).await?;
        let mut links = Vec::new();
        for (bucket, _) in buckets {
            let mut above = Some(after);
            while let Some(after) = above
                && links.len() < limit
            {
                let missing = limit - links.len();
                let (places, next) = self.places_after(OP, bucket, after, missing).await?;
                let found = each(places, |(id, key)| async move {
                    Ok(self.link_at(OP, &key).await?.filter(|link| link.id == id))
                });
                links.extend(found.await?.into_iter().flatten());
                above = next;
            }
        }
        links.truncate(limit);
        Ok(links)
    }

    /// Candidates of a bucket with ids above `after`, by id, about `wanted`; and from which id on
    /// there may be more.
    async fn places_after(
        &self,
        op: Op,
        bucket: i32,
        after: Id,
        wanted: usize,
    ) -> StorageResult<(Vec<(Id, LinkKey)>, Option<Id>)> {
        let statement = &self.statements().links.ids_after;
        // Shards are about as full as each other.
        let chunk = (wanted / ID_SHARDS as usize).clamp(4, 1_000) as i32 + 4;
        let shards = each(0..ID_SHARDS, |shard| {
            let values = (bucket, shard, signed(after), chunk);
            self.all::<(i64, i32, String)>(op, statement, values)
        });
        let shards = shards.await?;
        // Behind the end of a shard that has more, ids of others come too early. Of its last id
        // there may be another row.
        let full = shards.iter().filter(|rows| rows.len() == chunk as usize);
        let end = full.filter_map(|rows| rows.last()).map(|(id, ..)| unsigned(id - 1)).min();
        let mut places = Vec::new();
        for (id, domain, code) in shards.into_iter().flatten() {
            let id = unsigned(id);
            if end.is_none_or(|end| id <= end) {
                places.push((id, parse_key(op, domain, &code)?));
            }
        }
        places.sort_unstable();
        Ok((places, end))
    }

    pub(super) async fn count_links(&self) -> StorageResult<u64> {
        const OP: Op = "count_links";
        let statements = &self.statements().links;
        let buckets: Vec<(i32, Option<i64>)> =
            self.all(OP, &statements.buckets, (i32::MIN,)).await?;
        let newest = buckets.last().map_or(0, |(bucket, _)| *bucket);
        let mut total = 0;
        for (bucket, counted) in buckets {
            if let Some(counted) = counted {
                total += counted.unsigned_abs();
                continue;
            }
            let counts = each(0..ID_SHARDS, |shard| self.count_places(OP, bucket, shard)).await?;
            let n_links: u64 = counts.iter().map(|(n_links, _)| n_links).sum();
            let settled = counts.iter().all(|(_, settled)| *settled);
            if settled && bucket + CLOSED_AFTER <= newest {
                let values = (n_links.cast_signed(), bucket);
                self.put(OP, &statements.close_bucket, values).await?;
            }
            total += n_links;
        }
        Ok(total)
    }

    /// Links in a partition of `links_by_id`, and whether all its rows are settled.
    async fn count_places(&self, op: Op, bucket: i32, shard: i32) -> StorageResult<(u64, bool)> {
        let statements = &self.statements().links;
        let sums: Option<(i64, Option<i32>)> =
            self.one(op, &statements.count_ids, (bucket, shard)).await?;
        let (n_rows, open) = sums.unwrap_or_default();
        if open.unwrap_or(0) == 0 {
            return Ok((n_rows.unsigned_abs(), true));
        }
        let rows: Vec<PlaceRow> = self.all(op, &statements.open_ids, (bucket, shard)).await?;
        let stand = each(rows, |row| self.place_stands(op, row)).await?;
        Ok((stand.into_iter().filter(|stands| *stands).count() as u64, false))
    }

    /// Whether a link stands where a row says. Settles a row that nobody else will.
    async fn place_stands(&self, op: Op, row: PlaceRow) -> StorageResult<bool> {
        if row.open == Some(0) {
            return Ok(true);
        }
        let (id, key) = (unsigned(row.id), parse_key(op, row.domain, &row.code)?);
        let pending = row.pending.and_then(|pending| u32::try_from(pending).ok()).unwrap_or(0);
        let link = self.link_at(op, &key).await?.filter(|link| link.id == id);
        if let Some(link) = link {
            // Before its version is reached, the link may still leave.
            if link.version >= pending {
                self.settle_place(op, id, key, link.version).await?;
            }
            return Ok(true);
        }
        let age = now().0.saturating_sub(row.pending_at.map_or(0, |at| at.0));
        if age > GIVEN_UP_AFTER_MS {
            self.drop_place(op, id, key, stamp(pending, Phase::Withdrawn)).await?;
        }
        Ok(false)
    }
}
