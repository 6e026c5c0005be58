//! Runs prepared statements and turns what comes back into what ports answer.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::{Stream, TryStreamExt};
use scylla::deserialize::row::DeserializeRow;
use scylla::response::query_result::{QueryResult, QueryRowsResult};
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::{CqlValue, Row};

use super::Cql;
use super::fault::{fault, pager_fault, row_fault};
use crate::storage::error::{Op, StorageError, StorageErrorKind, StorageResult};
use crate::storage::patience;

impl Cql {
    /// All rows, page by page.
    pub(super) async fn all<R>(
        &self,
        op: Op,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> StorageResult<Vec<R>>
    where
        R: for<'f, 'm> DeserializeRow<'f, 'm> + 'static,
    {
        let read = || {
            Box::pin(async {
                let pager = self.session().execute_iter(statement.clone(), &values).await;
                let rows = pager.map_err(|error| pager_fault(op, error))?.rows_stream::<R>();
                let rows = rows.map_err(|error| damaged(op, error))?;
                rows.map_err(|error| row_fault(op, error)).try_collect().await
            })
        };
        patience::repeatable(op, read).await
    }

    /// All rows, as they come, so many of them at once.
    pub(super) async fn stream<R>(
        &self,
        op: Op,
        statement: &PreparedStatement,
        rows_per_page: i32,
    ) -> StorageResult<impl Stream<Item = StorageResult<R>> + use<R>>
    where
        R: for<'f, 'm> DeserializeRow<'f, 'm> + 'static,
    {
        let mut statement = statement.clone();
        statement.set_page_size(rows_per_page);
        let pager = self.session().execute_iter(statement, ()).await;
        let rows = pager.map_err(|error| pager_fault(op, error))?.rows_stream::<R>();
        let rows = rows.map_err(|error| damaged(op, error))?;
        Ok(rows.map_err(move |error| row_fault(op, error)))
    }

    /// The first row, if there is one. For statements whose answer is one page.
    pub(super) async fn one<R>(
        &self,
        op: Op,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> StorageResult<Option<R>>
    where
        R: for<'f, 'm> DeserializeRow<'f, 'm>,
    {
        let read = || self.execute(op, statement, &values);
        let rows = rows(op, patience::repeatable(op, read).await?)?;
        rows.maybe_first_row().map_err(|error| damaged(op, error))
    }

    /// A plain write. It counts as of now, also when one of its tries arrives late, from a database
    /// node that was silent.
    pub(super) async fn put(
        &self,
        op: Op,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> StorageResult<()> {
        let statement = match statement.get_timestamp() {
            Some(_) => statement,
            None => &self.stamped(statement),
        };
        let write = || self.execute(op, statement, &values);
        patience::repeatable(op, write).await.map(|_| ())
    }

    /// A statement whose writes count as of now, and over every earlier one of this process.
    pub(super) fn stamped(&self, statement: &PreparedStatement) -> PreparedStatement {
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (now, last_write) = (clock.as_micros() as i64, &self.shared.last_write);
        let last = last_write.fetch_max(now, Ordering::Relaxed);
        // Of two writes the later one counts, also while the clock is behind.
        let stamp = match now > last {
            true => now,
            false => last_write.fetch_add(1, Ordering::Relaxed) + 1,
        };
        let mut statement = statement.clone();
        statement.set_timestamp(Some(stamp));
        statement
    }

    /// A conditional write: whether it was applied. Kind `Timeout`: nobody knows; read with a
    /// statement of the kind `serial` to find out.
    pub(super) async fn apply(
        &self,
        op: Op,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> StorageResult<bool> {
        applied(op, patience::statement(op, self.execute(op, statement, &values)).await?)
    }

    fn execute<'a>(
        &'a self,
        op: Op,
        statement: &'a PreparedStatement,
        values: &'a impl SerializeRow,
    ) -> Pin<Box<impl Future<Output = StorageResult<QueryResult>>>> {
        Box::pin(async move {
            let result = self.session().execute_unpaged(statement, values).await;
            result.map_err(|error| fault(op, error))
        })
    }
}

fn rows(op: Op, result: QueryResult) -> StorageResult<QueryRowsResult> {
    result.into_rows_result().map_err(|error| damaged(op, error))
}

/// The first column of the first row. What follows differs between databases.
pub(super) fn applied(op: Op, result: QueryResult) -> StorageResult<bool> {
    let row: Option<Row> =
        rows(op, result)?.maybe_first_row().map_err(|error| damaged(op, error))?;
    match row.and_then(|row| row.columns.into_iter().next().flatten()) {
        Some(CqlValue::Boolean(applied)) => Ok(applied),
        _ => Err(damaged(op, "a conditional write did not say whether it was applied")),
    }
}

pub(super) fn damaged(
    op: Op,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> StorageError {
    StorageError::new(StorageErrorKind::Damaged, op, error)
}
