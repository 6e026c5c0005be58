//! How long one request waits for the store, over all that it asks of it.
//!
//! Whoever answers a request gives it a [`Patience`], and work that goes on elsewhere takes it
//! along. It is used up while something of the request waits for the store or for its turn, once
//! however much waits at the same time. What is left is the time limit of the next statement; a
//! statement that finds nothing left is not run. Nothing is cut short that is no statement: what
//! was begun sees that the store does not answer, as it would without a bound. What follows a
//! change that is made goes on without the request, see [`briefly`].
//!
//! Who was given no patience waits as long as its statements may take. Work that would rather wait
//! than fail, such as a start, asks again when a store hesitates, see [`persistent`].

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::error::{Op, StorageError, StorageErrorKind, StorageResult};
use crate::domain::limits::STORE_WAIT_SECS;

/// What a store waits for one statement at most. A request that waited so long in vain gives up.
pub const STATEMENT_MAX: Duration = Duration::from_secs(STORE_WAIT_SECS);
/// How long a request waits for what follows a change, and anybody else.
const BRIEFLY: Duration = Duration::from_secs(1);
const BRIEFLY_BY_NOBODY: Duration = Duration::from_secs(30);
/// The wait before a store that hesitated is asked again.
pub const HESITATION: Duration = Duration::from_millis(500);
/// What work with the patience of a request may take to say that there is none left.
const GRACE: Duration = Duration::from_millis(500);

tokio::task_local! {
    static CURRENT: Patience;
    static ASKS_AGAIN_UNTIL: Instant;
}

/// See above. Clones share what is left.
#[derive(Clone, Debug)]
pub struct Patience(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// Without what was used up since `since`.
    left: Duration,
    waiting: u32,
    since: Instant,
}

/// The patience of whoever made this, for another task; or none.
#[derive(Clone, Debug)]
pub struct Carried(Option<Patience>);

/// Something waits for as long as it is held.
struct Waiting(Patience);

impl Patience {
    pub fn new(left: Duration) -> Self {
        Self(Arc::new(Mutex::new(State { left, waiting: 0, since: Instant::now() })))
    }

    /// Does work that has this patience.
    pub async fn of<T>(self, work: impl Future<Output = T>) -> T {
        CURRENT.scope(self, work).await
    }

    fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    fn left(&self) -> Duration {
        self.state().left_now()
    }

    fn lose(&self) {
        self.state().left = Duration::ZERO;
    }

