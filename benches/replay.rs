//! How fast a start counts again what a killed process left in its journal: records per second on
//! one core, beside a plain scan of the same files in the same run.
//!
//! `cargo bench --bench replay`, on a quiet machine. The journal is written by a sink whose store is
//! away; each round counts it into a store in memory, from the start of the sink until everything
//! is in the counts. A plain scan reads the files, checks every record and forgets it.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use tempfile::TempDir;

use shunt::actors::clicks::journal::{header, scan};
use shunt::actors::clicks::{ClickSink, ClickSinkParts, ClicksConfig, FreeDisk};
use shunt::app::SystemClock;
use shunt::domain::audit::Act;
use shunt::domain::click::{ClickFlags, ClickTotals, RawClick, SegmentId};
use shunt::domain::counted::SegmentClicks;
use shunt::domain::id::Id;
use shunt::domain::time::Timestamp;
use shunt::domain::visitor::VisitorKey;
use shunt::storage::{
    ClickStore, Op, Resume, Retention, StorageError, StorageErrorKind, StorageResult,
};
use shunt::telemetry::metrics::Metrics;

/// Records in the journal, and how many are written without a pause: what fits into the segments
/// that a lane has ready.
const RECORDS: u64 = 2_000_000;
const BURST: u64 = 100_000;
const PAUSE: Duration = Duration::from_millis(100);
const ROUNDS: usize = 5;
/// A second in 2026.
const BEGIN_MS: i64 = 1_770_000_000_000;
const MINUTE_MS: i64 = 60_000;
/// How long an ended sink may take to let go of its folder.
const LET_GO_MAX: Duration = Duration::from_secs(10);

fn main() -> Result<()> {
    say("records per second on one core; median and range of the rounds")?;
    for (name, links) in [("1,000 links", 1_000), ("100,000 links", 100_000)] {
        measure(name, links).with_context(|| format!("measure with {name}"))?;
    }
    Ok(())
}

fn measure(name: &str, links: u64) -> Result<()> {
    // Beside the build, not on a file system in memory.
    let home = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
    let journal = home.path().join("journal");
    let record_ns = write(&journal, links)?;
    let (mut replays, mut scans) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        scans.push(RECORDS as f64 / scan_all(&journal)?.as_secs_f64());
        // Counted segments are deleted, so each round has its own names for the files.
        let copy = home.path().join(format!("round-{round}"));
        link_all(&journal, &copy)?;
        replays.push(RECORDS as f64 / replay(&copy, links)?.as_secs_f64());
    }
    let ratio = median(&mut scans) / median(&mut replays);
    say(&format!("{name}: replay {}", spread(&mut replays)))?;
    say(&format!("{name}: plain scan {}, {ratio:.2} times as fast", spread(&mut scans)))?;
    say(&format!("{name}: written at {record_ns:.0} ns per record"))
}

/// Leaves a journal with all records behind; answers the time per record.
fn write(journal: &Path, links: u64) -> Result<f64> {
    let mut writing = Duration::ZERO;
    let agents = user_agents();
    let metrics = Metrics::new();
    let away: Arc<dyn ClickStore> = Arc::new(Totals { away: true, ..Totals::default() });
    actix::System::new().block_on(async {
        let sink = start(journal, &away, &metrics).await?;
        let lane = sink.lane(metrics.worker()).expect("clicks are counted");
        for first in (0..RECORDS).step_by(BURST as usize) {
            let begun = Instant::now();
            (first..first + BURST).for_each(|n| lane.record(&click(n, links, &agents)));
            writing += begun.elapsed();
            actix::clock::sleep(PAUSE).await;
        }
        anyhow::Ok(())
    })?;
    let missed = metrics.clicks_unjournaled.get() + metrics.clicks().1;
    ensure!(missed == 0, "{missed} clicks found no room in the journal: the disk is too slow");
    Ok(writing.as_nanos() as f64 / RECORDS as f64)
}

fn replay(journal: &Path, links: u64) -> Result<Duration> {
    let metrics = Metrics::new();
    let store: Arc<dyn ClickStore> = Arc::new(Totals::default());
    let elapsed = actix::System::new().block_on(async {
        let begun = Instant::now();
        let sink = start(journal, &store, &metrics).await?;
        sink.recovered().await;
        let elapsed = begun.elapsed();
        let ids: Vec<Id> = (1..=links).map(Id).collect();
        // Bots are in the store, and not in what the sink tells of links.
        sink.drain().await;
        let counted: u64 = store.totals(&ids).await?.iter().map(|total| total.clicks).sum();
        ensure!(counted == RECORDS, "{counted} of {RECORDS} records were counted");
        Ok(elapsed)
    })?;
    Ok(elapsed)
}

