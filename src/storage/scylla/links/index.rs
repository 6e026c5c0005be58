//! What finds links: rows that are written before the truth and checked against it.
//!
//! A row is *opened* before the truth changes, with everything that leads to it, and *settled*
//! behind. Whoever reads an open row asks the truth, and settles what a writer left open. Rows are
//! written at a time made of the version of their link, so that of two writes the one for the newer
//! version stays, whatever clocks say, and to repeat one changes nothing.

use std::collections::BTreeSet;

use futures_util::future::{BoxFuture, FutureExt, try_join_all};
use scylla::value::{CqlValue, MaybeUnset};
use tracing::warn;

use super::super::ids::signed;
use super::now;
use super::row::{cql_time, domain};
use crate::domain::code::{DomainId, LinkKey};
use crate::domain::id::Id;
use crate::domain::link::{CreatedVia, Link, LinkStatus};
use crate::domain::time::Timestamp;
use crate::storage::error::{Op, StorageResult};
use crate::storage::scylla::Cql;

/// Partitions of the ids of a day.
pub(super) const ID_SHARDS: i32 = 16;
/// Partitions of what a workspace made in a period.
const OWNER_SHARDS: i32 = 4;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
const PERIOD_MS: i64 = 30 * DAY_MS;
/// Bytes of a digest by which links of one destination are found.
const DIGEST_BYTES: usize = 16;

/// The order of writes that one version of a link leads to.
#[derive(Clone, Copy)]
pub(super) enum Phase {
    /// Before the truth.
    Open = 0,
    /// The truth did not come to be.
    Withdrawn = 1,
    /// Behind the truth.
    Settled = 2,
}

/// The time of writing of an index row.
pub(super) fn stamp(version: u32, phase: Phase) -> i64 {
    i64::from(version) * 4 + phase as i64 + 1
}

/// Where an id is, in `links_by_id`.
pub(super) fn id_slot(id: Id) -> (i32, i32) {
    (bucket(id), spread(id, ID_SHARDS))
}

/// Days since 1970. Ids tell 69 years.
pub(super) fn bucket(id: Id) -> i32 {
    id.created_at().0.div_euclid(DAY_MS) as i32
}

/// One link a millisecond has nothing but zeros in its last bits; many have the rest in common.
fn spread(id: Id, shards: i32) -> i32 {
    let mixed = (id.0 >> 22).wrapping_add(id.0);
    (mixed % u64::from(shards.unsigned_abs())) as i32
}

pub(super) fn period(at: Timestamp) -> i64 {
    at.0.div_euclid(PERIOD_MS)
}

/// Where a link is, in `links_by_owner`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct OwnedKey {
    pub(super) workspace: Id,
    pub(super) created_at: Timestamp,
    pub(super) id: Id,
}

impl OwnedKey {
    pub(super) fn of(link: &Link) -> Self {
        Self { workspace: link.workspace, created_at: link.created_at, id: link.id }
    }

    /// Values of its partition.
    fn partition(&self) -> (i64, i64, i32) {
        (signed(self.workspace), period(self.created_at), spread(self.id, OWNER_SHARDS))
    }
}

/// Values of the partition of what leads to a destination.
pub(super) fn destination_slot(
    workspace: Id,
    on: DomainId,
    destination: &str,
) -> (i64, i32, Vec<u8>) {
    let digest = blake3::hash(destination.as_bytes()).as_bytes()[..DIGEST_BYTES].to_vec();
    (signed(workspace), domain(on), digest)
}

/// Where a link is, in `links_by_destination`. A deleted one is not.
fn destination_of(link: &Link) -> Option<(Id, DomainId, &str, Timestamp)> {
    let alive = link.status != LinkStatus::Deleted;
    let slot = (link.workspace, link.domain, link.destination.as_str(), link.created_at);
    alive.then_some(slot)
}

/// The anonymous token that a link belongs to.
fn creator_of(link: &Link) -> Option<Id> {
    let theirs = link.created_via == CreatedVia::Anonymous && link.status != LinkStatus::Deleted;
    link.created_by.filter(|_| theirs)
}

type Writes<'a> = Vec<BoxFuture<'a, StorageResult<()>>>;

