//! Links of a workspace, as the index knows them: what lists filter and sort by. Rows that are open
//! are asked of the truth, and settled when nobody else will.

use scylla::DeserializeRow;
use scylla::value::CqlTimestamp;

use super::super::ids::{signed, unsigned};
use super::index::{OwnedKey, Phase, period, stamp};
use super::row::{cql_time, parse_key, time};
use super::{GIVEN_UP_AFTER_MS, each, now};
use crate::domain::destination::Destination;
use crate::domain::id::Id;
use crate::domain::link::{CreatedVia, Link, LinkStatus};
use crate::domain::time::Timestamp;
use crate::storage::error::{Op, StorageError, StorageErrorKind, StorageResult};
use crate::storage::scylla::Cql;

/// A row of `links_by_owner`. An open row of a new link has no copy of it yet.
#[derive(DeserializeRow)]
pub(super) struct OwnedRow {
    created_at: CqlTimestamp,
    id: i64,
    open: Option<i32>,
    pending: Option<i64>,
    pending_at: Option<CqlTimestamp>,
    live: Option<i32>,
    version: Option<i64>,
    domain: Option<i32>,
    code: Option<String>,
    destination: Option<String>,
    title: Option<String>,
    tags: Option<Vec<String>>,
    status: Option<String>,
    starts_at: Option<CqlTimestamp>,
    expires_at: Option<CqlTimestamp>,
    max_clicks: Option<i64>,
    external_id: Option<String>,
    created_via: Option<String>,
    updated_at: Option<CqlTimestamp>,
}

/// A partition of `links_by_owner`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Owned {
    pub(super) workspace: Id,
    pub(super) period: i64,
    pub(super) shard: i32,
}

/// A part of a list by creation, its ends not included, as (time of creation, id).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) above: (i64, i64),
    pub(super) below: (i64, i64),
}

impl Span {
    pub(super) const ALL: Self = Self { above: (i64::MIN, i64::MIN), below: (i64::MAX, i64::MAX) };

    /// Created at or after the first and before the second.
    pub(super) fn created(after: Option<Timestamp>, before: Option<Timestamp>) -> Self {
        // No id is that small, so these ends stand before all ids of their moment.
        let end = |at: Timestamp| (at.0, i64::MIN);
        Self {
            above: after.map_or(Self::ALL.above, end),
            below: before.map_or(Self::ALL.below, end),
        }
    }

    fn covers(&self, bucket: &Owned) -> bool {
        let (first, last) = (period(Timestamp(self.above.0)), period(Timestamp(self.below.0)));
        (first..=last).contains(&bucket.period)
    }
}

impl OwnedRow {
    pub(super) fn place(&self) -> (i64, i64) {
        (self.created_at.0, self.id)
    }

    fn is_open(&self) -> bool {
        self.open != Some(0)
    }

    fn key(&self, workspace: Id) -> OwnedKey {
        OwnedKey { workspace, created_at: time(self.created_at), id: unsigned(self.id) }
    }

    /// The link as far as the index knows it: without notes and what else no list looks at.
    fn sketch(self, op: Op, workspace: Id) -> StorageResult<Link> {
        let id = unsigned(self.id);
        let damaged = || {
            let text = format!("the row of link {id} in the index by owner");
            StorageError::new(StorageErrorKind::Damaged, op, text)
        };
        let (domain, code) = self.domain.zip(self.code).ok_or_else(damaged)?;
        let key = parse_key(op, domain, &code)?;
        let to = self.destination.and_then(|text| Destination::from_stored(&text).ok());
        let status = self.status.as_deref().and_then(LinkStatus::from_word);
        let via = self.created_via.as_deref().and_then(CreatedVia::from_word);
        let version = self.version.and_then(|version| version.try_into().ok());
        Ok(Link {
            title: self.title.unwrap_or_default(),
            tags: self.tags.unwrap_or_default(),
            status: status.ok_or_else(damaged)?,
            starts_at: self.starts_at.map(time),
            expires_at: self.expires_at.map(time),
            max_clicks: self.max_clicks.map(i64::cast_unsigned),
            external_id: self.external_id,
            created_via: via.ok_or_else(damaged)?,
            created_at: time(self.created_at),
            updated_at: self.updated_at.map(time).ok_or_else(damaged)?,
            version: version.ok_or_else(damaged)?,
            ..Link::plain(id, workspace, key, to.ok_or_else(damaged)?)
        })
    }
}

impl Cql {
    /// Partitions of a workspace that may hold links of `span`, the oldest first.
    pub(super) async fn owner_buckets(
        &self,
        op: Op,
        workspace: Id,
        span: &Span,
    ) -> StorageResult<Vec<Owned>> {
        let statement = &self.statements().links.owner_buckets;
        let rows: Vec<(i64, i32)> = self.all(op, statement, (signed(workspace),)).await?;
        let buckets = rows.into_iter().map(|(period, shard)| Owned { workspace, period, shard });
        Ok(buckets.filter(|bucket| span.covers(bucket)).collect())
    }

