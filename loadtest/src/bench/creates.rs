//! Links created through the API, each durable when it is answered: how many per second one core
//! makes, with the store, its writer and its upkeep on that same core.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::answer::Answer;
use crate::client::{self, Load, Pace, Tally, Workload};
use crate::drill::kill::owner_key;
use crate::facts;
use crate::process::pin_here;
use crate::say;
use crate::shunt::{HOST, ShuntSpec, remove_folder};
use crate::stats::{Spread, table};

const GIVE_UP_AFTER: Duration = Duration::from_secs(60);
const WARMUP: Duration = Duration::from_secs(1);
/// Links per second.
const CREATES_MIN: f64 = 5_000.0;

#[derive(Args, Clone, Debug)]
pub struct CreatesArgs {
    /// The server under test
    #[arg(long)]
    pub shunt: PathBuf,
    /// Another server to take turns with; the ratio is the first one over this one
    #[arg(long)]
    pub against: Option<PathBuf>,
    /// Folder for stores and logs; its disk is part of what is measured
    #[arg(long, default_value = "target/bench")]
    pub work: PathBuf,
    /// Keep-alive connections, each with one request in flight
    #[arg(long, default_value_t = 64)]
    pub connections: usize,
    /// Turns of each server, every one on an empty store
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Seconds that count of each turn
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// End with 1 when the bar is missed
    #[arg(long)]
    pub strict: bool,
}

pub fn run(arguments: &CreatesArgs) -> Result<ExitCode> {
    ensure!(arguments.rounds > 0, "at least one turn has to be measured");
    std::fs::create_dir_all(&arguments.work).context("make the work folder")?;
    let work = arguments.work.canonicalize()?;
    let mut binaries = vec![arguments.shunt.canonicalize()?];
    if let Some(other) = &arguments.against {
        binaries.push(other.canonicalize()?);
    }
    for fact in facts::machine() {
        say(&fact)?;
    }
    pin_here(1)?;

    let mut rates: Vec<Vec<f64>> = vec![Vec::new(); binaries.len()];
    let mut rows = Vec::new();
    for round in 0..arguments.rounds {
        for turn in 0..binaries.len() {
            // Each round begins with another server.
            let which = (round + turn) % binaries.len();
            let (tally, server_busy) = measure(arguments, &work, &binaries[which])?;
            rates[which].push(tally.rps());
            rows.push(row(which, &tally, server_busy));
        }
    }
    let head = ["server", "links/s", "p50 ms", "p99 ms", "server's core", "client's core"];
    say(&format!("\n{}", table(&head, &rows)))?;

    let spread = Spread::of(&rates[0]).context("nothing was measured")?;
    let met = spread.median >= CREATES_MIN;
    let verdict = if met { "met" } else { "MISSED" };
    say(&format!(
        "created per second: {:.0} (quartiles {:.0}..{:.0}); bar ≥ {CREATES_MIN}: {verdict}",
        spread.median, spread.low, spread.high,
    ))?;
    if let [ours, theirs] = rates.as_slice() {
        let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a / b).collect();
        let ratio = Spread::of(&ratios).context("nothing was measured")?;
        say(&format!(
            "against the other: {:.3} (quartiles {:.3}..{:.3})",
            ratio.median, ratio.low, ratio.high
        ))?;
    }
    Ok(if met || !arguments.strict { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One turn on an empty store, and the share of its core that the server used. Fails when an answer
/// is no 201.
fn measure(arguments: &CreatesArgs, work: &Path, binary: &Path) -> Result<(Tally, f64)> {
    let data = work.join("data-creates");
    remove_folder(&data)?;
    let mut spec = ShuntSpec::new(binary, &data);
    spec.core = Some(0);
    // The key of an earlier turn must not be found.
    std::fs::write(&spec.log, "").context("empty the log")?;
    let shunt = spec.start(GIVE_UP_AFTER)?;
    let key = owner_key(&spec.log)?;
    let load = Load {
        addr: shunt.public,
        connections: arguments.connections,
        depth: 1,
        pace: Pace::Closed,
        warmup: WARMUP,
        duration: Duration::from_secs_f64(arguments.seconds),
        reconnect: false,
        spin: false,
    };
    let mut creator = Creator { key, n_asked: 0, n_others: 0 };
    let cpu_before = facts::cpu_of(shunt.server.pid());
    let started = std::time::Instant::now();
    let tally = client::run(&load, &mut creator, &AtomicBool::new(false))?;
    let busy = (facts::cpu_of(shunt.server.pid()) - cpu_before) / started.elapsed().as_secs_f64();
    ensure!(tally.n_errors == 0, "{} connections broke", tally.n_errors);
    ensure!(creator.n_others == 0, "{} answers were no 201", creator.n_others);
    shunt.server.terminate(GIVE_UP_AFTER)?;
    remove_folder(&data)?;
    Ok((tally, busy))
}

fn row(which: usize, tally: &Tally, server_busy: f64) -> Vec<String> {
    let millis = |quantile| tally.latency.value_at_quantile(quantile) as f64 / 1e6;
    vec![
        if which == 0 { "shunt" } else { "the other" }.to_owned(),
        format!("{:.0}", tally.rps()),
        format!("{:.2}", millis(0.5)),
        format!("{:.2}", millis(0.99)),
        format!("{server_busy:.2}"),
        format!("{:.2}", tally.client_busy),
    ]
}

/// Asks for one link after the other, each with a destination of its own.
struct Creator {
    key: String,
    n_asked: u64,
    n_others: u64,
}

impl Workload for Creator {
    fn next(&mut self, out: &mut Vec<u8>) -> Option<u32> {
        let n = self.n_asked;
        self.n_asked += 1;
        let path = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let body = format!(r#"{{"destination":"https://www.example.com/articles/{path:016x}"}}"#);
        let mut head = String::with_capacity(256);
        let _ = write!(
            head,
            "POST /api/v1/links HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.key,
            body.len()
        );
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(body.as_bytes());
        Some(n as u32)
    }

    fn answered(&mut self, _token: u32, answer: &Answer<'_>) {
        self.n_others += u64::from(answer.status != 201);
    }
}
