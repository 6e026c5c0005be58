//! The servers that tests share: Cassandra and Redis, started by `scripts/services` when they do
//! not run yet. They go on when the tests end; `scripts/test` stops them.

use std::process::{Command, Stdio};
use std::sync::LazyLock;

/// Where the servers are.
pub(crate) struct Services {
    /// `host:port` of a CQL database.
    pub(crate) cql: String,
    /// URL of a Redis.
    #[allow(dead_code, reason = "not every suite asks for both")]
    pub(crate) redis: String,
}

/// Starts them, once.
pub(crate) fn services() -> &'static Services {
    static SERVICES: LazyLock<Services> = LazyLock::new(|| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/services");
        let output = Command::new(script).arg("up").stderr(Stdio::inherit()).output();
        let output = output.expect("scripts/services runs");
        assert!(output.status.success(), "scripts/services up failed");
        let text = String::from_utf8(output.stdout).expect("text");
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.unwrap_or_else(|| panic!("scripts/services did not tell {name}")).to_owned()
        };
        Services { cql: value("SHUNT_TEST_CQL"), redis: value("SHUNT_TEST_REDIS") }
    });
    &SERVICES
}
