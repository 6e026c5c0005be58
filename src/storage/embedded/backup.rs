//! Backup: a consistent copy of the database and the secrets it needs, as a folder.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::fault::{Fault, Outcome};
use super::{BUSY_WAIT_MAX, FILE_NAME, database_file};
use crate::storage::secrets::{self, Secrets};
use crate::storage::{Op, StorageError, StorageErrorKind, StorageResult, private};

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
    private::create_folder(dest).map_err(|error| refused(OP, dest, &error))?;
    let draft = dest.join(format!("{FILE_NAME}.partial"));
    remove_if_there(&draft).map_err(|error| refused(OP, &draft, &error))?;
    private::create_file(&draft).map_err(|error| refused(OP, &draft, &error))?;
    vacuum_into(&file, &draft).map_err(|fault| fault.into_error(OP, &file))?;
    let finish = || -> io::Result<()> {
        File::open(&draft)?.sync_all()?;
        copy_secrets(store, &dest.join(secrets::FILE_NAME))?;
        fs::rename(&draft, &copy)?;
        sync_folder(dest)
    };
    finish().map_err(|error| refused(OP, dest, &error))
}

/// One read transaction of the whole database, written to a new file.
fn vacuum_into(file: &Path, draft: &Path) -> Outcome<()> {
    let conn = open(file)?;
    let text = draft.to_str().ok_or_else(|| Fault::Invalid("the path is not UTF-8".into()))?;
    conn.execute("VACUUM INTO ?1", [text])?;
    // A backup outlives the day, and with its key the numbers of visitors could be told from their
    // addresses. A restored store makes another.
    let copy = open(draft)?;
    let known = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'visitor_keys')";
    if copy.query_row(known, [], |row| row.get(0))? {
        copy.execute_batch("PRAGMA secure_delete = ON; DELETE FROM visitor_keys")?;
    }
    Ok(())
}

pub(super) fn open(file: &Path) -> Outcome<Connection> {
    let conn = Connection::open_with_flags(
        file,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    conn.busy_timeout(BUSY_WAIT_MAX)?;
    Ok(conn)
}

pub(super) fn copy_secrets(from: &Path, to: &Path) -> io::Result<()> {
    let bytes = fs::read(from.join(secrets::FILE_NAME))?;
    secrets::write_private(to, &bytes)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

pub(super) fn refused(op: Op, path: &Path, error: &io::Error) -> StorageError {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull => StorageErrorKind::Full,
        _ => StorageErrorKind::Unavailable,
    };
    StorageError::new(kind, op, format!("{}: {error}", path.display()))
}
