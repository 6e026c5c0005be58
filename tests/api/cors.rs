//! Pages of other origins, as browsers ask for them.

use reqwest::Method;
use serde_json::json;

use crate::harness::{Answer, TestApp};

const LISTED: &str = "https://app.example";
const FOREIGN: &str = "https://evil.example";

/// What lets a browser hand something to a page.
const ALLOWING: [&str; 5] = [
    "access-control-allow-origin",
    "access-control-allow-credentials",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "access-control-expose-headers",
];

async fn app_for(origins: &str) -> TestApp {
    TestApp::builder()
        .set("SHUNT_HTTP__CORS_ORIGINS", origins)
        .set("SHUNT_HTTP__PUBLIC_URL", "https://go.example")
        .start()
        .await
}

async fn preflight(app: &TestApp, path: &str, origin: &str, method: &str, headers: &str) -> Answer {
    let request = app
        .request(Method::OPTIONS, path)
        .header("Origin", origin)
        .header("Access-Control-Request-Method", method)
        .header("Access-Control-Request-Headers", headers);
    app.send(request).await
}

async fn list_from(app: &TestApp, origin: &str) -> Answer {
    let request = app.request(Method::GET, "/api/v1/links").bearer_auth(&app.key);
    app.send(request.header("Origin", origin)).await
}

#[track_caller]
fn assert_nothing_is_allowed(answer: &Answer) {
    for name in ALLOWING {
        assert_eq!(answer.header(name), None, "{name}");
    }
}

#[tokio::test]
async fn by_default_no_page_of_another_origin_is_allowed_anything() {
    let app = TestApp::start().await;
    let answer = preflight(&app, "/api/v1/links", LISTED, "POST", "authorization").await;
    answer.assert_problem(405, "method_not_allowed");
    assert_nothing_is_allowed(&answer);
    let answer = list_from(&app, LISTED).await;
    answer.assert_status(200);
    assert_nothing_is_allowed(&answer);
    app.finish().await;
}

#[tokio::test]
async fn a_listed_origin_may_ask_and_read_with_the_session_of_its_visitors() {
    let app = app_for("[\"https://app.example\"]").await;
    for (path, method, headers) in [
        ("/api/v1/links", "POST", "authorization, content-type, idempotency-key, x-api-key"),
        ("/api/v1/links/abc", "PATCH", "Authorization,Content-Type,If-Match,X-Request-Id"),
        ("/api/v1/links/abc", "DELETE", "x-anonymous-token"),
    ] {
        let answer = preflight(&app, path, LISTED, method, headers).await;
        answer.assert_status(200);
        assert_eq!(answer.header("access-control-allow-origin"), Some(LISTED));
        assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
        let methods = answer.header("access-control-allow-methods").unwrap_or_default();
        for allowed in ["GET", "HEAD", "POST", "PATCH", "DELETE"] {
            assert!(methods.split(", ").any(|method| method == allowed), "{methods}");
        }
        assert!(!methods.contains("TRACE") && !methods.contains('*'), "{methods}");
        assert!(answer.header("vary").is_some_and(|vary| vary.contains("Origin")));
        assert_eq!(answer.header("access-control-max-age"), Some("600"));
    }

    let answer = list_from(&app, LISTED).await;
    answer.assert_status(200);
    assert_eq!(answer.header("access-control-allow-origin"), Some(LISTED));
    assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
    let exposed = answer.header("access-control-expose-headers").unwrap_or_default();
    for name in [
        "etag",
        "location",
        "ratelimit",
        "ratelimit-policy",
        "retry-after",
        "x-request-id",
        "idempotency-replayed",
    ] {
        assert!(exposed.split(", ").any(|shown| shown == name), "{name}: {exposed}");
    }
    // A page must be able to read why it was refused.
    let request = app.request(Method::GET, "/api/v1/links").header("Origin", LISTED);
    let answer = app.send(request).await;
    answer.assert_problem(401, "unauthenticated");
    assert_eq!(answer.header("access-control-allow-origin"), Some(LISTED));
    app.finish().await;
}

