//! Where the store is, and how large it may be.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::domain::problems::Problems;
use crate::domain::secret::Secret;
use crate::domain::units::Size;
use crate::storage::embedded::EmbeddedConfig;
use crate::storage::scylla::{CqlConfig, FILL_TIMEOUT};

/// `[storage]`: where links and counts are kept.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct StorageConfig {
    /// Folder of the embedded store, the click journal and the keys of this node. Made if absent.
    pub path: PathBuf,
    /// Contact points of a CQL database (Apache Cassandra or ScyllaDB) as `host:port`, used instead
    /// of the embedded store: for several nodes. `storage.path` then holds the click journal only.
    pub cql: Vec<String>,
    /// Keyspace of the CQL database: 1 to 48 of `a-z 0-9 _`, a letter first. Of no effect while
    /// `storage.cql` is empty, like the three that follow.
    pub keyspace: String,
    /// Who logs in to the CQL database. Unset: nobody has to.
    pub cql_user: Option<String>,
    /// The password of `storage.cql_user`. A secret.
    pub cql_password: Option<Secret>,
    /// Copies of every row in the CQL database, 1 to 99, or one number per data centre as in
    /// `{ dc1 = 3, dc2 = 2 }`.
    pub replication: Replication,
    /// Threads for short reads, 1 to 32. Loads of links that are not in memory wait for these.
    pub short_readers: usize,
    /// Threads for lists, searches and scans, 1 to 32.
    pub long_readers: usize,
    /// Bound of the database file, at least 1MiB; `0B` is none. When it is reached, writes fail
    /// and reads go on.
    pub size_max: Size,
}

/// `storage.replication`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged, expecting = "expected a number of copies, or one per data centre")]
pub enum Replication {
    Factor(u8),
    PerDataCentre(BTreeMap<String, u8>),
}

impl Replication {
    fn factors(&self) -> Vec<u8> {
        match self {
            Self::Factor(factor) => vec![*factor],
            Self::PerDataCentre(factors) => factors.values().copied().collect(),
        }
    }
}

impl Default for StorageConfig {
    fn default() -> Self {
        let EmbeddedConfig { short_readers, long_readers, size_max } = EmbeddedConfig::default();
        Self {
            path: PathBuf::from("./data"),
            cql: Vec::new(),
            keyspace: "shunt".to_owned(),
            cql_user: None,
            cql_password: None,
            replication: Replication::Factor(3),
            short_readers,
            long_readers,
            size_max,
        }
    }
}

impl StorageConfig {
    /// Adds a line to `problems` for every value that the store could not honour.
    pub fn check(&self, problems: &mut Problems) {
        if self.path.as_os_str().is_empty() {
            problems.add("`storage.path` is empty; it must name a folder");
        }
        for point in &self.cql {
            let port = point.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>()));
            if !matches!(port, Some((host, Ok(1..))) if !host.is_empty()) {
                problems.add(format!("`storage.cql` has {point:?}; write it as host:port"));
            }
        }
        if self.cql_password.is_some() && self.cql_user.is_none() {
            problems.add("`storage.cql_password` is set, `storage.cql_user` is not");
        }
        if !is_keyspace(&self.keyspace) {
            problems
                .add("`storage.keyspace` must be 1 to 48 of `a-z 0-9 _` and begin with a letter");
        }
        let factors = self.replication.factors();
        if factors.is_empty() || factors.iter().any(|factor| !(1..=99).contains(factor)) {
            problems.add("`storage.replication` must be from 1 to 99, for each data centre");
        }
        problems.range("storage.short_readers", self.short_readers, 1..=32);
        problems.range("storage.long_readers", self.long_readers, 1..=32);
        if self.size_max.0 != 0 && self.size_max < Size::mib(1) {
            problems.add("`storage.size_max` must be 0B (no bound) or at least 1MiB");
        }
    }

    /// The part that the CQL back end takes. `None`: the embedded store is used.
    pub fn database(&self) -> Option<CqlConfig> {
        (!self.cql.is_empty()).then(|| CqlConfig {
            nodes: self.cql.clone(),
            keyspace: self.keyspace.clone(),
            user: self.cql_user.clone(),
            password: self.cql_password.clone(),
            replication: self.replication.clone(),
            fill_timeout: FILL_TIMEOUT,
        })
    }

    /// The part that the embedded store takes.
    pub fn embedded(&self) -> EmbeddedConfig {
        EmbeddedConfig {
            short_readers: self.short_readers,
            long_readers: self.long_readers,
            size_max: self.size_max,
        }
    }
}

fn is_keyspace(name: &str) -> bool {
    let word = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    name.len() <= 48
        && name.bytes().all(word)
        && name.bytes().next().is_some_and(|first| first.is_ascii_lowercase())
}
