//! How fast a start counts again what a killed process left in its journal: records per second on
//! one core, beside a plain scan of the same files in the same run.
//!
//! `cargo bench --bench replay`, on a quiet machine. The journal is written by a sink whose store is
//! away; each round counts it into a store in memory, from the start of the sink until everything
//! is in the counts. A plain scan reads the files, checks every record and forgets it.

use std::fs;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use tempfile::TempDir;

use shunt::actors::clicks::journal::{header, scan};
use shunt::actors::clicks::{ClickSink, ClickSinkParts, ClicksConfig, FreeDisk};
use shunt::app::SystemClock;
use shunt::domain::click::{
    ClickFlags, ClickTotals, Granularity, RawClick, SegmentCounts, SegmentId,
};
use shunt::domain::id::Id;
use shunt::domain::time::Timestamp;
use shunt::storage::memory::MemoryStore;
use shunt::storage::{ClickStore, Op, StorageError, StorageErrorKind, StorageResult};
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
    let metrics = Metrics::new();
    let away: Arc<dyn ClickStore> = Arc::new(Away);
    actix::System::new().block_on(async {
        let sink = start(journal, &away, &metrics).await?;
        let lane = sink.lane(metrics.worker());
        for first in (0..RECORDS).step_by(BURST as usize) {
            let begun = Instant::now();
            (first..first + BURST).for_each(|n| lane.record(&click(n, links)));
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
    let store = MemoryStore::new().clicks;
    let elapsed = actix::System::new().block_on(async {
        let begun = Instant::now();
        let sink = start(journal, &store, &metrics).await?;
        sink.recovered().await;
        let elapsed = begun.elapsed();
        let ids: Vec<Id> = (1..=links).map(Id).collect();
        let counted: u64 = sink.totals(&ids).await?.iter().map(|total| total.clicks).sum();
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
            store: Arc::clone(store),
            metrics: Arc::clone(metrics),
            clock: Arc::new(SystemClock),
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

fn click(n: u64, links: u64) -> RawClick<'static> {
    RawClick {
        // Half an hour of traffic.
        at: Timestamp(BEGIN_MS + (n * 30 / RECORDS) as i64 * MINUTE_MS),
        // Neighbours in the journal are no neighbours in the table; 7,919 shares no factor with
        // the numbers of links.
        link: Id(1 + n.wrapping_mul(7_919) % links),
        address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
        flags: ClickFlags::default(),
        user_agent: b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
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

/// A store that is away, so that everything stays in the journal.
struct Away;

impl Away {
    fn refuse<T>(op: Op) -> StorageResult<T> {
        Err(StorageError::new(StorageErrorKind::Unavailable, op, "told to be away"))
    }
}

#[async_trait]
impl ClickStore for Away {
    async fn resume(&self, _: SegmentId) -> StorageResult<u64> {
        Self::refuse("resume")
    }

    async fn flush(&self, _: Vec<SegmentCounts>) -> StorageResult<()> {
        Self::refuse("flush")
    }

    async fn release(&self, _: Vec<SegmentId>) -> StorageResult<()> {
        Self::refuse("release")
    }

    async fn totals(&self, _: &[Id]) -> StorageResult<Vec<ClickTotals>> {
        Self::refuse("totals")
    }

    async fn series(&self, _: Id, _: Granularity, _: Range<u32>) -> StorageResult<Vec<(u32, u64)>> {
        Self::refuse("series")
    }

    async fn erase(&self, _: Id) -> StorageResult<()> {
        Self::refuse("erase")
    }
}
