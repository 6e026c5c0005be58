//! What the next bytes of a connection are: plain visits, told from everything else, and where
//! everything else ends. Whatever two readers could understand in two ways is refused: line feeds
//! alone, two hosts, two lengths, a length and chunks.

use std::mem::MaybeUninit;
use std::net::IpAddr;

use actix_web::http::Uri;
use httparse::{Header, Request, Status};

use crate::domain::click::RawClick;
use crate::domain::limits::{CODE_BYTES_MAX, HEADERS_BYTES_MAX};
use crate::http::direct::framing::{Body, Chunks, Extent};
use crate::http::direct::refusal::{HEAD_BYTES_MAX, Refusal};
use crate::http::headers::{REQUEST_ID_BYTES_MAX, VisitHeaders};

/// A request with more headers than this is not plain.
const PLAIN_HEADERS_MAX: usize = 32;
/// A request with more is refused; the HTTP implementation takes no more either.
const HEADERS_MAX: usize = 96;

/// What the next bytes of a connection are.
pub enum Parsed<'a> {
    Visit(PlainVisit<'a>),
    /// The beginning of a request.
    Partial,
    /// A request that this path does not answer.
    Other(Extent),
    /// Nothing that anybody answers.
    Refused(Refusal),
}

/// `GET` or `HEAD` of `/{code}`, without query and body.
pub struct PlainVisit<'a> {
    pub code: &'a [u8],
    /// False for `HEAD`.
    pub counts: bool,
    pub headers: VisitHeaders<'a>,
    /// The client's own, well formed.
    pub request_id: Option<&'a [u8]>,
    /// The only lines of these names, for whoever trusts the sender.
    pub forwarded: Option<&'a [u8]>,
    pub x_forwarded_for: Option<&'a [u8]>,
    /// How far the whole request goes.
    pub extent: Extent,
}

impl<'a> PlainVisit<'a> {
    /// The click to record, if this visit counts.
    pub(super) fn click(&self, address: IpAddr) -> Option<RawClick<'a>> {
        self.counts.then(|| self.headers.click(address))
    }

    /// Keeps what a visit needs of its headers; nothing when one asks for more than a plain answer,
    /// or when one that must stand alone does not.
    #[inline(always)]
    fn read_headers(&mut self, headers: &[Header<'a>]) -> Option<()> {
        let found = &mut self.headers;
        for &Header { name, value } in headers {
            let is = |word: &str| name.eq_ignore_ascii_case(word);
            match name.len() {
                // An empty one counts as well, or a second one would be taken for the only one.
                4 if is("host") && (value.is_empty() || !found.host.is_empty()) => return None,
                4 if is("host") => found.host = value,
                6 if is("expect") => return None,
                7 if is("upgrade") => return None,
                9 if is("forwarded") => put_once(&mut self.forwarded, value)?,
                10 if is("connection") && !value.eq_ignore_ascii_case(b"keep-alive") => {
                    return None;
                }
                12 if is("x-request-id") => put_once(&mut self.request_id, plain_id(value)?)?,
                14 if is("content-length") => return None,
                15 if is("x-forwarded-for") => put_once(&mut self.x_forwarded_for, value)?,
                17 if is("transfer-encoding") => return None,
                _ => found.take(name, value),
            }
        }
        (!found.host.is_empty()).then_some(())
    }
}

/// Reads the request at the start of `bytes`.
pub fn parse(bytes: &[u8]) -> Parsed<'_> {
    let mut room = [const { MaybeUninit::<Header<'_>>::uninit() }; PLAIN_HEADERS_MAX];
    let mut request = Request::new(&mut []);
    match request.parse_with_uninit_headers(bytes, &mut room) {
        Ok(Status::Complete(n_bytes)) => read(bytes, &request, n_bytes),
        Ok(Status::Partial) => partial(bytes),
        Err(httparse::Error::TooManyHeaders) => parse_many(bytes),
        Err(_) => Parsed::Refused(Refusal::Malformed),
    }
}

/// The same with room for more headers than a visit has.
#[cold]
fn parse_many(bytes: &[u8]) -> Parsed<'_> {
    let mut room = [const { MaybeUninit::<Header<'_>>::uninit() }; HEADERS_MAX];
    let mut request = Request::new(&mut []);
    match request.parse_with_uninit_headers(bytes, &mut room) {
        Ok(Status::Complete(n_bytes)) => read(bytes, &request, n_bytes),
        Ok(Status::Partial) => partial(bytes),
        Err(httparse::Error::TooManyHeaders) => Parsed::Refused(Refusal::HeadersTooLong),
        Err(_) => Parsed::Refused(Refusal::Malformed),
    }
}

fn partial(bytes: &[u8]) -> Parsed<'_> {
    if bytes.len() <= HEAD_BYTES_MAX {
        Parsed::Partial
    } else {
        Parsed::Refused(Refusal::of_endless(bytes))
    }
}

/// Tells what a whole head is. Inlined, as what it calls, so that a visit is made where it is used
/// and not copied on the way.
#[inline(always)]
fn read<'a>(bytes: &'a [u8], request: &Request<'_, 'a>, n_bytes: usize) -> Parsed<'a> {
    let head = &bytes[..n_bytes];
    if n_bytes > HEAD_BYTES_MAX {
        // As it would have been, had the last bytes come later.
        return Parsed::Refused(Refusal::of_endless(head));
    }
    if !has_strict_lines(head, request) {
        return Parsed::Refused(Refusal::Malformed);
    }
    match read_visit(request, n_bytes) {
        Some(visit) => Parsed::Visit(visit),
        None => {
            read_extent(request, n_bytes).map_or(Parsed::Refused(Refusal::Malformed), Parsed::Other)
        }
    }
}

