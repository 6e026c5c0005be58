//! The queue in front of the threads, worked off by hand where order matters.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::hasher::work_once;
use super::kiln::Kiln;
use super::*;
use crate::domain::password::{Password, Weakness};
use crate::telemetry::metrics::Metrics;

/// Cheap hashes: what is tested here is the way to them.
fn config() -> PasswordsConfig {
    PasswordsConfig {
        memory: Size(64 << 10),
        iterations: 1,
        queue: 3,
        ..PasswordsConfig::default()
    }
}

struct Desk {
    hasher: PasswordHasher,
    kiln: Kiln,
    metrics: Arc<Metrics>,
}

impl Desk {
    fn new() -> Self {
        let metrics = Metrics::new();
        let (hasher, recipe) = PasswordHasher::unmanned(&config(), &metrics).unwrap();
        Self { hasher, kiln: Kiln::new(recipe), metrics }
    }

    fn work_once(&mut self) -> bool {
        work_once(&self.hasher.0.queue, &mut self.kiln)
    }

    fn metric(&self, name: &str) -> String {
        let text = self.metrics.render().unwrap();
        let line = text.lines().find(|line| line.split(' ').next() == Some(name));
        line.unwrap_or_else(|| panic!("no {name}")).rsplit(' ').next().unwrap().to_owned()
    }
}

async fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::future::poll_fn(|context| Poll::Ready(Pin::new(&mut *future).poll(context))).await
}

fn password(text: &str) -> Password {
    Password::new(text.to_owned())
}

#[tokio::test]
async fn a_password_is_hashed_and_checked_on_other_threads() {
    let config = PasswordsConfig { threads: 2, ..config() };
    let hasher = PasswordHasher::start(&config, &Metrics::new()).unwrap();
    let text = hasher.hash(password("right")).await.unwrap();
    let checked = [("right", true), ("wrong", false)].map(|(tried, matches)| {
        let (hasher, text) = (hasher.clone(), text.clone());
        async move {
            let verdict = hasher.verify(password(tried), Some(text)).await.unwrap();
            assert_eq!(verdict, Verdict { matches, rehash: false });
        }
    });
    futures_util::future::join_all(checked).await;
    assert!(!hasher.verify(password("right"), None).await.unwrap().matches);
}

#[tokio::test]
async fn a_new_password_is_judged_before_it_is_hashed() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("known.txt");
    std::fs::write(&list, "xK9qLm2Zp7Rv\n").unwrap();
    let config = PasswordsConfig { threads: 1, denylist: Some(list.clone()), ..config() };
    let hasher = PasswordHasher::start(&config, &Metrics::new()).unwrap();
    let own = || vec!["Margaret Hamilton".to_owned()];
    for (text, expected) in [
        ("xK9qLm2Zp7Rv", vec![Weakness::Listed]),
        ("XK9QLM2ZP7RV", vec![Weakness::NoLower, Weakness::Listed]),
        ("Hamilton1", vec![Weakness::Common]),
        (
            "short",
            vec![
                Weakness::TooShort { chars_min: 8 },
                Weakness::NoUpper,
                Weakness::NoDigit,
                Weakness::Common,
            ],
        ),
    ] {
        match hasher.hash_new(password(text), own()).await {
            Err(PasswordError::Weak(weaknesses)) => assert_eq!(weaknesses, expected, "{text}"),
            other => panic!("{text}: {other:?}"),
        }
    }
    let text = hasher.hash_new(password("correct Horse battery 9"), own()).await.unwrap();
    let verdict = hasher.verify(password("correct Horse battery 9"), Some(text)).await.unwrap();
    assert!(verdict.matches);

    std::fs::remove_file(&list).unwrap();
    let error = PasswordHasher::start(&config, &Metrics::new()).err().unwrap().to_string();
    assert!(error.contains("`passwords.denylist`") && error.contains("known.txt"), "{error}");
}

#[tokio::test]
async fn more_than_the_queue_holds_is_refused_at_once() {
    let mut desk = Desk::new();
    let hasher = desk.hasher.clone();
    let hash = || Box::pin(hasher.hash(password("right")));
    let mut waiting = [hash(), hash(), hash()];
    for one in &mut waiting {
        assert!(poll(one).await.is_pending());
    }
    assert_eq!(desk.metric("shunt_password_hash_queue"), "3");
    assert!(matches!(poll(&mut hash()).await, Poll::Ready(Err(PasswordError::Busy))));
    assert_eq!(desk.metric("shunt_password_hash_refused_total"), "1");
    assert!(matches!(hasher.admit(), Err(PasswordError::Busy)), "nothing is begun for one more");
    assert_eq!(desk.metric("shunt_password_hash_refused_total"), "2");

    assert!(desk.work_once());
    assert!(hasher.admit().is_ok());
    let mut next = hash();
    assert!(poll(&mut next).await.is_pending(), "the place that became free is not taken");
    assert!(matches!(poll(&mut waiting[0]).await, Poll::Ready(Ok(_))));
    for one in &mut waiting[1..] {
        assert!(desk.work_once());
        assert!(matches!(poll(one).await, Poll::Ready(Ok(_))));
    }
    assert!(desk.work_once());
    assert!(next.await.is_ok());
    assert_eq!(desk.metric("shunt_password_hash_queue"), "0");
}

