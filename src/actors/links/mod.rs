//! The link table: readers look, owners write.
//!
//! A read that hits touches the map and nothing else. A miss, a change, an eviction goes to the
//! owner of the code, a `LinkShard` actor, which orders all work on a code. A node that is the
//! store's only writer and has loaded every link knows that a miss is an absence and does not ask
//! the store (`LinkTableParts::sole_writer`); it stops knowing with the first eviction.

mod config;
mod flight;
mod foreign;
mod grants;
mod key;
mod limits;
mod messages;
mod negative;
mod reports;
mod ring;
mod shard;
mod shared;
mod slice;
mod table;
#[cfg(test)]
mod tests;
mod warm;
mod work;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use actix::{Arbiter, Handler, Message};
use actix_rt::ArbiterHandle;
use async_trait::async_trait;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tracing::warn;

pub use config::LinksConfig;
pub use messages::ShardReport;

use self::grants::Grants;
use self::key::Key;
use self::messages::{Asker, Change, ForgetAll, Heard, Inspect, Job, Load, Run};
use self::shard::LinkShard;
use self::shared::{Counts, Lane, Shared, lost};
use self::table::Table;
use crate::actors::clicks::ClickSink;
use crate::domain::api_key::KeyDigest;
use crate::domain::audit::Act;
use crate::domain::code::{DomainId, LinkKey};
use crate::domain::destination::DestinationPolicy;
use crate::domain::hot::{Allowance, HotLink};
use crate::domain::id::Id;
use crate::domain::link::Link;
use crate::domain::seal::Sealer;
use crate::domain::time::Timestamp;
use crate::storage::feed::LinkChange;
use crate::storage::grants::GrantStore;
use crate::storage::patience::{self, Carried};
use crate::storage::{
    BatchAnswer, Claim, ImportedLink, LinkStore, Op, Replace, StorageError, StorageErrorKind,
    StorageResult,
};
use crate::telemetry::metrics::Metrics;

/// A link may be evicted between its load and the look at it; it is asked for again this often.
const LOOKS_MAX: usize = 3;

/// How long a stop waits for unused clicks of limited links to be given back.
const GIVE_BACK_MAX: Duration = Duration::from_secs(3);

type Answer<T> = oneshot::Receiver<Result<T, LoadError>>;

/// Why a link could not be had. The caller answers 503.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LoadError {
    #[error("too many loads are under way")]
    Overloaded,
    #[error("the link was not loaded within {0:?}")]
    TimedOut(Duration),
    #[error(transparent)]
    Storage(#[from] Arc<StorageError>),
}

impl LoadError {
    /// There is something at this code, and the store cannot tell what. Waiting does not help.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Storage(cause) if cause.kind == StorageErrorKind::Damaged)
    }
}

/// Tells how often links with a click limit were clicked.
#[async_trait]
pub trait ClickCounts: Send + Sync + 'static {
    /// Resolves when the clicks of earlier processes are counted.
    async fn recovered(&self);

    /// Clicks per link, in order, those not yet in the store included.
    async fn clicks(&self, links: &[Id]) -> StorageResult<Vec<u64>>;
}

/// Everything the table needs to start.
pub struct LinkTableParts {
    pub config: LinksConfig,
    pub store: Arc<dyn LinkStore>,
    /// Asked only for links with a click limit.
    pub clicks: Arc<dyn ClickCounts>,
    pub policy: DestinationPolicy,
    pub sealer: Sealer,
    pub metrics: Arc<Metrics>,
    /// Nobody else writes links to the store: a table that holds all of them may answer a miss
    /// without asking. True for a single node.
    pub sole_writer: bool,
    /// How nodes share what links with a click limit may take. `None`: this one has all of it.
    pub grants: Option<Arc<dyn GrantStore>>,
}

/// The public face of the link actors. Clones share one table.
#[derive(Clone)]
pub struct LinkTable {
    shared: Arc<Shared>,
    /// Threads of our own, ended by `stop`.
    arbiters: Arc<[ArbiterHandle]>,
}

/// What a warm start did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Warmed {
    pub links: u64,
    /// Every link of the store is in memory.
    pub complete: bool,
}

