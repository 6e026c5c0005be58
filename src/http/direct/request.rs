//! Plain visits, told from everything else by the bytes they came in.

use std::mem::MaybeUninit;
use std::net::IpAddr;

use httparse::{Header, Request, Status};

use crate::domain::click::RawClick;
use crate::domain::limits::{CODE_BYTES_MAX, HEADERS_BYTES_MAX, TARGET_BYTES_MAX};
use crate::http::direct::refusal::{HEAD_BYTES_MAX, Refusal};
use crate::http::headers::{REQUEST_ID_BYTES_MAX, VisitHeaders};

/// A request with more headers than this is not plain.
const HEADERS_MAX: usize = 32;

/// What the next bytes of a connection are.
pub(super) enum Parsed<'a> {
    Visit(PlainVisit<'a>),
    /// The beginning of a request.
    Partial,
    /// Something that this path does not answer.
    Other,
    /// Nothing that anybody answers.
    Refused(Refusal),
}

/// `GET` or `HEAD` of `/{code}`, without query and body.
pub(super) struct PlainVisit<'a> {
    pub code: &'a [u8],
    /// False for `HEAD`.
    pub counts: bool,
    pub headers: VisitHeaders<'a>,
    /// The client's own, well formed.
    pub request_id: Option<&'a [u8]>,
    /// Length of the whole request.
    pub n_bytes: usize,
}

impl<'a> PlainVisit<'a> {
    /// The click to record, if this visit counts.
    pub(super) fn click(&self, address: IpAddr) -> Option<RawClick<'a>> {
        self.counts.then(|| self.headers.click(address))
    }
}

/// Reads the request at the start of `bytes`.
pub(super) fn parse(bytes: &[u8]) -> Parsed<'_> {
    let mut room = [const { MaybeUninit::<Header<'_>>::uninit() }; HEADERS_MAX];
    let mut request = Request::new(&mut []);
    let n_bytes = match request.parse_with_uninit_headers(bytes, &mut room) {
        Ok(Status::Complete(n_bytes)) => n_bytes,
        Ok(Status::Partial) if bytes.len() <= HEAD_BYTES_MAX => return Parsed::Partial,
        Ok(Status::Partial) => return Parsed::Refused(Refusal::of_endless(bytes)),
        Err(httparse::Error::TooManyHeaders) => return Parsed::Other,
        Err(_) => return Parsed::Refused(Refusal::Malformed),
    };
    if request.path.is_some_and(|path| path.len() > TARGET_BYTES_MAX) {
        return Parsed::Refused(Refusal::TargetTooLong);
    }
    let counts = match request.method {
        Some("GET") => true,
        Some("HEAD") => false,
        _ => return Parsed::Other,
    };
    let code = request.path.and_then(|path| path.as_bytes().strip_prefix(b"/"));
    let Some(code) = code.filter(|code| (1..=CODE_BYTES_MAX).contains(&code.len())) else {
        return Parsed::Other;
    };
    if request.version != Some(1) || n_bytes > HEADERS_BYTES_MAX {
        return Parsed::Other;
    }
    match read_headers(request.headers) {
        Some((headers, request_id)) => {
            Parsed::Visit(PlainVisit { code, counts, headers, request_id, n_bytes })
        }
        None => Parsed::Other,
    }
}

/// What a visit needs of its headers; `None` when one asks for more than a plain answer, or when
/// `Host` does not stand there exactly once.
fn read_headers<'a>(headers: &[Header<'a>]) -> Option<(VisitHeaders<'a>, Option<&'a [u8]>)> {
    let mut found = VisitHeaders::default();
    let mut request_id = None;
    for &Header { name, value } in headers {
        let is = |word: &str| name.eq_ignore_ascii_case(word);
        match name.len() {
            4 if is("host") && found.host.is_empty() => found.host = value,
            4 if is("host") => return None,
            6 if is("expect") => return None,
            7 if is("upgrade") => return None,
            10 if is("connection") && !value.eq_ignore_ascii_case(b"keep-alive") => return None,
            12 if is("x-request-id") => request_id = Some(plain_id(value, request_id)?),
            14 if is("content-length") => return None,
            17 if is("transfer-encoding") => return None,
            _ => found.take(name, value),
        }
    }
    (!found.host.is_empty()).then_some((found, request_id))
}

/// A request id that is taken as it is: 1 to 128 visible ASCII characters, the only one.
fn plain_id<'a>(value: &'a [u8], before: Option<&[u8]>) -> Option<&'a [u8]> {
    let fits = before.is_none() && (1..=REQUEST_ID_BYTES_MAX).contains(&value.len());
    (fits && value.iter().all(u8::is_ascii_graphic)).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::click::ClickFlags;

    fn visit(text: &str) -> Option<PlainVisit<'_>> {
        match parse(text.as_bytes()) {
            Parsed::Visit(visit) => Some(visit),
            Parsed::Partial | Parsed::Other | Parsed::Refused(_) => None,
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
        assert_eq!(visit.n_bytes, text.len() - 3);
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
        let many = "X-A: 1\r\n".repeat(HEADERS_MAX);
        assert!(visit(&format!("GET /a HTTP/1.1\r\n{host}{many}\r\n")).is_none());
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
}