#[tokio::test]
async fn a_caller_that_goes_away_costs_no_hash_and_no_place() {
    let mut desk = Desk::new();
    let hasher = desk.hasher.clone();
    let hash = || Box::pin(hasher.hash(password("right")));
    let (mut first, mut second, mut third) = (hash(), hash(), hash());
    for one in [&mut first, &mut second, &mut third] {
        assert!(poll(one).await.is_pending());
    }
    drop(first);
    drop(third);
    assert_eq!(desk.metric("shunt_password_hash_queue"), "1");
    assert!(hasher.admit().is_ok(), "who has gone is in nobody's way");
    let (mut fourth, mut fifth) = (hash(), hash());
    assert!(poll(&mut fourth).await.is_pending() && poll(&mut fifth).await.is_pending());
    for one in [&mut second, &mut fourth, &mut fifth] {
        assert!(desk.work_once());
        assert!(matches!(poll(one).await, Poll::Ready(Ok(_))), "another's work was done instead");
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_too_long_is_told_to_come_back() {
    let mut desk = Desk::new();
    let wait = config().queue_wait.0;
    let hasher = desk.hasher.clone();
    let mut early = Box::pin(hasher.hash(password("early")));
    assert!(poll(&mut early).await.is_pending());
    tokio::time::advance(wait - Duration::from_millis(1)).await;
    assert!(poll(&mut early).await.is_pending());
    let mut late = Box::pin(hasher.hash(password("late")));
    assert!(poll(&mut late).await.is_pending());
    tokio::time::advance(Duration::from_millis(2)).await;
    assert!(matches!(poll(&mut early).await, Poll::Ready(Err(PasswordError::Busy))));
    assert_eq!(desk.metric("shunt_password_hash_refused_total"), "1");
    // What was given up is skipped.
    assert!(desk.work_once());
    assert!(matches!(poll(&mut late).await, Poll::Ready(Ok(_))));
}

#[tokio::test(start_paused = true)]
async fn work_that_has_begun_is_waited_for() {
    let desk = Desk::new();
    let hasher = desk.hasher.clone();
    let mut hash = Box::pin(hasher.hash(password("right")));
    assert!(poll(&mut hash).await.is_pending());
    let work = desk.hasher.0.queue.pop().expect("work");
    tokio::time::advance(config().queue_wait.0 * 2).await;
    assert!(poll(&mut hash).await.is_pending());
    let Desk { mut kiln, .. } = desk;
    work(&mut kiln);
    assert!(hash.await.is_ok());
}

#[tokio::test]
async fn a_thread_outlives_a_panic_and_ends_with_the_hasher() {
    let mut desk = Desk::new();
    let _claim = desk.hasher.0.queue.push(Box::new(|_| panic!("in the middle of a hash"))).ok();
    assert!(desk.work_once());
    let hasher = desk.hasher.clone();
    let mut hash = Box::pin(hasher.hash(password("right")));
    assert!(poll(&mut hash).await.is_pending());
    assert!(desk.work_once());
    assert!(hash.await.is_ok());

    let queue = Arc::clone(&desk.hasher.0.queue);
    let mut hash = Box::pin(hasher.hash(password("right")));
    assert!(poll(&mut hash).await.is_pending());
    queue.close();
    assert!(hash.await.is_err());
    assert!(matches!(hasher.hash(password("right")).await, Err(PasswordError::Stopped)));
    drop((hasher, desk.hasher));
    assert!(!work_once(&queue, &mut desk.kiln));
}

#[test]
fn the_default_settings_are_fine_and_every_bad_one_is_named() {
    let problems_of = |toml: &str| {
        let mut problems = Problems::default();
        toml::from_str::<PasswordsConfig>(toml).unwrap().check(&mut problems);
        problems.sentences().to_vec()
    };
    assert_eq!(problems_of(""), Vec::<String>::new());
    assert_eq!(PasswordsConfig::default().policy(), PasswordPolicy::default());
    for (toml, key) in [
        ("chars_min = 7", "passwords.chars_min"),
        ("chars_min = 129", "passwords.chars_min"),
        ("memory = '7MiB'", "passwords.memory"),
        ("memory = '257MiB'", "passwords.memory"),
        ("iterations = 0", "passwords.iterations"),
        ("parallelism = 17", "passwords.parallelism"),
        ("threads = 65", "passwords.threads"),
        ("queue = 0", "passwords.queue"),
        ("queue_wait = '50ms'", "passwords.queue_wait"),
        ("denylist = ''", "passwords.denylist"),
    ] {
        let problems = problems_of(toml);
        assert_eq!(problems.len(), 1, "{toml}");
        assert!(problems[0].contains(&format!("`{key}`")), "{toml}: {}", problems[0]);
    }
}
