//! Links in CQL. `links` is the truth, one partition for each code, changed by conditional writes
//! only; everything else leads to it.
//!
//! What touches several partitions is written candidates first, truth last, so that every prefix
//! is sound: a candidate without a truth is not believed, a truth has all its candidates.

mod change;
mod claim;
mod external;
mod find;
mod import;
mod index;
mod list;
mod moving;
mod owner;
mod relocate;
mod row;

use std::collections::HashMap;
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use scylla::statement::prepared::PreparedStatement;
use tokio::sync::{Mutex, MutexGuard};

use self::index::id_slot;
use self::row::{LinkRow, Place, Standing, domain, parse_key};
use super::Cql;
use super::ids::{signed, unsigned};
use crate::domain::api_key::KeyDigest;
use crate::domain::audit::Act;
use crate::domain::code::{DomainId, LinkKey};
use crate::domain::id::Id;
use crate::domain::link::{Link, LinkStatus};
use crate::domain::time::{Timestamp, millis};
use crate::storage::error::{Op, StorageError, StorageErrorKind, StorageResult};
use crate::storage::patience;
use crate::storage::{BatchAnswer, Claim, ImportedLink, LinkPage, LinkQuery, LinkStore, Replace};

/// Requests that one call has under way at once.
const IN_FLIGHT: usize = 64;
/// How often a conditional write of unknown outcome, or against others, is tried.
const TRIES: u32 = 5;
/// Codes that this process writes at once, at most.
const TURNS: usize = 1_024;
/// What a writer left unfinished for this long, it will not finish: longer than all time limits of
/// its requests, and than clocks of nodes differ.
const GIVEN_UP_AFTER_MS: i64 = 60_000;
/// What calls of one process share, so that they do not work against each other.
pub(super) struct Shared {
    turns: Vec<Mutex<()>>,
    import: Mutex<()>,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self { turns: (0..TURNS).map(|_| Mutex::default()).collect(), import: Mutex::default() }
    }

    /// Waits until nobody else in this process writes at `key`. Conditional writes that race for
    /// one partition cost the database several rounds each.
    async fn turn(&self, op: Op, key: &LinkKey) -> StorageResult<MutexGuard<'_, ()>> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        patience::within(op, self.turns[hasher.finish() as usize % TURNS].lock()).await
    }
}

#[async_trait]
impl LinkStore for Cql {
    async fn fetch(&self, key: &LinkKey) -> StorageResult<Option<Link>> {
        const OP: Op = "fetch_link";
        match self.standing_at(OP, &self.statements().links.fetch, key).await? {
            Some(standing) => self.link_arrived(OP, standing).await,
            None => Ok(None),
        }
    }

    async fn read(&self, key: &LinkKey) -> StorageResult<Option<Link>> {
        self.link_at("read_link", key).await
    }

    async fn fetch_all(&self, ids: &[Id]) -> StorageResult<Vec<Link>> {
        let found = each(ids.to_vec(), |id| self.link_by_id("fetch_links", id)).await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn claim(&self, links: Vec<Link>, act: Option<Act>) -> StorageResult<Vec<Claim>> {
        self.claim_all(links, act).await
    }

    async fn replace(&self, link: Link, act: Option<Act>) -> StorageResult<Replace> {
        self.replace_link(&link, act).await
    }

    async fn relocate(
        &self,
        from: &LinkKey,
        link: Link,
        tombstone_id: Id,
        act: Option<Act>,
    ) -> StorageResult<Replace> {
        self.relocate_link(from, &link, tombstone_id, act).await
    }

    async fn find_by_destination(
        &self,
        workspace: Id,
        domain: DomainId,
        destination: &str,
        limit: u32,
    ) -> StorageResult<Vec<Link>> {
        self.of_destination((workspace, domain), destination, limit as usize).await
    }

    /// Without a filter other than the time of creation or the external id, and ordered by
    /// creation, workspaces of any size are listed. Else kind `TooMany` where
    /// `list::ROWS_MAX` links or more were created in the time that is asked for.
    async fn list(&self, query: &LinkQuery) -> StorageResult<LinkPage> {
        self.list_links(query).await
    }

    /// Kind `TooMany` for a workspace with `list::ROWS_MAX` links or more.
    async fn tags(&self, workspace: Id) -> StorageResult<Vec<(String, u64)>> {
        self.count_tags(workspace).await
    }

    async fn scan(&self, after: Id, limit: u32) -> StorageResult<Vec<Link>> {
        self.scan_links(after, limit as usize).await
    }

    /// What nodes say was clicked most lately, added up.
    async fn hottest(&self, limit: u32) -> StorageResult<Vec<LinkKey>> {
        const OP: Op = "hottest_links";
        let statement = &self.statements().links.hot;
        let nodes: Vec<(Option<Vec<(i64, i64)>>,)> = self.all(OP, statement, ()).await?;
        let mut clicks: HashMap<Id, i64> = HashMap::new();
        for (link, n) in nodes.into_iter().filter_map(|row| row.0).flatten() {
            *clicks.entry(unsigned(link)).or_default() += n;
        }
        let mut hot: Vec<_> = clicks.into_iter().collect();
        hot.sort_by_key(|(id, n)| (std::cmp::Reverse(*n), *id));
        hot.truncate(limit as usize);
        let ids: Vec<Id> = hot.into_iter().map(|(id, _)| id).collect();
        let links = self.fetch_all(&ids).await?;
        let live = links.into_iter().filter(|link| link.status != LinkStatus::Deleted);
        let keys: HashMap<Id, LinkKey> = live.map(|link| (link.id, link.key())).collect();
        Ok(ids.iter().filter_map(|id| keys.get(id).copied()).collect())
    }

    async fn count(&self) -> StorageResult<u64> {
        self.count_links().await
    }

    async fn import(
        &self,
        digest: [u8; 16],
        fingerprint: KeyDigest,
        batch: Vec<ImportedLink>,
        act: Option<Act>,
    ) -> StorageResult<BatchAnswer> {
        self.import_batch((&digest, &fingerprint), batch, act).await
    }

    async fn anonymous(
        &self,
        creator: Id,
        before: Option<Id>,
        limit: u32,
    ) -> StorageResult<(Vec<Link>, u64)> {
        self.of_creator(creator, before, limit as usize).await
    }

    async fn has_foreign_sealed(&self, on: DomainId) -> StorageResult<bool> {
        let statement = &self.statements().links.foreign_sealed;
        let row: Option<(i32,)> = self.one("has_foreign_sealed", statement, (domain(on),)).await?;
        Ok(row.is_some())
    }
}

impl Cql {
    /// The row at `key`, as `statement` reads it.
    async fn standing_at(
        &self,
        op: Op,
        statement: &PreparedStatement,
        key: &LinkKey,
    ) -> StorageResult<Option<Standing>> {
        let values = (domain(key.domain), key.code.as_str());
        let row: Option<LinkRow> = self.one(op, statement, values).await?;
        row.map(|row| row.decode(op)).transpose()
    }

