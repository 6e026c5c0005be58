//! The bytes of a redirect: a status line and fixed headers prepared once, the rest copied in.

use crate::domain::decide::Target;
use crate::domain::link::RedirectStatus;
use crate::http::direct::watch::HttpDate;
use crate::http::headers::{noindex, nosniff, referrer_policy};
use crate::http::rates::lines;
use crate::http::redirect::{RedirectRules, status_code};
use crate::http::safety::Safety;
use crate::service::limits::Measured;

/// Everything up to the value of `Location`, per redirect status.
pub(super) struct Answers([Box<[u8]>; RedirectStatus::ALL.len()]);

/// How the head of an answer ends.
pub(super) struct Ending {
    pub date: HttpDate,
    /// Whether the connection ends with this answer.
    pub last: bool,
}

impl Answers {
    pub(super) fn new(rules: &RedirectRules, safety: &Safety) -> Self {
        let mut heads = RedirectStatus::ALL.iter().map(|status| head(*status, rules, safety));
        Self(std::array::from_fn(|_| heads.next().unwrap_or_default()))
    }

    /// Appends the redirect to `target`, which tells of a limit if one applied. `id` is a request
    /// id: visible ASCII.
    pub(super) fn write(
        &self,
        out: &mut Vec<u8>,
        (target, measured): (&Target<'_>, Option<&Measured>),
        id: &[u8],
        end: &Ending,
    ) {
        const ID: &[u8] = b"\r\nx-request-id: ";
        const DATE: &[u8] = b"\r\ndate: ";
        const END: &[u8] = b"\r\n\r\n";
        const LAST: &[u8] = b"\r\nconnection: close\r\n\r\n";
        let head = &self.0[target.status as usize];
        let last = if end.last { LAST } else { END };
        let [prefix, rest] = target.location.parts();
        let rates = measured.map(lines).unwrap_or_default();
        let parts = [head, prefix, rest, &rates, ID, id, DATE, &end.date, last];
        out.reserve(parts.iter().map(|part| part.len()).sum());
        for part in parts {
            out.extend_from_slice(part);
        }
    }
}

fn head(status: RedirectStatus, rules: &RedirectRules, safety: &Safety) -> Box<[u8]> {
    let code = status_code(status);
    let mut head = Vec::new();
    for part in [&b"HTTP/1.1 "[..], code.as_str().as_bytes(), b" "] {
        head.extend_from_slice(part);
    }
    head.extend_from_slice(code.canonical_reason().unwrap_or_default().as_bytes());
    for (name, value) in [
        (&b"\r\ncontent-length: "[..], &b"0"[..]),
        (b"\r\ncache-control: ", rules.caching(status).as_bytes()),
        (b"\r\nx-robots-tag: ", noindex().as_bytes()),
        (b"\r\nx-content-type-options: ", nosniff().as_bytes()),
        (b"\r\nreferrer-policy: ", referrer_policy().as_bytes()),
    ] {
        head.extend_from_slice(name);
        head.extend_from_slice(value);
    }
    if let Some(hsts) = safety.hsts() {
        head.extend_from_slice(b"\r\nstrict-transport-security: ");
        head.extend_from_slice(hsts.as_bytes());
    }
    head.extend_from_slice(b"\r\nlocation: ");
    head.into()
}
