//! The schema: numbered steps in `cql/schema/`, only ever added, applied by one process at a time.

use std::time::Duration;

use scylla::client::session::Session;
use scylla::errors::ExecutionError;
use uuid::Uuid;

use super::CqlConfig;
use super::fault::OpenError;
use super::run::applied;
use crate::storage::config::Replication;

/// What the steps hold, the first is number one. Released steps never change.
const STEPS: &[(&str, &str)] = &[
    ("nodes", include_str!("../../../cql/schema/0001_nodes.cql")),
    ("links", include_str!("../../../cql/schema/0002_links.cql")),
    ("people", include_str!("../../../cql/schema/0003_people.cql")),
    ("audit", include_str!("../../../cql/schema/0004_audit.cql")),
    ("clicks", include_str!("../../../cql/schema/0005_clicks.cql")),
    ("feed", include_str!("../../../cql/schema/0006_feed.cql")),
    ("feed_for_a_day", include_str!("../../../cql/schema/0007_feed_for_a_day.cql")),
    ("last_holders", include_str!("../../../cql/schema/0008_last_holders.cql")),
    ("click_grants", include_str!("../../../cql/schema/0009_click_grants.cql")),
    ("moves", include_str!("../../../cql/schema/0010_moves.cql")),
    ("third_replica", include_str!("../../../cql/schema/0011_third_replica.cql")),
    (
        "third_replica_everywhere",
        include_str!("../../../cql/schema/0012_third_replica_everywhere.cql"),
    ),
];

/// How often and how long to try for the lock: longer than it lives without its holder.
const TRIES: u32 = 180;
const TRY_EVERY: Duration = Duration::from_secs(1);

/// The step that this build knows last.
fn known() -> i32 {
    STEPS.len() as i32
}

/// Refuses a schema that is not the one that this build knows.
pub(super) async fn check(session: &Session, keyspace: &str) -> Result<(), OpenError> {
    let keyspace = keyspace.to_owned();
    let known = known();
    match newest(session, &keyspace).await? {
        None => Err(OpenError::NoSchema { keyspace }),
        Some(found) if found < known => Err(OpenError::OldSchema { keyspace, found, known }),
        Some(found) if found > known => Err(OpenError::NewSchema { keyspace, found, known }),
        Some(_) => Ok(()),
    }
}

/// Makes what is missing; answers how many steps were.
pub(super) async fn migrate(session: &Session, config: &CqlConfig) -> Result<u32, OpenError> {
    let keyspace = &config.keyspace;
    let begin = [
        // One partition, so that the newest step is read at once.
        format!(
            "CREATE TABLE IF NOT EXISTS {keyspace}.schema_steps \
             (installation int, step int, name text, PRIMARY KEY (installation, step))"
        ),
        format!(
            "CREATE TABLE IF NOT EXISTS {keyspace}.schema_lock (id int PRIMARY KEY, holder uuid)"
        ),
    ];
    if newest(session, keyspace).await?.is_none() {
        make_keyspace(session, config).await?;
        for statement in begin {
            session.query_unpaged(statement, ()).await?;
        }
    }
    if newest(session, keyspace).await?.is_some_and(|found| found >= known()) {
        check(session, keyspace).await?;
        return Ok(0);
    }
    let holder = Uuid::from_u128(u128::from_le_bytes(random()?));
    lock(session, keyspace, holder).await?;
    let done = steps(session, keyspace).await;
    let unlock = format!("DELETE FROM {keyspace}.schema_lock WHERE id = 0 IF holder = ?");
    session.query_unpaged(unlock, (holder,)).await?;
    done
}

/// Unless it is there: to ask for it even then takes the right to make any.
async fn make_keyspace(session: &Session, config: &CqlConfig) -> Result<(), OpenError> {
    let keyspace = &config.keyspace;
    let there = "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?";
    let rows = session.query_unpaged(there, (keyspace,)).await?;
    let rows = rows.into_rows_result().map_err(|error| OpenError::Rows(error.to_string()))?;
    if rows.rows_num() == 0 {
        let replication = replication(&config.replication);
        let make =
            format!("CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {replication}");
        session.query_unpaged(make, ()).await?;
    }
    Ok(())
}

