//! Header names, fixed values, and what one pass over a request's headers finds.

use std::net::IpAddr;

use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::domain::click::{ClickFlags, RawClick};
use crate::domain::id::Id;
use crate::domain::time::Timestamp;

pub(crate) const X_ROBOTS_TAG: HeaderName = HeaderName::from_static("x-robots-tag");
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Headers by which browsers say that nobody is looking yet.
const SPECULATION: [&str; 4] = ["sec-purpose", "purpose", "x-purpose", "x-moz"];

/// Longest request id taken from a client, in bytes; other ids are replaced.
pub(crate) const REQUEST_ID_BYTES_MAX: usize = 128;

pub(crate) fn private_no_store() -> HeaderValue {
    const { HeaderValue::from_static("private, no-store") }
}

pub(crate) fn noindex() -> HeaderValue {
    const { HeaderValue::from_static("noindex") }
}

pub(crate) fn nosniff() -> HeaderValue {
    const { HeaderValue::from_static("nosniff") }
}

/// What browsers do by themselves when nobody says anything, said so that no page in between can
/// loosen it: the destination learns which site a visitor came from (its statistics need that),
/// never the page, and nothing at all when https leads to http.
pub(crate) fn referrer_policy() -> HeaderValue {
    const { HeaderValue::from_static("strict-origin-when-cross-origin") }
}

/// What a visit needs of a request's headers. Found in one pass, because every look-up in a map
/// costs as much as passing an entry.
#[derive(Clone, Copy, Debug, Default)]
pub struct VisitHeaders<'a> {
    pub host: &'a [u8],
    pub user_agent: &'a [u8],
    pub referrer: &'a [u8],
    pub language: &'a [u8],
    pub flags: ClickFlags,
    /// The client sent an `X-Request-Id`, whatever it is worth.
    pub has_request_id: bool,
    /// Bytes of all headers as they came over the wire.
    pub bytes: usize,
}

impl<'a> VisitHeaders<'a> {
    pub fn read(headers: &'a HeaderMap) -> Self {
        let mut found = Self::default();
        for (name, value) in headers {
            let value = value.as_bytes();
            found.bytes += wire_bytes(name, value);
            match *name {
                header::HOST => found.host = value,
                _ if name.as_str() == "x-request-id" => found.has_request_id = true,
                _ => found.take(name.as_str(), value),
            }
        }
        found
    }

    /// Keeps what a click keeps of one header; names in any case.
    pub(crate) fn take(&mut self, name: &str, value: &'a [u8]) {
        let is = |word: &str| name.eq_ignore_ascii_case(word);
        match name.len() {
            3 if is("dnt") => self.flag_if(value == b"1", ClickFlags::PRIVATE),
            7 if is("referer") => self.referrer = value,
            7 if is("sec-gpc") => self.flag_if(value == b"1", ClickFlags::PRIVATE),
            10 if is("user-agent") => self.user_agent = value,
            15 if is("accept-language") => self.language = value,
            5 | 7 | 9 | 11 if SPECULATION.iter().any(|word| is(word)) => {
                self.flag_if(is_speculative(value), ClickFlags::PREFETCH);
            }
            _ => (),
        }
    }

    /// The click that this visit is, without its query, and before it is known of what and when.
    pub(crate) fn click(&self, address: IpAddr) -> RawClick<'a> {
        RawClick {
            at: Timestamp::default(),
            link: Id::default(),
            version: 0,
            address,
            flags: self.flags,
            user_agent: self.user_agent,
            referrer: self.referrer,
            language: self.language,
            query: b"",
        }
    }

    fn flag_if(&mut self, condition: bool, flag: ClickFlags) {
        if condition {
            self.flags = self.flags.with(flag);
        }
    }
}

/// Size of all headers as they came over the wire, in bytes.
pub(crate) fn total_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| wire_bytes(name, value.as_bytes())).sum()
}

/// The client's own request id, if it is one: 1 to 128 visible ASCII characters.
pub(crate) fn given_request_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut given = headers.get_all(X_REQUEST_ID);
    let id = given.next().filter(|_| given.len() == 0)?;
    let fits = (1..=REQUEST_ID_BYTES_MAX).contains(&id.len());
    (fits && id.as_bytes().iter().all(u8::is_ascii_graphic)).then(|| id.clone())
}

/// The trace that a request belongs to: 32 digits out of a valid `traceparent` (W3C Trace Context).
pub(crate) fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let mut given = headers.get_all("traceparent");
    let text = given.next().filter(|_| given.len() == 0)?.to_str().ok()?;
    let mut parts = text.split('-');
    let mut part = |length: usize| {
        let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        parts.next().filter(|part| part.len() == length && part.bytes().all(hex))
    };
    let (version, trace, parent, _flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
    // Later versions may have more parts.
    let ends = version != "00" || parts.next().is_none();
    let is_zero = |part: &str| part.bytes().all(|byte| byte == b'0');
    (version != "ff" && ends && !is_zero(trace) && !is_zero(parent)).then_some(trace)
}

/// True when the client would rather have JSON than a page: it names JSON, and does not like HTML
/// better. `*/*` alone is a page.
pub(crate) fn prefers_json(headers: &HeaderMap) -> bool {
    let (mut json, mut html) = (0, 0);
    for (media, quality) in accepted(headers) {
        if media.eq_ignore_ascii_case("application/json")
            || media.eq_ignore_ascii_case("application/problem+json")
        {
            json = json.max(quality);
        } else if media.eq_ignore_ascii_case("text/html") {
            html = html.max(quality);
        }
    }
    json > 0 && json >= html
}

