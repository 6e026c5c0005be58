//! Errors of the driver, as kinds of the ports. They do not leave this back end.

use std::time::Duration;

use scylla::errors::{
    DbError, ExecutionError, NextPageError, NextRowError, PagerExecutionError, PrepareError,
    RequestAttemptError, RequestError,
};

use super::tls::TlsError;
use crate::storage::error::{Op, StorageError, StorageErrorKind};

/// Why the database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{0}")]
    Connect(String),
    #[error("no contact point of `storage.cql` answered for {0:?}")]
    Silent(Duration),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("the database did not answer")]
    Ask(#[source] Box<ExecutionError>),
    #[error("the database denies it to `storage.cql_user`: {0}")]
    Denied(String),
    #[error("the database does not take the statement `{name}`")]
    Prepare {
        name: &'static str,
        #[source]
        cause: Box<PrepareError>,
    },
    #[error("a statement of this build is not well formed: {0}")]
    Query(String),
    #[error("its threads could not be started")]
    Threads(#[from] std::io::Error),
    #[error(
        "keyspace `{keyspace}` is not there, or was not made by Shunt; `shunt migrate` makes it"
    )]
    NoSchema { keyspace: String },
    #[error(
        "keyspace `{keyspace}` is at step {found} of the schema, this build needs step {known}; \
         run `shunt migrate`"
    )]
    OldSchema { keyspace: String, found: i32, known: i32 },
    #[error(
        "keyspace `{keyspace}` is at step {found} of the schema, this build knows {known}; it was \
         made by a newer version of Shunt"
    )]
    NewSchema { keyspace: String, found: i32, known: i32 },
    #[error("another process has been changing the schema for minutes")]
    Locked,
    #[error("reading the schema: {0}")]
    Rows(String),
}

impl OpenError {
    /// Whether the same may be answered a moment later.
    pub(super) fn is_hesitation(&self) -> bool {
        match self {
            Self::Ask(cause) => kind_of(cause).retryable(),
            Self::Prepare { cause, .. } => match &**cause {
                PrepareError::ConnectionPoolError(_) => true,
                PrepareError::AllAttemptsFailed { first_attempt } => {
                    kind_of_attempt(first_attempt).retryable()
                }
                _ => false,
            },
            _ => false,
        }
    }
}

// The driver's errors are large.
impl From<ExecutionError> for OpenError {
    fn from(cause: ExecutionError) -> Self {
        match cause {
            ExecutionError::LastAttemptError(RequestAttemptError::DbError(
                DbError::Unauthorized,
                said,
            )) => Self::Denied(said),
            cause => Self::Ask(Box::new(cause)),
        }
    }
}

/// What an error of a request means to whoever asked.
pub(super) fn fault(op: Op, error: ExecutionError) -> StorageError {
    StorageError::new(kind_of(&error), op, error)
}

fn kind_of(error: &ExecutionError) -> StorageErrorKind {
    match error {
        ExecutionError::RequestTimeout(_) => StorageErrorKind::Timeout,
        ExecutionError::LastAttemptError(attempt) => kind_of_attempt(attempt),
        ExecutionError::BadQuery(_) | ExecutionError::UseKeyspaceError(_) => {
            StorageErrorKind::Invalid
        }
        _ => StorageErrorKind::Unavailable,
    }
}

fn kind_of_attempt(error: &RequestAttemptError) -> StorageErrorKind {
    match error {
        // Whether it was applied is unknown.
        RequestAttemptError::BrokenConnectionError(_) => StorageErrorKind::Timeout,
        RequestAttemptError::DbError(error, _) => match error {
            DbError::ReadTimeout { .. }
            | DbError::WriteTimeout { .. }
            | DbError::WriteFailure { .. } => StorageErrorKind::Timeout,
            DbError::SyntaxError
            | DbError::Invalid
            | DbError::ConfigError
            | DbError::Unauthorized
            | DbError::AlreadyExists { .. } => StorageErrorKind::Invalid,
            _ => StorageErrorKind::Unavailable,
        },
        RequestAttemptError::SerializationError(_)
        | RequestAttemptError::CqlRequestSerialization(_) => StorageErrorKind::Invalid,
        _ => StorageErrorKind::Unavailable,
    }
}

/// The same for a read of several pages.
pub(super) fn pager_fault(op: Op, error: PagerExecutionError) -> StorageError {
    let kind = match &error {
        PagerExecutionError::NextPageError(error) => kind_of_page(error),
        PagerExecutionError::SerializationError(_) => StorageErrorKind::Invalid,
        _ => StorageErrorKind::Unavailable,
    };
    StorageError::new(kind, op, error)
}

/// The same for one row of such a read. A row that is not what the statement promises is damage.
pub(super) fn row_fault(op: Op, error: NextRowError) -> StorageError {
    let kind = match &error {
        NextRowError::NextPageError(error) => kind_of_page(error),
        _ => StorageErrorKind::Damaged,
    };
    StorageError::new(kind, op, error)
}

fn kind_of_page(error: &NextPageError) -> StorageErrorKind {
    match error {
        NextPageError::RequestFailure(RequestError::RequestTimeout(_)) => StorageErrorKind::Timeout,
        NextPageError::RequestFailure(RequestError::LastAttemptError(error)) => {
            kind_of_attempt(error)
        }
        _ => StorageErrorKind::Unavailable,
    }
}

/// A bad outcome that says whether it may have taken effect.
pub(super) fn is_unknown(error: &StorageError) -> bool {
    error.kind == StorageErrorKind::Timeout
}
