//! `shunt backup`, `shunt restore` and `shunt verify`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::Outcome;
use crate::config::Settings;

#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// Folder to write the backup to; must not exist or be empty
    folder: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// Folder that `shunt backup` wrote
    folder: PathBuf,
    /// Replace the store that is there
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// Rebuild what can be rebuilt: indexes and search
    #[arg(long)]
    repair: bool,
}

pub(super) fn backup(_args: &BackupArgs, _settings: &Settings) -> Outcome {
    Ok(())
}
pub(super) fn restore(_args: &RestoreArgs, _settings: &Settings) -> Outcome {
    Ok(())
}
pub(super) fn verify(_args: &VerifyArgs, _settings: &Settings) -> Outcome {
    Ok(())
}
