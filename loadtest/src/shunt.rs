//! Running the server under test by its public contract: environment variables, the ops
//! listener, the command line.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::api::Api;
use crate::metrics::Scrape;
use crate::process::{Server, free_addr, pause, pinned};

/// The host that links live on, and what requests carry in `Host`.
pub const HOST: &str = "bench.example";
/// A well-formed owner key for throw-away stores. It opens nothing else.
pub const OWNER_KEY_VARIABLE: &str = "SHUNT_AUTH__BOOTSTRAP_KEY";

/// How to run one server.
#[derive(Clone, Debug)]
pub struct ShuntSpec {
    pub binary: PathBuf,
    /// Store, journal and keys.
    pub data: PathBuf,
    pub log: PathBuf,
    pub core: Option<usize>,
    pub workers: usize,
    pub counting: bool,
    /// Where to listen, for visitors and for operators; `None`: where there is room.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
    /// Further environment variables.
    pub environment: Vec<(String, String)>,
    /// A program to run the server under, with its arguments.
    pub under: Vec<String>,
}

/// A running server.
#[derive(Debug)]
pub struct Shunt {
    pub server: Server,
    pub public: SocketAddr,
    pub ops: SocketAddr,
}

impl ShuntSpec {
    pub fn new(binary: &Path, data: &Path) -> Self {
        Self {
            binary: binary.to_owned(),
            data: data.to_owned(),
            log: data.with_extension("log"),
            core: None,
            workers: 1,
            counting: true,
            addresses: None,
            environment: Vec::new(),
            under: Vec::new(),
        }
    }

    /// Starts the server without waiting for anything.
    pub fn spawn(&self) -> Result<Shunt> {
        let (public, ops) = match self.addresses {
            Some(addresses) => addresses,
            None => (free_addr()?, free_addr()?),
        };
        let mut command = self.command();
        command
            .arg("serve")
            .env("SHUNT_HTTP__LISTEN", public.to_string())
            .env("SHUNT_HTTP__WORKERS", self.workers.to_string())
            .env("SHUNT_OPS__LISTEN", ops.to_string())
            .env("SHUNT_CLICKS__ENABLED", self.counting.to_string());
        let server = Server::start("shunt", &command, self.core, &self.log)?;
        Ok(Shunt { server, public, ops })
    }

    /// Starts the server and waits until `readyz` agrees.
    pub fn start(&self, within: Duration) -> Result<Shunt> {
        let mut shunt = self.spawn()?;
        shunt.wait_until_ready(within).with_context(|| format!("see {}", self.log.display()))?;
        Ok(shunt)
    }

    /// Runs a command to its end.
    pub fn run(&self, words: &[&str]) -> Result<()> {
        let output = self.command().args(words).output().context("run a command of Shunt")?;
        ensure!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Imports a CSV file into the store while no server holds it; calls `watch` with the pid
    /// every few milliseconds. Gives the time it took.
    pub fn import(&self, csv: &Path, mut watch: impl FnMut(u32)) -> Result<Duration> {
        let mut command = self.command();
        command.args(["links", "import"]).arg(csv);
        let log = fs::File::create(&self.log).context("write the log of the import")?;
        let started = Instant::now();
        let mut child = pinned(&command, self.core)
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start the import")?;
        loop {
            if let Some(status) = child.try_wait()? {
                ensure!(status.success(), "import: {status}, see {}", self.log.display());
                return Ok(started.elapsed());
            }
            watch(child.id());
            pause(Duration::from_millis(10));
        }
    }

    pub(crate) fn command(&self) -> Command {
        let mut words = self.under.iter().map(PathBuf::from).chain([self.binary.clone()]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command
            .args(words)
            // No configuration file of this folder may be picked up.
            .current_dir(self.data.parent().unwrap_or(Path::new("/")))
            .env("SHUNT_STORAGE__PATH", &self.data)
            .env("SHUNT_HTTP__PUBLIC_URL", format!("http://{HOST}"))
            .env("SHUNT_LOG__FORMAT", "text")
            .envs(self.environment.iter().cloned());
        command
    }
}

impl Shunt {
    pub fn wait_until_ready(&mut self, within: Duration) -> Result<()> {
        let ops = self.ops;
        self.server.wait_until(within, "become ready", || {
            Api::ops(ops).get("/readyz").is_ok_and(|reply| reply.status == 200)
        })
    }

    pub fn metrics(&self) -> Result<Scrape> {
        let reply = Api::ops(self.ops).get("/metrics")?;
        ensure!(reply.status == 200, "/metrics answers {}", reply.status);
        Ok(Scrape::parse(&reply.body))
    }

    /// Polls `/metrics` until `done` says so.
    pub fn wait_for_metrics(
        &mut self,
        within: Duration,
        what: &str,
        mut done: impl FnMut(&Scrape) -> bool,
    ) -> Result<Scrape> {
        let deadline = Instant::now() + within;
        loop {
            let scrape = self.metrics()?;
            if done(&scrape) {
                return Ok(scrape);
            }
            if Instant::now() > deadline {
                bail!("shunt did not {what} in {within:?}");
            }
            pause(Duration::from_millis(10));
        }
    }
}

/// Copies a folder with everything in it. Symbolic links are not expected in a store.
pub fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("make {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)
                .with_context(|| format!("copy {}", entry.path().display()))?;
        }
    }
    Ok(())
}

/// Removes a folder if it is there.
pub fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed.with_context(|| format!("remove {}", folder.display())),
    }
}
