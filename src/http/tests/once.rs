//! Requests with an `Idempotency-Key` whose answer was lost: done once all the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use actix_http::Request;
use actix_rt::Arbiter;
use actix_web::dev::{Service, ServiceResponse};
use actix_web::{App, Error, test, web};
use async_trait::async_trait;
use prometheus_client::metrics::counter::Counter;
use serde_json::{Value, json};

use super::people::{Parts, people};
use crate::actors::clicks::{ClickSink, ClickSinkParts, ClicksConfig};
use crate::actors::links::{LinkTable, LinkTableParts, LinksConfig};
use crate::domain::api_key::KeyDigest;
use crate::domain::code::{DomainId, LinkKey};
use crate::domain::destination::{Destination, DestinationPolicy};
use crate::domain::id::Id;
use crate::domain::link::{Link, LinkStatus};
use crate::domain::seal::{SEALED_IDS_MAX, SealKey, Sealer};
use crate::domain::time::{Clock, Timestamp};
use crate::http::admin::{self, AdminState};
use crate::http::{CursorSealer, Origins, Site};
use crate::service::bootstrap::bootstrap;
use crate::service::codes::{CodeMaker, CodesConfig};
use crate::service::denials::Denials;
use crate::service::ids::IdSource;
use crate::service::keys::KeyRing;
use crate::service::limits::{Limiter, LimiterParts, LimitsConfig, SinceStart};
use crate::service::links::{LinkService, LinkServiceParts};
use crate::service::oidc::{Oidc, OidcConfig};
use crate::service::validate::Rules;
use crate::storage::memory::MemoryStore;
use crate::storage::memory_buckets::MemoryBuckets;
use crate::storage::{
    KeptAnswer, NodeStore, Replay, ReplayKey, ReplayStore, StorageError, StorageErrorKind,
    StorageResult, Stores,
};
use crate::telemetry::metrics::Metrics;

const SECRET: [u8; 32] = [3; 32];
/// A reservation holds its key for a minute.
const LAPSED_MS: i64 = 60_001;

struct HandClock(AtomicI64);

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

/// Loses answers while `loses` is set, as a process does that dies after the write.
struct Losing {
    inner: Arc<dyn ReplayStore>,
    loses: AtomicBool,
}

#[async_trait]
impl ReplayStore for Losing {
    async fn begin(
        &self,
        key: &ReplayKey,
        fingerprint: KeyDigest,
        ids: &[Id],
        now: Timestamp,
    ) -> StorageResult<Replay> {
        self.inner.begin(key, fingerprint, ids, now).await
    }

    async fn finish(
        &self,
        key: &ReplayKey,
        fingerprint: KeyDigest,
        answer: KeptAnswer,
        now: Timestamp,
    ) -> StorageResult<()> {
        if self.loses.load(Ordering::Relaxed) {
            let kind = StorageErrorKind::Unavailable;
            return Err(StorageError::new(kind, "finish_replay", "the answer is lost"));
        }
        self.inner.finish(key, fingerprint, answer, now).await
    }

    async fn abandon(&self, key: &ReplayKey, fingerprint: KeyDigest) -> StorageResult<()> {
        self.inner.abandon(key, fingerprint).await
    }
}

/// Leases the last two ids of sealed codes, and then none until it is `open`.
struct LastIds {
    inner: Arc<dyn NodeStore>,
    n_leases: AtomicU64,
    open: AtomicBool,
}

#[async_trait]
impl NodeStore for LastIds {
    async fn lease_block(&self, space: &str, size: u64) -> StorageResult<u64> {
        if self.n_leases.fetch_add(1, Ordering::Relaxed) == 0 {
            return Ok(SEALED_IDS_MAX - 2);
        }
        if self.open.load(Ordering::Relaxed) {
            return self.inner.lease_block(space, size).await;
        }
        Err(StorageError::new(StorageErrorKind::Unavailable, "lease_block", "not now"))
    }

