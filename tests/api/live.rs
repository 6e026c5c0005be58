//! Clicks as they happen, as Server-Sent Events.

use std::time::{Duration, Instant};

use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{SOON, TestApp};
use crate::stats::{IPHONE, visit, with_link};

/// A click is told within this time.
const TOLD_MAX: Duration = Duration::from_secs(5);

/// A stream and what came of it.
struct Stream {
    response: Response,
    text: String,
}

impl Stream {
    /// Watches `spring`, from the moment this returns.
    async fn open(app: &TestApp, key: &str) -> Self {
        let request = app.request(Method::GET, "/api/v1/links/spring/live").bearer_auth(key);
        let response = request.send().await.expect("the server answers");
        assert_eq!(response.status(), 200);
        let mut stream = Self { response, text: String::new() };
        assert_eq!(stream.block().await.as_deref(), Some("retry: 3000"));
        stream
    }

    /// The next block of lines; nothing when the server ended the stream in good order.
    async fn block(&mut self) -> Option<String> {
        let read = async {
            loop {
                if let Some((block, rest)) = self.text.split_once("\n\n") {
                    let (block, rest) = (block.to_owned(), rest.to_owned());
                    self.text = rest;
                    return Some(block);
                }
                let chunk = self.response.chunk().await.expect("no broken stream")?;
                self.text.push_str(std::str::from_utf8(&chunk).expect("UTF-8"));
            }
        };
        tokio::time::timeout(SOON, read).await.expect("a block in time")
    }

    /// The next event: name, id and data.
    async fn event(&mut self) -> (String, Option<String>, Value) {
        let block = self.block().await.expect("the stream goes on");
        let field =
            |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        let data = field("data: ").unwrap_or_else(|| panic!("an event: {block}"));
        let data = serde_json::from_str(&data).expect("JSON");
        (field("event: ").expect("a name"), field("id: "), data)
    }
}

#[tokio::test]
async fn a_click_is_told_soon_and_as_the_list_tells_it() {
    let app = with_link().await;
    app.create(json!({"destination": "https://other.example/", "alias": "other"})).await;
    let mut stream = Stream::open(&app, &app.key).await;
    let header =
        |name: &str| stream.response.headers().get(name).and_then(|value| value.to_str().ok());
    assert_eq!(header("content-type"), Some("text/event-stream"));
    assert_eq!(header("cache-control"), Some("no-store"));
    assert_eq!(header("x-accel-buffering"), Some("no"));

    visit(&app, "/other", &[]).await;
    let began = Instant::now();
    visit(&app, "/spring?utm_source=mail", &[("User-Agent", IPHONE)]).await;
    let (name, id, first) = stream.event().await;
    assert!(began.elapsed() < TOLD_MAX, "{:?}", began.elapsed());
    assert_eq!((name.as_str(), id.as_deref()), ("click", first["id"].as_str()));
    assert_eq!(
        (&first["destination"], &first["utm"]["source"]),
        (&json!("https://shop.example/"), &json!("mail"))
    );
    let summer = json!({"destination": "https://summer.example/"});
    app.api(Method::PATCH, "/links/spring", Some(summer)).await.assert_status(200);
    visit(&app, "/spring", &[]).await;
    let (_, _, second) = stream.event().await;
    assert_eq!(second["destination"], "https://summer.example/");
    let list = app.api_becomes("/links/spring/clicks", "/total", &json!(2)).await;
    assert_eq!(list["data"], json!([second, first]));
    app.finish().await;
}

#[tokio::test]
async fn a_stream_goes_on_for_longer_than_idle_connections_do() {
    let app = TestApp::builder().set("SHUNT_HTTP__KEEP_ALIVE", "1s").start().await;
    app.create(json!({"destination": "https://shop.example/", "alias": "spring"})).await;
    let mut stream = Stream::open(&app, &app.key).await;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        visit(&app, "/spring", &[]).await;
        assert_eq!(stream.event().await.0, "click");
    }
    app.finish().await;
}

