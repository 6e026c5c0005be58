//! Answers kept for `Idempotency-Key`. They go by themselves a little after their window.

use async_trait::async_trait;
use futures_util::future::try_join_all;
use scylla::DeserializeRow;

use super::Cql;
use super::fault::is_unknown;
use super::finding::hash_of;
use super::ids::signed;
use super::run::damaged;
use super::together::{TRIES, contended, stamp};
use crate::domain::api_key::KeyDigest;
use crate::domain::id::Id;
use crate::domain::limits::{IDEMPOTENCY_RESERVATION_MS, IDEMPOTENCY_WINDOW_MS};
use crate::domain::time::Timestamp;
use crate::storage::error::{Op, StorageResult};
use crate::storage::{KeptAnswer, Replay, ReplayKey, ReplayStore};

/// Partitions of a workspace: conditional writes to one of them wait for each other.
const SHARDS: i8 = 32;

/// A row of `replays`.
#[derive(DeserializeRow)]
struct ReplayRow {
    stamp: i64,
    fingerprint: Vec<u8>,
    at: i64,
    ids: Option<Vec<u8>>,
    status: Option<i16>,
    location: Option<String>,
    etag: Option<String>,
    body: Option<Vec<u8>>,
}

/// What a row is to say.
struct Kept {
    fingerprint: KeyDigest,
    at: i64,
    ids: Vec<u8>,
    answer: Option<KeptAnswer>,
}

#[async_trait]
impl ReplayStore for Cql {
    async fn begin(
        &self,
        key: &ReplayKey,
        fingerprint: KeyDigest,
        ids: &[Id],
        now: Timestamp,
    ) -> StorageResult<Replay> {
        const OP: Op = "begin_replay";
        for _ in 0..TRIES {
            let known = self.known(OP, key).await?;
            let before = known.as_ref().map(|known| known.stamp);
            let known = known.map(|known| judge(OP, known, &fingerprint, now)).transpose()?;
            let (ids, answer) = match known {
                Some(Known::Answer(answer)) => return Ok(answer),
                Some(Known::Ids(earlier)) => {
                    (earlier.clone(), Replay::Resumed(decode(OP, &earlier)?))
                }
                Some(Known::Nothing) | None => (encode(ids), Replay::Reserved),
            };
            let kept = Kept { fingerprint, at: now.as_millis(), ids, answer: None };
            if self.keep(OP, key, kept, before).await? {
                return Ok(answer);
            }
        }
        Err(contended(OP))
    }

    async fn finish(
        &self,
        key: &ReplayKey,
        fingerprint: KeyDigest,
        answer: KeptAnswer,
        now: Timestamp,
    ) -> StorageResult<()> {
        const OP: Op = "finish_replay";
        for _ in 0..TRIES {
            let Some(known) = self.of_request(OP, key, &fingerprint).await? else {
                return Ok(());
            };
            let answer = Some(answer.clone());
            let kept = Kept { fingerprint, at: now.as_millis(), ids: Vec::new(), answer };
            if self.keep(OP, key, kept, Some(known.stamp)).await? {
                return Ok(());
            }
        }
        Err(contended(OP))
    }

    async fn abandon(&self, key: &ReplayKey, fingerprint: KeyDigest) -> StorageResult<()> {
        const OP: Op = "abandon_replay";
        for _ in 0..TRIES {
            let known = self.of_request(OP, key, &fingerprint).await?;
            let Some(known) = known.filter(|known| known.status.is_none()) else {
                return Ok(());
            };
            let at = known.at.saturating_sub(IDEMPOTENCY_RESERVATION_MS + 1);
            let ids = known.ids.unwrap_or_default();
            let kept = Kept { fingerprint, at, ids, answer: None };
            if self.keep(OP, key, kept, Some(known.stamp)).await? {
                return Ok(());
            }
        }
        Err(contended(OP))
    }
}