async fn steps(session: &Session, keyspace: &str) -> Result<u32, OpenError> {
    session
        .use_keyspace(keyspace, true)
        .await
        .map_err(|error| OpenError::from(ExecutionError::from(error)))?;
    let found = newest(session, keyspace).await?.unwrap_or_default();
    let mut n_done = 0;
    for (step, (name, text)) in (1..).zip(STEPS).filter(|(step, _)| *step > found) {
        // Each statement is `IF NOT EXISTS`: a step that was cut short is done again.
        for statement in statements(text) {
            session.query_unpaged(statement, ()).await?;
        }
        let note = format!(
            "INSERT INTO {keyspace}.schema_steps (installation, step, name) VALUES (0, ?, ?)"
        );
        session.query_unpaged(note, (step, *name)).await?;
        n_done += 1;
    }
    Ok(n_done)
}

/// The statements of a step, without its comments.
fn statements(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("--"));
    let text = lines.collect::<Vec<_>>().join("\n");
    let statements = text.split(';').map(str::trim).filter(|statement| !statement.is_empty());
    statements.map(str::to_owned).collect()
}

async fn lock(session: &Session, keyspace: &str, holder: Uuid) -> Result<(), OpenError> {
    let take = format!(
        "INSERT INTO {keyspace}.schema_lock (id, holder) VALUES (0, ?) IF NOT EXISTS USING TTL 120"
    );
    for _ in 0..TRIES {
        let taken = session.query_unpaged(take.as_str(), (holder,)).await?;
        if applied("lock_schema", taken).is_ok_and(|taken| taken) {
            return Ok(());
        }
        tokio::time::sleep(TRY_EVERY).await;
    }
    Err(OpenError::Locked)
}

/// The newest step that was applied. Zero: tables of the schema itself only; `None`: not even
/// those.
async fn newest(session: &Session, keyspace: &str) -> Result<Option<i32>, OpenError> {
    let there = "SELECT table_name FROM system_schema.tables \
         WHERE keyspace_name = ? AND table_name IN ('schema_steps', 'schema_lock')";
    let rows = session.query_unpaged(there, (keyspace,)).await?;
    let rows = rows.into_rows_result().map_err(|error| OpenError::Rows(error.to_string()))?;
    if rows.rows_num() < 2 {
        return Ok(None);
    }
    let sql = format!(
        "SELECT step FROM {keyspace}.schema_steps WHERE installation = 0 \
             ORDER BY step DESC LIMIT 1"
    );
    let rows = session.query_unpaged(sql, ()).await?;
    let rows = rows.into_rows_result().map_err(|error| OpenError::Rows(error.to_string()))?;
    let row = rows.maybe_first_row::<(i32,)>();
    let row = row.map_err(|error| OpenError::Rows(error.to_string()))?;
    Ok(Some(row.map_or(0, |(step,)| step)))
}

/// As CQL has it. The names of data centres are the operator's own; a quote cannot end one.
fn replication(replication: &Replication) -> String {
    let factors = match replication {
        Replication::Factor(factor) => format!("'replication_factor': {factor}"),
        Replication::PerDataCentre(factors) => {
            let each = factors.iter();
            let each = each.map(|(name, n)| format!("'{}': {n}", name.replace('\'', "''")));
            each.collect::<Vec<_>>().join(", ")
        }
    };
    format!("{{'class': 'NetworkTopologyStrategy', {factors}}}")
}

fn random() -> Result<[u8; 16], OpenError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_asked_for_in_all_or_in_named_data_centres() {
        let one = replication(&Replication::Factor(3));
        assert_eq!(one, "{'class': 'NetworkTopologyStrategy', 'replication_factor': 3}");
        let two = [("eu".to_owned(), 3), ("o'h".to_owned(), 2)].into();
        let two = replication(&Replication::PerDataCentre(two));
        assert_eq!(two, "{'class': 'NetworkTopologyStrategy', 'eu': 3, 'o''h': 2}");
    }

    #[test]
    fn a_step_is_read_statement_by_statement() {
        let text = "-- What; it is for.\nCREATE TABLE a;\n\n-- And b.\nCREATE\n  TABLE b;\n";
        assert_eq!(statements(text), ["CREATE TABLE a", "CREATE\n  TABLE b"]);
    }
}
