//! What ScyllaDB understands and Cassandra does not. Everything else is written for both.

use std::time::Duration;

use scylla::client::session::Session;

use super::fault::OpenError;

/// Whose CQL is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Cassandra,
    Scylla,
}

impl Dialect {
    /// Finds out who answers: only ScyllaDB has a table of its own settings.
    pub(super) async fn of(session: &Session) -> Result<Self, OpenError> {
        let sql = "SELECT table_name FROM system_schema.tables \
             WHERE keyspace_name = 'system' AND table_name = 'scylla_local'";
        let found = session.query_unpaged(sql, ()).await?.into_rows_result();
        let is_scylla = found.is_ok_and(|rows| rows.rows_num() > 0);
        Ok(if is_scylla { Self::Scylla } else { Self::Cassandra })
    }

    /// A read that the server, too, gives up after `limit`.
    pub(super) fn with_timeout(self, read: &str, limit: Duration) -> String {
        match self {
            Self::Cassandra => read.to_owned(),
            Self::Scylla => format!("{read} USING TIMEOUT {}ms", limit.as_millis()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_scylla_is_told_how_long_to_try() {
        let (read, limit) = ("SELECT a FROM b WHERE c = ?", Duration::from_millis(150));
        assert_eq!(Dialect::Cassandra.with_timeout(read, limit), read);
        let told = "SELECT a FROM b WHERE c = ? USING TIMEOUT 150ms";
        assert_eq!(Dialect::Scylla.with_timeout(read, limit), told);
    }
}
