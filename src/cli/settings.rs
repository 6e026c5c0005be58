//! `shunt check-config` and `shunt print-config`.

use std::path::Path;

use crate::cli::{Outcome, say};
use crate::config::{self, Settings};

/// Loading found no mistake; says what was read.
pub(super) fn check(named: Option<&Path>) -> Outcome {
    match config::file_to_read(named) {
        Some(file) => say(format_args!("{} and the environment are fine", file.display())),
        None => say("no configuration file; the environment and the defaults are fine"),
    }
    Ok(())
}

pub(super) fn print(settings: &Settings) -> Outcome {
    say(settings.to_toml().trim_end());
    Ok(())
}
