//! A running `shunt` with a store of its own, and a client that follows no redirect.

mod answer;
mod person;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value;
use shunt::storage::Stores;
use shunt::storage::embedded::{Embedded, Mode};
use tempfile::TempDir;

pub(crate) use answer::Answer;
pub(crate) use person::{PASSWORD, Person};

/// How long a server may take to start or to stop.
const START_MAX: Duration = Duration::from_secs(60);
/// How long a test waits for something that happens behind the answer.
pub(crate) const SOON: Duration = Duration::from_secs(15);

/// A server on free ports. Call `finish` at the end.
pub(crate) struct TestApp {
    pub(crate) url: String,
    pub(crate) ops: String,
    pub(crate) key: String,
    folder: Arc<TempDir>,
    environment: Vec<(String, String)>,
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    client: reqwest::Client,
    finished: bool,
}

/// What a killed server leaves.
pub(crate) struct Killed {
    folder: Arc<TempDir>,
    environment: Vec<(String, String)>,
    key: String,
}

impl Killed {
    pub(crate) async fn start(self) -> TestApp {
        TestApp::launch(self.folder, self.environment, Some(self.key)).await
    }

    /// As `start`; what the server said if it gives up.
    pub(crate) async fn try_start(self) -> Result<TestApp, String> {
        TestApp::try_launch(self.folder, self.environment, Some(self.key)).await
    }
}

/// What a server is started with.
#[derive(Default)]
pub(crate) struct Builder {
    environment: Vec<(String, String)>,
    folder: Option<Arc<TempDir>>,
    key: Option<String>,
}

impl Builder {
    /// Sets a setting as the environment does: `SHUNT_<SECTION>__<KEY>`.
    pub(crate) fn set(mut self, name: &str, text: &str) -> Self {
        self.environment.push((name.to_owned(), text.to_owned()));
        self
    }

    /// Starts on a store that is there, in `data` of a folder, whose owner has this key.
    pub(crate) fn on(mut self, folder: &Arc<TempDir>, key: &str) -> Self {
        self.folder = Some(Arc::clone(folder));
        self.key = Some(key.to_owned());
        self
    }

    pub(crate) async fn start(self) -> TestApp {
        let folder = self.folder();
        TestApp::launch(folder, self.environment, self.key).await
    }

    /// As `start`; what the server said if it gives up.
    pub(crate) async fn try_start(self) -> Result<TestApp, String> {
        let folder = self.folder();
        TestApp::try_launch(folder, self.environment, self.key).await
    }

    fn folder(&self) -> Arc<TempDir> {
        let new = || Arc::new(tempfile::tempdir().expect("a temporary folder"));
        self.folder.clone().unwrap_or_else(new)
    }
}

