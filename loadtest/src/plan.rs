//! Workloads as data: a plan is a small TOML file, and every key is also an option of `run`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

/// One workload. Options on the command line win over the file.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Plan {
    /// Keep-alive connections.
    pub connections: usize,
    /// Requests in flight per connection.
    pub depth: usize,
    /// Seconds in which answers are counted.
    pub seconds: f64,
    /// Seconds before that.
    pub warmup_seconds: f64,
    /// Requests per second at fixed moments; absent: as fast as answers come.
    pub rate: Option<f64>,
    /// Exponent of the distribution over the codes; 0 is uniform.
    pub zipf: f64,
    /// Requests rendered before the start and played in a circle.
    pub tape_requests: usize,
    pub seed: u64,
    /// Value of `Host`; absent: the address.
    pub host: Option<String>,
    /// Files with one entry per line: codes (the hottest first), expected targets in the same
    /// order, user agents, referrers.
    pub codes: Option<PathBuf>,
    pub targets: Option<PathBuf>,
    pub user_agents: Option<PathBuf>,
    pub referrers: Option<PathBuf>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            connections: 64,
            depth: 1,
            seconds: 10.0,
            warmup_seconds: 1.0,
            rate: None,
            zipf: 1.0,
            tape_requests: 1 << 21,
            seed: 1,
            host: None,
            codes: None,
            targets: None,
            user_agents: None,
            referrers: None,
        }
    }
}

impl Plan {
    /// Reads a plan; paths in it are relative to its folder.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let mut plan: Self =
            toml::from_str(&text).with_context(|| format!("understand {}", path.display()))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        for file in [&mut plan.codes, &mut plan.targets, &mut plan.user_agents, &mut plan.referrers]
        {
            *file = file.take().map(|path| folder.join(path));
        }
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plan_in_the_folder_is_understood() -> Result<()> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("plans");
        let mut n_plans = 0;
        for entry in fs::read_dir(folder)? {
            Plan::read(&entry?.path())?;
            n_plans += 1;
        }
        assert!(n_plans > 0);
        Ok(())
    }

    #[test]
    fn an_unknown_key_is_refused() {
        assert!(toml::from_str::<Plan>("conections = 3").is_err());
    }
}
