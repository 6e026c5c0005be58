//! Answers kept for `Idempotency-Key`.

use async_trait::async_trait;

use super::MemoryStore;
use crate::domain::api_key::KeyDigest;
use crate::domain::id::Id;
use crate::domain::limits::{IDEMPOTENCY_RESERVATION_MS, IDEMPOTENCY_WINDOW_MS};
use crate::domain::time::Timestamp;
use crate::storage::{KeptAnswer, Replay, ReplayKey, ReplayStore, StorageResult};

/// What is known of a request.
#[derive(Clone)]
pub(super) struct Kept {
    fingerprint: KeyDigest,
    at: Timestamp,
    state: State,
}

#[derive(Clone)]
enum State {
    /// Under way, or lapsed, with these ids.
    Reserved(Vec<Id>),
    Abandoned(Vec<Id>),
    Answered(KeptAnswer),
}

#[async_trait]
impl ReplayStore for MemoryStore {
    async fn begin(
        &self,
        key: &ReplayKey,
        fingerprint: KeyDigest,
        ids: &[Id],
        now: Timestamp,
    ) -> StorageResult<Replay> {
        let mut state = self.lock();
        let mut ids = ids.to_vec();
        let mut answer = Replay::Reserved;
        if let Some(kept) = state.replays.get(key) {
            let (age, same) = (now.0.saturating_sub(kept.at.0), kept.fingerprint == fingerprint);
            match &kept.state {
                State::Answered(_) if age > IDEMPOTENCY_WINDOW_MS => (),
                State::Reserved(_) | State::Answered(_) if !same && is_held(kept, age) => {
                    return Ok(Replay::Mismatch);
                }
                State::Answered(answer) => return Ok(Replay::Answered(answer.clone())),
                State::Reserved(_) if is_held(kept, age) => return Ok(Replay::InProgress),
                State::Reserved(earlier) | State::Abandoned(earlier) => {
                    if same && age <= IDEMPOTENCY_WINDOW_MS && !earlier.is_empty() {
                        ids.clone_from(earlier);
                        answer = Replay::Resumed(earlier.clone());
                    }
                }
            }
        }
        let kept = Kept { fingerprint, at: now, state: State::Reserved(ids) };
        state.replays.insert(key.clone(), kept);
        Ok(answer)
    }

    async fn finish(
        &self,
        key: &ReplayKey,
        fingerprint: KeyDigest,
        answer: KeptAnswer,
        now: Timestamp,
    ) -> StorageResult<()> {
        if let Some(kept) = self.lock().replays.get_mut(key)
            && kept.fingerprint == fingerprint
        {
            (kept.at, kept.state) = (now, State::Answered(answer));
        }
        Ok(())
    }

    async fn abandon(&self, key: &ReplayKey, fingerprint: KeyDigest) -> StorageResult<()> {
        if let Some(kept) = self.lock().replays.get_mut(key)
            && kept.fingerprint == fingerprint
            && let State::Reserved(ids) = &kept.state
        {
            kept.state = State::Abandoned(ids.clone());
        }
        Ok(())
    }
}

/// True while nobody else may use the key.
fn is_held(kept: &Kept, age: i64) -> bool {
    match kept.state {
        State::Reserved(_) => age <= IDEMPOTENCY_RESERVATION_MS,
        State::Answered(_) => age <= IDEMPOTENCY_WINDOW_MS,
        State::Abandoned(_) => false,
    }
}
