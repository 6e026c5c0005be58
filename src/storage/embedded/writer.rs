//! The one writer: a thread that owns the write connection and commits many commands at once.
//!
//! Every command of a batch runs in a savepoint of one transaction, so that one that fails takes
//! back its own changes only. Nobody is answered before the whole batch is durable.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::oneshot;
use tracing::error;

use super::fault::{Fault, Outcome, kind_of_commit};
use super::health::{Health, Trouble};
use super::queue::{Popped, Queue};
use super::upkeep::Upkeep;
use crate::storage::{Op, StorageError, StorageErrorKind, StorageResult};

/// Commands that may wait; more are refused as `Unavailable`.
const QUEUE_MAX: usize = 8_192;
/// Commands of one transaction.
const BATCH_MAX: usize = 512;

/// The way to the writer thread. Dropping it finishes what waits and joins the thread.
pub(super) struct Writer {
    queue: Arc<Queue<Box<dyn Job>>>,
    file: Arc<Path>,
    health: Arc<Health>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// One command with its answer, whatever their types.
trait Job: Send {
    fn run(&mut self, conn: &Connection) -> Result<(), Ran>;
    /// Answers. `lost` says why the transaction as a whole did not become durable.
    fn settle(self: Box<Self>, lost: Option<&Lost>, file: &Path);
}

/// The command failed; its fault is kept for the caller.
struct Ran {
    /// What it says about the store, if it was the store's fault.
    trouble: Option<String>,
}

/// Why a whole batch failed.
pub(super) struct Lost {
    pub(super) kind: StorageErrorKind,
    pub(super) text: String,
}

struct Call<F, T> {
    op: Op,
    work: Option<F>,
    outcome: Option<Outcome<T>>,
    answer: oneshot::Sender<StorageResult<T>>,
}

impl Writer {
    pub(super) fn start(
        conn: Connection,
        upkeep: Upkeep,
        file: Arc<Path>,
    ) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::new(QUEUE_MAX));
        let health = Arc::new(Health::of(Arc::clone(&file))?);
        let thread = std::thread::Builder::new().name("store-writer".into()).spawn({
            let (file, health, queue) =
                (Arc::clone(&file), Arc::clone(&health), Arc::clone(&queue));
            move || serve(&conn, &queue, upkeep, &file, &health)
        })?;
        Ok(Self { queue, file, health, thread: Mutex::new(Some(thread)) })
    }

    /// Why the last write failed; nothing when it did not.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.health.trouble()
    }

    /// Runs `work` in a transaction. Durable when it returns. Goes on when the caller is dropped.
    pub(super) async fn run<T, F>(&self, op: Op, work: F) -> StorageResult<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Outcome<T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let call = Call { op, work: Some(work), outcome: None, answer };
        self.queue
            .push(Box::new(call))
            .map_err(|refused| StorageError::new(StorageErrorKind::Unavailable, op, refused))?;
        answered.await.unwrap_or_else(|_| {
            let gone = format!("the writer of {} has stopped", self.file.display());
            Err(StorageError::new(StorageErrorKind::Timeout, op, gone))
        })
    }
}

