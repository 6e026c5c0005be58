//! The key ring: who gets in, with what, and from when on no longer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;

use super::{HandClock, NOON, Nodes, gone};
use crate::domain::account::Role;
use crate::domain::api_key::{ApiKey, KeyText, Scope, Scopes};
use crate::domain::audit::Act;
use crate::domain::id::Id;
use crate::domain::limits::KEYS_PER_WORKSPACE_MAX;
use crate::domain::time::Timestamp;
use crate::service::access::{Actor, Credential, Grant, Place};
use crate::service::ids::IdSource;
use crate::service::keys::{KeyDraft, KeyError, KeyRing};
use crate::storage::memory::MemoryStore;
use crate::storage::{AccountStore, ChosenKey, KeyRecord, StorageResult, Workspace};

const SECRET: [u8; 32] = [9; 32];
const HOME: Id = Id(1);

/// An account store whose reads and writes can be switched off.
struct Accounts {
    inner: Arc<dyn AccountStore>,
    reads_fail: AtomicBool,
    writes_fail: AtomicBool,
    /// Adding a key is the last thing that works.
    dies_of_a_key: AtomicBool,
    /// How often somebody asked whether keys changed.
    n_looks: AtomicU64,
}

impl Accounts {
    fn new() -> Arc<Self> {
        let inner = MemoryStore::new().accounts;
        Arc::new(Self {
            inner,
            reads_fail: AtomicBool::new(false),
            writes_fail: AtomicBool::new(false),
            dies_of_a_key: AtomicBool::new(false),
            n_looks: AtomicU64::new(0),
        })
    }
}

fn check(switch: &AtomicBool) -> StorageResult<()> {
    if switch.load(Ordering::Relaxed) { Err(gone()) } else { Ok(()) }
}

#[async_trait]
impl AccountStore for Accounts {
    async fn bootstrap(&self, workspace: Workspace, key: ApiKey) -> StorageResult<bool> {
        self.inner.bootstrap(workspace, key).await
    }

    async fn anonymous_workspace(&self, new: Workspace) -> StorageResult<Id> {
        self.inner.anonymous_workspace(new).await
    }

    async fn operator_workspace(&self) -> StorageResult<Option<Workspace>> {
        self.inner.operator_workspace().await
    }

    async fn workspaces_called(&self, names: Vec<String>) -> StorageResult<Vec<Workspace>> {
        self.inner.workspaces_called(names).await
    }

    async fn keys(&self) -> StorageResult<Vec<KeyRecord>> {
        check(&self.reads_fail)?;
        self.inner.keys().await
    }

    async fn add_key(&self, key: ApiKey, act: Option<Act>) -> StorageResult<bool> {
        check(&self.writes_fail)?;
        self.reads_fail.fetch_or(self.dies_of_a_key.load(Ordering::Relaxed), Ordering::Relaxed);
        self.inner.add_key(key, act).await
    }

    async fn revoke_key(
        &self,
        key: ChosenKey,
        at: Timestamp,
        act: Option<Act>,
    ) -> StorageResult<bool> {
        check(&self.writes_fail)?;
        self.inner.revoke_key(key, at, act).await
    }

    async fn add_key_uses(&self, uses: Vec<(Id, u64, Timestamp)>) -> StorageResult<()> {
        check(&self.writes_fail)?;
        self.inner.add_key_uses(uses).await
    }

    async fn keys_epoch(&self) -> StorageResult<u64> {
        check(&self.reads_fail)?;
        self.n_looks.fetch_add(1, Ordering::Relaxed);
        self.inner.keys_epoch().await
    }
}

struct Setup {
    store: Arc<Accounts>,
    clock: Arc<HandClock>,
    ring: KeyRing,
}

impl Setup {
    async fn new() -> Self {
        let (store, clock) = (Accounts::new(), HandClock::at(NOON));
        let ring = Self::another(&store, &clock, 0).await;
        Self { store, clock, ring }
    }

