//! `drill slow`: idle connections by the thousand, heads that come a byte at a time and clients
//! that do not read, beside visitors who want to be served. The slow ones are gone at their
//! deadlines, the idle ones cost little memory, and the visitors notice nothing.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use rustix::process::{Resource, getrlimit, setrlimit};

use super::kill::{create, owner_key};
use super::ledger::Deviations;
use super::peers::{Kind, Peer};
use crate::answer::Answer;
use crate::api::Api;
use crate::client::{self, Load, Pace, Tally, Workload};
use crate::facts;
use crate::process::pause;
use crate::say;
use crate::shunt::{HOST, Shunt, ShuntSpec, remove_folder};
use crate::tape::render_get;

const START_WITHIN: Duration = Duration::from_secs(30);
const STOP_WITHIN: Duration = Duration::from_secs(30);
/// What the server promises: a head is there after this long, …
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// … and answers are taken after this long.
const SEND_WITHIN: Duration = Duration::from_secs(10);
/// Deadlines are late by a quarter of a second, and this machine may be busy.
const LATE_BY: Duration = Duration::from_secs(4);
/// Memory that an idle connection may take.
const IDLE_BYTES_MAX: u64 = 16 * 1_024;
const WORKERS: usize = 2;
/// Connections of one worker in the part of the drill that tries the limit.
const LIMIT: usize = 16;
/// A connection beyond the limit is not served while this passes.
const UNSERVED_FOR: Duration = Duration::from_millis(500);
/// Longest time for the buffers of all who do not read to be full.
const FILL_WITHIN: Duration = Duration::from_secs(30);
const GOOD_PER_SEC: f64 = 500.0;

#[derive(Args, Clone, Debug)]
pub struct SlowArgs {
    /// The server under test
    #[arg(long)]
    pub shunt: PathBuf,
    /// Folder for the store and the log; what an earlier drill left there is removed
    #[arg(long, default_value = "target/drill-slow")]
    pub work: PathBuf,
    /// Idle connections of each kind: after a redirect, and after another answer
    #[arg(long, default_value_t = 4_000)]
    pub idle: usize,
    /// Clients that send a byte of a head at a time, and half as many that do not read
    #[arg(long, default_value_t = 400)]
    pub slow: usize,
    /// `http.keep_alive` of the server, in seconds
    #[arg(long, default_value_t = 15)]
    pub keep_alive: u64,
    /// Runs a server that keeps idle connections; the drill must then end with 1
    #[arg(long)]
    pub canary: bool,
}

