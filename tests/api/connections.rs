//! Connections byte by byte: pipelining, halves, hand-overs, deadlines.

use std::collections::BTreeMap;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::TestApp;

async fn with_link(app: &TestApp) -> (TcpStream, String) {
    app.create(json!({"destination": "https://shop.example/x", "alias": "spring"})).await;
    let address = app.url.trim_start_matches("http://").to_owned();
    (TcpStream::connect(&address).await.expect("a connection"), address)
}

fn get(path: &str, host: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

/// Reads one answer: status and headers; the body is read and left out.
async fn answer(stream: &mut TcpStream) -> (u16, BTreeMap<String, String>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("more of the head"));
    }
    let head = String::from_utf8(head).expect("ASCII");
    let mut lines = head.trim_end().split("\r\n");
    let status = lines.next().expect("a status line");
    let status = status.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    let headers: BTreeMap<String, String> = lines
        .map(|line| line.split_once(": ").expect("a header"))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.get("content-length").and_then(|length| length.parse().ok());
    let mut body = vec![0; length.expect("a length")];
    stream.read_exact(&mut body).await.expect("the body");
    (status, headers)
}

#[tokio::test]
async fn all_three_ways_of_answering_a_visit_give_the_same_headers() {
    let app = TestApp::builder().set("SHUNT_HTTP__PUBLIC_URL", "https://go.example").start().await;
    let (mut stream, host) = with_link(&app).await;
    let mut seen = Vec::new();
    // The first goes the direct way, the third meets the front service, the last a route.
    for (path, expected) in
        [("/spring", 302), ("/unknown", 404), ("/spring", 302), ("/spring?shunt-no-track", 302)]
    {
        stream.write_all(get(path, &host).as_bytes()).await.expect("sent");
        let (status, mut headers) = answer(&mut stream).await;
        assert_eq!(status, expected, "{path}");
        if status == 302 {
            assert!(headers.remove("x-request-id").is_some_and(|id| id.len() == 16));
            assert!(headers.remove("date").is_some_and(|date| date.ends_with("GMT")));
            seen.push(headers);
        }
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
    assert_eq!(seen[0]["location"], "https://shop.example/x");
    assert_eq!(seen[0]["strict-transport-security"], "max-age=31536000");
    app.clicks_become("spring", 2).await;
    app.finish().await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_over_the_hand_over() {
    let app = TestApp::start().await;
    let (mut stream, host) = with_link(&app).await;
    let paths = ["/spring", "/spring", "/health", "/spring", "/nowhere", "/spring"];
    let all: String = paths.iter().map(|path| get(path, &host)).collect();
    stream.write_all(all.as_bytes()).await.expect("sent");
    for (path, expected) in paths.iter().zip([302, 302, 200, 302, 404, 302]) {
        assert_eq!(answer(&mut stream).await.0, expected, "{path}");
    }
    app.clicks_become("spring", 4).await;
    app.finish().await;
}

#[tokio::test]
async fn a_request_may_come_in_any_number_of_pieces() {
    let app = TestApp::start().await;
    let (mut stream, host) = with_link(&app).await;
    stream.set_nodelay(true).expect("no delay");
    for byte in get("/spring", &host).bytes() {
        stream.write_all(&[byte]).await.expect("sent");
    }
    assert_eq!(answer(&mut stream).await.0, 302);
    let text = get("/spring", &host).repeat(200);
    for piece in text.as_bytes().chunks(37) {
        stream.write_all(piece).await.expect("sent");
    }
    for _ in 0..200 {
        assert_eq!(answer(&mut stream).await.0, 302);
    }
    app.clicks_become("spring", 201).await;
    app.finish().await;
}

#[tokio::test]
async fn malformed_requests_are_refused_and_never_framed_anew() {
    let app = TestApp::start().await;
    let (_, host) = with_link(&app).await;
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: -1\r\n",
        "X-A: 1\r\n folded\r\n",
        "Host: other.example\r\n",
    ] {
        let mut stream = TcpStream::connect(&host).await.expect("a connection");
        let text = format!("GET /spring HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n");
        stream
            .write_all(format!("{text}{}", get("/spring", &host)).as_bytes())
            .await
            .expect("sent");
        assert_eq!(answer(&mut stream).await.0, 400, "{lines}");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.expect("closed");
        assert!(rest.is_empty(), "{lines}: {}", String::from_utf8_lossy(&rest));
    }
    app.clicks_become("spring", 0).await;
    app.finish().await;
}

#[tokio::test]
async fn a_connection_that_says_close_or_idles_too_long_is_closed() {
    let app = TestApp::builder().set("SHUNT_HTTP__KEEP_ALIVE", "1s").start().await;
    let (mut stream, host) = with_link(&app).await;
    stream.write_all(get("/spring", &host).as_bytes()).await.expect("sent");
    assert_eq!(answer(&mut stream).await.0, 302);
    // Nothing more is asked; the server ends the wait.
    assert_eq!(stream.read(&mut [0]).await.expect("closed in good order"), 0);

    let mut stream = TcpStream::connect(&host).await.expect("a connection");
    let text = format!("GET /spring HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(text.as_bytes()).await.expect("sent");
    assert_eq!(answer(&mut stream).await.0, 302);
    assert_eq!(stream.read(&mut [0]).await.expect("closed in good order"), 0);
    app.finish().await;
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut_off() {
    let app = TestApp::start().await;
    let (mut stream, _) = with_link(&app).await;
    stream.write_all(b"GET /spring HTTP/1.1\r\nHost:").await.expect("sent");
    assert_eq!(stream.read(&mut [0]).await.expect("closed in good order"), 0);
    app.finish().await;
}
