//! The operations listener: alive, ready, healthy, metrics, actors. Loopback by default, because
//! it tells everything to whoever asks.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use actix_web::body::MessageBody;
use actix_web::dev::{ServerHandle, ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderValue};
use actix_web::{App, Error, HttpRequest, HttpResponse, HttpServer, middleware, web};
use futures_util::future::{LocalBoxFuture, join_all};
use serde::{Deserialize, Serialize};

use crate::domain::problems::Problems;
use crate::http::headers::{X_REQUEST_ID, given_request_id, nosniff, referrer_policy};
use crate::http::listen::{ListenAddresses, bind_all};
use crate::http::pages::problem;
use crate::http::problem::ProblemCode;
use crate::http::read_only;
use crate::http::safety::nothing_loads;
use crate::telemetry::exposition::plain;
use crate::telemetry::metrics::Metrics;

/// A dependency that has not answered by then is down for all anybody can tell.
const CHECK_WAIT_MAX: Duration = Duration::from_secs(2);
/// Scrapes and probes come one at a time; this many may wait.
const BACKLOG: u32 = 128;
const CONNECTIONS_MAX: usize = 256;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN_METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
const HEALTH_JSON: &str = "application/health+json";

/// `[ops]`: the operations listener.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct OpsConfig {
    /// Address and port, or several as a list; port 0 takes a free one. Whoever can connect reads
    /// everything there is, so keep it on loopback or behind a firewall.
    pub listen: ListenAddresses,
}

impl Default for OpsConfig {
    fn default() -> Self {
        Self { listen: ListenAddresses::from(SocketAddr::from(([127, 0, 0, 1], 9_091))) }
    }
}

impl OpsConfig {
    /// Adds a line to `problems` for every value that the listener could not honour.
    pub fn check(&self, problems: &mut Problems) {
        self.listen.check("ops.listen", problems);
    }
}

/// Where the process stands between start and end. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicU8>);

const STARTING: u8 = 0;
const READY: u8 = 1;
const DRAINING: u8 = 2;

impl Readiness {
    /// Warm and accepting. Does nothing once draining has begun.
    pub fn set_ready(&self) {
        let _ = self.0.compare_exchange(STARTING, READY, Ordering::AcqRel, Ordering::Acquire);
    }

    /// On the way out, for good.
    pub fn set_draining(&self) {
        self.0.store(DRAINING, Ordering::Release);
    }

    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire) == READY
    }

    fn as_str(&self) -> &'static str {
        match self.0.load(Ordering::Acquire) {
            STARTING => "starting",
            READY => "ready",
            _ => "draining",
        }
    }
}

/// Asks one dependency how it is: what it says when well, and what is wrong when not.
pub type Check = Arc<dyn Fn() -> LocalBoxFuture<'static, Result<String, String>> + Send + Sync>;
/// Tells about the actors, for `/debug/actors`.
pub type Report = Arc<dyn Fn() -> LocalBoxFuture<'static, serde_json::Value> + Send + Sync>;

/// One entry of `/healthz`.
#[derive(Clone)]
pub struct Dependency {
    /// Such as `store` or `journal`.
    pub name: &'static str,
    /// A failing vital dependency makes the whole unhealthy (503), another one is a warning.
    pub vital: bool,
    pub check: Check,
}

/// Everything the operations listener shows.
#[derive(Clone)]
pub struct OpsParts {
    pub metrics: Arc<Metrics>,
    pub readiness: Readiness,
    pub dependencies: Vec<Dependency>,
    pub actors: Report,
}

/// The operations listener, running.
pub struct RunningOps {
    addresses: Vec<SocketAddr>,
    handle: ServerHandle,
}

impl RunningOps {
    /// Where it listens, with the ports that were taken.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Stops without waiting for scrapes.
    pub async fn stop(self) {
        self.handle.stop(false).await;
    }
}

/// Starts the operations listener on a thread of its own. Call inside an actix `System`. Fails when
/// an address cannot be taken.
pub fn serve_ops(config: &OpsConfig, parts: OpsParts) -> io::Result<RunningOps> {
    let listeners = bind_all(&config.listen, BACKLOG)?;
    let addresses =
        listeners.iter().map(std::net::TcpListener::local_addr).collect::<Result<_, _>>()?;
    let mut server = HttpServer::new(move || {
        let headers = middleware::DefaultHeaders::new()
            .add((header::CACHE_CONTROL, "no-store"))
            .add((header::X_CONTENT_TYPE_OPTIONS, nosniff()))
            .add((header::REFERRER_POLICY, referrer_policy()))
            .add((header::CONTENT_SECURITY_POLICY, nothing_loads()));
        let parts = parts.clone();
        App::new()
            .wrap(headers)
            .wrap(middleware::from_fn(identified))
            .configure(move |config| routes(config, parts))
    })
    .workers(1)
    .max_connections(CONNECTIONS_MAX)
    .tcp_nodelay(true)
    .disable_signals();
    for listener in listeners {
        server = server.listen(listener)?;
    }
    let server = server.run();
    let handle = server.handle();
    actix_rt::spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(%error, "the operations listener ended");
        }
    });
    Ok(RunningOps { addresses, handle })
}

