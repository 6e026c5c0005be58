//! Redis between nodes: a cache of links, the feed of changes, token buckets. Never needed to
//! start, to redirect or to stop.
//!
//! One task keeps the connection. Whoever asks gets an answer within 30 ms or an error at once;
//! what they do without Redis is theirs to know.

mod breaker;
mod buckets;
mod config;
mod feed;
mod l2;
mod record;
mod target;

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::{RedisError, RedisResult};
use tokio::sync::Notify;
use tracing::{info, warn};

use self::breaker::Breaker;
pub use self::buckets::SharedBuckets;
pub use self::config::RedisConfig;
pub use self::feed::RedisFeed;
pub use self::l2::RedisLinks;
pub use self::target::TargetError;
use self::target::{Connection, Target};
use super::error::{Op, StorageError, StorageErrorKind, StorageResult};
use super::threads::Threads;
use crate::domain::secret::Secret;

/// What a command may take. Whoever waits is a visitor, or somebody who may become one.
pub const COMMAND_TIMEOUT: Duration = Duration::from_millis(30);
/// What a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(250);
/// A Redis that was lost is tried again after this long, each time a little different, so that
/// nodes do not come in step.
const RETRY: std::ops::Range<u64> = 800..1_600;
/// How often an idle connection is tried.
const PING_EVERY: Duration = Duration::from_secs(1);
/// Threads that connections are served by.
const THREADS: usize = 1;

/// A Redis that may be there or not. Clones share the connection.
#[derive(Clone)]
pub struct Redis {
    shared: Arc<Shared>,
}

struct Shared {
    target: Target,
    /// What all names begin with, so that installations may share a Redis.
    prefix: String,
    /// What a command may take.
    timeout: Duration,
    connection: ArcSwapOption<Connection>,
    breaker: Breaker,
    /// Wakes the keeper when the breaker opened.
    lost: Notify,
    /// Which of its contents are good: those written under this number. Zero: not known.
    epoch: AtomicU64,
    /// Something that others may still find in Redis is out of date.
    is_stale: AtomicBool,
    threads: Threads,
}

