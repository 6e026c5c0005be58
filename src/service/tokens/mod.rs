//! Access tokens: signed here, checked here without asking any store.
//!
//! One key signs. When it is old a new one takes over, and the former goes on verifying until the
//! last token that it signed has expired. Keys are kept in the store, sealed, so that all processes
//! of an installation know them; or they are in files that the operator looks after.

mod cache;
mod claims;
mod config;
mod key;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jsonwebtoken::crypto::aws_lc;
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::{info, warn};

pub use self::claims::{AccessClaims, TokenFault};
pub use self::config::TokensConfig;
pub use self::key::{KeyFault, SigningKey};

use self::cache::VerifiedTokens;
use self::claims::Parts;
use crate::domain::time::{Clock, Timestamp, millis};
use crate::storage::StorageError;
use crate::storage::signing::{SigningKeyStore, StoredSigningKey};

/// How often the store is asked whether another process changed keys.
const POLL_EVERY: Duration = Duration::from_secs(5);
/// Least time between two questions to the store about a key that nobody here knows.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// How long other processes may go on signing with a key after a new one took over.
const HANDOVER_MS: i64 = 60_000;
/// Bytes of a token that are looked at. Own tokens have fewer than a quarter of them, save for a
/// long issuer.
const TEXT_BYTES_MAX: usize = 4_096;
/// Tries to find or make a key that signs, while other processes make keys too.
const TRIES_MAX: u32 = 3;

/// Knows the keys of access tokens. Shared by all workers.
pub struct KeyChain {
    issuer: String,
    audience: String,
    access_ttl_ms: i64,
    leeway_ms: i64,
    /// `None`: keys are in files.
    kept: Option<Kept>,
    clock: Arc<dyn Clock>,
    held: ArcSwap<Held>,
    /// When the store was last asked about an unknown key.
    asked_at: tokio::sync::Mutex<Option<Instant>>,
}

/// What a key chain is made of.
pub struct ChainParts<'a> {
    pub config: &'a TokensConfig,
    /// The issuer, unless the configuration names one.
    pub public_url: &'a str,
    /// The installation's secret.
    pub secret: &'a [u8; 32],
    pub store: Arc<dyn SigningKeyStore>,
    pub clock: Arc<dyn Clock>,
}

/// Why there are no keys to work with.
#[derive(Debug, thiserror::Error)]
pub enum KeyChainError {
    #[error("`tokens.signing_key_files`: {}: {cause}", path.display())]
    File { path: PathBuf, cause: std::io::Error },
    #[error("`tokens.signing_key_files`: {}: {fault}", path.display())]
    FileKey { path: PathBuf, fault: KeyFault },
    #[error("`tokens.signing_key_files`: {} has the key of another file", path.display())]
    Twice { path: PathBuf },
    #[error("the key {kid} that signs access tokens cannot be used: {fault}")]
    StoredKey { kid: String, fault: KeyFault },
    #[error("no key to sign access tokens with can be made: {0}")]
    NewKey(KeyFault),
    #[error("keys to sign access tokens with are replaced faster than they can be read")]
    Unsettled,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Keys in the store.
struct Kept {
    store: Arc<dyn SigningKeyStore>,
    secret: [u8; 32],
    rotate_after_ms: i64,
    /// The keys as they were read last. Held while keys are read, so that no reading can bring back
    /// what was true before.
    seen: tokio::sync::Mutex<Vec<StoredSigningKey>>,
}

struct Held {
    /// The first one signs, all verify.
    keys: Vec<SigningKey>,
    /// Tokens that these keys signed.
    verified: Arc<VerifiedTokens>,
}

impl KeyChain {
    /// Reads the keys, and makes one if there is none in the store or the one there is old.
    pub async fn open(parts: ChainParts<'_>) -> Result<Self, KeyChainError> {
        // Else it is found out with the first token. Somebody may have done so before.
        let _ = aws_lc::DEFAULT_PROVIDER.install_default();
        let ChainParts { config, public_url, secret, store, clock } = parts;
        let (keys, kept) = match config.signing_key_files.as_slice() {
            [] => {
                let rotate_after_ms = millis(config.rotate_after.0);
                let seen = tokio::sync::Mutex::default();
                (Vec::new(), Some(Kept { store, secret: *secret, rotate_after_ms, seen }))
            }
            files => (read_files(files, clock.now())?, None),
        };
        let chain = Self {
            issuer: config.issuer(public_url),
            audience: config.audience.clone(),
            access_ttl_ms: millis(config.access_ttl.0),
            leeway_ms: millis(config.leeway.0),
            kept,
            clock,
            held: ArcSwap::from_pointee(Held { keys, verified: Arc::default() }),
            asked_at: tokio::sync::Mutex::default(),
        };
        chain.refresh().await?;
        Ok(chain)
    }

