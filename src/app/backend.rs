//! The store behind the ports: the embedded one of this node, or a database that nodes share.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tracing::{info, warn};

use super::open::{JOURNAL_FOLDER, Sharing};
use crate::config::Settings;
use crate::domain::audit::AuditKey;
use crate::domain::time::Clock;
use crate::storage::embedded::{Embedded, Mode, database_file};
use crate::storage::feed::ChangeFeed;
use crate::storage::grants::GrantStore;
use crate::storage::layers::{self, SharedLinks};
use crate::storage::lock::StoreLock;
use crate::storage::moving::Move;
use crate::storage::recent::Recent;
use crate::storage::redis::{COMMAND_TIMEOUT, Redis, RedisFeed, RedisLinks};
use crate::storage::scylla::{Cql, CqlConfig, CqlFeed};
use crate::storage::secrets::{self, Secrets};
use crate::storage::{NodeStore, Stores};
use crate::telemetry::metrics::Metrics;

/// How often the number of this node is renewed: often enough that an outage of minutes costs none.
const RENEW_EVERY: Duration = Duration::from_secs(60);
/// How soon it is tried again.
const RENEW_AGAIN: Duration = Duration::from_secs(2);

/// A store that is open.
pub(super) struct Backend {
    pub(super) stores: Stores,
    pub(super) secrets: Secrets,
    pub(super) node: NodeLease,
    pub(super) cluster: Option<Cluster>,
    /// Closed at the end, also when somebody on another thread still holds a port of it.
    pub(super) embedded: Option<Embedded>,
    pub(super) cql: Option<Cql>,
    /// Held until everything else is closed.
    pub(super) lock: Option<StoreLock>,
}

/// What a node has that is one of several.
pub struct Cluster {
    /// Feeds of changes, with the names that logs have for them.
    pub feeds: Vec<(&'static str, Arc<dyn ChangeFeed>)>,
    /// What changed of late.
    pub recent: Arc<Recent>,
    pub redis: Option<Redis>,
    /// What links with a click limit may take.
    pub grants: Arc<dyn GrantStore>,
}

/// The number of this node among all.
#[derive(Clone)]
pub struct NodeLease {
    pub number: u16,
    holder: u64,
    store: Arc<dyn NodeStore>,
}

impl NodeLease {
    async fn take(store: Arc<dyn NodeStore>, wanted: Option<u16>) -> Result<Self> {
        let mut holder = [0; 8];
        getrandom::fill(&mut holder).context("choosing a name for this process")?;
        let holder = u64::from_le_bytes(holder);
        let leased = store.lease_node(wanted, holder).await.context("taking a node number")?;
        match (leased, wanted) {
            (Some(number), _) => Ok(Self { number, holder, store }),
            (None, Some(wanted)) => bail!(
                "another node has the number {wanted}; set another `node.id`, or none, or wait ten \
                 minutes when that node is gone for good"
            ),
            (None, None) => bail!("all 1,024 node numbers are taken"),
        }
    }

    /// Keeps the number for as long as it is polled. Ends when another process had it.
    pub async fn keep(&self) {
        let mut wait = RENEW_EVERY;
        loop {
            tokio::time::sleep(wait).await;
            wait = match self.store.renew_node(self.number, self.holder).await {
                Ok(true) => RENEW_EVERY,
                Ok(false) => return,
                Err(error) => {
                    warn!(%error, "the number of this node was not renewed");
                    RENEW_AGAIN
                }
            };
        }
    }

