//! A store in memory that counts, waits, fails and panics when told to.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::sync::Semaphore;

use crate::actors::links::ClickCounts;
use crate::domain::api_key::KeyDigest;
use crate::domain::audit::Act;
use crate::domain::code::{DomainId, LinkKey};
use crate::domain::id::Id;
use crate::domain::link::{Link, LinkStatus};
use crate::storage::{
    BatchAnswer, Claim, Imported, ImportedLink, LinkPage, LinkQuery, LinkStore, Replace,
    StorageError, StorageErrorKind, StorageResult,
};

#[derive(Default)]
pub(super) struct FakeStore {
    links: Mutex<BTreeMap<LinkKey, Link>>,
    by_id: Mutex<BTreeMap<Id, LinkKey>>,
    failure: Mutex<Option<StorageErrorKind>>,
    pub(super) fetches: AtomicUsize,
    writes: AtomicUsize,
    pub(super) scans: AtomicUsize,
    pub(super) foreign_asked: AtomicUsize,
    pub(super) foreign: AtomicBool,
    /// The next fetch panics before it returns a future.
    pub(super) panics: AtomicBool,
    /// The next write is applied, and then no answer comes.
    pub(super) loses_answer: AtomicBool,
    /// Seed of a random number of turns that every operation gives away; zero: none.
    jitter: AtomicU64,
    fetch_gate: Mutex<Option<Arc<Semaphore>>>,
    write_gate: Mutex<Option<Arc<Semaphore>>>,
    scan_gate: Mutex<Option<Arc<Semaphore>>>,
}

/// Holds operations back until it is opened.
pub(super) struct Gate(Arc<Semaphore>);

impl Gate {
    pub(super) fn open(&self) {
        self.0.add_permits(Semaphore::MAX_PERMITS / 2);
    }
}

impl FakeStore {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A store that holds these links.
    pub(super) fn with(links: impl IntoIterator<Item = Link>) -> Arc<Self> {
        let store = Self::new();
        links.into_iter().for_each(|link| store.put(link));
        store
    }

    pub(super) fn put(&self, link: Link) {
        self.by_id.lock().unwrap().insert(link.id, link.key());
        self.links.lock().unwrap().insert(link.key(), link);
    }

    pub(super) fn n_fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }

    pub(super) fn n_writes(&self) -> usize {
        self.writes.load(Ordering::SeqCst)
    }

    pub(super) fn fail(&self, kind: Option<StorageErrorKind>) {
        *self.failure.lock().unwrap() = kind;
    }

    /// Fetches read at once and answer when the gate is opened.
    pub(super) fn hold_fetches(&self) -> Gate {
        hold(&self.fetch_gate)
    }

    /// Writes are applied when the gate is opened.
    pub(super) fn hold_writes(&self) -> Gate {
        hold(&self.write_gate)
    }

    /// Scans read at once and answer when the gate is opened.
    pub(super) fn hold_scans(&self) -> Gate {
        hold(&self.scan_gate)
    }

    /// Operations take a random number of turns from now on.
    pub(super) fn jitter(&self, seed: u64) {
        self.jitter.store(seed, Ordering::SeqCst);
    }

    async fn dawdle(&self) {
        let seed = self.jitter.load(Ordering::SeqCst);
        if seed == 0 {
            return;
        }
        let next =
            seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.jitter.store(next | 1, Ordering::SeqCst);
        for _ in 0..(next >> 33) % 8 {
            tokio::task::yield_now().await;
        }
    }

    fn check(&self, op: &'static str) -> StorageResult<()> {
        match *self.failure.lock().unwrap() {
            Some(kind) => Err(StorageError::new(kind, op, "told to fail")),
            None => Ok(()),
        }
    }

    fn answered<T>(&self, answer: T) -> StorageResult<T> {
        if self.loses_answer.swap(false, Ordering::SeqCst) {
            return Err(StorageError::new(StorageErrorKind::Timeout, "write", "told to be silent"));
        }
        Ok(answer)
    }

    fn claim_one(&self, link: Link) -> Claim {
        if self.links.lock().unwrap().contains_key(&link.key()) {
            return Claim::Taken;
        }
        self.put(link);
        Claim::Won
    }

    fn is_at(&self, key: &LinkKey, version: u32) -> bool {
        self.links.lock().unwrap().get(key).is_some_and(|link| link.version == version)
    }
}

fn hold(gate: &Mutex<Option<Arc<Semaphore>>>) -> Gate {
    let semaphore = Arc::new(Semaphore::new(0));
    *gate.lock().unwrap() = Some(Arc::clone(&semaphore));
    Gate(semaphore)
}

async fn pass(gate: &Mutex<Option<Arc<Semaphore>>>) {
    let semaphore = gate.lock().unwrap().clone();
    if let Some(semaphore) = semaphore {
        let _permit = semaphore.acquire().await.unwrap();
    }
}

#[async_trait]
impl LinkStore for FakeStore {
    async fn fetch_all(&self, ids: &[Id]) -> StorageResult<Vec<Link>> {
        let links = self.links.lock().unwrap();
        Ok(links.values().filter(|link| ids.contains(&link.id)).cloned().collect())
    }

