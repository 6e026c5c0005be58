//! Limits on visits, where the operator sets any. They are judged without waiting for anybody, so
//! every node counts for itself.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Limit, Limiter, Measured};
use crate::domain::bucket::Quota;
use crate::domain::network::ClientNetwork;
use crate::domain::time::SteadyClock;
use crate::storage::buckets::{BucketKey, LocalBuckets, Take};
use crate::telemetry::metrics::{LimitLabel, Metrics};

/// One limit per client network.
#[derive(Clone)]
pub struct VisitLimit {
    limit: Limit,
    quota: Quota,
    secret: [u8; 32],
    buckets: Arc<dyn LocalBuckets>,
    clock: Arc<dyn SteadyClock>,
    metrics: Arc<Metrics>,
}

/// The limits on visits. By default there are none.
#[derive(Clone, Default)]
pub struct VisitLimits {
    pub redirects: Option<VisitLimit>,
    pub unknown_codes: Option<VisitLimit>,
}

impl VisitLimits {
    pub(super) fn new(limiter: &Limiter) -> Self {
        let limit = |limit, n| {
            let parts = &limiter.parts;
            (n > 0).then(|| VisitLimit {
                limit,
                quota: Quota::per_minute(n),
                secret: limiter.secret,
                buckets: Arc::clone(&parts.local),
                clock: Arc::clone(&parts.clock),
                metrics: Arc::clone(&parts.metrics),
            })
        };
        let config = &limiter.parts.config;
        Self {
            redirects: limit(Limit::Redirects, config.redirects_per_minute),
            unknown_codes: limit(Limit::UnknownCodes, config.unknown_codes_per_minute),
        }
    }
}

impl VisitLimit {
    /// Charges a visit of `client`, unless it is too much.
    pub fn take(&self, client: IpAddr) -> Measured {
        let network = ClientNetwork::of(client);
        let bucket = BucketKey::new(&self.secret, self.limit.as_str(), &[network.as_bytes()]);
        let when_no_room = self.limit.when_no_room();
        let take = Take { bucket, quota: self.quota, cost: 1, when_no_room };
        let verdict = self.buckets.take_here(&take, self.clock.elapsed_ms());
        Measured { limit: self.limit, quota: self.quota, verdict }
    }

    /// Counts a visit that is refused.
    pub fn count_refusal(&self) {
        let label = LimitLabel { limit: self.limit.as_str() };
        self.metrics.rate_limited.get_or_create(&label).inc();
    }
}