    /// The link at `key`, for API requests.
    async fn link_at(&self, op: Op, key: &LinkKey) -> StorageResult<Option<Link>> {
        match self.standing_at(op, &self.statements().links.read, key).await? {
            Some(standing) => self.link_arrived(op, standing).await,
            None => Ok(None),
        }
    }

    /// What everybody sees of `standing`.
    async fn link_arrived(&self, op: Op, standing: Standing) -> StorageResult<Option<Link>> {
        match standing.place {
            Place::Here | Place::Left { .. } => Ok(Some(standing.link)),
            Place::Coming(coming) => self.finish_move(op, standing.link, &coming).await,
        }
    }

    /// The link with this id, wherever it is.
    async fn link_by_id(&self, op: Op, id: Id) -> StorageResult<Option<Link>> {
        let (bucket, shard) = id_slot(id);
        let statement = &self.statements().links.keys_of_id;
        let keys: Vec<(i32, String)> = self.all(op, statement, (bucket, shard, signed(id))).await?;
        for (domain, code) in keys {
            let key = parse_key(op, domain, &code)?;
            let read = &self.statements().links.read;
            let Some(standing) = self.standing_at(op, read, &key).await? else { continue };
            let found = match standing.place {
                // It left while its codes were read.
                Place::Left { to } if standing.link.id != id => self.link_at(op, &to).await?,
                _ => self.link_arrived(op, standing).await?,
            };
            if let Some(link) = found.filter(|link| link.id == id) {
                return Ok(Some(link));
            }
        }
        Ok(None)
    }
}

/// Works on all items, a bounded number at once; answers in their order.
async fn each<T, R, F>(
    items: impl IntoIterator<Item = T>,
    work: impl Fn(T) -> F,
) -> StorageResult<Vec<R>>
where
    F: Future<Output = StorageResult<R>>,
{
    stream::iter(items).map(work).buffered(IN_FLIGHT).try_collect().await
}

/// The positions of items that share no value with an earlier one, then those of the others.
fn waves<K: Hash + Eq>(
    n_items: usize,
    values: impl Fn(usize) -> Vec<K>,
) -> (Vec<usize>, Vec<usize>) {
    let mut seen = HashMap::new();
    (0..n_items).partition(|item| {
        let mut fresh = true;
        for value in values(*item) {
            fresh &= *seen.entry(value).or_insert(*item) == *item;
        }
        fresh
    })
}

/// What the clock of this node says.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(millis(since))
}

/// Others were always faster.
fn crowded(op: Op) -> StorageError {
    StorageError { kind: StorageErrorKind::Unavailable, op, source: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_that_share_something_wait_for_the_first_of_them() {
        let items = [vec!["a", "x"], vec!["b"], vec!["a"], vec!["c", "x"], vec!["d"], vec!["c"]];
        let (first, others) = waves(items.len(), |n| items[n].clone());
        assert_eq!(first, [0, 1, 4]);
        assert_eq!(others, [2, 3, 5], "5 shares something with 3, which comes before it");
    }
}
