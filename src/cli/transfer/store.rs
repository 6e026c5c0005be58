//! The store itself as the other end. No server may hold it meanwhile.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use anyhow::Context;
use futures_util::future::{BoxFuture, MaybeDone, maybe_done};
use tokio::runtime::Runtime;

use crate::domain::audit::Act;
use crate::domain::id::Id;
use crate::service::import::{
    BatchDigest, ImportContext, ImportRow, Names, PreparedBatch, Settled, digest_in,
};
use crate::storage::{BatchAnswer, ClickStore, LinkStore, StorageResult, Stores};

use super::{BATCH_ROWS, BatchOutcome, ExportSource, ImportTarget};

/// Imports into and exports from an open store. Calls block: use it outside of async code.
pub struct StoreEnd<'a> {
    runtime: &'a Runtime,
    links: Arc<dyn LinkStore>,
    clicks: Arc<dyn ClickStore>,
    context: ImportContext,
    names: Arc<dyn Names>,
    /// Batches that were begun, in order.
    under_way: VecDeque<(PreparedBatch, Answer)>,
    /// The last link that was exported.
    after: Id,
}

type Answer = MaybeDone<BoxFuture<'static, StorageResult<BatchAnswer>>>;

impl<'a> StoreEnd<'a> {
    /// `context` names the workspace that imported links belong to.
    pub fn new(
        runtime: &'a Runtime,
        stores: &Stores,
        context: ImportContext,
        names: Arc<dyn Names>,
    ) -> Self {
        let (links, clicks) = (Arc::clone(&stores.links), Arc::clone(&stores.clicks));
        let under_way = VecDeque::new();
        Self { runtime, links, clicks, context, names, under_way, after: Id(0) }
    }
}

impl ImportTarget for StoreEnd<'_> {
    fn import(
        &mut self,
        digest: BatchDigest,
        rows: Vec<ImportRow>,
    ) -> anyhow::Result<BatchOutcome> {
        self.begin(digest, rows)?;
        self.finish()
    }

    /// Judges the rows while the store writes those that were begun before.
    fn begin(
        &mut self,
        digest: BatchDigest,
        rows: Vec<ImportRow>,
    ) -> anyhow::Result<Option<BatchOutcome>> {
        let mut batch = self
            .runtime
            .block_on(PreparedBatch::new(rows, &self.context, self.names.as_ref()))
            .map_err(|error| anyhow::anyhow!(error))
            .context("cannot name new links")?;
        let digest = digest_in(self.context.workspace, &digest);
        let (links, entries) = (Arc::clone(&self.links), batch.take_links());
        let fingerprint = batch.fingerprint();
        let act = Some(Act::on_command_line(self.context.workspace, self.context.now));
        let import: BoxFuture<'static, _> =
            Box::pin(async move { links.import(digest, fingerprint, entries, act).await });
        let mut answer = maybe_done(import);
        // The store queues the batch when it is polled first, and goes on by itself.
        self.runtime.block_on(poll_fn(|task| {
            let _ = Pin::new(&mut answer).poll(task);
            Poll::Ready(())
        }));
        self.under_way.push_back((batch, answer));
        Ok(None)
    }

    fn finish(&mut self) -> anyhow::Result<BatchOutcome> {
        let (batch, mut answer) = self.under_way.pop_front().context("no batch is under way")?;
        self.runtime.block_on(&mut answer);
        let answers = Pin::new(&mut answer)
            .take_output()
            .context("the store gave no answer")?
            .context("cannot write to the store")?;
        let Settled { outcomes, replayed } = batch.settle(&answers)?;
        Ok(match replayed {
            false => BatchOutcome::Done(outcomes),
            true => BatchOutcome::DoneBefore(outcomes),
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
