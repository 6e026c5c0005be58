//! The stream of changes.

use shunt::storage::feed::{ChangeFeed, LinkChange};
use shunt::storage::redis::RedisFeed;

use super::{connect, prefix, until};
use crate::make::key;
use crate::redis_server::RedisServer;
use crate::services::services;

fn change(code: &str, version: u32) -> LinkChange {
    LinkChange { key: key(code), version: Some(version) }
}

/// News until there are so many.
async fn hear(feed: &RedisFeed, n: usize) -> Vec<LinkChange> {
    let mut heard = Vec::new();
    while heard.len() < n {
        heard.extend(feed.next().await.unwrap().changes);
    }
    heard
}

#[tokio::test]
async fn every_node_hears_every_change_from_when_it_began_to_listen() {
    let prefix = prefix();
    let (one, two) = (
        RedisFeed::new(connect(&services().redis, &prefix).await),
        RedisFeed::new(connect(&services().redis, &prefix).await),
    );
    one.announce(&[change("before", 1)]).await.unwrap();
    assert_eq!(one.next().await.unwrap().changes, []);
    assert_eq!(two.next().await.unwrap().changes, []);
    let told = [change("spring", 2), change("winter", 7)];
    one.announce(&told).await.unwrap();
    two.announce(&[change("autumn", 3)]).await.unwrap();
    let expected = [told[0], told[1], change("autumn", 3)];
    assert_eq!(hear(&one, 3).await, expected);
    assert_eq!(hear(&two, 3).await, expected);
}

#[tokio::test]
async fn what_is_told_while_a_node_is_away_it_hears_afterwards() {
    let server = RedisServer::start();
    let (one, two) = (
        RedisFeed::new(connect(&server.url(), "p").await),
        RedisFeed::new(connect(&server.url(), "p").await),
    );
    assert_eq!(two.next().await.unwrap().changes, []);
    for n in 1..=2_500 {
        one.announce(&[change("spring", n)]).await.unwrap();
    }
    let heard: Vec<_> = hear(&two, 2_500).await.iter().map(|heard| heard.version).collect();
    assert_eq!(heard, (1..=2_500).map(Some).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_redis_that_forgot_everything_goes_on_telling() {
    let mut server = RedisServer::start();
    let redis = connect(&server.url(), "p").await;
    let feed = RedisFeed::new(redis.clone());
    assert_eq!(feed.next().await.unwrap().changes, []);
    feed.announce(&[change("spring", 2)]).await.unwrap();
    assert_eq!(hear(&feed, 1).await, [change("spring", 2)]);
    server.kill();
    assert!(feed.next().await.is_err());
    until(|| !redis.is_up()).await;
    server.run();
    until(|| redis.is_up()).await;
    feed.announce(&[change("winter", 3)]).await.unwrap();
    let mut heard = Vec::new();
    while heard.is_empty() {
        // The first read may meet the connection that broke.
        heard = feed.next().await.unwrap_or_default().changes;
    }
    assert_eq!(heard, [change("winter", 3)]);
}

#[tokio::test]
async fn a_frozen_redis_is_an_error_in_time() {
    let server = RedisServer::start();
    let redis = connect(&server.url(), "p").await;
    let feed = RedisFeed::new(redis.clone());
    assert_eq!(feed.next().await.unwrap().changes, []);
    server.freeze();
    assert!(feed.next().await.is_err());
    assert!(feed.announce(&[change("spring", 2)]).await.is_err());
    server.thaw();
    until(|| redis.is_up()).await;
    feed.announce(&[change("spring", 3)]).await.unwrap();
    // What was sent while it was frozen may come as well.
    let mut heard = Vec::new();
    while heard.last() != Some(&change("spring", 3)) {
        heard.extend(feed.next().await.unwrap().changes);
    }
}
