//! The threads that hash.
//!
//! Fed by: logins, registrations and changes of passwords, from all workers.
//! Feeds: whoever asked.
//! Bound: `passwords.queue` waiting, `passwords.threads` at work, each with `passwords.memory`.
//! When full: refused as busy at once; who waits longer than `passwords.queue_wait` as well.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::sync::oneshot;
use tracing::error;

use super::PasswordsConfig;
use super::denylist::{Denylist, DenylistError};
use super::kiln::{Kiln, Recipe};
use super::queue::{Queue, Refused};
use crate::domain::password::{Password, PasswordPolicy, Weakness};
use crate::telemetry::metrics::Metrics;

/// Judges, hashes and checks passwords. Cheap to clone; the threads end with the last clone.
#[derive(Clone)]
pub struct PasswordHasher(pub(super) Arc<Inner>);

/// What comes of checking a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub matches: bool,
    /// The password is right, and its hash has other parameters than are configured: store a new
    /// one.
    pub rehash: bool,
}

/// Why there is no hash, or no verdict.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    #[error("too many passwords are being checked; try again in a moment")]
    Busy,
    #[error("the password is too weak")]
    Weak(Vec<Weakness>),
    #[error("the stored hash is damaged, or of a kind that is not computed here")]
    Unreadable,
    #[error("no random bytes: {0}")]
    Entropy(getrandom::Error),
    #[error("the password could not be hashed")]
    Failed,
    #[error("passwords are not checked any more: the process stops")]
    Stopped,
}

/// Why the threads could not be started.
#[derive(Debug, thiserror::Error)]
pub enum PasswordStartError {
    #[error(transparent)]
    Denylist(#[from] DenylistError),
    #[error("`passwords.memory`, `passwords.iterations` and `passwords.parallelism`: {0}")]
    Parameters(argon2::Error),
    #[error("no random bytes: {0}")]
    Entropy(getrandom::Error),
    #[error("a thread that hashes passwords cannot be started: {0}")]
    Thread(io::Error),
}

pub(super) struct Inner {
    pub(super) queue: Arc<Queue>,
    queue_wait: Duration,
    rules: Arc<Rules>,
    refused: Counter,
}

/// What a new password is judged by.
struct Rules {
    policy: PasswordPolicy,
    denylist: Denylist,
}

impl PasswordHasher {
    /// Reads the list of refused passwords and starts the threads.
    pub fn start(config: &PasswordsConfig, metrics: &Metrics) -> Result<Self, PasswordStartError> {
        let (hasher, recipe) = Self::unmanned(config, metrics)?;
        for _ in 0..config.threads() {
            let (queue, mut kiln) = (Arc::clone(&hasher.0.queue), Kiln::new(Arc::clone(&recipe)));
            std::thread::Builder::new()
                .name("password-hasher".into())
                .spawn(move || {
                    step_back();
                    while work_once(&queue, &mut kiln) {}
                })
                .map_err(PasswordStartError::Thread)?;
        }
        Ok(hasher)
    }

    /// Everything but the threads.
    pub(super) fn unmanned(
        config: &PasswordsConfig,
        metrics: &Metrics,
    ) -> Result<(Self, Arc<Recipe>), PasswordStartError> {
        let denylist = config.denylist.as_deref().map(Denylist::read).transpose()?;
        let rules = Rules { policy: config.policy(), denylist: denylist.unwrap_or_default() };
        let recipe = Arc::new(Recipe::new(config)?);
        let queue = Arc::new(Queue::new(config.queue));
        let (depth, shown) = (metrics.password_hash_queue.clone(), Arc::clone(&queue));
        metrics.before_scrape(move || {
            depth.set(shown.depth() as i64);
        });
        let inner = Inner {
            queue,
            queue_wait: config.queue_wait.0,
            rules: Arc::new(rules),
            refused: metrics.password_hash_refused.clone(),
        };
        Ok((Self(Arc::new(inner)), recipe))
    }

