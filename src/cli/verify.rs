//! `shunt verify`: reads the whole store, embedded or a database, and the journal of this node.

use anyhow::Context;
use clap::Args;

use super::archive::explain;
use super::moving;
use crate::actors::clicks::journal::{self, FileReport, FileState};
use crate::app::JOURNAL_FOLDER;
use crate::cli::{Failure, Outcome, block_on, say};
use crate::config::Settings;
use crate::storage::embedded::verify as checks;
use crate::storage::error::{StorageError, StorageErrorKind};
use crate::storage::lock::StoreLock;
use crate::storage::moving::Kind;
use crate::storage::scylla::CqlConfig;
use crate::storage::scylla::moving::CqlMove;

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// Rebuild what can be rebuilt: indexes, search, and click counts from each other
    #[arg(long)]
    repair: bool,
}

/// Prints one line per finding; exits with 1 when there are any.
pub(super) fn verify(args: &VerifyArgs, settings: &Settings) -> Outcome {
    let mut is_sound = match settings.storage.database() {
        None => verify_embedded(args, settings)?,
        Some(_) if args.repair => {
            return Err(Failure::usage(
                "a database (`storage.cql`) is repaired by its own means, as `nodetool repair`",
            ));
        }
        Some(config) => verify_database(&config)?,
    };
    let folder = settings.storage.path.join(JOURNAL_FOLDER);
    let files =
        journal::verify(&folder).with_context(|| format!("reading {}", folder.display()))?;
    for file in &files {
        is_sound &= tell(file);
    }
    let n_clicks = files.iter().map(|file| file.records).sum::<u64>();
    say(format_args!("{} journal segments with {n_clicks} clicks read", files.len()));
    if is_sound {
        say("everything is whole");
        return Ok(());
    }
    Err(Failure::failed("the store or the journal is damaged, see above"))
}

/// Whether the embedded store is whole.
fn verify_embedded(args: &VerifyArgs, settings: &Settings) -> Result<bool, Failure> {
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
    say(format_args!(
        "{} links, {} pages of counts, {} single clicks, {} entries of the audit log read",
        report.links, report.click_pages, report.clicks, report.audit_entries,
    ));
    Ok(report.is_sound())
}

/// Whether every row of a database can be read and the audit log is what was written. Servers may
/// work on it meanwhile.
fn verify_database(config: &CqlConfig) -> Result<bool, Failure> {
    let mut is_sound = true;
    block_on(async {
        let database = Box::pin(CqlMove::open(config)).await.context("opening the database")?;
        for kind in Kind::ALL {
            match moving::each(&database, *kind, |_| Ok(())).await {
                Ok(line) => say(format_args!("{:<18} {:>12}", line.kind, line.count)),
                Err(error) if is_damage(&error) => {
                    is_sound = false;
                    say(format_args!("damaged: {error:#}"));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    })?;
    Ok(is_sound)
}

/// Whether what was read is wrong, rather than not to be had.
fn is_damage(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<StorageError>().map(|error| error.kind);
    matches!(kind, Some(StorageErrorKind::Corrupt | StorageErrorKind::Damaged))
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