    /// Gives it back, so that the next process finds it free.
    pub async fn release(&self) {
        if let Err(error) = self.store.release_node(self.number, self.holder).await {
            warn!(%error, "the number of this node was not given back");
        }
    }
}

/// Opens the embedded store at `storage.path`, and makes it if it is new.
pub(super) async fn embedded(
    settings: &Settings,
    sharing: Sharing,
    metrics: &Arc<Metrics>,
) -> Result<Backend> {
    let path = &settings.storage.path;
    let lock = match sharing {
        Sharing::Alone => Some(take_lock(settings)?),
        Sharing::WithServer => None,
    };
    let mode = match sharing {
        Sharing::Alone => Mode::Create,
        Sharing::WithServer => Mode::Existing,
    };
    match sharing {
        Sharing::Alone => refuse_lost_store(path)?,
        Sharing::WithServer => refuse_no_store(path)?,
    }
    let embedded = Embedded::open_with(path, mode, &settings.storage.embedded())
        .with_context(|| format!("opening the store in {}", path.display()))?;
    refuse_unfinished(embedded.moved().await.context("reading the store")?)?;
    let stores = layers::metered(embedded.stores(), "embedded", metrics);
    // After the store: a first start that is cut short leaves what the next one can go on from.
    let is_new = stores.accounts.operator_workspace().await.context("reading the store")?.is_none();
    let secrets = match is_new && sharing == Sharing::Alone {
        true => Secrets::open_or_create(path),
        false => Secrets::open(path),
    };
    let secrets = secrets.with_context(|| format!("opening the keys in {}", path.display()))?;
    embedded.seal_audit_log(AuditKey::of(&secrets.api_keys));
    let node = NodeLease::take(Arc::clone(&stores.nodes), settings.node.id).await?;
    Ok(Backend { stores, secrets, node, cluster: None, embedded: Some(embedded), cql: None, lock })
}

/// Opens a CQL database, with Redis beside it where there is one.
pub(super) async fn database(
    settings: &Settings,
    config: &CqlConfig,
    sharing: Sharing,
    (metrics, clock): (&Arc<Metrics>, &Arc<dyn Clock>),
) -> Result<Backend> {
    // The journal is this node's own.
    let lock = match sharing {
        Sharing::Alone => Some(take_lock(settings)?),
        Sharing::WithServer => None,
    };
    let shown = config.nodes.join(", ");
    let cql = Box::pin(Cql::open(config))
        .await
        .with_context(|| format!("opening the database at {shown}"))?;
    refuse_unfinished(cql.moved().await.context("reading the database")?)?;
    let secrets = cql.secrets(|| anyhow::Ok(Secrets::generate()?.to_text())).await?;
    let secrets = Secrets::from_text(&secrets)
        .map_err(|reason| anyhow::anyhow!("the keys in the database are malformed: {reason}"))?;
    let node = NodeLease::take(Arc::new(cql.clone()), settings.node.id).await?;
    cql.seal_audit_log(AuditKey::of(&secrets.api_keys));
    meter_audit_log(&cql, metrics);
    let stores = layers::metered(cql.stores(node.number), "cql", metrics);
    let grants = Arc::new(cql.clone());
    let feed =
        CqlFeed::new(cql.clone(), Arc::clone(clock)).context("naming the feed of this node")?;
    let mut feeds: Vec<(&'static str, Arc<dyn ChangeFeed>)> = vec![("cql", Arc::new(feed))];
    let redis = match &settings.redis.url {
        Some(url) => {
            let ca_file = settings.redis.ca_file.as_deref();
            let redis = Redis::start(url, ca_file, &config.keyspace, COMMAND_TIMEOUT);
            Some(redis.context("starting Redis")?)
        }
        None => None,
    };
    if let Some(redis) = &redis {
        // First, because it is the faster one.
        feeds.insert(0, ("redis", Arc::new(RedisFeed::new(redis.clone()))));
    }
    let recent = Arc::new(Recent::default());
    let links = SharedLinks {
        inner: Arc::clone(&stores.links),
        cache: redis.clone().map(|redis| Arc::new(RedisLinks::new(redis)) as _),
        feeds: feeds.iter().map(|(_, feed)| Arc::clone(feed)).collect(),
        recent: Arc::clone(&recent),
    };
    let stores = Stores { links: Arc::new(links), ..stores };
    info!(node = node.number, "joined the database");
    let cluster = Some(Cluster { feeds, recent, redis, grants });
    Ok(Backend { stores, secrets, node, cluster, embedded: None, cql: Some(cql), lock })
}

fn meter_audit_log(cql: &Cql, metrics: &Metrics) {
    let (cql, waiting) = (cql.clone(), metrics.audit_entries_waiting.clone());
    let lost = metrics.audit_entries_lost.clone();
    metrics.before_scrape(move || {
        let (n_waiting, n_lost) = cql.audit_backlog();
        waiting.set(i64::try_from(n_waiting).unwrap_or(i64::MAX));
        lost.inc_by(n_lost.saturating_sub(lost.get()));
    });
}

/// Nothing of a store that is there in part is served, or changed.
fn refuse_unfinished(moved: Option<Move>) -> Result<()> {
    if moved.is_some_and(|moved| !moved.finished) {
        bail!(
            "an import into this store was begun and is not finished; run `shunt import` again \
             with the same archive, which goes on where it was"
        );
    }
    Ok(())
}

/// A command beside a server makes no store.
fn refuse_no_store(path: &Path) -> Result<()> {
    if !database_file(path).exists() {
        bail!(
            "there is no store in {}; `shunt serve` or `shunt migrate` makes one, and \
             `storage.path` says where",
            path.display()
        );
    }
    Ok(())
}

/// Where keys or a journal are, a store was. To make an empty one in its place would answer every
/// link with 404, and give its code to others. An empty file is an empty store to SQLite.
fn refuse_lost_store(path: &Path) -> Result<()> {
    let file = database_file(path);
    if std::fs::metadata(&file).is_ok_and(|found| found.len() > 0) {
        return Ok(());
    }
    let traces = [secrets::FILE_NAME, JOURNAL_FOLDER].map(|name| path.join(name));
    let left: Vec<_> = traces.iter().filter(|trace| trace.exists()).collect();
    if !left.is_empty() {
        let left: Vec<_> = left.iter().map(|trace| trace.display().to_string()).collect();
        bail!(
            "{} is missing although a server ran here; bring the store back with \
             `shunt restore`, or move {} away to begin with an empty store",
            file.display(),
            left.join(" and ")
        );
    }
    Ok(())
}

fn take_lock(settings: &Settings) -> Result<StoreLock> {
    let path = &settings.storage.path;
    match StoreLock::try_acquire(path) {
        Ok(Some(lock)) => Ok(lock),
        Ok(None) => bail!(
            "another process works on the store in {}; stop it, choose another `storage.path`, \
             or reach a running server with `--key` (or SHUNT_KEY) and `--url`",
            path.display()
        ),
        Err(error) => Err(error).with_context(|| {
            let path = path.display();
            format!("`storage.path`, {path}, must be a folder that this user may write to")
        }),
    }
}
