//! The public listener: its settings, its workers, its life from start to stop.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::{HttpService, KeepAlive};
use actix_server::{Server, ServerHandle};
use actix_service::map_config;
use actix_web::dev::AppConfig;
use actix_web::web;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use url::Url;

use crate::actors::clicks::ClickSink;
use crate::actors::links::LinkTable;
use crate::domain::limits::{HEAD_WAIT_SECS, SEND_WAIT_SECS};
use crate::domain::problems::Problems;
use crate::domain::time::Clock;
use crate::domain::units::Span;
use crate::http::application;
use crate::http::client::TrustedProxies;
use crate::http::direct::{Crowd, DirectFactory, Handover, Timeouts};
use crate::http::front::FrontFactory;
use crate::http::listen::{ListenAddresses, Listeners, parse_public_url};
use crate::http::ops::Readiness;
use crate::http::origins;
use crate::http::pages::Pages;
use crate::http::redirect::{RedirectConfig, RedirectRules};
use crate::http::safety::Safety;
use crate::http::worker::{Worker, WorkerParts};
use crate::service::limits::VisitLimits;
use crate::telemetry::metrics::Metrics;

/// Threads of workers end this long after their last connection, at most.
const WORKERS_END_WAIT_MAX: Duration = Duration::from_secs(5);

const DRAIN_DELAY_MAX: Span = Span::from_secs(300);

const DAY_SECS: u64 = 86_400;

/// `[http]`: the public listener.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Address and port, or several as a list; port 0 takes a free one.
    pub listen: ListenAddresses,
    /// What short URLs begin with, an http or https URL without a path; its host is the default
    /// domain. Unset: `http://` and the first listener.
    pub public_url: Option<String>,
    /// Threads that serve requests, 0 to 512. Zero means one per core.
    pub workers: usize,
    /// Networks (such as `10.0.0.0/8`) or addresses of proxies whose `Forwarded` and
    /// `X-Forwarded-For` headers, or PROXY protocol, tell who the client is.
    pub trusted_proxies: Vec<String>,
    /// How long an idle connection is kept, 1s to 1h.
    pub keep_alive: Span,
    /// Connections that may wait to be accepted, 1 to 65,535.
    pub backlog: u32,
    /// Connections that one worker serves at a time, 1 to 1,000,000; more wait in the backlog.
    pub max_connections: usize,
    /// Connections that one client may have open, an address or an IPv6 network of 64 bits, up to
    /// 1,000,000; more are closed at once. 0 is no bound. Trusted proxies have none.
    pub max_connections_per_client: u32,
    /// How long a stop goes on taking requests after `/readyz` has begun to say no, 0s to 5m:
    /// longer than a balancer takes to notice. 0s: there is none.
    pub drain_delay: Span,
    /// How long a stop waits for requests under way after that, 1s to 1h.
    pub shutdown_timeout: Span,
    /// Pages of which other origins may use the API from a browser, written like
    /// `https://app.example`; with the session of their visitors too. `*` alone: all of them,
    /// without sessions. Empty: none.
    pub cors_origins: Vec<String>,
    /// How long browsers keep to TLS once they have come by it, 0s to 730d; 0s says nothing. Said
    /// only when `http.public_url` is https, and not for other names below that host.
    pub hsts_max_age: Span,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: ListenAddresses::from(SocketAddr::from(([127, 0, 0, 1], 8_080))),
            public_url: None,
            workers: 0,
            trusted_proxies: Vec::new(),
            keep_alive: Span::from_secs(15),
            backlog: 2_048,
            max_connections: 25_600,
            max_connections_per_client: 1_000,
            drain_delay: Span::default(),
            shutdown_timeout: Span::from_secs(30),
            cors_origins: Vec::new(),
            hsts_max_age: Span::from_secs(365 * DAY_SECS),
        }
    }
}

