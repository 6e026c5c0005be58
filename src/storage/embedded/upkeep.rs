//! What the writer does besides commands: folds click deltas, indexes texts. In small steps, when
//! nothing waits; when much has piled up, between batches too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tracing::warn;

use super::fault::{Fault, Outcome};
use super::load::Load;
use super::log::LogBound;
use super::schema::CLICK_GROUPS;
use super::{fold, search};

/// Deltas of a group that are folded together at the latest. Bounds what readers add up.
const DELTAS_MAX: i64 = 64;
/// Rows of a group that are folded together at the latest.
const ROWS_MAX: i64 = 32_768;
/// How often the backlog is looked at, and how long the writer sleeps when there is none.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Pause between two steps when the writer is idle and more is to be folded.
const FOLD_PAUSE: Duration = Duration::from_millis(2);
/// Pause between two steps of indexing when a search waits for it.
const HURRY_PAUSE: Duration = Duration::from_millis(20);
/// Pause between two steps of indexing while the process has time to spare.
const CALM_PAUSE: Duration = Duration::from_millis(100);
/// Rows indexed per step, some ten milliseconds, and while redirects need the processor.
const TEXTS_PER_STEP: u32 = 256;
const TEXTS_PER_BUSY_STEP: u32 = 16;
/// Pause after a step failed, so that a full disk is not hammered.
const REST: Duration = Duration::from_secs(10);

pub(super) struct Upkeep {
    /// Groups whose deltas are due, the largest backlog first.
    due: Vec<Due>,
    looked_at: Instant,
    indexed_at: Instant,
    texts_waiting: bool,
    load: Load,
    hurry: Arc<AtomicBool>,
    rests_until: Option<Instant>,
    log: LogBound,
}

#[derive(Clone, Copy)]
struct Due {
    group: u64,
    /// Twice over the bound: not to be put off even when commands wait.
    pressing: bool,
}

impl Upkeep {
    pub(super) fn new(conn: &Connection, hurry: Arc<AtomicBool>) -> Outcome<Self> {
        let now = Instant::now();
        let mut upkeep = Self {
            due: Vec::new(),
            looked_at: now,
            indexed_at: now,
            texts_waiting: false,
            load: Load::start(),
            hurry,
            rests_until: None,
            log: LogBound::default(),
        };
        // A store whose statistics are damaged is opened all the same: links are not.
        upkeep.attempt(conn, Self::look);
        Ok(upkeep)
    }

    /// How long the writer may wait for commands before it calls `idle`.
    pub(super) fn patience(&self) -> Duration {
        if self.rests() {
            LOOK_EVERY
        } else if !self.due.is_empty() {
            FOLD_PAUSE
        } else if self.texts_waiting && self.hurry.load(Ordering::Relaxed) {
            HURRY_PAUSE
        } else if self.texts_waiting && !self.load.busy {
            CALM_PAUSE
        } else {
            LOOK_EVERY
        }
    }

    /// One step, while nothing waits.
    pub(super) fn idle(&mut self, conn: &Connection) {
        self.attempt(conn, |this, conn| {
            if let Some(due) = this.due.pop() {
                return fold(conn, due.group);
            }
            this.index(conn)?;
            this.look(conn)
        });
    }

    /// After a batch, while more commands may wait: only what is pressing.
    pub(super) fn after_batch(&mut self, conn: &Connection) {
        if self.looked_at.elapsed() < LOOK_EVERY {
            return;
        }
        self.attempt(conn, |this, conn| {
            if let Some(due) = this.due.pop_if(|due| due.pressing) {
                return fold(conn, due.group);
            }
            if this.indexed_at.elapsed() >= LOOK_EVERY {
                this.index(conn)?;
            }
            this.look(conn)
        });
    }

