//! `drill logins`: a thousand people log in at once, again and again, beside visitors who want to
//! be redirected. Visitors notice little of it, memory stays within what hashing may take, and
//! nobody is answered anything but yes, no, and come back later.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::json;

use super::guests::{Guests, PASSWORD, Welcome, email};
use super::kill::{create, owner_key};
use super::ledger::Deviations;
use super::slow::raise_descriptors;
use crate::answer::Answer;
use crate::api::Api;
use crate::client::{self, Load, Pace, Tally, Workload};
use crate::facts;
use crate::process::pin_here;
use crate::say;
use crate::shunt::{HOST, Shunt, ShuntSpec, remove_folder};
use crate::stats::{Spread, table};
use crate::tape::render_get;

const START_WITHIN: Duration = Duration::from_secs(30);
const WARMUP: Duration = Duration::from_millis(300);
/// Memory that a hash takes.
const HASH_MIB: u64 = 19;
/// Memory that a connection may take: its buffers, and a request that waits for its answer.
const CONNECTION_BYTES_MAX: u64 = 32 << 10;
/// What else may come: accounts, sessions and budgets in memory, pages of the store.
const OTHER_MIB: u64 = 8;

#[derive(Args, Clone, Debug)]
pub struct LoginsArgs {
    /// The server under test
    #[arg(long)]
    pub shunt: PathBuf,
    /// Folder for the store and the log; what an earlier drill left there is removed
    #[arg(long, default_value = "target/drill-logins")]
    pub work: PathBuf,
    /// People who log in at once
    #[arg(long, default_value_t = 1_000)]
    pub guests: usize,
    /// Accounts that there are
    #[arg(long, default_value_t = 100)]
    pub accounts: usize,
    /// Pairs of turns, one of each with logins
    #[arg(long, default_value_t = 10)]
    pub rounds: usize,
    /// Measured seconds of a turn
    #[arg(long, default_value_t = 3.0)]
    pub seconds: f64,
    /// Redirects per second
    #[arg(long, default_value_t = 1_000.0)]
    pub rate: f64,
    /// Hashes that may be computed at once
    #[arg(long, default_value_t = 1)]
    pub permits: usize,
    /// What the median and the ninth decile of redirects may be multiplied by
    #[arg(long, default_value_t = 1.2)]
    pub ratio_max: f64,
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Core of the server; the load has the next one
    #[arg(long, default_value_t = 0)]
    pub core: usize,
    /// Lets the server hash more at once than is said here; the drill must then end with 1
    #[arg(long)]
    pub canary: bool,
}

/// Microseconds of one turn.
struct Turn {
    p50: f64,
    p90: f64,
}

pub fn run(arguments: &LoginsArgs) -> Result<ExitCode> {
    ensure!(arguments.rounds > 0 && arguments.accounts > 0, "nothing is to be done");
    raise_descriptors(arguments.guests + 256)?;
    remove_folder(&arguments.work)?;
    fs::create_dir_all(&arguments.work).context("make the work folder")?;
    let work = arguments.work.canonicalize()?;
    let mut spec = ShuntSpec::new(&arguments.shunt.canonicalize()?, &work.join("data"));
    spec.core = Some(arguments.core);
    let n_threads = if arguments.canary { arguments.permits + 8 } else { arguments.permits };
    for (name, value) in [
        ("SHUNT_HTTP__TRUSTED_PROXIES", "[\"127.0.0.1\"]".to_owned()),
        ("SHUNT_HTTP__MAX_CONNECTIONS_PER_CLIENT", "0".to_owned()),
        // Guests keep their connections while nobody logs in.
        ("SHUNT_HTTP__KEEP_ALIVE", "300s".to_owned()),
        ("SHUNT_PASSWORDS__THREADS", n_threads.to_string()),
    ] {
        spec.environment.push((name.to_owned(), value));
    }
    for fact in facts::machine() {
        say(&fact)?;
    }
    let shunt = spec.start(START_WITHIN)?;
    pin_here(arguments.core + 1)?;
    let key = owner_key(&spec.log)?;
    let code = create(&mut Api::with_key(shunt.public, &key), "https://www.example.com/")?.code;

    let mut deviations = Deviations::default();
    // Redirects take what memory they take before anybody registers, and so does the first weak
    // password, by which others are judged: lists of common words are unpacked for it.
    visit(arguments, shunt.public, &code, &AtomicBool::new(false))?;
    let weak = json!({ "email": email(0), "password": "Password1" }).to_string();
    let reply = Api::with_key(shunt.public, "").post("/api/v1/auth/register", &weak)?;
    ensure!(reply.status == 400, "a weak password answers {}: {}", reply.status, reply.body);
    let resident = || facts::memory_of(shunt.server.pid()).context("read the server's memory");
    let (memory_before, _) = resident()?;
    register(shunt.public, arguments.accounts)?;
    let mut guests =
        Guests::connect(shunt.public, arguments.guests, arguments.accounts, arguments.seed)?;
    let (mut calm, mut crowded, mut welcome) = (Vec::new(), Vec::new(), Welcome::default());
    for _ in 0..arguments.rounds {
        let tally = visit(arguments, shunt.public, &code, &AtomicBool::new(false))?;
        calm.push(judge(&tally, "alone", &mut deviations));
        let (tally, answered) = beside(arguments, &shunt, &code, &mut guests, &mut deviations)?;
        crowded.push(judge(&tally, "beside logins", &mut deviations));
        welcome.add(answered);
    }
    let (_, memory_peak) = resident()?;
    drop(guests);
    shunt.server.terminate(START_WITHIN)?;

    compare(arguments, &calm, &crowded, &mut deviations)?;
    let growth = memory_peak.saturating_sub(memory_before);
    judge_memory(arguments, growth, &mut deviations)?;
    judge_answers(arguments, &welcome, &mut deviations)?;
    say(&format!("{} deviations", deviations.n))?;
    for example in &deviations.examples {
        say(&format!("  {example}"))?;
    }
    Ok(if deviations.n == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Accounts, each from a network of its own, as the limit on registrations wants it.
fn register(addr: SocketAddr, n: usize) -> Result<()> {
    let mut api = Api::with_key(addr, "");
    for number in 0..n {
        let body = json!({ "email": email(number), "password": PASSWORD }).to_string();
        let client = format!("12.{}.{}.1", number >> 8, number & 0xff);
        let reply = api.post_from(&client, "/api/v1/auth/register", &body)?;
        ensure!(reply.status == 201, "a registration answers {}: {}", reply.status, reply.body);
    }
    Ok(())
}

/// Redirects while everybody logs in.
fn beside(
    arguments: &LoginsArgs,
    shunt: &Shunt,
    code: &str,
    guests: &mut Guests,
    deviations: &mut Deviations,
) -> Result<(Tally, Welcome)> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let logins = scope.spawn(|| guests.log_in(&done, deviations));
        let tally = visit(arguments, shunt.public, code, &AtomicBool::new(false));
        done.store(true, Ordering::Relaxed);
        let welcome = logins.join().map_err(|_| anyhow::anyhow!("the guests panicked"))?;
        Ok((tally?, welcome?))
    })
}