impl HttpConfig {
    /// Adds a line to `problems` for every value that the listener could not honour.
    pub fn check(&self, problems: &mut Problems) {
        self.listen.check("http.listen", problems);
        if let Some(url) = &self.public_url
            && let Err(sentence) = parse_public_url(url)
        {
            problems.add(sentence);
        }
        for network in &self.trusted_proxies {
            if parse_network(network).is_none() {
                problems.add(format!(
                    "`http.trusted_proxies` has {network:?}; write networks like 10.0.0.0/8"
                ));
            }
        }
        let (second, hour) = (Span::from_secs(1), Span::from_secs(3_600));
        problems.range("http.workers", self.workers, 0..=512);
        problems.range("http.keep_alive", self.keep_alive, second..=hour);
        problems.range("http.backlog", self.backlog, 1..=65_535);
        problems.range("http.max_connections", self.max_connections, 1..=1_000_000);
        problems.range(
            "http.max_connections_per_client",
            self.max_connections_per_client,
            0..=1_000_000,
        );
        problems.range("http.drain_delay", self.drain_delay, Span::default()..=DRAIN_DELAY_MAX);
        problems.range("http.shutdown_timeout", self.shutdown_timeout, second..=hour);
        if let Some(sentence) = origins::problem_of(&self.cors_origins) {
            problems.add(sentence);
        }
        let two_years = Span::from_secs(2 * 365 * DAY_SECS);
        problems.range("http.hsts_max_age", self.hsts_max_age, Span::default()..=two_years);
    }

    fn networks(&self) -> Vec<IpNet> {
        self.trusted_proxies.iter().filter_map(|network| parse_network(network)).collect()
    }

    fn workers(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            workers => workers,
        }
    }
}

/// Everything the public server needs. `admin` registers the API's routes on each worker.
pub struct HttpParts<A> {
    pub config: HttpConfig,
    pub redirect: RedirectConfig,
    pub listeners: Listeners,
    pub pages: Pages,
    pub limits: VisitLimits,
    pub links: LinkTable,
    /// `None`: clicks are not recorded.
    pub clicks: Option<ClickSink>,
    pub metrics: Arc<Metrics>,
    pub clock: Arc<dyn Clock>,
    pub readiness: Readiness,
    /// Codes are answered here. Otherwise with 503, so that whoever asks tries another node.
    pub redirects: bool,
    pub admin: A,
}

/// The public server, running.
pub struct RunningServer {
    addresses: Vec<SocketAddr>,
    public_url: Url,
    readiness: Readiness,
    drain_delay: Duration,
    handle: ServerHandle,
    task: JoinHandle<io::Result<()>>,
    alive: mpsc::Sender<()>,
    all_gone: mpsc::Receiver<()>,
}

/// Starts the workers. Call inside an actix `System`. Fails when a socket cannot be used.
pub fn serve<A>(parts: HttpParts<A>) -> io::Result<RunningServer>
where
    A: Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
{
    let HttpParts { config, listeners, admin, .. } = parts;
    let (alive, all_gone) = mpsc::channel(1);
    let mut builder = Server::build()
        .workers(config.workers())
        .max_concurrent_connections(config.max_connections)
        .shutdown_timeout(config.shutdown_timeout.0.as_secs())
        .disable_signals();
    let stopping = builder.graceful_shutdown_signal();
    let refused = parts.metrics.connections_refused.clone();
    let shared = WorkerParts {
        links: parts.links,
        clicks: parts.clicks,
        metrics: parts.metrics,
        clock: parts.clock,
        hosts: match parts.redirects {
            true => listeners.hosts,
            false => listeners.hosts.without_hits(),
        },
        redirects: parts.redirects,
        proxies: Arc::new(TrustedProxies::new(config.networks())),
        rules: Arc::new(RedirectRules::new(parts.redirect)),
        pages: Arc::new(parts.pages),
        limits: parts.limits,
        safety: Arc::new(Safety::new(&config, &listeners.public_url)),
        crowd: Arc::new(Crowd::new(config.max_connections_per_client, refused)),
        stopping: stopping.clone(),
        alive: alive.downgrade(),
    };
    let timeouts = Timeouts {
        idle: config.keep_alive.0,
        head: Duration::from_secs(HEAD_WAIT_SECS),
        send: Duration::from_secs(SEND_WAIT_SECS),
    };
    for socket in listeners.sockets {
        let (shared, admin, stopping) = (shared.clone(), admin.clone(), stopping.clone());
        builder = builder.listen("public", socket, move || {
            let worker = Rc::new(Worker::new(&shared));
            let app = application(Rc::clone(&worker), admin.clone());
            let front = FrontFactory { worker: Rc::clone(&worker), app };
            let http = HttpService::<Handover, _, _>::build()
                // The direct way keeps all deadlines, and ends connections when the server stops.
                .keep_alive(KeepAlive::Os)
                .client_request_timeout(Duration::ZERO)
                .on_connect_ext(|io: &Handover, data| {
                    data.insert(io.life());
                })
                .h1(map_config(front, |()| AppConfig::default()));
            DirectFactory { worker, http, timeouts, stopping: stopping.clone() }
        })?;
    }
    let server = builder.run();
    Ok(RunningServer {
        addresses: listeners.addresses,
        public_url: listeners.public_url,
        readiness: parts.readiness,
        drain_delay: config.drain_delay.0,
        handle: server.handle(),
        task: actix_rt::spawn(server),
        alive,
        all_gone,
    })
}

