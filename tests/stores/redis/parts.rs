//! All that Redis is used for, on one connection.

use std::sync::Arc;
use std::time::Instant;

use prometheus_client::metrics::counter::Counter;
use shunt::domain::bucket::Quota;
use shunt::storage::buckets::{BucketKey, BucketStore, NoRoom, Take};
use shunt::storage::cache::{Cached, LinkCache};
use shunt::storage::feed::{ChangeFeed, LinkChange};
use shunt::storage::memory_buckets::MemoryBuckets;
use shunt::storage::redis::{Redis, RedisFeed, RedisLinks, SharedBuckets};

use super::SOON;
use crate::make::{key, link};

/// What a user of a Redis must be allowed, with the prefix `p`.
const RIGHTS: &str = "app on >secret ~p:* +@read +@write +@scripting +@connection +time";

/// Options that let `app` in, with `secret`, to do what the documentation says it must and `more`.
pub(crate) fn user(more: &'static str) -> Vec<&'static str> {
    ["--user"].into_iter().chain(RIGHTS.split(' ')).chain([more]).collect()
}

/// The cache, the feed and the buckets of two nodes, which limit by themselves differently.
pub(crate) struct Parts {
    links: RedisLinks,
    feed: RedisFeed,
    buckets: [SharedBuckets; 2],
}

impl Parts {
    /// Listens to the feed from now on.
    pub(crate) async fn new(redis: &Redis) -> Self {
        let local = || Arc::new(MemoryBuckets::new(Counter::default()));
        let buckets = || SharedBuckets::new(redis.clone(), local());
        let links = RedisLinks::new(redis.clone());
        let feed = RedisFeed::new(redis.clone());
        assert_eq!(feed.next().await.unwrap().changes, []);
        Self { links, feed, buckets: [buckets(), buckets()] }
    }

    /// All of it works, with a name that was not used yet.
    pub(crate) async fn work(&self, name: &str) {
        let link = link(name);
        assert_eq!(self.links.look(&key(name), 0).await, Cached::Mine);
        self.links.put(&key(name), Some(&link)).await.unwrap();
        assert_eq!(self.links.look(&key(name), 0).await, Cached::Link(Box::new(link)));

        let change = LinkChange { key: key(name), version: Some(1) };
        self.feed.announce(&[change]).await.unwrap();
        let begun = Instant::now();
        // The first read may meet a connection that broke.
        while !self.feed.next().await.unwrap_or_default().changes.contains(&change) {
            assert!(begun.elapsed() < SOON, "the change was not told");
        }

        for (buckets, remaining) in self.buckets.iter().zip([1, 0]) {
            let verdict = buckets.take(&[take(name)], 0).await.unwrap()[0];
            assert_eq!((verdict.allowed, verdict.remaining), (true, remaining), "shared");
        }
    }

    /// None of it works, and each says so or does without.
    pub(crate) async fn do_without(&self, name: &str) {
        assert_eq!(self.links.look(&key(name), 0).await, Cached::Nothing);
        assert!(self.links.put(&key(name), None).await.is_err());
        let change = LinkChange { key: key(name), version: Some(1) };
        assert!(self.feed.announce(&[change]).await.is_err());
        for buckets in &self.buckets {
            let verdict = buckets.take(&[take(name)], 0).await.unwrap()[0];
            assert_eq!((verdict.allowed, verdict.remaining), (true, 1), "each by itself");
        }
    }
}

/// One of two; nothing comes back within a test.
fn take(name: &str) -> Take {
    let digest = blake3::hash(name.as_bytes());
    let bucket = BucketKey(digest.as_bytes()[..16].try_into().unwrap());
    Take { bucket, quota: Quota::new(2, 86_400_000), cost: 1, when_no_room: NoRoom::Pass }
}
