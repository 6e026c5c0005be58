//! Warm start: the hottest links before the server says that it is ready, then all that fit.
//!
//! Bulk reads travel to the owners in batches, each answered before the next is sent, so that a
//! visitor's miss waits for one batch at most. A slice that got every link of the store knows
//! from then on that a miss is an absence.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{info, warn};

use super::messages::{BeginWarm, EndWarm, Fill, Fresh};
use super::shared::Shared;
use super::{LoadError, Warmed, work};
use crate::domain::id::Id;
use crate::domain::link::{Link, LinkStatus};
use crate::storage::{StorageErrorKind, StorageResult};

/// Links per bulk read.
const BATCH: u32 = 1_000;
/// Hottest links that are fetched at a time.
const FETCHES: usize = 64;
/// Bulk reads that may fail in a row, and the wait before the next try.
const FAILURES_MAX: u32 = 5;
const FAILURE_WAIT: Duration = Duration::from_secs(1);

/// Makes room, then loads the hottest links, for as long as the start may wait.
pub(super) async fn hottest(shared: &Shared) -> Result<u64, LoadError> {
    let deadline = Instant::now() + shared.config.warm_wait_max.0;
    let expected = shared.store.count().await.map_err(LoadError::from)?;
    let fitting = shared.config.memory_bytes() / LEAST_LINK_BYTES;
    shared.table.reserve(usize::try_from(expected.min(fitting)).unwrap_or(0));
    for shard in 0..shared.lanes.len() {
        // Fails only when the shard's thread has ended.
        let _stopped = shared.addr(shard).send(BeginWarm).await;
    }

    let asked = shared.store.hottest(shared.config.warm_hottest);
    let Ok(answer) = timeout_at(deadline, asked).await else {
        warn!("the store takes too long to name the hottest links; they come with the others");
        return Ok(0);
    };
    let keys = match answer {
        Ok(keys) => keys,
        // Statistics say what is hot. That they cannot be read keeps nobody from being redirected.
        Err(error) if is_damaged(error.kind) => {
            warn!(%error, "the hottest links are not known; they come with the others");
            return Ok(0);
        }
        Err(error) => return Err(error.into()),
    };
    let mut fetched = stream::iter(keys)
        .map(async |key| shared.store.fetch(&key).await)
        .buffer_unordered(FETCHES)
        .chunks(FETCHES);
    let (mut n_links, mut n_damaged) = (0, 0_u64);
    while let Ok(Some(batch)) = timeout_at(deadline, fetched.next()).await {
        let mut links = Vec::with_capacity(batch.len());
        for fetched in batch {
            match fetched {
                Ok(link) => links.extend(link),
                // It is not served, and whoever asks for it is told; the others are whole.
                Err(error) if is_damaged(error.kind) => n_damaged += 1,
                Err(error) => return Err(error.into()),
            }
        }
        // Limited links wait for the counters, so they come with the others later.
        let (plain, _limited) = drafts(shared, links);
        n_links += fill(shared, plain).await.links;
    }
    if n_damaged > 0 {
        warn!(n_damaged, "some of the hottest links are damaged; `shunt verify` names them");
    }
    Ok(n_links)
}

/// What is read does not parse: a page of the file, or one row. Others may be whole.
fn is_damaged(kind: StorageErrorKind) -> bool {
    matches!(kind, StorageErrorKind::Corrupt | StorageErrorKind::Damaged)
}

/// Loads everything else that fits, by id, and says when all of it is in.
pub(super) async fn rest(shared: Arc<Shared>) {
    let started = Instant::now();
    let outcome = scan(&shared).await;
    let whole = matches!(outcome, Ok(Scanned::Everything));
    if let Err(error) = &outcome {
        warn!(%error, "the warm start was given up; links are loaded when they are asked for");
    }
    let complete = end(&shared, whole).await;
    let links = shared.counts.in_memory.get().unsigned_abs();
    let elapsed_ms = started.elapsed().as_millis() as u64;
    info!(links, complete, elapsed_ms, "the link table is warm");
    shared.warmed.send_replace(Some(Warmed { links, complete }));
}