    async fn clock_mark(&self, node: u16) -> StorageResult<Timestamp> {
        self.inner.clock_mark(node).await
    }

    async fn raise_clock_mark(&self, node: u16, mark: Timestamp) -> StorageResult<()> {
        self.inner.raise_clock_mark(node, mark).await
    }
}

struct Setup {
    nodes: Arc<LastIds>,
    sealer: Sealer,
    clock: Arc<HandClock>,
    replays: Arc<Losing>,
    key: String,
    state: web::Data<AdminState>,
    _folder: tempfile::TempDir,
}

impl Setup {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(HandClock(AtomicI64::new(1_780_000_000_000)));
        let memory = MemoryStore::new();
        let loses = AtomicBool::new(true);
        let replays = Arc::new(Losing { inner: Arc::clone(&memory.replays), loses });
        let nodes = Arc::new(LastIds {
            inner: Arc::clone(&memory.nodes),
            n_leases: AtomicU64::new(0),
            open: AtomicBool::new(false),
        });
        let stores = Stores { replays: Arc::clone(&replays) as _, ..memory };
        let ids = IdSource::open(0, Arc::clone(&stores.nodes), Arc::clone(&clock) as _);
        let ids = Arc::new(ids.await.unwrap());
        let accounts = Arc::clone(&stores.accounts);
        let owner = bootstrap(accounts.as_ref(), &ids, clock.as_ref(), &SECRET, None).await;
        let key = owner.unwrap().unwrap().as_str().to_owned();
        let buckets = Arc::new(MemoryBuckets::new(Counter::default()));
        let limits = Limiter::open(LimiterParts {
            config: LimitsConfig::unlimited(),
            secret: SECRET,
            local: Arc::clone(&buckets) as _,
            buckets,
            accounts: Arc::clone(&accounts),
            clock: Arc::new(SinceStart::default()),
            metrics: Metrics::new(),
        });
        let keys = KeyRing::open(SECRET, accounts, Arc::clone(&ids), Arc::clone(&clock) as _);
        let sealer = Sealer::new(vec![SealKey { version: 1, secret: [7; 32] }]);
        let clicks = ClickSink::start(ClickSinkParts {
            config: ClicksConfig::default(),
            folder: folder.path().to_owned(),
            node: 0,
            store: Arc::clone(&stores.clicks),
            metrics: Metrics::new(),
            clock: Arc::clone(&clock) as _,
            keys: Vec::new(),
        })
        .unwrap();
        let table = LinkTable::start_on(
            LinkTableParts {
                config: LinksConfig::default(),
                store: Arc::clone(&stores.links),
                clicks: Arc::new(clicks.clone()),
                policy: DestinationPolicy::default(),
                sealer: sealer.clone(),
                metrics: Metrics::new(),
                sole_writer: true,
                grants: None,
            },
            &Arbiter::current(),
        );
        let site = Site { public_url: "http://sho.rt".into(), domain: "sho.rt".into() };
        let (keys, limits) = (Arc::new(keys.await.unwrap()), Arc::new(limits.await.unwrap()));
        let (access, accounts, anonymous) = people(Parts {
            stores: &stores,
            ids: &ids,
            clock: Arc::clone(&clock) as _,
            keys: &keys,
            limits: &limits,
            table: table.clone(),
            site: &site,
            secret: SECRET,
        })
        .await;
        let links = LinkService::new(LinkServiceParts {
            table,
            store: Arc::clone(&stores.links),
            clicks: clicks.clone(),
            ids,
            codes: CodeMaker::new(sealer.clone(), Arc::clone(&nodes) as _),
            rules: Rules {
                policy: DestinationPolicy::default(),
                codes: CodesConfig::default(),
                domain: site.domain.clone(),
            },
            clock: Arc::clone(&clock) as _,
        });
        let providers = OidcConfig::default();
        let oidc = Oidc::new(&providers, "http://sho.rt", &SECRET, Arc::clone(&clock) as _);
        let state = web::Data::new(AdminState {
            links,
            keys,
            denials: Arc::new(Denials::new(Arc::clone(&stores.audit), Counter::default())),
            access,
            accounts,
            anonymous,
            limits,
            oidc: oidc.unwrap(),
            stores,
            clicks,
            cursors: CursorSealer::new(&SECRET),
            site,
            clock: Arc::clone(&clock) as _,
        });
        Self { nodes, sealer, clock, replays, key, state, _folder: folder }
    }

    fn pass(&self, millis: i64) {
        self.clock.0.fetch_add(millis, Ordering::Relaxed);
    }

    /// Sends `body` under the idempotency key `once`; answers status, whether it was a replay, and
    /// what came back.
    async fn post(&self, path: &str, body: &Value) -> (u16, bool, Value) {
        let origins = Origins::new(&"https://go.example".parse().unwrap(), &[]);
        let routes = |app: &mut web::ServiceConfig| admin::configure(app, &origins);
        let app = App::new().app_data(self.state.clone()).configure(routes);
        let app = test::init_service(app).await;
        let request = test::TestRequest::post()
            .uri(&format!("/api/v1{path}"))
            .insert_header(("Authorization", format!("Bearer {}", self.key)))
            .insert_header(("Idempotency-Key", "once"))
            .set_json(body);
        answer(&app, request.to_request()).await
    }

    /// Deletes the oldest link, past the API.
    async fn delete_first(&self) {
        let links = &self.state.stores.links;
        let first = links.scan(Id(0), 1).await.unwrap().remove(0);
        let deleted = Link { status: LinkStatus::Deleted, version: 2, ..first };
        links.replace(deleted, None).await.unwrap();
    }

    async fn n_links(&self) -> u64 {
        self.state.stores.links.count().await.unwrap()
    }
}

