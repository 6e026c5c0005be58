//! Plain visits, told from everything else by the bytes they came in.

use std::mem::MaybeUninit;
use std::net::IpAddr;

use httparse::{Header, Request, Status};

use crate::domain::click::RawClick;
use crate::domain::limits::{CODE_BYTES_MAX, HEADERS_BYTES_MAX};
use crate::http::direct::refusal::{HEAD_BYTES_MAX, Refusal};
use crate::http::headers::{REQUEST_ID_BYTES_MAX, VisitHeaders};

/// A request with more headers than this is not plain.
const HEADERS_MAX: usize = 32;

/// What the next bytes of a connection are.
pub enum Parsed<'a> {
    Visit(PlainVisit<'a>),
    /// The beginning of a request.
    Partial,
    /// Something that this path does not answer.
    Other,
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
pub fn parse(bytes: &[u8]) -> Parsed<'_> {
    let mut room = [const { MaybeUninit::<Header<'_>>::uninit() }; HEADERS_MAX];
    let mut request = Request::new(&mut []);
    let n_bytes = match request.parse_with_uninit_headers(bytes, &mut room) {
        Ok(Status::Complete(n_bytes)) => n_bytes,
        Ok(Status::Partial) if bytes.len() <= HEAD_BYTES_MAX => return Parsed::Partial,
        Ok(Status::Partial) => return Parsed::Refused(Refusal::of_endless(bytes)),
        Err(httparse::Error::TooManyHeaders) => return Parsed::Other,
        Err(_) => return Parsed::Refused(Refusal::Malformed),
    };
    if n_bytes > HEAD_BYTES_MAX {
        // As it would have been, had the last bytes come later.
        return Parsed::Refused(Refusal::of_endless(&bytes[..n_bytes]));
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
            // An empty one counts as well, or a second one would be taken for the only one.
            4 if is("host") && (value.is_empty() || !found.host.is_empty()) => return None,
            4 if is("host") => found.host = value,
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
mod tests;
