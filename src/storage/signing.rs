//! The port of keys that sign access tokens. Secrets are sealed by whoever keeps them here.

use async_trait::async_trait;

use super::StorageResult;
use crate::domain::time::Timestamp;

/// Keys that sign access tokens: one that signs, and those that did until lately.
#[async_trait]
pub trait SigningKeyStore: Send + Sync + 'static {
    /// All keys, the oldest first.
    async fn signing_keys(&self) -> StorageResult<Vec<StoredSigningKey>>;

    /// Adds `new`, which signs from now on. `retire` names the key that signs so far and says from
    /// when on nothing verifies with it any more; `None`: there is none. False, and nothing
    /// changed, when the store knows better: another process was faster.
    async fn add_signing_key(
        &self,
        new: StoredSigningKey,
        retire: Option<(String, Timestamp)>,
    ) -> StorageResult<bool>;

    /// Removes keys that nothing verifies with any more at `now`.
    async fn drop_signing_keys(&self, now: Timestamp) -> StorageResult<()>;
}

/// A signing key as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSigningKey {
    /// Its name in tokens.
    pub kid: String,
    /// The secret, sealed.
    pub sealed: Vec<u8>,
    pub created_at: Timestamp,
    /// From when on nothing verifies with it any more; `None`: it signs.
    pub retires_at: Option<Timestamp>,
}
