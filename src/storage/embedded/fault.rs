//! What can go wrong inside the embedded store, and what it means to a caller.

use std::path::Path;

use rusqlite::ErrorCode;

use crate::storage::chunk::bytes::Damage;
use crate::storage::{Op, StorageError, StorageErrorKind};

pub(super) type Outcome<T> = Result<T, Fault>;

/// A failure without its context. Becomes a `StorageError` where the operation is known.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
    #[error("{0}")]
    Corrupt(String),
    /// One link cannot be told from its row.
    #[error("{0}")]
    Damaged(String),
    #[error("{0}")]
    Invalid(String),
    #[error("{text}")]
    Batch { kind: StorageErrorKind, text: String },
}

impl From<Damage> for Fault {
    fn from(damage: Damage) -> Self {
        Self::Corrupt(damage.to_string())
    }
}

impl Fault {
    pub(super) fn corrupt(text: impl Into<String>) -> Self {
        Self::Corrupt(text.into())
    }

    pub(super) fn kind(&self) -> StorageErrorKind {
        match self {
            Self::Sql(error) => kind_of(error),
            Self::Corrupt(_) => StorageErrorKind::Corrupt,
            Self::Damaged(_) => StorageErrorKind::Damaged,
            Self::Invalid(_) => StorageErrorKind::Invalid,
            Self::Batch { kind, .. } => *kind,
        }
    }

    /// What this says about the store as a whole; nothing when only the command was wrong.
    pub(super) fn trouble(&self) -> Option<String> {
        (self.kind() != StorageErrorKind::Invalid).then(|| self.to_string())
    }

    /// The error a caller gets. Damage names the file and what an operator can do about it.
    pub(super) fn into_error(self, op: Op, file: &Path) -> StorageError {
        let kind = self.kind();
        if matches!(kind, StorageErrorKind::Corrupt | StorageErrorKind::Damaged) {
            return StorageError::new(kind, op, damage_advice(file, &self));
        }
        StorageError::new(kind, op, self)
    }
}

/// Nothing when what was to be read is damaged; other failures stay failures.
pub(super) fn or_damaged<T>(outcome: Result<T, impl Into<Fault>>) -> Outcome<Option<T>> {
    match outcome.map_err(Into::into) {
        Ok(value) => Ok(Some(value)),
        Err(fault) if fault.kind() == StorageErrorKind::Corrupt => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// What an operator reads about a damaged file.
pub(super) fn damage_advice(file: &Path, cause: &dyn std::fmt::Display) -> String {
    format!(
        "{} is damaged ({cause}); run `shunt verify` to see what is affected and \
         `shunt verify --repair` to rebuild indexes, or bring back a backup with `shunt restore`",
        file.display()
    )
}

/// The kind of a failed `COMMIT`: when the disk failed, whether it took effect is unknown.
pub(super) fn kind_of_commit(error: &rusqlite::Error) -> StorageErrorKind {
    match error.sqlite_error_code() {
        Some(ErrorCode::SystemIoFailure) => StorageErrorKind::Timeout,
        _ => kind_of(error),
    }
}

fn kind_of(error: &rusqlite::Error) -> StorageErrorKind {
    use rusqlite::Error;
    match error {
        Error::FromSqlConversionFailure(..)
        | Error::IntegralValueOutOfRange(..)
        | Error::Utf8Error(..)
        | Error::InvalidColumnType(..) => return StorageErrorKind::Corrupt,
        _ => (),
    }
    // What SQLite calls an I/O error here is that there is no space for its shared memory.
    let code = error.sqlite_error().map(|error| error.extended_code);
    if code == Some(rusqlite::ffi::SQLITE_IOERR_SHMSIZE) {
        return StorageErrorKind::Full;
    }
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StorageErrorKind::Full,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StorageErrorKind::Corrupt,
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::PermissionDenied
            | ErrorCode::ReadOnly
            | ErrorCode::OutOfMemory
            | ErrorCode::OperationInterrupted,
        ) => StorageErrorKind::Unavailable,
        _ => StorageErrorKind::Invalid,
    }
}
