//! What a store can fail with: which kind, doing what, because of what.

use std::error::Error;
use std::fmt;

/// The operation that failed; also the `op` label of `shunt_store_duration_seconds`.
pub type Op = &'static str;

pub type StorageResult<T> = Result<T, StorageError>;

/// Absence is an `Option`, never an error.
#[derive(Debug, thiserror::Error)]
#[error("{op}: {kind}")]
pub struct StorageError {
    pub kind: StorageErrorKind,
    pub op: Op,
    #[source]
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

/// What the caller can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageErrorKind {
    /// The store is gone or refuses work; later may be better.
    Unavailable,
    /// No answer in time; whether it was applied is unknown.
    Timeout,
    /// The store has no room.
    Full,
    /// The store itself cannot be read.
    Corrupt,
    /// One row does not parse, or is not what was written; others may be sound.
    Damaged,
    /// The question is beyond what this store answers about so many rows; the text says what can be
    /// asked instead, in words for whoever asked.
    TooMany,
    /// A bug on our side: a statement that the store refuses.
    Invalid,
}

impl StorageErrorKind {
    pub const fn retryable(self) -> bool {
        matches!(self, Self::Unavailable | Self::Timeout)
    }
}

impl fmt::Display for StorageErrorKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Unavailable => "the store is not available",
            Self::Timeout => "the store did not answer in time",
            Self::Full => "the store is full",
            Self::Corrupt => "the store is damaged",
            Self::Damaged => "the store holds a damaged row",
            Self::TooMany => "the store holds too many rows for this",
            Self::Invalid => "the store refused the operation",
        })
    }
}

impl StorageError {
    pub fn new(
        kind: StorageErrorKind,
        op: Op,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self { kind, op, source: Some(source.into()) }
    }

    pub fn corrupt(op: Op, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(StorageErrorKind::Corrupt, op, source)
    }
}
