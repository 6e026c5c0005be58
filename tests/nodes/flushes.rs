//! Clicks are counted to the last one although three flushes of ten time out after they were
//! applied, in part or as a whole. The same check finds out counters that are merely added to.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use shunt::actors::clicks::{ClickLane, ClickSink, ClickSinkParts, ClicksConfig, FreeDisk};
use shunt::app::SystemClock;
use shunt::domain::audit::Act;
use shunt::domain::click::{ClickFlags, ClickTotals, RawClick, SegmentId};
use shunt::domain::counted::SegmentClicks;
use shunt::domain::id::Id;
use shunt::domain::time::{Clock, Timestamp};
use shunt::domain::units::{Size, Span};
use shunt::domain::visitor::VisitorKey;
use shunt::storage::{
    ClickStore, Resume, Retention, StatsOf, StorageError, StorageErrorKind, StorageResult, Stores,
};
use shunt::telemetry::metrics::Metrics;
use tempfile::TempDir;
use tokio::sync::Mutex;

use crate::cluster::{SOON, installation, tell};
use crate::plain_counters::PlainCounters;
use crate::services::services;
use crate::wire::{Loss, Wire};

/// Links of which nobody knows but who counts.
const LINKS: [Id; 4] = [Id(11 << 30), Id(12 << 30), Id(13 << 30), Id(14 << 30)];
/// Counters of a node, each with a worker that redirects.
const COUNTERS: usize = 3;
/// Flushes that time out before a node has proved itself.
const TIMEOUTS_MIN: u32 = 6;
/// Numbers of the nodes; processes take theirs from zero on.
const NODES: [u16; 3] = [901, 902, 903];
const READER: u16 = 904;
const PAUSE: Duration = Duration::from_millis(5);

/// A store of whose flushes three of ten are applied and answered with a timeout.
struct Unlucky {
    inner: Arc<dyn ClickStore>,
    wire: Wire,
    /// One flush at a time, so that it is known whose answers are lost.
    luck: Mutex<Luck>,
}

#[derive(Clone, Copy, Default)]
struct Luck {
    flushes: u32,
    timeouts: u32,
    /// Statements that a flush took of late.
    statements: u32,
}

impl Luck {
    fn is_out(&self) -> bool {
        self.flushes * 3 % 10 < 3
    }
}

impl Unlucky {
    fn new(inner: Arc<dyn ClickStore>, wire: Wire) -> Arc<Self> {
        Arc::new(Self { inner, wire, luck: Mutex::default() })
    }

    async fn luck(&self) -> Luck {
        *self.luck.lock().await
    }

    async fn try_flush(
        &self,
        luck: &mut Luck,
        clicks: Arc<Vec<SegmentClicks>>,
    ) -> StorageResult<()> {
        let is_out = luck.is_out();
        luck.flushes += 1;
        if !is_out {
            // Counts the statements only.
            self.wire.lose(Loss::Answer(u32::MAX));
            self.inner.flush(clicks).await?;
            luck.statements = self.wire.n_statements();
            return Ok(());
        }
        // In turns one answer, of any of the statements, and the answer to the whole flush.
        if luck.timeouts.is_multiple_of(2) {
            let nth = luck.flushes.wrapping_mul(0x9E37_79B9) % luck.statements.max(1);
            self.wire.lose(Loss::Answer(nth));
            let flushed = self.inner.flush(clicks).await;
            luck.timeouts += u32::from(self.wire.mend());
            return flushed;
        }
        self.inner.flush(clicks).await?;
        luck.timeouts += 1;
        Err(StorageError { kind: StorageErrorKind::Timeout, op: "flush_clicks", source: None })
    }
}

#[async_trait]
impl ClickStore for Unlucky {
    async fn resume(&self, segment: SegmentId) -> StorageResult<Resume> {
        self.inner.resume(segment).await
    }

    async fn flush(&self, clicks: Arc<Vec<SegmentClicks>>) -> StorageResult<()> {
        let mut luck = self.luck.lock().await;
        self.try_flush(&mut luck, clicks).await
    }

    async fn release(&self, segments: Vec<SegmentId>) -> StorageResult<()> {
        self.inner.release(segments).await
    }

    async fn totals(&self, links: &[Id]) -> StorageResult<Vec<ClickTotals>> {
        self.inner.totals(links).await
    }

    async fn erase(&self, link: Id, act: Option<Act>) -> StorageResult<()> {
        self.inner.erase(link, act).await
    }

    async fn visitor_keys(&self, oldest: u32, today: u32) -> StorageResult<Vec<(u32, VisitorKey)>> {
        self.inner.visitor_keys(oldest, today).await
    }

    async fn prune(&self, keep: Retention) -> StorageResult<bool> {
        self.inner.prune(keep).await
    }
}

/// What a node counts clicks with.
struct Counting {
    sink: ClickSink,
    lanes: Vec<ClickLane>,
    store: Arc<Unlucky>,
    _folder: TempDir,
}