    /// Fails as busy while nobody more may wait. Asked before anything else is done for somebody
    /// with a password, so that a crowd costs little.
    pub fn admit(&self) -> Result<(), PasswordError> {
        if self.0.queue.is_full() { Err(self.busy()) } else { Ok(()) }
    }

    /// Judges a new password and hashes it. `own` is what is known of whoever chooses it: e-mail
    /// address, name. `Weak` names every rule that it breaks.
    pub async fn hash_new(
        &self,
        password: Password,
        own: Vec<String>,
    ) -> Result<String, PasswordError> {
        let rules = Arc::clone(&self.0.rules);
        self.run(move |kiln| {
            rules.judge(&password, &own)?;
            kiln.hash(&password)
        })
        .await
    }

    /// Hashes a password as it is, into a text that holds parameters and salt: for one that was
    /// right and whose hash is out of date.
    pub async fn hash(&self, password: Password) -> Result<String, PasswordError> {
        self.run(move |kiln| kiln.hash(&password)).await
    }

    /// Checks a password. Without a stored hash it costs the same and never matches, so that nobody
    /// learns from the time which accounts there are.
    pub async fn verify(
        &self,
        password: Password,
        stored: Option<String>,
    ) -> Result<Verdict, PasswordError> {
        self.run(move |kiln| kiln.verify(&password, stored.as_deref())).await
    }

    /// Has a thread do the work. If this future is dropped before one begins, none does.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Kiln) -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let (answer, mut answered) = oneshot::channel();
        let pushed = self.0.queue.push(Box::new(move |kiln| {
            let _ = answer.send(work(kiln));
        }));
        let claim = match pushed {
            Ok(claim) => claim,
            Err(Refused::Closed) => return Err(PasswordError::Stopped),
            Err(Refused::Full) => return Err(self.busy()),
        };
        let outcome = match tokio::time::timeout(self.0.queue_wait, &mut answered).await {
            Ok(outcome) => outcome,
            Err(_) if claim.give_up() => return Err(self.busy()),
            // It was begun just now, or takes long: what it costs is spent.
            Err(_) => answered.await,
        };
        // Dropped without an answer: it panicked, which is in the log, or the queue was closed.
        outcome.unwrap_or(Err(PasswordError::Failed))
    }

    fn busy(&self) -> PasswordError {
        self.0.refused.inc();
        PasswordError::Busy
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl Rules {
    fn judge(&self, password: &Password, own: &[String]) -> Result<(), PasswordError> {
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        let mut weaknesses = self.policy.weaknesses(password, &own);
        if self.denylist.contains(password) {
            weaknesses.push(Weakness::Listed);
        }
        if weaknesses.is_empty() { Ok(()) } else { Err(PasswordError::Weak(weaknesses)) }
    }
}

/// Does the next work. False: there will be none any more.
pub(super) fn work_once(queue: &Queue, kiln: &mut Kiln) -> bool {
    let Some(work) = queue.pop() else { return false };
    // A thread less would be missed by every login from now on.
    if catch_unwind(AssertUnwindSafe(|| work(kiln))).is_err() {
        error!("hashing a password panicked");
    }
    true
}

/// Lets every other thread go first, on Linux. A nice thread is not enough: the scheduler lets it
/// finish its slice of milliseconds before a worker that a redirect wakes. An idle one makes way at
/// once, and takes what time nobody wants.
fn step_back() {
    #[cfg(target_os = "linux")]
    {
        let none = libc::sched_param { sched_priority: 0 };
        #[expect(unsafe_code, reason = "the policy of a thread is a C function's to set")]
        // SAFETY: the parameter outlives the call, and 0 names the calling thread.
        let set = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const none) };
        if set != 0 {
            let error = io::Error::last_os_error();
            tracing::warn!(%error, "passwords are hashed at the priority of redirects");
        }
    }
}
