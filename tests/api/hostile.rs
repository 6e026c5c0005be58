//! Peers that are slow on purpose: they are cut off, on the direct way and after a hand-over, and
//! who is merely not fast is served.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::TestApp;

/// Longer than any deadline of the server; the tests fail when it passes.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(40);

async fn with_link(app: &TestApp) -> String {
    // A long destination fills buffers faster.
    let destination = format!("https://shop.example/{}", "x".repeat(4_000));
    app.create(json!({"destination": destination, "alias": "spring"})).await;
    app.url.trim_start_matches("http://").to_owned()
}

fn get(path: &str, host: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

/// Asks without end, and reads nothing. Ends when the server has had enough.
async fn ask_and_never_read(path: &str, host: &str) -> std::io::ErrorKind {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("a small buffer");
    let mut stream = socket.connect(host.parse().expect("an address")).await.expect("connected");
    let requests = get(path, host).repeat(100);
    let asking = async {
        loop {
            if let Err(error) = stream.write_all(requests.as_bytes()).await {
                return error.kind();
            }
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("the server cuts the connection")
}

/// Waits for the end of the connection; what came before it is the answer.
async fn until_closed(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut text)).await;
    read.expect("the server closes").expect("closed in good order");
    String::from_utf8(text).expect("ASCII")
}

#[tokio::test]
async fn who_never_reads_the_answers_is_cut_off_and_nobody_else() {
    let app = TestApp::start().await;
    let host = with_link(&app).await;
    let (direct, handed_over) =
        tokio::join!(ask_and_never_read("/spring", &host), ask_and_never_read("/nowhere", &host));
    for kind in [direct, handed_over] {
        let is_cut =
            matches!(kind, std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe);
        assert!(is_cut, "{kind:?}");
    }
    app.get("/spring").await.assert_status(302);
    app.finish().await;
}

#[tokio::test]
async fn a_later_head_that_never_ends_is_cut_off_on_either_way() {
    let app = TestApp::start().await;
    let host = with_link(&app).await;
    for first in ["/spring", "/nowhere"] {
        let mut stream = TcpStream::connect(&host).await.expect("a connection");
        let text = format!("{}GET /spr", get(first, &host));
        stream.write_all(text.as_bytes()).await.expect("sent");
        let text = until_closed(&mut stream).await;
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{first}: {text}");
    }
    app.finish().await;
}

#[tokio::test]
async fn a_body_that_nobody_wants_does_not_hold_a_connection() {
    let app = TestApp::builder().set("SHUNT_HTTP__KEEP_ALIVE", "1s").start().await;
    let host = with_link(&app).await;
    let mut stream = TcpStream::connect(&host).await.expect("a connection");
    let text = format!(
        "GET /spring HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    );
    stream.write_all(text.as_bytes()).await.expect("sent");
    let text = until_closed(&mut stream).await;
    assert!(text.starts_with("HTTP/1.1 302 "), "{text}");
    assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{text}");
    app.finish().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_a_hand_over_too() {
    let app = TestApp::builder().set("SHUNT_HTTP__KEEP_ALIVE", "1s").start().await;
    let host = with_link(&app).await;
    let mut stream = TcpStream::connect(&host).await.expect("a connection");
    stream.write_all(get("/health", &host).as_bytes()).await.expect("sent");
    assert!(until_closed(&mut stream).await.starts_with("HTTP/1.1 200 "));
    app.finish().await;
}

#[tokio::test]
async fn a_body_may_take_longer_than_a_head() {
    let app = TestApp::builder().set("SHUNT_HTTP__KEEP_ALIVE", "1s").start().await;
    let host = with_link(&app).await;
    let mut stream = TcpStream::connect(&host).await.expect("a connection");
    let (first, rest) = (r#"{"destination":"#, r#""https://shop.example/late"}"#);
    let head = format!(
        "POST /api/v1/links HTTP/1.1\r\nHost: {host}\r\nX-API-Key: {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{first}",
        app.key,
        first.len() + rest.len(),
    );
    stream.write_all(head.as_bytes()).await.expect("sent");

    // When this one has been cut off, both deadlines that could be confused have passed.
    let mut slower = TcpStream::connect(&host).await.expect("a connection");
    slower.write_all(b"GET /spring HTTP/1.1\r\nHost:").await.expect("sent");
    assert_eq!(until_closed(&mut slower).await, "");

    stream.write_all(rest.as_bytes()).await.expect("sent");
    let text = until_closed(&mut stream).await;
    assert!(text.starts_with("HTTP/1.1 201 "), "{text}");
    app.finish().await;
}
