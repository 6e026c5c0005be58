//! The embedded store: SQLite in write-ahead mode, one writer thread with group commit, a few
//! readers.
//!
//! Any number of processes may have the same store open; SQLite's locks keep them apart. Who needs
//! to be the only one (a server, an import into the store itself) takes a `StoreLock` besides.

mod accounts;
mod audit;
pub mod backup;
mod check;
mod clicks;
mod days;
mod deltas;
mod epochs;
mod erase;
mod fault;
mod fold;
mod health;
mod imports;
mod join;
mod keys;
mod links;
mod list;
mod load;
mod log;
mod mend;
pub mod moving;
mod nodes;
mod outline;
mod pages;
mod people;
mod prune;
mod queue;
mod readers;
mod replays;
pub mod restore;
mod rows;
mod schema;
mod search;
mod signing;
mod stats;
mod unfolded;
mod upkeep;
pub mod verify;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use self::audit::Log;
use self::fault::{Fault, Outcome};
use self::readers::{Lane, Readers};
use self::stats::ahead::Ahead;
use self::upkeep::Upkeep;
use self::writer::Writer;
use crate::domain::audit::{Act, AuditKey};
use crate::domain::units::Size;
use crate::storage::{Op, StorageError, StorageErrorKind, StorageResult, Stores, private};

/// Name of the database inside the store's folder.
pub const FILE_NAME: &str = "shunt.db";

/// How an embedded store is run; `[storage]` says it with these names.
#[derive(Clone, Debug)]
pub struct EmbeddedConfig {
    /// Threads for short reads, 1 to 32. Loads of links that are not in memory wait for these.
    pub short_readers: usize,
    /// Threads for lists, searches and scans, 1 to 32.
    pub long_readers: usize,
    /// Bound of the database file; 0B is none. When it is reached, writes fail and reads go on.
    pub size_max: Size,
}

impl Default for EmbeddedConfig {
    fn default() -> Self {
        Self { short_readers: 2, long_readers: 2, size_max: Size(0) }
    }
}

/// What to do when there is no store yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Create,
    /// Answers `Unavailable` and creates nothing.
    Existing,
    /// Like `Existing`, and nothing is written: every write is refused as `Invalid`, and so is a
    /// store of an older layout.
    ReadOnly,
}

/// An open store. Clones share it; the last one to go finishes what waits and closes it.
#[derive(Clone)]
pub struct Embedded {
    inner: Arc<Inner>,
}

struct Inner {
    /// `None`: the store is open to be read.
    writer: Option<Writer>,
    readers: Readers,
    /// Without a writer, the connection that closes last: of several that close at once, each would
    /// leave the log to the others.
    last: Mutex<Option<Connection>>,
    /// A search found much that is not indexed: index faster for a while.
    hurry: Arc<AtomicBool>,
    /// The log holds something that was destroyed, and is to be written back and cut off.
    cut_log: Arc<AtomicBool>,
    ahead: Ahead,
    /// Seals the audit log.
    audit_key: OnceLock<AuditKey>,
}

impl Embedded {
    /// Opens the store in the folder `path` with default settings; see [`Embedded::open_with`].
    pub fn open(path: &Path, mode: Mode) -> StorageResult<Self> {
        Self::open_with(path, mode, &EmbeddedConfig::default())
    }

