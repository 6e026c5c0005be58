//! Where Redis is.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::target::Target;
use crate::domain::problems::Problems;
use crate::domain::secret::Secret;

/// `[redis]`: the cache of links, the fast feed of changes and the limits that nodes share. Of use
/// to nodes on a CQL database only, and to none of them necessary.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedisConfig {
    /// One server, `redis://user:password@host:port/db`; sentinels,
    /// `redis-sentinel://user:password@host:port,host:port/master`; a cluster,
    /// `redis-cluster://user:password@host:port,host:port`. With `rediss` in place of `redis` over
    /// TLS. A secret.
    pub url: Option<Secret>,

    /// The authorities that may vouch for the servers over TLS, in place of those of the system; a
    /// file in PEM, read at the start.
    pub ca_file: Option<PathBuf>,
}

impl RedisConfig {
    /// Adds a line for a URL that names no Redis, or a file without authorities.
    pub fn check(&self, problems: &mut Problems) {
        let ca_file = self.ca_file.as_deref();
        if let Some(Err(error)) = self.url.as_ref().map(|url| Target::parse(url, ca_file)) {
            problems.add(error.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_names_no_redis_is_named() {
        for (url, mistakes) in [("redis://127.0.0.1/", 0), ("http://127.0.0.1/", 1), ("", 1)] {
            let mut problems = Problems::default();
            RedisConfig { url: Some(Secret(url.to_owned())), ca_file: None }.check(&mut problems);
            assert_eq!(problems.to_string().lines().count(), mistakes, "{url}");
            assert_eq!(problems.to_string().contains("`redis.url`"), mistakes > 0);
        }
    }
}