impl RunningServer {
    /// Where it listens, with the ports that were taken.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What short URLs begin with.
    pub fn public_url(&self) -> &Url {
        &self.public_url
    }

    /// Resolves when the server ends without having been asked to, and says why.
    pub async fn failed(&mut self) -> io::Error {
        match (&mut self.task).await {
            Ok(Ok(())) => io::Error::other("the public listener ended"),
            Ok(Err(error)) => error,
            Err(error) => io::Error::other(error),
        }
    }

    /// Stops: not ready any more; when balancers had time to notice, no new connections; requests
    /// under way are answered. When it returns, every worker has let go of its click lane.
    pub async fn stop(mut self) {
        self.readiness.set_draining();
        tokio::time::sleep(self.drain_delay).await;
        self.handle.stop(true).await;
        drop(self.alive);
        // Workers say that they are done a moment before their threads end.
        if tokio::time::timeout(WORKERS_END_WAIT_MAX, self.all_gone.recv()).await.is_err() {
            tracing::warn!(
                "a worker has not ended {WORKERS_END_WAIT_MAX:?} after its last request"
            );
        }
    }
}

/// A network, or a single address.
fn parse_network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn problems_of(toml: &str) -> Vec<String> {
        let mut problems = Problems::default();
        toml::from_str::<HttpConfig>(toml).unwrap().check(&mut problems);
        problems.sentences().to_vec()
    }

    #[test]
    fn the_default_settings_are_fine_and_read_back() {
        let config = HttpConfig::default();
        let text = toml::to_string(&config).unwrap();
        assert_eq!(problems_of(&text), Vec::<String>::new());
        assert_eq!(toml::from_str::<HttpConfig>(&text).unwrap().listen, config.listen);
    }

    #[test]
    fn every_bad_setting_is_named() {
        for (toml, key) in [
            ("listen = []", "http.listen"),
            ("public_url = 'go.example'", "http.public_url"),
            ("public_url = 'https://go.example/s'", "http.public_url"),
            ("public_url = 'https://me@go.example'", "http.public_url"),
            ("public_url = 'ftp://go.example'", "http.public_url"),
            ("trusted_proxies = ['10.0.0.0/33']", "http.trusted_proxies"),
            ("workers = 513", "http.workers"),
            ("keep_alive = '0s'", "http.keep_alive"),
            ("backlog = 0", "http.backlog"),
            ("max_connections = 0", "http.max_connections"),
            ("max_connections_per_client = 1000001", "http.max_connections_per_client"),
            ("shutdown_timeout = '2h'", "http.shutdown_timeout"),
            ("cors_origins = ['null']", "http.cors_origins"),
            ("cors_origins = ['*', 'https://app.example']", "http.cors_origins"),
            ("hsts_max_age = '731d'", "http.hsts_max_age"),
        ] {
            let problems = problems_of(toml);
            assert_eq!(problems.len(), 1, "{toml}");
            assert!(problems[0].contains(&format!("`{key}`")), "{toml}: {}", problems[0]);
        }
        assert!(problems_of("trusted_proxies = ['10.0.0.1', 'fd00::/8']").is_empty());
    }
}