#[tokio::test]
async fn a_foreign_origin_is_refused_before_anything_is_done() {
    let app = app_for("[\"https://app.example\"]").await;
    for origin in [
        FOREIGN,
        "null",
        "https://app.example.evil.example",
        "https://sub.app.example",
        "http://app.example",
        "https://app.example:8443",
        "https://app.example/",
    ] {
        let answer = preflight(&app, "/api/v1/links", origin, "POST", "content-type").await;
        answer.assert_problem(403, "forbidden");
        assert_nothing_is_allowed(&answer);
        assert!(answer.header("vary").is_some_and(|vary| vary.contains("Origin")), "{origin}");

        let request = app.request(Method::POST, "/api/v1/links").bearer_auth(&app.key);
        let body = json!({"destination": "https://shop.example/", "alias": "foreign"});
        let answer = app.send(request.header("Origin", origin).json(&body)).await;
        answer.assert_problem(403, "forbidden");
        assert_nothing_is_allowed(&answer);
        assert!(answer.header("vary").is_some_and(|vary| vary.contains("Origin")), "{origin}");
    }
    app.api(Method::GET, "/links/foreign", None).await.assert_status(404);
    app.finish().await;
}

#[tokio::test]
async fn the_own_pages_are_no_foreign_ones() {
    let app = app_for("[\"https://app.example\"]").await;
    list_from(&app, "https://go.example").await.assert_status(200);
    // By another name of this machine: the browser says that it is the same.
    let request = app.request(Method::GET, "/api/v1/links").bearer_auth(&app.key);
    let request = request.header("Origin", &app.url).header("Sec-Fetch-Site", "same-origin");
    app.send(request).await.assert_status(200);
    app.finish().await;
}

#[tokio::test]
async fn questions_that_no_route_would_take_are_refused() {
    let app = app_for("[\"https://app.example\"]").await;
    let answer = preflight(&app, "/api/v1/links", LISTED, "TRACE", "content-type").await;
    answer.assert_problem(403, "forbidden");
    let answer = preflight(&app, "/api/v1/links", LISTED, "POST", "x-secret").await;
    answer.assert_problem(403, "forbidden");
    let answer = preflight(&app, "/api/v1/links", LISTED, "POST", "a b").await;
    answer.assert_problem(400, "invalid_request");
    assert_nothing_is_allowed(&answer);
    app.finish().await;
}

#[tokio::test]
async fn everybody_means_pages_without_sessions() {
    let app = app_for("[\"*\"]").await;
    for origin in [LISTED, FOREIGN] {
        let answer = preflight(&app, "/api/v1/links", origin, "POST", "authorization").await;
        answer.assert_status(200);
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        assert_eq!(answer.header("access-control-allow-credentials"), None);
        let answer = list_from(&app, origin).await;
        answer.assert_status(200);
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        assert_eq!(answer.header("access-control-allow-credentials"), None);
    }
    let answer = list_from(&app, "null").await;
    answer.assert_problem(403, "forbidden");
    assert_nothing_is_allowed(&answer);
    app.finish().await;
}

#[tokio::test]
async fn a_change_by_cookie_must_come_from_a_page_of_this_site() {
    let app = app_for("[\"https://app.example\"]").await;
    let post = |path: &str, headers: &[(&str, &str)]| {
        let mut request =
            app.request(Method::POST, path).json(&json!({"destination": "https://shop.example/"}));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        app.send(request)
    };
    let cookie = ("Cookie", "__Host-shunt_access=abc");
    for headers in [
        &[cookie][..],
        &[cookie, ("Sec-Fetch-Site", "cross-site")],
        &[cookie, ("Sec-Fetch-Site", "none")],
        &[cookie, ("Sec-Fetch-Site", "same-site")],
    ] {
        let answer = post("/api/v1/links", headers).await;
        answer.assert_problem(403, "forbidden");
    }
    // Proven, and still nobody: the cookie is no token.
    for headers in [
        &[cookie, ("Sec-Fetch-Site", "same-origin")][..],
        &[cookie, ("Sec-Fetch-Site", "cross-site"), ("Origin", LISTED)],
        &[cookie, ("Origin", "https://go.example")],
    ] {
        post("/api/v1/links", headers).await.assert_problem(401, "invalid_token");
    }
    post("/api/v1/links", &[]).await.assert_problem(401, "unauthenticated");
    let key = format!("__Host-shunt_access={}", app.key);
    let keyed = [("Cookie", key.as_str()), ("Sec-Fetch-Site", "same-origin")];
    post("/api/v1/links", &keyed).await.assert_problem(401, "invalid_token");
    let bearer = format!("Bearer {}", app.key);
    let keyed = [cookie, ("Authorization", bearer.as_str())];
    post("/api/v1/links", &keyed).await.assert_status(201);

    // Nobody is logged in by a foreign page, however the path is written.
    for path in ["/api/v1/auth/login", "/api/v1/%61uth/login"] {
        let answer = post(path, &[("Sec-Fetch-Site", "cross-site")]).await;
        answer.assert_problem(403, "forbidden");
    }
    app.finish().await;
}
