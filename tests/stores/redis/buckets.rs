//! Token buckets that nodes share.

use std::sync::Arc;

use shunt::domain::bucket::Quota;
use shunt::storage::buckets::{BucketKey, BucketStore, NoRoom, Take};
use shunt::storage::memory_buckets::MemoryBuckets;
use shunt::storage::redis::SharedBuckets;

use super::{connect, prefix, until};
use crate::redis_server::RedisServer;
use crate::services::services;

/// Nothing comes back within a test.
const WINDOW_MS: u32 = 86_400_000;

fn take(name: u8, n: u32, cost: u32) -> Take {
    let bucket = BucketKey([name; 16]);
    Take { bucket, quota: Quota::new(n, WINDOW_MS), cost, when_no_room: NoRoom::Pass }
}

async fn buckets(url: &str, prefix: &str) -> SharedBuckets {
    let local =
        Arc::new(MemoryBuckets::new(prometheus_client::metrics::counter::Counter::default()));
    SharedBuckets::new(connect(url, prefix).await, local)
}

async fn told(buckets: &SharedBuckets, takes: &[Take]) -> Vec<(bool, u32)> {
    let verdicts = buckets.take(takes, 0).await.unwrap();
    verdicts.iter().map(|verdict| (verdict.allowed, verdict.remaining)).collect()
}

#[tokio::test]
async fn nodes_take_from_one_bucket_and_no_more_than_it_has() {
    let prefix = prefix();
    let mut takers = Vec::new();
    for _ in 0..4 {
        let buckets = buckets(&services().redis, &prefix).await;
        takers.push(tokio::spawn(async move {
            let mut n = 0;
            for _ in 0..50 {
                n += u32::from(told(&buckets, &[take(1, 77, 1)]).await[0].0);
            }
            n
        }));
    }
    let mut n = 0;
    for taker in takers {
        n += taker.await.unwrap();
    }
    assert_eq!(n, 77);
}

#[tokio::test]
async fn from_all_or_from_none() {
    let buckets = buckets(&services().redis, &prefix()).await;
    assert_eq!(told(&buckets, &[take(1, 3, 1), take(2, 1, 1)]).await, [(true, 2), (true, 0)]);
    let refused = told(&buckets, &[take(1, 3, 1), take(2, 1, 1), take(3, 9, 1)]).await;
    assert_eq!(refused, [(true, 2), (false, 0), (true, 9)]);
    let peeked = buckets.peek(&[take(1, 3, 2)], 0).await.unwrap();
    assert_eq!((peeked[0].allowed, peeked[0].remaining), (true, 0));
    let back = buckets.put_back(&[take(2, 1, 1)], 0).await.unwrap();
    assert_eq!(back[0].remaining, 1);
    buckets.fill(take(1, 3, 1).bucket).await.unwrap();
    assert_eq!(told(&buckets, &[take(1, 3, 3), take(2, 1, 1)]).await, [(true, 0), (true, 0)]);
}

#[tokio::test]
async fn a_bucket_tells_when_to_come_back_and_fills_by_the_time_of_redis() {
    let buckets = buckets(&services().redis, &prefix()).await;
    let quota = Quota::new(2, 400);
    let take = |cost| Take { quota, cost, ..take(1, 1, 1) };
    let verdict = buckets.take(&[take(2)], 0).await.unwrap()[0];
    assert!(
        verdict.allowed && verdict.remaining == 0 && (1..=400).contains(&verdict.reset_after_ms)
    );
    let mut refused = 0;
    loop {
        let verdict = buckets.take(&[take(1)], 0).await.unwrap()[0];
        if verdict.allowed {
            break;
        }
        refused += 1;
        assert!((1..=200).contains(&verdict.retry_after_ms), "{verdict:?}");
    }
    assert!(refused > 0);
}

#[tokio::test]
async fn without_redis_a_node_limits_by_itself() {
    let mut server = RedisServer::start();
    let redis = connect(&server.url(), "p").await;
    let local =
        Arc::new(MemoryBuckets::new(prometheus_client::metrics::counter::Counter::default()));
    let buckets = SharedBuckets::new(redis.clone(), local);
    assert_eq!(told(&buckets, &[take(1, 2, 2)]).await, [(true, 0)]);
    server.kill();
    until(|| !redis.is_up()).await;
    assert_eq!(told(&buckets, &[take(1, 2, 2)]).await, [(true, 0)]);
    assert_eq!(told(&buckets, &[take(1, 2, 1)]).await, [(false, 0)]);
}
