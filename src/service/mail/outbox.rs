//! Mails on their way to the mail server.
//!
//! Fed by: whatever request has a mail to send, from all workers.
//! Feeds: the mailer, a few mails at a time.
//! Bound: `MAILS_MAX`, those that wait to be tried again included.
//! When full: the mail is dropped and counted; nobody waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tracing::{debug, warn};

use super::{Mail, MailError, Mailer};
use crate::telemetry::metrics::{Metrics, ResultLabel};

/// Mails that may be on their way.
const MAILS_MAX: usize = 1_000;
/// Conversations with the mail server at a time.
const CONVERSATIONS_MAX: usize = 4;

/// How long a mail waits before it is tried again, per try that failed.
#[derive(Clone, Debug)]
pub struct Pauses(pub Vec<Duration>);

/// What became of a mail that was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enqueued {
    /// It is tried, if need be several times.
    Taken,
    /// Too many are on their way, or the process stops: it is dropped.
    Dropped,
}

/// Takes mails and returns at once. Cheap to clone.
#[derive(Clone)]
pub struct Outbox(Arc<Inner>);

struct Inner {
    mailer: Arc<dyn Mailer>,
    metrics: Arc<Metrics>,
    pauses: Pauses,
    /// The runtime that sends: that of a worker may end before the mail is on its way.
    runtime: Handle,
    places: Arc<Semaphore>,
    n_places: u32,
    conversations: Semaphore,
    draining: watch::Sender<bool>,
    /// Whether the last mail was taken: only the change is news.
    reachable: AtomicBool,
}

/// A mail's place among those on their way.
struct Place {
    _permit: OwnedSemaphorePermit,
    waiting: Gauge,
}

impl Default for Pauses {
    /// Three tries within about a minute.
    fn default() -> Self {
        Self(vec![Duration::from_secs(5), Duration::from_secs(45)])
    }
}

impl Outbox {
    /// Call inside the runtime that is to send.
    pub fn start(mailer: Arc<dyn Mailer>, metrics: Arc<Metrics>) -> Self {
        Self::start_with(mailer, metrics, Pauses::default(), MAILS_MAX)
    }

    /// As `start`, with other pauses and another bound.
    pub fn start_with(
        mailer: Arc<dyn Mailer>,
        metrics: Arc<Metrics>,
        pauses: Pauses,
        mails_max: usize,
    ) -> Self {
        Self(Arc::new(Inner {
            mailer,
            metrics,
            pauses,
            runtime: Handle::current(),
            places: Arc::new(Semaphore::new(mails_max)),
            n_places: u32::try_from(mails_max).unwrap_or(u32::MAX),
            conversations: Semaphore::new(CONVERSATIONS_MAX),
            draining: watch::Sender::new(false),
            reachable: AtomicBool::new(true),
        }))
    }

    /// Hands a mail over.
    pub fn enqueue(&self, mail: Mail) -> Enqueued {
        let inner = Arc::clone(&self.0);
        let permit = match Arc::clone(&inner.places).try_acquire_owned() {
            Ok(permit) if !*inner.draining.borrow() => permit,
            _ => {
                inner.count("dropped");
                return Enqueued::Dropped;
            }
        };
        let place = Place::new(permit, inner.metrics.mails_waiting.clone());
        self.0.runtime.spawn(async move {
            inner.deliver(&mail).await;
            drop(place);
        });
        Enqueued::Taken
    }

    /// Takes no more mails and waits for those on their way, each of which has one more try: those
    /// that wait for it have it now. False: some were left after `max`.
    pub async fn drain(&self, max: Duration) -> bool {
        self.0.draining.send_replace(true);
        let all = self.0.places.acquire_many(self.0.n_places);
        let drained = tokio::time::timeout(max, all).await.is_ok();
        if !drained {
            let n_left = self.0.metrics.mails_waiting.get();
            warn!(n_left, "mails were not sent before the stop");
        }
        drained
    }
}

impl Inner {
    async fn deliver(&self, mail: &Mail) {
        let mut pauses = self.pauses.0.iter();
        loop {
            let outcome = self.try_once(mail).await;
            let pause = match outcome {
                Ok(()) => return self.count("sent"),
                Err(error) if error.retryable() && !*self.draining.borrow() => pauses.next(),
                Err(_) => None,
            };
            let Some(pause) = pause else { return self.count("failed") };
            let mut draining = self.draining.subscribe();
            let _ = tokio::time::timeout(*pause, draining.wait_for(|draining| *draining)).await;
        }
    }

    async fn try_once(&self, mail: &Mail) -> Result<(), MailError> {
        let conversation = self.conversations.acquire().await;
        let outcome = self.mailer.send(mail).await;
        drop(conversation);
        let reachable = !matches!(outcome, Err(MailError::Deferred(_)));
        let was_reachable = self.reachable.swap(reachable, Ordering::Relaxed);
        match &outcome {
            Ok(()) => debug!("a mail was sent"),
            Err(error) if !error.retryable() => warn!(%error, "a mail was not sent"),
            Err(error) if was_reachable => warn!(%error, "mails are not taken; they wait"),
            Err(error) => debug!(%error, "a mail is not taken"),
        }
        outcome
    }

    fn count(&self, result: &'static str) {
        self.metrics.mails.get_or_create(&ResultLabel { result }).inc();
    }
}

