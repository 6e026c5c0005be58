//! What it costs the server to know who sends a request: whole requests of the API that read
//! nothing, with a key, with an access token, and without a credential; and what they ask the
//! store.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::api::Api;
use crate::client::{self, Load, Pace, Workload};
use crate::drill::guests::{PASSWORD, email};
use crate::drill::kill::owner_key;
use crate::facts;
use crate::process::pin_here;
use crate::say;
use crate::shunt::{HOST, Shunt, ShuntSpec, remove_folder};
use crate::stats::{Spread, table};

const GIVE_UP_AFTER: Duration = Duration::from_secs(60);
const WARMUP: Duration = Duration::from_millis(500);
/// Processor time that knowing a caller may cost, in microseconds.
const MICROS_MAX: f64 = 20.0;

#[derive(Args, Clone, Debug)]
pub struct CallersArgs {
    /// The server under test
    #[arg(long)]
    pub shunt: PathBuf,
    /// Folder for the store and the log
    #[arg(long, default_value = "target/bench")]
    pub work: PathBuf,
    /// Turns of each kind of caller
    #[arg(long, default_value_t = 8)]
    pub rounds: usize,
    /// Seconds that count of each turn
    #[arg(long, default_value_t = 2.0)]
    pub seconds: f64,
    /// Requests per second
    #[arg(long, default_value_t = 5_000.0)]
    pub rate: f64,
    /// End with 1 when the bar is missed
    #[arg(long)]
    pub strict: bool,
}

/// A kind of caller: what it is called, the header that it sends, what it must be answered.
struct Kind {
    name: &'static str,
    header: Option<String>,
    status: u16,
}

pub fn run(arguments: &CallersArgs) -> Result<ExitCode> {
    ensure!(arguments.rounds > 0, "at least one turn has to be measured");
    std::fs::create_dir_all(&arguments.work).context("make the work folder")?;
    let work = arguments.work.canonicalize()?;
    let data = work.join("data-callers");
    remove_folder(&data)?;
    let mut spec = ShuntSpec::new(&arguments.shunt.canonicalize()?, &data);
    spec.core = Some(0);
    std::fs::write(&spec.log, "").context("empty the log")?;
    // Limits are part of what is measured, so they are high and not off.
    for limit in [
        "KEY_REQUESTS_PER_HOUR",
        "WORKSPACE_REQUESTS_PER_MINUTE",
        "UNAUTHENTICATED_REQUESTS_PER_MINUTE",
    ] {
        spec.environment.push((format!("SHUNT_LIMITS__{limit}"), "1000000".to_owned()));
    }
    for fact in facts::machine() {
        say(&fact)?;
    }
    pin_here(1)?;
    let shunt = spec.start(GIVE_UP_AFTER)?;
    let kinds = kinds(&shunt, &owner_key(&spec.log)?)?;

    let mut micros: Vec<Vec<f64>> = kinds.iter().map(|_| Vec::new()).collect();
    let mut reads: Vec<f64> = vec![0.0; kinds.len()];
    for round in 0..arguments.rounds {
        for turn in 0..kinds.len() {
            let which = (round + turn) % kinds.len();
            let (cost, n_reads) = measure(arguments, &shunt, &kinds[which])?;
            micros[which].push(cost);
            reads[which] += n_reads;
        }
    }
    shunt.server.terminate(GIVE_UP_AFTER)?;
    remove_folder(&data)?;
    report(arguments, &kinds, &micros, &reads)
}

/// A key of a person, that person's session, and nobody.
fn kinds(shunt: &Shunt, owner: &str) -> Result<[Kind; 3]> {
    let mut api = Api::with_key(shunt.public, "");
    let body = json!({ "email": email(0), "password": PASSWORD }).to_string();
    let reply = api.post("/api/v1/auth/register", &body)?;
    ensure!(reply.status == 201, "a registration answers {}: {}", reply.status, reply.body);
    let signed_in: Value = serde_json::from_str(&reply.body).context("understand the answer")?;
    let token = signed_in["access_token"].as_str().context("no access token")?;
    let bearer = |text: &str| Some(format!("Authorization: Bearer {text}\r\n"));
    Ok([
        Kind { name: "API key", header: bearer(owner), status: 400 },
        Kind { name: "access token", header: bearer(token), status: 400 },
        Kind { name: "no credential", header: None, status: 401 },
    ])
}

