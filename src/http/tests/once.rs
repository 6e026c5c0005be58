//! Requests with an `Idempotency-Key` whose answer was lost: done once all the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use actix_http::Request;
use actix_rt::Arbiter;
use actix_web::dev::{Service, ServiceResponse};
use actix_web::{App, Error, test, web};
use async_trait::async_trait;
use serde_json::{Value, json};

use crate::actors::clicks::{ClickSink, ClickSinkParts, ClicksConfig};
use crate::actors::links::{LinkTable, LinkTableParts, LinksConfig};
use crate::domain::api_key::KeyDigest;
use crate::domain::destination::DestinationPolicy;
use crate::domain::id::Id;
use crate::domain::seal::{SealKey, Sealer};
use crate::domain::time::{Clock, Timestamp};
use crate::http::admin::{self, AdminState};
use crate::http::{CursorSealer, Site};
use crate::service::bootstrap::bootstrap;
use crate::service::codes::{CodeMaker, CodesConfig};
use crate::service::ids::IdSource;
use crate::service::keys::KeyRing;
use crate::service::links::{LinkService, LinkServiceParts};
use crate::service::validate::Rules;
use crate::storage::memory::MemoryStore;
use crate::storage::{
    KeptAnswer, Replay, ReplayKey, ReplayStore, StorageError, StorageErrorKind, StorageResult,
    Stores,
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

struct Setup {
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
        let stores = Stores { replays: Arc::clone(&replays) as _, ..memory };
        let ids = IdSource::open(0, Arc::clone(&stores.nodes), Arc::clone(&clock) as _);
        let ids = Arc::new(ids.await.unwrap());
        let accounts = Arc::clone(&stores.accounts);
        let owner = bootstrap(accounts.as_ref(), &ids, clock.as_ref(), &SECRET, None).await;
        let key = owner.unwrap().unwrap().as_str().to_owned();
        let keys = KeyRing::open(SECRET, accounts, Arc::clone(&ids), Arc::clone(&clock) as _);
        let sealer = Sealer::new(vec![SealKey { version: 1, secret: [7; 32] }]);
        let clicks = ClickSink::start(ClickSinkParts {
            config: ClicksConfig::default(),
            folder: folder.path().to_owned(),
            store: Arc::clone(&stores.clicks),
            metrics: Metrics::new(),
            clock: Arc::clone(&clock) as _,
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
            },
            &Arbiter::current(),
        );
        let site = Site { public_url: "http://sho.rt".into(), domain: "sho.rt".into() };
        let links = LinkService::new(LinkServiceParts {
            table,
            store: Arc::clone(&stores.links),
            clicks: clicks.clone(),
            ids,
            codes: CodeMaker::new(sealer, Arc::clone(&stores.nodes)),
            rules: Rules {
                policy: DestinationPolicy::default(),
                codes: CodesConfig::default(),
                domain: site.domain.clone(),
            },
            clock: Arc::clone(&clock) as _,
        });
        let state = web::Data::new(AdminState {
            links,
            keys: Arc::new(keys.await.unwrap()),
            stores,
            clicks,
            cursors: CursorSealer::new(&SECRET),
            site,
            clock: Arc::clone(&clock) as _,
        });
        Self { clock, replays, key, state, _folder: folder }
    }

    fn pass(&self, millis: i64) {
        self.clock.0.fetch_add(millis, Ordering::Relaxed);
    }

    /// Sends `body` under the idempotency key `once`; answers status, whether it was a replay, and
    /// what came back.
    async fn post(&self, path: &str, body: &Value) -> (u16, bool, Value) {
        let app = App::new().app_data(self.state.clone()).configure(admin::configure);
        let app = test::init_service(app).await;
        let request = test::TestRequest::post()
            .uri(&format!("/api/v1{path}"))
            .insert_header(("Authorization", format!("Bearer {}", self.key)))
            .insert_header(("Idempotency-Key", "once"))
            .set_json(body);
        answer(&app, request.to_request()).await
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
    let deleted = setup.state.stores.links.scan(Id(0), 1).await.unwrap().remove(0);
    let deleted = crate::domain::link::Link {
        status: crate::domain::link::LinkStatus::Deleted,
        version: 2,
        ..deleted
    };
    setup.state.stores.links.replace(deleted).await.unwrap();
    setup.pass(LAPSED_MS);
    let (status, _, problem) = setup.post("/links", &body).await;
    assert_eq!((status, &problem["code"]), (409, &json!("conflict")));
    assert_eq!(setup.n_links().await, 1);
}
