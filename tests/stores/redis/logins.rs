//! A Redis that wants a password, or a user and a password.

use shunt::domain::secret::Secret;
use shunt::storage::redis::Redis;

use super::parts::{Parts, user};
use super::{PATIENCE, connect, log, until};
use crate::redis_server::RedisServer;

fn url(server: &RedisServer, login: &str) -> String {
    format!("redis://{login}@127.0.0.1:{}", server.port())
}

#[tokio::test]
async fn a_redis_with_a_password_is_used() {
    let server = RedisServer::with_password("p@ss:word/1", &[]);
    let redis = connect(&url(&server, ":p%40ss%3Aword%2F1"), "p").await;
    Parts::new(&redis).await.work("spring").await;
}

#[tokio::test]
async fn a_user_who_may_no_more_than_is_needed_is_enough() {
    let server = RedisServer::with(&user("-@dangerous"));
    server.command(&["acl", "setuser", "default", "off"]);
    let redis = connect(&url(&server, "app:secret"), "p").await;
    Parts::new(&redis).await.work("spring").await;
}

#[tokio::test]
async fn a_wrong_password_is_told_and_hinders_nobody_and_a_right_one_is_noticed() {
    let server = RedisServer::with_password("right", &[]);
    let wrong = Secret(url(&server, ":wrong"));
    let start = || Redis::start(&wrong, None, "p", PATIENCE).unwrap();
    let cause = "going on without it cause=\"Password authentication failed";
    let redis = log::until_told(cause, start).await;
    assert!(!redis.is_up());
    server.command(&["config", "set", "requirepass", "wrong"]);
    until(|| redis.is_up()).await;
    Parts::new(&redis).await.work("spring").await;
}
