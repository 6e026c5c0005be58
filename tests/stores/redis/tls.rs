//! A Redis over TLS.

use shunt::domain::secret::Secret;
use shunt::storage::redis::Redis;

use super::parts::Parts;
use super::{PATIENCE, log, until};
use crate::certificates::Authority;
use crate::redis_server::RedisServer;

fn start(server: &RedisServer, authority: &Authority) -> Redis {
    let url = Secret(format!("rediss://127.0.0.1:{}", server.port()));
    Redis::start(&url, Some(&authority.certificate()), "p", PATIENCE).unwrap()
}

#[tokio::test]
async fn a_redis_that_a_private_authority_vouches_for_is_used() {
    let authority = Authority::new();
    let (certificate, key) = authority.vouch_for("IP:127.0.0.1");
    let server = RedisServer::with_tls(&certificate, &key);
    let redis = start(&server, &authority);
    until(|| redis.is_up()).await;
    Parts::new(&redis).await.work("spring").await;
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let authority = Authority::new();
    let (certificate, key) = authority.vouch_for("DNS:other.example,IP:127.0.0.2");
    let server = RedisServer::with_tls(&certificate, &key);
    let start = || start(&server, &authority);
    let redis = log::until_told("certificate not valid for name", start).await;
    assert!(!redis.is_up());
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let authority = Authority::new();
    let (certificate, key) = authority.vouch_for("IP:127.0.0.1");
    let server = RedisServer::with_tls(&certificate, &key);
    let other = Authority::new();
    let redis = log::until_told("UnknownIssuer", || start(&server, &other)).await;
    assert!(!redis.is_up());
}
