//! Settings of the operator's contract whose features this version does not have yet. They are
//! known, so that a configuration may name them; a value that would have to change something is
//! refused by name instead of being ignored.

use serde::{Deserialize, Serialize};

use crate::domain::problems::Problems;
use crate::domain::secret::Secret;

/// `[redis]`: the cache and change feed between nodes. Not in this version, which runs one node.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedisConfig {
    /// Must be unset. A secret.
    pub url: Option<Secret>,
}

impl RedisConfig {
    /// Adds a line for a value that this version cannot honour.
    pub fn check(&self, problems: &mut Problems) {
        if self.url.is_some() {
            problems.add("`redis.url` is set; this version runs one node and has no use for Redis");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_honoured_is_named_and_defaults_are_fine() {
        let mut problems = Problems::default();
        RedisConfig::default().check(&mut problems);
        assert!(problems.is_empty(), "{problems}");

        RedisConfig { url: Some(Secret("redis://127.0.0.1/".to_owned())) }.check(&mut problems);
        let text = problems.to_string();
        assert!(text.contains("redis.url"), "{text}");
    }
}