    fn index(&mut self, conn: &Connection) -> Outcome<()> {
        self.indexed_at = Instant::now();
        self.texts_waiting = search::has_pending(conn)?;
        self.load.look();
        if self.texts_waiting {
            let yields = self.load.busy && !self.hurry.load(Ordering::Relaxed);
            let limit = if yields { TEXTS_PER_BUSY_STEP } else { TEXTS_PER_STEP };
            in_transaction(conn, || search::index_some(conn, limit))?;
        } else {
            self.hurry.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    fn look(&mut self, conn: &Connection) -> Outcome<()> {
        self.looked_at = Instant::now();
        let mut statement = conn.prepare_cached(
            "SELECT id >> 48, count(*), sum(n_rows) FROM click_deltas GROUP BY 1 ORDER BY 3",
        )?;
        let mut found = statement.query([])?;
        self.due.clear();
        while let Some(row) = found.next()? {
            let (group, n_deltas, n_rows): (i64, i64, i64) =
                (row.get(0)?, row.get(1)?, row.get(2)?);
            let times_over = (n_deltas / DELTAS_MAX).max(n_rows / ROWS_MAX);
            if (0..CLICK_GROUPS as i64).contains(&group) && times_over >= 1 {
                self.due.push(Due { group: group as u64, pressing: times_over >= 2 });
            }
        }
        self.log.keep(conn)
    }

    fn rests(&self) -> bool {
        self.rests_until.is_some_and(|until| Instant::now() < until)
    }

    fn attempt(
        &mut self,
        conn: &Connection,
        step: impl FnOnce(&mut Self, &Connection) -> Outcome<()>,
    ) {
        if self.rests() {
            return;
        }
        self.rests_until = None;
        if let Err(fault) = step(self, conn) {
            warn!(error = %fault, "upkeep of the store failed and is tried again later");
            self.rests_until = Some(Instant::now() + REST);
        }
    }
}

/// Everything at once. Call inside a transaction.
pub(super) fn settle(conn: &Connection) -> Outcome<()> {
    (0..CLICK_GROUPS).try_for_each(|group| fold::fold_all(conn, group))?;
    while search::has_pending(conn)? {
        search::index_some(conn, TEXTS_PER_STEP)?;
    }
    Ok(())
}

/// Folds some of a group. What could be folded is, also when a shard of it is stuck.
fn fold(conn: &Connection, group: u64) -> Outcome<()> {
    let folded = in_transaction(conn, || fold::fold(conn, group))?;
    folded.stuck.map_or(Ok(()), |(shard, fault)| {
        Err(Fault::corrupt(format!("the counts of shard {shard}: {fault}")))
    })
}

fn in_transaction<T>(conn: &Connection, work: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let done = work().and_then(|value| {
        conn.prepare_cached("COMMIT")?.execute([])?;
        Ok(value)
    });
    if done.is_err() && !conn.is_autocommit() {
        conn.prepare_cached("ROLLBACK")?.execute([])?;
    }
    done
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;
    use crate::storage::embedded::{EmbeddedConfig, open_for_reading, open_for_writing};

    #[test]
    fn a_log_that_readers_kept_growing_is_written_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("shunt.db");
        let conn = open_for_writing(&file, &EmbeddedConfig::default()).unwrap();
        let mut upkeep = Upkeep::new(&conn, Arc::default()).unwrap();
        upkeep.log.bytes_max = 100_000;
        let log = || std::fs::metadata(folder.path().join("shunt.db-wal")).unwrap().len();
        let write = || {
            conn.execute_batch(
                "INSERT OR REPLACE INTO click_pages (id, body) VALUES (1, zeroblob(1000000))",
            )
            .unwrap();
        };
        write();
        let reader = open_for_reading(&file).unwrap();
        reader.execute_batch("BEGIN; SELECT count(*) FROM links").unwrap();
        write();
        let (before, started) = (log(), Instant::now());
        upkeep.idle(&conn);
        assert!(log() >= before, "what a reader may still need was cut off");
        assert!(started.elapsed() < Duration::from_secs(2), "the writer stood still for a reader");
        write();
        reader.execute_batch("COMMIT").unwrap();
        upkeep.log.tried_at = None;
        upkeep.idle(&conn);
        assert_eq!(log(), 0);
    }
}
