//! Moves a database, whole: reads its tables as records, and writes records as rows.
//!
//! Rows that are put are plain writes that may all be repeated, and older than every later write,
//! whatever clocks say: they carry the first times that there are. How far the import came is noted
//! behind them.

mod rows;

use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;

use super::clicks::CqlClicks;
use super::{Cql, CqlConfig, OpenError};
use crate::domain::audit::AuditKey;
use crate::storage::error::{Op, StorageError, StorageErrorKind, StorageResult};
use crate::storage::moving::{Kind, Move, MoveStore, Out, Record};
use crate::storage::secrets::Secrets;

pub(super) const SCAN: Op = "scan_records";
pub(super) const PUT: Op = "put_records";
/// Records that are put at once.
const AT_ONCE: usize = 64;
/// Rows of a whole table that are read at once.
pub(super) const ROWS_PER_PAGE: i32 = 1_000;
/// How often, and how far apart, a write that the database did not take in time is tried.
const TRIES: u32 = 20;
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// A database to read everything from, or to put everything into.
pub struct CqlMove {
    cql: Cql,
    clicks: CqlClicks,
    audit_key: OnceLock<AuditKey>,
}

impl CqlMove {
    /// Opens a database that is there.
    pub async fn open(config: &CqlConfig) -> Result<Self, OpenError> {
        let cql = Box::pin(Cql::open(config)).await?;
        Ok(Self::of(cql))
    }

    /// The same, and makes the keyspace and its tables as far as they are missing.
    pub async fn make(config: &CqlConfig) -> Result<Self, OpenError> {
        Cql::migrate(config).await?;
        Self::open(config).await
    }

    /// Of a database that is open.
    pub fn of(cql: Cql) -> Self {
        let clicks = cql.moved_clicks();
        Self { cql, clicks, audit_key: OnceLock::new() }
    }

    async fn audit_key(&self, op: Op) -> StorageResult<AuditKey> {
        if let Some(key) = self.audit_key.get() {
            return Ok(*key);
        }
        let invalid = |reason: String| StorageError::new(StorageErrorKind::Invalid, op, reason);
        let text = self.cql.secrets_text(op).await?;
        let text = text.ok_or_else(|| invalid("the database holds no secrets".into()))?;
        let secrets = Secrets::from_text(&text).map_err(invalid)?;
        Ok(*self.audit_key.get_or_init(|| AuditKey::of(&secrets.api_keys)))
    }

    async fn put_one(&self, number: u64, record: &Record) -> StorageResult<()> {
        let cql = &self.cql;
        match record {
            Record::Workspaces(_)
            | Record::Users(_)
            | Record::Identities(_)
            | Record::Clients(_)
            | Record::Members(_)
            | Record::Invitations(_)
            | Record::Sessions(_)
            | Record::Tickets(_)
            | Record::ApiKeys(_) => Box::pin(cql.put_person(record)).await,
            Record::AccessChanges(record) => cql.put_access_change(number, record).await,
            Record::Audit(record) => cql.put_entry(record).await,
            Record::Links(record) => Box::pin(cql.put_link(record)).await,
            Record::ClickDays(record) => Box::pin(self.clicks.put_day(record)).await,
            Record::Clicks(record) => Box::pin(self.clicks.put_moved_clicks(number, record)).await,
            Record::ClickTotals(record) => self.clicks.put_total(record).await,
            record => Box::pin(cql.put_row(record)).await,
        }
    }
}

#[async_trait]
impl MoveStore for CqlMove {
    async fn settle(&self) -> StorageResult<()> {
        const OP: Op = "settle_store";
        self.cql.refuse_servers(OP).await?;
        self.clicks.settle_all(OP).await?;
        self.cql.refuse_unfinished(OP).await
    }

    async fn scan(&self, kind: Kind, out: Out) -> StorageResult<()> {
        let cql = &self.cql;
        match kind {
            Kind::Workspaces | Kind::Members | Kind::Invitations => {
                Box::pin(cql.scan_teams(kind, out)).await
            }
            Kind::Users | Kind::Sessions | Kind::Tickets => {
                Box::pin(cql.scan_people(kind, out)).await
            }
            Kind::Identities => Box::pin(cql.scan_identities(out)).await,
            Kind::Clients => Box::pin(cql.scan_clients(out)).await,
            Kind::ApiKeys => Box::pin(cql.scan_keys(out)).await,
            Kind::AccessChanges => Box::pin(cql.scan_access_changes(out)).await,
            Kind::Audit => cql.scan_log(self.audit_key(SCAN).await?, out).await,
            Kind::Links => Box::pin(cql.scan_all_links(out)).await,
            Kind::ClickDays => Box::pin(self.clicks.scan_days(out)).await,
            Kind::Clicks => Box::pin(self.clicks.scan_clicks(out)).await,
            Kind::ClickTotals => Box::pin(self.clicks.scan_totals(out)).await,
            _ => Box::pin(cql.scan_rows(kind, out)).await,
        }
    }

