//! Where addresses are: country, region, city and continent, from MaxMind databases.
//!
//! Counters ask through a [`Finder`] each, off the path of requests. Files are read whole and
//! checked before they serve (`database`); a thread ([`Watch`]) notices when one was replaced,
//! reads the new one and swaps it in between two look-ups. A new file that cannot be used is
//! refused, and what was read before goes on to serve.
//!
//! Several files are asked in the order of the settings, and the first that knows a thing is
//! believed (`finder`). So files for IPv4 and for IPv6, or one of cities and one of countries, make
//! up for each other's gaps.

mod attribution;
mod continents;
mod database;
mod finder;
mod record;
mod tree;
mod watch;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::{info, warn};

use self::database::{Database, DatabaseError, Stamp};
use self::finder::Serving;
use crate::domain::time::{Timestamp, millis};

pub use self::finder::{Finder, Found, NOWHERE};
pub use self::watch::Watch;

/// Most files that are asked for one address.
pub const FILES_MAX: usize = 8;
/// How long a file must have been left alone before a running server reads it. Stamps of files are
/// as coarse as 10 ms: a second change within one of them could not be told from the first.
const SETTLED_AFTER_MS: i64 = 1_000;
/// Longest account of what is wrong with a file, in bytes.
const ERROR_BYTES_MAX: usize = 512;
/// The beginning of the year 10000, in seconds since 1970.
const SECS_END: i64 = 253_402_300_800;

/// Where an address is, as far as the databases know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Place {
    /// Two letters: AF, AN, AS, EU, NA, OC or SA.
    pub continent: Option<Box<str>>,
    /// ISO 3166-1 alpha-2, upper case.
    pub country: Option<Box<str>>,
    /// The largest part of the country: its English name, or else its ISO code.
    pub region: Option<Box<str>>,
    /// English name.
    pub city: Option<Box<str>>,
}

/// The databases, shared by everybody who asks or watches.
pub struct Places {
    /// Held by the one who looks at the files, for as long as that takes.
    files: Mutex<Vec<GeoFile>>,
    shown: Mutex<Shown>,
    /// That of `shown.serving`, so that nobody has to lock to see that nothing changed.
    version: AtomicU32,
    ended: AtomicBool,
}

/// How one file is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatabaseHealth {
    pub path: PathBuf,
    /// As the file names it, such as `GeoLite2-City`. This and the following are of the file that
    /// serves, which an error may say is not the one that lies there now.
    pub database_type: Option<String>,
    /// When its maker built it.
    pub built_at: Option<Timestamp>,
    /// When this process read it; `None` if it serves nothing.
    pub loaded_at: Option<Timestamp>,
    pub bytes: u64,
    /// Different records in it, and how many of them tell something of a place.
    pub n_records: u64,
    pub n_places: u64,
    /// What its licence asks to be shown wherever its answers are.
    pub attribution: Option<String>,
    /// Why the file that lies there does not serve.
    pub error: Option<String>,
}

/// What others may see at any time.
#[derive(Default)]
struct Shown {
    serving: Arc<Serving>,
    health: Vec<DatabaseHealth>,
}

struct GeoFile {
    /// The file that was looked at last, used or refused.
    seen: Option<Stamp>,
    database: Option<Arc<Database>>,
    health: DatabaseHealth,
}

impl Places {
    /// Reads the files, some 50 ms for countries and a second for cities. One that cannot be used
    /// is told in [`Places::health`] and in the log, and the others serve.
    pub fn open(paths: &[PathBuf]) -> Self {
        let places = Self {
            files: Mutex::new(paths.iter().cloned().map(GeoFile::new).collect()),
            shown: Mutex::default(),
            version: AtomicU32::new(0),
            ended: AtomicBool::new(false),
        };
        // Nothing serves that could be kept instead, so a file is tried even if it is new.
        places.look(i64::MAX);
        places
    }

    /// A handle for one thread that asks often.
    pub fn finder(self: &Arc<Self>) -> Finder {
        Finder::new(Arc::clone(self))
    }

    /// Where an address is, for who asks seldom.
    pub fn place_of(&self, address: IpAddr) -> Place {
        self.serving().place(address)
    }

    /// How each file is doing, in the order of the settings.
    pub fn health(&self) -> Vec<DatabaseHealth> {
        lock(&self.shown).health.clone()
    }

