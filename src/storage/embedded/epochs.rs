//! What tells whether something that was made from the clicks of a day still holds.

use rusqlite::{Connection, OptionalExtension};

use super::fault::Outcome;

/// How far the clicks of a day went when something was made from them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Epoch {
    /// Counts what was changed or removed: what was made before is made again.
    pub(super) epoch: i64,
    /// Counts what was added.
    pub(super) additions: i64,
}

impl Epoch {
    pub(super) fn read(conn: &Connection, day: u32) -> Outcome<Self> {
        let mut statement =
            conn.prepare_cached("SELECT epoch, additions FROM click_epochs WHERE day = ?1")?;
        let epoch = statement
            .query_row([day], |row| Ok(Self { epoch: row.get(0)?, additions: row.get(1)? }))
            .optional()?;
        Ok(epoch.unwrap_or_default())
    }
}

/// Notes that something of a day was changed or removed, so that what was made from it is made
/// again.
pub(super) fn touch(conn: &Connection, day: u32) -> Outcome<()> {
    conn.prepare_cached(
        "INSERT INTO click_epochs (day, epoch, additions) VALUES (?1, 1, 0)
         ON CONFLICT (day) DO UPDATE SET epoch = epoch + 1",
    )?
    .execute([day])?;
    Ok(())
}

/// Notes that chunks were added to a day.
pub(super) fn grew(conn: &Connection, day: u32) -> Outcome<()> {
    conn.prepare_cached(
        "INSERT INTO click_epochs (day, epoch, additions) VALUES (?1, 0, 1)
         ON CONFLICT (day) DO UPDATE SET additions = additions + 1",
    )?
    .execute([day])?;
    Ok(())
}