    /// When a token expires that is made at `now`.
    pub const fn expiry(&self, now: Timestamp) -> Timestamp {
        now.plus_millis(self.access_ttl_ms)
    }

    /// The text of a token that says `claims`.
    pub fn sign(&self, claims: &AccessClaims) -> String {
        let held = self.held.load();
        let key = &held.keys[0];
        let message = claims.message(key.kid(), &self.issuer, &self.audience);
        let signature = key.sign(&message);
        format!("{message}.{signature}")
    }

    /// What the token `text` says, if it is one of ours and good at `now`.
    pub fn verify(&self, text: &str, now: Timestamp) -> Result<AccessClaims, TokenFault> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(TokenFault::Malformed);
        }
        let held = self.held.load();
        let digest = cache::digest(text);
        if let Some(claims) = held.verified.get(&digest) {
            return claims.check_time(now, self.leeway_ms).map(|()| claims);
        }
        let parts = Parts::parse(text)?;
        let named = held.keys.iter().find(|key| key.kid() == parts.kid);
        let key = named.filter(|key| key.in_force(now)).ok_or(TokenFault::UnknownKey)?;
        if !key.verifies(parts.message, parts.signature) {
            return Err(TokenFault::BadSignature);
        }
        let claims = parts.claims(&self.issuer, &self.audience)?;
        claims.check_time(now, self.leeway_ms)?;
        held.verified.insert(digest, claims);
        Ok(claims)
    }

    /// Like `verify`, but asks the store before it refuses a key that nobody here knows: another
    /// process may have made it a moment ago. However many strangers come, it is asked once per
    /// `ASK_EVERY` at most; who comes in between waits for the next time.
    pub async fn verify_fresh(
        &self,
        text: &str,
        now: Timestamp,
    ) -> Result<AccessClaims, TokenFault> {
        let outcome = self.verify(text, now);
        if self.kept.is_none() || outcome != Err(TokenFault::UnknownKey) {
            return outcome;
        }
        let came_at = Instant::now();
        let mut asked_at = self.asked_at.lock().await;
        // An answer to a question asked after this token came is as good as one of its own.
        if asked_at.is_none_or(|at| at <= came_at) {
            if let Some(at) = *asked_at {
                tokio::time::sleep_until(at + ASK_EVERY).await;
            }
            *asked_at = Some(Instant::now());
            if let Err(error) = self.refresh().await {
                warn!(%error, "the store was not asked about a key of access tokens");
            }
        }
        drop(asked_at);
        self.verify(text, now)
    }

    /// The public keys, as `/.well-known/jwks.json` shows them.
    pub fn jwks(&self) -> Value {
        let (held, now) = (self.held.load(), self.clock.now());
        let in_force = held.keys.iter().filter(|key| key.in_force(now));
        json!({ "keys": in_force.map(SigningKey::jwk).collect::<Vec<_>>() })
    }

    /// Follows the store and replaces old keys, for as long as it is polled. Spawn it.
    pub async fn follow(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(POLL_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut fine = true;
        loop {
            ticks.tick().await;
            let outcome = self.refresh().await;
            // Only the change is news.
            match (&outcome, fine) {
                (Err(error), true) => {
                    warn!(%error, "keys of access tokens cannot be followed; those known stay");
                }
                (Ok(()), false) => info!("keys of access tokens are followed again"),
                _ => (),
            }
            fine = outcome.is_ok();
        }
    }

    /// Reads the keys of the store, replaces the one that signs if it is old, and forgets those
    /// that are retired. Without effect when keys are in files.
    pub async fn refresh(&self) -> Result<(), KeyChainError> {
        let Some(kept) = &self.kept else { return Ok(()) };
        let mut seen = kept.seen.lock().await;
        for _ in 0..TRIES_MAX {
            let now = self.clock.now();
            let mut stored = kept.store.signing_keys().await?;
            let current = stored.iter().find(|key| key.retires_at.is_none());
            if current.is_some_and(|key| now < key.created_at.plus_millis(kept.rotate_after_ms)) {
                let n_stored = stored.len();
                stored.retain(|key| key.retires_at.is_none_or(|at| now < at));
                let some_retired = stored.len() < n_stored;
                if stored != *seen {
                    self.hold(kept, &stored)?;
                    *seen = stored;
                }
                if some_retired {
                    kept.store.drop_signing_keys(now).await?;
                }
                return Ok(());
            }
            self.replace(kept, current, now).await?;
        }
        Err(KeyChainError::Unsettled)
    }

    /// Makes a key that signs in place of `current`. Another process may do the same: whoever comes
    /// second changes nothing, and reads what the first one made.
    async fn replace(
        &self,
        kept: &Kept,
        current: Option<&StoredSigningKey>,
        now: Timestamp,
    ) -> Result<(), KeyChainError> {
        let new = SigningKey::generate(now).map_err(KeyChainError::NewKey)?;
        let sealed = new.seal(&kept.secret).map_err(KeyChainError::NewKey)?;
        let last_use = now.plus_millis(self.access_ttl_ms + self.leeway_ms + HANDOVER_MS);
        let retire = current.map(|key| (key.kid.clone(), last_use));
        if kept.store.add_signing_key(sealed, retire).await? {
            info!(kid = new.kid(), "a new key signs access tokens");
        }
        Ok(())
    }

    /// Works with the keys `stored` from now on. A retired one that does not open is left out.
    fn hold(&self, kept: &Kept, stored: &[StoredSigningKey]) -> Result<(), KeyChainError> {
        let mut keys = Vec::with_capacity(stored.len());
        for one in stored {
            match (SigningKey::open(one, &kept.secret), one.retires_at) {
                (Ok(key), _) => keys.push(key),
                (Err(fault), None) => {
                    return Err(KeyChainError::StoredKey { kid: one.kid.clone(), fault });
                }
                (Err(fault), Some(_)) => {
                    warn!(kid = one.kid, %fault, "a retired key of access tokens is left out");
                }
            }
        }
        keys.sort_by_key(|key| key.retires_at.is_some());
        let before = self.held.load();
        let stays = |key: &SigningKey| keys.iter().any(|other| other.kid() == key.kid());
        // What a key signed that is gone is not to be found any more.
        let verified = match before.keys.iter().all(stays) {
            true => Arc::clone(&before.verified),
            false => Arc::default(),
        };
        self.held.store(Arc::new(Held { keys, verified }));
        Ok(())
    }
}

fn read_files(files: &[PathBuf], now: Timestamp) -> Result<Vec<SigningKey>, KeyChainError> {
    let mut keys: Vec<SigningKey> = Vec::with_capacity(files.len());
    for path in files {
        let key = read_file(path, now)?;
        if keys.iter().any(|other| other.kid() == key.kid()) {
            return Err(KeyChainError::Twice { path: path.clone() });
        }
        keys.push(key);
    }
    Ok(keys)
}

fn read_file(path: &Path, now: Timestamp) -> Result<SigningKey, KeyChainError> {
    let pem = std::fs::read(path)
        .map_err(|cause| KeyChainError::File { path: path.to_owned(), cause })?;
    SigningKey::from_pem(&pem, now)
        .map_err(|fault| KeyChainError::FileKey { path: path.to_owned(), fault })
}
