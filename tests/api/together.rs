//! Many callers who do the same at the same time.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::harness::TestApp;

#[tokio::test]
async fn one_link_is_made_for_many_who_ask_whether_there_is_one() {
    let app = TestApp::start().await;
    let asks = (0..30).map(async |_| {
        let body = Some(json!({"destination": "https://shop.example/shared"}));
        let answer = app.api(Method::POST, "/links?find_if_exists=true", body).await;
        (answer.status(), answer.json()["id"].clone())
    });
    let answers = join_all(asks).await;
    assert_eq!(answers.iter().filter(|(status, _)| *status == 201).count(), 1, "{answers:?}");
    assert!(answers.iter().all(|(_, id)| *id == answers[0].1), "{answers:?}");
    assert_eq!(app.api(Method::GET, "/links", None).await.json()["total"], 1);
    app.finish().await;
}

#[tokio::test]
async fn an_active_link_is_found_behind_newer_ones_that_are_not() {
    let app = TestApp::start().await;
    let to = "https://shop.example/shared";
    let active = app.create(json!({"destination": to, "alias": "active", "max_clicks": 9})).await;
    app.create(json!({"destination": to, "starts_at": "2999-01-01T00:00:00Z"})).await;
    app.create(json!({"destination": to, "alias": "used-up", "max_clicks": 1})).await;
    app.get("/used-up").await.assert_found(to);
    app.clicks_become("used-up", 1).await;
    let body = Some(json!({"destination": to}));
    let found = app.api(Method::POST, "/links?find_if_exists=true", body).await;
    assert_eq!(found.assert_status(200).json()["id"], active["id"]);
    app.finish().await;
}

#[tokio::test]
async fn no_change_fails_because_of_others() {
    let app = TestApp::start().await;
    app.create(json!({"destination": "https://shop.example/", "alias": "busy"})).await;
    let changes = (0..50).map(async |n| {
        let title = Some(json!({"title": format!("Title {n}")}));
        let answer = app.api(Method::PATCH, "/links/busy", title).await;
        answer.assert_status(200).json()["version"].as_u64()
    });
    let versions: BTreeSet<_> = join_all(changes).await.into_iter().flatten().collect();
    assert_eq!(versions, (2..=51).collect());

    let mixed = (0..30).map(async |n| {
        if n == 15 {
            return app.api(Method::DELETE, "/links/busy", None).await.status();
        }
        let title = Some(json!({"title": format!("Again {n}")}));
        app.api(Method::PATCH, "/links/busy", title).await.status()
    });
    let answers = join_all(mixed).await;
    assert_eq!(answers.iter().filter(|status| **status == 204).count(), 1, "{answers:?}");
    assert!(answers.iter().all(|status| matches!(status, 200 | 204 | 404)), "{answers:?}");
    app.finish().await;
}
