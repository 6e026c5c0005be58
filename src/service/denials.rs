//! Refusals for want of rights, put into the audit log behind the answer: whoever is refused in a
//! flood must not slow down those who are not.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tracing::{info, warn};

use crate::domain::audit::AuditDraft;
use crate::domain::id::Id;
use crate::storage::StorageResult;
use crate::storage::audit::AuditStore;
use crate::storage::patience::Patience;

/// Refusals of one workspace that are recorded in one second; more are counted.
const PER_SECOND_MAX: u32 = 10;
/// Refusals that wait to be written; more are counted.
const WAITING_MAX: usize = 2_048;
/// How long a write of them waits for a database.
const WRITE_MAX: Duration = Duration::from_secs(2);
/// How often those that wait are written.
const WRITE_EVERY: Duration = Duration::from_millis(250);

/// Records refusals. Shared by all workers.
pub struct Denials {
    store: Arc<dyn AuditStore>,
    unrecorded: Counter,
    waiting: Mutex<Waiting>,
    /// One write at a time keeps them in order.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Waiting {
    entries: Vec<AuditDraft>,
    /// The second that `taken` is about.
    second: i64,
    taken: HashMap<Id, u32>,
}

impl Denials {
    /// `unrecorded` counts what is not recorded because too much comes at once.
    pub fn new(store: Arc<dyn AuditStore>, unrecorded: Counter) -> Self {
        let (waiting, writing) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { store, unrecorded, waiting, writing }
    }

    /// Takes an entry to be written soon. Never waits.
    pub fn record(&self, entry: AuditDraft) {
        let mut waiting = self.lock();
        let second = entry.act.at.as_millis().div_euclid(1_000);
        if second != waiting.second {
            waiting.second = second;
            waiting.taken.clear();
        }
        let taken = waiting.taken.entry(entry.act.workspace).or_default();
        *taken += 1;
        let too_many = *taken > PER_SECOND_MAX;
        if too_many || waiting.entries.len() >= WAITING_MAX {
            self.unrecorded.inc();
        } else {
            waiting.entries.push(entry);
        }
    }

    /// Writes what comes for as long as it is polled. Spawn it.
    pub async fn follow(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(WRITE_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut reachable = true;
        loop {
            ticks.tick().await;
            let outcome = self.flush().await;
            // Only the change is news.
            match (&outcome, reachable) {
                (Err(error), true) => warn!(%error, "refusals wait to be put into the audit log"),
                (Ok(()), false) => info!("refusals are put into the audit log again"),
                _ => (),
            }
            reachable = outcome.is_ok();
        }
    }

    /// Writes what waits. Call it last at a drain. What cannot be written waits on.
    pub async fn flush(&self) -> StorageResult<()> {
        let _turn = self.writing.lock().await;
        let entries = std::mem::take(&mut self.lock().entries);
        if entries.is_empty() {
            return Ok(());
        }
        // A stop does not wait long for whoever has the turn.
        let appending = self.store.append(entries.clone());
        let outcome = Patience::new(WRITE_MAX).of(appending).await;
        // What became of a write that timed out is not known: told twice is better than never.
        if outcome.is_err() {
            let mut waiting = self.lock();
            let later = std::mem::replace(&mut waiting.entries, entries);
            waiting.entries.extend(later);
        }
        outcome
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;
    use crate::domain::audit::{Act, AuditAction};
    use crate::domain::time::Timestamp;
    use crate::storage::Stores;
    use crate::storage::audit::AuditQuery;
    use crate::storage::memory::MemoryStore;

    const HOME: Id = Id(1);

    fn denied(workspace: Id, at: i64) -> AuditDraft {
        Act::on_command_line(workspace, Timestamp(at)).entry(AuditAction::AccessDenied, None)
    }

    async fn recorded(stores: &Stores, workspace: Id) -> usize {
        let query = AuditQuery { workspace, limit: 10_000, ..AuditQuery::default() };
        stores.audit.audit_log(query).await.unwrap().entries.len()
    }

    #[tokio::test]
    async fn a_flood_is_recorded_in_part_and_the_rest_counted() {
        let (stores, counter) = (MemoryStore::new(), Counter::default());
        let denials = Denials::new(Arc::clone(&stores.audit), counter.clone());
        for _ in 0..25 {
            denials.record(denied(HOME, 5_000));
        }
        denials.record(denied(Id(2), 5_999));
        denials.record(denied(HOME, 6_000));
        assert_eq!(recorded(&stores, HOME).await, 0, "nobody waits for the store");
        denials.flush().await.unwrap();
        assert_eq!((recorded(&stores, HOME).await, recorded(&stores, Id(2)).await), (11, 1));
        assert_eq!(counter.get(), 15);
        denials.flush().await.unwrap();
        assert_eq!(recorded(&stores, HOME).await, 11, "each is told once");
    }

    #[tokio::test]
    async fn what_waits_has_a_bound() {
        let (stores, counter) = (MemoryStore::new(), Counter::default());
        let denials = Denials::new(Arc::clone(&stores.audit), counter.clone());
        for n in 0..WAITING_MAX as i64 + 7 {
            denials.record(denied(HOME, n * 1_000));
        }
        denials.flush().await.unwrap();
        assert_eq!((recorded(&stores, HOME).await, counter.get()), (WAITING_MAX, 7));
    }
}
