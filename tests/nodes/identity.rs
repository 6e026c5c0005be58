//! Every node has a number of its own, and what is made from it never collides.

use futures_util::future::join_all;
use serde_json::json;

use crate::cluster::{Shared, bulk, distinct, finish, installation, installation_alone, number};
use crate::harness::TestApp;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_have_different_numbers_and_a_freed_one_is_taken_again() {
    let installation = installation_alone().await;
    let shared = Shared::database();
    let mut nodes = Vec::from(installation.three(&shared).await);
    let numbers = distinct(nodes.iter().map(number));
    assert_eq!(numbers.len(), 3, "{numbers:?}");
    let gone = nodes.remove(1);
    let free = number(&gone);
    finish([gone]).await;
    nodes.push(installation.node(&shared).await);
    assert_eq!(number(&nodes[2]), free);
    nodes.push(installation.node(&shared).await);
    assert!(!numbers.contains(&number(&nodes[3])), "a fourth one has a number of the three");
    finish(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codes_and_ids_that_nodes_make_at_once_are_all_different() {
    const REQUESTS: usize = 10;
    const LINKS: usize = 200;
    let installation = installation().await;
    let nodes = installation.three(&Shared::database_and_redis()).await;
    let make = async |node: &TestApp| {
        let mut made = Vec::new();
        for n in 0..REQUESTS {
            let link = |i| json!({"destination": format!("https://shop.example/{n}/{i}")});
            made.extend(bulk(node, (0..LINKS).map(link).collect()).await);
        }
        made
    };
    let made: Vec<_> = join_all(nodes.iter().map(make)).await.concat();
    let of = |field: &str| {
        distinct(made.iter().map(|link| link[field].as_str().expect("a text").to_owned()))
    };
    let all = 3 * REQUESTS * LINKS;
    assert_eq!((made.len(), of("code").len(), of("id").len()), (all, all, all));
    finish(nodes).await;
}
