//! A Redis of a test's own, to be killed, stopped and started again.
#![allow(dead_code, reason = "each of its users needs another part")]

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a Redis may take to answer.
const START_MAX: Duration = Duration::from_secs(20);

/// A server on a port that stays the same, in a folder that stays the same.
pub(crate) struct RedisServer {
    port: u16,
    folder: TempDir,
    child: Option<Child>,
    arguments: Vec<String>,
    /// What those who ask it on the command line say first.
    password: Option<String>,
}

impl RedisServer {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// With more options of the command line.
    pub(crate) fn with(options: &[&str]) -> Self {
        let port = free_port().to_string();
        let mut arguments = vec!["--bind", "127.0.0.1", "--port", &port, "--save", ""];
        arguments.extend(options);
        let arguments = arguments.into_iter().map(str::to_owned).collect();
        Self::run_with(port.parse().expect("a number"), folder(), arguments)
    }

    /// Everybody says the password first, this one to its master as well.
    pub(crate) fn with_password(password: &str, options: &[&str]) -> Self {
        let mut all = vec!["--requirepass", password, "--masterauth", password];
        all.extend(options);
        let mut server = Self::with(&all);
        server.password = Some(password.to_owned());
        server
    }

    /// One that speaks TLS only, with a certificate and its key.
    pub(crate) fn with_tls(certificate: &Path, key: &Path) -> Self {
        let port = free_port().to_string();
        let file = |path: &Path| path.to_str().expect("text").to_owned();
        let (certificate, key) = (file(certificate), file(key));
        let arguments = ["--bind", "127.0.0.1", "--port", "0", "--tls-port", &port];
        let files = ["--tls-cert-file", &certificate, "--tls-key-file", &key];
        let clients = ["--tls-auth-clients", "no", "--save", ""];
        let arguments = arguments.iter().chain(&files).chain(&clients);
        let arguments = arguments.map(|argument| (*argument).to_owned()).collect();
        Self::run_with(port.parse().expect("a number"), folder(), arguments)
    }

    /// A sentinel with these lines in its file.
    pub(crate) fn sentinel(lines: &str) -> Self {
        let (port, folder) = (free_port(), folder());
        let file = folder.path().join("sentinel.conf");
        let head = format!("port {port}\nbind 127.0.0.1\n");
        std::fs::write(&file, head + lines).expect("a file");
        let file = file.to_str().expect("text").to_owned();
        Self::run_with(port, folder, vec![file, "--sentinel".to_owned()])
    }

    fn run_with(port: u16, folder: TempDir, arguments: Vec<String>) -> Self {
        // Installs what is missing.
        crate::services::services();
        let mut server = Self { port, folder, child: None, arguments, password: None };
        server.run();
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Starts it again, with what it saved.
    pub(crate) fn run(&mut self) {
        let child = Command::new("redis-server")
            .args(&self.arguments)
            .arg("--dir")
            .arg(self.folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server runs");
        self.child = Some(child);
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(begun.elapsed() < START_MAX, "Redis does not listen");
            std::thread::yield_now();
        }
    }

    /// As rudely as it gets.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it can be killed");
            child.wait().expect("it ends");
        }
    }

    /// It neither answers nor refuses.
    pub(crate) fn freeze(&self) {
        self.signal("STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &pid]).status();
        assert!(status.expect("kill runs").success());
    }

    /// Writes what it has to the disk, to be there when it runs again.
    pub(crate) fn save(&self) {
        self.command(&["save"]);
    }

    /// What it answers.
    pub(crate) fn command(&self, words: &[&str]) -> String {
        let port = self.port.to_string();
        let mut command = Command::new("redis-cli");
        command.args(["-e", "-p", &port]).args(words);
        command.envs(self.password.as_ref().map(|password| ("REDISCLI_AUTH", password)));
        let done = command.output().expect("redis-cli runs");
        let why = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{words:?}: {}{why}", String::from_utf8_lossy(&done.stdout));
        String::from_utf8(done.stdout).expect("text")
    }

    /// Whether it has such a line in what it answers.
    pub(crate) fn says(&self, words: &[&str], line: &str) -> bool {
        self.command(words).lines().any(|said| said.trim() == line)
    }
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    free.local_addr().expect("an address").port()
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}
