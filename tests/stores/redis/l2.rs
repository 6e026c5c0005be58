//! The cache of links that nodes share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use shunt::domain::api_key::KeyDigest;
use shunt::domain::audit::Act;
use shunt::domain::code::{DomainId, LinkKey};
use shunt::domain::id::Id;
use shunt::domain::link::Link;
use shunt::storage::feed::LinkChange;
use shunt::storage::layers::SharedLinks;
use shunt::storage::memory::MemoryStore;
use shunt::storage::{
    BatchAnswer, Claim, ImportedLink, LinkPage, LinkQuery, LinkStore, Replace, StorageResult,
};
use tokio::sync::Semaphore;

use super::{connect, node, prefix, until};
use crate::make::{key, link, next};
use crate::redis_server::RedisServer;
use crate::services::services;

/// Counts how often the store itself is asked for a link.
struct Counted {
    inner: Arc<dyn LinkStore>,
    fetches: AtomicU64,
    /// Reads wait for a place here.
    gate: Semaphore,
}

impl Counted {
    fn new() -> Arc<Self> {
        let gate = Semaphore::new(Semaphore::MAX_PERMITS);
        Arc::new(Self { inner: MemoryStore::new().links, fetches: AtomicU64::new(0), gate })
    }

    fn fetches(&self) -> u64 {
        self.fetches.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl LinkStore for Counted {
    async fn fetch(&self, key: &LinkKey) -> StorageResult<Option<Link>> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        let _place = self.gate.acquire().await.unwrap();
        self.inner.fetch(key).await
    }

    async fn fetch_all(&self, ids: &[Id]) -> StorageResult<Vec<Link>> {
        self.inner.fetch_all(ids).await
    }

    async fn claim(&self, links: Vec<Link>, act: Option<Act>) -> StorageResult<Vec<Claim>> {
        self.inner.claim(links, act).await
    }

    async fn replace(&self, link: Link, act: Option<Act>) -> StorageResult<Replace> {
        self.inner.replace(link, act).await
    }

    async fn relocate(
        &self,
        from: &LinkKey,
        link: Link,
        tombstone_id: Id,
        act: Option<Act>,
    ) -> StorageResult<Replace> {
        self.inner.relocate(from, link, tombstone_id, act).await
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

/// Puts a link into the store itself, of which no Redis knows.
async fn stored(store: &Counted, code: &str) -> Link {
    let made = link(code);
    store.inner.claim(vec![made.clone()], None).await.unwrap();
    made
}

#[tokio::test]
async fn what_one_node_loaded_no_other_asks_the_store_for() {
    let (store, prefix) = (Counted::new(), prefix());
    let shared: Arc<dyn LinkStore> = Arc::clone(&store) as _;
    let made = stored(&store, "spring").await;
    for _ in 0..3 {
        let redis = connect(&services().redis, &prefix).await;
        let (node, _) = node(&redis, &shared);
        assert_eq!(node.fetch(&key("spring")).await.unwrap(), Some(made.clone()));
    }
    assert_eq!(store.fetches(), 1);
}

#[tokio::test]
async fn nodes_that_miss_at_once_ask_the_store_once() {
    let (store, prefix) = (Counted::new(), prefix());
    let shared: Arc<dyn LinkStore> = Arc::clone(&store) as _;
    let made = stored(&store, "spring").await;
    // Nobody gets an answer before all have asked.
    store.gate.forget_permits(Semaphore::MAX_PERMITS);
    let mut nodes = Vec::new();
    for _ in 0..8 {
        nodes.push(node(&connect(&services().redis, &prefix).await, &shared).0);
    }
    let ask = |node: SharedLinks| async move { node.fetch(&key("spring")).await.unwrap() };
    let asked: Vec<_> = nodes.into_iter().map(|node| tokio::spawn(ask(node))).collect();
    until(|| store.fetches() > 0).await;
    store.gate.add_permits(100);
    for answer in asked {
        assert_eq!(answer.await.unwrap(), Some(made.clone()));
    }
    assert_eq!(store.fetches(), 1);
}

#[tokio::test]
async fn a_change_is_what_every_node_loads_next() {
    let (store, prefix) = (Counted::new(), prefix());
    let shared: Arc<dyn LinkStore> = Arc::clone(&store) as _;
    let made = stored(&store, "spring").await;
    let (ours, _) = node(&connect(&services().redis, &prefix).await, &shared);
    let (theirs, _) = node(&connect(&services().redis, &prefix).await, &shared);
    assert_eq!(theirs.fetch(&key("spring")).await.unwrap(), Some(made.clone()));
    let changed = next(&made);
    assert_eq!(ours.replace(changed.clone(), None).await.unwrap(), Replace::Done);
    assert_eq!(theirs.fetch(&key("spring")).await.unwrap(), Some(changed));
    assert_eq!(store.fetches(), 1, "the change itself is in Redis");
}

#[tokio::test]
async fn a_late_load_of_an_old_version_replaces_nothing() {
    let (store, prefix) = (Counted::new(), prefix());
    let shared: Arc<dyn LinkStore> = Arc::clone(&store) as _;
    let made = stored(&store, "spring").await;
    let redis = connect(&services().redis, &prefix).await;
    let (ours, _) = node(&redis, &shared);
    let changed = next(&made);
    assert_eq!(ours.replace(changed.clone(), None).await.unwrap(), Replace::Done);
    // A node whose store is behind: what it loads is older than what is in Redis.
    let behind: Arc<dyn LinkStore> = Counted::new();
    behind.claim(vec![made.clone()], None).await.unwrap();
    let (slow, _) = node(&redis, &behind);
    assert_eq!(slow.fetch_fresh(&key("spring")).await.unwrap(), Some(made));
    assert_eq!(ours.fetch(&key("spring")).await.unwrap(), Some(changed));
}

#[tokio::test]
async fn what_the_feed_told_is_not_taken_from_redis_in_an_older_version() {
    let (store, prefix) = (Counted::new(), prefix());
    let shared: Arc<dyn LinkStore> = Arc::clone(&store) as _;
    let made = stored(&store, "spring").await;
    let (ours, recent) = node(&connect(&services().redis, &prefix).await, &shared);
    assert_eq!(ours.fetch(&key("spring")).await.unwrap(), Some(made.clone()));
    // Changed by a node whose Redis is another one.
    let changed = next(&made);
    assert_eq!(store.inner.replace(changed.clone(), None).await.unwrap(), Replace::Done);
    assert_eq!(ours.fetch(&key("spring")).await.unwrap(), Some(made), "nobody told");
    recent.note(&[LinkChange { key: key("spring"), version: Some(changed.version) }]);
    assert_eq!(ours.fetch(&key("spring")).await.unwrap(), Some(changed));
}

#[tokio::test]
async fn a_change_that_came_too_late_is_tried_again_on_what_the_store_has() {
    let (store, prefix) = (Counted::new(), prefix());
    let shared: Arc<dyn LinkStore> = Arc::clone(&store) as _;
    let made = stored(&store, "spring").await;
    let (ours, _) = node(&connect(&services().redis, &prefix).await, &shared);
    assert_eq!(ours.fetch(&key("spring")).await.unwrap(), Some(made.clone()));
    // By a node that died before it told anybody.
    let changed = next(&made);
    assert_eq!(store.inner.replace(changed.clone(), None).await.unwrap(), Replace::Done);
    assert_eq!(ours.replace(next(&made), None).await.unwrap(), Replace::Stale);
    assert_eq!(ours.fetch(&key("spring")).await.unwrap(), Some(changed.clone()));
    let moved = Link { code: key("moved").code, ..next(&made) };
    let moved = ours.relocate(&key("spring"), moved, Id(1 << 40), None).await;
    assert_eq!(moved.unwrap(), Replace::Stale);
    assert_eq!(ours.replace(next(&changed), None).await.unwrap(), Replace::Done);
}

#[tokio::test]
async fn what_is_about_to_change_is_asked_of_the_store() {
    let (store, prefix) = (Counted::new(), prefix());
    let shared: Arc<dyn LinkStore> = Arc::clone(&store) as _;
    let made = stored(&store, "spring").await;
    let (ours, recent) = node(&connect(&services().redis, &prefix).await, &shared);
    ours.fetch(&key("spring")).await.unwrap();
    let told = |version| [LinkChange { key: key("spring"), version }];
    recent.note(&told(None));
    for fetches in 2..4 {
        ours.fetch(&key("spring")).await.unwrap();
        assert_eq!(store.fetches(), fetches);
    }
    recent.note(&told(Some(made.version)));
    ours.fetch(&key("spring")).await.unwrap();
    assert_eq!(store.fetches(), 3);
}

#[tokio::test]
async fn without_redis_the_store_is_asked() {
    let store = Counted::new();
    let shared: Arc<dyn LinkStore> = Arc::clone(&store) as _;
    let made = stored(&store, "spring").await;
    let mut server = RedisServer::start();
    let redis = connect(&server.url(), "p").await;
    let (ours, _) = node(&redis, &shared);
    server.freeze();
    assert_eq!(ours.fetch(&key("spring")).await.unwrap(), Some(made.clone()));
    until(|| !redis.is_up()).await;
    server.kill();
    assert_eq!(ours.fetch(&key("spring")).await.unwrap(), Some(made.clone()));
    let changed = next(&made);
    assert_eq!(ours.replace(changed.clone(), None).await.unwrap(), Replace::Done);
    assert_eq!(ours.fetch(&key("spring")).await.unwrap(), Some(changed));
}

#[tokio::test]
async fn a_change_that_redis_was_not_told_of_is_not_undone_by_its_return() {
    let store = Counted::new();
    let shared: Arc<dyn LinkStore> = Arc::clone(&store) as _;
    let made = stored(&store, "spring").await;
    let mut server = RedisServer::start();
    let redis = connect(&server.url(), "p").await;
    let (ours, _) = node(&redis, &shared);
    ours.fetch(&key("spring")).await.unwrap();
    server.save();
    server.kill();
    let changed = next(&made);
    assert_eq!(ours.replace(changed.clone(), None).await.unwrap(), Replace::Done);
    until(|| !redis.is_up()).await;
    // It comes back with what it had.
    server.run();
    until(|| redis.is_up()).await;
    let (theirs, _) = node(&connect(&server.url(), "p").await, &shared);
    assert_eq!(theirs.fetch(&key("spring")).await.unwrap(), Some(changed.clone()));
    assert_eq!(ours.fetch(&key("spring")).await.unwrap(), Some(changed));
}

#[tokio::test]
async fn an_absence_is_shared_until_somebody_claims_the_code() {
    let (store, prefix) = (Counted::new(), prefix());
    let shared: Arc<dyn LinkStore> = Arc::clone(&store) as _;
    let (ours, _) = node(&connect(&services().redis, &prefix).await, &shared);
    let (theirs, _) = node(&connect(&services().redis, &prefix).await, &shared);
    assert_eq!(ours.fetch(&key("spring")).await.unwrap(), None);
    let made = link("spring");
    assert_eq!(ours.claim(vec![made.clone()], None).await.unwrap(), [Claim::Won]);
    assert_eq!(theirs.fetch(&key("spring")).await.unwrap(), Some(made));
    assert_eq!(store.fetches(), 1);
}