async fn start(
    journal: &Path,
    store: &Arc<dyn ClickStore>,
    metrics: &Arc<Metrics>,
) -> Result<ClickSink> {
    let config = ClicksConfig { free_disk_min: FreeDisk::Percent(0), ..ClicksConfig::default() };
    let begun = Instant::now();
    loop {
        let started = ClickSink::start(ClickSinkParts {
            config: config.clone(),
            folder: journal.to_owned(),
            node: 0,
            store: Arc::clone(store),
            metrics: Arc::clone(metrics),
            clock: Arc::new(SystemClock),
            keys: Vec::new(),
        });
        match started {
            Err(error)
                if error.kind() == io::ErrorKind::ResourceBusy && begun.elapsed() < LET_GO_MAX =>
            {
                actix::clock::sleep(Duration::from_millis(10)).await;
            }
            started => return started.context("start a sink"),
        }
    }
}

fn scan_all(journal: &Path) -> Result<Duration> {
    let begun = Instant::now();
    let mut records = 0;
    for file in fs::read_dir(journal)? {
        let bytes = fs::read(file?.path())?;
        let Some(header) = header(&bytes) else { continue };
        records += scan(&bytes, header.segment, |record| {
            std::hint::black_box(record);
        })
        .records;
    }
    ensure!(records == RECORDS, "the journal has {records} records");
    Ok(begun.elapsed())
}

fn link_all(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    for file in fs::read_dir(from)? {
        let file = file?;
        if file.path().extension().is_some_and(|extension| extension == "seg") {
            fs::hard_link(file.path(), to.join(file.file_name()))?;
        }
    }
    Ok(())
}

fn click(n: u64, links: u64, agents: &[String]) -> RawClick<'_> {
    RawClick {
        // Half an hour of traffic.
        at: Timestamp(BEGIN_MS + (n * 30 / RECORDS) as i64 * MINUTE_MS),
        // Neighbours in the journal are no neighbours in the table; 7,919 shares no factor with
        // the numbers of links.
        link: Id(1 + n.wrapping_mul(7_919) % links),
        version: 1,
        address: IpAddr::V4(Ipv4Addr::from(n as u32)),
        flags: ClickFlags::default(),
        user_agent: agents[n as usize % agents.len()].as_bytes(),
        referrer: b"https://example.org/",
        language: b"en",
        query: b"",
    }
}

fn median(rates: &mut [f64]) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn spread(rates: &mut [f64]) -> String {
    let middle = median(rates);
    let million = |rate: f64| rate / 1e6;
    let (low, high) = (rates[0], rates[rates.len() - 1]);
    format!("{:.2} M/s ({:.2} to {:.2})", million(middle), million(low), million(high))
}

fn say(line: &str) -> Result<()> {
    writeln!(io::stdout(), "{line}").context("print")
}

/// A store that keeps totals and positions, and nothing else; or one that is away, so that
/// everything stays in the journal.
#[derive(Default)]
struct Totals {
    away: bool,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    positions: HashMap<SegmentId, u64>,
    clicks: HashMap<Id, u64>,
}

impl Totals {
    fn kept(&self, op: Op) -> StorageResult<MutexGuard<'_, Kept>> {
        if self.away {
            return Err(StorageError::new(StorageErrorKind::Unavailable, op, "told to be away"));
        }
        Ok(self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl ClickStore for Totals {
    async fn resume(&self, segment: SegmentId) -> StorageResult<Resume> {
        let covered = self.kept("resume")?.positions.get(&segment).copied().unwrap_or(0);
        Ok(Resume { covered, cut: None })
    }

    async fn flush(&self, clicks: Arc<Vec<SegmentClicks>>) -> StorageResult<()> {
        let mut kept = self.kept("flush")?;
        for segment in clicks.iter() {
            if kept.positions.insert(segment.segment, segment.to_record) < Some(segment.to_record) {
                for click in &segment.clicks {
                    *kept.clicks.entry(click.link).or_default() += 1;
                }
                for row in &segment.surplus {
                    *kept.clicks.entry(row.link).or_default() += row.stats.counts().people;
                }
            }
        }
        Ok(())
    }

    async fn release(&self, _segments: Vec<SegmentId>) -> StorageResult<()> {
        self.kept("release").map(|_| ())
    }

    async fn totals(&self, links: &[Id]) -> StorageResult<Vec<ClickTotals>> {
        let kept = self.kept("totals")?;
        let clicks = |link: &Id| kept.clicks.get(link).copied().unwrap_or(0);
        let total = |link| ClickTotals { clicks: clicks(link), last_clicked_at: None };
        Ok(links.iter().map(total).collect())
    }

    async fn erase(&self, _link: Id, _act: Option<Act>) -> StorageResult<()> {
        self.kept("erase").map(|_| ())
    }

    async fn visitor_keys(&self, _: u32, _: u32) -> StorageResult<Vec<(u32, VisitorKey)>> {
        self.kept("visitor_keys").map(|_| Vec::new())
    }

    async fn prune(&self, _keep: Retention) -> StorageResult<bool> {
        self.kept("prune").map(|_| false)
    }
}

/// User agents of many kinds: those of uap-core's own tests.
fn user_agents() -> Vec<String> {
    let text = include_str!("../vendor/uap-core/tests/test_ua.yaml");
    let value = |line: &str| {
        let (_, value) = line.split_once("user_agent_string:")?;
        Some(value.trim().trim_matches(['"', '\'']).to_owned())
    };
    text.lines().filter_map(value).collect()
}