impl LinkTable {
    /// Starts the shards on arbiters of their own. Call inside an actix `System`.
    pub fn start(parts: LinkTableParts) -> Self {
        let threads = parts.config.threads.clamp(1, parts.config.shards.max(1));
        let arbiters: Arc<[ArbiterHandle]> =
            (0..threads).map(|_| Arbiter::new().handle()).collect();
        let shared = start_shards(parts, &arbiters);
        Self { shared, arbiters }
    }

    /// Starts all shards on an arbiter of the caller, which goes on after `stop`.
    pub fn start_on(parts: LinkTableParts, arbiter: &ArbiterHandle) -> Self {
        let shared = start_shards(parts, std::slice::from_ref(arbiter));
        Self { shared, arbiters: Arc::new([]) }
    }

    /// Looks at a link in memory: no lock, no message, no await. `code` is compared byte for byte;
    /// malformed codes are simply absent.
    #[inline]
    pub fn read<R>(
        &self,
        domain: DomainId,
        code: &[u8],
        look: impl FnOnce(&HotLink) -> R,
    ) -> Option<R> {
        self.shared.table.read(domain, code, look)
    }

    /// Whether somebody else may have changed what `read` finds without this node having heard.
    #[inline]
    pub fn may_be_stale(&self) -> bool {
        self.shared.may_be_stale.load(Ordering::Relaxed)
    }

    pub fn set_may_be_stale(&self, may_be: bool) {
        self.shared.may_be_stale.store(may_be, Ordering::Relaxed);
    }

    /// Looks at a link that `read` did not find: asks its owner, who asks the store, once per code
    /// however many wait. `None`: there is no such link. A deleted link is absent.
    pub async fn load<R>(
        &self,
        key: LinkKey,
        look: impl FnOnce(&HotLink) -> R,
    ) -> Result<Option<R>, LoadError> {
        let wait_max = self.shared.config.load_wait_max.0;
        let loaded = timeout(wait_max, self.load_patiently(key, look)).await;
        let result = loaded.unwrap_or(Err(LoadError::TimedOut(wait_max)));
        match &result {
            Err(LoadError::TimedOut(_)) => self.shared.counts.timed_out.inc(),
            Err(LoadError::Overloaded) => self.shared.counts.overloaded.inc(),
            Ok(_) | Err(LoadError::Storage(_)) => 0,
        };
        result
    }

    async fn load_patiently<R>(
        &self,
        link: LinkKey,
        look: impl FnOnce(&HotLink) -> R,
    ) -> Result<Option<R>, LoadError> {
        let key = Key::from(&link);
        let shard = self.shared.table.owner(&key);
        let mut look = Some(look);
        for _ in 0..LOOKS_MAX {
            let seen = self.shared.table.peek(&key, |hot| look.take().map(|look| look(hot)));
            if let Some(seen) = seen {
                return Ok(seen);
            }
            if self.shared.lane(shard).is_complete() || self.is_refused(&link).await? {
                return Ok(None);
            }
            let (reply, answer) = oneshot::channel();
            self.send(shard, Load { link, key: key.clone(), reply })?;
            if !answer.await.unwrap_or_else(|_| Err(lost()))? {
                return Ok(None);
            }
        }
        Err(LoadError::Overloaded)
    }

    /// A code of sealed shape that no key opens does not exist, unless its domain imported such.
    async fn is_refused(&self, link: &LinkKey) -> Result<bool, LoadError> {
        if !link.code.has_sealed_shape() || self.shared.sealer.open(&link.code).is_some() {
            return Ok(false);
        }
        let store = self.shared.store.as_ref();
        let marked = self.shared.foreign.is_marked(link.domain, store).await;
        marked.map(|marked| !marked).map_err(LoadError::from)
    }

    /// Stores new links and puts them into the table; one answer per link. Goes on when the caller
    /// is dropped. The audit log tells of all changes here as `act`.
    pub async fn create(
        &self,
        links: Vec<Link>,
        act: Option<Act>,
    ) -> Result<Vec<Claim>, LoadError> {
        let Some(first) = links.first() else {
            return Ok(Vec::new());
        };
        let shard = self.shared.table.owner(&Key::from(&first.key()));
        let (asker, answer) = self.asker()?;
        let work = work::create(Arc::clone(&self.shared), links, act, asker);
        self.send(shard, Run(Box::pin(patience::carried(work))))?;
        answered("create_links", answer).await
    }

