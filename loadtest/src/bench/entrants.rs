//! Who takes part in a contest, and how each is started.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use super::prepare;
use crate::links::LinkFiles;
use crate::process::{Server, free_addr};
use crate::shunt::{ShuntSpec, copy_folder, remove_folder};

/// A million map entries take nginx and HAProxy some seconds to read.
const START_WITHIN: Duration = Duration::from_secs(120);

/// A server that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Canned bytes, no parsing
    Canned,
    /// Bare actix-web, constant answer
    Bare,
    /// Shunt, clicks counted and flushed
    Shunt,
    /// Shunt, clicks.enabled = false
    ShuntUncounted,
    /// nginx with a map, no log
    Nginx,
    /// nginx with a map, buffered access log
    NginxLog,
    /// HAProxy with a map file
    Haproxy,
}

impl Kind {
    pub const ALL: [Self; 7] = [
        Self::Canned,
        Self::Bare,
        Self::Shunt,
        Self::ShuntUncounted,
        Self::Nginx,
        Self::NginxLog,
        Self::Haproxy,
    ];

    pub fn label(self) -> &'static str {
        match self {
            Self::Canned => "canned bytes",
            Self::Bare => "bare actix-web",
            Self::Shunt => "Shunt, counting",
            Self::ShuntUncounted => "Shunt, not counting",
            Self::Nginx => "nginx map, no log",
            Self::NginxLog => "nginx map, buffered log",
            Self::Haproxy => "HAProxy map file",
        }
    }

    pub fn is_shunt(self) -> bool {
        matches!(self, Self::Shunt | Self::ShuntUncounted)
    }
}

/// A server that is started, paused while others are measured, and stopped when dropped.
#[derive(Debug)]
pub(super) struct Entrant {
    pub label: String,
    pub server: Server,
    pub addr: SocketAddr,
}

/// Everything a start needs to know.
#[derive(Clone, Debug)]
pub(super) struct Stage {
    pub work: PathBuf,
    pub core: usize,
    pub shunt: Option<PathBuf>,
    pub n_links: u64,
    /// Database of places; visitors then come through a proxy that is trusted.
    pub geoip: Option<PathBuf>,
}

impl Stage {
    /// Starts a server and waits until it accepts.
    pub(super) fn start(&self, kind: Kind, files: &LinkFiles) -> Result<Entrant> {
        let label = kind.label().to_owned();
        if kind.is_shunt() {
            return self.start_shunt(kind, label);
        }
        let addr = free_addr()?;
        let name = kind.to_possible_value().map_or_else(String::new, |v| v.get_name().to_owned());
        let folder = self.work.join(&name);
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let site = Site { folder: &folder, addr, files };
        let command = match kind {
            Kind::Canned => reference("canned", addr)?,
            Kind::Bare => reference("bare", addr)?,
            Kind::Nginx => nginx(&site, self.n_links, "off")?,
            Kind::NginxLog => {
                let log = format!("{}/access.log combined buffer=64k flush=1s", folder.display());
                nginx(&site, self.n_links, &log)?
            }
            Kind::Haproxy => haproxy(&site)?,
            Kind::Shunt | Kind::ShuntUncounted => bail!("started elsewhere"),
        };
        let log = folder.join("output.log");
        let mut server = Server::start(&name, &command, Some(self.core), &log)?;
        server
            .wait_until_accepting(addr, START_WITHIN)
            .with_context(|| format!("see {}", log.display()))?;
        Ok(Entrant { label, server, addr })
    }