    /// The ring of one of several processes on one store.
    async fn another(store: &Arc<Accounts>, clock: &Arc<HandClock>, node: u16) -> KeyRing {
        let ids = IdSource::open(node, Nodes::new(), Arc::clone(clock) as _).await.unwrap();
        let store = Arc::clone(store) as Arc<dyn AccountStore>;
        KeyRing::open(SECRET, store, Arc::new(ids), Arc::clone(clock) as _).await.unwrap()
    }

    async fn make(&self, scopes: Option<Scopes>) -> (ApiKey, KeyText) {
        self.ring.create(&owner(), draft(scopes)).await.unwrap()
    }
}

fn owner() -> Actor {
    let grant = Grant {
        credential: Credential::Key(Id(2)),
        user: None,
        workspace: HOME,
        operator: false,
        role: Role::Owner,
        scopes: Scopes::EVERYTHING,
    };
    granted(grant)
}

fn granted(grant: Grant) -> Actor {
    Actor { grant, place: Place::Unknown }
}

/// The owner of another workspace.
fn neighbour() -> Actor {
    granted(Grant { workspace: Id(77), ..owner().grant })
}

fn draft(scopes: Option<Scopes>) -> KeyDraft {
    KeyDraft { name: "ci".to_owned(), scopes, expires_at: None }
}

fn reader() -> Scopes {
    Scopes::default().with(Scope::LinksRead)
}

#[tokio::test]
async fn a_key_lets_its_holder_in_with_its_workspace_and_scopes() {
    let setup = Setup::new().await;
    let (key, text) = setup.make(Some(reader())).await;
    let grant = setup.ring.authenticate(text.as_str()).unwrap();
    assert_eq!(
        grant,
        Grant { credential: Credential::Key(key.id), scopes: reader(), ..owner().grant }
    );
    assert!(grant.scopes.allow(Scope::LinksRead) && !grant.scopes.allow(Scope::LinksWrite));
}

#[tokio::test]
async fn unknown_and_malformed_keys_are_refused_and_leave_no_trace() {
    let setup = Setup::new().await;
    let (_, text) = setup.make(None).await;
    let stranger = KeyText::from_entropy(&[1; 32]);
    assert!(setup.ring.authenticate(stranger.as_str()).is_none());
    let text = text.as_str();
    for bad in [
        "",
        "shunt_",
        &text[..text.len() - 1],
        &format!("{text}0"),
        &format!(" {text}"),
        &text.to_uppercase(),
        &text.replacen("shunt", "skunk", 1),
        &"\u{e9}".repeat(60),
    ] {
        assert!(setup.ring.authenticate(bad).is_none(), "{bad:?}");
    }
    // What was refused is neither used nor kept: there is one key, and nobody has used it.
    let keys = setup.ring.list(&owner().grant).await.unwrap();
    assert_eq!((keys.len(), keys[0].uses), (1, 0));
}

#[tokio::test]
async fn a_key_of_another_installation_is_unknown() {
    let setup = Setup::new().await;
    let (_, text) = setup.make(None).await;
    let ids = IdSource::open(0, Nodes::new(), Arc::clone(&setup.clock) as _).await.unwrap();
    let store = Arc::clone(&setup.store) as Arc<dyn AccountStore>;
    let other = KeyRing::open([8; 32], store, Arc::new(ids), Arc::clone(&setup.clock) as _);
    assert!(other.await.unwrap().authenticate(text.as_str()).is_none());
}

#[tokio::test]
async fn a_revoked_key_is_refused_at_once_even_if_the_store_goes_away() {
    let setup = Setup::new().await;
    let (first, first_text) = setup.make(None).await;
    let (second, second_text) = setup.make(None).await;
    assert!(setup.ring.revoke(&owner(), first.id).await.unwrap());
    assert!(setup.ring.authenticate(first_text.as_str()).is_none());
    assert!(setup.ring.authenticate(second_text.as_str()).is_some());

    setup.store.reads_fail.store(true, Ordering::Relaxed);
    assert!(setup.ring.revoke(&owner(), second.id).await.unwrap());
    assert!(setup.ring.authenticate(second_text.as_str()).is_none());
    assert!(setup.ring.refresh().await.is_err());
    assert!(setup.ring.authenticate(second_text.as_str()).is_none());
}

