//! Restore: puts a backup where a store is to be, so that it gives out nothing that was given out
//! after the backup was made.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::backup::{copy_secrets, open, refused, sync_folder};
use super::fault::{Fault, Outcome};
use super::verify::{self, Report};
use super::{FILE_NAME, database_file, schema};
use crate::domain::audit::AuditKey;
use crate::domain::seal::{SEALED_IDS_MAX, SEALED_SPACE};
use crate::domain::time::Timestamp;
use crate::storage::lock::StoreLock;
use crate::storage::secrets::{self, Secrets};
use crate::storage::{Op, StorageError, StorageErrorKind, StorageResult, private};

/// Ids of every space that a restore passes over: those that may have been given out since the
/// backup was made. Sealed codes have room for 512 restores.
const IDS_PASSED_OVER: i64 = 1 << 24;
/// How far above the clock ids of links may have been made already, and more, in milliseconds. A
/// start waits for none of it.
const MARK_AHEAD_MS: i64 = 10_000;

/// Puts the backup in the folder `src` into the folder `store`. A store that is there is refused,
/// unless `replace`, and then kept as `shunt.db.replaced`, with a number if that is there. The
/// backup is checked whole before anything is touched, and no server may hold the store. Ids that
/// may have been given out up to `now` are not given out again. Kinds: `Corrupt` (the backup is
/// damaged), `Invalid` (refused, the text says why), `Unavailable`.
pub fn restore(src: &Path, store: &Path, replace: bool, now: Timestamp) -> StorageResult<()> {
    const OP: Op = "restore";
    let (backup, target) = (database_file(src), database_file(store));
    let invalid = |text: String| StorageError::new(StorageErrorKind::Invalid, OP, text);
    if !backup.exists() {
        return Err(invalid(format!("{} is no backup: {FILE_NAME} is missing", src.display())));
    }
    let secrets = Secrets::open(src)
        .map_err(|error| StorageError::new(StorageErrorKind::Invalid, OP, error))?;
    check(&backup, &AuditKey::of(&secrets.api_keys)).map_err(|fault| {
        StorageError::new(fault.kind(), OP, format!("{}: {fault}", backup.display()))
    })?;
    let lock = StoreLock::try_acquire(store).map_err(|error| refused(OP, store, &error))?;
    let Some(_lock) = lock else {
        let text = format!("{} is in use; stop the server first", store.display());
        return Err(StorageError::new(StorageErrorKind::Unavailable, OP, text));
    };
    if target.exists() && !replace {
        return Err(invalid(format!(
            "{} holds a store; run again with `--force` to replace it",
            store.display()
        )));
    }
    // Everything is copied beside its place first; what is left to do then are renames.
    let keys = store.join(secrets::FILE_NAME);
    let (draft, keys_draft) = (beside(&target, ".restoring"), beside(&keys, ".restoring"));
    let copy = || -> io::Result<()> {
        fs::copy(&backup, &draft)?;
        // The copy has the mode of the backup, which may have travelled.
        private::close_file(&draft)?;
        copy_secrets(src, &keys_draft)
    };
    copy().map_err(|error| refused(OP, store, &error))?;
    pass_over_given_ids(&draft, &target, now).map_err(|fault| fault.into_error(OP, &draft))?;
    let swap = || -> io::Result<()> {
        File::open(&draft)?.sync_all()?;
        set_aside(&target, &keys)?;
        fs::rename(&keys_draft, &keys)?;
        fs::rename(&draft, &target)?;
        sync_folder(store)
    };
    swap().map_err(|error| refused(OP, store, &error))
}

/// Refuses a backup that could not be served.
fn check(file: &Path, key: &AuditKey) -> Outcome<()> {
    let conn = open(file)?;
    schema::refuse_strangers(&conn)?;
    if schema::version(&conn)? == 0 {
        return Err(Fault::Invalid("the file holds no store".into()));
    }
    let mut report = Report::default();
    verify::examine(&conn, Some(key), &mut report);
    match report.findings.first() {
        None => Ok(()),
        Some(finding) if finding.remedy == verify::REPAIR => Err(Fault::Corrupt(format!(
            "{}; run `{}` with `storage.path` set to this folder first",
            finding.what, finding.remedy
        ))),
        Some(finding) => Err(Fault::Corrupt(format!("{}; choose another backup", finding.what))),
    }
}