impl Cql {
    async fn known(&self, op: Op, key: &ReplayKey) -> StorageResult<Option<ReplayRow>> {
        let values = (signed(key.workspace), shard_of(&key.key), &key.key);
        self.one(op, &self.statements().replays.known, values).await
    }

    /// What is known, if it is of the request with this fingerprint.
    async fn of_request(
        &self,
        op: Op,
        key: &ReplayKey,
        fingerprint: &KeyDigest,
    ) -> StorageResult<Option<ReplayRow>> {
        let known = self.known(op, key).await?;
        Ok(known.filter(|known| known.fingerprint == fingerprint))
    }

    /// Whether the row says so now. False: it had changed.
    async fn keep(
        &self,
        op: Op,
        key: &ReplayKey,
        kept: Kept,
        before: Option<i64>,
    ) -> StorageResult<bool> {
        let mark = stamp(op)?;
        let Kept { fingerprint, at, ids, answer } = kept;
        let status = answer.as_ref().map(|answer| answer.status.cast_signed());
        let (location, etag, body) =
            answer.map_or((None, None, None), |one| (one.location, one.etag, Some(one.body)));
        let values = (
            mark,
            fingerprint.as_slice(),
            at,
            ids,
            status,
            location,
            etag,
            body,
            signed(key.workspace),
            shard_of(&key.key),
            &key.key,
            before,
        );
        match self.apply(op, &self.statements().replays.put, values).await {
            Err(error) if is_unknown(&error) => {
                let now = self.known(op, key).await?.map(|known| known.stamp);
                // When it is another by now, whoever put it saw what this left, or never did.
                Ok(now == Some(mark))
            }
            kept => kept,
        }
    }

    /// Forgets all that is kept of a workspace.
    pub(super) async fn forget_replays(&self, op: Op, workspace: Id) -> StorageResult<()> {
        let statement = &self.statements().replays.forget;
        let shards = (0..SHARDS).map(|shard| self.put(op, statement, (signed(workspace), shard)));
        try_join_all(shards).await.map(|_| ())
    }
}

/// What an earlier request left for this one.
enum Known {
    Answer(Replay),
    /// The same request was tried with these ids.
    Ids(Vec<u8>),
    Nothing,
}

fn judge(
    op: Op,
    known: ReplayRow,
    fingerprint: &KeyDigest,
    now: Timestamp,
) -> StorageResult<Known> {
    let same = known.fingerprint == fingerprint;
    let age = now.as_millis().saturating_sub(known.at);
    let held =
        if known.status.is_some() { IDEMPOTENCY_WINDOW_MS } else { IDEMPOTENCY_RESERVATION_MS };
    if age <= held && !same {
        return Ok(Known::Answer(Replay::Mismatch));
    }
    let Some(status) = known.status else {
        let ids = known.ids.unwrap_or_default();
        return Ok(match age {
            age if age <= held => Known::Answer(Replay::InProgress),
            age if same && age <= IDEMPOTENCY_WINDOW_MS && !ids.is_empty() => Known::Ids(ids),
            _ => Known::Nothing,
        });
    };
    if age > held {
        return Ok(Known::Nothing);
    }
    let ReplayRow { location, etag, body, .. } = known;
    let status = u16::try_from(status).map_err(|error| damaged(op, error))?;
    let answer = KeptAnswer { status, location, etag, body: body.unwrap_or_default() };
    Ok(Known::Answer(Replay::Answered(answer)))
}

pub(super) fn shard_of(key: &str) -> i8 {
    hash_of(key.as_bytes()).rem_euclid(SHARDS.into()) as i8
}

fn encode(ids: &[Id]) -> Vec<u8> {
    ids.iter().flat_map(|id| id.0.to_le_bytes()).collect()
}

fn decode(op: Op, bytes: &[u8]) -> StorageResult<Vec<Id>> {
    let (ids, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(damaged(op, "the ids of a request cannot be read"));
    }
    Ok(ids.iter().map(|id| Id(u64::from_le_bytes(*id))).collect())
}
