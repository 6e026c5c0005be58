//! Start to first redirect, to ready, to warm; and an import with its peak of memory.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::prepare;
use crate::api::Api;
use crate::facts;
use crate::links;
use crate::say;
use crate::shunt::{ShuntSpec, copy_folder, remove_folder};
use crate::stats::{Spread, table};

const GIVE_UP_AFTER: Duration = Duration::from_secs(120);
/// Bars in seconds.
const FIRST_REDIRECT_MAX: f64 = 1.0;
const WARM_MAX: f64 = 5.0;
const IMPORT_MAX: f64 = 60.0;

#[derive(Args, Clone, Debug)]
pub struct StartArgs {
    /// The server under test
    #[arg(long)]
    pub shunt: PathBuf,
    /// Folder for links, stores and logs
    #[arg(long, default_value = "target/bench")]
    pub work: PathBuf,
    /// Links in the store
    #[arg(long, default_value_t = 1_000_000)]
    pub links: u64,
    /// Starts
    #[arg(long, default_value_t = 5)]
    pub starts: usize,
    /// End with 1 when a bar is missed
    #[arg(long)]
    pub strict: bool,
}

/// One start, in seconds since the process was asked for.
#[derive(Clone, Copy, Debug)]
struct Start {
    first_redirect: f64,
    ready: f64,
    warm: f64,
}

pub fn run(arguments: &StartArgs) -> Result<ExitCode> {
    ensure!(arguments.starts > 0, "at least one start has to be measured");
    std::fs::create_dir_all(&arguments.work).context("make the work folder")?;
    let work = arguments.work.canonicalize()?;
    let binary = arguments.shunt.canonicalize()?;
    for fact in facts::machine() {
        say(&fact)?;
    }

    let files = prepare::link_files(&work, arguments.links)?;
    let data = work.join("data-import");
    remove_folder(&data)?;
    let mut peak = 0;
    let took = ShuntSpec::new(&binary, &data).import(&files.csv, |pid| {
        peak = facts::memory_of(pid).map_or(peak, |(_, high)| peak.max(high));
    })?;
    let store_mib = facts::folder_bytes(&data) >> 20;
    say(&format!(
        "\nimport of {} links: {:.1} s, {} MiB of memory at most, {store_mib} MiB on disk",
        arguments.links,
        took.as_secs_f64(),
        peak >> 20,
    ))?;

    let mut starts = Vec::new();
    for _ in 0..arguments.starts {
        let copy = work.join("data-start");
        remove_folder(&copy)?;
        copy_folder(&data, &copy)?;
        starts.push(start(&ShuntSpec::new(&binary, &copy), arguments.links)?);
    }
    let spread = |pick: fn(&Start) -> f64| {
        let values: Vec<f64> = starts.iter().map(pick).collect();
        Spread::of(&values).context("nothing was measured")
    };
    let seconds = took.as_secs_f64();
    let import =
        Spread { median: seconds, low: seconds, high: seconds, min: seconds, max: seconds };
    let lines = [
        (
            "start to first redirect",
            spread(|start| start.first_redirect)?,
            Some(FIRST_REDIRECT_MAX),
        ),
        ("start to ready", spread(|start| start.ready)?, None),
        ("start to all links in memory", spread(|start| start.warm)?, Some(WARM_MAX)),
        ("import", import, Some(IMPORT_MAX)),
    ];
    let met = |spread: &Spread, bar: Option<f64>| bar.is_none_or(|bar| spread.median <= bar);
    let rows: Vec<Vec<String>> = lines
        .iter()
        .map(|(what, spread, bar)| {
            vec![
                (*what).to_owned(),
                format!("{:.3}", spread.median),
                format!("{:.3}..{:.3}", spread.min, spread.max),
                bar.map_or_else(String::new, |bar| format!("≤ {bar}")),
                if met(spread, *bar) { "met" } else { "MISSED" }.to_owned(),
            ]
        })
        .collect();
    say(&table(&["seconds", "median", "min..max", "bar", ""], &rows))?;
    let all_met = lines.iter().all(|(_, spread, bar)| met(spread, *bar));
    Ok(if all_met || !arguments.strict { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn start(spec: &ShuntSpec, n_links: u64) -> Result<Start> {
    let started = Instant::now();
    let mut shunt = spec.spawn()?;
    // A link in the middle: neither among the hottest nor the last to be read.
    let target = format!("/{}", links::code(n_links / 2));
    let mut visitor = Api::ops(shunt.public);
    shunt.server.wait_until(GIVE_UP_AFTER, "redirect", || {
        visitor.get(&target).is_ok_and(|reply| reply.status == 302)
    })?;
    let first_redirect = started.elapsed().as_secs_f64();
    shunt.wait_until_ready(GIVE_UP_AFTER)?;
    let ready = started.elapsed().as_secs_f64();
    shunt.wait_for_metrics(GIVE_UP_AFTER, "load every link", |scrape| {
        scrape.total("shunt_links_in_memory") >= n_links as f64
    })?;
    let warm = started.elapsed().as_secs_f64();
    shunt.server.terminate(GIVE_UP_AFTER)?;
    Ok(Start { first_redirect, ready, warm })
}
