//! Answers kept for `Idempotency-Key`.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension};

use super::fault::Outcome;
use super::{Embedded, signed};
use crate::domain::api_key::KeyDigest;
use crate::domain::limits::{IDEMPOTENCY_RESERVATION_MS, IDEMPOTENCY_WINDOW_MS};
use crate::domain::time::Timestamp;
use crate::storage::{KeptAnswer, Replay, ReplayKey, ReplayStore, StorageResult};

/// Expired entries that one reservation clears away: more than it adds, so they never pile up.
const CLEARED_PER_BEGIN: u32 = 8;

#[async_trait]
impl ReplayStore for Embedded {
    async fn begin(
        &self,
        key: &ReplayKey,
        fingerprint: KeyDigest,
        now: Timestamp,
    ) -> StorageResult<Replay> {
        let key = key.clone();
        self.write("begin_replay", move |conn| begin(conn, &key, &fingerprint, now)).await
    }

    async fn finish(
        &self,
        key: &ReplayKey,
        answer: KeptAnswer,
        now: Timestamp,
    ) -> StorageResult<()> {
        let key = key.clone();
        self.write("finish_replay", move |conn| {
            conn.prepare_cached(
                "UPDATE replays SET at = ?3, status = ?4, location = ?5, etag = ?6, body = ?7
                 WHERE workspace = ?1 AND key = ?2",
            )?
            .execute(rusqlite::params![
                signed(key.workspace),
                key.key,
                now.as_millis(),
                answer.status,
                answer.location,
                answer.etag,
                answer.body,
            ])?;
            Ok(())
        })
        .await
    }

    async fn abandon(&self, key: &ReplayKey) -> StorageResult<()> {
        let key = key.clone();
        self.write("abandon_replay", move |conn| {
            conn.prepare_cached(
                "DELETE FROM replays WHERE workspace = ?1 AND key = ?2 AND status IS NULL",
            )?
            .execute((signed(key.workspace), &key.key))?;
            Ok(())
        })
        .await
    }
}

fn begin(
    conn: &Connection,
    key: &ReplayKey,
    fingerprint: &KeyDigest,
    now: Timestamp,
) -> Outcome<Replay> {
    let oldest = now.as_millis().saturating_sub(IDEMPOTENCY_WINDOW_MS);
    conn.prepare_cached(
        "DELETE FROM replays WHERE (workspace, key) IN
         (SELECT workspace, key FROM replays WHERE at < ?1 ORDER BY at LIMIT ?2)",
    )?
    .execute((oldest, CLEARED_PER_BEGIN))?;
    let known = conn
        .prepare_cached(
            "SELECT fingerprint, at, status, location, etag, body FROM replays
             WHERE workspace = ?1 AND key = ?2",
        )?
        .query_row((signed(key.workspace), &key.key), |row| {
            let same = row.get_ref(0)?.as_blob()? == fingerprint.as_slice();
            let status: Option<u16> = row.get(2)?;
            let answer = match status {
                Some(status) => Some(KeptAnswer {
                    status,
                    location: row.get(3)?,
                    etag: row.get(4)?,
                    body: row.get(5)?,
                }),
                None => None,
            };
            Ok((same, row.get::<_, i64>(1)?, answer))
        })
        .optional()?;
    if let Some((same, at, answer)) = known {
        let window =
            if answer.is_some() { IDEMPOTENCY_WINDOW_MS } else { IDEMPOTENCY_RESERVATION_MS };
        if now.as_millis().saturating_sub(at) <= window {
            return Ok(match answer {
                _ if !same => Replay::Mismatch,
                Some(answer) => Replay::Answered(answer),
                None => Replay::InProgress,
            });
        }
    }
    conn.prepare_cached(
        "INSERT OR REPLACE INTO replays (workspace, key, fingerprint, at) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute((signed(key.workspace), &key.key, fingerprint.as_slice(), now.as_millis()))?;
    Ok(Replay::Reserved)
}
