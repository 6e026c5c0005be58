//! Keys of visitors, one per day. A key that is destroyed is overwritten where it stood.

use rusqlite::Connection;

use super::fault::{Fault, Outcome};
use crate::domain::visitor::VisitorKey;

/// The keys that there are now.
pub(super) struct Rotated {
    pub(super) keys: Vec<(u32, VisitorKey)>,
    /// Some are gone; the write-ahead log still has them.
    pub(super) destroyed: bool,
}

/// Makes the keys of `today` and the day after, destroys those before `oldest`, answers all.
pub(super) fn rotate(conn: &Connection, oldest: u32, today: u32) -> Outcome<Rotated> {
    for day in [today, today.saturating_add(1)] {
        let mut key = [0; VisitorKey::BYTES];
        getrandom::fill(&mut key)
            .map_err(|error| Fault::Invalid(format!("no randomness for a key: {error}")))?;
        conn.prepare_cached(
            "INSERT INTO visitor_keys (day, key) VALUES (?1, ?2) ON CONFLICT (day) DO NOTHING",
        )?
        .execute((day, &key[..]))?;
    }
    let destroyed = conn
        .prepare_cached("DELETE FROM visitor_keys WHERE day < ?1")?
        .execute([oldest.min(today)])?;
    let mut statement = conn.prepare_cached("SELECT day, key FROM visitor_keys ORDER BY day")?;
    let mut found = statement.query([])?;
    let mut keys = Vec::new();
    while let Some(row) = found.next()? {
        keys.push((row.get(0)?, VisitorKey::new(row.get(1)?)));
    }
    Ok(Rotated { keys, destroyed: destroyed > 0 })
}
