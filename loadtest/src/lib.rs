//! Load, reference servers and drills for Shunt. Everything here talks HTTP to a server process
//! and knows nothing of its insides.

pub mod answer;
pub mod api;
pub mod bare;
pub mod bench;
pub mod callgrind;
pub mod canned;
pub mod client;
pub mod drill;
pub mod facts;
pub mod links;
pub mod metrics;
pub mod plan;
pub mod process;
pub mod rng;
pub mod run;
pub mod shunt;
pub mod stats;
pub mod tape;
pub mod zipf;

use std::io::{self, Write};

use anyhow::{Context, Result};

/// Prints one line on stdout; fails when nobody reads it any more.
pub fn say(line: &str) -> Result<()> {
    writeln!(io::stdout(), "{line}").context("print")
}
