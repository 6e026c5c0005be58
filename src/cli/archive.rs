//! `shunt backup`, `shunt restore` and `shunt verify`.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use crate::actors::clicks::journal::{self, FileReport, FileState};
use crate::app::SystemClock;
use crate::cli::{Failure, Outcome, say};
use crate::config::Settings;
use crate::domain::time::Clock;
use crate::storage::StorageError;
use crate::storage::embedded::{backup as copies, restore as returns, verify as checks};
use crate::storage::lock::StoreLock;

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
    /// Rebuild what can be rebuilt: indexes, search, and click counts from each other
    #[arg(long)]
    repair: bool,
}

/// Copies what the store holds now. Clicks of the last seconds are still in the journal of the
/// running server and come with the next backup.
pub(super) fn backup(args: &BackupArgs, settings: &Settings) -> Outcome {
    let path = &settings.storage.path;
    copies::backup(path, &args.folder).map_err(explain)?;
    say(format_args!("copied {} to {}", path.display(), args.folder.display()));
    Ok(())
}

pub(super) fn restore(args: &RestoreArgs, settings: &Settings) -> Outcome {
    let path = &settings.storage.path;
    returns::restore(&args.folder, path, args.force, SystemClock.now()).map_err(explain)?;
    say(format_args!("restored {} from {}", path.display(), args.folder.display()));
    Ok(())
}

/// Prints one line per finding; exits with 1 when there are any.
pub(super) fn verify(args: &VerifyArgs, settings: &Settings) -> Outcome {
    let path = &settings.storage.path;
    if args.repair {
        let lock = StoreLock::try_acquire(path).map_err(anyhow::Error::from)?;
        if lock.is_none() {
            return Err(Failure::failed("stop the server before repairing its store"));
        }
        checks::repair(path).map_err(explain)?;
    }
    let report = checks::verify(path).map_err(explain)?;
    for finding in &report.findings {
        say(format_args!("damaged: {} ({})", finding.what, finding.remedy));
    }
    if report.more > 0 {
        say(format_args!("… and {} more", report.more));
    }
    if report.set_aside > 0 {
        say(format_args!(
            "{} damaged pieces of clicks were set aside earlier; \
             totals hold what the others told of them",
            report.set_aside
        ));
    }
    let folder = path.join("journal");
    let files =
        journal::verify(&folder).with_context(|| format!("reading {}", folder.display()))?;
    let n_damaged = files.iter().filter(|file| !tell(file)).count();
    say(format_args!(
        "{} links, {} pages of counts, {} single clicks, {} entries of the audit log, \
         {} journal segments with {} clicks read",
        report.links,
        report.click_pages,
        report.clicks,
        report.audit_entries,
        files.len(),
        files.iter().map(|file| file.records).sum::<u64>(),
    ));
    if report.is_sound() && n_damaged == 0 {
        say("everything is whole");
        return Ok(());
    }
    Err(Failure::failed("the store or the journal is damaged, see above"))
}

/// Says what is wrong with a journal file; true when nothing is.
fn tell(file: &FileReport) -> bool {
    let Some(words) = wrong_with(file) else { return true };
    say(words);
    false
}

fn wrong_with(file: &FileReport) -> Option<String> {
    let FileReport { name, records, state } = file;
    let what = match state {
        FileState::Intact => return None,
        FileState::Damaged { offset, lost: 0 } => format!("damaged at byte {offset}"),
        FileState::Damaged { offset, lost } => {
            format!("damaged at byte {offset}, at least {lost} clicks lost behind it")
        }
        FileState::NotASegment => "not a journal segment".to_owned(),
        FileState::Unreadable(error) => format!("unreadable: {error}"),
    };
    let then = match file.set_aside() {
        false => format!("its {records} intact clicks are counted at the next start"),
        true => format!(
            "an earlier start set it aside after it had counted what it could; {records} clicks \
             in it are intact, and no start reads it again"
        ),
    };
    Some(format!("damaged: journal/{name}: {what}; {then}"))
}

/// The kind and, behind it, what the store said about it.
fn explain(error: StorageError) -> Failure {
    anyhow::Error::from(error).into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn only_files_that_a_start_reads_are_said_to_be_counted_by_one() {
        let state = FileState::Damaged { offset: 4_096, lost: 3 };
        let words = |name: &str| {
            let name = name.to_owned();
            wrong_with(&FileReport { name, records: 7, state: state.clone() }).unwrap()
        };
        let waiting = words("0000000000000001.seg");
        assert!(
            waiting.ends_with("its 7 intact clicks are counted at the next start"),
            "{waiting}"
        );
        let aside = words("damaged/0000000000000001.seg");
        assert!(aside.ends_with("no start reads it again"), "{aside}");
    }
}