    /// Opens the store in the folder `path` and brings its layout up to date. Kinds: `Unavailable`
    /// (cannot be opened, or is absent), `Corrupt` (damaged; says what to run), `Invalid` (written
    /// by a newer version or another program).
    pub fn open_with(path: &Path, mode: Mode, config: &EmbeddedConfig) -> StorageResult<Self> {
        const OP: Op = "open";
        let file: Arc<Path> = database_file(path).into();
        if mode != Mode::Create && !file.exists() {
            let absent = format!("there is no store in {}", path.display());
            return Err(StorageError::new(StorageErrorKind::Unavailable, OP, absent));
        }
        let refuse = |error: std::io::Error| {
            let text = format!("{}: {error}", file.display());
            StorageError::new(StorageErrorKind::Unavailable, OP, text)
        };
        if mode == Mode::Create {
            private::create_folder(path).map_err(refuse)?;
        }
        if mode == Mode::Create && !file.exists() {
            // SQLite gives the files beside it the same mode.
            private::create_file(&file).map_err(refuse)?;
        }
        let (hurry, cut_log) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let open = || -> Outcome<_> {
            let (writing, last) = match mode {
                Mode::Create | Mode::Existing => (Some(open_for_writing(&file, config)?), None),
                Mode::ReadOnly => {
                    let last = open_for_reading(&file)?;
                    schema::refuse_others(&last)?;
                    (None, Some(last))
                }
            };
            let connect = |n: usize| (0..n).map(|_| open_for_reading(&file)).collect();
            let short: Outcome<Vec<_>> = connect(config.short_readers.max(1));
            let long: Outcome<Vec<_>> = connect(config.long_readers.max(1));
            let writing = match writing {
                Some(conn) => {
                    // An earlier process did not come to it.
                    cut_log.store(people::scrub::is_due(&conn)?, Ordering::Relaxed);
                    let upkeep = Upkeep::new(&conn, Arc::clone(&hurry))?;
                    Some((upkeep.cutting(Arc::clone(&cut_log)), conn))
                }
                None => None,
            };
            Ok((writing, last, short?, long?))
        };
        let (writing, last, short, long) = open().map_err(|fault| fault.into_error(OP, &file))?;
        let start = |(upkeep, conn)| Writer::start(conn, upkeep, Arc::clone(&file));
        let writer = writing.map(start).transpose().map_err(refuse)?;
        let readers = Readers::start(short, long, Arc::clone(&file)).map_err(refuse)?;
        let (last, ahead) = (Mutex::new(last), Ahead::new());
        let audit_key = OnceLock::new();
        let inner = Inner { writer, readers, last, hurry, cut_log, ahead, audit_key };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Has the audit log sealed with this key from now on; the first one given counts. Without one,
    /// what is to be told in the log is refused as `Invalid`.
    pub fn seal_audit_log(&self, key: AuditKey) {
        let _had_one = self.inner.audit_key.set(key);
    }

    /// The ports of this store.
    pub fn stores(&self) -> Stores {
        let this = Arc::new(self.clone());
        Stores {
            links: Arc::clone(&this) as _,
            clicks: Arc::clone(&this) as _,
            stats: Arc::clone(&this) as _,
            accounts: Arc::clone(&this) as _,
            users: Arc::clone(&this) as _,
            teams: Arc::clone(&this) as _,
            sessions: Arc::clone(&this) as _,
            nodes: Arc::clone(&this) as _,
            replays: Arc::clone(&this) as _,
            signing: Arc::clone(&this) as _,
            audit: this,
        }
    }

    /// Finishes what waits and closes the file, whoever still holds the store: what they ask for
    /// later is refused as `Unavailable`. The write-ahead log is written back, so that the one
    /// file is whole. Blocks.
    pub fn close(&self) {
        self.inner.readers.close();
        // The last connection writes the log back.
        if let Some(writer) = &self.inner.writer {
            writer.close();
        }
        drop(self.inner.last.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Folds all clicks and indexes all texts now, instead of bit by bit when nothing else is to be
    /// done. Nothing depends on it but speed; for measurements and tests.
    pub async fn settle(&self) -> StorageResult<()> {
        while self.write("settle", upkeep::settle_some).await? {}
        Ok(())
    }

    fn audit_key(&self) -> Option<AuditKey> {
        self.inner.audit_key.get().copied()
    }

    /// What an operation that `act` brings about adds to the audit log.
    fn log(&self, act: Option<Act>) -> Log {
        Log { key: self.audit_key(), act }
    }

    async fn write<T, F>(&self, op: Op, work: F) -> StorageResult<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Outcome<T> + Send + 'static,
    {
        let refused = || {
            let why = "the store was opened to be read";
            StorageError::new(StorageErrorKind::Invalid, op, why)
        };
        self.inner.writer.as_ref().ok_or_else(refused)?.run(op, work).await
    }

    /// Like `write`, for what must leave no trace: freed pages are overwritten as well, whatever
    /// that costs, and the log is cut off when there is time.
    async fn write_erasing<T, F>(&self, op: Op, work: F) -> StorageResult<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Outcome<T> + Send + 'static,
    {
        let done = self.write_clean(op, work).await?;
        self.inner.cut_log.store(true, Ordering::Relaxed);
        Ok(done)
    }

    /// Like `write`, for tables that hold what may have to leave no trace one day: freed pages are
    /// overwritten as well.
    async fn write_clean<T, F>(&self, op: Op, work: F) -> StorageResult<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Outcome<T> + Send + 'static,
    {
        let clean = move |conn: &Connection| {
            conn.execute_batch("PRAGMA secure_delete = ON")?;
            let done = work(conn);
            conn.execute_batch("PRAGMA secure_delete = FAST")?;
            done
        };
        self.write(op, clean).await
    }

    async fn read<T, F>(&self, op: Op, lane: Lane, work: F) -> StorageResult<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Outcome<T> + Send + 'static,
    {
        self.inner.readers.run(op, lane, work).await
    }
}

/// The database of the store in the folder `path`.
pub fn database_file(path: &Path) -> PathBuf {
    path.join(FILE_NAME)
}

fn open_for_writing(file: &Path, config: &EmbeddedConfig) -> Outcome<Connection> {
    let conn = Connection::open_with_flags(
        file,
        OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    conn.busy_timeout(BUSY_WAIT_MAX)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    schema::refuse_strangers(&conn)?;
    conn.execute_batch(
        "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA foreign_keys = ON;
         PRAGMA secure_delete = FAST;
         PRAGMA temp_store = MEMORY;
         PRAGMA cache_size = -65536;
         PRAGMA wal_autocheckpoint = 16000;
         PRAGMA journal_size_limit = 67108864;",
    )?;
    schema::migrate(&conn)?;
    if config.size_max.0 > 0 {
        let page: i64 = conn.query_row("PRAGMA page_size", [], |row| row.get(0))?;
        let pages = (config.size_max.0 as i64 / page.max(1)).max(1);
        conn.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?;
    }
    Ok(conn)
}

fn open_for_reading(file: &Path) -> Outcome<Connection> {
    let conn = Connection::open_with_flags(
        file,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    conn.busy_timeout(BUSY_WAIT_MAX)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    conn.execute_batch(
        "PRAGMA query_only = ON; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16384;",
    )?;
    search::register(&conn)?;
    Ok(conn)
}

// What is deleted is overwritten where that costs no further write (`secure_delete`). Checkpoints
// every 64 MiB: an import writes the same index pages again and again, and each is copied once.

/// How long a statement waits for another process before it gives up.
const BUSY_WAIT_MAX: Duration = Duration::from_secs(5);
/// Prepared statements that a connection keeps.
const STATEMENTS_MAX: usize = 128;

/// Bit pattern of an id in SQLite's signed column.
fn signed(id: crate::domain::id::Id) -> i64 {
    id.0 as i64
}

/// Back from [`signed`].
fn unsigned(value: i64) -> crate::domain::id::Id {
    crate::domain::id::Id(value as u64)
}

/// Adds `by` to a named counter.
fn count_up(conn: &Connection, name: &str, by: i64) -> Outcome<()> {
    if by == 0 {
        return Ok(());
    }
    conn.prepare_cached(
        "INSERT INTO counters (name, value) VALUES (?1, ?2)
         ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
    )?
    .execute((name, by))?;
    Ok(())
}

/// Value of a named counter; zero when nobody counted yet.
fn counter(conn: &Connection, name: &str) -> Outcome<i64> {
    use rusqlite::OptionalExtension;
    let value = conn
        .prepare_cached("SELECT value FROM counters WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    Ok(value.unwrap_or(0))
}

/// A byte that stands for an enum value.
fn word<T>(value: Option<T>, what: &str, byte: i64) -> Outcome<T> {
    value.ok_or_else(|| Fault::corrupt(format!("{byte} is not a {what}")))
}
