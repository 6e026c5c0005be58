//! The click actors through their handle, with a store that can be told to misbehave.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod counting;
mod crashes;
mod damage;
mod enriching;
mod files;
mod outages;
mod recovery;
mod retreat;
mod store;

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use self::store::FakeStore;
use super::{ClickLane, ClickSink, ClickSinkParts, ClicksConfig, FreeDisk};
use crate::domain::click::{ClickFlags, RawClick};
use crate::domain::id::Id;
use crate::domain::time::{Clock, Timestamp};
use crate::domain::units::{Size, Span};
use crate::telemetry::metrics::Metrics;

const WAIT_MAX: Duration = Duration::from_secs(20);
/// Some minute in 2026.
const START: Timestamp = Timestamp(29_500_000 * 60_000);

struct SetClock(AtomicI64);

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

/// One process: a sink, its store, its metrics.
struct Process {
    sink: ClickSink,
    store: Arc<FakeStore>,
    metrics: Arc<Metrics>,
}

impl Process {
    fn start(folder: &Path, store: &Arc<FakeStore>) -> Self {
        Self::start_with(folder, store, config())
    }

    fn start_with(folder: &Path, store: &Arc<FakeStore>, config: ClicksConfig) -> Self {
        let metrics = Metrics::new();
        let sink = ClickSink::start(ClickSinkParts {
            config,
            folder: folder.to_owned(),
            node: 0,
            store: Arc::clone(store) as _,
            metrics: Arc::clone(&metrics),
            clock: Arc::new(SetClock(AtomicI64::new(START.0))),
            keys: Vec::new(),
        })
        .unwrap();
        Self { sink, store: Arc::clone(store), metrics }
    }

    fn lane(&self) -> ClickLane {
        self.sink.lane(self.metrics.worker()).unwrap()
    }

    async fn total(&self, link: u64) -> u64 {
        self.sink.totals(&[Id(link)]).await.unwrap()[0].clicks
    }

    /// Accepted = counted + in the journal + dropped, as soon as the gauge has caught up.
    async fn check_accounts(&self) {
        until("the accounts are even", || self.accounts_are_even()).await;
    }

    /// As whoever scrapes sees them.
    fn accounts_are_even(&self) -> bool {
        self.metrics.render().unwrap();
        let (accepted, dropped) = self.metrics.clicks();
        let in_journal = self.metrics.clicks_in_journal.get();
        accepted == self.metrics.clicks_counted.get() + in_journal as u64 + dropped
    }
}

/// Fast enough for tests, small enough to fill.
fn config() -> ClicksConfig {
    ClicksConfig {
        segment_size: Size(1 << 20),
        spool_max: Size(64 << 20),
        free_disk_min: FreeDisk::Percent(0),
        sync_interval: Span::from_millis(5),
        read_interval: Span::from_millis(5),
        flush_interval: Span::from_millis(5),
        ..ClicksConfig::default()
    }
}

fn click(link: u64) -> RawClick<'static> {
    RawClick {
        at: START,
        link: Id(link),
        version: 3,
        address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
        flags: ClickFlags::default(),
        user_agent: b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        referrer: b"https://example.org/",
        language: b"en",
        query: b"",
    }
}

/// Looks again and again until it is so.
async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < WAIT_MAX, "never came about: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn folder() -> (TempDir, PathBuf) {
    let home = TempDir::new().unwrap();
    let journal = home.path().join("journal");
    (home, journal)
}

/// What a process that is killed now leaves behind: what is mapped is in the page cache.
fn copy_of(journal: &Path) -> (TempDir, PathBuf) {
    let (home, copy) = folder();
    std::fs::create_dir(&copy).unwrap();
    for entry in std::fs::read_dir(journal).unwrap() {
        let entry = entry.unwrap();
        // A file may be deleted between listing and copying.
        if entry.file_type().unwrap().is_file() {
            let _ = std::fs::copy(entry.path(), copy.join(entry.file_name()));
        }
    }
    (home, copy)
}

fn segments_in(journal: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(journal)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .collect();
    found.sort();
    found
}

/// Records in a journal that have no checksum yet.
fn n_unsealed(journal: &Path) -> usize {
    let unsealed = |path: &PathBuf| {
        // Counted and deleted since it was listed.
        let bytes = std::fs::read(path).unwrap_or_default();
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let (mut at, mut n) = (files::HEADER_BYTES, 0);
        while at + 8 <= bytes.len() && word(at) != 0 {
            n += usize::from(word(at + 4) == 0);
            at = (at + 8 + word(at) as usize).next_multiple_of(8);
        }
        n
    };
    segments_in(journal).iter().map(unsealed).sum()
}