    /// Replaces a link (`version` counted up by the caller), in order with other work on its code.
    /// When it answers `Done`, this node serves the new state.
    pub async fn replace(&self, link: Link, act: Option<Act>) -> Result<Replace, LoadError> {
        let at = link.key();
        let (asker, answer) = self.asker()?;
        self.change(at, Job::Replace { link: Box::new(link), act, asker })?;
        answered("replace_link", answer).await
    }

    /// Moves a link to the code in `link`; see `LinkStore::relocate`.
    pub async fn relocate(
        &self,
        from: LinkKey,
        link: Link,
        tombstone_id: Id,
        act: Option<Act>,
    ) -> Result<Replace, LoadError> {
        let (asker, answer) = self.asker()?;
        let (link, tombstone) = (Box::new(link), tombstone_id);
        self.change(from, Job::Relocate { link, tombstone, act, asker })?;
        answered("relocate_link", answer).await
    }

    /// What the limited link at `key` may still take, loaded if need be; for as long as it is held,
    /// no other allowance of that link begins. `None`: no such link, or one without a limit.
    pub async fn allowance(&self, key: LinkKey) -> Result<Option<Arc<Allowance>>, LoadError> {
        let look = |link: &HotLink| link.rare().and_then(|rare| rare.allowance.clone());
        Ok(self.load(key, look).await?.flatten())
    }

    /// Gives a limited link all of its clicks again, after they were erased.
    pub async fn refill(&self, link: Id) -> Result<(), LoadError> {
        self.shared.limits.refill(link).await
    }

    /// Gets clicks for a limited link whose allowance has none and is not known to be spent, from
    /// what it shares with other nodes. Afterwards it has some, or is known to be spent, or the
    /// link is to be loaded again.
    pub async fn replenish(&self, link: Id, now: Timestamp) -> Result<(), LoadError> {
        let wait_max = self.shared.config.load_wait_max.0;
        let replenished = timeout(wait_max, self.shared.limits.replenish(link, now)).await;
        replenished.unwrap_or(Err(LoadError::TimedOut(wait_max)))
    }

    /// Imports a batch; see `LinkStore::import`.
    pub async fn import(
        &self,
        digest: [u8; 16],
        fingerprint: KeyDigest,
        batch: Vec<ImportedLink>,
        act: Option<Act>,
    ) -> Result<BatchAnswer, LoadError> {
        let Some(first) = batch.first() else {
            let answer = self.shared.store.import(digest, fingerprint, batch, act).await;
            return answer.map_err(LoadError::from);
        };
        let shard = self.shared.table.owner(&Key::from(&first.link.key()));
        let (asker, answer) = self.asker()?;
        let work = work::import(Arc::clone(&self.shared), (digest, fingerprint, act), batch, asker);
        self.send(shard, Run(Box::pin(patience::carried(work))))?;
        answered("import_links", answer).await
    }

    /// Loads the hottest links first, then as many as fit. Resolves when the hottest are in.
    /// Call once, before the table is used.
    pub async fn warm(&self) -> Result<Warmed, LoadError> {
        match warm::hottest(&self.shared).await {
            Ok(links) => {
                actix_rt::spawn(warm::rest(Arc::clone(&self.shared)));
                Ok(Warmed { links, complete: false })
            }
            Err(error) => {
                warm::end(&self.shared, false).await;
                Err(error)
            }
        }
    }

    /// Resolves when the warm start has loaded all that fits.
    pub async fn warmed(&self) -> Warmed {
        let mut warmed = self.shared.warmed.subscribe();
        let seen = warmed.wait_for(Option::is_some).await;
        seen.ok().and_then(|seen| *seen).unwrap_or_default()
    }

    /// Takes over changes that somebody else made, or is about to make. What is in memory is served
    /// until the store has told.
    pub async fn heard(&self, changes: &[LinkChange]) {
        for LinkChange { key: link, version } in changes {
            let key = Key::from(link);
            let shard = self.shared.table.owner(&key);
            let heard = Heard { key, link: *link, version: *version };
            // Waits for a place: what is lost here nobody tells again. An error: the shard is gone.
            let _stopped = self.shared.addr(shard).send(heard).await;
        }
    }

