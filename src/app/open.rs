//! Opens the store of this node: for the server, and for commands that work on it directly.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use super::backend::{self, Backend, Cluster, NodeLease};
use crate::app::SystemClock;
use crate::config::Settings;
use crate::domain::api_key::KeyText;
use crate::domain::seal::Sealer;
use crate::domain::time::Clock;
use crate::service::bootstrap::bootstrap;
use crate::service::ids::IdSource;
use crate::storage::Stores;
use crate::storage::embedded::Embedded;
use crate::storage::lock::StoreLock;
use crate::storage::scylla::Cql;
use crate::storage::secrets::Secrets;
use crate::telemetry::metrics::Metrics;

/// The journal of clicks, in the folder of the store.
pub const JOURNAL_FOLDER: &str = "journal";

/// Whether others may have the store open at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Nobody else serves or imports: needed to write links past a table in memory.
    Alone,
    /// A server may run: keys, exports, backups.
    WithServer,
}

/// The store, its secrets, and what makes ids in it.
pub struct Opened {
    pub stores: Stores,
    pub secrets: Secrets,
    pub sealer: Sealer,
    pub ids: Arc<IdSource>,
    pub clock: Arc<dyn Clock>,
    pub metrics: Arc<Metrics>,
    /// Set when this is the first start: to be shown once.
    pub owner_key: Option<KeyText>,
    /// The number that ids of this process carry.
    pub node: NodeLease,
    /// There on a database that several nodes share.
    pub cluster: Option<Cluster>,
    embedded: Option<Embedded>,
    cql: Option<Cql>,
    /// Held until everything else is closed.
    _lock: Option<StoreLock>,
}

impl Opened {
    /// Waits for what goes on behind answers, for so long at most. Call it when all is answered.
    pub async fn finish(&self, max: Duration) {
        if let Some(cql) = &self.cql {
            cql.finish(max).await;
        }
    }

    /// Closes the store, also when somebody on another thread still holds a port of it.
    pub fn close(self) {
        if let Some(embedded) = &self.embedded {
            embedded.close();
        }
    }
}

/// Opens the store that the settings name, and makes it what a first start makes it if it is new.
/// With `Sharing::WithServer` there must be a store already.
pub async fn open(settings: &Settings, sharing: Sharing) -> Result<Opened> {
    let metrics = Metrics::new();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let backend = match settings.storage.database() {
        None => backend::embedded(settings, sharing, &metrics).await?,
        Some(config) => {
            Box::pin(backend::database(settings, &config, sharing, (&metrics, &clock))).await?
        }
    };
    let Backend { stores, secrets, node, cluster, embedded, cql, lock } = backend;
    let ids = IdSource::open(node.number, Arc::clone(&stores.nodes), Arc::clone(&clock));
    let ids = Arc::new(ids.await.context("reading where ids begin")?);
    let chosen = settings.auth.bootstrap_text();
    let accounts = stores.accounts.as_ref();
    let owner_key = bootstrap(accounts, &ids, clock.as_ref(), &secrets.api_keys, chosen)
        .await
        .context("making the first workspace and its key")?;
    let sealer = Sealer::new(secrets.seal.clone());
    Ok(Opened {
        stores,
        secrets,
        sealer,
        ids,
        clock,
        metrics,
        owner_key,
        node,
        cluster,
        embedded,
        cql,
        _lock: lock,
    })
}
