//! Keys that sign access tokens.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension};

use super::Embedded;
use super::fault::Outcome;
use super::readers::Lane;
use crate::domain::time::Timestamp;
use crate::storage::StorageResult;
use crate::storage::signing::{SigningKeyStore, StoredSigningKey};

#[async_trait]
impl SigningKeyStore for Embedded {
    async fn signing_keys(&self) -> StorageResult<Vec<StoredSigningKey>> {
        self.read("signing_keys", Lane::Short, |conn| {
            let mut statement = conn.prepare_cached(
                "SELECT kid, sealed, created_at, retires_at FROM signing_keys \
                 ORDER BY created_at, kid",
            )?;
            let found = statement.query_map([], |row| {
                Ok(StoredSigningKey {
                    kid: row.get(0)?,
                    sealed: row.get(1)?,
                    created_at: Timestamp(row.get(2)?),
                    retires_at: row.get::<_, Option<i64>>(3)?.map(Timestamp),
                })
            })?;
            Ok(found.collect::<Result<_, _>>()?)
        })
        .await
    }

    async fn add_signing_key(
        &self,
        new: StoredSigningKey,
        retire: Option<(String, Timestamp)>,
    ) -> StorageResult<bool> {
        self.write("add_signing_key", move |conn| add(conn, &new, retire.as_ref())).await
    }

    async fn drop_signing_keys(&self, now: Timestamp) -> StorageResult<()> {
        self.write("drop_signing_keys", move |conn| {
            conn.prepare_cached("DELETE FROM signing_keys WHERE retires_at <= ?1")?
                .execute([now.as_millis()])?;
            Ok(())
        })
        .await
    }
}

fn add(
    conn: &Connection,
    new: &StoredSigningKey,
    retire: Option<&(String, Timestamp)>,
) -> Outcome<bool> {
    let current: Option<String> = conn
        .prepare_cached("SELECT kid FROM signing_keys WHERE retires_at IS NULL")?
        .query_row([], |row| row.get(0))
        .optional()?;
    if current.as_ref() != retire.map(|(kid, _)| kid) {
        return Ok(false);
    }
    if let Some((kid, at)) = retire {
        conn.prepare_cached("UPDATE signing_keys SET retires_at = ?2 WHERE kid = ?1")?
            .execute((kid, at.as_millis()))?;
    }
    conn.prepare_cached(
        "INSERT INTO signing_keys (kid, sealed, created_at, retires_at) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute((
        &new.kid,
        &new.sealed,
        new.created_at.as_millis(),
        new.retires_at.map(Timestamp::as_millis),
    ))?;
    Ok(true)
}
