//! The port for token buckets, which limits are kept in.

use async_trait::async_trait;

use super::error::StorageResult;
use crate::domain::bucket::{Quota, Verdict};

/// Names one bucket: what is limited and for whom, hashed, so that every name is short and none
/// tells an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BucketKey(pub [u8; 16]);

impl BucketKey {
    /// The bucket of `limit` for the one whom `parts` name together.
    pub fn new(secret: &[u8; 32], limit: &str, parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(secret);
        for part in [limit.as_bytes()].iter().chain(parts) {
            hasher.update(&[u8::try_from(part.len()).unwrap_or(u8::MAX)]).update(part);
        }
        let mut key = [0; 16];
        hasher.finalize_xof().fill(&mut key);
        Self(key)
    }
}

/// Tokens to be taken from one bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Take {
    pub bucket: BucketKey,
    pub quota: Quota,
    pub cost: u32,
    pub when_no_room: NoRoom,
}

/// What becomes of a request whose bucket cannot be kept because there are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// It passes: the limit protects against too much, and somebody must not be refused for what
    /// others do.
    Pass,
    /// It is refused: the limit protects somebody against guesses.
    Refuse,
}

/// Buckets that limits are kept in. `now_ms` is the caller's steady time; a store that several
/// nodes share goes by its own. Kinds: `Unavailable`, `Timeout`.
#[async_trait]
pub trait BucketStore: Send + Sync + 'static {
    /// Takes from all these buckets or from none: when one of them refuses, nothing is taken from
    /// the others. One verdict for each, in order.
    async fn take(&self, takes: &[Take], now_ms: u64) -> StorageResult<Vec<Verdict>>;

    /// What `take` would answer, without taking anything.
    async fn peek(&self, takes: &[Take], now_ms: u64) -> StorageResult<Vec<Verdict>>;

    /// Gives back what was taken for nothing, and tells what there is then.
    async fn put_back(&self, takes: &[Take], now_ms: u64) -> StorageResult<Vec<Verdict>>;

    /// Fills a bucket up.
    async fn fill(&self, bucket: BucketKey) -> StorageResult<()>;
}

/// Buckets of this node alone, for answers that may not wait.
pub trait LocalBuckets: Send + Sync + 'static {
    /// Takes from one bucket, if it has that much.
    fn take_here(&self, take: &Take, now_ms: u64) -> Verdict;
}
