//! What every answer carries, whatever it answers: one of each kind.

use std::collections::BTreeMap;
use std::time::Instant;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Answer, SOON, TestApp};

const YEAR: &str = "max-age=31536000";

async fn app() -> TestApp {
    TestApp::builder().set("SHUNT_HTTP__PUBLIC_URL", "https://go.example").start().await
}

/// What is the same for all.
#[track_caller]
fn assert_guarded<'a>(what: &str, header: impl Fn(&str) -> Option<&'a str>) {
    assert_eq!(header("strict-transport-security"), Some(YEAR), "{what}");
    assert_eq!(header("x-content-type-options"), Some("nosniff"), "{what}");
    assert_eq!(header("referrer-policy"), Some("strict-origin-when-cross-origin"), "{what}");
    assert!(header("x-request-id").is_some(), "{what}");
    assert_eq!(header("access-control-allow-origin"), None, "{what}");
    for telling in ["server", "x-powered-by", "via"] {
        assert_eq!(header(telling), None, "{what}");
    }
}

/// All of a document that is not to be framed, nor to load anything but its own.
#[track_caller]
fn assert_closed(what: &str, answer: &Answer) {
    assert_guarded(what, |name| answer.header(name));
    let policy = answer.header("content-security-policy").unwrap_or_default();
    for directive in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"] {
        assert!(policy.contains(directive), "{what}: {policy}");
    }
    assert!(!policy.contains("script-src"), "{what}: {policy}");
}

#[tokio::test]
async fn redirects_pages_and_texts_are_guarded() {
    let app = app().await;
    app.create(json!({"destination": "https://shop.example/x", "alias": "spring"})).await;
    app.create(json!({"destination": "https://shop.example/x", "alias": "autumn"})).await;
    let off = Some(json!({"status": "disabled"}));
    app.api(Method::PATCH, "/links/autumn", off).await.assert_status(200);

    // From bytes, by a route, and without a click.
    for path in ["/spring", "/spring?qr=1", "/spring?shunt-no-track"] {
        let answer = app.get(path).await;
        answer.assert_found("https://shop.example/x");
        assert_guarded(path, |name| answer.header(name));
        assert_eq!(answer.header("cache-control"), Some("private, no-store"), "{path}");
    }
    for (path, status) in [
        ("/nowhere", 404),
        ("/no/where", 404),
        ("/autumn", 410),
        ("/", 200),
        ("/robots.txt", 200),
        ("/favicon.ico", 404),
        ("/health", 200),
    ] {
        let answer = app.get(path).await;
        answer.assert_status(status);
        assert_closed(path, &answer);
        assert!(answer.header("cache-control").is_some(), "{path}");
        let request = app.request(Method::HEAD, path).header("Accept", "application/json");
        let answer = app.send(request).await;
        answer.assert_status(status);
        assert_closed(path, &answer);
    }
    for (method, path, status) in [
        (Method::POST, "/spring", 405),
        (Method::TRACE, "/spring", 405),
        (Method::OPTIONS, "/", 405),
    ] {
        let answer = app.send(app.request(method.clone(), path)).await;
        answer.assert_status(status);
        assert_closed(&format!("{method} {path}"), &answer);
    }
    app.finish().await;
}

