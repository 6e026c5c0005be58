//! The port of answers that are kept for `Idempotency-Key`.

use async_trait::async_trait;

use super::StorageResult;
use crate::domain::api_key::KeyDigest;
use crate::domain::id::Id;
use crate::domain::time::Timestamp;

/// Answers kept for `Idempotency-Key`.
#[async_trait]
pub trait ReplayStore: Send + Sync + 'static {
    /// Reserves a key for a request with this `fingerprint`, or says what is known of it. `ids` are
    /// those that the request will give to what it makes: when its outcome was never kept, the same
    /// request gets them back and can find what it made. Reservations older than a minute without
    /// an answer hold the key no longer; answers older than `IDEMPOTENCY_WINDOW_MS` count as
    /// absent.
    async fn begin(
        &self,
        key: &ReplayKey,
        fingerprint: KeyDigest,
        ids: &[Id],
        now: Timestamp,
    ) -> StorageResult<Replay>;

    /// Keeps the answer of the request with this `fingerprint`. Changes nothing when the key has
    /// lapsed meanwhile and is another request's.
    async fn finish(
        &self,
        key: &ReplayKey,
        fingerprint: KeyDigest,
        answer: KeptAnswer,
        now: Timestamp,
    ) -> StorageResult<()>;

    /// Gives the key free again, after a request without an answer to keep, unless it is another
    /// request's by now. Its ids stay: the same request may have made something all the same.
    async fn abandon(&self, key: &ReplayKey, fingerprint: KeyDigest) -> StorageResult<()>;
}

/// Whose idempotency key, and which.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReplayKey {
    pub workspace: Id,
    pub key: String,
}

/// What an earlier request with the same key left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replay {
    /// The caller may go on; it must call `finish` or `abandon`.
    Reserved,
    /// Like `Reserved`, but an earlier try of the same request had these ids and may have used
    /// them: what carries them is found, not made again.
    Resumed(Vec<Id>),
    InProgress,
    /// The key was used with another body.
    Mismatch,
    Answered(KeptAnswer),
}

/// An answer as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptAnswer {
    pub status: u16,
    pub location: Option<String>,
    pub etag: Option<String>,
    pub body: Vec<u8>,
}
