//! Keys that sign access tokens.

use async_trait::async_trait;

use super::MemoryStore;
use crate::domain::time::Timestamp;
use crate::storage::StorageResult;
use crate::storage::signing::{SigningKeyStore, StoredSigningKey};

#[async_trait]
impl SigningKeyStore for MemoryStore {
    async fn signing_keys(&self) -> StorageResult<Vec<StoredSigningKey>> {
        let mut keys = self.lock().signing_keys.clone();
        keys.sort_by(|a, b| (a.created_at, &a.kid).cmp(&(b.created_at, &b.kid)));
        Ok(keys)
    }

    async fn add_signing_key(
        &self,
        new: StoredSigningKey,
        retire: Option<(String, Timestamp)>,
    ) -> StorageResult<bool> {
        let mut state = self.lock();
        let current = state.signing_keys.iter_mut().find(|key| key.retires_at.is_none());
        if current.as_ref().map(|key| &key.kid) != retire.as_ref().map(|(kid, _)| kid) {
            return Ok(false);
        }
        if let (Some(current), Some((_, at))) = (current, retire) {
            current.retires_at = Some(at);
        }
        state.signing_keys.push(new);
        Ok(true)
    }

    async fn drop_signing_keys(&self, now: Timestamp) -> StorageResult<()> {
        self.lock().signing_keys.retain(|key| key.retires_at.is_none_or(|at| at > now));
        Ok(())
    }
}