/// Whether the client names CSV, and likes it better than JSON.
pub(crate) fn prefers_csv(headers: &HeaderMap) -> bool {
    let (mut csv, mut others) = (0, 0);
    for (media, quality) in accepted(headers) {
        if media.eq_ignore_ascii_case("text/csv") {
            csv = csv.max(quality);
        } else if ["application/json", "application/*"]
            .iter()
            .any(|m| media.eq_ignore_ascii_case(m))
        {
            others = others.max(quality);
        }
    }
    csv > 0 && csv > others
}

/// The media ranges of `Accept` with their qualities in thousandths.
fn accepted(headers: &HeaderMap) -> impl Iterator<Item = (&str, u32)> {
    let lines = headers.get_all(header::ACCEPT).filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        (media, parts.find_map(quality).unwrap_or(1_000))
    })
}

/// `q=0.5` in thousandths.
fn quality(parameter: &str) -> Option<u32> {
    let (name, value) = parameter.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("q") {
        return None;
    }
    let value: f32 = value.trim().parse().ok()?;
    Some((value.clamp(0.0, 1.0) * 1_000.0) as u32)
}

/// Name, value, colon, space and line end.
fn wire_bytes(name: &HeaderName, value: &[u8]) -> usize {
    name.as_str().len() + value.len() + 4
}

/// `prefetch`, `prefetch;prerender`, `preview`: nobody is looking yet.
fn is_speculative(value: &[u8]) -> bool {
    ["prefetch", "prerender", "preview"].iter().any(|word| {
        value.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn one_pass_finds_what_a_click_keeps() {
        let map = headers(&[
            ("host", "go.example"),
            ("user-agent", "probe/1"),
            ("referer", "https://a.example/"),
            ("accept-language", "de"),
            ("accept", "*/*"),
        ]);
        let found = VisitHeaders::read(&map);
        assert_eq!(found.host, b"go.example");
        assert_eq!(found.user_agent, b"probe/1");
        assert_eq!(found.referrer, b"https://a.example/");
        assert_eq!(found.language, b"de");
        assert_eq!(found.flags, ClickFlags::default());
        assert!(!found.has_request_id);
        assert_eq!(found.bytes, total_bytes(&map));
        assert_eq!(found.bytes, "host: go.example\r\n".len() + 21 + 29 + 21 + 13);
    }

    #[test]
    fn do_not_track_and_global_privacy_control_make_a_click_private() {
        for line in [("dnt", "1"), ("sec-gpc", "1")] {
            assert!(VisitHeaders::read(&headers(&[line])).flags.has(ClickFlags::PRIVATE));
        }
        for line in [("dnt", "0"), ("sec-gpc", "?0"), ("x-dnt", "1")] {
            assert!(!VisitHeaders::read(&headers(&[line])).flags.has(ClickFlags::PRIVATE));
        }
    }

    #[test]
    fn prefetches_are_flagged_whatever_the_browser_calls_them() {
        for line in [
            ("sec-purpose", "prefetch"),
            ("sec-purpose", "prefetch;prerender"),
            ("purpose", "Prefetch"),
            ("x-moz", "prefetch"),
            ("purpose", "preview"),
        ] {
            assert!(VisitHeaders::read(&headers(&[line])).flags.has(ClickFlags::PREFETCH));
        }
        let ordinary = headers(&[("sec-fetch-dest", "document"), ("x-moz", "1")]);
        assert!(!VisitHeaders::read(&ordinary).flags.has(ClickFlags::PREFETCH));
    }

    #[test]
    fn a_request_id_is_taken_only_when_it_is_one_visible_word() {
        let taken = headers(&[("x-request-id", "a-1.b~")]);
        assert_eq!(given_request_id(&taken), Some(HeaderValue::from_static("a-1.b~")));
        for line in [("x-request-id", ""), ("x-request-id", "two words")] {
            assert_eq!(given_request_id(&headers(&[line])), None);
        }
        let twice = headers(&[("x-request-id", "a"), ("x-request-id", "b")]);
        assert_eq!(given_request_id(&twice), None);
        let mut long = HeaderMap::new();
        long.insert(X_REQUEST_ID, HeaderValue::from_str(&"x".repeat(129)).expect("it is ASCII"));
        assert_eq!(given_request_id(&long), None);
    }

    #[test]
    fn a_trace_is_known_by_a_valid_traceparent_only() {
        const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
        for line in [
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-later",
        ] {
            assert_eq!(trace_id(&headers(&[("traceparent", line)])), Some(TRACE));
        }
        for line in [
            "",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(trace_id(&headers(&[("traceparent", line)])), None, "{line}");
        }
    }

    #[test]
    fn json_goes_to_those_who_ask_for_it() {
        for accept in [
            "application/json",
            "application/problem+json",
            "application/json, text/plain, */*",
            "text/html;q=0.5, application/json",
            "Application/JSON; charset=utf-8; q=0.1",
        ] {
            assert!(prefers_json(&headers(&[("accept", accept)])), "{accept}");
        }
        for accept in [
            "*/*",
            "",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "text/html, application/json;q=0.9",
            "application/json;q=0",
        ] {
            assert!(!prefers_json(&headers(&[("accept", accept)])), "{accept}");
        }
        assert!(!prefers_json(&HeaderMap::new()));
    }

    #[test]
    fn csv_is_for_those_who_name_it() {
        for accept in ["text/csv", "TEXT/CSV; header=present", "text/csv, */*", "text/csv;q=0.5"] {
            assert!(prefers_csv(&headers(&[("accept", accept)])), "{accept}");
        }
        for accept in ["*/*", "text/*", "", "application/json, text/csv", "text/csv;q=0"] {
            assert!(!prefers_csv(&headers(&[("accept", accept)])), "{accept}");
        }
    }
}
