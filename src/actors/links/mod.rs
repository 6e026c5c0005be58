//! The link table: readers look, owners write.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::actors::clicks::ClickSink;
use crate::domain::code::{DomainId, LinkKey};
use crate::domain::destination::DestinationPolicy;
use crate::domain::hot::HotLink;
use crate::domain::id::Id;
use crate::domain::link::Link;
use crate::domain::problems::Problems;
use crate::domain::seal::Sealer;
use crate::domain::time::Clock;
use crate::storage::{Claim, Imported, ImportedLink, LinkStore, Replace, StorageError};
use crate::telemetry::metrics::Metrics;

/// `[links]`: the link table.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinksConfig {}

impl LinksConfig {
    pub fn check(&self, _problems: &mut Problems) {}
}

/// Why a link could not be had. The caller answers 503.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("too many loads are under way")]
    Overloaded,
    #[error("the link was not loaded within {0:?}")]
    TimedOut(Duration),
    #[error(transparent)]
    Storage(#[from] Arc<StorageError>),
}

/// Everything the table needs to start.
pub struct LinkTableParts {
    pub config: LinksConfig,
    pub store: Arc<dyn LinkStore>,
    /// Tells how often a link with a click limit was clicked.
    pub clicks: ClickSink,
    pub policy: DestinationPolicy,
    pub sealer: Sealer,
    pub metrics: Arc<Metrics>,
    pub clock: Arc<dyn Clock>,
}

/// The public face of the link actors. Clones share one table.
#[derive(Clone)]
pub struct LinkTable {}

/// What a warm start did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Warmed {
    pub links: u64,
}

impl LinkTable {
    /// Starts the shards on arbiters of their own. Call inside an actix `System`.
    pub fn start(_parts: LinkTableParts) -> Self {
        unreachable!("replaced by the link actors work package")
    }

    /// Looks at a link in memory: no lock, no message, no await. `code` is compared byte for byte;
    /// malformed codes are simply absent.
    pub fn read<R>(
        &self,
        _domain: DomainId,
        _code: &[u8],
        _look: impl FnOnce(&HotLink) -> R,
    ) -> Option<R> {
        unreachable!("replaced by the link actors work package")
    }

    /// Looks at a link that `read` did not find: asks its owner, who asks the store, once per code
    /// however many wait. `None`: there is no such link. A deleted link may be looked at or absent.
    pub async fn load<R>(
        &self,
        _key: LinkKey,
        _look: impl FnOnce(&HotLink) -> R,
    ) -> Result<Option<R>, LoadError> {
        unreachable!("replaced by the link actors work package")
    }

    /// Stores new links and puts them into the table; one answer per link. Goes on when the caller
    /// is dropped.
    pub async fn create(&self, _links: Vec<Link>) -> Result<Vec<Claim>, LoadError> {
        unreachable!("replaced by the link actors work package")
    }

    /// Replaces a link (`version` counted up by the caller), in order with other work on its code.
    /// When it answers `Done`, this node serves the new state.
    pub async fn replace(&self, _link: Link) -> Result<Replace, LoadError> {
        unreachable!("replaced by the link actors work package")
    }

    /// Moves a link to the code in `link`; see `LinkStore::relocate`.
    pub async fn relocate(
        &self,
        _from: LinkKey,
        _link: Link,
        _tombstone_id: Id,
    ) -> Result<Replace, LoadError> {
        unreachable!("replaced by the link actors work package")
    }

    /// Imports a batch; see `LinkStore::import`.
    pub async fn import(
        &self,
        _digest: [u8; 16],
        _batch: Vec<ImportedLink>,
    ) -> Result<Option<Vec<Imported>>, LoadError> {
        unreachable!("replaced by the link actors work package")
    }

    /// Loads the hottest links first, then as many as fit. Resolves when the hottest are in.
    pub async fn warm(&self) -> Result<Warmed, LoadError> {
        unreachable!("replaced by the link actors work package")
    }
}