fn routes(config: &mut web::ServiceConfig, parts: OpsParts) {
    config
        .app_data(web::Data::new(parts))
        .service(read_only("/livez", livez))
        .service(read_only("/readyz", readyz))
        .service(read_only("/healthz", healthz))
        .service(read_only("/metrics", metrics))
        .service(read_only("/debug/actors", actors))
        .default_service(web::to(nothing_here));
}

/// Returns the client's request id, or one that is made.
async fn identified(
    request: ServiceRequest,
    next: middleware::Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let given = given_request_id(request.headers());
    let mut response = next.call(request).await?;
    let made = || {
        let digits = format!("{:016x}", getrandom::u64().unwrap_or_default());
        HeaderValue::from_str(&digits).ok()
    };
    if let Some(id) = given.or_else(made) {
        response.headers_mut().insert(X_REQUEST_ID, id);
    }
    Ok(response)
}

async fn nothing_here() -> HttpResponse {
    problem(
        ProblemCode::NotFound,
        "There are /livez, /readyz, /healthz, /metrics and /debug/actors.",
    )
}

/// The process runs and this thread answers. Says nothing about its work.
async fn livez() -> HttpResponse {
    HttpResponse::Ok().json(serde_json::json!({ "status": "ok" }))
}

async fn readyz(parts: web::Data<OpsParts>) -> HttpResponse {
    let body = serde_json::json!({ "status": parts.readiness.as_str() });
    if parts.readiness.is_ready() {
        HttpResponse::Ok().json(body)
    } else {
        HttpResponse::ServiceUnavailable().json(body)
    }
}

async fn healthz(parts: web::Data<OpsParts>) -> HttpResponse {
    let examined = join_all(parts.dependencies.iter().map(examine)).await;
    let worst = if examined.iter().any(|one| one.status == "fail") {
        "fail"
    } else if examined.iter().any(|one| one.status == "warn") {
        "warn"
    } else {
        "pass"
    };
    let checks: serde_json::Map<String, serde_json::Value> =
        examined.into_iter().map(|one| (one.name.to_owned(), serde_json::json!([one]))).collect();
    let body = serde_json::json!({
        "status": worst,
        "version": env!("CARGO_PKG_VERSION"),
        "checks": checks,
    });
    let mut answer =
        if worst == "fail" { HttpResponse::ServiceUnavailable() } else { HttpResponse::Ok() };
    answer.content_type(HEALTH_JSON).body(body.to_string())
}

/// In the form that the scraper asks for; a person with curl and an old scraper get the plain one.
async fn metrics(request: HttpRequest, parts: web::Data<OpsParts>) -> HttpResponse {
    let mut accepted = request.headers().get_all(header::ACCEPT);
    let open = accepted.any(|value| {
        value.to_str().is_ok_and(|value| value.contains("application/openmetrics-text"))
    });
    match parts.metrics.render() {
        Ok(text) if open => HttpResponse::Ok().content_type(OPENMETRICS).body(text),
        Ok(text) => HttpResponse::Ok().content_type(PLAIN_METRICS).body(plain(&text)),
        Err(error) => {
            tracing::error!(%error, "metrics could not be written as text");
            HttpResponse::InternalServerError().finish()
        }
    }
}

async fn actors(parts: web::Data<OpsParts>) -> HttpResponse {
    HttpResponse::Ok().json((parts.actors)().await)
}

/// What a check found, in the words of `application/health+json`.
#[derive(Serialize)]
struct Examined {
    #[serde(skip)]
    name: &'static str,
    status: &'static str,
    output: String,
    #[serde(rename = "observedValue")]
    observed_value: u64,
    #[serde(rename = "observedUnit")]
    observed_unit: &'static str,
}

async fn examine(dependency: &Dependency) -> Examined {
    let started = Instant::now();
    let found = tokio::time::timeout(CHECK_WAIT_MAX, (dependency.check)()).await;
    let bad = if dependency.vital { "fail" } else { "warn" };
    let (status, output) = match found {
        Ok(Ok(output)) => ("pass", output),
        Ok(Err(output)) => (bad, output),
        Err(_) => (bad, format!("no answer within {CHECK_WAIT_MAX:?}")),
    };
    let millis = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Examined { name: dependency.name, status, output, observed_value: millis, observed_unit: "ms" }
}

#[cfg(test)]
mod tests;
