//! Leaves no trace of people who were erased.
//!
//! SQLite overwrites a row that goes where it lies. But as rows come and grow it moves others to
//! neighbouring pages, and what it moved stays behind in the free part of the page that it was on.
//! Nobody can tell which pages hold such copies, so all rows are taken out of the tables that name
//! people, which overwrites every page of these, and put back.
//!
//! That costs time by the number of people, so it is done once for many erasures, when there is
//! time: a mark in the store asks for it until it is done, whatever happens to the process.

use rusqlite::Connection;

use super::super::fault::Outcome;
use super::super::{count_up, counter};

/// Counter above zero while somebody who was erased may have left traces.
const MARK: &str = "people_to_scrub";
/// Tables that name people, indexes included.
const TABLES: [&str; 5] = ["users", "identities", "invitations", "workspaces", "api_keys"];

/// Asks for the tables to be scrubbed. In the transaction that removes what names somebody.
pub(super) fn mark(conn: &Connection) -> Outcome<()> {
    count_up(conn, MARK, 1)
}

/// Whether that is to be done.
pub(in super::super) fn is_due(conn: &Connection) -> Outcome<bool> {
    Ok(counter(conn, MARK)? > 0)
}

/// Does it. Call outside a transaction; cut off the log afterwards, which holds what was removed.
pub(in super::super) fn scrub(conn: &Connection) -> Outcome<()> {
    // References are in order again before the transaction ends. Pages are overwritten as a whole
    // where nothing looks at single rows, which foreign keys would.
    conn.execute_batch("PRAGMA foreign_keys = OFF; PRAGMA secure_delete = ON")?;
    let done = rewrite(conn);
    conn.execute_batch("PRAGMA secure_delete = FAST; PRAGMA foreign_keys = ON")?;
    done
}

fn rewrite(conn: &Connection) -> Outcome<()> {
    conn.execute_batch("BEGIN IMMEDIATE")?;
    let done = TABLES.iter().try_for_each(|table| {
        // What is temporary is kept in memory.
        conn.execute_batch(&format!(
            "CREATE TEMP TABLE moved AS SELECT * FROM main.{table};
             DELETE FROM main.{table};
             INSERT INTO main.{table} SELECT * FROM moved;
             DROP TABLE temp.moved;"
        ))
    });
    let done = done.and_then(|()| {
        conn.execute("DELETE FROM counters WHERE name = ?1", [MARK])?;
        conn.execute_batch("COMMIT")
    });
    if done.is_err() && !conn.is_autocommit() {
        conn.execute_batch("ROLLBACK")?;
    }
    Ok(done?)
}