    fn fetch<'s, 'a, 'f>(
        &'s self,
        key: &'a LinkKey,
    ) -> std::pin::Pin<Box<dyn Future<Output = StorageResult<Option<Link>>> + Send + 'f>>
    where
        's: 'f,
        'a: 'f,
    {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        assert!(!self.panics.swap(false, Ordering::SeqCst), "told to panic");
        Box::pin(async move {
            self.check("fetch")?;
            let link = self.links.lock().unwrap().get(key).cloned();
            pass(&self.fetch_gate).await;
            self.dawdle().await;
            Ok(link)
        })
    }

    async fn claim(&self, links: Vec<Link>, _act: Option<Act>) -> StorageResult<Vec<Claim>> {
        self.check("claim")?;
        self.dawdle().await;
        pass(&self.write_gate).await;
        let claims = links.into_iter().map(|link| self.claim_one(link)).collect();
        self.dawdle().await;
        self.answered(claims)
    }

    async fn replace(&self, link: Link, _act: Option<Act>) -> StorageResult<Replace> {
        self.check("replace")?;
        self.writes.fetch_add(1, Ordering::SeqCst);
        self.dawdle().await;
        pass(&self.write_gate).await;
        if !self.is_at(&link.key(), link.version - 1) {
            return Ok(Replace::Stale);
        }
        self.put(link);
        self.dawdle().await;
        self.answered(Replace::Done)
    }

    async fn relocate(
        &self,
        from: &LinkKey,
        link: Link,
        stays: Id,
        _act: Option<Act>,
    ) -> StorageResult<Replace> {
        self.check("relocate")?;
        self.dawdle().await;
        pass(&self.write_gate).await;
        if !self.is_at(from, link.version - 1) {
            return Ok(Replace::Stale);
        }
        if self.links.lock().unwrap().contains_key(&link.key()) {
            return Ok(Replace::Taken);
        }
        let left = Link { id: stays, code: from.code, status: LinkStatus::Deleted, ..link.clone() };
        self.put(left);
        self.put(link);
        self.dawdle().await;
        self.answered(Replace::Done)
    }

    async fn find_by_destination(
        &self,
        _workspace: Id,
        _domain: DomainId,
        _destination: &str,
        _limit: u32,
    ) -> StorageResult<Vec<Link>> {
        Ok(Vec::new())
    }

    async fn list(&self, _query: &LinkQuery) -> StorageResult<LinkPage> {
        Ok(LinkPage::default())
    }

    async fn tags(&self, _workspace: Id) -> StorageResult<Vec<(String, u64)>> {
        Ok(Vec::new())
    }

    async fn scan(&self, after: Id, limit: u32) -> StorageResult<Vec<Link>> {
        self.check("scan")?;
        self.scans.fetch_add(1, Ordering::SeqCst);
        let links: Vec<Link> = {
            let (links, by_id) = (self.links.lock().unwrap(), self.by_id.lock().unwrap());
            let ids = by_id.range(Id(after.0 + 1)..).take(limit as usize);
            ids.filter_map(|(id, key)| links.get(key).filter(|link| link.id == *id))
                .cloned()
                .collect()
        };
        self.dawdle().await;
        pass(&self.scan_gate).await;
        Ok(links)
    }

    async fn hottest(&self, limit: u32) -> StorageResult<Vec<LinkKey>> {
        self.check("hottest")?;
        Ok(self.links.lock().unwrap().keys().take(limit as usize).copied().collect())
    }

    async fn count(&self) -> StorageResult<u64> {
        self.check("count")?;
        Ok(self.links.lock().unwrap().len() as u64)
    }

    async fn import(
        &self,
        _digest: [u8; 16],
        _fingerprint: KeyDigest,
        batch: Vec<ImportedLink>,
        _act: Option<Act>,
    ) -> StorageResult<BatchAnswer> {
        self.check("import")?;
        self.dawdle().await;
        pass(&self.write_gate).await;
        let rows = batch.into_iter().map(|row| match self.claim_one(row.link) {
            Claim::Won => Imported::Created,
            Claim::Taken | Claim::ExternalIdTaken => Imported::Taken,
        });
        let rows = rows.collect();
        self.dawdle().await;
        self.answered(BatchAnswer::New(rows))
    }

    async fn anonymous(
        &self,
        _creator: Id,
        _before: Option<Id>,
        _limit: u32,
    ) -> StorageResult<(Vec<Link>, u64)> {
        Ok(Default::default())
    }

    async fn has_foreign_sealed(&self, _domain: DomainId) -> StorageResult<bool> {
        self.check("has_foreign_sealed")?;
        self.foreign_asked.fetch_add(1, Ordering::SeqCst);
        Ok(self.foreign.load(Ordering::SeqCst))
    }
}

/// Counts of clicks as a test sets them.
pub(super) struct FakeClicks {
    clicks: Mutex<HashMap<Id, u64>>,
    pub(super) asked: AtomicUsize,
    recovered: Semaphore,
}

impl FakeClicks {
    /// Recovered from the start.
    pub(super) fn new() -> Arc<Self> {
        let clicks = Self::recovering();
        clicks.finish_recovery();
        clicks
    }

    /// Still counting what an earlier process left.
    pub(super) fn recovering() -> Arc<Self> {
        Arc::new(Self {
            clicks: Mutex::default(),
            asked: AtomicUsize::new(0),
            recovered: Semaphore::new(0),
        })
    }

    pub(super) fn finish_recovery(&self) {
        self.recovered.add_permits(1_000_000);
    }

    pub(super) fn set(&self, link: u64, clicks: u64) {
        self.clicks.lock().unwrap().insert(Id(link), clicks);
    }
}

#[async_trait]
impl ClickCounts for FakeClicks {
    async fn recovered(&self) {
        let _permit = self.recovered.acquire().await.unwrap();
    }

    async fn clicks(&self, links: &[Id]) -> StorageResult<Vec<u64>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let clicks = self.clicks.lock().unwrap();
        Ok(links.iter().map(|link| clicks.get(link).copied().unwrap_or(0)).collect())
    }
}