#[tokio::test]
async fn of_many_clicks_some_are_told_and_the_others_numbered() {
    const N: u64 = 300;
    let app = with_link().await;
    let mut stream = Stream::open(&app, &app.key).await;
    let visits = (0..N).map(async |_| app.get("/spring").await.status());
    futures_util::future::join_all(visits).await;
    let (mut n_told, mut n_skipped) = (0, 0);
    while n_told + n_skipped < N {
        match stream.event().await {
            (name, _, _) if name == "click" => n_told += 1,
            (name, _, data) if name == "skipped" => {
                n_skipped += data["clicks"].as_u64().expect("a number");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(n_told + n_skipped, N);
    assert!(n_told >= 50 && n_skipped > 0, "{n_told} told, {n_skipped} skipped");
    app.finish().await;
}

#[tokio::test]
async fn a_stop_ends_streams_in_good_order_and_does_not_wait_for_them() {
    let app = with_link().await;
    let mut streams = Vec::new();
    for _ in 0..8 {
        streams.push(Stream::open(&app, &app.key).await);
    }
    let began = Instant::now();
    app.finish().await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    for stream in &mut streams {
        assert_eq!(stream.block().await, None);
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_key_and_with_its_link() {
    let app = with_link().await;
    let key = json!({"name": "watcher", "scopes": ["stats:read"]});
    let key = app.api(Method::POST, "/api-keys", Some(key)).await.assert_status(201).json();
    let mut theirs = Stream::open(&app, key["key"].as_str().expect("a key")).await;
    let mut owners = Stream::open(&app, &app.key).await;
    let id = key["id"].as_str().expect("an id");
    app.api(Method::DELETE, &format!("/api-keys/{id}"), None).await.assert_status(204);
    assert_eq!(theirs.block().await, None);
    // A move is no end.
    app.api(Method::PATCH, "/links/spring", Some(json!({"alias": "summer"})))
        .await
        .assert_status(200);
    visit(&app, "/summer", &[]).await;
    assert_eq!(owners.event().await.0, "click");
    app.api(Method::DELETE, "/links/summer", None).await.assert_status(204);
    assert_eq!(owners.block().await, None);
    app.finish().await;
}

#[tokio::test]
async fn a_stream_ends_with_the_session_that_opened_it() {
    let app = TestApp::start().await;
    let ada = app.register("ada").await;
    let link = json!({"destination": "https://shop.example/", "alias": "spring"});
    app.by(&ada, Method::POST, "/links", Some(link)).await.assert_status(201);
    let mut stream = Stream::open(&app, &ada.access).await;
    app.by(&ada, Method::POST, "/auth/logout-all", None).await.assert_status(204);
    assert_eq!(stream.block().await, None);
    app.finish().await;
}

#[tokio::test]
async fn a_client_that_hangs_up_ends_its_stream() {
    let app = with_link().await;
    let host = app.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).await.expect("a connection");
    let request = format!(
        "GET /api/v1/links/spring/live HTTP/1.1\r\nHost: {host}\r\n\
         Authorization: Bearer {}\r\n\r\n",
        app.key
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut text = Vec::new();
    while !text.windows(7).any(|bytes| bytes == b"retry: ") {
        assert_ne!(stream.read_buf(&mut text).await.expect("an answer"), 0);
    }
    stream.shutdown().await.expect("half closed");
    // The server closes too, long before it would have sent anything.
    let ended = tokio::time::timeout(TOLD_MAX, stream.read_to_end(&mut text)).await;
    assert!(ended.is_ok(), "the stream goes on");
    app.finish().await;
}

#[tokio::test]
async fn there_is_nothing_to_watch_where_nothing_is_counted() {
    let app = TestApp::builder().set("SHUNT_CLICKS__ENABLED", "false").start().await;
    app.create(json!({"destination": "https://shop.example/", "alias": "spring"})).await;
    let answer = app.api(Method::GET, "/links/spring/live", None).await;
    answer.assert_problem(503, "unavailable");
    assert!(answer.header("retry-after").is_some());
    let wrong = app.api(Method::GET, "/links/spring/live?from=2026-01-01", None).await;
    wrong.assert_problem(400, "invalid_request");
    app.finish().await;
}
