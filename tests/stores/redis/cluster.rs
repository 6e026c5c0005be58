//! A cluster: three servers that share the slots.

use std::process::Command;

use super::parts::{Parts, user};
use super::{connect, until};
use crate::redis_server::{RedisServer, free_port};

/// What a server says when it knows who has every slot.
const WHOLE: &str = "cluster_state:ok";
/// What it says when somebody has gone with his.
const BROKEN: &str = "cluster_state:fail";

fn server() -> RedisServer {
    let bus = free_port().to_string();
    let mut options = vec!["--cluster-enabled", "yes", "--cluster-port", &bus];
    options.extend(["--cluster-node-timeout", "2000"]);
    options.extend(user("+cluster|slots"));
    RedisServer::with(&options)
}

async fn start() -> Vec<RedisServer> {
    let servers: Vec<_> = (0..3).map(|_| server()).collect();
    let made = Command::new("redis-cli")
        .args(["--cluster", "create"])
        .args(servers.iter().map(address))
        .arg("--cluster-yes")
        .output();
    assert!(made.unwrap().status.success(), "there is no cluster");
    all(servers.iter(), WHOLE).await;
    servers
}

fn address(server: &RedisServer) -> String {
    format!("127.0.0.1:{}", server.port())
}

async fn all(servers: impl Iterator<Item = &RedisServer>, state: &str) {
    for server in servers {
        until(|| server.says(&["cluster", "info"], state)).await;
    }
}

#[tokio::test]
async fn a_cluster_is_used_and_done_without_while_any_of_its_servers_is_gone() {
    let mut servers = start().await;
    let hosts = servers.iter().map(address).collect::<Vec<_>>().join(",");
    let redis = connect(&format!("redis-cluster://app:secret@{hosts}"), "p").await;
    let parts = Parts::new(&redis).await;
    // Names in all slots.
    for n in 0..12 {
        parts.work(&format!("spring-{n}")).await;
    }
    for gone in 0..servers.len() {
        servers[gone].kill();
        let others = servers.iter().enumerate().filter(|(index, _)| *index != gone);
        all(others.map(|(_, server)| server), BROKEN).await;
        parts.do_without(&format!("gone-{gone}")).await;
        servers[gone].run();
        all(servers.iter(), WHOLE).await;
        until(|| redis.is_up()).await;
        parts.work(&format!("back-{gone}")).await;
    }
}
