//! Nodes that share a database and a Redis.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use reqwest::Method;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use serde_json::{Value, json};
use shunt::domain::secret::Secret;
use shunt::storage::config::Replication;
use shunt::storage::redis::Redis;
use shunt::storage::scylla::{Cql, CqlConfig};
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};

use crate::databases::Databases;
use crate::harness::TestApp;
use crate::services::services;

/// How long something may take that has no bound of its own.
pub(crate) const SOON: Duration = Duration::from_secs(60);
/// What a command may take in this process: Redis shares its processors with the tests.
const PATIENCE: Duration = Duration::from_secs(2);
/// What the names of keyspaces begin with that are made here.
const KEYSPACE: &str = "nodes_";

/// Tests that have nodes at once: more would only take processors from each other.
const AT_ONCE: u32 = 2;

/// An installation, for as long as a test has its turn.
pub(crate) struct Installation {
    pub(crate) keyspace: String,
    key: String,
    /// Copies of each row.
    replication: u8,
    _turn: SemaphorePermit<'static>,
}

/// Where a node finds what it shares with others.
pub(crate) struct Shared<'a> {
    /// `host:port` of the database, or several with commas between.
    pub(crate) cql: &'a str,
    pub(crate) redis: Option<&'a str>,
}

impl Shared<'static> {
    /// The servers that all tests share, without Redis.
    pub(crate) fn database() -> Self {
        Self { cql: &services().cql, redis: None }
    }

    pub(crate) fn database_and_redis() -> Self {
        Self { redis: Some(&services().redis), ..Self::database() }
    }
}

/// Waits for the installation, which the first test makes.
pub(crate) async fn installation() -> Installation {
    turn(1).await
}

/// Waits until nobody else has nodes.
pub(crate) async fn installation_alone() -> Installation {
    turn(AT_ONCE).await
}

/// An installation on three database nodes of its own, once nobody else has nodes.
pub(crate) async fn installation_on_three() -> (Databases, Installation) {
    let turn = PLACES.acquire_many(AT_ONCE).await.unwrap();
    let databases = tokio::task::spawn_blocking(Databases::start).await.unwrap();
    let (keyspace, replication) = (keyspace(), 3);
    // Any of them knows the others.
    let points = databases.contact_points();
    let last = points.rsplit(',').next().unwrap();
    let key = migrate(&keyspace, &Shared { cql: last, redis: None }, replication).await;
    (databases, Installation { keyspace, key, replication, _turn: turn })
}

static PLACES: Semaphore = Semaphore::const_new(AT_ONCE as usize);

async fn turn(places: u32) -> Installation {
    static MADE: OnceCell<String> = OnceCell::const_new();
    let turn = PLACES.acquire_many(places).await.unwrap();
    let (keyspace, replication) = (keyspace(), 1);
    let make = async || {
        drop_left_keyspaces().await;
        migrate(&keyspace, &Shared::database(), replication).await
    };
    let key = MADE.get_or_init(make).await.clone();
    Installation { keyspace, key, replication, _turn: turn }
}

fn keyspace() -> String {
    format!("{KEYSPACE}{}", std::process::id())
}

/// Makes a keyspace as an operator does; answers the owner's key.
async fn migrate(keyspace: &str, shared: &Shared<'_>, replication: u8) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = command((keyspace, shared, replication), folder.path(), &["migrate"]).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let key = text.lines().find_map(|line| line.strip_prefix("owner API key: "));
    let key = key.unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    key.to_owned()
}

/// Runs a command of the program on the database, in a folder of its own.
async fn command(
    (keyspace, shared, replication): (&str, &Shared<'_>, u8),
    folder: &Path,
    words: &[&str],
) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shunt"));
    let environment = environment(keyspace, shared, replication);
    command.args(words).current_dir(folder).envs(environment);
    tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap()
}

/// Those of earlier runs: each costs the database memory that it does not have.
async fn drop_left_keyspaces() {
    let session = session().await;
    let all = "SELECT keyspace_name FROM system_schema.keyspaces";
    let all = session.query_unpaged(all, ()).await.unwrap().into_rows_result().unwrap();
    for row in all.rows::<(String,)>().unwrap() {
        let (keyspace,) = row.unwrap();
        if keyspace.starts_with(KEYSPACE) {
            session.query_unpaged(format!("DROP KEYSPACE {keyspace}"), ()).await.unwrap();
        }
    }
}

/// The database, as its own tools have it.
async fn session() -> Session {
    SessionBuilder::new().known_node(&services().cql).build().await.unwrap()
}

fn environment(
    keyspace: &str,
    shared: &Shared<'_>,
    replication: u8,
) -> Vec<(&'static str, String)> {
    let mut environment = vec![
        ("SHUNT_STORAGE__CQL", format!("[\"{}\"]", shared.cql.replace(',', "\", \""))),
        ("SHUNT_STORAGE__KEYSPACE", keyspace.to_owned()),
        ("SHUNT_STORAGE__REPLICATION", replication.to_string()),
        ("SHUNT_HTTP__PUBLIC_URL", "https://sho.rt".to_owned()),
        // Processors that are busy with other tests are no reason to give up.
        ("SHUNT_LINKS__LOAD_WAIT_MAX", "5s".to_owned()),
    ];
    environment.extend(shared.redis.map(|url| ("SHUNT_REDIS__URL", url.to_owned())));
    environment
}

impl Installation {
    pub(crate) async fn node(&self, shared: &Shared<'_>) -> TestApp {
        self.node_with(shared, &[]).await
    }

