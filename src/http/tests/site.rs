//! A server on a free port, and a client that sends exactly the bytes it is given.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::actors::clicks::{ClickSink, ClickSinkParts, ClicksConfig};
use crate::actors::links::{LinkTable, LinkTableParts, LinksConfig};
use crate::domain::code::{Code, DomainId, LinkKey};
use crate::domain::destination::{Destination, DestinationPolicy};
use crate::domain::id::Id;
use crate::domain::link::Link;
use crate::domain::seal::{SealKey, Sealer};
use crate::domain::time::{Clock, Timestamp};
use crate::http::listen::Listeners;
use crate::http::server::{HttpConfig, HttpParts, RunningServer, serve};
use crate::http::{Pages, PagesConfig, Readiness, RedirectConfig};
use crate::service::limits::VisitLimits;
use crate::storage::memory::MemoryStore;
use crate::telemetry::metrics::{HttpLabels, Metrics, Outcome};

pub(super) struct Site {
    pub metrics: Arc<Metrics>,
    pub readiness: Readiness,
    pub links: LinkTable,
    clicks: ClickSink,
    server: RunningServer,
    _folder: tempfile::TempDir,
}

/// One answer, taken apart.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Timestamp::from_millis(since.as_millis().try_into().unwrap())
    }
}

impl Site {
    pub(super) async fn with(links: Vec<Link>) -> Self {
        Self::configured(links, HttpConfig::default()).await
    }

    pub(super) async fn configured(links: Vec<Link>, config: HttpConfig) -> Self {
        let site = Self::start(Vec::new(), config, LinksConfig::default()).await;
        if !links.is_empty() {
            site.links.create(links, None).await.unwrap();
        }
        site
    }

    /// The links are in the store and not in memory.
    pub(super) async fn cold(links: Vec<Link>, table: LinksConfig) -> Self {
        Self::start(links, HttpConfig::default(), table).await
    }

    async fn start(stored: Vec<Link>, config: HttpConfig, table: LinksConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let stores = MemoryStore::new();
        let metrics = Metrics::new();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let clicks = ClickSink::start(ClickSinkParts {
            config: ClicksConfig::default(),
            folder: folder.path().to_owned(),
            node: 0,
            store: stores.clicks,
            metrics: Arc::clone(&metrics),
            clock: Arc::clone(&clock),
            keys: Vec::new(),
        })
        .unwrap();
        stores.links.claim(stored, None).await.unwrap();
        let table = LinkTable::start(LinkTableParts {
            config: table,
            store: stores.links,
            clicks: Arc::new(clicks.clone()),
            policy: DestinationPolicy::default(),
            sealer: Sealer::new(vec![SealKey { version: 1, secret: [7; 32] }]),
            metrics: Arc::clone(&metrics),
            sole_writer: false,
            grants: None,
        });
        let listen = SocketAddr::from(([127, 0, 0, 1], 0)).into();
        let config = HttpConfig { listen, workers: 1, ..config };
        let readiness = Readiness::default();
        readiness.set_ready();
        let server = serve(HttpParts {
            listeners: Listeners::bind(&config).unwrap(),
            config,
            redirect: RedirectConfig::default(),
            pages: Pages::load(&PagesConfig::default()).unwrap(),
            limits: VisitLimits::default(),
            links: table.clone(),
            clicks: Some(clicks.clone()),
            metrics: Arc::clone(&metrics),
            clock,
            readiness: readiness.clone(),
            redirects: true,
            admin: |_: &mut actix_web::web::ServiceConfig| (),
        })
        .unwrap();
        Self { metrics, readiness, links: table, clicks, server, _folder: folder }
    }

    /// The address as clients write it, such as `127.0.0.1:41234`.
    pub(super) fn host(&self) -> String {
        self.server.addresses()[0].to_string()
    }

    pub(super) async fn get(&self, target: &str) -> Answer {
        self.ask("GET", target, &[]).await
    }

