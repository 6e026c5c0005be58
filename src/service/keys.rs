//! API keys, all of them in memory: a request is authenticated without asking any store.
//!
//! The ring is loaded at start and again whenever the store says that keys changed. What is
//! changed here is in force here at once. Uses are counted in memory and stored behind.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;
use tracing::{info, warn};

use super::access::{Actor, Credential, Grant};
use super::draft::{FieldCode, FieldError};
use super::ids::{IdSource, IdSourceError};
use crate::domain::account::Role;
use crate::domain::api_key::{ApiKey, KeyDigest, KeyText, Scope, Scopes};
use crate::domain::id::Id;
use crate::domain::limits::{KEY_NAME_CHARS_MAX, KEYS_PER_WORKSPACE_MAX};
use crate::domain::time::{Clock, Timestamp};
use crate::storage::{AccountStore, ChosenKey, KeyRecord, StorageError, StorageResult};

/// How often the store is asked whether another process changed keys: the bound within which a
/// key that was revoked elsewhere stops working here.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// Least time between two questions to the store about keys that nobody here knows.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// Polls between two writes of uses: `uses` and `last_used_at` are true within this many seconds.
const POLLS_PER_FLUSH: u32 = 2;

/// Knows every key. Shared by all workers.
pub struct KeyRing {
    secret: [u8; 32],
    store: Arc<dyn AccountStore>,
    ids: Arc<IdSource>,
    clock: Arc<dyn Clock>,
    keys: ArcSwap<Held>,
    /// The store's epoch that `keys` shows. Held while keys change, so that no reload can bring
    /// back what was true before.
    epoch: tokio::sync::Mutex<u64>,
    /// When the store was last asked about an unknown key.
    asked_at: tokio::sync::Mutex<Option<Instant>>,
}

/// What a caller wants a new key to be.
#[derive(Clone, Debug)]
pub struct KeyDraft {
    pub name: String,
    /// `None`: all that the creator may do.
    pub scopes: Option<Scopes>,
    pub expires_at: Option<Timestamp>,
}

