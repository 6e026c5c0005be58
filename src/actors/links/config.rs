//! `[links]`: how large the table may grow, how long a visitor waits for what is not in it, and
//! where no link may lead.

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::domain::destination::BlockedHosts;
use crate::domain::problems::Problems;
use crate::domain::units::{Size, Span};

/// Used where the machine does not tell how much memory it has.
const MACHINE_MEMORY_UNKNOWN: Size = Size::gib(2);

/// `[links]`: the link table, and where no link may lead.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinksConfig {
    /// Memory of the link table, 1 MiB to 1 TiB. Beyond it, links that were not used lately give
    /// way and are loaded again when asked for. Unset: a quarter of the machine's memory.
    pub memory_max: Option<Size>,

    /// How long the last known target is served while store and change feed are away. A node that
    /// owns its store alone has nothing newer to wait for and serves it for as long as it runs.
    pub stale_max: Span,

    /// Slices of the table, a power of two from 1 to 64. Each has an owner that does its changes.
    pub shards: usize,

    /// Threads that the owners share, 1 to 64. They wait for the store; they do not redirect.
    pub threads: usize,

    /// Longest a visitor waits for a link that is not in memory, 10 ms to 10 s; then the answer
    /// is 503.
    pub load_wait_max: Span,

    /// Loads that the store may be busy with at a time, 1 to 65,536. More are answered 503.
    pub loads_max: usize,

    /// Requests that may wait per owner, 16 to 1,048,576. More are answered 503.
    pub mailbox_max: usize,

    /// Unknown codes remembered for about 5 seconds, 0 to 16,777,216 in all. The oldest give way.
    pub negative_max: usize,

    /// Most clicked links that are loaded before the server says that it is ready, up to
    /// 10,000,000.
    pub warm_hottest: u32,

    /// Longest that loading them holds up the start, 0 ms to 5 minutes. The rest follows behind.
    pub warm_wait_max: Span,

    /// Hosts that no new link, import or change may lead to: names, each with everything below it,
    /// and addresses. Links that are there already stay.
    pub blocked_hosts: Vec<String>,

    /// A file of further such hosts, one per line, with comments after `#`: at most 64MiB. Read at
    /// the start. Unset: none.
    pub blocked_hosts_file: Option<PathBuf>,
}

impl Default for LinksConfig {
    fn default() -> Self {
        Self {
            memory_max: None,
            stale_max: Span::from_secs(86_400),
            shards: 4,
            threads: 1,
            load_wait_max: Span::from_millis(250),
            loads_max: 256,
            mailbox_max: 16_384,
            negative_max: 65_536,
            warm_hottest: 100_000,
            warm_wait_max: Span::from_millis(500),
            blocked_hosts: Vec::new(),
            blocked_hosts_file: None,
        }
    }
}

impl LinksConfig {
    /// Adds a line for every value that the table could not honour.
    pub fn check(&self, problems: &mut Problems) {
        if let Some(memory_max) = self.memory_max {
            problems.range("links.memory_max", memory_max, Size::mib(1)..=Size::gib(1_024));
        }
        problems.range("links.shards", self.shards, 1..=64);
        if !self.shards.is_power_of_two() {
            problems.add(format!("`links.shards` is {}; it must be a power of two", self.shards));
        }
        problems.range("links.threads", self.threads, 1..=64);
        problems.range(
            "links.load_wait_max",
            self.load_wait_max,
            Span::from_millis(10)..=Span::from_secs(10),
        );
        problems.range("links.loads_max", self.loads_max, 1..=65_536);
        problems.range("links.mailbox_max", self.mailbox_max, 16..=1_048_576);
        problems.range("links.negative_max", self.negative_max, 0..=16_777_216);
        problems.range("links.warm_hottest", self.warm_hottest, 0..=10_000_000);
        problems.range(
            "links.warm_wait_max",
            self.warm_wait_max,
            Span::from_millis(0)..=Span::from_secs(300),
        );
        for entry in &self.blocked_hosts {
            if let Err(bad) = BlockedHosts::default().add(entry) {
                problems.add(format!("`links.blocked_hosts` has a bad entry: {bad}"));
            }
        }
        if self.blocked_hosts_file.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
            problems.add("`links.blocked_hosts_file` is empty; it must name a file");
        }
    }

    /// Bytes the table may take: as set, or a quarter of the machine's memory.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_max.unwrap_or_else(|| Size(machine_memory().0 / 4)).0
    }
}

/// Memory of the machine, or of the container when that is less.
fn machine_memory() -> Size {
    let total = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_of(&text));
    let granted = fs::read_to_string("/sys/fs/cgroup/memory.max")
        .ok()
        .and_then(|text| text.trim().parse().ok().map(Size));
    let known = total.into_iter().chain(granted).min();
    known.unwrap_or(MACHINE_MEMORY_UNKNOWN)
}

/// The `MemTotal` line of `/proc/meminfo`, which counts in KiB.
fn total_of(meminfo: &str) -> Option<Size> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(Size(kib.saturating_mul(1_024)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_pass_their_own_check() {
        let mut problems = Problems::default();
        LinksConfig::default().check(&mut problems);
        assert!(problems.is_empty(), "{problems}");
    }

    #[test]
    fn every_wrong_value_is_named() {
        let config = LinksConfig {
            shards: 3,
            loads_max: 0,
            load_wait_max: Span::from_secs(11),
            blocked_hosts_file: Some(PathBuf::new()),
            ..LinksConfig::default()
        };
        let mut problems = Problems::default();
        config.check(&mut problems);
        let text = problems.to_string();
        for key in [
            "`links.shards`",
            "`links.loads_max`",
            "`links.load_wait_max`",
            "`links.blocked_hosts_file`",
        ] {
            assert!(text.contains(key), "{text}");
        }
    }

    #[test]
    fn every_bad_host_is_named() {
        let hosts = |hosts: &[&str]| {
            let blocked_hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
            let mut problems = Problems::default();
            LinksConfig { blocked_hosts, ..LinksConfig::default() }.check(&mut problems);
            problems.sentences().to_vec()
        };
        let good = ["evil.example", "Bücher.example.", "192.0.2.7", "2001:db8::1", "[::1]", "zip"];
        assert_eq!(hosts(&good), Vec::<String>::new());
        let bad = ["", "http://a.example", "evil.example", "a.example/b", "a.example:80", "*.a"];
        let problems = hosts(&bad);
        assert_eq!(problems.len(), 5, "{problems:?}");
        for entry in bad.iter().filter(|entry| **entry != "evil.example") {
            let start = format!("`links.blocked_hosts` has a bad entry: {entry:?} ");
            assert!(problems.iter().any(|problem| problem.starts_with(&start)), "{problems:?}");
        }
    }

    #[test]
    fn the_machine_says_how_much_memory_it_has() {
        let text = "MemTotal:        2048 kB\nMemFree:          12 kB\n";
        assert_eq!(total_of(text), Some(Size::mib(2)));
        assert_eq!(total_of("MemFree: 12 kB\n"), None);
        assert!(LinksConfig::default().memory_bytes() > 0);
    }
}