    /// Like `get`, but the front service does not know the spelling of the host.
    pub(super) async fn get_slowly(&self, target: &str) -> Answer {
        let host = format!("LOCALHOST.:{}", self.server.addresses()[0].port());
        self.send(&format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n\r\n")).await
    }

    pub(super) async fn ask(&self, method: &str, target: &str, headers: &[&str]) -> Answer {
        let mut request = format!("{method} {target} HTTP/1.1\r\nhost: {}\r\n", self.host());
        for header in headers {
            request.push_str(header);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        self.send(&request).await
    }

    /// Sends raw bytes and reads until the server ends the connection.
    pub(super) async fn send(&self, request: &str) -> Answer {
        let mut all = self.exchange(request).await;
        assert_eq!(all.len(), 1, "one answer: {all:?}");
        all.remove(0)
    }

    /// Sends raw bytes, closes the sending side and takes all answers apart.
    pub(super) async fn exchange(&self, requests: &str) -> Vec<Answer> {
        let mut stream = TcpStream::connect(self.server.addresses()[0]).await.unwrap();
        stream.write_all(requests.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        let heads_only = requests.starts_with("HEAD ");
        let text = String::from_utf8(bytes).unwrap();
        let mut rest = text.as_str();
        let mut answers = Vec::new();
        while !rest.is_empty() {
            let (answer, after) = Answer::parse(rest, heads_only);
            answers.push(answer);
            rest = after;
        }
        answers
    }

    /// How often visits ended in each way, in the order of `Outcome::ALL`.
    pub(super) fn outcomes(&self) -> [u64; 8] {
        let text = self.metrics.render().unwrap();
        Outcome::ALL.map(|outcome| {
            let start = format!("shunt_redirects_total{{outcome=\"{}\"}} ", outcome.as_str());
            let value = text.lines().find_map(|line| line.strip_prefix(start.as_str()));
            value.unwrap().parse().unwrap()
        })
    }

    /// Clicks accepted so far.
    pub(super) fn clicks(&self) -> u64 {
        self.metrics.clicks().0
    }

    /// Answers counted under this route, method and status.
    pub(super) fn requests(&self, route: &str, method: &str, status: u16) -> u64 {
        let labels = HttpLabels { route: route.to_owned(), method: method.to_owned(), status };
        self.metrics.http_requests.get_or_create(&labels).get()
    }

    /// Stops everything in order.
    pub(super) async fn finish(self) {
        self.server.stop().await;
        assert!(!self.readiness.is_ready());
        self.clicks.drain().await;
        self.links.stop().await;
    }
}

impl Answer {
    fn parse(text: &str, head_only: bool) -> (Self, &str) {
        let (head, rest) = text.split_once("\r\n\r\n").unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let mut answer = Self { status, headers, body: String::new() };
        let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        let (body, rest) = rest.split_at(if head_only { 0 } else { length });
        body.clone_into(&mut answer.body);
        (answer, rest)
    }

    /// The only value of a header.
    #[track_caller]
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(given, _)| given == name);
        let first = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} is there twice");
        first
    }

    /// 302 to exactly `location`.
    #[track_caller]
    pub(super) fn assert_found(&self, location: &str) {
        assert_eq!(self.status, 302, "{self:?}");
        assert_eq!(self.header("location"), Some(location));
    }

    /// What does not differ from answer to answer.
    pub(super) fn fixed(&self) -> (u16, Vec<(String, String)>, &str) {
        let changing = ["date", "x-request-id"];
        let mut headers = self.headers.clone();
        headers.retain(|(name, _)| !changing.contains(&name.as_str()));
        headers.sort();
        (self.status, headers, &self.body)
    }
}

/// A link to `https://shop.example/<code>`.
pub(super) fn link(code: &str) -> Link {
    let id = code.bytes().fold(1, |id: u64, byte| id.wrapping_mul(31).wrapping_add(byte.into()));
    let key = LinkKey::new(DomainId::DEFAULT, Code::parse(code.as_bytes()).unwrap());
    Link::plain(Id(id >> 1), Id(1), key, to(&format!("https://shop.example/{code}")))
}

pub(super) fn to(url: &str) -> Destination {
    Destination::parse(url, &DestinationPolicy::default()).unwrap()
}