#[tokio::test]
async fn answers_of_the_api_are_guarded_and_kept_by_nobody() {
    let app = app().await;
    let check = |what: &str, answer: &Answer, status: u16| {
        answer.assert_status(status);
        let what = format!("{what}: {status}");
        assert_closed(&what, answer);
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
        assert_eq!(answer.header("cross-origin-resource-policy"), Some("same-origin"), "{what}");
    };
    let link = json!({"destination": "https://shop.example/x", "alias": "spring"});
    let scopes = json!({"name": "reader", "scopes": ["links:read"]});
    let reader = app.api(Method::POST, "/api-keys", Some(scopes)).await;
    check("make a key", &reader, 201);
    let reader = reader.json()["key"].as_str().expect("a key").to_owned();

    let calls: [(Method, &str, Option<Value>, u16); 11] = [
        (Method::POST, "/links", Some(link.clone()), 201),
        (Method::GET, "/links/spring", None, 200),
        (Method::GET, "/links?limit=0", None, 400),
        (Method::POST, "/links", Some(json!({"destination": "no"})), 400),
        (Method::GET, "/links/absent", None, 404),
        (Method::GET, "/absent", None, 404),
        (Method::PUT, "/links", None, 405),
        (Method::OPTIONS, "/links", None, 405),
        (Method::POST, "/links", Some(link.clone()), 409),
        (Method::GET, "/openapi.json", None, 200),
        (Method::POST, "/links/spring/reset-clicks", None, 204),
    ];
    for (method, path, body, status) in calls {
        let answer = app.api(method.clone(), path, body).await;
        answer.assert_status(status);
        let what = format!("{method} {path}: {status}");
        assert_closed(&what, &answer);
        assert!(answer.header("cache-control").is_some(), "{what}");
        assert_eq!(answer.header("cross-origin-resource-policy"), Some("same-origin"), "{what}");
    }

    let links = || app.request(Method::POST, "/api/v1/links");
    let keyed = || links().bearer_auth(&app.key);
    check("no key", &app.send(links().json(&link)).await, 401);
    check("wrong key", &app.send(links().bearer_auth("shunt_x").json(&link)).await, 401);
    check("a key to read", &app.send(links().bearer_auth(reader).json(&link)).await, 403);
    let other = app.request(Method::DELETE, "/api/v1/links/spring").bearer_auth(&app.key);
    check("another version", &app.send(other.header("If-Match", "\"9\"")).await, 412);
    let typed = keyed().header("Content-Type", "application/json");
    check("a large body", &app.send(typed.body(vec![b' '; 2 << 20])).await, 413);
    check("a text", &app.send(keyed().body("{}")).await, 415);
    let once = |body: Value| keyed().header("Idempotency-Key", "once").json(&body);
    app.send(once(json!({"destination": "https://shop.example/1"}))).await.assert_status(201);
    let second = json!({"destination": "https://shop.example/2"});
    check("another request", &app.send(once(second)).await, 422);
    for (what, request, status) in [
        (
            "a long target",
            app.request(Method::GET, &format!("/api/v1/links?q={}", "a".repeat(9_000))),
            414,
        ),
        ("long headers", keyed().header("X-Filling", "a".repeat(16_300)), 431),
    ] {
        let answer = app.send(request).await;
        answer.assert_status(status);
        assert_closed(what, &answer);
    }
    app.finish().await;
}

#[tokio::test]
async fn what_is_no_request_is_answered_no_less_guarded() {
    let app = app().await;
    let address = app.url.trim_start_matches("http://").to_owned();
    let endless = format!("GET /{} HTTP/1.1\r\n", "a".repeat(30_000));
    for (text, status) in [("GET\n\n", "400"), (endless.as_str(), "414")] {
        let mut stream = TcpStream::connect(&address).await.expect("a connection");
        stream.write_all(text.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer and its end");
        let (head, _) = answer.split_once("\r\n\r\n").expect("a head");
        assert_eq!(head.split(' ').nth(1), Some(status), "{head}");
        let headers: BTreeMap<String, &str> = head
            .split("\r\n")
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value))
            .collect();
        assert_guarded(status, |name| headers.get(name).copied());
        assert!(headers["content-security-policy"].contains("frame-ancestors 'none'"));
    }
    app.finish().await;
}

#[tokio::test]
async fn the_operations_listener_is_no_document_either() {
    let app = app().await;
    for path in ["/livez", "/healthz", "/metrics", "/nothing"] {
        let answer = app.ops_get(path).await;
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        let policy = answer.header("content-security-policy").unwrap_or_default();
        assert!(policy.contains("default-src 'none'"), "{path}: {policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
        assert_eq!(answer.header("server"), None, "{path}");
    }
    app.finish().await;
}

#[tokio::test]
async fn without_tls_nobody_is_told_to_keep_to_it() {
    let app = TestApp::start().await;
    app.create(json!({"destination": "https://shop.example/x", "alias": "spring"})).await;
    for path in ["/spring", "/spring?a=b", "/nowhere", "/api/v1/links"] {
        assert_eq!(app.get(path).await.header("strict-transport-security"), None, "{path}");
    }
    app.finish().await;
}

#[tokio::test]
async fn a_client_with_too_many_connections_gets_no_more_and_others_do() {
    let app = TestApp::builder().set("SHUNT_HTTP__MAX_CONNECTIONS_PER_CLIENT", "3").start().await;
    let address = app.url.trim_start_matches("http://").to_owned();
    let ask = format!("GET /health HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let answered = async |stream: &mut TcpStream| {
        let mut start = [0; 12];
        // A connection that is refused may end before all is sent.
        let sent = stream.write_all(ask.as_bytes()).await;
        sent.is_ok() && stream.read_exact(&mut start).await.is_ok() && start == *b"HTTP/1.1 200"
    };
    let connect = async || TcpStream::connect(&address).await.expect("a connection");
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = connect().await;
        assert!(answered(&mut stream).await);
        held.push(stream);
    }
    assert!(!answered(&mut connect().await).await, "the fourth is closed at once");
    assert_eq!(app.metric("shunt_connections_refused_total").await, 1.0);
    // One that ends makes room, as soon as the server knows.
    drop(held.pop());
    let deadline = Instant::now() + SOON;
    while !answered(&mut connect().await).await {
        assert!(Instant::now() < deadline, "the place of one that ended stays taken");
    }
    app.finish().await;
}
