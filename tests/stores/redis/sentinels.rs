//! A master that sentinels watch, and who takes its place.

use super::parts::{Parts, user};
use super::{connect, until};
use crate::redis_server::RedisServer;

/// Of the sentinels, and of the replica.
const PASSWORD: &str = "other";

/// A master, its replica and three sentinels that know of all the others.
struct Watched {
    master: RedisServer,
    replica: RedisServer,
    sentinels: Vec<RedisServer>,
}

impl Watched {
    async fn start() -> Self {
        let mut options = user("+role");
        let master = RedisServer::with_password(PASSWORD, &options);
        let port = master.port().to_string();
        options.extend(["--replicaof", "127.0.0.1", &port]);
        let replica = RedisServer::with_password(PASSWORD, &options);
        until(|| replica.says(&["info", "replication"], "master_link_status:up")).await;
        let lines = format!(
            "sentinel monitor mymaster 127.0.0.1 {port} 2\n\
             sentinel auth-pass mymaster {PASSWORD}\n\
             sentinel down-after-milliseconds mymaster 1000\n\
             sentinel failover-timeout mymaster 4000\n"
        );
        let sentinels: Vec<_> = (0..3).map(|_| RedisServer::sentinel(&lines)).collect();
        for sentinel in &sentinels {
            until(|| sentinel.says(&["info", "sentinel"], &seen(&master))).await;
        }
        Self { master, replica, sentinels }
    }

    fn url(&self) -> String {
        let hosts = self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port()));
        let hosts = hosts.collect::<Vec<_>>().join(",");
        format!("redis-sentinel://app:secret@{hosts}/mymaster")
    }
}

/// What a sentinel says of a master that it and both others watch, with one replica.
fn seen(master: &RedisServer) -> String {
    let address = format!("127.0.0.1:{}", master.port());
    format!("master0:name=mymaster,status=ok,address={address},slaves=1,sentinels=3")
}

#[tokio::test]
async fn when_the_master_dies_the_next_one_is_used_though_a_sentinel_is_silent() {
    let mut watched = Watched::start().await;
    let redis = connect(&watched.url(), "p").await;
    let parts = Parts::new(&redis).await;
    parts.work("spring").await;
    // As when the machine that both ran on is gone.
    watched.sentinels[0].freeze();
    watched.master.kill();
    until(|| !redis.is_up()).await;
    until(|| watched.replica.says(&["info", "replication"], "role:master")).await;
    until(|| redis.is_up()).await;
    parts.work("summer").await;
    watched.sentinels[0].thaw();
}
