//! What nodes share out between them: the clicks of limited links, and the work itself.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::cluster::{Shared, finish, installation, some_at_once};
use crate::harness::TestApp;

async fn limit(node: &TestApp, alias: &str, max_clicks: u32) {
    let body = json!({
        "alias": alias,
        "destination": "https://shop.example/",
        "max_clicks": max_clicks,
    });
    node.api(Method::POST, "/links", Some(body)).await.assert_status(201);
}

/// Visits all nodes by turns, many at once; answers how many were let pass.
async fn visits(nodes: &[TestApp; 3], code: &str, n_visits: usize) -> usize {
    let path = format!("/{code}");
    let statuses = some_at_once(0..n_visits, 24, async |n| nodes[n % 3].get(&path).await.status());
    let statuses = statuses.await;
    let known = |status: &u16| matches!(status, 302 | 410);
    assert!(statuses.iter().all(known), "{statuses:?}");
    statuses.into_iter().filter(|status| *status == 302).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_together_let_pass_what_a_link_may_take_and_no_more() {
    let installation = installation().await;
    let nodes = installation.three(&Shared::database_and_redis()).await;
    for (alias, max) in [("limit-1", 1), ("limit-10", 10), ("limit-100", 100)] {
        limit(&nodes[0], alias, max).await;
        assert_eq!(visits(&nodes, alias, 240).await, max as usize, "{alias}");
    }
    // What a node did not pass on others get when it stops.
    limit(&nodes[0], "limit-left", 64).await;
    nodes[0].get("/limit-left").await.assert_status(302);
    let [first, second, third] = nodes;
    finish([first]).await;
    let fresh = installation.node(&Shared::database_and_redis()).await;
    let nodes = [fresh, second, third];
    assert_eq!(visits(&nodes, "limit-left", 240).await, 63);
    finish(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_does_what_its_roles_say_and_sends_the_rest_to_others() {
    let installation = installation().await;
    let shared = Shared::database_and_redis();
    let node = async |roles| installation.node_with(&shared, &[("SHUNT_NODE__ROLES", roles)]).await;
    let (redirect, api, worker) =
        tokio::join!(node("[\"redirect\"]"), node("[\"api\"]"), node("[\"worker\"]"));
    let nodes = [redirect, api, worker];
    let body = json!({"alias": "by-role", "destination": "https://shop.example/"});
    let created = nodes.iter().map(|node| node.api(Method::POST, "/links", Some(body.clone())));
    let created: Vec<u16> = join_all(created).await.iter().map(|answer| answer.status()).collect();
    assert_eq!(created, [503, 201, 503]);
    let visited = join_all(nodes.iter().map(|node| node.get("/by-role"))).await;
    let visited: Vec<u16> = visited.iter().map(|answer| answer.status()).collect();
    assert_eq!(visited, [302, 503, 503]);
    for node in &nodes {
        node.get("/health").await.assert_status(200);
    }
    finish(nodes).await;
}
