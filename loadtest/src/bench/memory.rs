//! Bytes per link: what the process takes with many links beyond what it takes with few.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use super::prepare;
use crate::facts;
use crate::say;
use crate::shunt::{ShuntSpec, copy_folder, remove_folder};
use crate::stats::table;

const GIVE_UP_AFTER: Duration = Duration::from_secs(300);
const N_FEW: u64 = 1_000;
/// Bytes per link at the largest number of links.
const BYTES_MAX: f64 = 200.0;

#[derive(Args, Clone, Debug)]
pub struct MemoryArgs {
    /// The server under test
    #[arg(long)]
    pub shunt: PathBuf,
    /// Folder for links, stores and logs
    #[arg(long, default_value = "target/bench")]
    pub work: PathBuf,
    /// Numbers of links, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "1000000,5000000")]
    pub links: Vec<u64>,
    /// Also append the figures to this file
    #[arg(long)]
    pub append: Option<PathBuf>,
    /// End with 1 when a bar is missed
    #[arg(long)]
    pub strict: bool,
}

pub fn run(arguments: &MemoryArgs) -> Result<ExitCode> {
    std::fs::create_dir_all(&arguments.work).context("make the work folder")?;
    let work = arguments.work.canonicalize()?;
    let binary = arguments.shunt.canonicalize()?;
    let (few, _) = settled(&work, &binary, N_FEW)?;
    let mut rows = Vec::new();
    let mut last = 0.0;
    for n in &arguments.links {
        let (resident, reported) = settled(&work, &binary, *n)?;
        let extra = resident.saturating_sub(few) as f64;
        last = extra / (n.saturating_sub(N_FEW)).max(1) as f64;
        rows.push(vec![
            n.to_string(),
            format!("{} MiB", resident >> 20),
            format!("{last:.1}"),
            format!("{:.1}", reported / *n as f64),
        ]);
    }
    let text = table(
        &["links", "resident", "bytes per link", "bytes per link by shunt_links_memory_bytes"],
        &rows,
    );
    say(&format!("{text}\nwith {N_FEW} links: {} MiB; bar ≤ {BYTES_MAX}", few >> 20))?;
    if let Some(path) = &arguments.append {
        super::append(path, &text)?;
    }
    let met = last <= BYTES_MAX;
    Ok(if met || !arguments.strict { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Resident bytes and the table's own figure, once every link is in memory.
fn settled(work: &Path, binary: &Path, n_links: u64) -> Result<(u64, f64)> {
    let data = work.join("data-memory");
    remove_folder(&data)?;
    copy_folder(&prepare::store(work, n_links, binary)?, &data)?;
    let mut shunt = ShuntSpec::new(binary, &data).start(GIVE_UP_AFTER)?;
    let scrape = shunt.wait_for_metrics(GIVE_UP_AFTER, "load every link", |scrape| {
        scrape.total("shunt_links_in_memory") >= n_links as f64
    })?;
    let (resident, _) = facts::memory_of(shunt.server.pid()).context("read the server's memory")?;
    shunt.server.terminate(GIVE_UP_AFTER)?;
    remove_folder(&data)?;
    Ok((resident, scrape.total("shunt_links_memory_bytes")))
}
