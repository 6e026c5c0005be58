//! Measurements: contests between servers, start and import, memory, instructions, creating links,
//! knowing callers.

pub mod callers;
pub mod contest;
pub mod creates;
mod entrants;
pub mod instructions;
pub mod memory;
mod prepare;
pub mod start;

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};

/// Adds text to the end of a file of results.
fn append(path: &Path, text: &str) -> Result<()> {
    let mut file = File::options()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("write {}", path.display()))?;
    writeln!(file, "{text}").with_context(|| format!("write {}", path.display()))
}
