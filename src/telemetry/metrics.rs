//! Every metric, declared as data: the catalogue below is what `/metrics` shows, what the
//! reference lists and what dashboards may query.
//!
//! A redirect that hits touches only its worker's own atomics ([`WorkerStats`]); they are added
//! up when somebody scrapes.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// How a redirect ended: the `outcome` label of `shunt_redirects_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Outcome {
    Hit,
    Loaded,
    Unknown,
    Gone,
    Blocked,
    Password,
    Stale,
    Unavailable,
}

impl Outcome {
    pub const ALL: [Self; 8] = [
        Self::Hit,
        Self::Loaded,
        Self::Unknown,
        Self::Gone,
        Self::Blocked,
        Self::Password,
        Self::Stale,
        Self::Unavailable,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Loaded => "loaded",
            Self::Unknown => "unknown",
            Self::Gone => "gone",
            Self::Blocked => "blocked",
            Self::Password => "password",
            Self::Stale => "stale",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Why a click was not counted: the `reason` label of `shunt_clicks_dropped_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum DropReason {
    /// The journal's file system or the spool was full, and so was memory.
    SpoolFull,
    /// The journal could not be written for another reason.
    JournalFailed,
    /// The record was damaged on disk.
    Damaged,
}

impl DropReason {
    pub const ALL: [Self; 3] = [Self::SpoolFull, Self::JournalFailed, Self::Damaged];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SpoolFull => "spool_full",
            Self::JournalFailed => "journal_failed",
            Self::Damaged => "damaged",
        }
    }
}

/// Upper bounds of `shunt_redirect_duration_seconds`, in nanoseconds: a hit takes some
/// microseconds, a load from the embedded store a fraction of a millisecond, a bad day a second.
const REDIRECT_BOUNDS_NS: [u64; 12] = [
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    100_000,
    500_000,
    1_000_000,
    5_000_000,
    25_000_000,
    100_000_000,
    1_000_000_000,
];

/// Bounds of store and API times, in seconds.
const STORE_BOUNDS: [f64; 10] =
    [0.000_1, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.1, 0.5, 2.0];

/// Bounds of how long changes travel, in seconds.
const FEED_BOUNDS: [f64; 9] = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0, 15.0];

/// What one worker counts. Only that worker writes, so plain loads and stores are enough.
#[derive(Debug, Default)]
pub struct WorkerStats {
    outcomes: [AtomicU64; Outcome::ALL.len()],
    duration_buckets: [AtomicU64; REDIRECT_BOUNDS_NS.len() + 1],
    duration_sum_ns: AtomicU64,
    clicks_accepted: AtomicU64,
    clicks_dropped: [AtomicU64; DropReason::ALL.len()],
}

impl WorkerStats {
    pub fn count(&self, outcome: Outcome) {
        add(&self.outcomes[outcome as usize], 1);
    }

    /// Observes `weight` redirects that took `nanos` each; hits are sampled and weighted.
    pub fn observe(&self, nanos: u64, weight: u64) {
        let bucket = REDIRECT_BOUNDS_NS.iter().position(|bound| nanos <= *bound);
        add(&self.duration_buckets[bucket.unwrap_or(REDIRECT_BOUNDS_NS.len())], weight);
        add(&self.duration_sum_ns, nanos * weight);
    }

    /// One click was handed over: from here on it is counted, in the journal, or dropped.
    pub fn accept_click(&self) {
        add(&self.clicks_accepted, 1);
    }

    pub fn drop_click(&self, reason: DropReason) {
        add(&self.clicks_dropped[reason as usize], 1);
    }

    /// Clicks that were handed over and not dropped.
    pub fn clicks_kept(&self) -> u64 {
        // Dropped first: a click that is dropped in between must not make the difference negative.
        let dropped = self.clicks_dropped.iter().map(read).sum();
        read(&self.clicks_accepted).saturating_sub(dropped)
    }

    pub fn outcome(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize].load(Ordering::Relaxed)
    }
}

/// Adds without a locked instruction: the caller is the only writer.
fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HttpLabels {
    pub route: String,
    pub method: String,
    pub status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StoreLabels {
    pub store: &'static str,
    pub op: &'static str,
    pub outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ActorLabel {
    pub actor: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LimitLabel {
    pub limit: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FeedLabel {
    pub feed: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ResultLabel {
    pub result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
    commit: &'static str,
}

/// Brings gauges up to date.
type Refresh = Box<dyn Fn() + Send + Sync>;

/// Makes the struct of handles and registers each under its name and help, from one list.
macro_rules! catalogue {
    ($($(#[doc = $help:literal])+ $field:ident: $type:ty = $name:literal, $make:expr;)+) => {
        /// Handles of all metrics. Cheap to clone parts of; shared behind an `Arc`.
        pub struct Metrics {
            registry: Registry,
            workers: Workers,
            before_scrape: Mutex<Vec<Refresh>>,
            $($(#[doc = $help])+ pub $field: $type,)+
        }

        /// Name and help of every metric that has a handle; redirects and clicks come besides.
        pub const CATALOGUE: &[(&str, &str)] = &[$(($name, concat!($($help),+)),)+];

        impl Metrics {
            pub fn new() -> Arc<Self> {
                let mut registry = Registry::with_prefix("shunt");
                let workers = Workers::default();
                registry.register_collector(Box::new(workers.clone()));
                $(let $field: $type = $make;
                registry.register($name, concat!($($help),+).trim(), $field.clone());)+
                let build = Family::<BuildLabels, Gauge>::default();
                build
                    .get_or_create(&BuildLabels {
                        version: env!("CARGO_PKG_VERSION"),
                        commit: env!("SHUNT_COMMIT"),
                    })
                    .set(1);
                registry.register("build_info", "Version and commit of this build", build);
                Arc::new(Self { registry, workers, before_scrape: Mutex::default(), $($field),+ })
            }
        }
    };
}

catalogue! {
    /// API and page requests by route, method and status
    http_requests: Family<HttpLabels, Counter> = "http_requests", Family::default();
    /// Requests and visits that a limit refused, by limit
    rate_limited: Family<LimitLabel, Counter> = "rate_limited", Family::default();
    /// Token buckets in memory
    rate_limit_buckets: Gauge = "rate_limit_buckets", Gauge::default();
    /// Requests that a limit did not count, because there were too many buckets or none to be had
    rate_limit_unkept: Counter = "rate_limit_unkept", Counter::default();
    /// Connections closed at once because their client had as many as one may have
    connections_refused: Counter = "connections_refused", Counter::default();
    /// Visits to links whose stored row is damaged or leads where no link may lead now
    unservable_visits: Counter = "unservable_visits", Counter::default();
    /// Refusals for want of rights that are not in the audit log, because too many came at once
    denials_unrecorded: Counter = "denials_unrecorded", Counter::default();
    /// Entries of the audit log that wait for the database
    audit_entries_waiting: Gauge = "audit_entries_waiting", Gauge::default();
    /// Entries of changes that are missing in the audit log, because too many waited
    audit_entries_lost: Counter = "audit_entries_lost", Counter::default();
    /// Store operations by store, operation and outcome
    store_duration: Family<StoreLabels, Histogram> = "store_duration_seconds",
        Family::new_with_constructor(|| Histogram::new(STORE_BOUNDS));
    /// Messages waiting per actor
    mailbox_depth: Family<ActorLabel, Gauge> = "mailbox_depth", Family::default();
    /// Links in the table
    links_in_memory: Gauge = "links_in_memory", Gauge::default();
    /// Memory that the link table holds, in bytes
    links_memory_bytes: Gauge = "links_memory_bytes", Gauge::default();
    /// Loads of links from the store by result
    link_loads: Family<ResultLabel, Counter> = "link_loads", Family::default();
    /// Links evicted from the table
    link_evictions: Counter = "link_evictions", Counter::default();
    /// Milliseconds since this node last knew that it missed no change of another node
    feed_age_milliseconds: Gauge = "feed_age_milliseconds", Gauge::default();
    /// Whether this node would hear of a change: 1, or 0 while no feed is heard
    feed_coherent: Gauge = "feed_coherent", Gauge::default();
    /// Time from when another node told of a change until it was heard, by feed and their clocks
    feed_delay: Family<FeedLabel, Histogram> = "feed_delay_seconds",
        Family::new_with_constructor(|| Histogram::new(FEED_BOUNDS));
    /// Changes of other nodes that were taken over, by feed
    changes_heard: Family<FeedLabel, Counter> = "changes_heard", Family::default();
    /// Link shards that panicked and were restarted
    shard_restarts: Counter = "shard_restarts", Counter::default();
    /// Clicks in the store that this process accepted
    clicks_counted: Counter = "clicks_counted", Counter::default();
    /// Clicks of earlier processes, counted again from their journal
    clicks_recovered: Counter = "clicks_recovered", Counter::default();
    /// Clicks that were counted in memory only, because the journal had no room
    clicks_unjournaled: Counter = "clicks_unjournaled", Counter::default();
    /// Clicks counted without their user agent, because too many new ones came at once
    clicks_unclassified: Counter = "clicks_unclassified", Counter::default();
    /// Clicks of this process that are in the journal and not in the store yet
    clicks_in_journal: Gauge = "clicks_in_journal", Gauge::default();
    /// Bytes of journal segments on disk
    journal_bytes: Gauge = "journal_bytes", Gauge::default();
    /// Journal segments set aside as damaged; what is known to be lost of them is dropped as well
    journal_segments_damaged: Counter = "journal_segments_damaged", Counter::default();
    /// Age of the oldest click that is not in the store yet, in milliseconds
    journal_lag_milliseconds: Gauge = "journal_lag_milliseconds", Gauge::default();
    /// Rows per flush of click counts
    flush_rows: Histogram = "flush_rows", Histogram::new([1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6]);
    /// Time per flush of click counts
    flush_duration: Histogram = "flush_duration_seconds", Histogram::new(STORE_BOUNDS);
    /// Passwords that wait for a thread that hashes
    password_hash_queue: Gauge = "password_hash_queue", Gauge::default();
    /// Passwords that were not hashed because too many waited, or this one too long
    password_hash_refused: Counter = "password_hash_refused", Counter::default();
    /// Mails by result: sent, failed for good, dropped because too many waited
    mails: Family<ResultLabel, Counter> = "mails", Family::default();
    /// Mails that wait to be taken by the mail server
    mails_waiting: Gauge = "mails_waiting", Gauge::default();
}

impl Metrics {
    /// A fresh set of counters for one worker, included in every later scrape.
    pub fn worker(&self) -> Arc<WorkerStats> {
        let stats = Arc::new(WorkerStats::default());
        self.workers.lock().push(Arc::clone(&stats));
        stats
    }

    /// Clicks accepted and dropped so far, all workers.
    pub fn clicks(&self) -> (u64, u64) {
        let workers = self.workers.lock();
        let accepted = workers.iter().map(|worker| read(&worker.clicks_accepted)).sum();
        let dropped =
            workers.iter().flat_map(|worker| worker.clicks_dropped.iter().map(read)).sum();
        (accepted, dropped)
    }

    /// Has `refresh` bring gauges up to date before each scrape. It must be quick.
    pub fn before_scrape(&self, refresh: impl Fn() + Send + Sync + 'static) {
        let mut all = self.before_scrape.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(Box::new(refresh));
    }

    /// Everything, in the OpenMetrics text format.
    pub fn render(&self) -> Result<String, fmt::Error> {
        for refresh in &*self.before_scrape.lock().unwrap_or_else(PoisonError::into_inner) {
            refresh();
        }
        let mut text = String::with_capacity(16 * 1_024);
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[derive(Clone, Debug, Default)]
struct Workers(Arc<Mutex<Vec<Arc<WorkerStats>>>>);

impl Workers {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<WorkerStats>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Collector for Workers {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let workers = self.lock();
        let sum = |pick: &dyn Fn(&WorkerStats) -> u64| {
            workers.iter().map(|worker| pick(worker)).sum::<u64>()
        };

        let mut redirects = encoder.encode_descriptor(
            "redirects",
            "Redirects by outcome",
            None,
            MetricType::Counter,
        )?;
        for outcome in Outcome::ALL {
            let n = sum(&|worker| worker.outcome(outcome));
            ConstCounter::new(n)
                .encode(redirects.encode_family(&[("outcome", outcome.as_str())])?)?;
        }

        let accepted = sum(&|worker| read(&worker.clicks_accepted));
        let clicks = encoder.encode_descriptor(
            "clicks_accepted",
            "Clicks that entered the accounts of this process",
            None,
            MetricType::Counter,
        )?;
        ConstCounter::new(accepted).encode(clicks)?;

        let mut dropped = encoder.encode_descriptor(
            "clicks_dropped",
            "Clicks that are lost, by reason",
            None,
            MetricType::Counter,
        )?;
        for reason in DropReason::ALL {
            let n = sum(&|worker| read(&worker.clicks_dropped[reason as usize]));
            ConstCounter::new(n).encode(dropped.encode_family(&[("reason", reason.as_str())])?)?;
        }

        let buckets: Vec<(f64, u64)> = REDIRECT_BOUNDS_NS
            .iter()
            .map(|nanos| *nanos as f64 / 1e9)
            .chain([f64::MAX])
            .enumerate()
            .map(|(index, bound)| (bound, sum(&|worker| read(&worker.duration_buckets[index]))))
            .collect();
        let count = buckets.iter().map(|(_, n)| n).sum();
        let total_seconds = sum(&|worker| read(&worker.duration_sum_ns)) as f64 / 1e9;
        let mut duration = encoder.encode_descriptor(
            "redirect_duration_seconds",
            "Time from request to answer of redirects; of hits, one in 64 is timed and weighs 64",
            None,
            MetricType::Histogram,
        )?;
        duration.encode_histogram::<prometheus_client::encoding::NoLabelSet>(
            total_seconds,
            count,
            &buckets,
            None,
        )
    }
}
