//! Opens the store of this node: for the server, and for commands that work on it directly.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};

use crate::app::SystemClock;
use crate::config::Settings;
use crate::domain::api_key::KeyText;
use crate::domain::audit::AuditKey;
use crate::domain::seal::Sealer;
use crate::domain::time::Clock;
use crate::service::bootstrap::bootstrap;
use crate::service::ids::IdSource;
use crate::storage::embedded::{Embedded, Mode, database_file};
use crate::storage::lock::StoreLock;
use crate::storage::secrets::{self, Secrets};
use crate::storage::{Stores, layers};
use crate::telemetry::metrics::Metrics;

/// The journal of clicks, in the folder of the store.
pub(super) const JOURNAL_FOLDER: &str = "journal";

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
    embedded: Embedded,
    /// Held until everything else is closed.
    _lock: Option<StoreLock>,
}

impl Opened {
    /// Closes the store, also when somebody on another thread still holds a port of it.
    pub fn close(self) {
        self.embedded.close();
    }
}

/// Opens the store at `storage.path`, and makes it what a first start makes it if it is new. With
/// `Sharing::WithServer` there must be a store already.
pub async fn open(settings: &Settings, sharing: Sharing) -> Result<Opened> {
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
    let metrics = Metrics::new();
    let stores = layers::metered(embedded.stores(), "embedded", &metrics);
    // After the store: a first start that is cut short leaves what the next one can go on from.
    let is_new = stores.accounts.operator_workspace().await.context("reading the store")?.is_none();
    let secrets = match is_new && sharing == Sharing::Alone {
        true => Secrets::open_or_create(path),
        false => Secrets::open(path),
    };
    let secrets = secrets.with_context(|| format!("opening the keys in {}", path.display()))?;
    embedded.seal_audit_log(AuditKey::of(&secrets.api_keys));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ids = IdSource::open(settings.node.id, Arc::clone(&stores.nodes), Arc::clone(&clock));
    let ids = Arc::new(ids.await.context("reading where ids begin")?);
    let chosen = settings.auth.bootstrap_text();
    let accounts = stores.accounts.as_ref();
    let owner_key = bootstrap(accounts, &ids, clock.as_ref(), &secrets.api_keys, chosen)
        .await
        .context("making the first workspace and its key")?;
    let sealer = Sealer::new(secrets.seal.clone());
    Ok(Opened { stores, secrets, sealer, ids, clock, metrics, owner_key, embedded, _lock: lock })
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
