//! The other ends of a dry run: they say what an import would do, and do nothing.

use std::sync::Arc;

use anyhow::Context;
use tokio::runtime::Runtime;

use crate::service::import::{BatchDigest, ImportContext, ImportRow, RowClaim, Trial};
use crate::storage::LinkStore;

use super::{BatchOutcome, ImportTarget, ServerEnd};

/// Judges rows by a store that is only read. Calls block: use it outside of async code.
pub struct StoreTrial<'a> {
    pub runtime: &'a Runtime,
    pub links: Arc<dyn LinkStore>,
    pub context: ImportContext,
    pub trial: Trial,
}

/// Asks a server, which sees one batch at a time, and remembers the rows of those before.
pub struct ServerTrial {
    pub server: ServerEnd,
    pub trial: Trial,
}

impl ImportTarget for StoreTrial<'_> {
    fn import(&mut self, _: BatchDigest, rows: Vec<ImportRow>) -> anyhow::Result<BatchOutcome> {
        let judged = self.trial.judge(self.links.as_ref(), rows, &self.context);
        let outcomes = self.runtime.block_on(judged).context("cannot read the store")?;
        Ok(BatchOutcome::Done(outcomes))
    }
}

impl ImportTarget for ServerTrial {
    fn import(&mut self, _: BatchDigest, rows: Vec<ImportRow>) -> anyhow::Result<BatchOutcome> {
        let outcomes = self.server.try_rows(&rows)?;
        let pairs = rows.iter().zip(outcomes);
        let met = pairs.map(|(row, outcome)| self.trial.meet(RowClaim::of(row), outcome));
        Ok(BatchOutcome::Done(met.collect()))
    }
}