/// True when every line ends with CR and LF. Some readers take LF alone for the end of a line and
/// others do not, so that they would see different headers (RFC 9112, section 2.2).
#[inline(always)]
fn has_strict_lines(head: &[u8], request: &Request<'_, '_>) -> bool {
    let offset = |part: &str| part.as_ptr() as usize - head.as_ptr() as usize;
    let before = request.method.map_or(0, offset);
    head[..before].chunks(2).all(|line| line == b"\r\n")
        && head.ends_with(b"\r\n\r\n")
        && request.headers.iter().all(|header| head[offset(header.name) - 2] == b'\r')
}

/// The request as a plain visit, if it is one.
#[inline(always)]
fn read_visit<'a>(request: &Request<'_, 'a>, n_bytes: usize) -> Option<PlainVisit<'a>> {
    let counts = match request.method {
        Some("GET") => true,
        Some("HEAD") => false,
        _ => return None,
    };
    let code = request.path.and_then(|path| path.as_bytes().strip_prefix(b"/"))?;
    let plain = (1..=CODE_BYTES_MAX).contains(&code.len())
        && request.version == Some(1)
        && n_bytes <= HEADERS_BYTES_MAX;
    if !plain {
        return None;
    }
    let mut visit = PlainVisit {
        code,
        counts,
        headers: VisitHeaders::default(),
        request_id: None,
        forwarded: None,
        x_forwarded_for: None,
        extent: Extent { head: n_bytes, body: Body::Length(0), keeps: true },
    };
    visit.read_headers(request.headers)?;
    Some(visit)
}

/// How far a request goes that is not plain; nothing when its head does not say so clearly.
#[cold]
fn read_extent(request: &Request<'_, '_>, n_bytes: usize) -> Option<Extent> {
    let values = |name: &'static str| {
        let named = move |header: &&Header<'_>| header.name.eq_ignore_ascii_case(name);
        request.headers.iter().filter(named).map(|header| header.value)
    };
    let is_1_1 = request.version == Some(1);
    Uri::try_from(request.path?).ok()?;
    let n_hosts = values("host").count();
    if n_hosts > 1 || (is_1_1 && n_hosts == 0) {
        return None;
    }
    let mut lengths = values("content-length");
    let mut codings = values("transfer-encoding");
    let body = match (lengths.next(), codings.next()) {
        (None, None) if !is_1_1 && request.method == Some("POST") => return None,
        (None, None) => Body::Length(0),
        (Some(length), None) => Body::Length(read_length(length)?),
        (None, Some(coding)) if is_1_1 && coding.eq_ignore_ascii_case(b"chunked") => {
            Body::Chunked(Chunks::default())
        }
        _ => return None,
    };
    if lengths.next().is_some() || codings.next().is_some() {
        return None;
    }
    let asks = |word: &str| {
        let mut words = values("connection").flat_map(|value| value.split(|byte| *byte == b','));
        words.any(|asked| asked.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
    };
    let keeps = !asks("close") && (is_1_1 || asks("keep-alive"));
    Some(Extent { head: n_bytes, body, keeps })
}

/// Digits and nothing else.
fn read_length(value: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(value).ok()?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

fn put_once<'a>(place: &mut Option<&'a [u8]>, value: &'a [u8]) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

/// A request id that is taken as it is: 1 to 128 visible ASCII characters.
fn plain_id(value: &[u8]) -> Option<&[u8]> {
    let fits = (1..=REQUEST_ID_BYTES_MAX).contains(&value.len());
    (fits && value.iter().all(u8::is_ascii_graphic)).then_some(value)
}

#[cfg(test)]
mod tests;
