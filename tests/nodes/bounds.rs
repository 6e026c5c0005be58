//! What a client of the API sees while the database is slow or silent: an answer within a bound,
//! and nothing that is made in part or told of twice.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use shunt::domain::code::{Code, DomainId, LinkKey};
use shunt::domain::destination::Destination;
use shunt::domain::id::Id;
use shunt::domain::link::Link;
use shunt::storage::{Claim, LinkStore};

use crate::cluster::{
    Installation, SOON, Shared, finish, finish_after_trouble, installation, metric,
};
use crate::harness::{Answer, TestApp};
use crate::services::services;
use crate::wire::{Loss, Weather, Wire};

/// Three times what a request waits for the database.
const BOUND: Duration = Duration::from_secs(15);
/// Longer than a load for a visitor may take, many times less than a request to the API.
const LATE: Duration = Duration::from_millis(300);

async fn ask(node: &TestApp, method: Method, path: &str, body: Option<Value>) -> Answer {
    let answer = tokio::time::timeout(BOUND, node.api(method.clone(), path, body)).await;
    answer.unwrap_or_else(|_| panic!("{method} {path} waits for longer than {BOUND:?}"))
}

/// A node, and the wire to its database.
async fn on_a_wire(installation: &Installation) -> (Wire, TestApp) {
    let wire = Wire::to(&services().cql).await;
    let node = installation.node(&Shared { cql: &wire.address, redis: None }).await;
    (wire, node)
}

fn to(path: &str) -> Value {
    json!({"destination": format!("https://shop.example/{path}")})
}

/// What the audit log tells of a link.
async fn told(node: &TestApp, link: &Value) -> Vec<Value> {
    let path = format!("/audit-log?target={}", link["id"].as_str().unwrap());
    let page = node.api(Method::GET, &path, None).await.assert_status(200).json();
    page["data"].as_array().unwrap().iter().map(|entry| entry["action"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_starts_on_a_database_that_hesitates() {
    let installation = installation().await;
    let wire = Wire::to(&services().cql).await;
    wire.lose(Loss::Every(4));
    let node = installation.node(&Shared { cql: &wire.address, redis: None }).await;
    assert!(wire.mend(), "nothing was lost");
    node.create(to("after")).await;
    finish_after_trouble([node]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contact_points_that_say_nothing_keep_no_node_from_starting() {
    let installation = installation().await;
    // Connections are accepted by the system, and by nobody else.
    let silent = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let addresses = silent.each_ref().map(|point| point.local_addr().unwrap().to_string());
    let points = format!("{},{},{}", addresses[0], addresses[1], services().cql);
    let node = installation.node(&Shared { cql: &points, redis: None }).await;
    finish_after_trouble([node]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_database_is_silent_every_request_is_answered_within_the_bound() {
    let installation = installation().await;
    let (wire, node) = on_a_wire(&installation).await;
    let link = node.create(to("before")).await;
    let code = link["code"].as_str().unwrap();
    let (at, of) = (format!("/links/{code}"), format!("/links/{code}/stats"));
    let many: Vec<Value> = (0..200).map(|n| to(&n.to_string())).collect();
    let requests = [
        (Method::POST, "/links", Some(to("new"))),
        (Method::POST, "/links/bulk", Some(json!({"links": many}))),
        (Method::GET, &at, None),
        (Method::PATCH, &at, Some(to("changed"))),
        // Waits for the one before it.
        (Method::PATCH, &at, Some(json!({"alias": "moved-in-silence"}))),
        (Method::DELETE, &at, None),
        (Method::GET, "/links?q=shop", None),
        (Method::GET, "/tags", None),
        (Method::GET, &of, None),
        (Method::GET, "/stats", None),
        (Method::GET, "/audit-log", None),
        (Method::GET, "/members", None),
        (Method::POST, "/api-keys", Some(json!({"name": "new"}))),
    ];
    wire.turn(Weather::Silent);
    join_all(requests.map(|(method, path, body)| {
        let node = &node;
        async move {
            let answer = ask(node, method.clone(), path, body).await;
            assert_eq!(answer.status(), 503, "{method} {path}: {}", answer.text());
            assert_eq!(answer.json()["code"], "unavailable", "{method} {path}");
            assert!(answer.header("retry-after").is_some(), "{method} {path}");
        }
    }))
    .await;
    wire.turn(Weather::Fair);
    let begun = Instant::now();
    while ask(&node, Method::POST, "/links", Some(to("after"))).await.status() != 201 {
        assert!(begun.elapsed() < SOON, "no link can be made after a silence");
    }
    finish_after_trouble([node]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_audit_log_could_not_be_told_at_once_it_is_told_later_and_once() {
    let installation = installation().await;
    let direct = Shared::database();
    let ((wire, node), other) = tokio::join!(on_a_wire(&installation), installation.node(&direct));
    wire.lose(Loss::Batches);
    let made = ask(&node, Method::POST, "/links", Some(to("made"))).await;
    let made = made.assert_status(201).json();
    let at = format!("/links/{}", made["code"].as_str().unwrap());
    ask(&node, Method::PATCH, &at, Some(to("changed"))).await.assert_status(200);
    // The first one was appended, and nobody heard of it; the second one never arrived.
    let begun = Instant::now();
    while wire.n_batches() < 2 {
        assert!(begun.elapsed() < SOON, "nobody tries to tell the audit log");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(metric(&node, "shunt_audit_entries_waiting", &[]).await > 0.0);
    assert!(wire.mend());
    // A stop waits for what is to be told; an error in the log would say that it was lost.
    finish([node]).await;
    assert_eq!(told(&other, &made).await, ["link.change", "link.create"]);
    finish([other]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_database_is_too_slow_for_visitors_only() {
    let installation = installation().await;
    let (wire, node) = on_a_wire(&installation).await;
    let key = LinkKey::new(DomainId::DEFAULT, Code::parse(b"slow-and-cold").unwrap());
    let destination = Destination::from_stored("https://shop.example/cold").unwrap();
    let cold = Link::plain(Id(1 << 39), Id(1), key, destination);
    let store = installation.open(&services().cql).await;
    assert_eq!(store.claim(vec![cold], None).await.unwrap(), [Claim::Won]);
    let link = node.create(to("before")).await;
    let at = format!("/links/{}", link["code"].as_str().unwrap());

    wire.turn(Weather::Late(LATE));
    let (changed, visit) = tokio::join!(
        ask(&node, Method::PATCH, &at, Some(to("changed"))),
        node.get("/slow-and-cold"),
    );
    assert_eq!(changed.assert_status(200).json()["destination"], "https://shop.example/changed");
    visit.assert_status(503);
    assert!(visit.header("retry-after").is_some());
    ask(&node, Method::GET, &at, None).await.assert_status(200);
    wire.turn(Weather::Fair);
    finish([node]).await;
}