#[tokio::test]
async fn a_revocation_that_the_store_refused_has_not_happened() {
    let setup = Setup::new().await;
    let (key, text) = setup.make(None).await;
    setup.store.writes_fail.store(true, Ordering::Relaxed);
    assert!(setup.ring.revoke(&owner(), key.id).await.is_err());
    assert!(setup.ring.authenticate(text.as_str()).is_some());
}

#[tokio::test]
async fn keys_of_another_workspace_are_neither_listed_nor_revoked() {
    let setup = Setup::new().await;
    let (key, text) = setup.make(None).await;
    assert!(!setup.ring.revoke(&neighbour(), key.id).await.unwrap());
    assert!(!setup.ring.revoke(&owner(), Id(4_711)).await.unwrap());
    assert!(setup.ring.authenticate(text.as_str()).is_some());
    assert!(setup.ring.list(&neighbour().grant).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_key_ends_at_its_moment() {
    let setup = Setup::new().await;
    let expires_at = Some(Timestamp(NOON + 1_000));
    let draft = KeyDraft { expires_at, ..draft(None) };
    let (_, text) = setup.ring.create(&owner(), draft).await.unwrap();
    setup.clock.set(NOON + 999);
    assert!(setup.ring.authenticate(text.as_str()).is_some());
    setup.clock.set(NOON + 1_000);
    assert!(setup.ring.authenticate(text.as_str()).is_none());
}

#[tokio::test]
async fn no_key_makes_one_that_may_do_more_than_itself() {
    let setup = Setup::new().await;
    let manager = reader().with(Scope::KeysManage);
    let creator = granted(Grant { scopes: manager, ..owner().grant });
    for wish in [Scopes::EVERYTHING, reader().with(Scope::LinksWrite)] {
        let refused = setup.ring.create(&creator, draft(Some(wish))).await.unwrap_err();
        assert!(matches!(refused, KeyError::ScopeExceeded(_)), "{refused}");
    }
    let (equal, _) = setup.ring.create(&creator, draft(None)).await.unwrap();
    assert_eq!(equal.scopes, manager);
    let (less, _) = setup.ring.create(&creator, draft(Some(reader()))).await.unwrap();
    assert_eq!(less.scopes, reader());
    assert_eq!(setup.ring.list(&owner().grant).await.unwrap().len(), 2);
}

#[tokio::test]
async fn drafts_that_make_no_sense_are_refused_field_by_field() {
    let setup = Setup::new().await;
    let past = Some(Timestamp(NOON));
    for (bad, pointer) in [
        (KeyDraft { name: String::new(), ..draft(None) }, "/name"),
        (KeyDraft { name: "x".repeat(101), ..draft(None) }, "/name"),
        (KeyDraft { name: "a\nb".to_owned(), ..draft(None) }, "/name"),
        (draft(Some(Scopes::default())), "/scopes"),
        (KeyDraft { expires_at: past, ..draft(None) }, "/expires_at"),
    ] {
        let refused = setup.ring.create(&owner(), bad).await.unwrap_err();
        let KeyError::Invalid(faults) = refused else { panic!("{refused}") };
        assert_eq!(faults[0].pointer, pointer);
    }
    assert!(setup.ring.list(&owner().grant).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_workspace_has_a_bounded_number_of_keys_in_force() {
    let setup = Setup::new().await;
    let (first, _) = setup.make(None).await;
    for n in 1..KEYS_PER_WORKSPACE_MAX - 1 {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&n.to_le_bytes());
        let key = ApiKey { id: Id(100 + n as u64), digest, ..first.clone() };
        assert!(setup.store.add_key(key, None).await.unwrap());
    }
    let brief = KeyDraft { expires_at: Some(Timestamp(NOON + 1_000)), ..draft(None) };
    setup.ring.create(&owner(), brief).await.unwrap();
    let full = async || {
        let refused = setup.ring.create(&owner(), draft(None)).await.unwrap_err();
        assert!(matches!(refused, KeyError::QuotaReached), "{refused}");
    };
    full().await;
    // A key that is over makes room for another one.
    assert!(setup.ring.revoke(&owner(), first.id).await.unwrap());
    setup.make(None).await;
    full().await;
    setup.clock.set(NOON + 1_000);
    setup.make(None).await;
    full().await;
    // The bound is that of one workspace.
    let neighbour = neighbour();
    assert!(setup.ring.create(&neighbour, draft(None)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_text_of_a_stored_key_is_not_lost_to_a_store_that_goes_right_after() {
    let setup = Setup::new().await;
    setup.store.dies_of_a_key.store(true, Ordering::Relaxed);
    let (_, text) = setup.make(None).await;
    setup.store.reads_fail.store(false, Ordering::Relaxed);
    assert!(setup.ring.authenticate_fresh(text.as_str()).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn keys_that_another_process_made_are_known_at_once_one_right_after_the_other() {
    let setup = Setup::new().await;
    let other = Setup::another(&setup.store, &setup.clock, 1).await;
    for _ in 0..3 {
        let (_, text) = other.create(&owner(), draft(None)).await.unwrap();
        assert!(setup.ring.authenticate_fresh(text.as_str()).await.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn many_strangers_make_the_ring_ask_the_store_no_more_often() {
    let setup = Setup::new().await;
    let before = setup.store.n_looks.load(Ordering::Relaxed);
    let texts: Vec<KeyText> = (0..100).map(|n| KeyText::from_entropy(&[n; 32])).collect();
    let asked = texts.iter().map(|text| setup.ring.authenticate_fresh(text.as_str()));
    assert!(futures_util::future::join_all(asked).await.iter().all(Option::is_none));
    // Once for the first, and once for all who came while that was under way.
    assert_eq!(setup.store.n_looks.load(Ordering::Relaxed) - before, 2);
}

#[tokio::test]
async fn what_another_process_changed_is_in_force_after_the_next_look() {
    let setup = Setup::new().await;
    let other = Setup::another(&setup.store, &setup.clock, 1).await;
    let (key, text) = other.create(&owner(), draft(None)).await.unwrap();
    assert!(setup.ring.authenticate(text.as_str()).is_none());
    setup.ring.refresh().await.unwrap();
    assert!(setup.ring.authenticate(text.as_str()).is_some());
    assert!(other.revoke(&owner(), key.id).await.unwrap());
    setup.ring.refresh().await.unwrap();
    assert!(setup.ring.authenticate(text.as_str()).is_none());
}

#[tokio::test]
async fn uses_are_stored_once_and_survive_a_store_that_was_away_and_reloads() {
    let setup = Setup::new().await;
    let (key, text) = setup.make(None).await;
    let use_it = |times: i64| {
        for n in 1..=times {
            setup.clock.set(NOON + n);
            assert!(setup.ring.authenticate(text.as_str()).is_some());
        }
    };
    use_it(3);
    setup.store.writes_fail.store(true, Ordering::Relaxed);
    assert!(setup.ring.flush().await.is_err());
    setup.store.writes_fail.store(false, Ordering::Relaxed);
    // A reload in between must not lose what is not stored yet.
    setup.make(None).await;
    use_it(2);
    let shown = setup.ring.list(&owner().grant).await.unwrap();
    assert_eq!((shown[0].id, shown[0].uses), (key.id, 5));
    for _ in 0..2 {
        setup.ring.flush().await.unwrap();
        let stored = setup.store.keys().await.unwrap();
        assert_eq!(
            (stored[0].key.uses, stored[0].key.last_used_at),
            (5, Some(Timestamp(NOON + 3)))
        );
    }
}