impl Cql {
    /// Notes which partitions will hold rows of these links.
    pub(super) async fn note_buckets<'a>(
        &self,
        op: Op,
        links: impl Iterator<Item = &'a Link>,
    ) -> StorageResult<()> {
        let statements = &self.statements().links;
        let (mut ids, mut owned) = (BTreeSet::new(), BTreeSet::new());
        for link in links {
            ids.insert(bucket(link.id));
            owned.insert(OwnedKey::of(link).partition());
        }
        let ids = ids.into_iter().map(|bucket| self.put(op, &statements.put_bucket, (bucket,)));
        let owned = owned.into_iter().map(|key| self.put(op, &statements.put_owner_bucket, key));
        try_join_all(ids).await?;
        try_join_all(owned).await?;
        Ok(())
    }

    /// Opens what leads to `new`, and what led to `old`.
    pub(super) async fn open_index(
        &self,
        op: Op,
        old: Option<&Link>,
        new: &Link,
    ) -> StorageResult<()> {
        let at = new.version;
        let mut writes = vec![self.open_owned(op, OwnedKey::of(new), at)];
        match old {
            None => writes.push(self.open_place(op, new.id, new.key(), at)),
            Some(old) if old.key() != new.key() => {
                writes.push(self.open_place(op, new.id, new.key(), at));
                writes.push(self.open_place(op, old.id, old.key(), at));
            }
            Some(_) => (),
        }
        if let Some(old) = old.filter(|old| OwnedKey::of(old) != OwnedKey::of(new)) {
            writes.push(self.open_owned(op, OwnedKey::of(old), at));
        }
        writes.extend(self.put_found(op, old, new, stamp(at, Phase::Open)));
        try_join_all(writes).await.map(drop)
    }

    /// Settles what leads to `new`, which is the truth now, and drops what led to `old` alone.
    /// What fails is left to readers: the truth stands.
    pub(super) async fn settle_index(&self, op: Op, old: Option<&Link>, new: &Link) {
        left_open(op, try_join_all(self.settling(op, old, new)).await);
    }

    /// Writes what leads to a link that is put as it is.
    pub(super) async fn put_index(&self, op: Op, link: &Link) -> StorageResult<()> {
        try_join_all(self.settling(op, None, link)).await.map(drop)
    }

    fn settling(&self, op: Op, old: Option<&Link>, new: &Link) -> Writes<'_> {
        let at = new.version;
        let mut writes = vec![self.settle_owned(op, old, new)];
        // Again: a claim of the same link may have lost at another code and withdrawn it.
        writes.extend(self.put_found(op, old, new, stamp(at, Phase::Settled)));
        if old.is_none_or(|old| old.key() != new.key()) {
            writes.push(self.settle_place(op, new.id, new.key(), at));
        }
        if let Some(old) = old {
            if old.key() != new.key() {
                writes.push(self.drop_place(op, old.id, old.key(), stamp(at, Phase::Settled)));
            }
            if OwnedKey::of(old) != OwnedKey::of(new) {
                writes.push(self.drop_owned(op, OwnedKey::of(old), stamp(at, Phase::Settled)));
            }
            if destination_of(old) != destination_of(new) {
                writes.extend(self.drop_destination(op, old, stamp(at, Phase::Settled)));
            }
            if creator_of(old) != creator_of(new) {
                writes.extend(self.drop_creator(op, old, stamp(at, Phase::Settled)));
            }
        }
        writes
    }

    /// Drops what was opened for a new link that did not come to be.
    pub(super) async fn withdraw_index(&self, op: Op, link: &Link) {
        let at = stamp(link.version, Phase::Withdrawn);
        let mut writes = vec![
            self.drop_place(op, link.id, link.key(), at),
            self.drop_owned(op, OwnedKey::of(link), at),
        ];
        writes.extend(self.drop_destination(op, link, at));
        writes.extend(self.drop_creator(op, link, at));
        left_open(op, try_join_all(writes).await);
    }

    pub(super) fn open_place(
        &self,
        op: Op,
        id: Id,
        key: LinkKey,
        version: u32,
    ) -> BoxFuture<'_, StorageResult<()>> {
        let ((bucket, shard), at) = (id_slot(id), stamp(version, Phase::Open));
        let (domain, code) = (domain(key.domain), key.code.to_string());
        let (pending, since) = (i64::from(version), cql_time(now()));
        let values = (bucket, shard, signed(id), domain, code, pending, since, at);
        self.put(op, &self.statements().links.open_id, values).boxed()
    }

    pub(super) fn settle_place(
        &self,
        op: Op,
        id: Id,
        key: LinkKey,
        version: u32,
    ) -> BoxFuture<'_, StorageResult<()>> {
        let ((bucket, shard), at) = (id_slot(id), stamp(version, Phase::Settled));
        let (domain, code) = (domain(key.domain), key.code.to_string());
        let values = (bucket, shard, signed(id), domain, code, at);
        self.put(op, &self.statements().links.settle_id, values).boxed()
    }

    pub(super) fn drop_place(
        &self,
        op: Op,
        id: Id,
        key: LinkKey,
        at: i64,
    ) -> BoxFuture<'_, StorageResult<()>> {
        let (bucket, shard) = id_slot(id);
        let (domain, code) = (domain(key.domain), key.code.to_string());
        let values = (at, bucket, shard, signed(id), domain, code);
        self.put(op, &self.statements().links.drop_id, values).boxed()
    }

    fn open_owned(&self, op: Op, key: OwnedKey, version: u32) -> BoxFuture<'_, StorageResult<()>> {
        let (workspace, period, shard) = key.partition();
        let (created_at, id) = (cql_time(key.created_at), signed(key.id));
        let (pending, since) = (i64::from(version), cql_time(now()));
        let at = stamp(version, Phase::Open);
        let values = (at, pending, since, workspace, period, shard, created_at, id);
        self.put(op, &self.statements().links.open_owned, values).boxed()
    }

    fn settle_owned(
        &self,
        op: Op,
        old: Option<&Link>,
        link: &Link,
    ) -> BoxFuture<'_, StorageResult<()>> {
        // Of the same row only; another has nothing that would have to be overwritten.
        let old = old.filter(|old| OwnedKey::of(old) == OwnedKey::of(link));
        let has = |of: &dyn Fn(&Link) -> bool| old.is_some_and(of);
        let had = [
            has(&|old| old.starts_at.is_some()),
            has(&|old| old.expires_at.is_some()),
            has(&|old| old.max_clicks.is_some()),
            has(&|old| old.external_id.is_some()),
        ];
        self.copy_owned(op, link, had, stamp(link.version, Phase::Settled))
    }

    /// Writes what lists need of a link. `had`: which of the rare values the row may have now.
    pub(super) fn copy_owned(
        &self,
        op: Op,
        link: &Link,
        had: [bool; 4],
        at: i64,
    ) -> BoxFuture<'_, StorageResult<()>> {
        let (workspace, period, shard) = OwnedKey::of(link).partition();
        let text = |text: &str| CqlValue::Text(text.to_owned());
        let time = |at: Timestamp| CqlValue::Timestamp(cql_time(at));
        let tags = link.tags.iter().map(|tag| CqlValue::Text(tag.clone()));
        let rare = [
            link.starts_at.map(time),
            link.expires_at.map(time),
            link.max_clicks.map(|max| CqlValue::BigInt(max.cast_signed())),
            link.external_id.as_deref().map(text),
        ];
        // A null is a tombstone: there is one only where something has to go.
        let rare = rare.into_iter().zip(had).map(|(value, had)| match (value, had) {
            (None, false) => MaybeUnset::Unset,
            (value, _) => MaybeUnset::Set(value),
        });
        let mut values: Vec<MaybeUnset<Option<CqlValue>>> = [
            CqlValue::BigInt(workspace),
            CqlValue::BigInt(period),
            CqlValue::Int(shard),
            time(link.created_at),
            CqlValue::BigInt(signed(link.id)),
            CqlValue::Int(i32::from(link.status != LinkStatus::Deleted)),
            CqlValue::BigInt(link.version.into()),
            CqlValue::Int(domain(link.domain)),
            text(link.code.as_str()),
            text(link.destination.as_str()),
            text(&link.title),
            CqlValue::List(tags.collect()),
            text(link.status.as_str()),
        ]
        .map(|value| MaybeUnset::Set(Some(value)))
        .into();
        values.extend(rare);
        let last = [text(link.created_via.as_str()), time(link.updated_at), CqlValue::BigInt(at)];
        values.extend(last.map(|value| MaybeUnset::Set(Some(value))));
        self.put(op, &self.statements().links.settle_owned, values).boxed()
    }

    pub(super) fn drop_owned(
        &self,
        op: Op,
        key: OwnedKey,
        at: i64,
    ) -> BoxFuture<'_, StorageResult<()>> {
        let (workspace, period, shard) = key.partition();
        let values = (at, workspace, period, shard, cql_time(key.created_at), signed(key.id));
        self.put(op, &self.statements().links.drop_owned, values).boxed()
    }

    /// What finds `new` but did not find `old`, by its destination and by who made it.
    fn put_found(&self, op: Op, old: Option<&Link>, new: &Link, at: i64) -> Writes<'_> {
        let (statements, mut writes) = (&self.statements().links, Writes::new());
        if let Some((workspace, domain, to, created_at)) = destination_of(new)
            && old.and_then(destination_of) != destination_of(new)
        {
            let (workspace, domain, digest) = destination_slot(workspace, domain, to);
            let values = (workspace, domain, digest, cql_time(created_at), signed(new.id), at);
            writes.push(self.put(op, &statements.put_destination, values).boxed());
        }
        if let Some(creator) = creator_of(new)
            && old.and_then(creator_of) != Some(creator)
        {
            let values = (signed(creator), signed(new.id), at);
            writes.push(self.put(op, &statements.put_creator, values).boxed());
        }
        writes
    }

    fn drop_destination(&self, op: Op, link: &Link, at: i64) -> Writes<'_> {
        let Some((workspace, domain, to, created_at)) = destination_of(link) else {
            return Vec::new();
        };
        let (workspace, domain, digest) = destination_slot(workspace, domain, to);
        let values = (at, workspace, domain, digest, cql_time(created_at), signed(link.id));
        vec![self.put(op, &self.statements().links.drop_destination, values).boxed()]
    }

    fn drop_creator(&self, op: Op, link: &Link, at: i64) -> Writes<'_> {
        let Some(creator) = creator_of(link) else { return Vec::new() };
        let values = (at, signed(creator), signed(link.id));
        vec![self.put(op, &self.statements().links.drop_creator, values).boxed()]
    }
}

/// The change itself stands, or does not, whatever becomes of what leads to it.
fn left_open(op: Op, outcome: StorageResult<Vec<()>>) {
    if let Err(error) = outcome {
        warn!(op, %error, "rows of an index are left to their readers");
    }
}
