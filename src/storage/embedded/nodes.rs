//! Blocks of ids and clock marks.

use async_trait::async_trait;
use rusqlite::OptionalExtension;

use super::Embedded;
use super::fault::Fault;
use super::readers::Lane;
use super::writer::Writer;
use crate::domain::time::Timestamp;
use crate::storage::{NodeStore, Op, StorageError, StorageErrorKind, StorageResult};

#[async_trait]
impl NodeStore for Embedded {
    async fn lease_block(&self, space: &str, size: u64) -> StorageResult<u64> {
        let space = space.to_owned();
        self.write("lease_block", move |conn| {
            let size = i64::try_from(size).map_err(|error| Fault::Invalid(error.to_string()))?;
            let next: i64 = conn
                .prepare_cached(
                    "INSERT INTO id_blocks (space, next) VALUES (?1, ?2)
                     ON CONFLICT (space) DO UPDATE SET next = next + excluded.next RETURNING next",
                )?
                .query_row((space, size), |row| row.get(0))?;
            Ok((next - size) as u64)
        })
        .await
    }

    async fn clock_mark(&self, node: u16) -> StorageResult<Timestamp> {
        self.read("clock_mark", Lane::Short, move |conn| {
            let mark = conn
                .prepare_cached("SELECT mark FROM clock_marks WHERE node = ?1")?
                .query_row([node], |row| row.get(0))
                .optional()?;
            Ok(Timestamp(mark.unwrap_or(0)))
        })
        .await
    }

    async fn raise_clock_mark(&self, node: u16, mark: Timestamp) -> StorageResult<()> {
        self.write("raise_clock_mark", move |conn| {
            conn.prepare_cached(
                "INSERT INTO clock_marks (node, mark) VALUES (?1, ?2)
                 ON CONFLICT (node) DO UPDATE SET mark = max(mark, excluded.mark)",
            )?
            .execute((node, mark.as_millis()))?;
            Ok(())
        })
        .await
    }

    /// As long as writes go well there is nothing to try out. After one that did not, a small one
    /// is tried, so that a store without visitors gets well again too.
    async fn check_writes(&self) -> StorageResult<()> {
        const OP: Op = "check_writes";
        match self.inner.writer.as_ref().and_then(Writer::trouble) {
            None => Ok(()),
            Some(trouble) if trouble.recent() => {
                Err(StorageError::new(StorageErrorKind::Unavailable, OP, trouble.text))
            }
            Some(_) => self.write(OP, |conn| super::count_up(conn, "write_checks", 1)).await,
        }
    }
}
