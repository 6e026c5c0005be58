//! Links that several nodes share: a cache before the store, and other nodes told of changes.
//!
//! A change goes: others are told that it comes, the store makes it, the cache holds it, others are
//! told. Whoever loads takes nothing from the cache that is older than what was heard of. A change
//! that the cache could not be told of puts all of it out of use.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tracing::debug;

use crate::domain::api_key::KeyDigest;
use crate::domain::audit::Act;
use crate::domain::code::{DomainId, LinkKey};
use crate::domain::id::Id;
use crate::domain::link::Link;
use crate::storage::cache::{Cached, LinkCache};
use crate::storage::error::StorageResult;
use crate::storage::feed::{ChangeFeed, LinkChange};
use crate::storage::recent::Recent;
use crate::storage::{BatchAnswer, Claim, ImportedLink, LinkPage, LinkQuery, LinkStore, Replace};

/// How often whoever waits for a load of somebody else looks again.
const LOOK_EVERY: Duration = Duration::from_millis(8);
const LOOKS_MAX: u32 = 12;

/// A `LinkStore` as one node of several uses it.
pub struct SharedLinks {
    pub inner: Arc<dyn LinkStore>,
    pub cache: Option<Arc<dyn LinkCache>>,
    pub feeds: Vec<Arc<dyn ChangeFeed>>,
    pub recent: Arc<Recent>,
}

impl SharedLinks {
    async fn prepare(&self, keys: &[LinkKey]) -> StorageResult<()> {
        for feed in &self.feeds {
            feed.prepare(keys).await?;
        }
        Ok(())
    }

    /// The change is made whatever becomes of this; a feed that was prepared tells it again.
    async fn announce(&self, changes: &[LinkChange]) {
        self.recent.note(changes);
        for feed in &self.feeds {
            if let Err(error) = feed.announce(changes).await {
                debug!(%error, "a feed did not take a change");
            }
        }
    }

    /// Somebody changed this one, and perhaps ended before the cache was told: the next try must
    /// not begin with the same old version.
    fn doubt(&self, key: LinkKey) {
        self.recent.note(&[LinkChange { key, version: None }]);
    }

    /// Tells the cache of a change. `None`: whoever made it cannot tell what it is.
    async fn put_change(&self, link: Option<&Link>) {
        let Some(cache) = &self.cache else { return };
        let told = match link {
            Some(link) => cache.put(&link.key(), Some(link)).await.is_ok(),
            None => false,
        };
        if !told {
            cache.distrust();
        }
    }

    /// What the cache knows; `None` when the store must be asked.
    async fn cached(&self, key: &LinkKey) -> Option<Option<Link>> {
        let (cache, least) = self.cache.as_ref().zip(self.recent.least(key))?;
        for _ in 0..LOOKS_MAX {
            match cache.look(key, least).await {
                Cached::Link(link) => return Some(Some(*link)),
                Cached::Absent => return Some(None),
                Cached::Busy => tokio::time::sleep(LOOK_EVERY).await,
                Cached::Mine | Cached::Nothing => break,
            }
        }
        None
    }

    /// Takes into the cache what the store answered.
    async fn loaded(&self, key: &LinkKey, link: Option<Link>) -> StorageResult<Option<Link>> {
        if let Some(cache) = &self.cache {
            // Whether others can use it is no concern of whoever waits for this one.
            let _unheard = cache.put(key, link.as_ref()).await;
        }
        Ok(link)
    }
}

#[async_trait]
impl LinkStore for SharedLinks {
    async fn fetch(&self, key: &LinkKey) -> StorageResult<Option<Link>> {
        match self.cached(key).await {
            Some(known) => Ok(known),
            None => self.loaded(key, self.inner.fetch(key).await?).await,
        }
    }

    async fn read(&self, key: &LinkKey) -> StorageResult<Option<Link>> {
        match self.cached(key).await {
            Some(known) => Ok(known),
            None => self.loaded(key, self.inner.read(key).await?).await,
        }
    }

