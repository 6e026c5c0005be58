//! Where requests end must not depend on how their bytes arrive. A seeded corpus of well- and
//! ill-formed streams goes to the real server in one piece, byte by byte, and behind a plain hit:
//! each way must bring the same answers in the same order and end the connection at the same
//! place. After each stream stands a request of its own: if that is answered, the connection was
//! kept; if what came before it was refused, it must not be.

mod corpus;

use std::sync::Arc;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::harness::{SOON, TestApp};
use corpus::{Case, Fate};

const N_CASES: u64 = 2_000;
const N_AT_A_TIME: usize = 24;
const HIT: &str = "https://shop.example/hit";
const END: &str = "https://shop.example/end";

/// Status and `Location` of one answer.
type Seen = (u16, Option<String>);

/// How the bytes are sent.
#[derive(Clone, Copy, Debug)]
enum Way {
    Whole,
    ByteByByte,
    BehindAHit,
}

#[tokio::test]
async fn answers_do_not_depend_on_how_the_bytes_arrive() {
    // Nor on how many there are.
    let unlimited = ("SHUNT_LIMITS__UNAUTHENTICATED_REQUESTS_PER_MINUTE", "0");
    let app = TestApp::builder().set(unlimited.0, unlimited.1).start().await;
    for (alias, destination) in [("spring", HIT), ("the-end", END)] {
        app.create(json!({"destination": destination, "alias": alias})).await;
    }
    let host = app.url.trim_start_matches("http://").to_owned();
    let permits = Arc::new(Semaphore::new(N_AT_A_TIME));
    let mut running = JoinSet::new();
    for seed in 0..N_CASES {
        let permit = Arc::clone(&permits).acquire_owned().await.expect("never closed");
        let host = host.clone();
        running.spawn(async move {
            let checked = check(&Case::new(seed, &host), &host).await;
            drop(permit);
            checked
        });
    }
    let mut faults = Vec::new();
    while let Some(checked) = running.join_next().await {
        faults.extend(checked.expect("a case that ends").err());
    }
    let some = faults.iter().take(10).map(String::as_str).collect::<Vec<_>>().join("\n\n");
    assert!(faults.is_empty(), "{} of {N_CASES} streams:\n{some}", faults.len());
    app.get("/spring").await.assert_found(HIT);
    app.finish().await;
}

/// Sends a case in every way; the fault, readable, if there is one.
async fn check(case: &Case, host: &str) -> Result<(), String> {
    let whole = send(case, host, Way::Whole).await?;
    let fault = |what: &str| format!("{}: {what}\nin one piece: {whole:?}", case.text());
    if whole.iter().any(|(status, _)| *status >= 500) {
        return Err(fault("5xx"));
    }
    fits(case, &whole).map_err(|what| fault(&what))?;
    for way in [Way::ByteByByte, Way::BehindAHit] {
        let other = send(case, host, way).await?;
        let same = match case.loose_from() {
            None => other == whole,
            // From there on the connection may have been closed or not.
            Some(n_sure) => {
                let n = whole.len().min(other.len());
                n >= n_sure && other[..n] == whole[..n]
            }
        };
        if !same {
            return Err(fault(&format!("{way:?}: {other:?}")));
        }
    }
    Ok(())
}

/// Compares with what the requests are known to deserve.
fn fits(case: &Case, seen: &[Seen]) -> Result<(), String> {
    let mut answers = seen.iter();
    for fate in &case.fates {
        match fate {
            Fate::Kept(status) | Fate::Loose(status) | Fate::Closed(status) => {
                let answer = answers.next().ok_or("an answer is missing")?;
                if answer.0 != *status {
                    return Err(format!("{} instead of {status}", answer.0));
                }
            }
            Fate::Unknown => return Ok(()),
        }
        match fate {
            Fate::Loose(_) => return Ok(()),
            Fate::Closed(_) if answers.next().is_some() => {
                return Err("an answer after the end".to_owned());
            }
            Fate::Closed(_) => return Ok(()),
            Fate::Kept(_) | Fate::Unknown => (),
        }
    }
    match answers.as_slice() {
        [(302, Some(location))] if location == END => Ok(()),
        rest => Err(format!("{rest:?} at the end of the connection")),
    }
}

/// The answers to a case, sent in one way.
async fn send(case: &Case, host: &str, way: Way) -> Result<Vec<Seen>, String> {
    let mut bytes = case.bytes.clone();
    bytes.extend_from_slice(plain("/the-end", host).as_bytes());
    let stream = TcpStream::connect(host).await.expect("a connection");
    stream.set_nodelay(true).expect("no delay");
    let (mut from, mut to) = stream.into_split();
    let first = plain("/spring", host);
    let sending = async move {
        if matches!(way, Way::BehindAHit) {
            bytes.splice(0..0, first.into_bytes());
        }
        let step = if matches!(way, Way::ByteByByte) { 1 } else { bytes.len() };
        for piece in bytes.chunks(step) {
            if to.write_all(piece).await.is_err() {
                // The server has closed; its answers are there to be read.
                return;
            }
        }
        let _ = to.shutdown().await;
    };
    let receiving = async move {
        let mut answers = Vec::new();
        // A reset after the answers is as good as a close: the server refused the rest.
        let _ = from.read_to_end(&mut answers).await;
        answers
    };
    let both = async { tokio::join!(sending, receiving).1 };
    let answers = tokio::time::timeout(SOON, both).await;
    let answers = answers.map_err(|_| format!("{}: {way:?}: no end", case.text()))?;
    let mut seen = answers_in(&answers);
    if matches!(way, Way::BehindAHit) {
        if seen.first() != Some(&(302, Some(HIT.to_owned()))) {
            return Err(format!("{}: {way:?}: {seen:?}", case.text()));
        }
        seen.remove(0);
    }
    Ok(seen)
}

