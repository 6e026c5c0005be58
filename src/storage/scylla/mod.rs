//! A CQL database, Apache Cassandra or ScyllaDB, that several nodes share: through one driver, in
//! statements that both understand.
//!
//! Rows that others depend on change by conditional writes only. What one logical change touches in
//! several partitions is written in an order in which every prefix is sound: what is only found
//! through the truth goes first, the truth last; readers check what they found against it.

mod accounts;
mod audit;
mod clicks;
mod dialect;
mod fault;
mod feed;
mod finding;
mod grants;
mod ids;
mod keys;
mod links;
pub mod moving;
mod nodes;
mod people;
mod refusal;
mod replays;
mod run;
mod schema;
mod signing;
mod statements;
mod stats;
mod tls;
mod together;

use std::sync::atomic::{AtomicI32, AtomicI64};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use scylla::client::PoolSize;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::errors::ExecutionError;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::error;

pub use self::clicks::{ClickParts, CqlClicks};
pub use self::dialect::Dialect;
pub use self::fault::OpenError;
pub use self::feed::CqlFeed;
use self::refusal::refusal;
use self::statements::{Profiles, Statements};
pub use self::tls::{CqlTls, TlsError};
use super::config::Replication;
use super::threads::Threads;
use super::{Stores, patience};
use crate::domain::audit::AuditKey;
use crate::domain::secret::Secret;

/// What a visitor waits for at most.
pub const FILL_TIMEOUT: Duration = Duration::from_millis(150);
/// Threads that the driver's connections are served by.
const THREADS: usize = 2;
/// How long one contact point may take to accept.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long all of them together may take to let this node in, which the driver does not bound; and
/// then to answer what every start asks.
const OPEN_TIMEOUT: Duration = Duration::from_secs(20);
/// How often a connection is asked whether anybody is there, and how long that may take. A node
/// that is silent gets its share of what is asked until then; conditional writes cannot be asked of
/// another one meanwhile. Both together are less than what a statement waits for, so that it ends
/// with the connection. A node that collects garbage, or has no processor, is silent for less.
const KEEPALIVE_EVERY: Duration = Duration::from_millis(1_250);
const KEEPALIVE_MAX: Duration = Duration::from_millis(2_750);
/// Between two looks whether all nodes know of a change of the schema.
const AGREEMENT_INTERVAL: Duration = Duration::from_millis(50);

/// Which database, and as whom.
#[derive(Clone, Debug)]
pub struct CqlConfig {
    /// Contact points, `host:port`.
    pub nodes: Vec<String>,
    pub keyspace: String,
    pub user: Option<String>,
    pub password: Option<Secret>,
    /// `None`: nothing is encrypted.
    pub tls: Option<CqlTls>,
    /// Copies of each row, for a keyspace that is made.
    pub replication: Replication,
    /// What a load that a visitor waits for may take: [`FILL_TIMEOUT`], or longer where the
    /// database shares its machine with many others.
    pub fill_timeout: Duration,
}

/// A database that is open. Clones share the connections.
#[derive(Clone)]
pub struct Cql {
    shared: Arc<Shared>,
}

struct Shared {
    session: Session,
    statements: Box<Statements>,
    links: links::Shared,
    /// Where connections live; kept for as long as they are used.
    threads: Threads,
    audit_key: OnceLock<AuditKey>,
    log: audit::Log,
    lease: nodes::Lease,
    /// An hour of the list of changes of access, from which the last one is found.
    access_hour: AtomicI32,
    /// Microseconds that the last plain write counts as of.
    last_write: AtomicI64,
    /// What goes on behind those who asked for it.
    n_behind: watch::Sender<usize>,
}