    async fn fetch_fresh(&self, key: &LinkKey) -> StorageResult<Option<Link>> {
        self.loaded(key, self.inner.fetch(key).await?).await
    }

    async fn fetch_all(&self, ids: &[Id]) -> StorageResult<Vec<Link>> {
        self.inner.fetch_all(ids).await
    }

    /// A cache and others may remember for a moment that there was nothing.
    async fn claim(&self, links: Vec<Link>, act: Option<Act>) -> StorageResult<Vec<Claim>> {
        let claims = self.inner.claim(links.clone(), act).await?;
        let won = links.iter().zip(&claims).filter(|(_, claim)| **claim == Claim::Won);
        let won: Vec<_> = won.map(|(link, _)| link).collect();
        if let Some(cache) = &self.cache {
            for link in &won {
                let _unheard = cache.put(&link.key(), Some(link)).await;
            }
        }
        let told = won.iter().map(|link| change(link)).collect::<Vec<_>>();
        self.announce(&told).await;
        Ok(claims)
    }

    async fn replace(&self, link: Link, act: Option<Act>) -> StorageResult<Replace> {
        self.prepare(&[link.key()]).await?;
        let replaced = self.inner.replace(link.clone(), act).await;
        match &replaced {
            Ok(Replace::Done) => {
                self.put_change(Some(&link)).await;
                self.announce(&[change(&link)]).await;
            }
            Ok(Replace::Stale) => self.doubt(link.key()),
            Ok(_) => (),
            // It may have been made.
            Err(_) => self.put_change(None).await,
        }
        replaced
    }

    async fn relocate(
        &self,
        from: &LinkKey,
        link: Link,
        tombstone_id: Id,
        act: Option<Act>,
    ) -> StorageResult<Replace> {
        self.prepare(&[link.key(), *from]).await?;
        let moved = self.inner.relocate(from, link.clone(), tombstone_id, act).await;
        match &moved {
            Ok(Replace::Done) => {
                self.put_change(Some(&link)).await;
                let gone = self.inner.read(from).await.ok().flatten();
                self.put_change(gone.as_ref()).await;
                let left = LinkChange { key: *from, ..change(&link) };
                self.announce(&[change(&link), left]).await;
            }
            Ok(Replace::Stale) => self.doubt(*from),
            Ok(_) => (),
            Err(_) => self.put_change(None).await,
        }
        moved
    }

    async fn find_by_destination(
        &self,
        workspace: Id,
        domain: DomainId,
        destination: &str,
        limit: u32,
    ) -> StorageResult<Vec<Link>> {
        self.inner.find_by_destination(workspace, domain, destination, limit).await
    }

    async fn list(&self, query: &LinkQuery) -> StorageResult<LinkPage> {
        self.inner.list(query).await
    }

    async fn tags(&self, workspace: Id) -> StorageResult<Vec<(String, u64)>> {
        self.inner.tags(workspace).await
    }

    async fn scan(&self, after: Id, limit: u32) -> StorageResult<Vec<Link>> {
        self.inner.scan(after, limit).await
    }

    async fn hottest(&self, limit: u32) -> StorageResult<Vec<LinkKey>> {
        self.inner.hottest(limit).await
    }

    async fn count(&self) -> StorageResult<u64> {
        self.inner.count().await
    }

    async fn import(
        &self,
        digest: [u8; 16],
        fingerprint: KeyDigest,
        batch: Vec<ImportedLink>,
        act: Option<Act>,
    ) -> StorageResult<BatchAnswer> {
        self.inner.import(digest, fingerprint, batch, act).await
    }

    async fn anonymous(
        &self,
        creator: Id,
        before: Option<Id>,
        limit: u32,
    ) -> StorageResult<(Vec<Link>, u64)> {
        self.inner.anonymous(creator, before, limit).await
    }

    async fn has_foreign_sealed(&self, domain: DomainId) -> StorageResult<bool> {
        self.inner.has_foreign_sealed(domain).await
    }
}

fn change(link: &Link) -> LinkChange {
    LinkChange { key: link.key(), version: Some(link.version) }
}
