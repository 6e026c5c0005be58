//! What every answer carries, and what is refused before any route.

use super::site::{Site, link};

#[actix_web::test]
async fn every_answer_is_guarded_and_named() {
    let site = Site::with(vec![link("spring")]).await;
    for target in [
        "/",
        "/spring",
        "/spring?a=1",
        "/nowhere",
        "/a/b",
        "/health",
        "/robots.txt",
        "/favicon.ico",
    ] {
        let answer = site.get(target).await;
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{target}");
        assert!(answer.header("referrer-policy").is_some(), "{target}");
        assert!(answer.header("x-request-id").is_some_and(|id| id.len() == 16), "{target}");
        assert_eq!(answer.header("server"), None, "{target}");
        let policy = answer.header("content-security-policy");
        assert_eq!(policy.is_none(), answer.status == 302, "{target}");
        assert!(policy.is_none_or(|policy| policy.contains("frame-ancestors 'none'")));

        let named = site.ask("GET", target, &["x-request-id: from-the-caller"]).await;
        assert_eq!(named.header("x-request-id"), Some("from-the-caller"), "{target}");
        let nonsense = site.ask("GET", target, &["x-request-id: two words"]).await;
        assert_eq!(nonsense.header("x-request-id").map(str::len), Some(16), "{target}");
    }
    site.finish().await;
}

#[actix_web::test]
async fn methods_and_sizes_have_their_limits() {
    let site = Site::with(vec![link("spring")]).await;
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PROPFIND"] {
        let answer = site.ask(method, "/spring", &["content-length: 0"]).await;
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.header("allow"), Some("GET, HEAD"), "{method}");
        assert!(answer.body.contains("\"code\":\"method_not_allowed\""));
    }
    assert_eq!(site.ask("POST", "/health", &["content-length: 0"]).await.status, 405);
    assert_eq!(site.get(&format!("/{}", "a".repeat(8_192))).await.status, 414);
    assert_eq!(site.get(&format!("/{}", "a".repeat(8_191))).await.status, 404);
    assert_eq!(site.get(&format!("/spring?{}", "a".repeat(8_192))).await.status, 414);
    let fat = format!("x-fat: {}", "a".repeat(16_384));
    assert_eq!(site.ask("GET", "/spring", &[&fat]).await.status, 431);
    assert_eq!(site.clicks(), 0);
    site.finish().await;
}

#[actix_web::test]
async fn broken_requests_are_the_clients_fault() {
    let site = Site::with(vec![link("spring")]).await;
    for request in [
        "GET /spring HTTP/1.1\r\n\r\n",
        "GET /spring HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        "GET /spring HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\na",
        "GET /spring HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
        "GET /spring HTTP/1.1\r\nhost: a\r\nx:\r\n b\r\n\r\n",
        "GET /spr ing HTTP/1.1\r\nhost: a\r\n\r\n",
        "nonsense\r\n\r\n",
    ] {
        let answers = site.exchange(request).await;
        assert_eq!(answers.len(), 1, "{request:?}");
        assert_eq!(answers[0].status, 400, "{request:?}");
    }
    let smuggled = "GET /spring HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\
        transfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /spring HTTP/1.1\r\nhost: a\r\n\r\n";
    let answers = site.exchange(smuggled).await;
    assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [400]);
    assert_eq!(site.clicks(), 0);
    site.finish().await;
}

#[actix_web::test]
async fn the_small_documents_are_there() {
    let site = Site::with(Vec::new()).await;
    assert_eq!(site.get("/health").await.body, "{\"status\":\"ok\"}");
    assert_eq!(site.ask("HEAD", "/health", &[]).await.status, 200);
    let robots = site.get("/robots.txt").await;
    assert_eq!(robots.body, "User-agent: *\nDisallow: /api/\n");
    assert!(site.get("/").await.body.contains("Short links live here"));
    let icon = site.get("/favicon.ico").await;
    assert_eq!((icon.status, icon.body.as_str()), (404, ""));
    let foreign = "GET /health HTTP/1.1\r\nhost: evil.example\r\n\r\n";
    assert_eq!(site.send(foreign).await.status, 200);
    let foreign = "GET / HTTP/1.1\r\nhost: evil.example\r\n\r\n";
    assert_eq!(site.send(foreign).await.status, 404);
    site.finish().await;
}

#[actix_web::test]
async fn programs_get_problem_documents() {
    let site = Site::with(Vec::new()).await;
    for target in ["/nowhere", "/a/b"] {
        let answer = site.ask("GET", target, &["accept: application/json"]).await;
        assert_eq!(answer.status, 404);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        let problem: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(problem["code"], "not_found");
        assert_eq!(problem["type"], "/problems/not_found");
    }
    site.finish().await;
}

#[actix_web::test]
async fn requests_are_counted_by_route_and_visits_are_not() {
    let site = Site::with(vec![link("spring")]).await;
    for target in ["/health", "/a/b", "/spring?a=1", "/unknown", "/spring"] {
        site.get(target).await;
    }
    assert_eq!(site.requests("/health", "GET", 200), 1);
    assert_eq!(site.requests("unmatched", "GET", 404), 1);
    assert_eq!(site.requests("/{code}", "GET", 302), 0);
    assert_eq!(site.requests("/{code}", "GET", 404), 0);
    site.ask("BREW", "/health", &[]).await;
    assert_eq!(site.requests("/health", "other", 405), 1);
    site.finish().await;
}

#[actix_web::test]
async fn a_stop_ends_idle_connections_and_gives_the_lanes_back() {
    let site = Site::with(vec![link("spring")]).await;
    let idle = tokio::net::TcpStream::connect(site.host()).await.unwrap();
    site.get("/spring").await;
    let started = std::time::Instant::now();
    site.finish().await;
    assert!(started.elapsed() < std::time::Duration::from_secs(20), "nothing had to time out");
    drop(idle);
}
