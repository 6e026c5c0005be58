//! What nodes depend on: a Cassandra and a Redis of the drill's own, with wires before them.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::proxy::Proxy;
use crate::process::Server;
use crate::rng::Rng;
use crate::shunt::remove_folder;

/// Relative to the repository, in which drills run.
const CASSANDRA: &str = "scripts/cassandra/node";
const DATABASE_WITHIN: Duration = Duration::from_secs(180);
const REDIS_WITHIN: Duration = Duration::from_secs(20);
/// Where the database may be: its own address, and the one of the wire before it, which is what
/// it tells clients.
const PLACES: [(Ipv4Addr, Ipv4Addr); 2] = [
    (Ipv4Addr::new(127, 0, 0, 1), Ipv4Addr::new(127, 0, 1, 1)),
    (Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 1, 2)),
];
/// Below the ports that the system hands out: who is gone for a while finds its own free.
const PORTS: std::ops::Range<usize> = 20_000..32_000;

/// The database, on one of two addresses.
pub struct Database {
    folder: PathBuf,
    port: u16,
    storage_port: u16,
    place: usize,
    server: Option<Server>,
    wires: Vec<Proxy>,
}

impl Database {
    /// Starts an empty one.
    pub fn start(work: &Path, ports: &mut Ports) -> Result<Self> {
        ensure!(Path::new(CASSANDRA).exists(), "{CASSANDRA} is missing; run scripts/drill");
        let (port, storage_port) = (ports.free()?, ports.free()?);
        let wire = |(own, told)| {
            Proxy::start(
                SocketAddr::new(IpAddr::V4(told), port),
                SocketAddr::new(IpAddr::V4(own), port),
            )
        };
        let wires = PLACES.map(wire).into();
        let folder = work.join("cassandra");
        let mut database = Self { folder, port, storage_port, place: 0, server: None, wires };
        database.begin()?;
        Ok(database)
    }

    /// Contact points, as nodes are told them: all addresses that it may have.
    pub fn contact_points(&self) -> String {
        let quoted: Vec<_> = self.wires.iter().map(|wire| format!("\"{}\"", wire.addr)).collect();
        format!("[{}]", quoted.join(","))
    }

    /// kill -9; nobody listens any more.
    pub fn kill(&mut self) -> Result<()> {
        self.server.take().context("the database does not run")?.kill()?;
        self.wires[self.place].open(false)
    }

    /// Starts it with what it stored, and waits until it answers.
    pub fn begin(&mut self) -> Result<()> {
        let (own, told) = PLACES[self.place];
        fs::create_dir_all(&self.folder).context("make a folder for the database")?;
        let mut command = Command::new(fs::canonicalize(CASSANDRA)?);
        command.arg(&self.folder).arg(own.to_string());
        command.args([self.port, self.storage_port].map(|port| port.to_string()));
        command.arg(told.to_string());
        let log = self.folder.join("log");
        let mut server = Server::start("cassandra", &command, None, &log)?;
        let addr = SocketAddr::new(IpAddr::V4(own), self.port);
        server
            .wait_until_accepting(addr, DATABASE_WITHIN)
            .with_context(|| format!("see {}", log.display()))?;
        self.server = Some(server);
        self.wires[self.place].open(true)
    }

    /// From now on it starts at the other address.
    pub fn move_away(&mut self) {
        self.place = (self.place + 1) % PLACES.len();
    }

    /// SIGSTOP, or SIGCONT.
    pub fn pause(&self, paused: bool) -> Result<()> {
        self.server.as_ref().context("the database does not run")?.pause(paused);
        Ok(())
    }

    /// Keeps these processes away from it, until it is said again for none.
    pub fn cut(&self, processes: &[u32]) {
        self.wires.iter().for_each(|wire| wire.cut(processes));
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            // It has nothing to tell any more, and takes long to stop.
            let _ = server.kill();
        }
    }
}

/// A Redis that keeps what it was told, as well as one does that may be killed.
pub struct Redis {
    folder: PathBuf,
    own: SocketAddr,
    server: Option<Server>,
    pub wire: Proxy,
}

impl Redis {
    pub fn start(work: &Path, ports: &mut Ports) -> Result<Self> {
        let at = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let (own, told) = (at(ports.free()?), at(ports.free()?));
        let wire = Proxy::start(told, own);
        let mut redis = Self { folder: work.join("redis"), own, server: None, wire };
        redis.begin()?;
        Ok(redis)
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.wire.addr)
    }

    pub fn begin(&mut self) -> Result<()> {
        fs::create_dir_all(&self.folder).context("make a folder for Redis")?;
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &self.own.port().to_string()]);
        command.args(["--save", "", "--appendonly", "yes", "--dir"]).arg(&self.folder);
        let mut server = Server::start("redis", &command, None, &self.folder.join("log"))?;
        server.wait_until_accepting(self.own, REDIS_WITHIN)?;
        self.server = Some(server);
        self.wire.open(true)
    }

    /// kill -9; nobody listens any more.
    pub fn kill(&mut self) -> Result<()> {
        self.server.take().context("Redis does not run")?.kill()?;
        self.wire.open(false)
    }

    /// Takes away what it kept.
    pub fn forget(&self) -> Result<()> {
        remove_folder(&self.folder)
    }

    pub fn pause(&self, paused: bool) -> Result<()> {
        self.server.as_ref().context("Redis does not run")?.pause(paused);
        Ok(())
    }
}

/// Ports that nobody uses on any address of this machine, each given out once.
pub struct Ports {
    rng: Rng,
    given: Vec<u16>,
}

impl Default for Ports {
    fn default() -> Self {
        Self { rng: Rng::new(u64::from(std::process::id())), given: Vec::new() }
    }
}

impl Ports {
    pub fn free(&mut self) -> Result<u16> {
        for _ in 0..PORTS.len() {
            let port = (PORTS.start + self.rng.below(PORTS.len())) as u16;
            let is_free = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok();
            if is_free && !self.given.contains(&port) {
                self.given.push(port);
                return Ok(port);
            }
        }
        anyhow::bail!("no port is free")
    }
}
