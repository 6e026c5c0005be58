//! Heads that are no HTTP, or too long, and parameters that say two things: the answer is as
//! complete as any other.

use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::TestApp;

async fn answer(app: &TestApp, head: &[u8]) -> String {
    let address = app.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(head).await.expect("the head is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer
}

#[tokio::test]
async fn heads_that_nobody_answers_get_a_problem_with_every_header() {
    let app = TestApp::start().await;
    let rest = "HTTP/1.1\r\nHost: a.example\r\n";
    let long = |n: usize| format!("GET /{} {rest}\r\n", "a".repeat(n));
    let headers = |n: usize| format!("GET /a {rest}X-Long: {}\r\n\r\n", "b".repeat(n));
    for (head, status, code) in [
        (b"GET /\xc3\xa9\xff HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), 400, "invalid_request"),
        (b"GET /a\r\n\r\n".to_vec(), 400, "invalid_request"),
        (b"GET /a HTTP/1.1\r\nHost : a\r\n\r\n".to_vec(), 400, "invalid_request"),
        (b"GET /a HTTP/1.1\nHost: a\n\n".to_vec(), 400, "invalid_request"),
        (b"GET /a HTTP/1.1\r\nHost: a\r\nX-A: 1\nX-B: 2\r\n\r\n".to_vec(), 400, "invalid_request"),
        (b"GET /a HTTP/1.1\r\n\r\n".to_vec(), 400, "invalid_request"),
        (b"GET /a HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n".to_vec(), 400, "invalid_request"),
        (
            format!("POST / {rest}Content-Length: 5\r\nContent-Length: 5\r\n\r\n").into_bytes(),
            400,
            "invalid_request",
        ),
        (
            format!("POST / {rest}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n")
                .into_bytes(),
            400,
            "invalid_request",
        ),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(), 400, "invalid_request"),
        (
            format!("GET /a {rest}{}\r\n", "X-A: 1\r\n".repeat(100)).into_bytes(),
            431,
            "headers_too_large",
        ),
        (b"PROXY TCP4 203.0.113.9 10.0.0.1 4660 80\r\n".to_vec(), 400, "invalid_request"),
        (long(8_192).into_bytes(), 414, "uri_too_long"),
        (long(70_000).into_bytes(), 414, "uri_too_long"),
        (long(300_000).into_bytes(), 414, "uri_too_long"),
        (headers(20_000).into_bytes(), 431, "headers_too_large"),
        (headers(300_000).into_bytes(), 431, "headers_too_large"),
    ] {
        let answer = answer(&app, &head).await;
        let shown = format!("{} bytes: {answer}", head.len());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{shown}");
        for part in [
            &format!("\"code\":\"{code}\"")[..],
            "content-type: application/problem+json\r\n",
            "x-content-type-options: nosniff\r\n",
            "referrer-policy: ",
            "x-request-id: ",
        ] {
            assert!(answer.contains(part), "{part} is missing, {shown}");
        }
    }
    app.finish().await;
}

#[tokio::test]
async fn a_parameter_that_is_given_twice_is_refused() {
    let app = TestApp::start().await;
    app.create(json!({"destination": "https://shop.example/", "alias": "there"})).await;
    for (method, path) in [
        (Method::GET, "/links/there?domain=127.0.0.1&domain=127.0.0.1"),
        (Method::GET, "/links/there?domain=127.0.0.1&domain=elsewhere.example"),
        (Method::PATCH, "/links/there?domain=elsewhere.example&domain=127.0.0.1"),
        (Method::DELETE, "/links/there?domain=127.0.0.1&domain=127.0.0.1"),
        (Method::POST, "/links/there/reset-clicks?domain=127.0.0.1&domain=127.0.0.1"),
        (Method::GET, "/links?limit=1&limit=2"),
        (Method::GET, "/tags?cursor=a&cursor=b"),
        (Method::GET, "/api-keys?cursor=a&cursor=b"),
    ] {
        let body = (method == Method::PATCH).then(|| json!({"title": "changed"}));
        let answer = app.api(method, path, body).await;
        answer.assert_problem(400, "invalid_request");
    }
    let link = app.api(Method::GET, "/links/there?domain=127.0.0.1", None).await;
    assert_ne!(link.assert_status(200).json()["title"], "changed");
    app.finish().await;
}