/// Ends the bulk reads; true when every slice is complete.
pub(super) async fn end(shared: &Shared, whole: bool) -> bool {
    let mut complete = true;
    for shard in 0..shared.lanes.len() {
        let ended = shared.addr(shard).send(EndWarm { whole }).await;
        complete &= ended.unwrap_or(false);
    }
    complete
}

/// A link with an empty target weighs at least this much: what is reserved stays within bounds.
const LEAST_LINK_BYTES: u64 = 128;

enum Scanned {
    Everything,
    /// Memory was full, or the server stops.
    Part,
}

#[derive(Clone, Copy, Default)]
struct Filling {
    links: u64,
    all_full: bool,
}

async fn scan(shared: &Shared) -> StorageResult<Scanned> {
    let mut after = Id(0);
    let mut waiting: Vec<Link> = Vec::new();
    loop {
        let links = read(shared, after).await?;
        let Some(last) = links.last() else {
            break;
        };
        after = last.id;
        let (plain, limited) = drafts(shared, links);
        waiting.extend(limited);
        let mut filling = fill(shared, plain).await;
        if waiting.len() >= BATCH as usize {
            let counted = count_clicks(shared, std::mem::take(&mut waiting)).await?;
            filling.all_full |= fill(shared, counted).await.all_full;
        }
        if filling.all_full || shared.is_stopping() {
            return Ok(Scanned::Part);
        }
    }
    let counted = count_clicks(shared, waiting).await?;
    fill(shared, counted).await;
    Ok(Scanned::Everything)
}

/// One bulk read; a store that fails is asked again a few times.
async fn read(shared: &Shared, after: Id) -> StorageResult<Vec<Link>> {
    let mut failures = 0;
    loop {
        match shared.store.scan(after, BATCH).await {
            Ok(links) => return Ok(links),
            Err(error) if failures >= FAILURES_MAX || !error.kind.retryable() => return Err(error),
            Err(_) => failures += 1,
        }
        sleep(FAILURE_WAIT).await;
    }
}

/// Splits links into those that can be served as they are and those that wait for the counters.
fn drafts(shared: &Shared, links: Vec<Link>) -> (Vec<Fresh>, Vec<Link>) {
    let mut limited = Vec::new();
    let mut plain = Vec::with_capacity(links.len());
    for link in links {
        if link.status == LinkStatus::Deleted {
            continue;
        }
        match work::uncounted(shared, &link) {
            Some(state) => plain.push(Fresh { key: (&link.key()).into(), state }),
            None => limited.push(link),
        }
    }
    (plain, limited)
}

/// Gives limited links their allowance.
async fn count_clicks(shared: &Shared, links: Vec<Link>) -> StorageResult<Vec<Fresh>> {
    if links.is_empty() {
        return Ok(Vec::new());
    }
    shared.clicks.recovered().await;
    let ids: Vec<Id> = links.iter().map(|link| link.id).collect();
    let clicks = shared.clicks.clicks(&ids).await?;
    let counted = links.iter().zip(clicks).map(|(link, clicks)| {
        let max = link.max_clicks.unwrap_or(u64::MAX);
        Fresh { key: (&link.key()).into(), state: work::limited(shared, link, max, clicks) }
    });
    Ok(counted.collect())
}

/// Sends each link to its owner and waits for all of them.
async fn fill(shared: &Shared, links: Vec<Fresh>) -> Filling {
    let mut filling = Filling { links: 0, all_full: true };
    let slices = work::by_owner(shared, links, |fresh| &fresh.key);
    for (shard, slice) in slices.into_iter().enumerate() {
        let filled = shared.addr(shard).send(Fill(slice)).await.unwrap_or_default();
        filling.links += filled.links;
        filling.all_full &= filled.full;
    }
    filling
}
