//! Takes down the links of workspaces that nobody belongs to any more. A workspace stays marked
//! until that is done, so that neither a crash nor an outage leaves a link behind.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Notify;
use tracing::{info, warn};

use crate::actors::links::{LinkTable, LoadError};
use crate::domain::audit::Act;
use crate::domain::destination::Destination;
use crate::domain::id::Id;
use crate::domain::limits::PAGE_ROWS_MAX;
use crate::domain::link::{Link, LinkStatus};
use crate::domain::time::Clock;
use crate::storage::people::TeamStore;
use crate::storage::{LinkQuery, LinkStore, Replace, StorageError};

/// How often marks are looked for that an outage left.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How long whoever closes a workspace waits for its links to be gone.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// Where links lead that lead nowhere any more: nothing of it tells whose they were.
const NOWHERE: &str = "https://erased.invalid/";

/// Takes links down. One at a time, however many ask.
pub struct Undertaker {
    table: LinkTable,
    links: Arc<dyn LinkStore>,
    teams: Arc<dyn TeamStore>,
    clock: Arc<dyn Clock>,
    woken: Notify,
    at_work: tokio::sync::Mutex<()>,
}

/// Why links are still there.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClosingError {
    #[error("links changed again and again while they were taken down")]
    Unsettled,
    #[error("the place where erased links lead is no destination")]
    Nowhere,
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Undertaker {
    pub fn new(
        table: LinkTable,
        links: Arc<dyn LinkStore>,
        teams: Arc<dyn TeamStore>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (woken, at_work) = (Notify::new(), tokio::sync::Mutex::default());
        Self { table, links, teams, clock, woken, at_work }
    }

    /// Takes down what is to be taken down, now and whenever more comes. Spawn it.
    pub async fn follow(self: Arc<Self>) {
        loop {
            if let Err(error) = self.work().await {
                warn!(%error, "links of a closed workspace are still there; tried again later");
            }
            let _ = tokio::time::timeout(LOOK_EVERY, self.woken.notified()).await;
        }
    }

    /// Waits for a while until the links of closed workspaces are gone. What is left then, or after
    /// a failure, goes on behind.
    pub(super) async fn settle(&self) {
        if !matches!(tokio::time::timeout(WAIT_MAX, self.work()).await, Ok(Ok(()))) {
            self.woken.notify_one();
        }
    }

    async fn work(&self) -> Result<(), ClosingError> {
        let _turn = self.at_work.lock().await;
        for workspace in self.teams.closed_workspaces().await? {
            let n_links = self.take_down(workspace).await?;
            self.teams.finish_closing(workspace).await?;
            info!(%workspace, n_links, "a workspace is closed and its links are gone");
        }
        Ok(())
    }

    async fn take_down(&self, workspace: Id) -> Result<usize, ClosingError> {
        let nowhere = Destination::from_stored(NOWHERE).map_err(|_| ClosingError::Nowhere)?;
        let mut n_gone = 0;
        loop {
            let now = self.clock.now();
            let query = LinkQuery { workspace, limit: PAGE_ROWS_MAX, now, ..LinkQuery::default() };
            let page = self.links.list(&query).await?.links;
            if page.is_empty() {
                return Ok(n_gone);
            }
            let act = Act::by_itself(workspace, now);
            let erased = page.into_iter().map(|link| Link {
                destination: nowhere.clone(),
                title: String::new(),
                notes: String::new(),
                tags: Vec::new(),
                expired_url: None,
                external_id: None,
                status: LinkStatus::Deleted,
                updated_at: now.max(link.updated_at),
                version: link.version + 1,
                ..link
            });
            let outcomes = join_all(erased.map(|link| self.table.replace(link, Some(act)))).await;
            let mut n_done = 0;
            for outcome in outcomes {
                n_done += usize::from(outcome? == Replace::Done);
            }
            if n_done == 0 {
                return Err(ClosingError::Unsettled);
            }
            n_gone += n_done;
        }
    }
}
