//! The nodes: three processes of the server under test on one database and one Redis.

use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::backing::{Database, Ports, Redis};
use super::sockets::n_descriptors;
use super::stage::{N_NODES, Station};
use super::strangers::ColdLinks;
use crate::links;
use crate::shunt::{Shunt, ShuntSpec};

const START_WITHIN: Duration = Duration::from_secs(60);
const STOP_WITHIN: Duration = Duration::from_secs(60);
/// How long a node that is asked to stop goes on taking connections, so that balancers notice.
const DRAIN_DELAY: &str = "1500ms";
/// Others serve meanwhile: a node that starts had better have in memory what is asked for.
const WARM_WAIT_MAX: &str = "30s";
/// Short, so that the clicks of a trial are counted soon after it.
const FLUSH_INTERVAL: &str = "200ms";
/// What a node says when it has loaded all links.
const WARM: &str = "the link table is warm";

pub struct Fleet {
    specs: Vec<ShuntSpec>,
    running: Vec<Option<Shunt>>,
    n_starts: [usize; N_NODES],
    pub key: String,
    work: PathBuf,
    /// Links that were imported so far.
    n_imported: u64,
}

impl Fleet {
    /// Makes the keyspace, and starts all nodes.
    pub fn start(
        binary: &Path,
        work: &Path,
        (database, redis): (&Database, &Redis),
        ports: &mut Ports,
    ) -> Result<Self> {
        let (public, ops) = (ports.free()?, ports.free()?);
        let specs: Vec<ShuntSpec> = (0..N_NODES as u8)
            .map(|number| {
                let address = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11 + number));
                let at = |port| SocketAddr::new(address, port);
                let folder = work.join(format!("node-{number}")).join("data");
                let mut spec = ShuntSpec::new(binary, &folder);
                spec.addresses = Some((at(public), at(ops)));
                for (name, value) in [
                    ("SHUNT_STORAGE__CQL", database.contact_points()),
                    ("SHUNT_STORAGE__REPLICATION", "1".to_owned()),
                    ("SHUNT_REDIS__URL", redis.url()),
                    ("SHUNT_HTTP__DRAIN_DELAY", DRAIN_DELAY.to_owned()),
                    ("SHUNT_LINKS__WARM_WAIT_MAX", WARM_WAIT_MAX.to_owned()),
                    ("SHUNT_CLICKS__FLUSH_INTERVAL", FLUSH_INTERVAL.to_owned()),
                ] {
                    spec.environment.push((name.to_owned(), value));
                }
                spec
            })
            .collect();
        for spec in &specs {
            fs::create_dir_all(&spec.data).context("make the folder of a node")?;
        }
        let running = specs.iter().map(|_| None).collect();
        let (key, work) = (migrate(&specs[0])?, work.to_owned());
        let mut fleet = Self { specs, running, n_starts: [0; N_NODES], key, work, n_imported: 0 };
        for at in 0..N_NODES {
            fleet.spawn(at)?;
        }
        for at in 0..N_NODES {
            fleet.wait_until_ready(at)?;
        }
        Ok(fleet)
    }

    pub fn stations(&self) -> Vec<Station> {
        let addresses = self.specs.iter().filter_map(|spec| spec.addresses);
        addresses.map(|(public, ops)| Station::new(public, ops)).collect()
    }

    pub fn node(&mut self, at: usize) -> Result<&mut Shunt> {
        self.running[at].as_mut().with_context(|| format!("node {at} does not run"))
    }

    /// Processes that run, and how many descriptors each has open.
    pub fn processes(&self) -> Vec<(u32, usize)> {
        let running = self.running.iter().flatten();
        running.map(|shunt| (shunt.server.pid(), n_descriptors(shunt.server.pid()))).collect()
    }

    pub fn spawn(&mut self, at: usize) -> Result<()> {
        self.running[at] = Some(self.specs[at].spawn()?);
        self.n_starts[at] += 1;
        Ok(())
    }

    pub fn wait_until_ready(&mut self, at: usize) -> Result<()> {
        let log = self.specs[at].log.clone();
        let ready = self.node(at)?.wait_until_ready(START_WITHIN);
        ready.with_context(|| format!("see {}", log.display()))
    }

    /// Waits until it has loaded all links that there were when it started.
    pub fn wait_until_warm(&mut self, at: usize) -> Result<()> {
        let (log, n_starts) = (self.specs[at].log.clone(), self.n_starts[at]);
        self.node(at)?.server.wait_until(START_WITHIN, "load all links", || {
            fs::read_to_string(&log).is_ok_and(|text| text.matches(WARM).count() == n_starts)
        })
    }

    pub fn kill(&mut self, at: usize) -> Result<()> {
        self.running[at].take().with_context(|| format!("node {at} does not run"))?.server.kill()
    }

    /// SIGTERM, and the wait for exit code 0.
    pub fn stop(&mut self, at: usize) -> Result<Duration> {
        let began = Instant::now();
        let shunt = self.running[at].take().with_context(|| format!("node {at} does not run"))?;
        let status = shunt.server.terminate(STOP_WITHIN)?;
        ensure!(status.success(), "node {at}: SIGTERM ends with {status}");
        Ok(began.elapsed())
    }

    /// Puts links into the database that no node hears of.
    pub fn import(&mut self, n_links: u64) -> Result<ColdLinks> {
        let ranks = self.n_imported..self.n_imported + n_links;
        self.n_imported = ranks.end;
        let path = self.work.join("cold.csv");
        let mut csv = fs::File::create(&path).context("write the links to import")?;
        writeln!(csv, "code,destination,title")?;
        for rank in ranks.clone() {
            writeln!(csv, "{},{},", links::code(rank), links::target(rank))?;
        }
        let mut spec = self.specs[0].clone();
        spec.data = self.work.join("import").join("data");
        spec.log = self.work.join("import.log");
        fs::create_dir_all(&spec.data).context("make a folder for the import")?;
        spec.environment.retain(|(name, _)| name != "SHUNT_REDIS__URL");
        spec.import(&path, |_| ())?;
        Ok(ColdLinks::new(ranks))
    }

    /// What nodes should never have to say.
    pub fn panics(&self) -> Vec<String> {
        let logs = self.specs.iter().map(|spec| fs::read_to_string(&spec.log).unwrap_or_default());
        let logs: Vec<_> = logs.collect();
        let lines = logs.iter().flat_map(|log| log.lines());
        lines.filter(|line| line.contains("panicked at")).map(str::to_owned).collect()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for shunt in self.running.drain(..).flatten() {
            // Everything was asked of it; whether it is gone by itself is no matter any more.
            let _ = shunt.server.kill();
        }
    }
}

/// Makes the schema; answers the owner's key, which is told once.
fn migrate(spec: &ShuntSpec) -> Result<String> {
    let told = spec.command().arg("migrate").output().context("run `shunt migrate`")?;
    let text = String::from_utf8_lossy(&told.stdout);
    let complaint = String::from_utf8_lossy(&told.stderr);
    let key = text.lines().find_map(|line| line.strip_prefix("owner API key: "));
    key.map(|key| key.trim().to_owned())
        .with_context(|| format!("`shunt migrate` told no key: {complaint}"))
}
