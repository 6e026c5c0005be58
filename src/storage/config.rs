//! Where the store is, and how large it may be.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::domain::problems::Problems;
use crate::domain::units::Size;
use crate::storage::embedded::EmbeddedConfig;

/// `[storage]`: where links and counts are kept.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct StorageConfig {
    /// Folder of the embedded store, the click journal and the keys of this node. Made if absent.
    pub path: PathBuf,
    /// Contact points of a CQL database, used instead of the embedded store. Must be empty: not in
    /// this version.
    pub cql: Vec<String>,
    /// Threads for short reads, 1 to 32. Loads of links that are not in memory wait for these.
    pub short_readers: usize,
    /// Threads for lists, searches and scans, 1 to 32.
    pub long_readers: usize,
    /// Bound of the database file, at least 1MiB; `0B` is none. When it is reached, writes fail
    /// and reads go on.
    pub size_max: Size,
}

impl Default for StorageConfig {
    fn default() -> Self {
        let EmbeddedConfig { short_readers, long_readers, size_max } = EmbeddedConfig::default();
        let (path, cql) = (PathBuf::from("./data"), Vec::new());
        Self { path, cql, short_readers, long_readers, size_max }
    }
}

impl StorageConfig {
    /// Adds a line to `problems` for every value that the store could not honour.
    pub fn check(&self, problems: &mut Problems) {
        if self.path.as_os_str().is_empty() {
            problems.add("`storage.path` is empty; it must name a folder");
        }
        if !self.cql.is_empty() {
            problems.add("`storage.cql` is not empty; this version has the embedded store only");
        }
        problems.range("storage.short_readers", self.short_readers, 1..=32);
        problems.range("storage.long_readers", self.long_readers, 1..=32);
        if self.size_max.0 != 0 && self.size_max < Size::mib(1) {
            problems.add("`storage.size_max` must be 0B (no bound) or at least 1MiB");
        }
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
