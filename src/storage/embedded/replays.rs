//! Answers kept for `Idempotency-Key`.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row};

use super::fault::{Fault, Outcome};
use super::{Embedded, signed};
use crate::domain::api_key::KeyDigest;
use crate::domain::id::Id;
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
        ids: &[Id],
        now: Timestamp,
    ) -> StorageResult<Replay> {
        let (key, ids) = (key.clone(), encode(ids));
        self.write("begin_replay", move |conn| begin(conn, &key, &fingerprint, ids, now)).await
    }

    async fn finish(
        &self,
        key: &ReplayKey,
        fingerprint: KeyDigest,
        answer: KeptAnswer,
        now: Timestamp,
    ) -> StorageResult<()> {
        let key = key.clone();
        self.write("finish_replay", move |conn| {
            conn.prepare_cached(
                "UPDATE replays SET at = ?3, status = ?4, location = ?5, etag = ?6, body = ?7
                 WHERE workspace = ?1 AND key = ?2 AND fingerprint = ?8",
            )?
            .execute(rusqlite::params![
                signed(key.workspace),
                key.key,
                now.as_millis(),
                answer.status,
                answer.location,
                answer.etag,
                answer.body,
                fingerprint.as_slice(),
            ])?;
            Ok(())
        })
        .await
    }

    async fn abandon(&self, key: &ReplayKey, fingerprint: KeyDigest) -> StorageResult<()> {
        let key = key.clone();
        self.write("abandon_replay", move |conn| {
            conn.prepare_cached(
                "UPDATE replays SET at = at - ?3
                 WHERE workspace = ?1 AND key = ?2 AND status IS NULL AND fingerprint = ?4",
            )?
            .execute((
                signed(key.workspace),
                &key.key,
                IDEMPOTENCY_RESERVATION_MS + 1,
                fingerprint.as_slice(),
            ))?;
            Ok(())
        })
        .await
    }
}

fn begin(
    conn: &Connection,
    key: &ReplayKey,
    fingerprint: &KeyDigest,
    mut ids: Vec<u8>,
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
        .query_row((signed(key.workspace), &key.key), read)
        .optional()?;
    let mut resumed = None;
    if let Some(known) = known {
        let same = known.fingerprint == fingerprint.as_slice();
        let age = now.as_millis().saturating_sub(known.at);
        match known.left {
            Left::Answer(answer) if age <= IDEMPOTENCY_WINDOW_MS => {
                return Ok(if same { Replay::Answered(answer) } else { Replay::Mismatch });
            }
            Left::Ids(_) if age <= IDEMPOTENCY_RESERVATION_MS => {
                return Ok(if same { Replay::InProgress } else { Replay::Mismatch });
            }
            Left::Ids(earlier) if same && age <= IDEMPOTENCY_WINDOW_MS && !earlier.is_empty() => {
                resumed = Some(decode(&earlier)?);
                ids = earlier;
            }
            Left::Ids(_) | Left::Answer(_) => (),
        }
    }
    conn.prepare_cached(
        "INSERT OR REPLACE INTO replays (workspace, key, fingerprint, at, body)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute((
        signed(key.workspace),
        &key.key,
        fingerprint.as_slice(),
        now.as_millis(),
        ids,
    ))?;
    Ok(resumed.map_or(Replay::Reserved, Replay::Resumed))
}

/// A row of `replays`.
struct Known {
    fingerprint: Vec<u8>,
    at: i64,
    left: Left,
}

/// What a request left behind. While it is under way, `body` holds the ids it may use.
enum Left {
    Ids(Vec<u8>),
    Answer(KeptAnswer),
}

fn read(row: &Row<'_>) -> rusqlite::Result<Known> {
    let body: Option<Vec<u8>> = row.get(5)?;
    let body = body.unwrap_or_default();
    let left = match row.get(2)? {
        Some(status) => {
            Left::Answer(KeptAnswer { status, location: row.get(3)?, etag: row.get(4)?, body })
        }
        None => Left::Ids(body),
    };
    Ok(Known { fingerprint: row.get(0)?, at: row.get(1)?, left })
}

fn encode(ids: &[Id]) -> Vec<u8> {
    ids.iter().flat_map(|id| id.0.to_le_bytes()).collect()
}

fn decode(bytes: &[u8]) -> Outcome<Vec<Id>> {
    let (ids, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(Fault::corrupt("the ids of a request cannot be read"));
    }
    Ok(ids.iter().map(|id| Id(u64::from_le_bytes(*id))).collect())
}
