//! Keeps the write-ahead log from growing without end.
//!
//! SQLite writes the log back by itself, but begins it anew only in a moment without readers. Reads
//! that always overlap leave no such moment, so one is made: readers that come while the writer
//! waits need nothing of the log once all of it is written back.

use std::fs;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::BUSY_WAIT_MAX;
use super::fault::Outcome;

/// Bytes of the log above which it is cut off by force. SQLite's own way ends at a quarter of it.
const LOG_BYTES_MAX: u64 = 256 << 20;
/// How long the writer stands still for readers that are under way.
const READERS_WAIT_MAX: Duration = Duration::from_millis(250);
/// Pause between two tries.
const TRY_EVERY: Duration = Duration::from_secs(10);

pub(super) struct LogBound {
    pub(super) bytes_max: u64,
    pub(super) tried_at: Option<Instant>,
}

impl Default for LogBound {
    fn default() -> Self {
        Self { bytes_max: LOG_BYTES_MAX, tried_at: None }
    }
}

impl LogBound {
    /// Cuts the log off when it is too long. Readers that do not end in time put it off. Call
    /// outside a transaction.
    pub(super) fn keep(&mut self, conn: &Connection) -> Outcome<()> {
        let too_long = log_bytes(conn) > self.bytes_max;
        if !too_long || self.tried_at.is_some_and(|at| at.elapsed() < TRY_EVERY) {
            return Ok(());
        }
        // Where readers were in the way, the next try comes all the same.
        self.cut(conn).map(|_| ())
    }

    /// Writes the log back and cuts it off; false when readers were in the way.
    pub(super) fn cut(&mut self, conn: &Connection) -> Outcome<bool> {
        self.tried_at = Some(Instant::now());
        conn.busy_timeout(READERS_WAIT_MAX)?;
        let busy = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
        conn.busy_timeout(BUSY_WAIT_MAX)?;
        Ok(!busy?)
    }
}

fn log_bytes(conn: &Connection) -> u64 {
    let file = conn.path().unwrap_or_default();
    fs::metadata(format!("{file}-wal")).map_or(0, |found| found.len())
}