fn plain(path: &str, host: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

/// Every answer in what a connection brought. Bodies do not contain status lines.
fn answers_in(bytes: &[u8]) -> Vec<Seen> {
    let text = String::from_utf8_lossy(bytes);
    let answers = text.split("HTTP/1.").skip(1);
    answers
        .map(|answer| {
            let head = answer.split("\r\n\r\n").next().unwrap_or_default();
            let status = head.get(2..5).and_then(|status| status.parse().ok());
            let location = head.split("\r\n").find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("location").then(|| value.to_owned())
            });
            (status.expect("a status"), location)
        })
        .collect()
}

#[tokio::test]
async fn an_answer_does_not_depend_on_what_follows_in_the_pipeline() {
    let app = TestApp::start().await;
    let host = app.url.trim_start_matches("http://").to_owned();
    let list = |more: &str| {
        let key = &app.key;
        format!("GET /api/v1/links HTTP/1.1\r\nHost: {host}\r\nX-API-Key: {key}\r\n{more}\r\n")
    };
    let head = format!("HEAD /robots.txt HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let last = list("Connection: close\r\n");
    let all = [list(""), head, last, plain("/health", &host)].concat();
    let answers = pipeline(&host, &all).await;
    assert_eq!(answers.len(), 3, "nothing after the last one: {answers:?}");
    assert!(answers[0].1.starts_with('{'), "{answers:?}");
    assert_eq!(answers[1].1, "", "{answers:?}");
    assert!(answers[2].1.starts_with('{'), "{answers:?}");
    assert!(answers[2].0.contains("\r\nconnection: close"), "{answers:?}");
    app.finish().await;
}

#[tokio::test]
async fn requests_with_bodies_can_be_followed_by_others_in_the_pipeline() {
    let app = TestApp::start().await;
    let host = app.url.trim_start_matches("http://").to_owned();
    let post = |framing: &str, body: &str| {
        let key = &app.key;
        format!(
            "POST /api/v1/links HTTP/1.1\r\nHost: {host}\r\nX-API-Key: {key}\r\n\
             Content-Type: application/json\r\n{framing}\r\n\r\n{body}"
        )
    };
    let create = |alias: &str| {
        format!("{{\"destination\":\"https://shop.example/{alias}\",\"alias\":\"{alias}\"}}")
    };
    let (spring, autumn) = (create("spring"), create("autumn"));
    let (start, end) = autumn.split_at(20);
    let chunks = format!("14\r\n{start}\r\n{:x};x=y\r\n{end}\r\n0\r\nX-Sum: 1\r\n\r\n", end.len());
    let head = format!("HEAD /robots.txt HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let last = format!("GET /health HTTP/1.0\r\nHost: {host}\r\n\r\n");
    let all = [
        post(&format!("Content-Length: {}", spring.len()), &spring),
        head.clone(),
        post("Transfer-Encoding: chunked", &chunks),
        plain("/autumn", &host),
        post("Content-Length: 0", ""),
        plain("/spring", &host),
        last,
    ];
    let answers = pipeline(&host, &all.concat()).await;
    let statuses: Vec<&str> = answers.iter().map(|(head, _)| &head[..3]).collect();
    assert_eq!(statuses, ["201", "200", "201", "302", "400", "302", "200"], "{answers:?}");
    for created in [&answers[0], &answers[2]] {
        assert!(created.1.starts_with("{\"id\""), "{answers:?}");
        assert!(!created.0.contains("connection: close"), "{answers:?}");
    }
    assert_eq!(answers[1].1, "", "{answers:?}");
    app.finish().await;
}

/// Sends everything at once; head and body of each answer, once the connection has ended.
async fn pipeline(host: &str, requests: &str) -> Vec<(String, String)> {
    let mut stream = TcpStream::connect(host).await.expect("a connection");
    stream.write_all(requests.as_bytes()).await.expect("sent");
    let mut text = String::new();
    let read = tokio::time::timeout(SOON, stream.read_to_string(&mut text)).await;
    read.expect("an end").expect("text");
    let answers = text.split("HTTP/1.").skip(1);
    answers
        .filter_map(|answer| answer[2..].split_once("\r\n\r\n"))
        .map(|(head, body)| (head.to_owned(), body.to_owned()))
        .collect()
}
