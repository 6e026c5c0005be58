//! What this node is among others.

use serde::{Deserialize, Serialize};

use crate::domain::id::NODES_MAX;
use crate::domain::problems::Problems;

/// The parts of Shunt that a node can play.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Answers codes.
    Redirect,
    /// Serves the API and its pages.
    Api,
    /// Does what is to be done once for all nodes.
    Worker,
}

/// `[node]`: what this node is among others.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeConfig {
    /// Number of this node, 0 to 1,023; part of every id it makes, so no two nodes may share one.
    /// Unset: 0 on the embedded store, and one that is free on a CQL database.
    pub id: Option<u16>,
    /// What it does: `redirect` answers codes, `api` serves the API, `worker` does what is to be
    /// done once for all nodes: removing old clicks and links of closed workspaces. What it does
    /// not do, it answers with 503. A node on the embedded store is alone and must do everything.
    pub roles: Vec<Role>,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self { id: None, roles: vec![Role::Redirect, Role::Api, Role::Worker] }
    }
}

impl NodeConfig {
    pub fn plays(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// Adds a line to `problems` for every value that cannot be honoured.
    pub fn check(&self, problems: &mut Problems) {
        if let Some(id) = self.id {
            problems.range("node.id", id, 0..=NODES_MAX - 1);
        }
        if self.roles.is_empty() {
            problems.add("`node.roles` is empty; it takes some of redirect, api, worker");
        }
    }

    /// The same for a node that has its store to itself.
    pub fn check_alone(&self, problems: &mut Problems) {
        let all = Self::default().roles;
        if !self.roles.is_empty() && !all.iter().all(|role| self.plays(*role)) {
            problems.add(
                "`node.roles` must have all of redirect, api and worker: without `storage.cql` a \
                 node is alone",
            );
        }
    }
}
