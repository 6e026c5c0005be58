//! Behind a proxy: a click counts for the visitor whom a trusted proxy names, and for nobody whom a
//! visitor names. What came is read from the journal of a server that was killed.

use std::path::Path;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::TestApp;

const HIT: &str = "HTTP/1.1 302 Found";

async fn start(trusted: &str) -> TestApp {
    let app = TestApp::builder().set("SHUNT_HTTP__TRUSTED_PROXIES", trusted).start().await;
    app.create(json!({"destination": "https://shop.example/", "alias": "spring"})).await;
    app
}

/// Visits `/spring` with these bytes before the request and these headers in it.
async fn visit(app: &TestApp, opening: &[u8], headers: &str) -> String {
    let host = app.url.trim_start_matches("http://");
    let request = format!(
        "GET /spring HTTP/1.1\r\nHost: {host}\r\n{headers}\r\nGET /health HTTP/1.0\r\n\r\n"
    );
    let mut stream = TcpStream::connect(host).await.expect("a connection");
    stream.write_all(&[opening, request.as_bytes()].concat()).await.expect("sent");
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.expect("answers");
    answers
}

/// Whether this address is anywhere in the journal.
fn holds(folder: &Path, address: [u8; 4]) -> bool {
    let files = std::fs::read_dir(folder.join("journal")).expect("a journal");
    files.flatten().any(|file| {
        let bytes = std::fs::read(file.path()).expect("a segment");
        bytes.windows(4).any(|part| part == address)
    })
}

#[tokio::test]
async fn a_trusted_proxy_names_the_visitor_by_headers_or_by_its_own_protocol() {
    let app = start(r#"["127.0.0.0/8"]"#).await;
    let mut binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    binary.extend([203, 0, 113, 3, 127, 0, 0, 1, 0x12, 0x34, 0, 80]);
    for (opening, headers) in [
        (&b""[..], "X-Forwarded-For: 203.0.113.9, 203.0.113.1\r\n"),
        (b"PROXY TCP4 203.0.113.2 127.0.0.1 4660 80\r\n", "X-Forwarded-For: 203.0.113.9\r\n"),
        (&binary, ""),
        (b"PROXY UNKNOWN\r\n", "Forwarded: for=203.0.113.9, for=203.0.113.4\r\n"),
        (b"", "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: 203.0.113.5\r\n"),
    ] {
        let answers = visit(&app, opening, headers).await;
        assert!(answers.starts_with(HIT) && answers.contains("200 OK"), "{headers}: {answers}");
    }
    let (data, killed) = (app.data(), app.kill());
    for last in 1..=5 {
        assert!(holds(&data, [203, 0, 113, last]), "203.0.113.{last} is missing");
    }
    assert!(!holds(&data, [203, 0, 113, 9]), "what the visitor says of itself counts");
    killed.start().await.finish().await;
}

#[tokio::test]
async fn a_stranger_names_nobody() {
    let app = start(r#"["192.0.2.0/24"]"#).await;
    let forged = "X-Forwarded-For: 203.0.113.9\r\nForwarded: for=203.0.113.9\r\n";
    assert!(visit(&app, b"", forged).await.starts_with(HIT));
    let opening = b"PROXY TCP4 203.0.113.9 127.0.0.1 4660 80\r\n";
    assert!(visit(&app, opening, "").await.starts_with("HTTP/1.1 400 "));
    let (data, killed) = (app.data(), app.kill());
    assert!(holds(&data, [127, 0, 0, 1]));
    assert!(!holds(&data, [203, 0, 113, 9]));
    killed.start().await.finish().await;
}

#[tokio::test]
async fn an_opening_that_makes_no_sense_ends_the_connection() {
    let app = start(r#"["127.0.0.1"]"#).await;
    for opening in [&b"PROXY TCP4 1.2.3 a b c\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0"] {
        assert_eq!(visit(&app, opening, "").await, "");
    }
    assert!(visit(&app, b"", "").await.starts_with(HIT), "without an opening it goes on");
    app.finish().await;
}
