//! What this node is among others.

use serde::{Deserialize, Serialize};

use crate::domain::id::NODES_MAX;
use crate::domain::problems::Problems;

/// The parts of Shunt that a node can play.
pub const ROLES: [&str; 3] = ["redirect", "api", "worker"];

/// `[node]`: what this node is among others.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeConfig {
    /// Number of this node, 0 to 1,023; part of every id it makes, so no two nodes may share one.
    /// Unset: 0 on the embedded store, and one that is free on a CQL database.
    pub id: Option<u16>,
    /// What it does: `redirect` answers codes, `api` serves the API, `worker` does what is to be
    /// done once for all nodes. A node on the embedded store is alone and must do everything.
    pub roles: Vec<String>,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self { id: None, roles: ROLES.map(str::to_owned).to_vec() }
    }
}

impl NodeConfig {
    /// Adds a line to `problems` for every value that cannot be honoured.
    pub fn check(&self, problems: &mut Problems) {
        if let Some(id) = self.id {
            problems.range("node.id", id, 0..=NODES_MAX - 1);
        }
        for role in &self.roles {
            if !ROLES.contains(&role.as_str()) {
                problems.add(format!("`node.roles` has {role:?}; there are redirect, api, worker"));
            }
        }
        if ROLES.iter().any(|role| !self.roles.iter().any(|own| own == role)) {
            problems.add(
                "`node.roles` must have all of redirect, api and worker: a node on the embedded \
                 store is alone",
            );
        }
    }
}