pub fn run(arguments: &SlowArgs) -> Result<ExitCode> {
    raise_descriptors(2 * arguments.idle + 2 * arguments.slow + 256)?;
    remove_folder(&arguments.work)?;
    fs::create_dir_all(&arguments.work).context("make the work folder")?;
    let work = arguments.work.canonicalize()?;
    let mut spec = ShuntSpec::new(&arguments.shunt.canonicalize()?, &work.join("data"));
    spec.workers = WORKERS;
    let keep_alive = if arguments.canary { 3_600 } else { arguments.keep_alive };
    spec.environment.push(("SHUNT_HTTP__KEEP_ALIVE".to_owned(), format!("{keep_alive}s")));
    // Everybody comes from one address.
    let unbounded = ("SHUNT_HTTP__MAX_CONNECTIONS_PER_CLIENT".to_owned(), "0".to_owned());
    spec.environment.push(unbounded);

    // The server has to help itself to more descriptors than a shell gives it.
    let few = "ulimit -S -n 512 && exec \"$0\" \"$@\"";
    spec.under = ["sh", "-c", few].map(str::to_owned).to_vec();

    let shunt = spec.start(START_WITHIN)?;
    let key = owner_key(&spec.log)?;
    let code = create(&mut Api::with_key(shunt.public, &key), "https://www.example.com/slow")?.code;
    let mut deviations = Deviations::default();
    beside_visitors(arguments, &shunt, &code, &mut deviations)?;
    stop(shunt, &mut deviations)?;
    if !arguments.canary {
        spec.environment.push(("SHUNT_HTTP__MAX_CONNECTIONS".to_owned(), LIMIT.to_string()));
        let shunt = spec.start(START_WITHIN)?;
        try_the_limit(&shunt, &code, &mut deviations)?;
        stop(shunt, &mut deviations)?;
    }

    say(&format!("{} deviations", deviations.n))?;
    for example in &deviations.examples {
        say(&format!("  {example}"))?;
    }
    Ok(if deviations.n == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn stop(shunt: Shunt, deviations: &mut Deviations) -> Result<()> {
    let status = shunt.server.terminate(STOP_WITHIN)?;
    if !status.success() {
        deviations.add(format!("SIGTERM ends with {status}"));
    }
    Ok(())
}

/// The slow ones come and go while visitors are served.
fn beside_visitors(
    arguments: &SlowArgs,
    shunt: &Shunt,
    code: &str,
    deviations: &mut Deviations,
) -> Result<()> {
    let calm = visit(shunt.public, code, Duration::from_secs(1), &AtomicBool::new(false))?;
    let n_open_before = n_open(shunt)?;
    let done = AtomicBool::new(false);
    let (crowded, crowd) = thread::scope(|scope| {
        let visitors = scope.spawn(|| visit(shunt.public, code, Duration::from_secs(600), &done));
        let crowd = Crowd::gather(arguments, shunt, code, deviations).map(|mut crowd| {
            crowd.until_gone(arguments);
            crowd
        });
        done.store(true, Ordering::Relaxed);
        let crowded = visitors.join().map_err(|_| anyhow::anyhow!("the visitors panicked"));
        (crowded, crowd)
    });
    let (crowded, crowd) = (crowded??, crowd?);

    crowd.judge(arguments, deviations)?;
    if crowded.n_errors > 0 || crowded.n_status(302) != crowded.n_requests {
        let (all, good) = (crowded.n_requests, crowded.n_status(302));
        deviations.add(format!("visitors: {good} of {all} served, {} errors", crowded.n_errors));
    }
    let p99_ms = |tally: &Tally| tally.latency.value_at_quantile(0.99) as f64 / 1e6;
    say(&format!(
        "visitors: {} served, p99 {:.2} ms alone, {:.2} ms in the crowd",
        crowded.n_requests,
        p99_ms(&calm),
        p99_ms(&crowded),
    ))?;

    drop(crowd);
    let deadline = Instant::now() + LATE_BY;
    loop {
        let n_open_after = n_open(shunt)?;
        if n_open_after <= n_open_before {
            return say(&format!("descriptors: {n_open_before} before, {n_open_after} after"));
        }
        if Instant::now() > deadline {
            deviations.add(format!("descriptors: {n_open_before} before, {n_open_after} after"));
            return Ok(());
        }
        pause(Duration::from_millis(50));
    }
}

/// All peers that are no visitors.
struct Crowd(Vec<Peer>);

impl Crowd {
    fn gather(
        arguments: &SlowArgs,
        shunt: &Shunt,
        code: &str,
        deviations: &mut Deviations,
    ) -> Result<Self> {
        let resident = || facts::memory_of(shunt.server.pid()).context("read the server's memory");
        let hit = format!("/{code}");
        let mut peers = Vec::new();
        for (what, target) in [("a redirect", hit.as_str()), ("another answer", "/health")] {
            let (before, _) = resident()?;
            for _ in 0..arguments.idle {
                peers.push(Peer::after(shunt.public, target, Kind::Idle)?);
            }
            let (after, _) = resident()?;
            let each = after.saturating_sub(before) / arguments.idle.max(1) as u64;
            say(&format!("{} idle after {what}: {each} bytes each", arguments.idle))?;
            if each > IDLE_BYTES_MAX {
                deviations.add(format!("{each} bytes for a connection idle after {what}"));
            }
        }
        for n in 0..arguments.slow {
            peers.push(match n % 2 {
                0 => Peer::fresh(shunt.public, Kind::Head)?,
                _ => Peer::after(shunt.public, "/health", Kind::Head)?,
            });
        }
        for n in 0..arguments.slow / 2 {
            // The page of an unknown code fills a buffer with a thousand answers.
            let target = if n % 2 == 0 { hit.as_str() } else { "/nowhere" };
            let kind = if n % 3 == 0 { Kind::Drop } else { Kind::Deaf };
            peers.push(Peer::fresh(shunt.public, kind)?.asking(target));
        }
        Ok(Self(peers))
    }

    /// Waits until all are gone, or have stayed longer than any deadline. Buffers of megabytes are
    /// filled before an answer is not taken, so each has its own beginning.
    fn until_gone(&mut self, arguments: &SlowArgs) {
        let idle = Duration::from_secs(arguments.keep_alive);
        let longest = if arguments.slow > 0 { idle.max(SEND_WITHIN) } else { idle } + LATE_BY;
        let started = Instant::now();
        while started.elapsed() < longest + FILL_WITHIN {
            let mut n_left = 0;
            for peer in &mut self.0 {
                n_left += usize::from(!peer.is_gone() && peer.waited() <= longest);
            }
            if n_left == 0 {
                return;
            }
            pause(Duration::from_millis(100));
        }
    }

    fn judge(&self, arguments: &SlowArgs, deviations: &mut Deviations) -> Result<()> {
        for (kind, what, within) in [
            (Kind::Idle, "idle", Duration::from_secs(arguments.keep_alive)),
            (Kind::Head, "heads a byte at a time", HEAD_WITHIN),
            (Kind::Deaf, "readers that do not read", SEND_WITHIN),
            (Kind::Drop, "readers of a few bytes at a time", SEND_WITHIN),
        ] {
            let peers = || self.0.iter().filter(|peer| peer.kind == kind);
            let n_left = peers().filter(|peer| peer.gone_after.is_none()).count();
            let longest = peers().filter_map(|peer| peer.gone_after).max().unwrap_or_default();
            say(&format!(
                "{} {what}: {n_left} left, gone within {:.1} s (deadline {} s)",
                peers().count(),
                longest.as_secs_f64(),
                within.as_secs(),
            ))?;
            if n_left > 0 || longest > within + LATE_BY {
                let seconds = longest.as_secs_f64();
                deviations.add(format!("{what}: {n_left} left, others after {seconds:.1} s"));
            }
        }
        Ok(())
    }
}

/// As many connections as the workers may serve are served; more wait, and are served when others
/// have gone.
fn try_the_limit(shunt: &Shunt, code: &str, deviations: &mut Deviations) -> Result<()> {
    let (n_places, n_more) = (WORKERS * LIMIT, 8);
    let mut peers = Vec::new();
    for _ in 0..n_places + n_more {
        peers.push(Peer::fresh(shunt.public, Kind::Idle)?.asking(&format!("/{code}")));
    }
    let mut n_served = 0;
    for peer in &mut peers[..n_places] {
        n_served += usize::from(peer.is_answered(START_WITHIN)?);
    }
    let mut n_early = 0;
    let wait = UNSERVED_FOR / n_more as u32;
    for peer in &mut peers[n_places..] {
        n_early += usize::from(peer.is_answered(wait)?);
    }
    let mut waiting = peers.split_off(n_places);
    drop(peers);
    let mut n_late = 0;
    for peer in &mut waiting {
        n_late += usize::from(peer.is_answered(START_WITHIN)?);
    }
    let text = format!(
        "limit: {n_served} of {n_places} served at once, {n_early} of {n_more} more beside them, \
         {n_late} of {n_more} when others had gone"
    );
    if (n_served, n_early, n_late) != (n_places, 0, n_more) {
        deviations.add(text.clone());
    }
    say(&text)
}

/// Visits at a steady pace.
fn visit(addr: SocketAddr, code: &str, duration: Duration, stop: &AtomicBool) -> Result<Tally> {
    let load = Load {
        addr,
        connections: 8,
        depth: 1,
        pace: Pace::Open(GOOD_PER_SEC),
        warmup: Duration::ZERO,
        duration,
        reconnect: false,
        spin: false,
    };
    client::run(&load, &mut Visits(code), stop)
}

struct Visits<'a>(&'a str);

impl Workload for Visits<'_> {
    fn next(&mut self, out: &mut Vec<u8>) -> Option<u32> {
        render_get(out, self.0, HOST);
        out.extend_from_slice(b"\r\n");
        Some(0)
    }

    fn answered(&mut self, _token: u32, _answer: &Answer<'_>) {}
}

/// Open descriptors of the server.
fn n_open(shunt: &Shunt) -> Result<usize> {
    let folder = format!("/proc/{}/fd", shunt.server.pid());
    Ok(fs::read_dir(folder).context("count the server's descriptors")?.count())
}

/// Allows this process, and the server that it starts, so many open descriptors.
pub fn raise_descriptors(n: usize) -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    let enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= n as u64);
    if !enough(limit.current) {
        ensure!(enough(limit.maximum), "{n} descriptors are needed; allow more with `ulimit -n`");
        limit.current = Some(n as u64);
        setrlimit(Resource::Nofile, limit).context("allow more descriptors")?;
    }
    Ok(())
}