impl Writer {
    /// Finishes what waits and closes the connection. What comes later is refused.
    pub(super) fn close(&self) {
        self.queue.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            error!("the store's writer thread panicked");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

impl<T, F> Job for Call<F, T>
where
    T: Send + 'static,
    F: FnOnce(&Connection) -> Outcome<T> + Send + 'static,
{
    fn run(&mut self, conn: &Connection) -> Result<(), Ran> {
        let Some(work) = self.work.take() else {
            return Err(Ran { trouble: None });
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| work(conn)))
            .unwrap_or_else(|_| Err(Fault::Invalid("the operation panicked".into())));
        let ran = match &outcome {
            Ok(_) => Ok(()),
            Err(fault) => Err(Ran { trouble: fault.trouble() }),
        };
        self.outcome = Some(outcome);
        ran
    }

    fn settle(self: Box<Self>, lost: Option<&Lost>, file: &Path) {
        let outcome = match (self.outcome, lost) {
            (Some(Err(fault)), _) => Err(fault),
            (_, Some(lost)) => Err(Fault::Batch { kind: lost.kind, text: lost.text.clone() }),
            (Some(Ok(value)), None) => Ok(value),
            (None, None) => Err(Fault::Invalid("the operation was not run".into())),
        };
        // The caller may have gone away; the work is done all the same.
        let _ = self.answer.send(outcome.map_err(|fault| fault.into_error(self.op, file)));
    }
}

fn serve(
    conn: &Connection,
    queue: &Queue<Box<dyn Job>>,
    mut upkeep: Upkeep,
    file: &Path,
    health: &Health,
) {
    loop {
        match queue.pop(BATCH_MAX, upkeep.patience()) {
            Popped::Closed => return upkeep.close(conn),
            Popped::Idle => upkeep.idle(conn),
            Popped::Work(jobs) => {
                commit(conn, jobs, file, health);
                upkeep.after_batch(conn);
            }
        }
    }
}

/// Runs a batch and answers it. Nothing is answered well that the next start would not find.
fn commit(conn: &Connection, mut jobs: Vec<Box<dyn Job>>, file: &Path, health: &Health) {
    let done = health.find_file().and_then(|()| {
        let trouble = transact(conn, &mut jobs)?;
        // It took effect, but in a file that may be gone: nobody knows what the next start finds.
        health.find_file().map_err(|lost| Lost { kind: StorageErrorKind::Timeout, ..lost })?;
        Ok(trouble)
    });
    let lost = done.as_ref().err();
    health.note(match &done {
        Ok(trouble) => trouble.clone(),
        Err(lost) => Some(lost.text.clone()),
    });
    for job in jobs {
        job.settle(lost, file);
    }
}

/// Answers what a command that failed alone says about the store.
fn transact(conn: &Connection, jobs: &mut [Box<dyn Job>]) -> Result<Option<String>, Lost> {
    let mut trouble = None;
    let began = step(conn, "BEGIN IMMEDIATE").map_err(|fault| lost(&fault, fault.kind()));
    let done = began.and_then(|()| {
        for job in jobs.iter_mut() {
            trouble = trouble.take().or(run_in_savepoint(conn, job.as_mut())?);
        }
        step(conn, "COMMIT").map_err(|fault| {
            let kind = match &fault {
                Fault::Sql(error) => kind_of_commit(error),
                other => other.kind(),
            };
            lost(&fault, kind)
        })
    });
    if done.is_err() && !conn.is_autocommit() {
        // Nothing can be done about a failure here: the next BEGIN fails and is reported.
        let _ = step(conn, "ROLLBACK");
    }
    done.map(|()| trouble)
}

fn run_in_savepoint(conn: &Connection, job: &mut dyn Job) -> Result<Option<String>, Lost> {
    let fail = |fault: Fault| lost(&fault, fault.kind());
    step(conn, "SAVEPOINT command").map_err(fail)?;
    let ran = job.run(conn);
    if conn.is_autocommit() {
        // A full disk and the like end the whole transaction, the commands before this included.
        return Err(Lost {
            kind: StorageErrorKind::Unavailable,
            text: "the store took back the transaction because another operation in it failed"
                .into(),
        });
    }
    let mut trouble = None;
    if let Err(failed) = ran {
        step(conn, "ROLLBACK TO command").map_err(fail)?;
        trouble = failed.trouble;
    }
    step(conn, "RELEASE command").map_err(fail)?;
    Ok(trouble)
}

fn lost(fault: &Fault, kind: StorageErrorKind) -> Lost {
    Lost { kind, text: fault.to_string() }
}

fn step(conn: &Connection, sql: &str) -> Outcome<()> {
    conn.prepare_cached(sql)?.execute([])?;
    Ok(())
}
