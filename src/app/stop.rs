//! Every step of the stop has a deadline: a disk that hangs answers never, not late.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::error;

/// Waits for a step of the stop. If it takes longer than `limit`, the process ends at once and
/// with code 1: whatever was to be dropped on an orderly way out would wait for the same thing.
/// Clicks that are not stored are in the journal, as after a kill.
pub(super) async fn within<T>(
    step: impl Display,
    limit: Duration,
    work: impl Future<Output = T>,
) -> T {
    match tokio::time::timeout(limit, work).await {
        Ok(outcome) => outcome,
        Err(_) => {
            error!(
                "the stop hangs while {step}, for {limit:?} already; the process ends here, and \
                 the next start counts what is in the journal; check the disk of `storage.path`"
            );
            std::process::exit(1)
        }
    }
}

/// Does what blocks on a thread of its own, so that it can be given up.
pub(super) async fn blocking(work: impl FnOnce() + Send + 'static) {
    let (done, ended) = oneshot::channel::<()>();
    let thread = std::thread::Builder::new().name("stop".to_owned()).spawn(move || {
        work();
        drop(done);
    });
    match thread {
        // It ends with an error because nothing is sent, also when the thread panicked.
        Ok(_) => drop(ended.await),
        Err(error) => error!(%error, "the last step of the stop could not be begun"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::process::{Command, Stdio};
    use std::sync::mpsc;
    use std::time::Instant;

    use super::*;

    const CHILD: &str = "STOP_TEST_CHILD";

    /// Hangs when it is dropped, as a store does whose writer hangs.
    struct Hangs;

    impl Drop for Hangs {
        fn drop(&mut self) {
            loop {
                std::thread::park();
            }
        }
    }

    /// Runs one test of this file in a process of its own; answers its exit code.
    fn run_alone(test: &str) -> Option<i32> {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("app::stop::tests::{test}")])
            .env(CHILD, "1")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (sent, ended) = mpsc::channel::<()>();
        let begun = Instant::now();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                drop(sent);
                return status.code();
            }
            if begun.elapsed() > Duration::from_secs(20) {
                child.kill().unwrap();
                return None;
            }
            let _ = ended.recv_timeout(Duration::from_millis(10));
        }
    }

    #[actix::test]
    async fn a_step_that_never_ends_ends_the_process() {
        if std::env::var_os(CHILD).is_none() {
            assert_eq!(run_alone("a_step_that_never_ends_ends_the_process"), Some(1));
            return;
        }
        let _store = Hangs;
        within("waiting", Duration::from_millis(50), std::future::pending::<()>()).await;
    }

    #[actix::test]
    async fn a_thread_that_never_ends_ends_the_process() {
        if std::env::var_os(CHILD).is_none() {
            assert_eq!(run_alone("a_thread_that_never_ends_ends_the_process"), Some(1));
            return;
        }
        let closing = blocking(|| drop(Hangs));
        within("closing", Duration::from_millis(50), closing).await;
    }

    #[actix::test]
    async fn a_step_that_ends_in_time_goes_on() {
        let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let flag = std::sync::Arc::clone(&done);
        let work = blocking(move || flag.store(true, std::sync::atomic::Ordering::Relaxed));
        within("working", Duration::from_secs(20), work).await;
        assert!(done.load(std::sync::atomic::Ordering::Relaxed));
        let answer = within("answering", Duration::from_secs(20), std::future::ready(7)).await;
        assert_eq!(answer, 7);
    }
}
