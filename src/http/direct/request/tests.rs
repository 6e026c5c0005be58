//! The parser of plain visits: what it takes, what it leaves, and that it agrees with itself in
//! pieces and with the HTTP implementation.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use actix_http::HttpMessage as _;
use actix_http::h1::{Codec, Message, MessageType};
use bytes::BytesMut;
use proptest::prelude::*;
use tokio_util::codec::Decoder as _;

use super::*;
use crate::domain::click::ClickFlags;
use crate::domain::code::Code;

fn visit(text: &str) -> Option<PlainVisit<'_>> {
    match parse(text.as_bytes()) {
        Parsed::Visit(visit) => Some(visit),
        Parsed::Partial | Parsed::Other(_) | Parsed::Refused(_) => None,
    }
}

#[test]
fn a_plain_visit_is_read_with_what_a_click_keeps() {
    let text = "GET /spring HTTP/1.1\r\nHost: go.example\r\n\
                USER-agent: probe/1\r\n\
                Referer: https://a.example/\r\nAccept-Language: de\r\nDNT: 1\r\n\
                Sec-Purpose: prefetch\r\nX-Request-Id: abc\r\n\
                Connection: Keep-Alive\r\n\r\nGET";
    let visit = visit(text).expect("a plain visit");
    assert_eq!(visit.code, b"spring");
    assert!(visit.counts);
    assert_eq!(visit.headers.host, b"go.example");
    assert_eq!(visit.headers.user_agent, b"probe/1");
    assert_eq!(visit.headers.referrer, b"https://a.example/");
    assert_eq!(visit.headers.language, b"de");
    assert!(visit.headers.flags.has(ClickFlags::PRIVATE));
    assert!(visit.headers.flags.has(ClickFlags::PREFETCH));
    assert_eq!(visit.request_id, Some(&b"abc"[..]));
    assert_eq!(visit.extent.head, text.len() - 3);
}

#[test]
fn whatever_is_more_than_plain_is_left_to_others() {
    let host = "Host: go.example\r\n";
    for (line, more) in [
        ("POST /spring HTTP/1.1", host),
        ("GET /spring HTTP/1.0", host),
        ("GET / HTTP/1.1", host),
        ("GET http://go.example/spring HTTP/1.1", host),
        ("GET /spring HTTP/1.1", ""),
        ("GET /spring HTTP/1.1", "Host: a.example\r\nHost: go.example\r\n"),
        ("GET /spring HTTP/1.1", "Host:\r\nHost: go.example\r\n"),
        ("GET /spring HTTP/1.1", "Host: go.example\r\nHost:\r\n"),
        ("GET /spring HTTP/1.1", "Host: go.example\r\nContent-Length: 0\r\n"),
        ("GET /spring HTTP/1.1", "Host: go.example\r\nTransfer-Encoding: chunked\r\n"),
        ("GET /spring HTTP/1.1", "Host: go.example\r\nConnection: close\r\n"),
        ("GET /spring HTTP/1.1", "Host: go.example\r\nUpgrade: h2c\r\n"),
        ("GET /spring HTTP/1.1", "Host: go.example\r\nExpect: 100-continue\r\n"),
        ("GET /spring HTTP/1.1", "Host: go.example\r\nX-Request-Id: a b\r\n"),
        ("GET /spring HTTP/1.1", "Host: go.example\r\nX-A: 1\r\n folded\r\n"),
        ("GET /spring HTTP/1.1", "Host : go.example\r\n"),
    ] {
        assert!(visit(&format!("{line}\r\n{more}\r\n")).is_none(), "{line} {more}");
    }
}

#[test]
fn a_request_is_partial_until_its_last_byte_and_refused_when_it_grows_too_long() {
    let text = "GET /spring HTTP/1.1\r\nHost: go.example\r\n\r\n";
    for end in 1..text.len() {
        assert!(matches!(parse(&text.as_bytes()[..end]), Parsed::Partial), "{end}");
    }
    assert!(visit(text).is_some());
    let refusal = |text: String| match parse(text.as_bytes()) {
        Parsed::Refused(refusal) => Some(refusal),
        _ => None,
    };
    let filling = "a".repeat(HEAD_BYTES_MAX);
    let long = format!("GET /spring HTTP/1.1\r\nHost: {filling}");
    assert_eq!(refusal(long), Some(Refusal::HeadersTooLong));
    assert_eq!(refusal(format!("GET /{filling}")), Some(Refusal::TargetTooLong));
    assert_eq!(refusal("GET spring\r\n".into()), Some(Refusal::Malformed));
}

