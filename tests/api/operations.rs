//! The operations listener, health, documents, start and stop.

use std::path::Path;

use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::TestApp;

#[tokio::test]
async fn a_ready_server_says_so_on_its_own_listener() {
    let app = TestApp::start().await;
    app.ops_get("/livez").await.assert_status(200);
    app.ops_get("/readyz").await.assert_status(200);
    let health = app.ops_get("/healthz").await;
    assert_eq!(health.header("content-type"), Some("application/health+json"));
    assert_eq!(health.assert_status(200).json()["status"], "pass");
    let actors = app.ops_get("/debug/actors").await.assert_status(200).json();
    assert!(actors.to_string().contains("shard"), "{actors}");
    assert_eq!(app.get("/health").await.json(), json!({"status": "ok"}));
    for path in ["/metrics", "/readyz", "/debug/actors"] {
        assert_ne!(app.get(path).await.status(), 200, "{path} is public");
    }
    app.finish().await;
}

#[tokio::test]
async fn metrics_have_the_names_of_the_contract() {
    let app = TestApp::start().await;
    app.create(json!({"destination": "https://shop.example/", "alias": "spring"})).await;
    app.get("/spring").await;
    let text = app.ops_get("/metrics").await.text();
    for sample in [
        "shunt_redirects_total{outcome=\"hit\"}",
        "shunt_redirects_total{outcome=\"unavailable\"}",
        "shunt_redirect_duration_seconds_bucket{",
        "shunt_redirect_duration_seconds_count",
        "shunt_clicks_accepted_total",
        "shunt_clicks_counted_total",
        "shunt_clicks_dropped_total{reason=",
        "shunt_clicks_in_journal",
        "shunt_links_in_memory",
        "shunt_links_memory_bytes",
        "shunt_store_duration_seconds_bucket{",
        "shunt_http_requests_total{",
        "shunt_mailbox_depth{actor=",
        "shunt_build_info{",
    ] {
        assert!(text.lines().any(|line| line.starts_with(sample)), "{sample} is missing:\n{text}");
    }
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let value = line.rsplit(' ').next().unwrap_or_default();
        assert!(value.parse::<f64>().is_ok(), "not a sample: {line}");
    }
    app.finish().await;
}

#[tokio::test]
async fn the_api_describes_itself_and_answers_problems() {
    let app = TestApp::start().await;
    let document = app.get("/api/v1/openapi.json").await.assert_status(200).json();
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
    for path in ["/api/v1/links", "/api/v1/links/{code}", "/api/v1/links/bulk", "/api/v1/api-keys"]
    {
        assert!(document["paths"].get(path).is_some(), "{path} is not described");
    }
    app.api(Method::GET, "/nowhere", None).await.assert_problem(404, "not_found");
    let wrong = app.api(Method::PUT, "/links", None).await;
    wrong.assert_problem(405, "method_not_allowed");
    assert!(wrong.header("allow").is_some_and(|allow| allow.contains("POST")));
    app.finish().await;
}

#[tokio::test]
async fn request_ids_are_taken_or_made() {
    let app = TestApp::start().await;
    app.create(json!({"destination": "https://shop.example/", "alias": "spring"})).await;
    for path in ["/spring", "/health", "/nowhere", "/api/v1/links"] {
        let request = app.request(Method::GET, path).header("X-Request-Id", "caller-7");
        assert_eq!(app.send(request).await.header("x-request-id"), Some("caller-7"), "{path}");
        let made = app.get(path).await;
        assert!(made.header("x-request-id").is_some_and(|id| id.len() >= 8), "{path}");
    }
    app.finish().await;
}

#[tokio::test]
async fn small_documents_are_served() {
    let app = TestApp::start().await;
    app.get("/").await.assert_status(200);
    let robots = app.get("/robots.txt").await;
    assert!(robots.assert_status(200).text().contains("User-agent"));
    app.finish().await;
}

#[tokio::test]
async fn operators_bring_their_own_pages() {
    let folder = tempfile::tempdir().expect("a folder");
    let page = "<!doctype html><title>{{title}}</title><p>Our own words: {{reason}}";
    std::fs::write(folder.path().join("404.html"), page).expect("a template");
    let path = folder.path().display().to_string();
    let app = TestApp::builder().set("SHUNT_PAGES__TEMPLATES", &path).start().await;
    let answer = app.get("/nowhere").await;
    assert!(answer.assert_status(404).text().contains("Our own words: "));
    app.finish().await;
}

#[tokio::test]
async fn a_request_under_way_is_answered_by_a_stopping_server() {
    let app = TestApp::start().await;
    let body = r#"{"destination":"https://shop.example/last","alias":"last-one"}"#;
    let (first, second) = body.split_at(20);
    let address = app.url.trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&address).await.expect("a connection");
    let head = format!(
        "POST /api/v1/links HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{first}",
        app.key,
        body.len(),
    );
    stream.write_all(head.as_bytes()).await.expect("the first half is sent");
    // Answered on another connection, so the worker has seen what came before.
    app.api(Method::GET, "/links", None).await.assert_status(200);

    let stopping = tokio::spawn(app.finish_and_keep());
    let deadline = std::time::Instant::now() + crate::harness::SOON;
    while TcpStream::connect(&address).await.is_ok() {
        assert!(std::time::Instant::now() < deadline, "the listener stays open");
    }
    stream.write_all(second.as_bytes()).await.expect("the second half is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    stopping.await.expect("the server stops in good order");
}

#[tokio::test]
async fn the_operations_listener_returns_request_ids() {
    let app = TestApp::start().await;
    for path in ["/livez", "/metrics", "/nowhere"] {
        let made = app.ops_get(path).await;
        assert_eq!(made.header("x-request-id").map(str::len), Some(16), "{path}");
    }
    let request = reqwest::Client::new().get(format!("{}/livez", app.ops));
    let kept = app.send(request.header("X-Request-Id", "probe-7")).await;
    assert_eq!(kept.header("x-request-id"), Some("probe-7"));
    app.finish().await;
}

#[tokio::test]
async fn the_build_names_its_commit() {
    let root = env!("CARGO_MANIFEST_DIR");
    let git = std::process::Command::new("git")
        .args(["-C", root, "rev-parse", "HEAD"])
        .output()
        .ok()
        .filter(|output| output.status.success());
    // An unpacked archive has none, and a builder may say something else.
    if std::env::var_os("SHUNT_COMMIT").is_some() || !Path::new(root).join(".git").exists() {
        return;
    }
    let Some(git) = git else { return };
    let head = String::from_utf8(git.stdout).expect("a commit");
    let app = TestApp::start().await;
    let text = app.ops_get("/metrics").await.text();
    let expected = format!("commit=\"{}\"", &head[..12]);
    assert!(text.contains(&expected), "{expected} is not told");
    app.finish().await;
}