impl Counting {
    fn start(store: Arc<Unlucky>) -> Self {
        let (metrics, folder) = (Metrics::new(), tempfile::tempdir().unwrap());
        let config = ClicksConfig {
            segment_size: Size::mib(1),
            spool_max: Size::mib(64),
            free_disk_min: FreeDisk::Percent(0),
            read_interval: Span::from_millis(5),
            flush_interval: Span::from_millis(5),
            counters: COUNTERS,
            ..ClicksConfig::default()
        };
        let sink = ClickSink::start(ClickSinkParts {
            config,
            folder: folder.path().join("journal"),
            node: 0,
            store: Arc::clone(&store) as _,
            metrics: Arc::clone(&metrics),
            clock: Arc::new(SystemClock),
            keys: Vec::new(),
        })
        .unwrap();
        let lanes = (0..COUNTERS).map(|_| sink.lane(metrics.worker()).unwrap()).collect();
        Self { sink, lanes, store, _folder: folder }
    }

    fn click(&self, n: usize) -> Id {
        let link = LINKS[n % LINKS.len()];
        self.lanes[n % self.lanes.len()].record(&RawClick {
            at: SystemClock.now(),
            link,
            version: 1,
            address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, n as u8)),
            flags: ClickFlags::default(),
            user_agent: b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
            referrer: b"https://example.org/",
            language: b"en",
            query: b"",
        });
        link
    }

    /// Counts everything and ends. What is still unlucky is tried again.
    async fn end(self) -> Luck {
        drop(self.lanes);
        self.sink.drain().await;
        let accounts = self.sink.accounts();
        assert_eq!((accounts.counted, accounts.dropped), (accounts.accepted, 0));
        self.store.luck().await
    }
}

/// Redirects until enough flushes timed out; answers how often each link was clicked.
async fn click_on(nodes: Vec<Counting>) -> BTreeMap<Id, u64> {
    let (begun, mut clicked) = (Instant::now(), BTreeMap::new());
    let mut n = 0;
    for node in &nodes {
        while node.store.luck().await.timeouts < TIMEOUTS_MIN {
            for node in &nodes {
                for _ in 0..20 {
                    *clicked.entry(node.click(n)).or_default() += 1;
                    n += 1;
                }
            }
            assert!(begun.elapsed() < SOON, "nothing times out");
            tokio::time::sleep(PAUSE).await;
        }
    }
    for node in nodes {
        let Luck { flushes, timeouts, .. } = node.end().await;
        tell(&format!("{timeouts} of {flushes} flushes timed out"));
        assert!(timeouts * 5 >= flushes, "{timeouts} of {flushes} is not a good fifth");
    }
    clicked
}

/// Where a store does not tell what was clicked, by how much.
fn differences(clicked: &BTreeMap<Id, u64>, told: &BTreeMap<Id, u64>) -> Vec<(Id, i64)> {
    let by = |link: Id| {
        let of = |map: &BTreeMap<Id, u64>| map.get(&link).copied().unwrap_or(0) as i64;
        of(told) - of(clicked)
    };
    LINKS.into_iter().map(|link| (link, by(link))).filter(|(_, by)| *by != 0).collect()
}

async fn totals(store: &dyn ClickStore) -> BTreeMap<Id, u64> {
    let totals = store.totals(&LINKS).await.unwrap();
    LINKS.into_iter().zip(totals.iter().map(|total| total.clicks)).collect()
}

async fn sums_of_days(stores: &Stores) -> BTreeMap<Id, u64> {
    let mut sums = BTreeMap::new();
    for link in LINKS {
        let (begin, end) = (Timestamp(0), Timestamp(i64::MAX / 2));
        let days = stores.stats.days(StatsOf::Link(link), begin, end).await.unwrap().days;
        sums.insert(link, days.iter().map(|(_, day)| day.counts().people).sum());
    }
    sums
}

#[actix_web::test]
async fn clicks_are_exact_although_flushes_time_out_after_they_were_applied() {
    let installation = installation().await;
    let mut nodes = Vec::new();
    for number in NODES {
        let wire = Wire::to(&services().cql).await;
        let store = installation.open(&wire.address).await.stores(number).clicks;
        nodes.push(Counting::start(Unlucky::new(store, wire)));
    }
    let clicked = click_on(nodes).await;
    let reader = installation.open(&services().cql).await.stores(READER);
    for _ in 0..2 {
        assert_eq!(differences(&clicked, &totals(&*reader.clicks).await), [], "{clicked:?}");
        assert_eq!(differences(&clicked, &sums_of_days(&reader).await), [], "{clicked:?}");
        // Then the same from sums, which each node makes of its own.
        for number in NODES {
            let keep = Retention { events_from: 0, details_from: 0 };
            let node = installation.open(&services().cql).await.stores(number);
            while node.clicks.prune(keep).await.unwrap() {}
        }
    }
    tell(&format!("{} clicks, all told", clicked.values().sum::<u64>()));
}

#[actix_web::test]
async fn counters_that_are_added_to_again_are_found_out() {
    let installation = installation().await;
    let wire = Wire::to(&services().cql).await;
    let counters = PlainCounters::open(&wire.address, &installation.keyspace).await;
    let store = Unlucky::new(Arc::new(counters), wire);
    let clicked = click_on(vec![Counting::start(Arc::clone(&store))]).await;
    let differences = differences(&clicked, &totals(&*store.inner).await);
    tell(&format!("plain counters are off by {differences:?} of {clicked:?}"));
    assert!(!differences.is_empty(), "the check finds nothing");
}
