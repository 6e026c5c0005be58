//! Open descriptors: every connection is one, and shells give a program a thousand.

use rustix::process::{Resource, getrlimit, setrlimit};
use tracing::{info, warn};

/// Allows this process as many open descriptors as the system lets it have. With the usual limit a
/// few hundred idle connections would keep everybody else out, whatever `http.max_connections` is.
pub(super) fn raise_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    limit.current = limit.maximum;
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) => info!(descriptors = limit.maximum, "raised the limit of open descriptors"),
        Err(error) => warn!(%error, "the limit of open descriptors stays as it is"),
    }
}