    fn start_shunt(&self, kind: Kind, label: String) -> Result<Entrant> {
        let binary = self.shunt.as_deref().context("no --shunt was named")?;
        let counting = kind == Kind::Shunt;
        let data = self.work.join(format!("data-{}-{counting}", self.n_links));
        remove_folder(&data)?;
        copy_folder(&prepare::store(&self.work, self.n_links, binary)?, &data)?;
        let mut spec = ShuntSpec::new(binary, &data);
        spec.core = Some(self.core);
        spec.counting = counting;
        if let Some(file) = &self.geoip {
            let path = file.canonicalize().context("find the database of places")?;
            let files = format!("[{:?}]", path.display().to_string());
            spec.environment.push(("SHUNT_CLICKS__GEOIP".to_owned(), files));
            let trusted = r#"["127.0.0.0/8"]"#.to_owned();
            spec.environment.push(("SHUNT_HTTP__TRUSTED_PROXIES".to_owned(), trusted));
        }
        let mut shunt = spec.start(START_WITHIN)?;
        let n_links = self.n_links as f64;
        shunt.wait_for_metrics(START_WITHIN, "load every link", |scrape| {
            scrape.total("shunt_links_in_memory") >= n_links
        })?;
        Ok(Entrant { label, server: shunt.server, addr: shunt.public })
    }
}

/// A reference server of this very program.
pub(super) fn reference(name: &str, addr: SocketAddr) -> Result<Command> {
    let program = std::env::current_exe().context("find this program")?;
    let mut command = Command::new(program);
    command.arg(name).arg("--listen").arg(addr.to_string());
    Ok(command)
}

/// What a configuration file of a foreign server is made from.
struct Site<'a> {
    folder: &'a Path,
    addr: SocketAddr,
    files: &'a LinkFiles,
}

fn nginx(site: &Site<'_>, n_links: u64, access_log: &str) -> Result<Command> {
    let Site { folder, addr, files } = site;
    // Two buckets per link keep every chain within one bucket.
    let buckets = (n_links * 2).max(2_048);
    let config = format!(
        "worker_processes 1;\n\
         daemon off;\n\
         user root;\n\
         pid {folder}/nginx.pid;\n\
         error_log stderr warn;\n\
         events {{ worker_connections 4096; use epoll; multi_accept on; }}\n\
         http {{\n\
         \x20 access_log {access_log};\n\
         \x20 keepalive_requests 1000000000;\n\
         \x20 keepalive_timeout 3600s;\n\
         \x20 tcp_nodelay on;\n\
         \x20 client_body_temp_path {folder}/body;\n\
         \x20 proxy_temp_path {folder}/proxy;\n\
         \x20 fastcgi_temp_path {folder}/fastcgi;\n\
         \x20 uwsgi_temp_path {folder}/uwsgi;\n\
         \x20 scgi_temp_path {folder}/scgi;\n\
         \x20 map_hash_max_size {buckets};\n\
         \x20 map_hash_bucket_size 512;\n\
         \x20 map $uri $target {{ default \"\"; include {map}; }}\n\
         \x20 server {{\n\
         \x20   listen {addr};\n\
         \x20   location / {{\n\
         \x20     if ($target = \"\") {{ return 404; }}\n\
         \x20     return 302 $target;\n\
         \x20   }}\n\
         \x20 }}\n\
         }}\n",
        folder = folder.display(),
        map = files.nginx_map.display(),
    );
    let path = folder.join("nginx.conf");
    fs::write(&path, config).with_context(|| format!("write {}", path.display()))?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(folder).arg("-c").arg(path);
    Ok(command)
}

fn haproxy(site: &Site<'_>) -> Result<Command> {
    let Site { folder, addr, files } = site;
    let config = format!(
        "global\n\
         \x20 nbthread 1\n\
         \x20 maxconn 4096\n\
         defaults\n\
         \x20 mode http\n\
         \x20 timeout client 1h\n\
         \x20 timeout connect 5s\n\
         \x20 timeout server 1h\n\
         \x20 timeout http-keep-alive 1h\n\
         frontend redirects\n\
         \x20 bind {addr}\n\
         \x20 http-request set-var(txn.target) path,map_str({map})\n\
         \x20 http-request return status 404 unless {{ var(txn.target) -m found }}\n\
         \x20 http-request redirect location %[var(txn.target)] code 302\n",
        map = files.haproxy_map.display(),
    );
    let path = folder.join("haproxy.cfg");
    fs::write(&path, config).with_context(|| format!("write {}", path.display()))?;
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(path);
    Ok(command)
}
