//! A Redis of a test's own, to be killed, stopped and started again.
#![allow(dead_code, reason = "each of its users needs another part")]

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
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
    options: Vec<String>,
}

impl RedisServer {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// With more options of the command line.
    pub(crate) fn with(options: &[&str]) -> Self {
        // Installs what is missing.
        crate::services::services();
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let folder = tempfile::tempdir().expect("a folder");
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut server = Self { port, folder, child: None, options };
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
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--save", ""])
            .arg("--dir")
            .arg(self.folder.path())
            .args(&self.options)
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

    pub(crate) fn command(&self, words: &[&str]) {
        let port = self.port.to_string();
        let done = Command::new("redis-cli").args(["-e", "-p", &port]).args(words).output();
        assert!(done.expect("redis-cli runs").status.success(), "{words:?}");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}
