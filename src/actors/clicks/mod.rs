//! Clicks: journal first, counted behind.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::click::{ClickTotals, Granularity, RawClick};
use crate::domain::id::Id;
use crate::domain::problems::Problems;
use crate::domain::time::Clock;
use crate::storage::{ClickStore, StorageResult};
use crate::telemetry::metrics::{Metrics, WorkerStats};

/// `[clicks]`: how clicks travel from the redirect to the store.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClicksConfig {}

impl ClicksConfig {
    pub fn check(&self, _problems: &mut Problems) {}
}

/// Everything the click actors need to start.
pub struct ClickSinkParts {
    pub config: ClicksConfig,
    /// Folder of the journal; made if absent.
    pub folder: PathBuf,
    pub store: Arc<dyn ClickStore>,
    pub metrics: Arc<Metrics>,
    pub clock: Arc<dyn Clock>,
}

/// The public face of the click actors. Clones share one journal.
#[derive(Clone)]
pub struct ClickSink {}

/// One worker's way into the journal. Stays on its thread.
pub struct ClickLane {}

impl ClickSink {
    /// Opens the journal, starts to count again what an earlier process left, and starts the
    /// counters on an arbiter of their own. Call inside an actix `System`. Fails when the folder
    /// cannot be used.
    pub fn start(_parts: ClickSinkParts) -> std::io::Result<Self> {
        unreachable!("replaced by the click actors work package")
    }

    /// A lane for one worker.
    pub fn lane(&self, _stats: Arc<WorkerStats>) -> ClickLane {
        unreachable!("replaced by the click actors work package")
    }

    /// Resolves when everything that an earlier process left in the journal is in the store or in
    /// the live counts.
    pub async fn recovered(&self) {
        unreachable!("replaced by the click actors work package")
    }

    /// Totals of links, the clicks not yet in the store included.
    pub async fn totals(&self, _links: &[Id]) -> StorageResult<Vec<ClickTotals>> {
        unreachable!("replaced by the click actors work package")
    }

    /// Buckets of a link, the clicks not yet in the store included; see `ClickStore::series`.
    pub async fn series(
        &self,
        _link: Id,
        _granularity: Granularity,
        _minutes: Range<u32>,
    ) -> StorageResult<Vec<(u32, u64)>> {
        unreachable!("replaced by the click actors work package")
    }

    /// Forgets all clicks of a link, those in the journal included.
    pub async fn erase(&self, _link: Id) -> StorageResult<()> {
        unreachable!("replaced by the click actors work package")
    }

    /// After the last lane was dropped: counts and stores everything, closes the journal. What
    /// cannot be stored stays in the journal for the next start.
    pub async fn drain(&self) {
        unreachable!("replaced by the click actors work package")
    }
}

impl ClickLane {
    /// Writes one click into the journal. Never waits, never fails; a click that finds no room is
    /// counted as dropped.
    pub fn record(&self, _click: &RawClick<'_>) {
        unreachable!("replaced by the click actors work package")
    }
}
