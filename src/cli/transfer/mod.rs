//! `shunt links import` and `shunt links export`: links as CSV or NDJSON, from and to the store
//! itself or a running server.
//!
//! Both stream: memory is bounded by a batch of rows, however long the file. An import goes in
//! batches that the other side does exactly once, so that it can be stopped and run again.

mod cells;
mod dry;
mod export;
mod import;
mod read;
mod server;
mod store;
mod write;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

pub use dry::{ServerTrial, StoreTrial};
pub use export::{ExportReport, ExportSource, export};
pub use import::{ImportReport, ImportTarget, Problem, import};
pub use server::ServerEnd;
pub use store::StoreEnd;

use crate::service::import::RowOutcome;

/// Rows of one batch. Fixed for ever: a stopped import finds its place again by it.
pub const BATCH_ROWS: usize = 1_000;
/// Longest row, in bytes: several times what the longest link takes.
const ROW_BYTES_MAX: usize = 256 * 1_024;
/// How often a progress bar without news is drawn again.
const TICK: Duration = Duration::from_millis(200);

/// Arguments of `shunt links import`.
#[derive(Clone, Debug, Args)]
pub struct ImportArgs {
    /// File to read, or `-` for standard input
    #[arg(value_name = "FILE")]
    pub file: String,
    /// Format of the file; else told by its extension, `.ndjson` or `.jsonl`; else CSV
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Say what an import would do, line by line, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Leave out columns and fields that are not known, instead of refusing them
    #[arg(long)]
    pub ignore_unknown: bool,
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Arguments of `shunt links export`.
#[derive(Clone, Debug, Args)]
pub struct ExportArgs {
    /// File to write, or `-` for standard output
    #[arg(value_name = "FILE")]
    pub file: String,
    /// Format of the file; else told by its extension, `.ndjson` or `.jsonl`; else CSV
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Which server to go through instead of the store in `storage.path`.
#[derive(Clone, Args)]
pub struct ServerArgs {
    /// Address of a running server, like http://127.0.0.1:8080; without it, and with a key, the
    /// server that holds the store is reached where it listens
    #[arg(long, requires = "key")]
    pub url: Option<String>,
    /// API key for that server
    #[arg(long, env = "SHUNT_KEY", hide_env_values = true)]
    pub key: Option<String>,
}

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A header row, then one link per row
    Csv,
    /// One JSON object per line
    #[value(alias = "jsonl")]
    Ndjson,
}

/// The command was typed wrongly or the file does not fit it: exit code 2, nothing was done.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WrongUsage(pub String);

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchOutcome {
    /// One answer per row, in order.
    Done(Vec<RowOutcome>),
    /// The same batch was imported by an earlier run, with these answers, one per row.
    DoneBefore(Vec<RowOutcome>),
}

/// Keys are secret, also in what is printed for debugging.
impl fmt::Debug for ServerArgs {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ServerArgs").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Format {
    /// The format that was asked for, or that the extension of `file` tells, or CSV.
    fn of(asked: Option<Self>, file: &str) -> Self {
        if let Some(format) = asked {
            return format;
        }
        let extension = Path::new(file).extension().and_then(|extension| extension.to_str());
        match extension.map(str::to_ascii_lowercase).as_deref() {
            Some("ndjson" | "jsonl") => Self::Ndjson,
            _ => Self::Csv,
        }
    }
}

/// A bar on a terminal's standard error; nothing at all elsewhere.
fn progress(length: Option<u64>, template: &'static str) -> ProgressBar {
    let bar = length.map_or_else(ProgressBar::no_length, ProgressBar::new);
    let style = ProgressStyle::with_template(template);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    if !bar.is_hidden() {
        bar.enable_steady_tick(TICK);
    }
    bar
}

#[cfg(test)]
mod tests;