async fn answer<S>(app: &S, request: Request) -> (u16, bool, Value)
where
    S: Service<Request, Response = ServiceResponse, Error = Error>,
{
    let response = test::call_service(app, request).await;
    let status = response.status().as_u16();
    let replayed = response.headers().contains_key("idempotency-replayed");
    (status, replayed, test::read_body_json(response).await)
}

#[actix_web::test]
async fn a_link_whose_answer_was_lost_is_found_and_not_made_again() {
    let setup = Setup::new().await;
    let body = json!({"destination": "https://shop.example/once", "title": "Once"});
    let (status, _, first) = setup.post("/links", &body).await;
    assert_eq!((status, setup.n_links().await), (201, 1));
    let (status, _, early) = setup.post("/links", &body).await;
    assert_eq!((status, &early["code"]), (409, &json!("idempotency_in_progress")));

    for _ in 0..2 {
        setup.pass(LAPSED_MS);
        let (status, replayed, again) = setup.post("/links", &body).await;
        assert_eq!((status, replayed, &again), (201, false, &first));
    }
    setup.replays.loses.store(false, Ordering::Relaxed);
    setup.pass(LAPSED_MS);
    setup.post("/links", &body).await;
    let (status, replayed, kept) = setup.post("/links", &body).await;
    assert_eq!((status, replayed, &kept), (201, true, &first));
    assert_eq!(setup.n_links().await, 1);
}

#[actix_web::test]
async fn a_link_that_was_made_is_not_called_found_by_the_request_that_made_it() {
    let setup = Setup::new().await;
    let (path, body) = ("/links?find_if_exists=true", json!({"destination": "https://a.example/"}));
    let (status, _, first) = setup.post(path, &body).await;
    assert_eq!(status, 201);
    setup.pass(LAPSED_MS);
    let (status, _, again) = setup.post(path, &body).await;
    assert_eq!((status, &again), (201, &first));
}