    /// What the licences ask to be shown wherever places are, each text once.
    pub fn attributions(&self) -> Vec<String> {
        let mut texts: Vec<String> = Vec::new();
        for text in self.health().into_iter().filter_map(|health| health.attribution) {
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        texts
    }

    /// Looks whether files were replaced, and swaps in those that can be used. Reads whole files:
    /// for a thread of its own, see [`Watch`].
    pub fn refresh(&self) {
        self.look(now_ms());
    }

    fn look(&self, now_ms: i64) {
        let mut files = lock(&self.files);
        for index in 0..files.len() {
            // Shown one by one, so that a file that can be used does not wait for the next.
            if files[index].look(index, now_ms, &self.ended) {
                self.show(&files);
            }
        }
    }

    fn show(&self, files: &[GeoFile]) {
        let databases: Vec<_> = files.iter().filter_map(|file| file.database.clone()).collect();
        let mut shown = lock(&self.shown);
        shown.health = files.iter().map(|file| file.health.clone()).collect();
        let old = &shown.serving.databases;
        let same = old.len() == databases.len()
            && old.iter().zip(&databases).all(|(old, new)| Arc::ptr_eq(old, new));
        if !same {
            let version = shown.serving.version.wrapping_add(1);
            shown.serving = Arc::new(Serving { version, databases });
            self.version.store(version, Ordering::Release);
        }
    }

    fn serving(&self) -> Arc<Serving> {
        Arc::clone(&lock(&self.shown).serving)
    }

    fn version(&self) -> u32 {
        self.version.load(Ordering::Acquire)
    }

    fn is_empty(&self) -> bool {
        lock(&self.files).is_empty()
    }

    fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    fn ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

impl GeoFile {
    fn new(path: PathBuf) -> Self {
        let health = DatabaseHealth { path, ..DatabaseHealth::default() };
        Self { seen: None, database: None, health }
    }

    /// True if there is something new to show.
    fn look(&mut self, index: usize, now_ms: i64, ended: &AtomicBool) -> bool {
        if index >= FILES_MAX {
            return self.refuse(format!("only the first {FILES_MAX} databases are used"));
        }
        let stamp = match Stamp::of(&self.health.path) {
            Ok(stamp) => stamp,
            Err(error) => {
                // Whatever comes there next is new.
                self.seen = None;
                return self.refuse(error.to_string());
            }
        };
        let age_ms = now_ms.saturating_sub(stamp.modified_ms());
        if self.seen == Some(stamp) || (0..SETTLED_AFTER_MS).contains(&age_ms) {
            return false;
        }
        self.seen = Some(stamp);
        match Database::open(&self.health.path, stamp, ended) {
            Ok(database) => self.accept(database),
            Err(DatabaseError::Ended) => false,
            Err(error) => {
                if let DatabaseError::Io(_) = error {
                    // It may get better without a change of the file.
                    self.seen = None;
                }
                self.refuse(error.to_string())
            }
        }
    }

    fn accept(&mut self, database: Database) -> bool {
        let about = &database.about;
        let health = &mut self.health;
        health.attribution = attribution::find(&health.path, about);
        health.database_type = Some(about.database_type.clone());
        health.built_at = built_at(about.built_secs);
        health.loaded_at = Some(Timestamp(now_ms()));
        health.bytes = about.bytes;
        health.n_records = about.n_records as u64;
        health.n_places = about.n_places as u64;
        health.error = None;
        info!(path = %health.path.display(), records = health.n_records, "a GeoIP database serves");
        self.database = Some(Arc::new(database));
        true
    }

    /// Says once what is wrong; the file that was read before goes on to serve.
    fn refuse(&mut self, mut error: String) -> bool {
        // Some errors quote what they found.
        error.truncate(error.floor_char_boundary(ERROR_BYTES_MAX));
        let path = self.health.path.display();
        let text = format!("{path}: {error}");
        if self.health.error.as_ref() == Some(&text) {
            return false;
        }
        warn!(%path, %error, older_one_serves = self.database.is_some(),
            "a GeoIP database cannot be used");
        self.health.error = Some(text);
        true
    }
}

/// None for a time that cannot be written with four digits of a year.
fn built_at(secs: u64) -> Option<Timestamp> {
    let secs = i64::try_from(secs).ok().filter(|secs| *secs < SECS_END)?;
    Some(Timestamp(secs * 1_000))
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    millis(since)
}

/// Nothing that holds these locks can leave its data half-changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