impl TestApp {
    pub(crate) fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) async fn start() -> Self {
        Self::builder().start().await
    }

    async fn launch(
        folder: Arc<TempDir>,
        environment: Vec<(String, String)>,
        key: Option<String>,
    ) -> Self {
        let launched = Self::try_launch(folder, environment, key).await;
        launched.unwrap_or_else(|seen| panic!("the server exited:\n{seen}"))
    }

    async fn try_launch(
        folder: Arc<TempDir>,
        environment: Vec<(String, String)>,
        key: Option<String>,
    ) -> Result<Self, String> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_shunt"))
            .arg("serve")
            .current_dir(folder.path())
            .env("SHUNT_HTTP__LISTEN", "127.0.0.1:0")
            .env("SHUNT_OPS__LISTEN", "127.0.0.1:0")
            .env("SHUNT_STORAGE__PATH", folder.path().join("data"))
            .env("SHUNT_LOG__FORMAT", "json")
            .env("SHUNT_HTTP__WORKERS", "2")
            .env("SHUNT_CLICKS__SEGMENT_SIZE", "4MiB")
            .envs(environment.iter().map(|(name, text)| (name, text)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server binary starts");
        let log = Arc::new(Mutex::new(Vec::new()));
        let output = Arc::new(Mutex::new(Vec::new()));
        collect(child.stderr.take().expect("piped"), Arc::clone(&log));
        collect(child.stdout.take().expect("piped"), Arc::clone(&output));

        let ready = wait_for_line(&log, &mut child, |line| {
            let line: Value = serde_json::from_str(line).ok()?;
            (line["message"] == "ready").then_some(line)
        })
        .await?;
        let address = |name: &str| format!("http://{}", ready[name].as_str().expect("an address"));
        let key = match key {
            Some(key) => key,
            None => {
                wait_for_line(&output, &mut child, |line| {
                    line.strip_prefix("owner API key: ").map(str::to_owned)
                })
                .await?
            }
        };
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .expect("a client");
        Ok(Self {
            url: address("http"),
            ops: address("ops"),
            key,
            folder,
            environment,
            child,
            log,
            client,
            finished: false,
        })
    }

    /// What the server logged so far, line by line.
    pub(crate) fn logged(&self) -> Vec<Value> {
        let log = self.log.lock().expect("the log");
        log.iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Another request to the public listener, without credentials.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.client.get(format!("{}{path}", self.url))).await
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        Answer::read(request.send().await.expect("the server answers")).await
    }

    /// A call to the API with the owner's key.
    pub(crate) async fn api(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut request = self.request(method, &format!("/api/v1{path}")).bearer_auth(&self.key);
        if let Some(body) = body {
            request = request.json(&body);
        }
        self.send(request).await
    }

    /// Creates a link and answers its object.
    #[track_caller]
    pub(crate) fn create(&self, body: Value) -> impl Future<Output = Value> {
        let caller = std::panic::Location::caller();
        async move {
            let answer = self.api(Method::POST, "/links", Some(body)).await;
            assert_eq!(answer.status(), 201, "at {caller}: {}", answer.text());
            answer.json()
        }
    }

    /// Imports rows through the API as the batch `name`, and answers what the server says.
    pub(crate) async fn import(&self, name: u128, rows: &[Value]) -> Value {
        let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
        let request = self
            .request(Method::POST, "/api/v1/links/import")
            .bearer_auth(&self.key)
            .header("Idempotency-Key", format!("{name:032x}"))
            .header("Content-Type", "application/x-ndjson")
            .body(lines);
        self.send(request).await.assert_status(200).json()
    }

    /// A metric, summed over its labels.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let text = self.client.get(format!("{}/metrics", self.ops)).send().await;
        let text = text.expect("metrics answer").text().await.expect("text");
        let of_name = |line: &&str| line.split(['{', ' ']).next() == Some(name);
        let values = text.lines().filter(of_name);
        values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    pub(crate) async fn ops_get(&self, path: &str) -> Answer {
        self.send(self.client.get(format!("{}{path}", self.ops))).await
    }

    /// `clicks` of a link, when it has become `expected`, or as it is when patience ends.
    pub(crate) async fn clicks_become(&self, code: &str, expected: u64) {
        let deadline = Instant::now() + SOON;
        loop {
            let link = self.api(Method::GET, &format!("/links/{code}"), None).await.json();
            if link["clicks"] == expected {
                return;
            }
            assert!(Instant::now() < deadline, "clicks are {}, not {expected}", link["clicks"]);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What the API answers when it has become `expected` at `pointer`.
    pub(crate) async fn api_becomes(&self, path: &str, pointer: &str, expected: &Value) -> Value {
        let deadline = Instant::now() + SOON;
        loop {
            let answer = self.api(Method::GET, path, None).await.assert_status(200).json();
            if answer.pointer(pointer) == Some(expected) {
                return answer;
            }
            assert!(Instant::now() < deadline, "{pointer} of {path} stays: {answer}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the statistics of a link tell of so many clicks: `clicks` of a link is ahead of
    /// what is stored.
    pub(crate) async fn stats_become(&self, code: &str, expected: u64) {
        let path = format!("/links/{code}/stats");
        self.api_becomes(&path, "/summary/clicks", &expected.into()).await;
    }

    /// SIGKILL, then a new process on the same store.
    pub(crate) async fn kill_and_restart(self) -> Self {
        self.kill().start().await
    }

    /// SIGKILL. What lies on the disk stays.
    pub(crate) fn kill(mut self) -> Killed {
        self.child.kill().expect("the server can be killed");
        self.child.wait().expect("the server is gone");
        self.finished = true;
        Killed {
            folder: Arc::clone(&self.folder),
            environment: self.environment.clone(),
            key: self.key.clone(),
        }
    }

    /// A graceful stop, then a new process on the same store.
    pub(crate) async fn restart(self) -> Self {
        self.restart_after_closing(async |_data| ()).await
    }

    /// A graceful stop, work on the ports of the store, then a new process on what that left.
    pub(crate) async fn restart_after(self, edit: impl AsyncFnOnce(Stores)) -> Self {
        self.restart_after_closing(async |data| {
            let store = Embedded::open(&data, Mode::Existing).expect("the store opens");
            edit(store.stores()).await;
        })
        .await
    }

    /// A graceful stop, work in the folder of the store, then a new process on what that left.
    pub(crate) async fn restart_after_closing(mut self, edit: impl AsyncFnOnce(PathBuf)) -> Self {
        self.stop().await;
        edit(self.data()).await;
        let (folder, environment) = (Arc::clone(&self.folder), self.environment.clone());
        let key = self.key.clone();
        drop(self);
        Self::launch(folder, environment, Some(key)).await
    }

    /// Stops gracefully; fails if the server did not exit with 0 or logged an error.
    pub(crate) async fn finish(self) {
        self.finish_and_keep().await;
    }

    /// As `finish`, of a server that had reason to log errors.
    #[allow(dead_code, reason = "of use where nodes share a store")]
    pub(crate) async fn finish_after_trouble(mut self) {
        self.stop().await;
    }

    /// As `finish`; the store stays until the answer is dropped.
    pub(crate) async fn finish_and_keep(mut self) -> Arc<TempDir> {
        self.stop().await;
        let log = self.log.lock().expect("the log");
        let errors: Vec<&String> = log.iter().filter(|l| l.contains("\"ERROR\"")).collect();
        assert!(errors.is_empty(), "the server logged errors: {errors:#?}");
        Arc::clone(&self.folder)
    }

    async fn stop(&mut self) {
        self.finished = true;
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        assert!(sent.success(), "the server was gone before it was stopped");
        let deadline = Instant::now() + START_MAX;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("the server can be waited for") {
                break status;
            }
            assert!(Instant::now() < deadline, "the server does not stop");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert!(status.success(), "exit after SIGTERM: {status}");
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let forgotten = !self.finished && !std::thread::panicking();
        assert!(!forgotten, "the test ended without `finish`: clicks may be unwritten");
        if std::thread::panicking() {
            let log = self.log.lock().map(|log| log.join("\n")).unwrap_or_default();
            let _ = writeln!(std::io::stderr(), "--- log of the server\n{log}\n---");
        }
    }
}

/// Runs a command of the binary to its end, with its store in `data`.
pub(crate) fn shunt(data: &Path, arguments: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_shunt"))
        .args(arguments)
        .current_dir(data.parent().unwrap_or(data))
        .env("SHUNT_STORAGE__PATH", data)
        .output()
        .expect("the binary runs")
}

fn collect(pipe: impl std::io::Read + Send + 'static, lines: Arc<Mutex<Vec<String>>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if let Ok(mut lines) = lines.lock() {
                lines.push(line);
            }
        }
    });
}

/// Fails with all lines when the process ends before there is one.
async fn wait_for_line<T>(
    lines: &Arc<Mutex<Vec<String>>>,
    child: &mut Child,
    find: impl Fn(&str) -> Option<T>,
) -> Result<T, String> {
    let deadline = Instant::now() + START_MAX;
    loop {
        let exited = child.try_wait().expect("the server can be waited for");
        let found = lines.lock().expect("lines").iter().find_map(|line| find(line));
        if let Some(found) = found {
            return Ok(found);
        }
        let seen = || lines.lock().map(|lines| lines.join("\n")).unwrap_or_default();
        // Whoever collects lets go of them at the end of the output.
        if exited.is_some() && Arc::strong_count(lines) == 1 {
            return Err(seen());
        }
        assert!(Instant::now() < deadline, "the server does not get ready:\n{}", seen());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