#[actix_web::test]
async fn a_bulk_whose_answer_was_lost_makes_what_is_missing_only() {
    let setup = Setup::new().await;
    let body = json!({"links": [
        {"destination": "https://shop.example/1"},
        {"destination": "nonsense"},
        {"destination": "https://shop.example/3", "alias": "three"},
    ]});
    let (status, _, first) = setup.post("/links/bulk", &body).await;
    assert_eq!((status, &first["created"], &first["failed"]), (200, &json!(2), &json!(1)));
    setup.pass(LAPSED_MS);
    let (status, _, again) = setup.post("/links/bulk", &body).await;
    assert_eq!((status, &again), (200, &first));
    assert_eq!(setup.n_links().await, 2);
}

#[actix_web::test]
async fn another_request_under_a_lapsed_key_makes_a_link_of_its_own() {
    let setup = Setup::new().await;
    let (_, _, first) = setup.post("/links", &json!({"destination": "https://a.example/"})).await;
    setup.pass(LAPSED_MS);
    let other = json!({"destination": "https://b.example/"});
    let (status, _, second) = setup.post("/links", &other).await;
    assert_eq!(status, 201);
    assert_ne!(first["id"], second["id"]);
    assert_eq!(setup.n_links().await, 2);
}

#[actix_web::test]
async fn what_was_made_and_deleted_is_not_made_again() {
    let setup = Setup::new().await;
    let body = json!({"destination": "https://shop.example/once", "alias": "once-only"});
    setup.post("/links", &body).await;
    setup.delete_first().await;
    setup.pass(LAPSED_MS);
    let (status, _, problem) = setup.post("/links", &body).await;
    assert_eq!((status, &problem["code"]), (409, &json!("conflict")));
    assert_eq!(setup.n_links().await, 1);
}

#[actix_web::test]
async fn a_bulk_whose_first_link_was_deleted_meanwhile_makes_the_others() {
    let setup = Setup::new().await;
    let body = json!({"links": [
        {"destination": "https://shop.example/1", "alias": "one"},
        {"destination": "https://shop.example/2", "alias": "two"},
    ]});
    let (_, _, first) = setup.post("/links/bulk", &body).await;
    setup.delete_first().await;
    setup.pass(LAPSED_MS);
    let (status, _, again) = setup.post("/links/bulk", &body).await;
    assert_eq!((status, &again["created"], &again["failed"]), (200, &json!(1), &json!(1)));
    assert_eq!(again["results"][0]["error"]["code"], "conflict");
    assert_eq!(again["results"][1], first["results"][1]);
}

#[actix_web::test]
async fn a_bulk_that_failed_in_part_for_the_moment_is_finished_by_the_next_try() {
    let setup = Setup::new().await;
    setup.replays.loses.store(false, Ordering::Relaxed);
    // The code of the first of the two ids is taken, and there is no third one for now.
    let code = setup.sealer.seal(SEALED_IDS_MAX - 2);
    let key = LinkKey::new(DomainId::DEFAULT, code);
    let taken =
        Link::plain(Id(1), Id(1), key, Destination::from_stored("https://a.example/").unwrap());
    setup.state.stores.links.claim(vec![taken], None).await.unwrap();
    let body = json!({"links": [
        {"destination": "https://shop.example/1"}, {"destination": "https://shop.example/2"},
    ]});
    let (status, _, first) = setup.post("/links/bulk", &body).await;
    assert_eq!((status, &first["created"], &first["failed"]), (200, &json!(1), &json!(1)));
    assert_eq!(first["results"][0]["error"]["code"], "unavailable");

    setup.nodes.open.store(true, Ordering::Relaxed);
    let (status, replayed, again) = setup.post("/links/bulk", &body).await;
    assert_eq!((status, replayed, &again["created"]), (200, false, &json!(2)), "{again}");
    assert_eq!(again["results"][1], first["results"][1]);
    assert_eq!(setup.n_links().await, 3);
    let (_, replayed, kept) = setup.post("/links/bulk", &body).await;
    assert_eq!((replayed, &kept), (true, &again));
}