/// One turn: processor time per request in microseconds, and calls of the store.
fn measure(arguments: &CallersArgs, shunt: &Shunt, kind: &Kind) -> Result<(f64, f64)> {
    let load = |seconds: f64| Load {
        addr: shunt.public,
        connections: 16,
        depth: 1,
        pace: Pace::Open(arguments.rate),
        warmup: Duration::ZERO,
        duration: Duration::from_secs_f64(seconds),
        reconnect: false,
        spin: false,
    };
    let mut calls = Calls { kind, n_others: 0 };
    let never = AtomicBool::new(false);
    client::run(&load(WARMUP.as_secs_f64()), &mut calls, &never)?;
    let store_calls = |shunt: &Shunt| {
        Ok::<_, anyhow::Error>(shunt.metrics()?.total("shunt_store_duration_seconds_count"))
    };
    let calls_before = store_calls(shunt)?;
    let cpu_before = facts::cpu_of(shunt.server.pid());
    let tally = client::run(&load(arguments.seconds), &mut calls, &never)?;
    let cpu = facts::cpu_of(shunt.server.pid()) - cpu_before;
    let n_calls = store_calls(shunt)? - calls_before;
    ensure!(tally.n_errors == 0, "{} connections broke", tally.n_errors);
    ensure!(calls.n_others == 0, "{}: {} other answers", kind.name, calls.n_others);
    ensure!(tally.n_requests > 0, "nothing was answered");
    Ok((cpu * 1e6 / tally.n_requests as f64, n_calls))
}

fn report(
    arguments: &CallersArgs,
    kinds: &[Kind; 3],
    micros: &[Vec<f64>],
    reads: &[f64],
) -> Result<ExitCode> {
    let mut rows = Vec::new();
    let mut met = true;
    let seconds = arguments.seconds * arguments.rounds as f64;
    let nobody = Spread::of(&micros[2]).context("nothing was measured")?.median;
    for ((kind, micros), reads) in kinds.iter().zip(micros).zip(reads) {
        let spread = Spread::of(micros).context("nothing was measured")?;
        // All that differs is who calls.
        met &= spread.median - nobody < MICROS_MAX;
        rows.push(vec![
            kind.name.to_owned(),
            format!("{:.1} ({:.1}–{:.1})", spread.median, spread.low, spread.high),
            format!("{:.1}", reads / seconds),
        ]);
    }
    let head = ["request with", "CPU µs (quartiles)", "store calls per second"];
    say(&format!("\n{}", table(&head, &rows)))?;
    let verdict = if met { "met" } else { "MISSED" };
    say(&format!(
        "at {:.0} requests per second, whole requests; bar for knowing the caller, beside nobody, \
         < {MICROS_MAX} µs: {verdict}",
        arguments.rate
    ))?;
    Ok(if met || !arguments.strict { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Asks for a page that is refused once the caller is known, before anything is read.
struct Calls<'a> {
    kind: &'a Kind,
    n_others: u64,
}

impl Workload for Calls<'_> {
    fn next(&mut self, out: &mut Vec<u8>) -> Option<u32> {
        let head = "GET /api/v1/links?cursor=x HTTP/1.1\r\nHost: ";
        for part in [head, HOST, "\r\n", self.kind.header.as_deref().unwrap_or_default(), "\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
        Some(0)
    }

    fn answered(&mut self, _token: u32, answer: &Answer<'_>) {
        self.n_others += u64::from(answer.status != self.kind.status);
    }
}
