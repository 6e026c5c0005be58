//! Backup and restore: a consistent copy of the database and the secrets it needs, as a folder.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::fault::{Fault, Outcome};
use super::{BUSY_WAIT_MAX, FILE_NAME, database_file, schema};
use crate::storage::lock::StoreLock;
use crate::storage::secrets::{self, Secrets};
use crate::storage::{Op, StorageError, StorageErrorKind, StorageResult};

/// Copies the store in the folder `store` into the folder `dest`, which must not hold one, while
/// others go on serving and writing. The copy is one moment of the store, compact and durable.
/// Kinds: `Unavailable`, `Full`, `Corrupt`, `Invalid` (`dest` holds a store).
pub fn backup(store: &Path, dest: &Path) -> StorageResult<()> {
    const OP: Op = "backup";
    let (file, copy) = (database_file(store), database_file(dest));
    if copy.exists() {
        let text = format!("{} is there already; choose another folder", copy.display());
        return Err(StorageError::new(StorageErrorKind::Invalid, OP, text));
    }
    if !file.exists() {
        let text = format!("there is no store in {}", store.display());
        return Err(StorageError::new(StorageErrorKind::Unavailable, OP, text));
    }
    Secrets::open(store)
        .map_err(|error| StorageError::new(StorageErrorKind::Invalid, OP, error))?;
    fs::create_dir_all(dest).map_err(|error| refused(OP, dest, &error))?;
    let draft = dest.join(format!("{FILE_NAME}.partial"));
    remove_if_there(&draft).map_err(|error| refused(OP, &draft, &error))?;
    vacuum_into(&file, &draft).map_err(|fault| fault.into_error(OP, &file))?;
    let finish = || -> io::Result<()> {
        File::open(&draft)?.sync_all()?;
        copy_secrets(store, &dest.join(secrets::FILE_NAME))?;
        fs::rename(&draft, &copy)?;
        sync_folder(dest)
    };
    finish().map_err(|error| refused(OP, dest, &error))
}

/// Puts the backup in the folder `src` into the folder `store`. A store that is there is refused,
/// unless `replace`, and then kept as `shunt.db.replaced`. The backup is checked whole before
/// anything is touched, and no server may hold the store. Kinds: `Corrupt` (the backup is
/// damaged), `Invalid` (refused, the text says why), `Unavailable`.
pub fn restore(src: &Path, store: &Path, replace: bool) -> StorageResult<()> {
    const OP: Op = "restore";
    let (backup, target) = (database_file(src), database_file(store));
    let invalid = |text: String| StorageError::new(StorageErrorKind::Invalid, OP, text);
    if !backup.exists() {
        return Err(invalid(format!("{} is no backup: {FILE_NAME} is missing", src.display())));
    }
    Secrets::open(src).map_err(|error| StorageError::new(StorageErrorKind::Invalid, OP, error))?;
    check(&backup).map_err(|fault| {
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
    swap_in(src, store).map_err(|error| refused(OP, store, &error))
}

/// One read transaction of the whole database, written to a new file.
fn vacuum_into(file: &Path, draft: &Path) -> Outcome<()> {
    let conn = open(file)?;
    let text = draft.to_str().ok_or_else(|| Fault::Invalid("the path is not UTF-8".into()))?;
    conn.execute("VACUUM INTO ?1", [text])?;
    Ok(())
}

/// Refuses a backup that could not be served.
fn check(file: &Path) -> Outcome<()> {
    let conn = open(file)?;
    schema::refuse_strangers(&conn)?;
    if schema::version(&conn)? == 0 {
        return Err(Fault::Invalid("the file holds no store".into()));
    }
    let verdict: String = conn.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if verdict == "ok" { Ok(()) } else { Err(Fault::Corrupt(verdict)) }
}

fn open(file: &Path) -> Outcome<Connection> {
    let conn = Connection::open_with_flags(
        file,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    conn.busy_timeout(BUSY_WAIT_MAX)?;
    Ok(conn)
}

/// Everything is copied beside its place first; what is left to do then are renames.
fn swap_in(src: &Path, store: &Path) -> io::Result<()> {
    let target = database_file(store);
    let keys = store.join(secrets::FILE_NAME);
    let (draft, keys_draft) = (beside(&target, ".restoring"), beside(&keys, ".restoring"));
    fs::copy(database_file(src), &draft)?;
    File::open(&draft)?.sync_all()?;
    copy_secrets(src, &keys_draft)?;
    // The log of the old file must not be played into the new one. What is in it goes along.
    if let Ok(old) = open(&target) {
        let _ = old.execute_batch("PRAGMA journal_mode = DELETE");
    }
    for suffix in ["-wal", "-shm"] {
        let old = beside(&target, suffix);
        if old.exists() {
            fs::rename(&old, beside(&target, &format!(".replaced{suffix}")))?;
        }
    }
    for old in [&target, &keys] {
        let kept = beside(old, ".replaced");
        remove_if_there(&kept)?;
        if old.exists() {
            fs::hard_link(old, &kept)?;
        }
    }
    fs::rename(&keys_draft, &keys)?;
    fs::rename(&draft, &target)?;
    sync_folder(store)
}

fn copy_secrets(from: &Path, to: &Path) -> io::Result<()> {
    let bytes = fs::read(from.join(secrets::FILE_NAME))?;
    secrets::write_private(to, &bytes)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn refused(op: Op, path: &Path, error: &io::Error) -> StorageError {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull => StorageErrorKind::Full,
        _ => StorageErrorKind::Unavailable,
    };
    StorageError::new(kind, op, format!("{}: {error}", path.display()))
}
