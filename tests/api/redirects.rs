//! `GET /{code}`: what a visitor gets.

use reqwest::Method;
use serde_json::json;

use crate::harness::TestApp;

#[tokio::test]
async fn a_link_redirects_and_forbids_caching() {
    let app = TestApp::start().await;
    app.create(json!({"destination": "https://shop.example/spring?a=1", "alias": "spring"})).await;

    let answer = app.get("/spring").await;
    answer.assert_found("https://shop.example/spring?a=1");
    assert_eq!(answer.header("cache-control"), Some("private, no-store"));
    assert_eq!(answer.header("x-robots-tag"), Some("noindex"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert!(answer.header("referrer-policy").is_some());
    assert!(answer.header("x-request-id").is_some());
    assert!(answer.header("server").is_none());
    assert!(answer.body().is_empty());
    app.finish().await;
}

#[tokio::test]
async fn generated_codes_have_the_sealed_shape_and_survive_a_restart() {
    let app = TestApp::start().await;
    let link = app.create(json!({"destination": "https://shop.example/"})).await;
    let code = link["code"].as_str().expect("a code").to_owned();
    assert_eq!(code.len(), 8);
    assert!(code.as_bytes()[0].is_ascii_digit());

    let app = app.restart().await;
    app.get(&format!("/{code}")).await.assert_found("https://shop.example/");
    app.finish().await;
}

#[tokio::test]
async fn each_redirect_status_is_served_with_its_caching() {
    let app = TestApp::start().await;
    for status in [301, 302, 303, 307, 308] {
        let alias = format!("to-{status}");
        app.create(json!({
            "destination": "https://shop.example/", "alias": alias, "redirect_status": status
        }))
        .await;
        let answer = app.get(&format!("/{alias}")).await;
        answer.assert_status(status);
        let permanent = matches!(status, 301 | 308);
        let expected = if permanent { "private, max-age=90" } else { "private, no-store" };
        assert_eq!(answer.header("cache-control"), Some(expected), "{status}");
    }
    app.finish().await;
}

#[tokio::test]
async fn unknown_deleted_and_scheduled_links_cannot_be_told_apart() {
    let app = TestApp::start().await;
    app.create(json!({"destination": "https://shop.example/", "alias": "deleted"})).await;
    app.api(Method::DELETE, "/links/deleted", None).await.assert_status(204);
    app.create(json!({
        "destination": "https://shop.example/", "alias": "later",
        "starts_at": "2999-01-01T00:00:00Z"
    }))
    .await;

    let unknown = app.get("/never-was").await;
    unknown.assert_status(404);
    assert!(unknown.header("content-type").is_some_and(|kind| kind.starts_with("text/html")));
    assert!(unknown.header("content-security-policy").is_some());
    for path in ["/deleted", "/later", "/0aaaaaaa", "/bad!code", "/a%20b", "/%ff", "/x/y", "/x+"] {
        let answer = app.get(path).await;
        answer.assert_status(404);
        assert_eq!(answer.body(), unknown.body(), "{path}");
    }
    app.finish().await;
}

#[tokio::test]
async fn links_that_are_over_say_which_way_they_ended() {
    let app = TestApp::start().await;
    for status in ["disabled", "archived"] {
        app.create(json!({"destination": "https://shop.example/", "alias": status})).await;
        app.api(Method::PATCH, &format!("/links/{status}"), Some(json!({"status": status})))
            .await
            .assert_status(200);
        let answer = app.get(&format!("/{status}")).await;
        answer.assert_status(410);
        assert!(answer.header("location").is_none());
    }
    app.create(json!({
        "destination": "https://shop.example/", "alias": "limited", "max_clicks": 2
    }))
    .await;
    app.get("/limited").await.assert_found("https://shop.example/");
    app.get("/limited").await.assert_found("https://shop.example/");
    app.get("/limited").await.assert_status(410);
    app.finish().await;
}

#[tokio::test]
async fn a_click_limit_holds_under_concurrency_and_over_a_crash() {
    let app = TestApp::start().await;
    app.create(json!({
        "destination": "https://shop.example/", "alias": "limited", "max_clicks": 50
    }))
    .await;
    let answers = futures_util::future::join_all((0..80).map(|_| app.get("/limited"))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status() == 302).count(), 50);

    let app = app.kill_and_restart().await;
    app.get("/limited").await.assert_status(410);
    app.finish().await;
}

#[tokio::test]
async fn a_limit_begins_again_when_the_clicks_are_reset() {
    let app = TestApp::start().await;
    app.create(json!({
        "destination": "https://shop.example/", "alias": "limited", "max_clicks": 3
    }))
    .await;
    for _ in 0..2 {
        for _ in 0..3 {
            app.get("/limited").await.assert_found("https://shop.example/");
        }
        app.get("/limited").await.assert_status(410);
        app.clicks_become("limited", 3).await;
        app.api(Method::POST, "/links/limited/reset-clicks", None).await.assert_status(204);
        let link = app.api(Method::GET, "/links/limited", None).await.json();
        assert_eq!((&link["clicks"], &link["state"]), (&json!(0), &json!("active")));
    }
    app.get("/limited").await.assert_found("https://shop.example/");
    app.finish().await;
}

#[tokio::test]
async fn an_expired_link_goes_to_its_way_out() {
    let app = TestApp::start().await;
    app.create(json!({
        "destination": "https://shop.example/", "alias": "short", "expires_in": 1,
        "expired_url": "https://shop.example/over"
    }))
    .await;
    let deadline = std::time::Instant::now() + crate::harness::SOON;
    loop {
        let answer = app.get("/short").await;
        if answer.header("location") == Some("https://shop.example/over") {
            break;
        }
        answer.assert_found("https://shop.example/");
        assert!(std::time::Instant::now() < deadline, "the link does not expire");
    }
    let link = app.api(Method::GET, "/links/short", None).await.json();
    assert_eq!(link["state"], "expired");
    app.finish().await;
}

#[tokio::test]
async fn the_visitors_query_is_passed_on() {
    let app = TestApp::start().await;
    app.create(json!({"destination": "https://shop.example/p?a=1&b=2#top", "alias": "query"}))
        .await;
    app.get("/query?b=9&c=3").await.assert_found("https://shop.example/p?a=1&b=9&c=3#top");
    app.get("/query?shunt-no-track").await.assert_found("https://shop.example/p?a=1&b=2#top");
    app.create(json!({
        "destination": "https://shop.example/p?a=1", "alias": "plain", "forward_query": false
    }))
    .await;
    app.get("/plain?b=9").await.assert_found("https://shop.example/p?a=1");
    app.finish().await;
}

#[tokio::test]
async fn a_change_is_live_when_it_is_answered() {
    let app = TestApp::start().await;
    app.create(json!({"destination": "https://shop.example/0", "alias": "edited"})).await;
    for n in 1..=50 {
        let target = format!("https://shop.example/{n}");
        app.api(Method::PATCH, "/links/edited", Some(json!({"destination": target})))
            .await
            .assert_status(200);
        app.get("/edited").await.assert_found(&target);
    }
    app.finish().await;
}

#[tokio::test]
async fn programs_get_problems_instead_of_pages() {
    let app = TestApp::start().await;
    let request = app.request(Method::GET, "/nowhere").header("Accept", "application/json");
    app.send(request).await.assert_problem(404, "not_found");
    let answer = app.send(app.request(Method::POST, "/nowhere")).await;
    answer.assert_status(405);
    assert_eq!(answer.header("allow"), Some("GET, HEAD"));
    app.finish().await;
}

#[tokio::test]
async fn foreign_hosts_get_no_redirect_but_the_api_answers_everywhere() {
    let app = TestApp::start().await;
    app.create(json!({"destination": "https://shop.example/", "alias": "spring"})).await;
    let foreign = app.request(Method::GET, "/spring").header("Host", "evil.example");
    app.send(foreign).await.assert_status(404);
    let health = app.request(Method::GET, "/health").header("Host", "evil.example");
    assert_eq!(app.send(health).await.json(), json!({"status": "ok"}));
    app.finish().await;
}

#[tokio::test]
async fn requests_that_are_too_long_are_refused() {
    let app = TestApp::start().await;
    app.get(&format!("/{}", "a".repeat(51))).await.assert_status(404);
    app.get(&format!("/{}", "a".repeat(9_000))).await.assert_status(414);
    let fat = app.request(Method::GET, "/spring").header("X-Fat", "x".repeat(20_000));
    app.send(fat).await.assert_status(431);
    app.finish().await;
}