/// Redirects at a steady pace.
fn visit(arguments: &LoginsArgs, addr: SocketAddr, code: &str, stop: &AtomicBool) -> Result<Tally> {
    let load = Load {
        addr,
        connections: 8,
        depth: 1,
        pace: Pace::Open(arguments.rate),
        warmup: WARMUP,
        duration: Duration::from_secs_f64(arguments.seconds),
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

fn judge(tally: &Tally, when: &str, deviations: &mut Deviations) -> Turn {
    if tally.n_errors > 0 || tally.n_status(302) != tally.n_requests || tally.n_requests == 0 {
        let (all, good) = (tally.n_requests, tally.n_status(302));
        deviations.add(format!("{when}: {good} of {all} served, {} errors", tally.n_errors));
    }
    let at = |quantile| tally.latency.value_at_quantile(quantile) as f64 / 1e3;
    Turn { p50: at(0.5), p90: at(0.9) }
}

/// Each turn with logins is held against the one before it: other tenants of the machine come and
/// go more slowly than turns.
fn compare(
    arguments: &LoginsArgs,
    calm: &[Turn],
    crowded: &[Turn],
    deviations: &mut Deviations,
) -> Result<()> {
    let mut rows = Vec::new();
    for (name, of) in
        [("p50", (|turn: &Turn| turn.p50) as fn(&Turn) -> f64), ("p90", |turn| turn.p90)]
    {
        let spread = |turns: &[Turn]| Spread::of(&turns.iter().map(of).collect::<Vec<_>>());
        let pairs = calm.iter().zip(crowded).map(|(calm, crowded)| of(crowded) / of(calm));
        let ratios = Spread::of(&pairs.collect::<Vec<_>>()).context("nothing was measured")?;
        let micros = |turns| spread(turns).map_or(0.0, |spread| spread.median);
        rows.push(vec![
            name.to_owned(),
            format!("{:.0}", micros(calm)),
            format!("{:.0}", micros(crowded)),
            format!("{:.3} ({:.3}–{:.3})", ratios.median, ratios.low, ratios.high),
        ]);
        if ratios.median > arguments.ratio_max {
            let bar = arguments.ratio_max;
            deviations.add(format!("{name} is {:.3} times as long, not {bar}", ratios.median));
        }
    }
    let head = ["redirects", "alone, µs", "beside logins, µs", "ratio (quartiles)"];
    say(&format!("\n{}", table(&head, &rows)))
}

fn judge_memory(arguments: &LoginsArgs, growth: u64, deviations: &mut Deviations) -> Result<()> {
    let hashes = (arguments.permits as u64 * HASH_MIB) << 20;
    let bound = hashes + arguments.guests as u64 * CONNECTION_BYTES_MAX + (OTHER_MIB << 20);
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let text = format!("memory grew by {:.1} MiB, at most {:.1}", mib(growth), mib(bound));
    if growth > bound {
        deviations.add(text.clone());
    }
    say(&text)
}

/// That something was tried is part of the result.
fn judge_answers(
    arguments: &LoginsArgs,
    welcome: &Welcome,
    deviations: &mut Deviations,
) -> Result<()> {
    let statuses: Vec<_> =
        welcome.statuses.iter().map(|(status, n)| format!("{n} × {status}")).collect();
    let most = welcome.most_waiting;
    say(&format!("logins: {}; up to {most} at once", statuses.join(", ")))?;
    for status in [200, 401] {
        if welcome.n(status) == 0 {
            deviations.add(format!("no login was answered {status}"));
        }
    }
    if most < arguments.guests {
        deviations.add(format!("only {most} logins were under way at once"));
    }
    Ok(())
}