impl Redis {
    /// Begins to connect, and does not wait for it. A command may take `timeout`:
    /// [`COMMAND_TIMEOUT`], or longer where Redis shares its machine with many others. Errors: the
    /// URL is none, `ca_file` holds no authorities, or the system gives no threads.
    pub fn start(
        url: &Secret,
        ca_file: Option<&Path>,
        prefix: &str,
        timeout: Duration,
    ) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared {
            target: Target::parse(url, ca_file)?,
            prefix: prefix.to_owned(),
            timeout,
            connection: ArcSwapOption::empty(),
            breaker: Breaker::default(),
            lost: Notify::new(),
            epoch: AtomicU64::new(0),
            is_stale: AtomicBool::new(false),
            threads: Threads::start("redis", THREADS)?,
        });
        // Ends when nobody else has the connection any more.
        shared.threads.handle().spawn(keep(Arc::downgrade(&shared)));
        Ok(Self { shared })
    }

    /// Whether commands are sent.
    pub fn is_up(&self) -> bool {
        self.shared.is_usable()
    }

    fn name(&self, rest: &str) -> String {
        format!("{}:{rest}", self.shared.prefix)
    }

    /// Runs a command on the connection, if there is one, within the time that one may take.
    async fn call<T, F>(&self, op: Op, work: impl FnOnce(Connection) -> F) -> StorageResult<T>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let shared = &self.shared;
        let connection = shared.connection.load_full().filter(|_| shared.is_usable());
        let Some(connection) = connection else {
            return Err(StorageError { kind: StorageErrorKind::Unavailable, op, source: None });
        };
        match tokio::time::timeout(shared.timeout, work(Connection::clone(&connection))).await {
            Ok(Ok(answer)) => {
                shared.breaker.succeeded();
                Ok(answer)
            }
            Ok(Err(error)) => {
                let opened = match is_connection(&error) {
                    true => shared.breaker.open(),
                    false => shared.breaker.failed(),
                };
                shared.tell_lost(opened);
                Err(StorageError::new(StorageErrorKind::Unavailable, op, error))
            }
            Err(_) => {
                let opened = shared.breaker.failed();
                shared.tell_lost(opened);
                Err(StorageError { kind: StorageErrorKind::Timeout, op, source: None })
            }
        }
    }

    /// Notes that what Redis holds of a change is what was before it. Before anybody on this node
    /// uses Redis again, everything that it holds is put out of use, for all nodes.
    fn distrust(&self) {
        self.shared.is_stale.store(true, Ordering::SeqCst);
        self.shared.tell_lost(self.shared.breaker.open());
    }

    fn epoch(&self) -> u64 {
        self.shared.epoch.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn tell_lost(&self, opened: bool) {
        if opened {
            warn!("Redis does not answer; going on without it");
            self.lost.notify_one();
        }
    }

    /// Connects, and agrees with the other nodes on what of its contents is good.
    async fn connect(&self) -> RedisResult<()> {
        let mut connection = self.target.connect().await?;
        let name = format!("{}:epoch", self.prefix);
        // A Redis that began empty, or forgot, begins with a number that was never used.
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let fresh = now.map_or(1, |now| now.as_millis() as u64);
        let mut begin = redis::pipe();
        begin.cmd("SET").arg(&name).arg(fresh).arg("NX").ignore();
        let is_stale = self.is_stale.swap(false, Ordering::SeqCst);
        if is_stale {
            begin.cmd("INCR").arg(&name).ignore();
        }
        let epoch = begin.cmd("GET").arg(&name).query_async::<(u64,)>(&mut connection).await;
        let (epoch,) = epoch.inspect_err(|_| {
            self.is_stale.fetch_or(is_stale, Ordering::SeqCst);
        })?;
        if is_stale {
            feed::tell_epoch(&mut connection, &self.prefix, epoch).await?;
        }
        self.epoch.fetch_max(epoch, Ordering::SeqCst);
        self.connection.store(Some(Arc::new(connection)));
        self.breaker.close();
        Ok(())
    }

    fn is_usable(&self) -> bool {
        self.breaker.is_closed() && !self.is_stale.load(Ordering::SeqCst)
    }

    async fn is_alive(&self) -> bool {
        let Some(connection) = self.connection.load_full() else { return false };
        let mut connection = Connection::clone(&connection);
        let ping = redis::cmd("PING");
        let ping = ping.query_async::<String>(&mut connection);
        let limit = CONNECT_TIMEOUT.max(self.timeout);
        matches!(tokio::time::timeout(limit, ping).await, Ok(Ok(_)))
    }
}

/// Connects, watches, connects again.
async fn keep(shared: std::sync::Weak<Shared>) {
    let mut was_up = None;
    while let Some(shared) = shared.upgrade() {
        if shared.is_usable() {
            let woken = tokio::time::timeout(PING_EVERY, shared.lost.notified()).await.is_ok();
            if !woken && !shared.is_alive().await {
                shared.tell_lost(shared.breaker.open());
            }
            continue;
        }
        // The old connection is given up: what was sent on it and hangs must not be answered late.
        shared.connection.store(None);
        let limit = (CONNECT_TIMEOUT * 4).max(shared.timeout);
        match tokio::time::timeout(limit, shared.connect()).await {
            Ok(Ok(())) => {
                if was_up != Some(true) {
                    info!("connected to Redis");
                }
                was_up = Some(true);
            }
            failed => {
                if was_up != Some(false) {
                    let cause = match failed {
                        Ok(Err(error)) => error.to_string(),
                        _ => format!("no answer within {limit:?}"),
                    };
                    warn!(cause, "Redis cannot be reached; going on without it");
                }
                was_up = Some(false);
                tokio::time::sleep(Duration::from_millis(some_millis())).await;
            }
        }
    }
}

fn some_millis() -> u64 {
    let mut bytes = [0; 8];
    // Without randomness it is the same every time, which does no harm to one node.
    let _same = getrandom::fill(&mut bytes);
    RETRY.start + u64::from_le_bytes(bytes) % (RETRY.end - RETRY.start)
}

fn is_connection(error: &RedisError) -> bool {
    error.is_connection_dropped() || error.is_connection_refusal() || error.is_io_error()
}