impl Cql {
    /// Opens a database whose schema is the one that this build knows.
    pub async fn open(config: &CqlConfig) -> Result<Self, OpenError> {
        let threads = Threads::start("cql", THREADS)?;
        let profiles = Profiles::new(config.fill_timeout);
        let session = connect(config, &threads, &profiles).await?;
        let begun = Instant::now();
        let statements = loop {
            match Box::pin(get_ready(&session, &config.keyspace, &profiles)).await {
                Err(error) if error.is_hesitation() && begun.elapsed() < OPEN_TIMEOUT => {
                    tokio::time::sleep(patience::HESITATION).await;
                }
                ready => break ready?,
            }
        };
        let links = links::Shared::new();
        let shared = Shared {
            session,
            statements,
            links,
            threads,
            audit_key: OnceLock::default(),
            log: audit::Log::default(),
            lease: nodes::Lease::default(),
            access_hour: AtomicI32::default(),
            last_write: AtomicI64::default(),
            n_behind: watch::Sender::new(0),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Says under which key entries of the audit log are sealed. The first key stays.
    pub fn seal_audit_log(&self, key: AuditKey) {
        let _had_one = self.shared.audit_key.set(key);
    }

    /// Makes the keyspace if it is not there, and brings its schema up to date; answers how many
    /// steps that took. Of several that migrate at once, one does it and the others wait.
    pub async fn migrate(config: &CqlConfig) -> Result<u32, OpenError> {
        let threads = Threads::start("cql", THREADS)?;
        let session = connect(config, &threads, &Profiles::new(config.fill_timeout)).await?;
        schema::migrate(&session, config).await
    }

    /// The ports of this database, as node `node` uses them.
    pub fn stores(&self, node: u16) -> Stores {
        let this = Arc::new(self.clone());
        let (links, audit) = (Arc::clone(&this) as _, Arc::clone(&this) as _);
        let clicks = self.clicks(ClickParts { node, links, audit });
        Stores {
            links: Arc::clone(&this) as _,
            clicks: Arc::clone(&clicks) as _,
            stats: clicks,
            accounts: Arc::clone(&this) as _,
            users: Arc::clone(&this) as _,
            teams: Arc::clone(&this) as _,
            sessions: Arc::clone(&this) as _,
            nodes: Arc::clone(&this) as _,
            replays: Arc::clone(&this) as _,
            signing: Arc::clone(&this) as _,
            audit: this,
        }
    }

    fn session(&self) -> &Session {
        &self.shared.session
    }

    fn statements(&self) -> &Statements {
        &self.shared.statements
    }

    fn audit_key(&self) -> Option<AuditKey> {
        self.shared.audit_key.get().copied()
    }

    fn log(&self) -> &audit::Log {
        &self.shared.log
    }

    /// Entries of the audit log that wait for the database, and those of changes that were lost.
    pub fn audit_backlog(&self) -> (usize, u64) {
        (self.log().n_waiting(), self.log().n_lost())
    }

    /// Goes on with something that must end, whatever becomes of whoever asked for it.
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.shared.n_behind.send_modify(|n| *n += 1);
        let behind = Behind(self.clone());
        self.shared.threads.handle().spawn(async move {
            work.await;
            drop(behind);
        })
    }

    /// Does what follows a change that is made, or one that was not, and is waited for no longer
    /// than a moment.
    async fn follow_up(&self, work: impl Future<Output = ()> + Send + 'static) {
        let _goes_on = patience::briefly(self.spawn(work)).await;
    }

    /// Waits until nothing goes on any more, for so long at most. What the audit log lacks then,
    /// it will not have, and is logged. Call it when nobody asks for anything any more.
    pub async fn finish(&self, max: Duration) {
        let mut n_behind = self.shared.n_behind.subscribe();
        let ended = tokio::time::timeout(max, n_behind.wait_for(|n| *n == 0)).await;
        let entries = self.log().n_waiting();
        if ended.is_err() && entries > 0 {
            error!(entries, "the database took no entries; they are missing in the audit log");
        }
    }
}

/// Counts what goes on, for as long as it is held.
struct Behind(Cql);

impl Drop for Behind {
    fn drop(&mut self) {
        self.0.shared.n_behind.send_modify(|n| *n -= 1);
    }
}

/// Looks whether the schema is the one that this build knows, and prepares all statements.
async fn get_ready(
    session: &Session,
    keyspace: &str,
    profiles: &Profiles,
) -> Result<Box<Statements>, OpenError> {
    schema::check(session, keyspace).await?;
    session
        .use_keyspace(keyspace, true)
        .await
        .map_err(|error| OpenError::from(ExecutionError::from(error)))?;
    let dialect = Dialect::of(session).await?;
    // Large, as it prepares all at once.
    Box::pin(Statements::prepare(session, profiles, dialect)).await.map(Box::new)
}

async fn connect(
    config: &CqlConfig,
    threads: &Threads,
    profiles: &Profiles,
) -> Result<Session, OpenError> {
    let mut builder = SessionBuilder::new()
        .known_nodes(&config.nodes)
        .connection_timeout(CONNECT_TIMEOUT)
        .keepalive_interval(KEEPALIVE_EVERY)
        .keepalive_timeout(KEEPALIVE_MAX)
        .schema_agreement_interval(AGREEMENT_INTERVAL)
        .pool_size(PoolSize::PerShard(std::num::NonZeroUsize::MIN))
        .default_execution_profile_handle(profiles.rest());
    if let Some(user) = &config.user {
        let password = config.password.as_ref().map_or("", |password| password.0.as_str());
        builder = builder.user(user, password);
    }
    if let Some(tls) = &config.tls {
        builder = builder.tls_context(Some(tls.read()?));
    }
    // Connections are served by the runtime that they are made on.
    let session = async move { tokio::time::timeout(OPEN_TIMEOUT, builder.build()).await };
    let session = threads.handle().spawn(session).await.map_err(std::io::Error::other)?;
    let session = session.map_err(|_| OpenError::Silent(OPEN_TIMEOUT))?;
    session.map_err(|error| OpenError::Connect(refusal(&error, config.tls.as_ref())))
}
