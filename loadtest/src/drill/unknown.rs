//! `drill unknown`: a scanner tries codes that look real. Nearly all of them must be refused
//! without a store read, and none may leave anything behind in memory.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use super::kill::{create, owner_key};
use super::ledger::Deviations;
use crate::answer::Answer;
use crate::api::Api;
use crate::client::{self, Load, Pace, Workload};
use crate::facts;
use crate::metrics::Scrape;
use crate::rng::Rng;
use crate::say;
use crate::shunt::{HOST, ShuntSpec, remove_folder};
use crate::tape::render_get;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// One guess in so many passes the tag of a sealed code.
const TAG_VALUES: f64 = 4_096.0;
const N_LINKS: usize = 100;
const START_WITHIN: Duration = Duration::from_secs(30);

#[derive(Args, Clone, Debug)]
pub struct UnknownArgs {
    /// The server under test
    #[arg(long)]
    pub shunt: PathBuf,
    /// Folder for the store and the log; what an earlier drill left there is removed
    #[arg(long, default_value = "target/drill-unknown")]
    pub work: PathBuf,
    /// Codes to try
    #[arg(long, default_value_t = 1_000_000)]
    pub requests: u64,
    /// Memory that may come on top while the codes are tried, in MiB
    #[arg(long, default_value_t = 16)]
    pub growth_mib: u64,
    #[arg(long, default_value_t = 64)]
    pub connections: usize,
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

pub fn run(arguments: &UnknownArgs) -> Result<ExitCode> {
    remove_folder(&arguments.work)?;
    fs::create_dir_all(&arguments.work).context("make the work folder")?;
    let work = arguments.work.canonicalize()?;
    let spec = ShuntSpec::new(&arguments.shunt.canonicalize()?, &work.join("data"));
    let shunt = spec.start(START_WITHIN)?;
    let mut api = Api::with_key(shunt.public, &owner_key(&spec.log)?);
    for n in 0..N_LINKS {
        create(&mut api, &format!("https://www.example.com/known/{n}"))?;
    }

    let mut guesser =
        Guesser { left: 0, rng: Rng::new(arguments.seed), n_not_found: 0, n_other: 0 };
    let load = Load {
        addr: shunt.public,
        connections: arguments.connections,
        depth: 1,
        pace: Pace::Closed,
        warmup: Duration::ZERO,
        duration: Duration::from_secs(3_600),
        reconnect: true,
        spin: false,
    };
    // The first tenth fills buffers and bounded caches; what comes after must not grow.
    let resident = || facts::memory_of(shunt.server.pid()).context("read the server's memory");
    guesser.left = arguments.requests / 10;
    client::run(&load, &mut guesser, &AtomicBool::new(false))?;
    let (memory_before, _) = resident()?;
    let before = shunt.metrics()?;
    (guesser.n_not_found, guesser.n_other) = (0, 0);
    guesser.left = arguments.requests;
    let tally = client::run(&load, &mut guesser, &AtomicBool::new(false))?;
    let after = shunt.metrics()?;
    let (memory_after, memory_peak) = resident()?;

    let mut deviations = Deviations::default();
    let n_reads = reads(&after) - reads(&before);
    let expected = arguments.requests as f64 / TAG_VALUES;
    // Six standard deviations: a right server fails this once in a thousand million drills.
    let n_reads_max = expected + 6.0 * expected.sqrt();
    if n_reads > n_reads_max {
        deviations.add(format!("{n_reads} store reads, at most {n_reads_max:.0} are chance"));
    }
    if guesser.n_other > 0 || guesser.n_not_found != arguments.requests {
        let (found, other) = (guesser.n_not_found, guesser.n_other);
        deviations.add(format!("{found} answers 404, {other} other answers"));
    }
    if tally.n_errors > 0 {
        deviations.add(format!("{} errors", tally.n_errors));
    }
    let growth = memory_after.saturating_sub(memory_before);
    if growth > arguments.growth_mib << 20 {
        deviations.add(format!("memory grew by {} KiB", growth >> 10));
    }

    say(&format!(
        "{} unknown codes at {:.0}/s: {n_reads} store reads (by chance {expected:.0}), memory {} \
         KiB before, {} KiB after, {} KiB at most\n{} deviations",
        arguments.requests,
        tally.rps(),
        memory_before >> 10,
        memory_after >> 10,
        memory_peak >> 10,
        deviations.n,
    ))?;
    for example in &deviations.examples {
        say(&format!("  {example}"))?;
    }
    shunt.server.terminate(START_WITHIN)?;
    Ok(if deviations.n == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Link reads of the store, whichever way they are counted; the larger number is believed.
fn reads(scrape: &Scrape) -> f64 {
    let loads = scrape.total("shunt_link_loads_total");
    let fetches = scrape.sum("shunt_store_duration_seconds_count", &["op=\"fetch_link"]);
    loads.max(fetches)
}

struct Guesser {
    left: u64,
    rng: Rng,
    n_not_found: u64,
    n_other: u64,
}

impl Workload for Guesser {
    fn next(&mut self, out: &mut Vec<u8>) -> Option<u32> {
        self.left = self.left.checked_sub(1)?;
        render_get(out, &guess(&mut self.rng), HOST);
        out.extend_from_slice(b"\r\n");
        Some(0)
    }

    fn answered(&mut self, _token: u32, answer: &Answer<'_>) {
        if answer.status == 404 {
            self.n_not_found += 1;
        } else {
            self.n_other += 1;
        }
    }
}

/// Eight characters of which the first is a digit, as sealed codes have.
fn guess(rng: &mut Rng) -> String {
    let mut code = String::with_capacity(8);
    code.push(char::from(BASE62[rng.below(10)]));
    for _ in 0..7 {
        code.push(char::from(BASE62[rng.below(62)]));
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_look_like_sealed_codes() {
        let mut rng = Rng::new(1);
        for _ in 0..1_000 {
            let code = guess(&mut rng);
            assert_eq!(code.len(), 8);
            assert!(code.starts_with(|first: char| first.is_ascii_digit()));
            assert!(code.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        }
    }
}
