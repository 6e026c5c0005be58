//! The store itself as the other end. No server may hold it meanwhile.

use std::sync::Arc;

use anyhow::Context;
use tokio::runtime::Runtime;

use crate::domain::id::Id;
use crate::service::import::{
    BatchDigest, ImportContext, ImportRow, Names, PreparedBatch, digest_in,
};
use crate::storage::{ClickStore, LinkStore, Stores};

use super::{BATCH_ROWS, BatchOutcome, ExportSource, ImportTarget};

/// Imports into and exports from an open store. Calls block: use it outside of async code.
pub struct StoreEnd<'a> {
    runtime: &'a Runtime,
    links: Arc<dyn LinkStore>,
    clicks: Arc<dyn ClickStore>,
    context: ImportContext,
    names: Arc<dyn Names>,
    /// The last link that was exported.
    after: Id,
}

impl<'a> StoreEnd<'a> {
    /// `context` names the workspace that imported links belong to.
    pub fn new(
        runtime: &'a Runtime,
        stores: &Stores,
        context: ImportContext,
        names: Arc<dyn Names>,
    ) -> Self {
        let (links, clicks) = (Arc::clone(&stores.links), Arc::clone(&stores.clicks));
        Self { runtime, links, clicks, context, names, after: Id(0) }
    }
}

impl ImportTarget for StoreEnd<'_> {
    fn import(
        &mut self,
        digest: BatchDigest,
        rows: Vec<ImportRow>,
    ) -> anyhow::Result<BatchOutcome> {
        self.runtime.block_on(async {
            let mut batch = PreparedBatch::new(rows, &self.context, self.names.as_ref())
                .await
                .map_err(|error| anyhow::anyhow!(error))
                .context("cannot name new links")?;
            let digest = digest_in(self.context.workspace, &digest);
            let answers = self
                .links
                .import(digest, batch.take_links())
                .await
                .context("cannot write to the store")?;
            let refused = batch.refused();
            Ok(match batch.settle(answers) {
                Some(outcomes) => BatchOutcome::Done(outcomes),
                None => BatchOutcome::DoneBefore(refused),
            })
        })
    }
}

impl ExportSource for StoreEnd<'_> {
    fn total(&mut self) -> anyhow::Result<u64> {
        self.runtime.block_on(self.links.count()).context("cannot read the store")
    }

    fn next_page(&mut self) -> anyhow::Result<Vec<ImportRow>> {
        let links = self
            .runtime
            .block_on(self.links.scan(self.after, BATCH_ROWS as u32))
            .context("cannot read the links")?;
        let ids: Vec<Id> = links.iter().map(|link| link.id).collect();
        let totals =
            self.runtime.block_on(self.clicks.totals(&ids)).context("cannot read the clicks")?;
        self.after = ids.last().copied().unwrap_or(self.after);
        Ok(links.iter().zip(totals).map(|(link, totals)| ImportRow::of(link, totals)).collect())
    }
}
