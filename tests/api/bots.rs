//! Whose visits are clicks.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use crate::harness::{SOON, TestApp};

const BOT: &str = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";

async fn visit(app: &TestApp, user_agent: Option<&str>) {
    let mut visit = app.request(Method::GET, "/counted");
    if let Some(user_agent) = user_agent {
        visit = visit.header("User-Agent", user_agent);
    }
    app.send(visit).await.assert_status(302);
}

#[tokio::test]
async fn bots_take_no_click_of_a_limit() {
    let app = TestApp::start().await;
    let limited =
        json!({"destination": "https://shop.example/", "alias": "counted", "max_clicks": 3});
    app.create(limited).await;
    for _ in 0..5 {
        visit(&app, Some(BOT)).await;
    }
    visit(&app, None).await;
    // Nothing is kept of who asks for privacy: such a visit is a click, whoever makes it.
    let private = app.request(Method::GET, "/counted").header("User-Agent", BOT).header("DNT", "1");
    app.send(private).await.assert_status(302);
    app.clicks_become("counted", 2).await;
    let link = app.api(Method::GET, "/links/counted", None).await.json();
    assert_eq!(link["state"], "active");

    visit(&app, None).await;
    app.clicks_become("counted", 3).await;
    app.get("/counted").await.assert_status(410);
    let link = app.api(Method::GET, "/links/counted", None).await.json();
    assert_eq!(link["state"], "exhausted");
    app.finish().await;
}

#[tokio::test]
async fn bots_are_redirected_and_accounted_for_and_are_no_clicks() {
    let app = TestApp::start().await;
    app.create(json!({"destination": "https://shop.example/", "alias": "counted"})).await;
    visit(&app, Some(BOT)).await;
    let deadline = Instant::now() + SOON;
    while app.metric("shunt_clicks_counted_total").await < 1.0 {
        assert!(Instant::now() < deadline, "a bot's visit stays in the journal");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    visit(&app, Some("Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Firefox/143.0")).await;
    visit(&app, Some(BOT)).await;
    visit(&app, None).await;
    app.clicks_become("counted", 2).await;

    visit(&app, Some(BOT)).await;
    visit(&app, None).await;
    let app = app.kill_and_restart().await;
    app.clicks_become("counted", 3).await;
    app.finish().await;
}
