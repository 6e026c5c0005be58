//! A stop under load with pipelining: every answer is whole, the last one says that it is, and
//! every visit that was answered is counted.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::harness::TestApp;

const N_CONNECTIONS: usize = 16;
const DEPTH: usize = 8;

/// What one connection saw until its end.
struct Seen {
    n_answers: usize,
    /// Answers to the last batch of requests, which the stop may have broken.
    n_of_last_batch: usize,
    last_says_close: bool,
}

/// Sends batch after batch, each when the one before is answered, until the server ends it.
async fn keep_asking(host: String) -> Seen {
    let mut stream = TcpStream::connect(&host).await.expect("a connection");
    let batch = format!("GET /spring HTTP/1.1\r\nHost: {host}\r\n\r\n").repeat(DEPTH);
    let mut seen = Seen { n_answers: 0, n_of_last_batch: 0, last_says_close: false };
    loop {
        seen.n_of_last_batch = 0;
        if stream.write_all(batch.as_bytes()).await.is_err() {
            return seen;
        }
        let mut text = Vec::new();
        while seen.n_of_last_batch < DEPTH {
            // A reset can only follow bytes that no answer was owed for.
            let n_bytes = stream.read_buf(&mut text).await.unwrap_or(0);
            while let Some(end) = text.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8(text.drain(..end + 4).collect()).expect("ASCII");
                assert!(head.starts_with("HTTP/1.1 302 "), "{head}");
                assert!(head.contains("\r\ncontent-length: 0\r\n"), "{head}");
                assert!(!seen.last_says_close, "an answer after the last one");
                seen.last_says_close = head.contains("\r\nconnection: close\r\n");
                seen.n_of_last_batch += 1;
                seen.n_answers += 1;
            }
            if n_bytes == 0 {
                assert!(text.is_empty(), "half an answer: {}", String::from_utf8_lossy(&text));
                return seen;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_cuts_no_answer_and_loses_no_click() {
    let app = TestApp::start().await;
    app.create(json!({"destination": "https://shop.example/x", "alias": "spring"})).await;
    let host = app.url.trim_start_matches("http://").to_owned();
    let mut asking = JoinSet::new();
    for _ in 0..N_CONNECTIONS {
        asking.spawn(keep_asking(host.clone()));
    }
    // The load is under way when some answers were counted.
    while app.metric("shunt_clicks_accepted_total").await < 1_000.0 {
        tokio::task::yield_now().await;
    }

    // Fails unless the exit code is 0.
    let app = app.restart().await;
    let mut n_answers = 0;
    while let Some(seen) = asking.join_next().await {
        let seen = seen.expect("a connection without a fault");
        n_answers += seen.n_answers;
        let whole = seen.n_of_last_batch == 0 || seen.n_of_last_batch == DEPTH;
        assert!(
            whole || seen.last_says_close,
            "{} of {DEPTH} answers, and no word of the end",
            seen.n_of_last_batch
        );
    }
    app.clicks_become("spring", n_answers as u64).await;
    app.finish().await;
}

#[tokio::test]
async fn a_request_that_is_half_sent_at_the_stop_is_answered_by_whoever_answers_it() {
    for (path, expected) in [("/spring", 302), ("/nowhere", 404)] {
        let app = TestApp::start().await;
        app.create(json!({"destination": "https://shop.example/x", "alias": "spring"})).await;
        let host = app.url.trim_start_matches("http://").to_owned();
        let whole = format!("GET /spring HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let mut idle = TcpStream::connect(&host).await.expect("a connection");
        let mut stream = TcpStream::connect(&host).await.expect("a connection");
        for stream in [&mut idle, &mut stream] {
            stream.write_all(whole.as_bytes()).await.expect("sent");
            let mut answer = Vec::new();
            while !answer.ends_with(b"\r\n\r\n") {
                answer.push(stream.read_u8().await.expect("more of the answer"));
            }
        }
        stream.write_all(format!("GET {path} HTTP/1.1\r\n").as_bytes()).await.expect("sent");

        let stopping = tokio::spawn(app.finish_and_keep());
        // The stop has begun when it closes connections on which nothing is under way.
        assert_eq!(idle.read(&mut [0]).await.expect("closed in good order"), 0);
        stream.write_all(format!("Host: {host}\r\n\r\n").as_bytes()).await.expect("sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("closed in good order");
        assert!(text.starts_with(&format!("HTTP/1.1 {expected} ")), "{path}: {text}");
        assert!(text.contains("\r\nconnection: close\r\n"), "{path}: {text}");
        stopping.await.expect("exit 0");
    }
}

/// Asks on a connection that stays open; answers the head.
async fn ask(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.expect("more of the answer"));
    }
    String::from_utf8(answer).expect("ASCII")
}

#[tokio::test]
async fn a_node_that_says_it_is_not_ready_serves_until_balancers_have_noticed() {
    let app = TestApp::builder().set("SHUNT_HTTP__DRAIN_DELAY", "3s").start().await;
    app.create(json!({"destination": "https://shop.example/x", "alias": "spring"})).await;
    let host = app.url.trim_start_matches("http://").to_owned();
    let whole = format!("GET /spring HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let mut old = TcpStream::connect(&host).await.expect("a connection");
    assert!(ask(&mut old, &whole).await.starts_with("HTTP/1.1 302 "));
    let readyz = format!("{}/readyz", app.ops);

    let stopping = tokio::spawn(app.finish_and_keep());
    while reqwest::get(&readyz).await.expect("an answer").status() == 200 {
        tokio::task::yield_now().await;
    }
    let mut new = TcpStream::connect(&host).await.expect("a connection");
    for stream in [&mut old, &mut new] {
        assert!(ask(stream, &whole).await.starts_with("HTTP/1.1 302 "));
    }
    // Then it stops as ever.
    assert_eq!(old.read(&mut [0]).await.expect("closed in good order"), 0);
    stopping.await.expect("exit 0");
}