#[test]
fn where_other_requests_end_is_told_by_their_heads() {
    let chunked = Body::Chunked(Chunks::default());
    for (text, body, keeps) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n", Body::Length(0), true),
        ("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 17\r\n", Body::Length(17), true),
        ("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n", chunked, true),
        ("GET /a HTTP/1.1\r\nHost: a\r\nConnection: x, CLOSE\r\n", Body::Length(0), false),
        ("GET /a HTTP/1.0\r\n", Body::Length(0), false),
        ("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n", Body::Length(0), true),
        ("POST /a HTTP/1.0\r\nContent-Length: 2\r\n", Body::Length(2), false),
    ] {
        let text = format!("{text}\r\nrest");
        let Parsed::Other(extent) = parse(text.as_bytes()) else { panic!("{text}") };
        assert_eq!(extent, Extent { head: text.len() - 4, body, keeps }, "{text}");
    }
    let many = format!("GET /a HTTP/1.1\r\nHost: a\r\n{}\r\n", "X-A: 1\r\n".repeat(90));
    assert_eq!(visit(&many).map(|visit| visit.extent.head), Some(many.len()));
}

#[test]
fn heads_that_two_readers_could_read_in_two_ways_are_refused() {
    let host = "Host: a\r\n";
    for (line, more) in [
        ("GET /a HTTP/1.1\n", host),
        ("GET /a HTTP/1.1\r\n", "Host: a\n"),
        ("GET /a HTTP/1.1\r\n", "Host: a\r\nX-A: 1\nTransfer-Encoding: chunked\r\n"),
        ("\nGET /a HTTP/1.1\r\n", host),
        ("GET /a HTTP/1.1\r\n", ""),
        ("GET /a HTTP/1.1\r\n", "Host: a\r\nHost: a\r\n"),
        ("GET / HTTP/1.1\r\n", "Host: a\r\nContent-Length: +5\r\n"),
        ("GET / HTTP/1.1\r\n", "Host: a\r\nContent-Length:\r\n"),
        ("GET / HTTP/1.1\r\n", "Host: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n"),
        ("GET / HTTP/1.1\r\n", "Host: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
        ("GET / HTTP/1.1\r\n", "Host: a\r\nTransfer-Encoding: gzip, chunked\r\n"),
        ("GET / HTTP/1.1\r\n", "Host: a\r\nTransfer-Encoding: identity\r\n"),
        ("GET / HTTP/1.0\r\n", "Transfer-Encoding: chunked\r\n"),
        ("POST / HTTP/1.0\r\n", host),
    ] {
        let text = format!("{line}{more}\r\n");
        let refused = matches!(parse(text.as_bytes()), Parsed::Refused(Refusal::Malformed));
        assert!(refused, "{text:?}");
    }
    let many = format!("GET /a HTTP/1.1\r\n{host}{}\r\n", "X-A: 1\r\n".repeat(100));
    let refused = matches!(parse(many.as_bytes()), Parsed::Refused(Refusal::HeadersTooLong));
    assert!(refused, "more headers than anybody takes");
}

/// Requests that are nearly plain: each part is mostly what it should be.
fn nearly_plain() -> impl Strategy<Value = Vec<u8>> {
    let before = prop_oneof![9 => Just(""), 1 => Just("\r\n"), 1 => Just("\n"), 1 => Just(" ")];
    let method =
        prop_oneof![6 => Just("GET"), 2 => Just("HEAD"), 1 => Just("OPTIONS"), 1 => Just("get")];
    let path = prop_oneof![
        6 => "/[A-Za-z0-9_-]{1,12}",
        1 => "/[A-Za-z0-9_-]{48,53}",
        1 => "/?[!-~]{0,12}",
        1 => "/\\PC{1,6}",
    ];
    let version = prop_oneof![8 => Just("HTTP/1.1"), 1 => Just("HTTP/1.0"), 1 => Just("HTTP/1.2")];
    let end = prop_oneof![40 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r")];
    let headers = prop::collection::vec(header_line(), 0..6);
    let after = prop::collection::vec(any::<u8>(), 0..12);
    let host = prop_oneof![9 => Just("Host: go.example"), 1 => Just("X-Nothing: 1")];
    (before, method, path, version, end, host, headers, after).prop_map(
        |(before, method, path, version, end, host, headers, after)| {
            let mut text =
                format!("{before}{method} {path} {version}{end}{host}{end}").into_bytes();
            for header in headers {
                text.extend(header);
                text.extend(end.as_bytes());
            }
            text.extend(end.as_bytes());
            text.extend(after);
            text
        },
    )
}

fn header_line() -> impl Strategy<Value = Vec<u8>> {
    let name = prop::sample::select(vec![
        "Host",
        "host",
        "User-Agent",
        "REFERER",
        "Accept-Language",
        "DNT",
        "Sec-GPC",
        "Purpose",
        "X-Moz",
        "X-Request-Id",
        "Connection",
        "Upgrade",
        "Expect",
        "Content-Length",
        "Transfer-Encoding",
        "Cookie",
        "Connection ",
        "",
        "X\0",
    ]);
    let colon = prop::sample::select(vec![": ", ":", " : ", ":\t", ""]);
    let value = prop_oneof![
        prop::sample::select(vec![
            "1",
            "0",
            "keep-alive",
            "Keep-Alive",
            "close",
            "chunked",
            "prefetch",
            "100-continue",
            "go.example:80",
            "+5",
            "",
            "keep-alive, close",
            " 1 ",
            "a b",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..10),
    ];
    (name, colon, value)
        .prop_map(|(name, colon, value)| [name.as_bytes(), colon.as_bytes(), &value].concat())
}

/// A verdict without its details.
fn verdict(parsed: &Parsed<'_>) -> Option<Option<Extent>> {
    match parsed {
        Parsed::Visit(visit) => Some(Some(visit.extent)),
        Parsed::Other(extent) => Some(Some(*extent)),
        // Why it is none may depend on how far it was read.
        Parsed::Refused(_) => Some(None),
        Parsed::Partial => None,
    }
}

/// What the HTTP implementation makes of a request that the direct way would answer.
fn check_against_actix(bytes: &[u8], visit: &PlainVisit<'_>) -> Result<(), TestCaseError> {
    let mut left = BytesMut::from(bytes);
    // It keeps the date of answers in a task.
    let mut codec = actix_rt::System::new().block_on(async { Codec::default() });
    let decoded = codec.decode(&mut left);
    let Ok(Some(Message::Item(request))) = decoded else {
        return Err(TestCaseError::fail(format!("actix-http says {decoded:?}")));
    };
    prop_assert_eq!(bytes.len() - left.len(), visit.extent.head);
    prop_assert!(codec.keep_alive() && !codec.upgrade());
    prop_assert_eq!(codec.message_type(), MessageType::None);
    prop_assert_eq!(request.method() == actix_http::Method::GET, visit.counts);
    prop_assert_eq!(request.path().as_bytes(), [b"/", visit.code].concat());
    let theirs = VisitHeaders::read(request.headers());
    prop_assert_eq!(theirs.host, visit.headers.host);
    prop_assert_eq!(theirs.user_agent, visit.headers.user_agent);
    prop_assert_eq!(theirs.referrer, visit.headers.referrer);
    prop_assert_eq!(theirs.language, visit.headers.language);
    prop_assert_eq!(theirs.flags, visit.headers.flags);
    let mut ids = request.headers().get_all("x-request-id");
    prop_assert_eq!(ids.next().map(|id| id.as_bytes()), visit.request_id);
    prop_assert!(ids.next().is_none());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_request_in_pieces_gets_the_verdict_of_the_request_in_one_piece(bytes in nearly_plain()) {
        let whole = verdict(&parse(&bytes));
        let first = (1..=bytes.len()).find_map(|end| verdict(&parse(&bytes[..end])));
        prop_assert_eq!(first, whole);
    }

    #[test]
    fn where_a_request_ends_actix_sees_the_same_or_refuses_it(bytes in nearly_plain()) {
        if let Parsed::Other(extent) = parse(&bytes) {
            let mut left = BytesMut::from(&bytes[..]);
            let mut codec = actix_rt::System::new().block_on(async { Codec::default() });
            if let Ok(Some(Message::Item(request))) = codec.decode(&mut left) {
                prop_assert_eq!(bytes.len() - left.len(), extent.head);
                let has_body = codec.message_type() != MessageType::None;
                let upgrades = request.headers().contains_key("upgrade");
                prop_assert!(upgrades || has_body == (extent.body != Body::Length(0)));
                prop_assert_eq!(codec.keep_alive(), extent.keeps);
            }
        }
    }

    #[test]
    fn what_is_answered_directly_actix_would_have_read_the_same_way(bytes in nearly_plain()) {
        if let Parsed::Visit(visit) = parse(&bytes)
            && Code::parse(visit.code).is_ok()
        {
            check_against_actix(&bytes, &visit)?;
        }
    }
}
