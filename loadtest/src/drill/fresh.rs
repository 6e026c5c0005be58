//! `drill fresh`: how long a click takes to be in the statistics while redirects come as fast as
//! they can be answered, and how long a question about them takes.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::Value;

use super::kill::{create, hot_links, owner_key};
use super::load::Asking;
use crate::api::Api;
use crate::client::{self, Load, Pace};
use crate::process::pause;
use crate::say;
use crate::shunt::{ShuntSpec, remove_folder};

const START_WITHIN: Duration = Duration::from_secs(30);
/// Between two looks at the statistics.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Whoever waits longer waits for ever.
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);

#[derive(Args, Clone, Debug)]
pub struct FreshArgs {
    /// The server under test
    #[arg(long)]
    pub shunt: PathBuf,
    /// Folder for the store and the log; what an earlier drill left there is removed
    #[arg(long, default_value = "target/drill-fresh")]
    pub work: PathBuf,
    /// Seconds of load
    #[arg(long, default_value_t = 60.0)]
    pub seconds: f64,
    /// Connections that ask for redirects
    #[arg(long, default_value_t = 64)]
    pub connections: usize,
    /// Visitors who each click and then look for their click, again and again
    #[arg(long, default_value_t = 8)]
    pub visitors: usize,
    /// What 99 of 100 clicks must reach, in seconds
    #[arg(long, default_value_t = 5.0)]
    pub bar_seconds: f64,
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

pub fn run(arguments: &FreshArgs) -> Result<ExitCode> {
    remove_folder(&arguments.work)?;
    fs::create_dir_all(&arguments.work).context("make the work folder")?;
    let work = arguments.work.canonicalize()?;
    let spec = ShuntSpec::new(&arguments.shunt.canonicalize()?, &work.join("data"));
    let shunt = spec.start(START_WITHIN)?;
    let key = owner_key(&spec.log)?;
    let mut ledger = hot_links(shunt.public, &key)?;
    let created = Mutex::new(Vec::new());
    let mut asking = Asking::new(&mut ledger, &created, 1, arguments.seed);
    let load = Load {
        addr: shunt.public,
        connections: arguments.connections,
        depth: 1,
        pace: Pace::Closed,
        warmup: Duration::ZERO,
        duration: Duration::from_secs_f64(arguments.seconds),
        reconnect: false,
        spin: false,
    };
    let stop = AtomicBool::new(false);
    let (tally, waits) = thread::scope(|scope| -> Result<_> {
        let visitors: Vec<_> = (0..arguments.visitors)
            .map(|number| {
                let visitor = Visitor { public: shunt.public, key: &key, number };
                let stop = &stop;
                scope.spawn(move || visitor.look_until(stop))
            })
            .collect();
        let tally = client::run(&load, &mut asking, &stop);
        stop.store(true, Ordering::Relaxed);
        let mut waits = Vec::new();
        for visitor in visitors {
            let found = visitor.join().map_err(|_| anyhow::anyhow!("a visitor panicked"))??;
            waits.extend(found);
        }
        Ok((tally?, waits))
    })?;
    ensure!(waits.len() >= 100, "{} clicks are too few to tell the slowest hundredth", waits.len());
    let seen: Vec<f64> = waits.iter().map(|wait| wait.seen.as_secs_f64()).collect();
    let asked: Vec<f64> = waits.iter().map(|wait| wait.question.as_secs_f64() * 1e3).collect();
    let slowest = percentile(&seen, 0.99);
    say(&format!("{:.0} redirects/s beside {} visitors", tally.rps(), arguments.visitors))?;
    say(&format!(
        "{} clicks were in the statistics after {:.2} s (median), {slowest:.2} s (p99), {:.2} s \
         (the slowest)",
        seen.len(),
        percentile(&seen, 0.5),
        percentile(&seen, 1.0),
    ))?;
    say(&format!(
        "a question took {:.1} ms (median), {:.1} ms (p95)",
        percentile(&asked, 0.5),
        percentile(&asked, 0.95),
    ))?;
    let met = slowest <= arguments.bar_seconds && ledger.deviations.n == 0;
    say(&format!(
        "bar: p99 ≤ {} s, {} deviations: {}",
        arguments.bar_seconds,
        ledger.deviations.n,
        if met { "met" } else { "MISSED" }
    ))?;
    shunt.server.kill()?;
    Ok(if met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Somebody who clicks a link of their own and looks for the click.
struct Visitor<'a> {
    public: SocketAddr,
    key: &'a str,
    number: usize,
}

/// What one click waited for.
struct Wait {
    seen: Duration,
    /// The last question, which saw it.
    question: Duration,
}

impl Visitor<'_> {
    fn look_until(&self, stop: &AtomicBool) -> Result<Vec<Wait>> {
        let mut api = Api::with_key(self.public, self.key);
        let destination = format!("https://www.example.com/fresh/{}", self.number);
        let link = create(&mut api, &destination)?;
        let mut waits = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let n = waits.len() as u64 + 1;
            let clicked = Instant::now();
            let answer = api.get(&format!("/{}", link.code))?;
            ensure!(answer.status == 302, "a visit is answered {}", answer.status);
            loop {
                let asked = Instant::now();
                let seen = clicks_in_stats(&mut api, &link.code)? >= n;
                if seen {
                    waits.push(Wait { seen: clicked.elapsed(), question: asked.elapsed() });
                    break;
                }
                ensure!(clicked.elapsed() < GIVE_UP_AFTER, "click {n} never shows");
                pause(LOOK_EVERY);
            }
        }
        Ok(waits)
    }
}

fn clicks_in_stats(api: &mut Api, code: &str) -> Result<u64> {
    let reply = api.get(&format!("/api/v1/links/{code}/stats"))?;
    ensure!(reply.status == 200, "statistics answer {}: {}", reply.status, reply.body);
    let stats: Value = serde_json::from_str(&reply.body).context("understand the statistics")?;
    stats["summary"]["clicks"].as_u64().context("the summary has no clicks")
}

fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(at.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_so_many_do_not_exceed() {
        let values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!(percentile(&values, 0.5), 100.0);
        assert_eq!(percentile(&values, 0.99), 198.0);
        assert_eq!(percentile(&values, 1.0), 200.0);
        assert!(percentile(&[], 0.5).is_nan());
    }
}
