//! Redis between nodes: a node here is a connection of its own before a store that all share.

mod buckets;
mod cluster;
mod feed;
mod l2;
mod log;
mod logins;
mod parts;
mod sentinels;
mod tls;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use shunt::domain::secret::Secret;
use shunt::storage::layers::SharedLinks;
use shunt::storage::recent::Recent;
use shunt::storage::redis::{Redis, RedisLinks};
use shunt::storage::{LinkStore, Stores};

/// How long a node may take to notice that Redis is there, or is gone.
const SOON: Duration = Duration::from_secs(20);

/// What a command may take: Redis shares its processors with the tests.
const PATIENCE: Duration = Duration::from_secs(2);

/// A prefix that no other test has.
pub(crate) fn prefix() -> String {
    static N: AtomicU64 = AtomicU64::new(0);
    let n = N.fetch_add(1, Ordering::Relaxed);
    format!("test-{}-{n}", std::process::id())
}

/// A connection that is up.
pub(crate) async fn connect(url: &str, prefix: &str) -> Redis {
    let redis = Redis::start(&Secret(url.to_owned()), None, prefix, PATIENCE).unwrap();
    until(|| redis.is_up()).await;
    redis
}

/// Polls until something is so.
pub(crate) async fn until(what: impl Fn() -> bool) {
    let begun = Instant::now();
    while !what() {
        assert!(begun.elapsed() < SOON, "it did not come");
        tokio::task::yield_now().await;
    }
}

/// One node's view of a store of links.
pub(crate) fn node(redis: &Redis, links: &Arc<dyn LinkStore>) -> (SharedLinks, Arc<Recent>) {
    let recent = Arc::new(Recent::default());
    let node = SharedLinks {
        inner: Arc::clone(links),
        cache: Some(Arc::new(RedisLinks::new(redis.clone()))),
        feeds: Vec::new(),
        recent: Arc::clone(&recent),
    };
    (node, recent)
}

/// A store in memory with Redis before its links.
pub(crate) async fn behind_redis(stores: Stores) -> Stores {
    let redis = connect(&crate::services::services().redis, &prefix()).await;
    let (links, _) = node(&redis, &stores.links);
    Stores { links: Arc::new(links), ..stores }
}
