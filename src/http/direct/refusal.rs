//! Answers to bytes that are no request, or too many: the HTTP implementation would send a bare
//! status, and take a very long target for a malformed one.

use crate::domain::limits::{HEADERS_BYTES_MAX, TARGET_BYTES_MAX};
use crate::http::direct::watch::HttpDate;
use crate::http::headers::{nosniff, private_no_store, referrer_policy};
use crate::http::pages::{problem_body, status_of};
use crate::http::problem::ProblemCode;
use crate::http::safety::{Safety, nothing_loads};

/// Longest head that could be answered otherwise: target, headers, and room for the method.
pub(super) const HEAD_BYTES_MAX: usize = TARGET_BYTES_MAX + HEADERS_BYTES_MAX + 64;

/// Why nobody looks at a head. The connection ends with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Malformed,
    TargetTooLong,
    HeadersTooLong,
}

impl Refusal {
    /// Of a head that grew beyond `HEAD_BYTES_MAX` without an end.
    pub(super) fn of_endless(head: &[u8]) -> Self {
        let line = head.iter().position(|byte| *byte == b'\n').unwrap_or(head.len());
        if line > TARGET_BYTES_MAX { Self::TargetTooLong } else { Self::HeadersTooLong }
    }

    /// Appends the answer. `id` is a request id: visible ASCII.
    pub(super) fn write(self, out: &mut Vec<u8>, safety: &Safety, (id, date): (&[u8], &HttpDate)) {
        let (code, detail) = match self {
            Self::Malformed => (ProblemCode::InvalidRequest, "This is no HTTP request."),
            Self::TargetTooLong => {
                (ProblemCode::UriTooLong, "The request target has more than 8,192 bytes.")
            }
            Self::HeadersTooLong => {
                (ProblemCode::HeadersTooLarge, "The request headers have more than 16,384 bytes.")
            }
        };
        let body = problem_body(code, detail);
        let code = status_of(code);
        let reason = code.canonical_reason().unwrap_or_default();
        let status = format!("HTTP/1.1 {} {reason}", code.as_str());
        let length = body.len().to_string();
        let (caching, sniffing, referrer) = (private_no_store(), nosniff(), referrer_policy());
        let policy = nothing_loads();
        let headers: [(&str, &[u8]); 9] = [
            ("content-length", length.as_bytes()),
            ("connection", b"close"),
            ("cache-control", caching.as_bytes()),
            ("content-type", b"application/problem+json"),
            ("x-content-type-options", sniffing.as_bytes()),
            ("referrer-policy", referrer.as_bytes()),
            ("content-security-policy", policy.as_bytes()),
            ("x-request-id", id),
            ("date", date),
        ];
        out.extend_from_slice(status.as_bytes());
        let hsts = safety.hsts().map(|hsts| ("strict-transport-security", hsts.as_bytes()));
        for (name, value) in headers.into_iter().chain(hsts) {
            for part in [b"\r\n", name.as_bytes(), b": ", value] {
                out.extend_from_slice(part);
            }
        }
        out.extend_from_slice(b"\r\n\r\n");
        out.extend_from_slice(&body);
    }
}
