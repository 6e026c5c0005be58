//! What several nodes on one database promise together, checked on whole processes.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod bounds;
mod clicks;
mod cluster;
mod cold;
mod databases;
mod edits;
mod flushes;
mod identity;
mod ledger;
mod plain_counters;
mod races;
mod redis_wire;
mod replicas;
mod secured;
mod sharing;
mod verify;

#[path = "../support/cassandra.rs"]
mod cassandra;
#[path = "../support/certificates.rs"]
mod certificates;
#[path = "../api/harness/mod.rs"]
#[allow(dead_code, unused_imports, reason = "each of its users needs another part")]
mod harness;
#[path = "../support/redis.rs"]
mod redis_server;
#[path = "../support/services.rs"]
mod services;
#[path = "../support/wire.rs"]
mod wire;