    /// A node with settings of its own.
    pub(crate) async fn node_with(
        &self,
        shared: &Shared<'_>,
        settings: &[(&'static str, &str)],
    ) -> TestApp {
        let mut environment = environment(&self.keyspace, shared, self.replication);
        environment.extend(settings.iter().map(|(name, text)| (*name, (*text).to_owned())));
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let builder = TestApp::builder().on(&folder, &self.key);
        let set = |builder: crate::harness::Builder, (name, text): &(&str, String)| {
            builder.set(name, text)
        };
        environment.iter().fold(builder, set).start().await
    }

    /// Three nodes that start at the same time.
    pub(crate) async fn three(&self, shared: &Shared<'_>) -> [TestApp; 3] {
        let (a, b, c) = tokio::join!(self.node(shared), self.node(shared), self.node(shared));
        [a, b, c]
    }

    /// Runs a command of the program on the database, in a folder of its own.
    pub(crate) async fn command(&self, folder: &Path, words: &[&str]) -> Output {
        let place = (self.keyspace.as_str(), &Shared::database(), self.replication);
        command(place, folder, words).await
    }

    /// The database of this installation, as its own tools have it.
    pub(crate) async fn session(&self) -> Session {
        let session = session().await;
        session.use_keyspace(&self.keyspace, false).await.unwrap();
        session
    }

    /// The database as a process has it that reaches it at `address`.
    pub(crate) async fn open(&self, address: &str) -> Cql {
        let config = CqlConfig {
            nodes: vec![address.to_owned()],
            keyspace: self.keyspace.clone(),
            user: None,
            password: None,
            tls: None,
            replication: Replication::Factor(self.replication),
            fill_timeout: Duration::from_secs(5),
        };
        Cql::open(&config).await.unwrap()
    }

    /// The Redis at `url`, as one more node has it.
    pub(crate) fn redis(&self, url: &str) -> Redis {
        Redis::start(&Secret(url.to_owned()), None, &self.keyspace, PATIENCE).unwrap()
    }
}

/// Stops nodes gracefully; fails if one logged an error.
pub(crate) async fn finish(nodes: impl IntoIterator<Item = TestApp>) {
    join_all(nodes.into_iter().map(TestApp::finish)).await;
}

/// Stops nodes gracefully that had reason to log errors.
pub(crate) async fn finish_after_trouble(nodes: impl IntoIterator<Item = TestApp>) {
    join_all(nodes.into_iter().map(TestApp::finish_after_trouble)).await;
}

/// Where a visitor of a node is led, if anywhere. He comes again while he is told to.
pub(crate) async fn visit(node: &TestApp, code: &str) -> Option<String> {
    let begun = Instant::now();
    loop {
        let answer = node.get(&format!("/{code}")).await;
        match answer.status() {
            302 => return answer.header("location").map(str::to_owned),
            404 => return None,
            503 if begun.elapsed() < SOON => tokio::task::yield_now().await,
            status => panic!("{status} for /{code}: {}", answer.text()),
        }
    }
}

/// Makes links at codes of one's own, on a node.
pub(crate) async fn create_all(node: &TestApp, links: &[(String, String)]) {
    let bodies = links.iter().map(|(alias, to)| json!({"alias": alias, "destination": to}));
    let made = bulk(node, bodies.collect()).await;
    assert_eq!(made.len(), links.len());
}

/// Makes links in one request; answers those that were made.
pub(crate) async fn bulk(node: &TestApp, links: Vec<Value>) -> Vec<Value> {
    let answer = node.api(Method::POST, "/links/bulk", Some(json!({"links": links}))).await;
    let answer = answer.assert_status(200).json();
    let results = answer["results"].as_array().unwrap();
    results.iter().filter_map(|result| result.get("link").cloned()).collect()
}

/// A metric, summed over those of its labels that have all of `labels`.
pub(crate) async fn metric(node: &TestApp, name: &str, labels: &[&str]) -> f64 {
    let text = node.ops_get("/metrics").await.text();
    let wanted = |line: &&str| {
        line.split(['{', ' ']).next() == Some(name)
            && labels.iter().all(|label| line.contains(label))
    };
    let values = text.lines().filter(wanted);
    values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// The same of all nodes together.
pub(crate) async fn metric_of_all(nodes: &[TestApp], name: &str, labels: &[&str]) -> f64 {
    join_all(nodes.iter().map(|node| metric(node, name, labels))).await.iter().sum()
}

/// The number of a node among all, as it said when it started.
pub(crate) fn number(node: &TestApp) -> u64 {
    let log = node.logged();
    let joined = log.iter().find(|line| line["message"] == "joined the database");
    joined.and_then(|line| line["node"].as_u64()).expect("it says its number")
}

/// Works on all items, some at once; answers in any order.
pub(crate) async fn some_at_once<T, R, F: Future<Output = R>>(
    items: impl IntoIterator<Item = T>,
    at_once: usize,
    work: impl Fn(T) -> F,
) -> Vec<R> {
    stream::iter(items).map(work).buffer_unordered(at_once).collect().await
}

pub(crate) fn distinct<T: Ord>(items: impl IntoIterator<Item = T>) -> BTreeSet<T> {
    items.into_iter().collect()
}

/// A figure for whoever reads along.
pub(crate) fn tell(text: &str) {
    use std::io::Write;
    let _closed = writeln!(std::io::stderr(), "{text}");
}