/// Moves the draft beyond what the store gave out after its backup: an old code that is on paper
/// somewhere must not come to lead elsewhere. What the store that is replaced says about itself is
/// believed where it can be read.
fn pass_over_given_ids(draft: &Path, replaced: &Path, now: Timestamp) -> Outcome<()> {
    let blocks = |conn: &Connection| -> Outcome<Vec<(String, i64)>> {
        let mut statement = conn.prepare("SELECT space, next FROM id_blocks")?;
        let found = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(found.collect::<Result<_, _>>()?)
    };
    let marks = |conn: &Connection| -> Outcome<Vec<(i64, i64)>> {
        let mut statement = conn.prepare("SELECT node, mark FROM clock_marks")?;
        let found = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(found.collect::<Result<_, _>>()?)
    };
    // A store may be replaced because it is damaged: then the distance must do.
    let old = open(replaced).ok();
    let (old_blocks, old_marks) = old.map_or_else(Default::default, |old| {
        (blocks(&old).unwrap_or_default(), marks(&old).unwrap_or_default())
    });
    let conn = open(draft)?;
    conn.execute_batch("BEGIN IMMEDIATE")?;
    let mut begin = conn.prepare(
        "INSERT INTO id_blocks (space, next) VALUES (?1, ?2)
         ON CONFLICT (space) DO UPDATE SET next = max(next, excluded.next)",
    )?;
    // A backup from before the first code knows nothing of the space.
    begin.execute((SEALED_SPACE, 0))?;
    for (space, next) in old_blocks {
        begin.execute((space, next))?;
    }
    conn.execute(
        "UPDATE id_blocks SET next = max(next, min(next + ?1, ?2))",
        (IDS_PASSED_OVER, SEALED_IDS_MAX as i64),
    )?;
    let mut raise = conn.prepare(
        "INSERT INTO clock_marks (node, mark) VALUES (?1, ?2)
         ON CONFLICT (node) DO UPDATE SET mark = max(mark, excluded.mark)",
    )?;
    for (node, mark) in old_marks {
        raise.execute((node, mark))?;
    }
    conn.execute(
        "UPDATE clock_marks SET mark = max(mark, ?1)",
        [now.plus_millis(MARK_AHEAD_MS).as_millis()],
    )?;
    conn.execute_batch("COMMIT")?;
    Ok(())
}

/// Keeps the store that is there, with its keys, under names that are free.
fn set_aside(target: &Path, keys: &Path) -> io::Result<()> {
    // The log of the old file must not be played into the new one. What is in it goes along.
    if let Ok(old) = open(target) {
        let _ = old.execute_batch("PRAGMA journal_mode = DELETE");
    }
    let suffix = free_suffix(target, keys);
    for log in ["-wal", "-shm"] {
        let old = beside(target, log);
        if old.exists() {
            fs::rename(&old, beside(target, &format!("{suffix}{log}")))?;
        }
    }
    for old in [target, keys] {
        if old.exists() {
            fs::hard_link(old, beside(old, &suffix))?;
        }
    }
    Ok(())
}

/// What is added to the names of a store that is replaced: nothing of an earlier one is lost.
fn free_suffix(target: &Path, keys: &Path) -> String {
    let is_taken = |suffix: &str| {
        let of_store = ["", "-wal", "-shm"].map(|log| beside(target, &format!("{suffix}{log}")));
        of_store.iter().any(|path| path.exists()) || beside(keys, suffix).exists()
    };
    let first = ".replaced".to_owned();
    let numbered = (2_u32..).map(|n| format!(".replaced.{n}"));
    std::iter::once(first).chain(numbered).find(|suffix| !is_taken(suffix)).unwrap_or_default()
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
