//! Places from databases that are written for each test, and from those of MaxMind.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod finding;
mod hostile;
mod layouts;
mod swaps;

#[path = "../../../../../../tests/support/mmdb.rs"]
mod mmdb;

use std::fs::{self, File};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use self::mmdb::Mmdb;
use super::{Place, Places};

/// Databases in a folder of their own, and what they tell.
struct Atlas {
    folder: TempDir,
    places: Arc<Places>,
}

impl Atlas {
    /// Databases in the order in which they are asked.
    fn of(databases: &[Mmdb]) -> Self {
        let folder = TempDir::new().unwrap();
        let paths: Vec<_> =
            (0..databases.len()).map(|index| folder.path().join(format!("{index}.mmdb"))).collect();
        for (path, database) in paths.iter().zip(databases) {
            put(path, &database.bytes());
        }
        Self { folder, places: Arc::new(Places::open(&paths)) }
    }

    fn path(&self, index: usize) -> PathBuf {
        self.folder.path().join(format!("{index}.mmdb"))
    }

    /// `EU DE Berlin/Berlin` of an address, with dashes for what is not known.
    fn tell(&self, address: &str) -> String {
        tell(&self.places.place_of(address.parse().unwrap()))
    }

    fn error(&self, index: usize) -> Option<String> {
        self.places.health()[index].error.clone()
    }
}

fn tell(place: &Place) -> String {
    let Place { continent, country, region, city } = place;
    let [continent, country, region, city] =
        [continent, country, region, city].map(|field| field.as_deref().unwrap_or("-"));
    format!("{continent} {country} {region}/{city}")
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A file of `tests/fixtures/geoip`.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/geoip").join(name)
}

/// Replaces a file at once by one that was left alone for a while.
fn put(path: &Path, bytes: &[u8]) {
    let beside = path.with_extension("new");
    fs::write(&beside, bytes).unwrap();
    age(&beside);
    fs::rename(beside, path).unwrap();
}

/// Writes into the file that is there.
fn overwrite(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    age(path);
}

/// Makes a file look old, and unlike every other one that was made to.
fn age(path: &Path) {
    static N_AGED: AtomicU64 = AtomicU64::new(0);
    let nanos = N_AGED.fetch_add(1_000, Ordering::Relaxed);
    let modified = SystemTime::now() - Duration::from_secs(100) + Duration::from_nanos(nanos);
    File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
}
