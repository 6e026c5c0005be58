//! `shunt backup` and `shunt restore`: copies of the embedded store. A database has its own means.

use std::path::PathBuf;

use clap::Args;

use crate::app::SystemClock;
use crate::cli::{Failure, Outcome, say};
use crate::config::Settings;
use crate::domain::time::Clock;
use crate::storage::StorageError;
use crate::storage::embedded::{backup as copies, restore as returns};

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

/// Copies what the store holds now. Clicks of the last seconds are still in the journal of the
/// running server and come with the next backup.
pub(super) fn backup(args: &BackupArgs, settings: &Settings) -> Outcome {
    refuse_database(settings)?;
    let path = &settings.storage.path;
    copies::backup(path, &args.folder).map_err(explain)?;
    say(format_args!("copied {} to {}", path.display(), args.folder.display()));
    Ok(())
}

pub(super) fn restore(args: &RestoreArgs, settings: &Settings) -> Outcome {
    refuse_database(settings)?;
    let path = &settings.storage.path;
    returns::restore(&args.folder, path, args.force, SystemClock.now()).map_err(explain)?;
    say(format_args!("restored {} from {}", path.display(), args.folder.display()));
    Ok(())
}

/// What may be left in the folder of a node that works on a database is not its store.
fn refuse_database(settings: &Settings) -> Outcome {
    match settings.storage.database() {
        None => Ok(()),
        Some(_) => Err(Failure::usage(
            "the store is a database (`storage.cql`): use its own snapshots, or `shunt export` \
             while all servers are stopped",
        )),
    }
}

/// The kind and, behind it, what the store said about it.
pub(super) fn explain(error: StorageError) -> Failure {
    anyhow::Error::from(error).into()
}
