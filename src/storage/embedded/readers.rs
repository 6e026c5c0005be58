//! Readers: threads with a connection each. Short reads have threads of their own, so that a
//! search through millions of links never stands before the load of one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::oneshot;
use tracing::error;

use super::fault::{Fault, Outcome};
use super::queue::{Popped, Queue};
use crate::storage::{Op, StorageError, StorageErrorKind, StorageResult};

/// Reads that may wait per lane; more are refused as `Unavailable`.
const QUEUE_MAX: usize = 4_096;
/// How long a thread sleeps before it looks again; only closing matters meanwhile, and wakes it.
const NAP: Duration = Duration::from_secs(3_600);

/// Which threads do the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// Few rows by key.
    Short,
    /// Lists, scans, counts of everything.
    Long,
}

type Job = Box<dyn FnOnce(&Connection) + Send>;

pub(super) struct Readers {
    short: Arc<Queue<Job>>,
    long: Arc<Queue<Job>>,
    file: Arc<Path>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Readers {
    /// One thread per connection.
    pub(super) fn start(
        short: Vec<Connection>,
        long: Vec<Connection>,
        file: Arc<Path>,
    ) -> std::io::Result<Self> {
        let readers = Self {
            short: Arc::new(Queue::new(QUEUE_MAX)),
            long: Arc::new(Queue::new(QUEUE_MAX)),
            file,
            threads: Mutex::default(),
        };
        for (queue, conns) in [(readers.short.clone(), short), (readers.long.clone(), long)] {
            for conn in conns {
                let queue = Arc::clone(&queue);
                let thread = std::thread::Builder::new()
                    .name("store-reader".into())
                    .spawn(move || serve(&conn, &queue))?;
                readers.threads().push(thread);
            }
        }
        Ok(readers)
    }

    /// Runs `work` on a thread of `lane`, in one snapshot of the store.
    pub(super) async fn run<T, F>(&self, op: Op, lane: Lane, work: F) -> StorageResult<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Outcome<T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |conn| {
            // Nobody waits any more: do not spend time on it.
            if answer.is_closed() {
                return;
            }
            let outcome = catch_unwind(AssertUnwindSafe(|| in_snapshot(conn, work)))
                .unwrap_or_else(|_| Err(Fault::Invalid("the operation panicked".into())));
            let _ = answer.send(outcome);
        });
        let queue = match lane {
            Lane::Short => &self.short,
            Lane::Long => &self.long,
        };
        queue
            .push(job)
            .map_err(|refused| StorageError::new(StorageErrorKind::Unavailable, op, refused))?;
        match answered.await {
            Ok(outcome) => outcome.map_err(|fault| fault.into_error(op, &self.file)),
            Err(_) => {
                let gone = "the readers of the store have stopped";
                Err(StorageError::new(StorageErrorKind::Unavailable, op, gone))
            }
        }
    }
}

impl Readers {
    /// Finishes what waits and closes the connections. What comes later is refused.
    pub(super) fn close(&self) {
        self.short.close();
        self.long.close();
        for thread in self.threads().drain(..) {
            if thread.join().is_err() {
                error!("a reader thread of the store panicked");
            }
        }
    }

    fn threads(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.close();
    }
}

/// One read transaction around `work`: what it reads belongs together.
pub(super) fn in_snapshot<T>(
    conn: &Connection,
    work: impl FnOnce(&Connection) -> Outcome<T>,
) -> Outcome<T> {
    if !conn.is_autocommit() {
        // A read that panicked left its snapshot open. It must not become that of all later reads.
        conn.prepare_cached("ROLLBACK")?.execute([])?;
    }
    conn.prepare_cached("BEGIN")?.execute([])?;
    let outcome = work(conn);
    if !conn.is_autocommit() {
        conn.prepare_cached("COMMIT")?.execute([])?;
    }
    outcome
}

fn serve(conn: &Connection, queue: &Queue<Job>) {
    loop {
        match queue.pop(1, NAP) {
            Popped::Closed => break,
            Popped::Idle => (),
            Popped::Work(jobs) => jobs.into_iter().for_each(|job| job(conn)),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_read_that_panics_does_not_spoil_the_next() {
        let conns = || vec![Connection::open_in_memory().unwrap()];
        let readers = Readers::start(conns(), conns(), Path::new("x").into()).unwrap();
        let panics = |_: &Connection| -> Outcome<()> { panic!("in the middle of a read") };
        let error = readers.run("test", Lane::Short, panics).await.unwrap_err();
        assert_eq!(error.kind, StorageErrorKind::Invalid);
        let read = |conn: &Connection| -> Outcome<i64> {
            Ok(conn.query_row("SELECT 7", [], |row| row.get(0))?)
        };
        assert_eq!(readers.run("test", Lane::Short, read).await.unwrap(), 7);
    }
}
