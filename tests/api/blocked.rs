//! A link that the operator has taken down: its owner sees it and cannot touch it.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::TestApp;

const TARGET: &str = "https://shop.example/taken-down";

/// A server whose operator has blocked the link `bad-one`.
async fn with_blocked() -> TestApp {
    let app = TestApp::start().await;
    let row = json!({"code": "bad-one", "destination": TARGET, "status": "blocked", "clicks": 3});
    let imported = app.import(1, &[row]).await;
    assert_eq!(imported["results"][0]["outcome"], "created", "{imported}");
    app
}

async fn read(app: &TestApp) -> Value {
    app.api(Method::GET, "/links/bad-one", None).await.assert_status(200).json()
}

#[tokio::test]
async fn a_blocked_link_is_shown_to_its_owner_and_refuses_every_change() {
    let app = with_blocked().await;
    let before = read(&app).await;
    assert_eq!((&before["status"], &before["state"]), (&json!("blocked"), &json!("blocked")));
    for change in [
        json!({"status": "active"}),
        json!({"status": "disabled"}),
        json!({"destination": "https://shop.example/elsewhere"}),
        json!({"title": "harmless"}),
        json!({"alias": "moved-away"}),
        json!({}),
    ] {
        let answer = app.api(Method::PATCH, "/links/bad-one", Some(change)).await;
        answer.assert_problem(403, "forbidden");
    }
    app.api(Method::DELETE, "/links/bad-one", None).await.assert_problem(403, "forbidden");
    let erase = app.api(Method::DELETE, "/links/bad-one?erase_clicks=true", None).await;
    erase.assert_problem(403, "forbidden");
    let reset = app.api(Method::POST, "/links/bad-one/reset-clicks", None).await;
    reset.assert_problem(403, "forbidden");
    // What may not be changed at all is not asked for its version.
    let stale = app.request(Method::PATCH, "/api/v1/links/bad-one").bearer_auth(&app.key);
    let stale = stale.header("If-Match", "\"999\"").json(&json!({"title": "late"}));
    app.send(stale).await.assert_problem(403, "forbidden");
    assert_eq!(read(&app).await, before);
    app.finish().await;
}

#[tokio::test]
async fn no_owner_can_block_or_unblock() {
    let app = with_blocked().await;
    app.create(json!({"destination": "https://shop.example/", "alias": "fine"})).await;
    let block = app.api(Method::PATCH, "/links/fine", Some(json!({"status": "blocked"}))).await;
    block.assert_problem(400, "invalid_request");
    let row = json!({"code": "bad-one", "destination": TARGET, "status": "active"});
    app.import(2, &[row]).await;
    assert_eq!(read(&app).await["status"], "blocked");
    let alias = json!({"destination": "https://shop.example/", "alias": "bad-one"});
    app.api(Method::POST, "/links", Some(alias)).await.assert_problem(409, "alias_taken");
    app.finish().await;
}

#[tokio::test]
async fn a_blocked_link_is_listed_and_never_offered_as_an_existing_one() {
    let app = with_blocked().await;
    let listed = app.api(Method::GET, "/links?state=blocked", None).await.json();
    assert_eq!((&listed["total"], &listed["data"][0]["code"]), (&json!(1), &json!("bad-one")));
    assert_eq!(app.api(Method::GET, "/links?state=active", None).await.json()["total"], 0);
    let body = json!({"destination": TARGET});
    let other = app.api(Method::POST, "/links?find_if_exists=true", Some(body)).await;
    assert_ne!(other.assert_status(201).json()["code"], "bad-one");
    app.finish().await;
}

#[tokio::test]
async fn visitors_of_a_blocked_link_are_told_and_sent_nowhere() {
    let app = with_blocked().await;
    let page = app.get("/bad-one").await;
    page.assert_status(403);
    assert!(page.header("location").is_none());
    assert!(!page.text().contains("taken-down"), "the page shows the destination");
    let json = app.request(Method::GET, "/bad-one").header("Accept", "application/json");
    app.send(json).await.assert_problem(403, "link_blocked");
    app.get("/bad-one").await.assert_status(403);
    assert_eq!(app.metric("shunt_clicks_accepted_total").await, 0.0);
    let app = app.restart().await;
    app.get("/bad-one").await.assert_status(403);
    app.finish().await;
}
