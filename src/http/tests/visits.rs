//! What a visitor gets, by either path.

use super::site::{Site, link, to};
use crate::actors::links::LinksConfig;
use crate::domain::link::{Link, LinkStatus, RedirectStatus};
use crate::domain::time::Timestamp;
use crate::http::server::HttpConfig;
use crate::telemetry::metrics::Outcome;

const LONG_AGO: Option<Timestamp> = Some(Timestamp(1_000));
const NOT_SOON: Option<Timestamp> = Some(Timestamp(4_000_000_000_000));

#[actix_web::test]
async fn the_front_and_the_slow_path_give_the_same_answers() {
    let links = vec![
        link("plain"),
        Link { redirect_status: RedirectStatus::MovedPermanently, ..link("moved") },
        Link { redirect_status: RedirectStatus::PermanentRedirect, ..link("permanent") },
        Link { redirect_status: RedirectStatus::SeeOther, ..link("other") },
        Link { redirect_status: RedirectStatus::TemporaryRedirect, ..link("temporary") },
        Link { expires_at: NOT_SOON, starts_at: LONG_AGO, ..link("timed") },
        Link { expires_at: LONG_AGO, ..link("expired") },
        Link {
            expires_at: LONG_AGO,
            expired_url: Some(to("https://shop.example/over")),
            ..link("way-out")
        },
        Link { starts_at: NOT_SOON, ..link("scheduled") },
        Link { status: LinkStatus::Disabled, ..link("disabled") },
        Link { status: LinkStatus::Archived, ..link("archived") },
        Link { status: LinkStatus::Blocked, ..link("blocked") },
        link("a"),
        link("fifty-characters-are-the-longest-code-there-may-be"),
    ];
    let codes: Vec<String> = links.iter().map(|link| link.code.to_string()).collect();
    let site = Site::with(links).await;
    for code in &codes {
        let fast = site.get(&format!("/{code}")).await;
        let slow = site.get_slowly(&format!("/{code}")).await;
        assert_eq!(fast.fixed(), slow.fixed(), "{code}");
        assert_ne!(fast.header("x-request-id"), slow.header("x-request-id"));
    }
    site.finish().await;
}

#[actix_web::test]
async fn a_redirect_has_these_headers_and_no_others() {
    let site = Site::with(vec![link("spring")]).await;
    let answer = site.get("/spring").await;
    answer.assert_found("https://shop.example/spring");
    let mut names: Vec<&str> = answer.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    let expected = [
        "cache-control",
        "content-length",
        "date",
        "location",
        "referrer-policy",
        "x-content-type-options",
        "x-request-id",
        "x-robots-tag",
    ];
    // The client closed its side, so the server may say that it closes too.
    names.retain(|name| *name != "connection");
    assert_eq!(names, expected);
    assert_eq!(answer.header("cache-control"), Some("private, no-store"));
    assert_eq!(answer.header("x-robots-tag"), Some("noindex"));
    assert_eq!(answer.header("content-length"), Some("0"));
    site.finish().await;
}

#[actix_web::test]
async fn only_a_tracked_get_of_a_known_link_is_a_click() {
    let site = Site::with(vec![link("spring")]).await;
    for (target, clicks) in [
        ("/spring", 1),
        ("/spring?a=1", 2),
        ("/spring?shunt-no-track", 2),
        ("/spring?a=1&shunt-no-track=1", 2),
        ("/unknown", 2),
        ("/", 2),
    ] {
        site.get(target).await;
        assert_eq!(site.clicks(), clicks, "{target}");
    }
    site.ask("HEAD", "/spring", &[]).await.assert_found("https://shop.example/spring");
    site.ask("HEAD", "/spring?a=1", &[]).await.assert_found("https://shop.example/spring?a=1");
    assert_eq!(site.ask("POST", "/spring", &["content-length: 0"]).await.status, 405);
    assert_eq!(site.clicks(), 2);
    site.get_slowly("/spring").await.assert_found("https://shop.example/spring");
    site.ask("GET", "/spring", &["dnt: 1", "sec-purpose: prefetch"]).await;
    assert_eq!(site.clicks(), 4);
    site.finish().await;
}

