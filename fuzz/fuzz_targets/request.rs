//! Whatever comes over a connection: the direct way gives the same verdict however the bytes are
//! cut into pieces, and what it answers by itself, the HTTP implementation would have read the
//! same way.

#![no_main]

use std::cell::RefCell;

use actix::{System, SystemRunner};
use actix_http::HttpMessage as _;
use actix_http::h1::{Codec, Message, MessageType};
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use shunt::domain::code::Code;
use shunt::http::{Parsed, PlainVisit, VisitHeaders, parse_visit};
use tokio_util::codec::Decoder as _;

thread_local! {
    // The codec keeps the date of answers in a task of the system.
    static CODEC: RefCell<(SystemRunner, Codec)> = RefCell::new({
        let system = System::new();
        let codec = system.block_on(async { Codec::default() });
        (system, codec)
    });
}

fuzz_target!(|input: &[u8]| {
    let mut rest = input;
    // Requests that follow each other in one piece are read one after the other.
    while let Parsed::Visit(visit) = check_pieces(rest) {
        let n_bytes = visit.extent.head;
        assert!(0 < n_bytes && n_bytes <= rest.len());
        // Other paths are in no table, so they are handed over.
        if Code::parse(visit.code).is_ok() {
            check_against_actix(rest, &visit);
        }
        rest = &rest[n_bytes..];
    }
});

/// The verdict on all bytes, which must be the first that is reached when they come one by one.
fn check_pieces(bytes: &[u8]) -> Parsed<'_> {
    let whole = parse_visit(bytes);
    let decided = (1..=bytes.len()).find(|end| !is_partial(&parse_visit(&bytes[..*end])));
    match (&whole, decided) {
        (Parsed::Partial, None) => (),
        (Parsed::Visit(visit), Some(end)) => {
            assert_eq!(visit.extent.head, end, "a visit is complete with its last byte");
            let Parsed::Visit(early) = parse_visit(&bytes[..end]) else {
                panic!("a visit in one piece, something else in pieces");
            };
            assert!(early.code == visit.code && early.counts == visit.counts);
            assert_eq!(early.request_id, visit.request_id);
            assert_same_headers(&early.headers, &visit.headers);
        }
        (Parsed::Other(extent), Some(end)) => {
            assert_eq!(extent.head, end, "a head is complete with its last byte");
            let early = parse_visit(&bytes[..end]);
            assert!(matches!(early, Parsed::Other(first) if first == *extent));
        }
        // Why it is refused may depend on how far it was read.
        (Parsed::Refused(_), Some(end)) => {
            assert!(matches!(parse_visit(&bytes[..end]), Parsed::Refused(_)));
        }
        (Parsed::Partial, Some(end)) => panic!("undecided as a whole, decided after {end} bytes"),
        (_, None) => panic!("decided as a whole, never in pieces"),
    }
    whole
}

fn check_against_actix(bytes: &[u8], visit: &PlainVisit<'_>) {
    CODEC.with_borrow_mut(|(_, codec)| check_with(codec, bytes, visit));
}

fn check_with(codec: &mut Codec, bytes: &[u8], visit: &PlainVisit<'_>) {
    let mut left = BytesMut::from(bytes);
    let request = match codec.decode(&mut left) {
        Ok(Some(Message::Item(request))) => request,
        other => panic!("answered directly, but actix-http says {other:?}"),
    };
    assert_eq!(bytes.len() - left.len(), visit.extent.head, "the request ends elsewhere");
    assert!(codec.keep_alive(), "the connection would have been closed");
    assert!(!codec.upgrade());
    assert_eq!(codec.message_type(), MessageType::None, "it has a body");
    assert_eq!(request.method() == actix_http::Method::GET, visit.counts);
    assert_eq!(request.path().as_bytes(), [b"/", visit.code].concat());
    assert_eq!(request.uri().query(), None);
    let headers = request.headers();
    assert!(!headers.contains_key("expect"));
    assert_same_headers(&visit.headers, &VisitHeaders::read(headers));
    let mut ids = headers.get_all("x-request-id");
    assert_eq!(ids.next().map(|id| id.as_bytes()), visit.request_id);
    assert!(ids.next().is_none());
}

fn assert_same_headers(one: &VisitHeaders<'_>, other: &VisitHeaders<'_>) {
    assert_eq!(one.host, other.host);
    assert_eq!(one.user_agent, other.user_agent);
    assert_eq!(one.referrer, other.referrer);
    assert_eq!(one.language, other.language);
    assert_eq!(one.flags, other.flags);
}

fn is_partial(parsed: &Parsed<'_>) -> bool {
    matches!(parsed, Parsed::Partial)
}
