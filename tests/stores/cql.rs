//! Keyspaces of a real database, each for one test at a time, empty when it begins.

use std::sync::Arc;
use std::time::Duration;

use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::value::Row;
use shunt::domain::audit::AuditKey;
use shunt::storage::Stores;
use shunt::storage::config::Replication;
use shunt::storage::scylla::{ClickParts, Cql, CqlConfig};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use crate::services::services;

/// Tests that have one at once. Each has all tables, which cost the database memory.
const KEYSPACES: usize = 3;

static POOL: [OnceCell<Slot>; KEYSPACES] = [const { OnceCell::const_new() }; KEYSPACES];

struct Slot {
    cql: Mutex<Cql>,
    keyspace: String,
}

/// A database that nobody else uses until it is dropped.
pub(crate) struct Lent {
    cql: MutexGuard<'static, Cql>,
    pub(crate) keyspace: &'static str,
}

impl Lent {
    pub(crate) fn cql(&self) -> &Cql {
        &self.cql
    }

    /// Past all ports.
    pub(crate) async fn session(&self) -> Session {
        let session = session().await;
        session.use_keyspace(self.keyspace, true).await.unwrap();
        session
    }

    /// Runs a statement of which the store knows nothing.
    pub(crate) async fn run(&self, statement: &str) -> Vec<Row> {
        let session = self.session().await;
        let result = session.query_unpaged(statement, ()).await.unwrap();
        let rows = result
            .into_rows_result()
            .map(|rows| rows.rows::<Row>().unwrap().collect::<Result<Vec<_>, _>>().unwrap());
        rows.unwrap_or_default()
    }
}

/// Ports of the database; those that it does not have yet are a store in memory.
pub(crate) fn stores(cql: &Cql) -> Stores {
    cql.stores(0)
}

/// The same for one of several nodes, or for a process that starts anew; the rest is `others`.
pub(crate) fn stores_of(cql: &Cql, node: u16, others: Stores) -> Stores {
    let (links, audit) = (Arc::clone(&others.links), Arc::clone(&others.audit));
    let clicks = cql.clicks(ClickParts { node, links, audit });
    let stats = Arc::clone(&clicks);
    Stores { nodes: Arc::new(cql.clone()), clicks, stats, ..others }
}

pub(crate) fn config(keyspace: &str) -> CqlConfig {
    CqlConfig {
        nodes: vec![services().cql.clone()],
        keyspace: keyspace.to_owned(),
        user: None,
        password: None,
        tls: None,
        replication: Replication::Factor(1),
        // The database shares its processors with the tests.
        fill_timeout: Duration::from_secs(5),
    }
}

/// Waits for a keyspace and empties it.
pub(crate) async fn lend() -> Lent {
    loop {
        for (n, cell) in POOL.iter().enumerate() {
            let slot = cell.get_or_init(|| make(n)).await;
            if let Ok(cql) = slot.cql.try_lock() {
                empty(&slot.keyspace).await;
                return Lent { cql, keyspace: &slot.keyspace };
            }
        }
        // One of them comes back; which, nobody knows.
        let slot = POOL[0].get().expect("made above");
        drop(slot.cql.lock().await);
    }
}

async fn make(n: usize) -> Slot {
    // Several test programs may run at once.
    let keyspace = format!("stores_{}_{n}", std::process::id());
    Cql::migrate(&config(&keyspace)).await.unwrap();
    Slot { cql: Mutex::new(open(&keyspace).await), keyspace }
}

/// A database as one more node has it.
pub(crate) async fn open(keyspace: &str) -> Cql {
    let cql = Cql::open(&config(keyspace)).await.unwrap();
    cql.seal_audit_log(AuditKey::of(&[7; 32]));
    cql
}

async fn session() -> Session {
    SessionBuilder::new().known_node(&services().cql).build().await.unwrap()
}

/// Empties every table that has a row; to empty one that has none costs as much.
async fn empty(keyspace: &str) {
    let session = session().await;
    let tables = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ?";
    let rows = session.query_unpaged(tables, (keyspace,)).await.unwrap();
    let rows = rows.into_rows_result().unwrap();
    for table in rows.rows::<(String,)>().unwrap() {
        let (table,) = table.unwrap();
        let any = format!("SELECT * FROM {keyspace}.{table} LIMIT 1");
        let any = session.query_unpaged(any, ()).await.unwrap().into_rows_result().unwrap();
        if any.rows_num() > 0 && table != "schema_steps" {
            session.query_unpaged(format!("TRUNCATE {keyspace}.{table}"), ()).await.unwrap();
        }
    }
}