#[actix_web::test]
async fn a_click_limit_is_drawn_by_clicks_alone() {
    let limited = Link { max_clicks: Some(2), ..link("limited") };
    let elsewhere = Some(to("https://shop.example/over"));
    let out = Link { max_clicks: Some(1), expired_url: elsewhere, ..link("out") };
    let site = Site::with(vec![limited, out]).await;
    for _ in 0..5 {
        assert_eq!(site.ask("HEAD", "/limited", &[]).await.status, 302);
    }
    assert_eq!(site.get("/limited").await.status, 302);
    assert_eq!(site.get("/limited?a=1").await.status, 302);
    let over = site.get("/limited").await;
    assert_eq!((over.status, over.body.contains("used up")), (410, true));
    assert_eq!(site.ask("HEAD", "/limited", &[]).await.status, 410);

    site.get("/out").await.assert_found("https://shop.example/out");
    site.get("/out?a=1").await.assert_found("https://shop.example/over");
    assert_eq!(site.clicks(), 3, "the way out is not a click");
    site.finish().await;
}

#[actix_web::test]
async fn the_query_goes_along_without_our_own_marks() {
    let plain = Link { forward_query: false, ..link("closed") };
    let deep = Link { destination: to("https://shop.example/p?a=1&qr=1#top"), ..link("deep") };
    let site = Site::with(vec![plain, deep, link("open")]).await;
    for (target, location) in [
        ("/open?utm_source=x", "https://shop.example/open?utm_source=x"),
        ("/open?qr=1", "https://shop.example/open"),
        ("/open?b=2&qr=1&c=3", "https://shop.example/open?b=2&c=3"),
        ("/open?qr=2", "https://shop.example/open?qr=2"),
        ("/open?", "https://shop.example/open"),
        ("/open?shunt-no-track&b=2", "https://shop.example/open?b=2"),
        ("/deep?a=7", "https://shop.example/p?a=7&qr=1#top"),
        ("/deep?qr=1", "https://shop.example/p?a=1&qr=1#top"),
        ("/closed?b=2", "https://shop.example/closed"),
    ] {
        site.get(target).await.assert_found(location);
    }
    let injected = site.get("/open?a=%0d%0aset-cookie:%20b").await;
    injected.assert_found("https://shop.example/open?a=%0d%0aset-cookie:%20b");
    assert_eq!(injected.header("set-cookie"), None);
    site.finish().await;
}

#[actix_web::test]
async fn what_does_not_exist_looks_the_same_whatever_it_is() {
    let scheduled = Link { starts_at: NOT_SOON, ..link("later") };
    let deleted = Link { status: LinkStatus::Deleted, ..link("deleted") };
    let site = Site::with(vec![link("spring"), scheduled, deleted]).await;
    let unknown = site.get("/never-was").await;
    assert_eq!(unknown.status, 404);
    for target in [
        "/later",
        "/deleted",
        "/1abcdefg",
        "/Spring",
        "/spring/",
        "/%73pring",
        "/spring+",
        "/sp%20ring",
        "/%",
        "/%zz",
        "/%ff%fe",
        "/%00",
        "/..",
        "/a/b",
        "//spring",
        "/;",
        "/~",
    ] {
        let answer = site.get(target).await;
        assert_eq!(answer.fixed(), unknown.fixed(), "{target}");
        let again = site.get_slowly(target).await;
        assert_eq!(again.fixed(), unknown.fixed(), "{target} on the slow path");
    }
    site.finish().await;
}

#[actix_web::test]
async fn only_served_hosts_redirect() {
    let config =
        HttpConfig { public_url: Some("https://go.example".to_owned()), ..HttpConfig::default() };
    let site = Site::configured(vec![link("spring")], config).await;
    for (host, status) in [
        ("go.example", 302),
        ("GO.example", 302),
        ("go.example.", 302),
        ("go.example:443", 302),
        ("evil.example", 404),
        ("go.example.evil.example", 404),
        ("", 404),
        ("go.example:8", 404),
    ] {
        let request = format!("GET /spring HTTP/1.1\r\nhost: {host}\r\n\r\n");
        assert_eq!(site.send(&request).await.status, status, "{host:?}");
    }
    let absolute = |url: &str| format!("GET {url} HTTP/1.1\r\nhost: evil.example\r\n\r\n");
    assert_eq!(site.send(&absolute("http://go.example/spring")).await.status, 302);
    let spoofed = "GET http://evil.example/spring HTTP/1.1\r\nhost: go.example\r\n\r\n";
    assert_eq!(site.send(spoofed).await.status, 404);
    let forwarded = site.ask("GET", "/spring", &["x-forwarded-host: evil.example"]).await;
    forwarded.assert_found("https://shop.example/spring");
    let old = format!("GET /spring HTTP/1.0\r\nhost: {}\r\n\r\n", site.host());
    site.send(&old).await.assert_found("https://shop.example/spring");
    assert_eq!(site.send("GET /spring HTTP/1.0\r\n\r\n").await.status, 404);
    site.finish().await;
}

