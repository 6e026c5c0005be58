//! Three nodes of Cassandra, each row on all of them, which a test takes away one by one.

use std::process::{Command, Stdio};

/// Beside those that all tests share.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/three-services");
const N_NODES: usize = 3;
/// The one that may be killed. What it acknowledged must be there when it is back, as others rely
/// on it; for all of them that would take the time of many tests.
const MORTAL: usize = 1;

/// See above. They are gone with this.
pub(crate) struct Databases {
    port: String,
}

impl Databases {
    pub(crate) fn start() -> Self {
        // Of a run that was cut short.
        services(&["down"]);
        let (n_nodes, mortal) = (N_NODES.to_string(), MORTAL.to_string());
        let text = services(&["up", "--nodes", &n_nodes, "--durable-node", &mortal]);
        let line = text.lines().find_map(|line| line.strip_prefix("SHUNT_TEST_CQL="));
        let (_, port) = line.and_then(|line| line.split_once(':')).expect("it tells the port");
        Self { port: port.to_owned() }
    }

    /// All of them, with commas between.
    pub(crate) fn contact_points(&self) -> String {
        let all = (1..=N_NODES).map(|number| format!("127.0.0.{number}:{}", self.port));
        all.collect::<Vec<_>>().join(",")
    }

    /// Says nothing any more, and is not gone: whoever asks it waits.
    pub(crate) fn silence(&self, number: usize) {
        self.signal("-STOP", number);
    }

    pub(crate) fn go_on(&self, number: usize) {
        self.signal("-CONT", number);
    }

    /// Kills the one that is named first.
    pub(crate) fn kill_first(&self) {
        self.signal("-KILL", MORTAL);
    }

    /// Starts it again, on what it had stored, and waits until it listens.
    pub(crate) fn start_first_again(&self) {
        services(&["again", &MORTAL.to_string()]);
    }

    fn signal(&self, signal: &str, number: usize) {
        let pid = std::fs::read_to_string(format!("{FOLDER}/cassandra-{number}/pid"));
        let pid = pid.expect("a node has a process");
        let sent = Command::new("kill").args([signal, pid.trim()]).status();
        assert!(sent.expect("kill runs").success(), "node {number} is gone");
    }
}

impl Drop for Databases {
    fn drop(&mut self) {
        services(&["down"]);
    }
}

fn services(words: &[&str]) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/services");
    let mut command = Command::new(script);
    command.args(words).args(["--folder", FOLDER]).stderr(Stdio::inherit());
    let output = command.output().expect("scripts/services runs");
    // Not while it unwinds: the test has failed already.
    assert!(output.status.success() || std::thread::panicking(), "scripts/services {words:?}");
    String::from_utf8(output.stdout).expect("text")
}
