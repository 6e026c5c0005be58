//! Access tokens: what is signed reads back, and what is bent in any way does not.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod claims;
mod files;
mod headers;
mod rotation;
mod texts;

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;
use crate::domain::account::Role;
use crate::domain::api_key::{Scope, Scopes};
use crate::domain::id::Id;
use crate::storage::memory::MemoryStore;
use crate::storage::{StorageErrorKind, StorageResult};

const NOON: Timestamp = Timestamp(1_780_000_000_000);
const SECRET: [u8; 32] = [9; 32];
const URL: &str = "https://go.example/";
const MINUTE: i64 = 60_000;
const DAY: i64 = 86_400_000;
/// Beyond the expiry of a token, until it is refused.
const LEEWAY: i64 = 5_000;

/// A clock that tests set.
struct HandClock(AtomicI64);

impl HandClock {
    fn set(&self, now: Timestamp) {
        self.0.store(now.as_millis(), Ordering::Relaxed);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

/// A store that counts questions, can be switched off, and can hold up the first two.
struct Watched {
    inner: Arc<dyn SigningKeyStore>,
    gone: AtomicBool,
    n_reads: AtomicU64,
    /// The first two who read go on together.
    meeting: Option<tokio::sync::Barrier>,
}

impl Watched {
    fn new(inner: Arc<dyn SigningKeyStore>) -> Arc<Self> {
        let (gone, n_reads) = (AtomicBool::new(false), AtomicU64::new(0));
        Arc::new(Self { inner, gone, n_reads, meeting: None })
    }

    fn meeting(inner: Arc<dyn SigningKeyStore>) -> Arc<Self> {
        let (gone, n_reads) = (AtomicBool::new(false), AtomicU64::new(0));
        Arc::new(Self { inner, gone, n_reads, meeting: Some(tokio::sync::Barrier::new(2)) })
    }

    fn n_reads(&self) -> u64 {
        self.n_reads.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl SigningKeyStore for Watched {
    async fn signing_keys(&self) -> StorageResult<Vec<StoredSigningKey>> {
        let before = self.n_reads.fetch_add(1, Ordering::Relaxed);
        if self.gone.load(Ordering::Relaxed) {
            return Err(StorageError::new(StorageErrorKind::Unavailable, "test", "it is off"));
        }
        let keys = self.inner.signing_keys().await;
        if let Some(meeting) = self.meeting.as_ref().filter(|_| before < 2) {
            meeting.wait().await;
        }
        keys
    }

    async fn add_signing_key(
        &self,
        new: StoredSigningKey,
        retire: Option<(String, Timestamp)>,
    ) -> StorageResult<bool> {
        self.inner.add_signing_key(new, retire).await
    }

    async fn drop_signing_keys(&self, now: Timestamp) -> StorageResult<()> {
        self.inner.drop_signing_keys(now).await
    }
}

/// One process with its clock.
struct Process {
    chain: Arc<KeyChain>,
    clock: Arc<HandClock>,
}

impl Process {
    async fn new() -> Self {
        Self::on(MemoryStore::new().signing).await
    }

    async fn on(store: Arc<dyn SigningKeyStore>) -> Self {
        Self::start(store, SECRET, &TokensConfig::default()).await.unwrap()
    }

    async fn on_at(store: Arc<dyn SigningKeyStore>, now: Timestamp) -> Result<Self, KeyChainError> {
        Self::start_at(store, SECRET, &TokensConfig::default(), now).await
    }

    async fn start(
        store: Arc<dyn SigningKeyStore>,
        secret: [u8; 32],
        config: &TokensConfig,
    ) -> Result<Self, KeyChainError> {
        Self::start_at(store, secret, config, NOON).await
    }

    async fn start_at(
        store: Arc<dyn SigningKeyStore>,
        secret: [u8; 32],
        config: &TokensConfig,
        now: Timestamp,
    ) -> Result<Self, KeyChainError> {
        let clock = Arc::new(HandClock(AtomicI64::new(now.as_millis())));
        let handed = Arc::clone(&clock) as _;
        let parts = ChainParts { config, public_url: URL, secret: &secret, store, clock: handed };
        Ok(Self { chain: Arc::new(KeyChain::open(parts).await?), clock })
    }

    /// A token as a login gets it.
    fn token(&self) -> String {
        self.chain.sign(&claims_at(self.clock.now()))
    }

    fn verify(&self, text: &str) -> Result<AccessClaims, TokenFault> {
        self.chain.verify(text, self.clock.now())
    }

    fn kid(&self) -> String {
        self.chain.held.load().keys[0].kid().to_owned()
    }

    /// Names of all keys, the one that signs first.
    fn kids(&self) -> Vec<String> {
        self.chain.held.load().keys.iter().map(|key| key.kid().to_owned()).collect()
    }

    fn sign(&self, message: &str) -> String {
        self.chain.held.load().keys[0].sign(message)
    }

    /// A token with a true signature, whatever is in it.
    fn forge(&self, header: &str, payload: &str) -> String {
        let message = message(header, payload);
        format!("{message}.{}", self.sign(&message))
    }

    /// The header of a token of ours.
    fn header(&self) -> String {
        format!(r#"{{"alg":"EdDSA","typ":"at+jwt","kid":"{}"}}"#, self.kid())
    }

    /// A token of ours with another payload.
    fn with_payload(&self, payload: &str) -> String {
        self.forge(&self.header(), payload)
    }
}

fn claims_at(now: Timestamp) -> AccessClaims {
    AccessClaims {
        user: Id(7_001),
        workspace: Id(7_002),
        role: Role::Admin,
        scope: Scopes::default().with(Scope::LinksRead).with(Scope::LinksWrite),
        session: Id(7_003),
        generation: 4,
        issued_at: now,
        expires_at: now.plus_millis(15 * MINUTE),
    }
}

fn encode(text: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

fn message(header: &str, payload: &str) -> String {
    format!("{}.{}", encode(header), encode(payload))
}

/// A part of a token as JSON text.
fn part(token: &str, index: usize) -> String {
    let part = token.split('.').nth(index).unwrap();
    String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[tokio::test]
async fn what_was_signed_reads_back() {
    let process = Process::new().await;
    let token = process.token();
    assert_eq!(process.verify(&token), Ok(claims_at(NOON)));
    assert_eq!(process.verify(&token), Ok(claims_at(NOON)), "and again, from memory");
    assert_eq!(part(&token, 0), process.header());
    let expected = r#"{"iss":"https://go.example","aud":"shunt","sub":"7001","org":"7002",
        "role":"admin","scope":"links:read links:write","jti":"7003.4",
        "iat":1780000000,"nbf":1780000000,"exp":1780000900}"#;
    assert_eq!(part(&token, 1), expected.replace("\n        ", ""));
    assert_eq!(process.chain.expiry(NOON), NOON.plus_millis(15 * MINUTE));
}

#[tokio::test]
async fn every_role_and_set_of_scopes_reads_back() {
    let process = Process::new().await;
    for role in Role::ALL {
        for scope in
            [Scopes::default(), Scopes::EVERYTHING, Scopes::EVERYTHING.with(Scope::OrgManage)]
        {
            let claims = AccessClaims {
                role: *role,
                scope,
                session: Id(u64::MAX),
                generation: u32::MAX,
                ..claims_at(NOON)
            };
            assert_eq!(process.verify(&process.chain.sign(&claims)), Ok(claims));
        }
    }
}

#[tokio::test]
async fn forged_helpers_make_good_tokens_when_nothing_is_bent() {
    let process = Process::new().await;
    let payload = part(&process.token(), 1);
    let token = process.with_payload(&payload);
    assert_eq!(process.verify(&token), Ok(claims_at(NOON)));
}

#[tokio::test]
async fn parts_of_seconds_are_cut_off() {
    let process = Process::new().await;
    let claims = claims_at(NOON.plus_millis(999));
    assert_eq!(process.verify(&process.chain.sign(&claims)), Ok(claims_at(NOON)));
}

#[tokio::test]
async fn the_public_keys_are_shown_and_nothing_else() {
    let process = Process::new().await;
    let jwks = process.chain.jwks();
    let keys = jwks["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 1);
    let members: Vec<&str> = keys[0].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x"]);
    assert_eq!(keys[0]["kid"], process.kid());
    // Whoever has only this can check a token.
    let jwk = serde_json::from_value(keys[0].clone()).unwrap();
    let public = jsonwebtoken::DecodingKey::from_jwk(&jwk).unwrap();
    let token = process.token();
    let (message, signature) = token.rsplit_once('.').unwrap();
    let algorithm = jsonwebtoken::Algorithm::EdDSA;
    assert!(
        jsonwebtoken::crypto::verify(signature, message.as_bytes(), &public, algorithm).unwrap()
    );
}