#[actix_web::test]
async fn every_visit_has_one_outcome() {
    let blocked = Link { status: LinkStatus::Blocked, ..link("blocked") };
    let expired = Link { expires_at: LONG_AGO, ..link("expired") };
    let site = Site::with(vec![link("spring"), blocked, expired]).await;
    let mut before = site.outcomes();
    for (target, outcome) in [
        ("/spring", Outcome::Hit),
        ("/spring?a=1", Outcome::Hit),
        ("/unknown", Outcome::Unknown),
        ("/b!d", Outcome::Unknown),
        ("/blocked", Outcome::Blocked),
        ("/expired", Outcome::Gone),
    ] {
        site.get(target).await;
        let after = site.outcomes();
        before[outcome as usize] += 1;
        assert_eq!(after, before, "{target}");
    }
    site.get("/health").await;
    site.get("/a/b").await;
    assert_eq!(site.outcomes(), before, "not a visit");
    site.finish().await;
}

#[actix_web::test]
async fn visits_are_counted_apart_while_the_link_may_have_changed_elsewhere() {
    let site = Site::with(vec![link("spring")]).await;
    site.links.set_may_be_stale(true);
    let stale = Outcome::Stale as usize;
    for (target, n) in [("/spring", 1), ("/spring?a=1", 2)] {
        site.get(target).await.assert_found(&format!("https://shop.example{target}"));
        assert_eq!(site.outcomes()[stale], n, "{target}");
    }
    site.links.set_may_be_stale(false);
    site.get("/spring").await;
    assert_eq!(site.outcomes()[stale], 2);
    assert_eq!(site.clicks(), 3);
    site.finish().await;
}

#[actix_web::test]
async fn a_link_that_is_not_in_memory_is_loaded_by_its_first_visit() {
    let limited = Link { max_clicks: Some(1), ..link("limited") };
    let site = Site::cold(vec![link("spring"), limited], LinksConfig::default()).await;
    site.get("/spring").await.assert_found("https://shop.example/spring");
    site.get("/spring").await.assert_found("https://shop.example/spring");
    let outcomes = site.outcomes();
    assert_eq!((outcomes[Outcome::Loaded as usize], outcomes[Outcome::Hit as usize]), (1, 1));
    assert_eq!(site.get("/limited").await.status, 302);
    assert_eq!(site.get("/limited").await.status, 410);
    assert_eq!(site.clicks(), 3);
    site.finish().await;
}

#[actix_web::test]
async fn a_link_that_cannot_be_looked_up_asks_to_come_back() {
    // Owners without room for a single request: what a store that is gone looks like from here.
    let crowded = LinksConfig { mailbox_max: 0, ..LinksConfig::default() };
    let site = Site::cold(vec![link("spring")], crowded).await;
    let answer = site.get("/spring").await;
    assert_eq!(answer.status, 503);
    assert!(answer.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()));
    assert_eq!(answer.header("cache-control"), Some("private, no-store"));
    assert!(answer.body.contains("try again"));
    assert_eq!(site.outcomes()[Outcome::Unavailable as usize], 1);
    assert_eq!(site.clicks(), 0);
    assert_eq!(site.get("/b!d").await.status, 404, "no code, so nobody was asked");
    site.finish().await;
}

#[actix_web::test]
async fn many_visits_on_one_connection_are_answered_in_order() {
    let links = (0..40).map(|n| link(&format!("link-{n}"))).collect();
    let site = Site::with(links).await;
    let mut requests = String::new();
    for n in 0..400 {
        let query = if n % 7 == 0 { "?a=1" } else { "" };
        let target = format!("/link-{}{query}", n % 40);
        requests.push_str(&format!("GET {target} HTTP/1.1\r\nhost: {}\r\n\r\n", site.host()));
    }
    let answers = site.exchange(&requests).await;
    assert_eq!(answers.len(), 400);
    for (n, answer) in answers.iter().enumerate() {
        let query = if n % 7 == 0 { "?a=1" } else { "" };
        answer.assert_found(&format!("https://shop.example/link-{}{query}", n % 40));
    }
    assert_eq!(site.clicks(), 400);
    site.finish().await;
}