/// Why a key could not be made.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("fields are not acceptable")]
    Invalid(Vec<FieldError>),
    #[error("a key may not do more than the key that made it: {}", .0.as_str())]
    ScopeExceeded(Scope),
    #[error("a workspace has at most {KEYS_PER_WORKSPACE_MAX} keys in force")]
    QuotaReached,
    #[error("no random bytes: {0}")]
    Entropy(getrandom::Error),
    #[error(transparent)]
    Id(#[from] IdSourceError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

#[derive(Default)]
struct Held {
    by_digest: HashMap<KeyDigest, HeldKey, foldhash::fast::RandomState>,
}

#[derive(Clone)]
struct HeldKey {
    id: Id,
    grant: Grant,
    expires_at: Option<Timestamp>,
    /// Revoked, or of a user who may do nothing here any more.
    over: bool,
    usage: Arc<Usage>,
}

/// Uses that are not in the store yet. Survives reloads of the ring.
#[derive(Default)]
struct Usage {
    uses: AtomicU64,
    last_at: AtomicI64,
}

impl KeyRing {
    /// Loads all keys. Kinds: those of `AccountStore::keys`.
    pub async fn open(
        secret: [u8; 32],
        store: Arc<dyn AccountStore>,
        ids: Arc<IdSource>,
        clock: Arc<dyn Clock>,
    ) -> StorageResult<Self> {
        let epoch = store.keys_epoch().await?;
        let keys = store.keys().await?;
        let held = ArcSwap::from_pointee(Held::with(&keys, &Held::default()));
        let epoch = tokio::sync::Mutex::new(epoch);
        Ok(Self {
            secret,
            store,
            ids,
            clock,
            keys: held,
            epoch,
            asked_at: tokio::sync::Mutex::default(),
        })
    }

    /// Who `text` belongs to, if it is a key in force, and counts the use. The text is hashed with
    /// the installation's secret and looked up by the whole hash, so neither time nor answer tells
    /// how close a guess was.
    pub fn authenticate(&self, text: &str) -> Option<Grant> {
        let digest = KeyText::parse(text)?.digest(&self.secret);
        let keys = self.keys.load();
        let held = keys.by_digest.get(&digest)?;
        let now = self.clock.now();
        if held.over || held.expires_at.is_some_and(|at| at <= now) {
            return None;
        }
        held.usage.uses.fetch_add(1, Ordering::Relaxed);
        held.usage.last_at.fetch_max(now.as_millis(), Ordering::Relaxed);
        Some(held.grant)
    }

    /// Like `authenticate`, but asks the store before it refuses a well-formed key: another process
    /// may have made it a moment ago. However many strangers come, it is asked once per `ASK_EVERY`
    /// at most; who comes in between waits for the next time.
    pub async fn authenticate_fresh(&self, text: &str) -> Option<Grant> {
        let grant = self.authenticate(text);
        if grant.is_some() || KeyText::parse(text).is_none() {
            return grant;
        }
        let came_at = Instant::now();
        let mut asked_at = self.asked_at.lock().await;
        // An answer to a question asked after this key came is as good as one of its own.
        if asked_at.is_none_or(|at| at <= came_at) {
            if let Some(at) = *asked_at {
                tokio::time::sleep_until(at + ASK_EVERY).await;
            }
            *asked_at = Some(Instant::now());
            if let Err(error) = self.refresh().await {
                warn!(%error, "the store was not asked about a key that is not known");
            }
        }
        drop(asked_at);
        self.authenticate(text)
    }

    /// Whether the key `id` is still in force here, for answers that go on for long. Counts no use.
    pub fn is_in_force(&self, id: Id) -> bool {
        let (keys, now) = (self.keys.load(), self.clock.now());
        keys.by_digest.values().any(|held| {
            held.id == id && !held.over && held.expires_at.is_none_or(|expires_at| expires_at > now)
        })
    }

    /// Whether there is such a key, in any workspace. For the record: nobody is told.
    pub fn is_known(&self, id: Id) -> bool {
        self.keys.load().by_digest.values().any(|held| held.id == id)
    }

    /// Makes a key for the workspace of `by`. The text is returned this once.
    pub async fn create(&self, by: &Actor, draft: KeyDraft) -> Result<(ApiKey, KeyText), KeyError> {
        let now = self.clock.now();
        check_draft(&draft, now)?;
        let creator = &by.grant;
        let scopes = draft.scopes.unwrap_or(creator.scopes);
        if let Some(scope) = scopes.iter().find(|scope| !creator.scopes.allow(*scope)) {
            return Err(KeyError::ScopeExceeded(scope));
        }
        let mut epoch = self.epoch.lock().await;
        let existing = self.store.keys().await?;
        // Those that are over are kept for the record and take nobody's place.
        let in_force = |record: &&KeyRecord| {
            let key = &record.key;
            let over = key.revoked_at.is_some() || key.expires_at.is_some_and(|at| at <= now);
            key.workspace == creator.workspace && !over
        };
        let n_own = existing.iter().filter(in_force).count();
        if n_own >= KEYS_PER_WORKSPACE_MAX {
            return Err(KeyError::QuotaReached);
        }

        let text = new_text()?;
        let key = ApiKey {
            id: self.ids.next().await?,
            workspace: creator.workspace,
            user: creator.user,
            name: draft.name,
            prefix: text.prefix().to_owned(),
            digest: text.digest(&self.secret),
            scopes,
            created_at: now,
            expires_at: draft.expires_at,
            last_used_at: None,
            uses: 0,
            revoked_at: None,
        };
        self.store.add_key(key.clone(), Some(by.act(now))).await?;
        // The text is shown this once: it must not be lost to what comes after. The ring follows.
        if let Err(error) = self.reload(&mut epoch).await {
            warn!(%error, "keys were not read again after one was made");
        }
        Ok((key, text))
    }

    /// Revokes a key that `by` may revoke; it is refused here from this moment. False: no such key.
    pub async fn revoke(&self, by: &Actor, id: Id) -> StorageResult<bool> {
        let mut epoch = self.epoch.lock().await;
        let (of, now) = (by.grant.keys_of(), self.clock.now());
        let key = ChosenKey { id, workspace: by.grant.workspace, of };
        let revoked = self.store.revoke_key(key, now, Some(by.act(now))).await?;
        if revoked {
            // Nothing may fail between the store's yes and the ring's no.
            self.forget(id);
            if let Err(error) = self.reload(&mut epoch).await {
                warn!(%error, "keys were not read again after one was revoked");
            }
        }
        Ok(revoked)
    }

    /// The keys that `by` may see, by id, with the uses that are not in the store yet.
    pub async fn list(&self, by: &Grant) -> StorageResult<Vec<ApiKey>> {
        let records = self.store.keys().await?.into_iter();
        let mut keys: Vec<ApiKey> = records.map(|record| record.key).collect();
        let may_see = |key: &ApiKey| by.keys_of().is_none_or(|user| key.user == Some(user));
        keys.retain(|key| key.workspace == by.workspace && may_see(key));
        keys.sort_by_key(|key| key.id);
        let held = self.keys.load();
        for key in &mut keys {
            if let Some(held) = held.by_digest.get(&key.digest) {
                key.uses += held.usage.uses.load(Ordering::Relaxed);
                let last_at = Timestamp(held.usage.last_at.load(Ordering::Relaxed));
                key.last_used_at = key.last_used_at.max((last_at.0 > 0).then_some(last_at));
            }
        }
        Ok(keys)
    }

    /// Follows the store and writes uses behind, for as long as it is polled. Spawn it.
    pub async fn follow(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(POLL_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut reachable = true;
        let mut polls = 0_u32;
        loop {
            ticks.tick().await;
            polls = polls.wrapping_add(1);
            let mut outcome = self.refresh().await;
            if polls.is_multiple_of(POLLS_PER_FLUSH) {
                outcome = outcome.and(self.flush().await);
            }
            // Only the change is news: a store that is gone is gone every second.
            match (&outcome, reachable) {
                (Err(error), true) => warn!(%error, "keys cannot be followed; those known stay"),
                (Ok(()), false) => info!("keys are followed again"),
                _ => (),
            }
            reachable = outcome.is_ok();
        }
    }

    /// Reads the keys again if the store says that they changed.
    pub async fn refresh(&self) -> StorageResult<()> {
        let mut known = self.epoch.lock().await;
        if self.store.keys_epoch().await? != *known {
            self.reload(&mut known).await?;
        }
        Ok(())
    }

    /// Stores the uses counted so far. Call it last at a drain.
    pub async fn flush(&self) -> StorageResult<()> {
        let held = self.keys.load_full();
        let taken: Vec<_> = held
            .by_digest
            .values()
            .map(|key| (key, key.usage.uses.swap(0, Ordering::Relaxed)))
            .filter(|(_, uses)| *uses > 0)
            .collect();
        if taken.is_empty() {
            return Ok(());
        }
        let rows = taken.iter().map(|(key, uses)| {
            (key.id, *uses, Timestamp(key.usage.last_at.load(Ordering::Relaxed)))
        });
        let outcome = self.store.add_key_uses(rows.collect()).await;
        if outcome.is_err() {
            for (key, uses) in taken {
                key.usage.uses.fetch_add(uses, Ordering::Relaxed);
            }
        }
        outcome
    }

    /// Replaces the ring. The epoch is read first: a change in between is read twice, not never.
    async fn reload(&self, known: &mut u64) -> StorageResult<()> {
        let epoch = self.store.keys_epoch().await?;
        let keys = self.store.keys().await?;
        self.keys.store(Arc::new(Held::with(&keys, &self.keys.load())));
        *known = epoch;
        Ok(())
    }

    fn forget(&self, id: Id) {
        let mut by_digest = self.keys.load().by_digest.clone();
        for key in by_digest.values_mut().filter(|key| key.id == id) {
            key.over = true;
        }
        self.keys.store(Arc::new(Held { by_digest }));
    }
}

impl Held {
    /// The keys as the store has them, with the uses that `before` has not stored yet.
    fn with(records: &[KeyRecord], before: &Self) -> Self {
        let hold = |record: &KeyRecord| {
            let usage = before.by_digest.get(&record.key.digest);
            HeldKey {
                id: record.key.id,
                grant: grant_of(record),
                expires_at: record.key.expires_at,
                over: record.key.revoked_at.is_some() || record.role.is_none(),
                usage: usage.map_or_else(Arc::default, |held| Arc::clone(&held.usage)),
            }
        };
        let held = records.iter().map(|record| (record.key.digest, hold(record)));
        Self { by_digest: held.collect() }
    }
}

/// A key is good for what it was made for, as far as the role of its user goes now.
fn grant_of(record: &KeyRecord) -> Grant {
    let KeyRecord { key, role, operator } = record;
    let role = role.unwrap_or(Role::Viewer);
    Grant {
        credential: Credential::Key(key.id),
        user: key.user,
        workspace: key.workspace,
        operator: *operator,
        role,
        scopes: key.scopes.within(role.scopes()),
    }
}

/// A fresh key from the system's random bytes.
pub fn new_text() -> Result<KeyText, KeyError> {
    let mut entropy = [0; 32];
    getrandom::fill(&mut entropy).map_err(KeyError::Entropy)?;
    Ok(KeyText::from_entropy(&entropy))
}

fn check_draft(draft: &KeyDraft, now: Timestamp) -> Result<(), KeyError> {
    let mut errors = Vec::new();
    let chars = draft.name.chars().count();
    if chars == 0 || chars > KEY_NAME_CHARS_MAX {
        let detail = format!("a name has 1 to {KEY_NAME_CHARS_MAX} characters");
        errors.push(FieldError::new("/name", FieldCode::OutOfRange, detail));
    }
    if draft.name.chars().any(char::is_control) {
        let detail = "control characters are not allowed";
        errors.push(FieldError::new("/name", FieldCode::ControlCharacter, detail));
    }
    if draft.scopes.is_some_and(Scopes::is_empty) {
        let detail = "a key needs a scope; leave the field out for all that you may do";
        errors.push(FieldError::new("/scopes", FieldCode::OutOfRange, detail));
    }
    if draft.expires_at.is_some_and(|at| at <= now) {
        let detail = "a key must expire in the future";
        errors.push(FieldError::new("/expires_at", FieldCode::OutOfRange, detail));
    }
    if errors.is_empty() { Ok(()) } else { Err(KeyError::Invalid(errors)) }
}
