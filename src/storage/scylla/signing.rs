//! Keys that sign access tokens: one partition, which says which of them signs.

use async_trait::async_trait;
use scylla::DeserializeRow;

use super::Cql;
use super::fault::is_unknown;
use super::together::{Step, TRIES, contended};
use crate::domain::time::Timestamp;
use crate::storage::error::{Op, StorageResult};
use crate::storage::signing::{SigningKeyStore, StoredSigningKey};

/// The partition that all keys are in.
pub(super) const RING: i32 = 0;

#[derive(DeserializeRow)]
struct SigningRow {
    signs: Option<String>,
    /// `None` when there are no keys.
    kid: Option<String>,
    sealed: Option<Vec<u8>>,
    created_at: Option<i64>,
    retires_at: Option<i64>,
}

#[async_trait]
impl SigningKeyStore for Cql {
    async fn signing_keys(&self) -> StorageResult<Vec<StoredSigningKey>> {
        let rows = self.signing_rows("signing_keys").await?;
        let keys = rows.into_iter().filter_map(|row| {
            Some(StoredSigningKey {
                kid: row.kid?,
                sealed: row.sealed?,
                created_at: Timestamp(row.created_at?),
                retires_at: row.retires_at.map(Timestamp),
            })
        });
        let mut keys: Vec<_> = keys.collect();
        keys.sort_by(|a, b| (a.created_at, &a.kid).cmp(&(b.created_at, &b.kid)));
        Ok(keys)
    }

    async fn add_signing_key(
        &self,
        new: StoredSigningKey,
        retire: Option<(String, Timestamp)>,
    ) -> StorageResult<bool> {
        const OP: Op = "add_signing_key";
        let statements = &self.statements().signing;
        let former = retire.as_ref().map(|(kid, _)| kid.clone());
        let sign_with = (new.kid.clone(), RING, former.clone());
        let mut steps: Vec<Step<'_>> = vec![(&statements.sign_with, Box::new(sign_with))];
        if let Some((kid, at)) = retire {
            steps.push((&statements.retire, Box::new((at.as_millis(), RING, kid))));
        }
        let kid = new.kid.clone();
        let retires_at = new.retires_at.map(Timestamp::as_millis);
        let row = (RING, new.kid, new.sealed, new.created_at.as_millis(), retires_at);
        steps.push((&statements.add, Box::new(row)));
        for _ in 0..TRIES {
            match self.apply_all(OP, &steps).await {
                Err(error) if is_unknown(&error) => {
                    let rows = self.signing_rows(OP).await?;
                    if rows.iter().any(|row| row.kid.as_ref() == Some(&kid)) {
                        return Ok(true);
                    }
                    let signs = rows.into_iter().next().and_then(|row| row.signs);
                    if signs != former {
                        return Ok(false);
                    }
                }
                added => return added,
            }
        }
        Err(contended(OP))
    }

    /// Repeating it changes nothing.
    async fn drop_signing_keys(&self, now: Timestamp) -> StorageResult<()> {
        const OP: Op = "drop_signing_keys";
        let now = now.as_millis();
        for row in self.signing_rows(OP).await? {
            let is_over = row.retires_at.is_some_and(|at| at <= now);
            if let Some(kid) = row.kid.filter(|_| is_over) {
                let values = (RING, kid, now);
                self.apply(OP, &self.statements().signing.remove, values).await?;
            }
        }
        Ok(())
    }
}

impl Cql {
    async fn signing_rows(&self, op: Op) -> StorageResult<Vec<SigningRow>> {
        self.all(op, &self.statements().signing.keys, (RING,)).await
    }
}