    /// Rows of a partition within `span`, at most `limit`, the newest first or the oldest.
    pub(super) async fn owned_rows(
        &self,
        op: Op,
        bucket: Owned,
        span: Span,
        (oldest_first, limit): (bool, i32),
    ) -> StorageResult<Vec<OwnedRow>> {
        let statements = &self.statements().links;
        let statement =
            if oldest_first { &statements.owned_oldest } else { &statements.owned_newest };
        let (above, below) = (span.above, span.below);
        let (from, to) = (CqlTimestamp(above.0), CqlTimestamp(below.0));
        let Owned { workspace, period, shard } = bucket;
        let values = (signed(workspace), period, shard, from, above.1, to, below.1, limit);
        self.all(op, statement, values).await
    }

    /// Links of a partition within `span` that are not deleted.
    pub(super) async fn count_owned(
        &self,
        op: Op,
        bucket: Owned,
        span: Span,
    ) -> StorageResult<u64> {
        let statement = &self.statements().links.count_owned;
        let (above, below) = (span.above, span.below);
        let (from, to) = (CqlTimestamp(above.0), CqlTimestamp(below.0));
        let Owned { workspace, period, shard } = bucket;
        let values = (signed(workspace), period, shard, from, above.1, to, below.1);
        let sums: Option<(Option<i32>, Option<i32>)> = self.one(op, statement, values).await?;
        let (live, open) = sums.unwrap_or_default();
        if open.unwrap_or(0) == 0 {
            return Ok(u64::from(live.unwrap_or(0).unsigned_abs()));
        }
        let rows = self.owned_rows(op, bucket, span, (false, i32::MAX)).await?;
        let seen = each(rows, |row| self.see_owned(op, workspace, row)).await?;
        Ok(seen.into_iter().flatten().count() as u64)
    }

    /// The link of a row, if it is one of the workspace that is not deleted.
    pub(super) async fn see_owned(
        &self,
        op: Op,
        workspace: Id,
        row: OwnedRow,
    ) -> StorageResult<Option<Link>> {
        if row.is_open() {
            return self.see_open_owned(op, workspace, row).await;
        }
        if row.live != Some(1) {
            return Ok(None);
        }
        row.sketch(op, workspace).map(Some)
    }

    /// The same of a row whose writer is at work, or was cut short.
    async fn see_open_owned(
        &self,
        op: Op,
        workspace: Id,
        row: OwnedRow,
    ) -> StorageResult<Option<Link>> {
        let (key, pending) = (row.key(workspace), row.pending.unwrap_or(0));
        let pending = u32::try_from(pending).unwrap_or(u32::MAX);
        let link = self.link_by_id(op, key.id).await?;
        let age = now().0.saturating_sub(row.pending_at.map_or(0, |at| at.0));
        // What was to be written came to be, or something newer: it will not be written any more.
        let settled = link.as_ref().is_some_and(|link| link.version >= pending);
        let at = match &link {
            Some(link) if settled => Some(stamp(link.version, Phase::Settled)),
            _ if age > GIVEN_UP_AFTER_MS => Some(stamp(pending, Phase::Withdrawn)),
            _ => None,
        };
        let ours = link.filter(|link| OwnedKey::of(link) == key);
        match (&ours, at) {
            (Some(link), Some(at)) => self.copy_owned(op, link, [true; 4], at).await?,
            (None, Some(at)) => self.drop_owned(op, key, at).await?,
            (_, None) => (),
        }
        Ok(ours.filter(|link| link.status != LinkStatus::Deleted))
    }

    /// All links of a workspace within `span` that are not deleted, as the index knows them. Kind
    /// `TooMany`: there are `max` rows or more.
    pub(super) async fn sketches(
        &self,
        op: Op,
        workspace: Id,
        span: Span,
        max: usize,
    ) -> StorageResult<Vec<Link>> {
        let limit = i32::try_from(max).unwrap_or(i32::MAX);
        let mut links = Vec::new();
        let mut n_rows = 0;
        for bucket in self.owner_buckets(op, workspace, &span).await? {
            let rows = self.owned_rows(op, bucket, span, (false, limit)).await?;
            n_rows += rows.len();
            if n_rows >= max {
                let text = format!(
                    "there are {max} links or more to look through: ask for a shorter time of \
                     creation, or for the order of creation without another filter"
                );
                return Err(StorageError::new(StorageErrorKind::TooMany, op, text));
            }
            links.extend(
                each(rows, |row| self.see_owned(op, workspace, row)).await?.into_iter().flatten(),
            );
        }
        Ok(links)
    }

    /// The truth about a link that the index knows, if it still is one of its workspace.
    pub(super) async fn confirm_link(&self, op: Op, sketch: &Link) -> StorageResult<Option<Link>> {
        let there = self.link_at(op, &sketch.key()).await?.filter(|link| link.id == sketch.id);
        let link = match there {
            Some(link) => Some(link),
            None => self.link_by_id(op, sketch.id).await?,
        };
        let ours =
            |link: &Link| link.workspace == sketch.workspace && link.status != LinkStatus::Deleted;
        Ok(link.filter(ours))
    }
}

/// Where a link stands in a list by creation.
pub(super) fn place_of(link: &Link) -> (i64, i64) {
    (cql_time(link.created_at).0, signed(link.id))
}