impl Place {
    fn new(permit: OwnedSemaphorePermit, waiting: Gauge) -> Self {
        waiting.inc();
        Self { _permit: permit, waiting }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waiting.dec();
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use tokio::time::Instant;

    use super::*;

    /// Answers as it is told, then takes everything; remembers when it was asked for what.
    #[derive(Default)]
    struct Scripted {
        answers: Mutex<Vec<Result<(), MailError>>>,
        asked: Mutex<Vec<(String, Instant)>>,
        hangs: AtomicBool,
    }

    #[async_trait]
    impl Mailer for Scripted {
        async fn send(&self, mail: &Mail) -> Result<(), MailError> {
            self.asked.lock().unwrap().push((mail.subject.clone(), Instant::now()));
            if self.hangs.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            let mut answers = self.answers.lock().unwrap();
            if answers.is_empty() { Ok(()) } else { answers.remove(0) }
        }
    }

    fn deferred() -> Result<(), MailError> {
        Err(MailError::Deferred("4.2.1 busy".to_owned()))
    }

    fn mail(subject: &str) -> Mail {
        Mail {
            to: "margaret@example.com".to_owned(),
            subject: subject.to_owned(),
            text: String::new(),
        }
    }

    struct Desk {
        mailer: Arc<Scripted>,
        metrics: Arc<Metrics>,
        outbox: Outbox,
    }

    impl Desk {
        fn new(answers: Vec<Result<(), MailError>>, mails_max: usize) -> Self {
            let mailer = Arc::new(Scripted { answers: answers.into(), ..Scripted::default() });
            let metrics = Metrics::new();
            let outbox = Outbox::start_with(
                Arc::clone(&mailer) as Arc<dyn Mailer>,
                Arc::clone(&metrics),
                Pauses::default(),
                mails_max,
            );
            Self { mailer, metrics, outbox }
        }

        fn counted(&self, result: &'static str) -> u64 {
            self.metrics.mails.get_or_create(&ResultLabel { result }).get()
        }

        async fn idle(&self) {
            while self.metrics.mails_waiting.get() > 0 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }

        fn n_asked(&self) -> usize {
            self.mailer.asked.lock().unwrap().len()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_put_off_is_tried_three_times_within_about_a_minute() {
        let desk = Desk::new(vec![deferred(), deferred()], 10);
        let begun = Instant::now();
        assert_eq!(desk.outbox.enqueue(mail("later")), Enqueued::Taken);
        desk.idle().await;
        let asked = desk.mailer.asked.lock().unwrap().clone();
        let after: Vec<u64> = asked.iter().map(|(_, at)| (*at - begun).as_secs()).collect();
        assert_eq!(after, [0, 5, 50]);
        assert_eq!((desk.counted("sent"), desk.counted("failed")), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_third_failure_is_the_last_and_a_refusal_the_first() {
        let desk = Desk::new(vec![deferred(), deferred(), deferred()], 10);
        desk.outbox.enqueue(mail("never"));
        desk.idle().await;
        assert_eq!((desk.n_asked(), desk.counted("failed")), (3, 1));

        let desk = Desk::new(vec![Err(MailError::Refused("5.1.1".to_owned()))], 10);
        desk.outbox.enqueue(mail("refused"));
        desk.idle().await;
        assert_eq!((desk.n_asked(), desk.counted("failed"), desk.counted("sent")), (1, 1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_mail_that_waits_stands_in_nobodys_way() {
        let desk = Desk::new(vec![deferred()], 10);
        desk.outbox.enqueue(mail("first"));
        desk.outbox.enqueue(mail("second"));
        desk.idle().await;
        let asked = desk.mailer.asked.lock().unwrap().clone();
        let subjects: Vec<&str> = asked.iter().map(|(subject, _)| subject.as_str()).collect();
        assert_eq!(subjects, ["first", "second", "first"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_too_many_is_dropped_and_counted() {
        let desk = Desk::new(vec![deferred(), deferred()], 2);
        assert_eq!(desk.outbox.enqueue(mail("1")), Enqueued::Taken);
        assert_eq!(desk.outbox.enqueue(mail("2")), Enqueued::Taken);
        assert_eq!(desk.outbox.enqueue(mail("3")), Enqueued::Dropped);
        assert_eq!(desk.metrics.mails_waiting.get(), 2);
        desk.idle().await;
        assert_eq!(desk.outbox.enqueue(mail("4")), Enqueued::Taken);
        desk.idle().await;
        assert_eq!((desk.counted("sent"), desk.counted("dropped")), (3, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_gives_what_waits_its_last_try_and_takes_no_more() {
        let desk = Desk::new(vec![deferred(), deferred()], 10);
        desk.outbox.enqueue(mail("1"));
        desk.outbox.enqueue(mail("2"));
        while desk.n_asked() < 2 {
            tokio::task::yield_now().await;
        }
        let begun = Instant::now();
        assert!(desk.outbox.drain(Duration::from_secs(3)).await);
        assert!(begun.elapsed() < Duration::from_secs(1), "the pauses were waited for");
        assert_eq!((desk.n_asked(), desk.counted("sent")), (4, 2));
        assert_eq!(desk.outbox.enqueue(mail("3")), Enqueued::Dropped);
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_try_of_a_drain_is_the_last() {
        let desk = Desk::new(vec![deferred(), deferred(), deferred()], 10);
        desk.outbox.enqueue(mail("never"));
        while desk.n_asked() < 1 {
            tokio::task::yield_now().await;
        }
        assert!(desk.outbox.drain(Duration::from_secs(3)).await);
        assert_eq!((desk.n_asked(), desk.counted("failed"), desk.counted("sent")), (2, 1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_although_the_server_hangs() {
        let desk = Desk::new(Vec::new(), 10);
        desk.mailer.hangs.store(true, Ordering::Relaxed);
        for n in 0..6 {
            desk.outbox.enqueue(mail(&n.to_string()));
        }
        assert!(!desk.outbox.drain(Duration::from_secs(3)).await);
        assert_eq!(desk.n_asked(), CONVERSATIONS_MAX, "more conversations than allowed");
    }
}