    /// Takes every link out of memory; each is loaded again when it is asked for.
    pub async fn forget_all(&self) {
        for shard in 0..self.shared.lanes.len() {
            let _stopped = self.shared.addr(shard).send(ForgetAll).await;
        }
    }

    /// Every shard as it is right now.
    pub async fn inspect(&self) -> Vec<ShardReport> {
        let mut reports = Vec::with_capacity(self.shared.lanes.len());
        for shard in 0..self.shared.lanes.len() {
            if let Ok(report) = self.shared.addr(shard).send(Inspect).await {
                reports.push(report);
            }
        }
        reports
    }

    /// Waits for the writes under way, then ends the shards. Send nothing afterwards.
    pub async fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        let mut writes = self.shared.writes.subscribe();
        if writes.wait_for(|n| *n == 0).await.is_err() {
            warn!("the count of writes was lost");
        }
        if timeout(GIVE_BACK_MAX, self.shared.limits.give_back()).await.is_err() {
            warn!("unused clicks of limited links were not given back in time");
        }
        for arbiter in self.arbiters.iter() {
            arbiter.stop();
        }
    }

    fn asker<T>(&self) -> Result<(Asker<T>, Answer<T>), LoadError> {
        let (reply, answer) = oneshot::channel();
        let (guard, patience) = (self.shared.begin_write()?, Carried::here());
        Ok((Asker { reply, guard, patience }, answer))
    }

    fn change(&self, link: LinkKey, job: Job) -> Result<(), LoadError> {
        let key = Key::from(&link);
        let shard = self.shared.table.owner(&key);
        self.send(shard, Change { key, link, job })
    }

    /// Puts a message into a shard's mailbox, if there is room.
    fn send<M>(&self, shard: usize, message: M) -> Result<(), LoadError>
    where
        M: Message<Result = ()> + Send + 'static,
        LinkShard: Handler<M>,
    {
        let lane = self.shared.lane(shard);
        if !lane.enter(self.shared.config.mailbox_max) {
            return Err(LoadError::Overloaded);
        }
        self.shared.addr(shard).try_send(message).map_err(|refused| {
            lane.leave();
            match refused {
                actix::prelude::SendError::Full(_) => LoadError::Overloaded,
                actix::prelude::SendError::Closed(_) => lost(),
            }
        })
    }
}

#[async_trait]
impl ClickCounts for ClickSink {
    async fn recovered(&self) {
        Self::recovered(self).await;
    }

    async fn clicks(&self, links: &[Id]) -> StorageResult<Vec<u64>> {
        let totals = self.totals(links).await?;
        Ok(totals.iter().map(|total| total.clicks).collect())
    }
}

/// Waits for the answer to a write, which goes on when nobody waits any more.
async fn answered<T>(op: Op, answer: Answer<T>) -> Result<T, LoadError> {
    patience::answered(op, answer).await?.unwrap_or_else(|_| Err(lost()))
}

impl From<StorageError> for LoadError {
    fn from(error: StorageError) -> Self {
        Self::Storage(Arc::new(error))
    }
}

fn start_shards(parts: LinkTableParts, arbiters: &[ArbiterHandle]) -> Arc<Shared> {
    let shards = parts.config.shards;
    let grants = parts.grants.map(|store| Grants::new(store, Arc::clone(&parts.clicks)));
    let shared = Arc::new(Shared {
        table: Table::new(shards),
        may_be_stale: AtomicBool::new(false),
        lanes: (0..shards).map(|index| Lane::new(index, &parts.metrics)).collect(),
        counts: Counts::new(&parts.metrics),
        config: parts.config,
        store: parts.store,
        clicks: parts.clicks,
        policy: parts.policy,
        sealer: parts.sealer,
        sole_writer: parts.sole_writer,
        limits: limits::Limits::new(grants),
        foreign: foreign::ForeignSealed::default(),
        loads: AtomicUsize::new(0),
        writes: watch::Sender::new(0),
        warmed: watch::Sender::new(None),
        stopping: AtomicBool::new(false),
    });
    for (index, lane) in shared.lanes.iter().enumerate() {
        let arbiter = &arbiters[index % arbiters.len()];
        lane.addr.get_or_init(|| LinkShard::start_on(arbiter, index, Arc::clone(&shared)));
    }
    shared
}