    fn wait(&self) -> Waiting {
        let mut state = self.state();
        if state.waiting == 0 {
            state.since = Instant::now();
        }
        state.waiting += 1;
        Waiting(self.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Carried {
    pub fn here() -> Self {
        Self(Patience::current())
    }

    pub async fn of<T>(self, work: impl Future<Output = T>) -> T {
        match self.0 {
            Some(patience) => patience.of(work).await,
            None => work.await,
        }
    }
}

impl State {
    fn left_now(&self) -> Duration {
        let used = if self.waiting > 0 { self.since.elapsed() } else { Duration::ZERO };
        self.left.saturating_sub(used)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut state = self.0.state();
        if state.waiting == 1 {
            state.left = state.left_now();
        }
        state.waiting -= 1;
    }
}

/// The same work with the patience of whoever calls this, to be done by another task.
pub fn carried<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    Carried::here().of(work)
}

/// Waits for something that may be given up at any time. Kind `Timeout`: for as long as there was
/// patience; what became of it is not known.
pub async fn within<T>(op: Op, work: impl Future<Output = T>) -> StorageResult<T> {
    limited(op, work, Duration::ZERO).await
}

/// The same for the answer of work that this patience was carried to, which ends by itself when
/// nothing is left. If it is late, it goes on without being heard.
pub async fn answered<T>(op: Op, work: impl Future<Output = T>) -> StorageResult<T> {
    limited(op, work, GRACE).await
}

/// The same for a statement, boxed because what the driver does is large. One that fails after
/// [`STATEMENT_MAX`] takes all patience: the store is silent.
pub async fn statement<T>(
    op: Op,
    work: Pin<Box<impl Future<Output = StorageResult<T>>>>,
) -> StorageResult<T> {
    let begun = Instant::now();
    let outcome = within(op, work).await.flatten();
    if outcome.is_err()
        && begun.elapsed() >= STATEMENT_MAX
        && let Some(patience) = Patience::current()
    {
        patience.lose();
    }
    outcome
}

/// Waits a moment for what goes on all the same; `None` when that takes longer.
pub async fn briefly<T>(work: impl Future<Output = T>) -> Option<T> {
    let Some(patience) = Patience::current() else {
        return timeout(BRIEFLY_BY_NOBODY, work).await.ok();
    };
    let _waiting = patience.wait();
    timeout(BRIEFLY.min(patience.left()), work).await.ok()
}

/// Does work whose reads, and plain writes, are asked again when they fail although the next one
/// may succeed: for so long, from now on. What it spawns does not have that.
pub async fn persistent<T>(max: Duration, work: impl Future<Output = T>) -> T {
    ASKS_AGAIN_UNTIL.scope(Instant::now() + max, work).await
}

/// A [`statement`] that may be asked twice.
pub async fn repeatable<T, F>(op: Op, ask: impl Fn() -> Pin<Box<F>>) -> StorageResult<T>
where
    F: Future<Output = StorageResult<T>>,
{
    loop {
        let outcome = statement(op, ask()).await;
        let may_again = ASKS_AGAIN_UNTIL.try_with(|until| Instant::now() < *until);
        match outcome {
            Err(error) if error.kind.retryable() && may_again == Ok(true) => (),
            outcome => return outcome,
        }
        sleep(HESITATION).await;
    }
}

async fn limited<T>(op: Op, work: impl Future<Output = T>, more: Duration) -> StorageResult<T> {
    let Some(patience) = Patience::current() else { return Ok(work.await) };
    let _waiting = patience.wait();
    let max = patience.left() + more;
    if max.is_zero() {
        return Err(impatient(op));
    }
    timeout(max, work).await.map_err(|_| impatient(op))
}

fn impatient(op: Op) -> StorageError {
    StorageError::new(StorageErrorKind::Timeout, op, "the request waited for the store too long")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::cell::Cell;

    use futures_util::future::join_all;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn time_counts_once_and_only_while_something_waits() {
        let patience = Patience::new(5 * SECOND);
        let work = async {
            sleep(60 * SECOND).await;
            join_all((0..9).map(|_| within("read", sleep(2 * SECOND)))).await;
        };
        patience.clone().of(work).await;
        assert_eq!(patience.left(), 3 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_waited_for_longer_than_in_all() {
        let begun = Instant::now();
        let work = async {
            within("read", sleep(2 * SECOND)).await.unwrap();
            let kind = within("read", sleep(60 * SECOND)).await.unwrap_err().kind;
            assert_eq!(kind, StorageErrorKind::Timeout);
            // Not even begun.
            within("read", async { panic!("it was") }).await.unwrap_err();
            assert_eq!(briefly(sleep(SECOND)).await, None);
        };
        Patience::new(5 * SECOND).of(work).await;
        assert_eq!(begun.elapsed(), 5 * SECOND);
        within("read", sleep(60 * SECOND)).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_goes_on_without_a_request_is_waited_for_a_moment_only() {
        let begun = Instant::now();
        let patience = Patience::new(5 * SECOND);
        patience.clone().of(briefly(sleep(3 * SECOND))).await.ok_or(()).unwrap_err();
        assert_eq!((begun.elapsed(), patience.left()), (SECOND, 4 * SECOND));
        assert_eq!(briefly(sleep(3 * SECOND)).await, Some(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_statement_takes_all_of_it() {
        let patience = Patience::new(60 * SECOND);
        let silent = async {
            sleep(STATEMENT_MAX).await;
            Err::<(), _>(impatient("read"))
        };
        patience.clone().of(statement("read", Box::pin(silent))).await.unwrap_err();
        assert_eq!(patience.left(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn persistent_work_asks_again_for_as_long_as_it_may() {
        let n_asked = Cell::new(0);
        let ask = |kind| {
            let count = &n_asked;
            repeatable("read", move || {
                Box::pin(async move {
                    count.set(count.get() + 1);
                    Err::<(), _>(StorageError::new(kind, "read", "told to fail"))
                })
            })
        };
        let mut begun = Instant::now();
        ask(StorageErrorKind::Unavailable).await.unwrap_err();
        assert_eq!((n_asked.take(), begun.elapsed()), (1, Duration::ZERO));
        persistent(3 * SECOND, ask(StorageErrorKind::Damaged)).await.unwrap_err();
        assert_eq!((n_asked.take(), begun.elapsed()), (1, Duration::ZERO));
        begun = Instant::now();
        persistent(3 * SECOND, ask(StorageErrorKind::Timeout)).await.unwrap_err();
        assert_eq!((n_asked.take(), begun.elapsed()), (7, 3 * SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn work_elsewhere_has_it_too_and_is_heard_when_it_ends() {
        let work = async {
            let task = tokio::spawn(carried(within("write", sleep(60 * SECOND))));
            answered("write", task).await.unwrap().unwrap().unwrap_err();
        };
        Patience::new(SECOND).of(work).await;
    }
}
