//! What counts as a click, and that it is counted once.

use reqwest::Method;
use serde_json::json;

use crate::harness::{SOON, TestApp};

async fn with_link() -> TestApp {
    let app = TestApp::start().await;
    app.create(json!({"destination": "https://shop.example/", "alias": "counted"})).await;
    app
}

#[tokio::test]
async fn every_answered_get_is_counted_and_nothing_else() {
    let app = with_link().await;
    for _ in 0..25 {
        app.get("/counted").await.assert_status(302);
    }
    app.send(app.request(Method::HEAD, "/counted")).await.assert_status(302);
    app.get("/counted?shunt-no-track").await.assert_status(302);
    app.get("/unknown").await.assert_status(404);
    let private = app.request(Method::GET, "/counted").header("DNT", "1");
    app.send(private).await.assert_status(302);
    app.clicks_become("counted", 26).await;
    let link = app.api(Method::GET, "/links/counted", None).await.json();
    assert!(link["last_clicked_at"].is_string());
    app.finish().await;
}

#[tokio::test]
async fn the_accounts_balance() {
    let app = with_link().await;
    for _ in 0..40 {
        app.get("/counted").await;
    }
    let deadline = std::time::Instant::now() + SOON;
    while app.metric("shunt_clicks_in_journal").await != 0.0 {
        assert!(std::time::Instant::now() < deadline, "the journal is not drained");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(app.metric("shunt_clicks_accepted_total").await, 40.0);
    assert_eq!(app.metric("shunt_clicks_counted_total").await, 40.0);
    assert_eq!(app.metric("shunt_clicks_dropped_total").await, 0.0);
    assert_eq!(app.metric("shunt_redirects_total").await, 40.0);
    app.finish().await;
}

#[tokio::test]
async fn clicks_survive_a_graceful_restart_and_a_crash() {
    let app = with_link().await;
    for _ in 0..10 {
        app.get("/counted").await;
    }
    let app = app.restart().await;
    app.clicks_become("counted", 10).await;
    for _ in 0..10 {
        app.get("/counted").await;
    }
    let app = app.kill_and_restart().await;
    app.clicks_become("counted", 20).await;
    app.finish().await;
}

#[tokio::test]
async fn several_counters_behind_several_workers_count_exactly_and_survive_kill_9() {
    let mut app = TestApp::builder()
        .set("SHUNT_CLICKS__COUNTERS", "3")
        .set("SHUNT_HTTP__WORKERS", "4")
        .start()
        .await;
    let codes: Vec<String> = (0..12).map(|n| format!("counted-{n:02}")).collect();
    for code in &codes {
        app.create(json!({"destination": "https://shop.example/", "alias": code})).await;
    }
    let actors = app.ops_get("/debug/actors").await.json();
    assert_eq!(actors["click_counters"].as_array().map(Vec::len), Some(3), "{actors}");
    for round in 1..=3_u64 {
        // Link `n` is visited n + 1 times in a round, all links at once on many connections.
        let visits = codes.iter().enumerate().flat_map(|(n, code)| vec![code; n + 1]);
        let visits = visits.map(async |code| app.get(&format!("/{code}")).await.status());
        let answers = futures_util::future::join_all(visits).await;
        assert!(answers.iter().all(|status| *status == 302), "{answers:?}");
        app = app.kill_and_restart().await;
        for (n, code) in codes.iter().enumerate() {
            app.clicks_become(code, round * (n as u64 + 1)).await;
        }
    }
    app.finish().await;
}

#[tokio::test]
async fn counting_can_be_switched_off() {
    let app = TestApp::builder().set("SHUNT_CLICKS__ENABLED", "false").start().await;
    app.create(json!({"destination": "https://shop.example/", "alias": "uncounted"})).await;
    app.get("/uncounted").await.assert_status(302);
    assert_eq!(app.metric("shunt_clicks_accepted_total").await, 0.0);
    app.finish().await;
}

#[tokio::test]
async fn erased_clicks_stay_away() {
    let app = with_link().await;
    for _ in 0..5 {
        app.get("/counted").await;
    }
    app.clicks_become("counted", 5).await;
    app.api(Method::POST, "/links/counted/reset-clicks", None).await.assert_status(204);
    app.clicks_become("counted", 0).await;
    app.get("/counted").await;
    app.clicks_become("counted", 1).await;
    let app = app.restart().await;
    app.clicks_become("counted", 1).await;
    app.finish().await;
}