    async fn moved(&self) -> StorageResult<Option<Move>> {
        self.cql.moved().await
    }

    async fn begin(&self, archive: [u8; 32]) -> StorageResult<bool> {
        const OP: Op = "begin_import";
        let statements = &self.cql.statements().moving;
        if !self.cql.apply(OP, &statements.begin, (archive.as_slice(),)).await? {
            return Ok(false);
        }
        // Behind the note, so that a server that starts now sees it.
        if self.cql.is_empty(OP).await? {
            return Ok(true);
        }
        self.cql.apply(OP, &statements.take_back, ()).await?;
        Ok(false)
    }

    async fn put(&self, from: u64, records: Vec<Record>) -> StorageResult<()> {
        self.cql.note_links(&records).await?;
        let puts = stream::iter(0..records.len());
        let puts = puts.map(|at| self.put_one(from + at as u64, &records[at]));
        puts.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        if records.iter().any(|record| record.kind() == Kind::Audit) {
            self.cql.end_log(&self.audit_key(PUT).await?, &records).await?;
        }
        self.clicks.list_moved(&records).await?;
        let done = (from + records.len() as u64) as i64;
        let noted = self.cql.apply(PUT, &self.cql.statements().moving.came_to, (done,)).await?;
        let text = "no import is under way";
        if noted { Ok(()) } else { Err(StorageError::new(StorageErrorKind::Invalid, PUT, text)) }
    }

    async fn complete(&self) -> StorageResult<()> {
        const OP: Op = "complete_import";
        self.clicks.note_moved().await?;
        self.cql.index_log(OP).await
    }

    async fn finish(&self) -> StorageResult<()> {
        let statement = &self.cql.statements().moving.finish;
        self.cql.apply("finish_import", statement, ()).await.map(|_| ())
    }
}

impl Cql {
    /// The import that this database came from, whether it is finished or not.
    pub async fn moved(&self) -> StorageResult<Option<Move>> {
        const OP: Op = "import_state";
        type Row = (Option<Vec<u8>>, Option<i64>, Option<bool>);
        let row: Option<Row> = self.one(OP, &self.statements().moving.moved, ()).await?;
        let Some((archive, done, finished)) = row else { return Ok(None) };
        let archive = archive.and_then(|archive| archive.try_into().ok());
        let archive = archive.ok_or_else(|| {
            StorageError::new(StorageErrorKind::Damaged, OP, "the import is noted in part")
        })?;
        let done = done.unwrap_or_default().cast_unsigned();
        Ok(Some(Move { archive, done, finished: finished.unwrap_or_default() }))
    }

    /// Puts a row, older than everything that is written later.
    pub(super) async fn put_moved(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow + Sync,
    ) -> StorageResult<()> {
        self.put_moved_at(1, statement, values).await
    }

    /// The same for values of which the one with the highest time stays.
    pub(super) async fn put_moved_at(
        &self,
        time: i64,
        statement: &PreparedStatement,
        values: impl SerializeRow + Sync,
    ) -> StorageResult<()> {
        let mut statement = statement.clone();
        statement.set_timestamp(Some(time));
        statement.set_is_idempotent(true);
        self.again(|| self.put(PUT, &statement, &values)).await
    }

    /// Tries what may be repeated until the database takes it.
    pub(super) async fn again<F>(&self, work: impl Fn() -> F) -> StorageResult<()>
    where
        F: Future<Output = StorageResult<()>>,
    {
        for _ in 1..TRIES {
            match work().await {
                Err(error) if error.kind.retryable() => tokio::time::sleep(TRY_AGAIN).await,
                done => return done,
            }
        }
        work().await
    }
}

/// A record that no store holds.
pub(super) fn unreadable(kind: Kind) -> StorageError {
    let text = format!("a record of {} says what no store holds", kind.as_str());
    StorageError::new(StorageErrorKind::Invalid, PUT, text)
}
