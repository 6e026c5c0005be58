//! What answers say of limits: `RateLimit-Policy` and `RateLimit`
//! (draft-ietf-httpapi-ratelimit-headers), on every answer that a limit applies to.

use std::cell::RefCell;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::{HttpMessage as _, HttpRequest};

use crate::service::limits::{Allowance, Measured};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Whose request it is, for limits. In the extensions of every API request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientAddress(pub IpAddr);

impl ClientAddress {
    /// As `envelope` found it out.
    pub(crate) fn of(request: &HttpRequest) -> IpAddr {
        let told = request.extensions().get::<Self>().map(|told| told.0);
        let peer = || request.peer_addr().map(|peer| peer.ip());
        told.or_else(peer).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    }
}

/// What limits said about one request so far. All clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Charges(Rc<RefCell<Vec<Measured>>>);

impl Charges {
    /// Those of `request`, in its extensions.
    pub(crate) fn of(request: &HttpRequest) -> Self {
        let mut extensions = request.extensions_mut();
        if let Some(charges) = extensions.get::<Self>() {
            return charges.clone();
        }
        let charges = Self::default();
        extensions.insert(charges.clone());
        charges
    }

    /// Adds what limits said, in place of what the same ones said before.
    pub(crate) fn note(&self, allowance: &Allowance) {
        let mut all = self.0.borrow_mut();
        for measured in &allowance.0 {
            match all.iter_mut().find(|one| one.limit == measured.limit) {
                Some(one) => *one = *measured,
                None => all.push(*measured),
            }
        }
    }

    /// Adds the fields to the answer.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        write(headers, &self.0.borrow());
    }
}

/// Adds the fields to an answer, if there is anything to say.
pub(crate) fn write(headers: &mut HeaderMap, measured: &[Measured]) {
    if measured.is_empty() {
        return;
    }
    let [policy, limit] = fields(measured);
    for (name, value) in [(POLICY, policy), (LIMIT, limit)] {
        let value = HeaderValue::try_from(value).expect("words and numbers are a header value");
        headers.insert(name, value);
    }
}

/// The same as lines of a head, each after a line break.
pub(crate) fn lines(measured: &Measured) -> Vec<u8> {
    let [policy, limit] = fields(&[*measured]);
    format!("\r\n{POLICY}: {policy}\r\n{LIMIT}: {limit}").into_bytes()
}

/// Values of `RateLimit-Policy` and `RateLimit`. `t` is when the quota is whole again; of a limit
/// that refused, when the same request would pass, as `Retry-After` says.
fn fields(measured: &[Measured]) -> [String; 2] {
    let (mut policy, mut limit) = (String::new(), String::new());
    for (index, Measured { limit: of, quota, verdict }) in measured.iter().enumerate() {
        let comma = if index > 0 { ", " } else { "" };
        let name = of.as_str();
        let window = quota.window_ms.div_ceil(1_000);
        let millis =
            if verdict.allowed { verdict.reset_after_ms } else { verdict.retry_after_ms.max(1) };
        let (left, seconds) = (verdict.remaining, millis.div_ceil(1_000));
        // Writing to a string does not fail.
        let _ = write!(policy, "{comma}\"{name}\";q={};w={window}", quota.n);
        let _ = write!(limit, "{comma}\"{name}\";r={left};t={seconds}");
    }
    [policy, limit]
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;
    use crate::domain::bucket::{Bucket, Quota};
    use crate::service::limits::Limit;

    fn measured(limit: Limit, quota: Quota, cost: u32) -> Measured {
        let verdict = Bucket::default().take(quota, cost, 0);
        Measured { limit, quota, verdict }
    }

    #[test]
    fn several_policies_share_the_fields() {
        let all = [
            measured(Limit::Key, Quota::per_hour(1_000), 1),
            measured(Limit::Workspace, Quota::per_minute(600), 600),
        ];
        let mut headers = HeaderMap::new();
        write(&mut headers, &all);
        let value = |name: &str| headers.get(name).unwrap().to_str().unwrap().to_owned();
        assert_eq!(value("ratelimit-policy"), "\"key\";q=1000;w=3600, \"workspace\";q=600;w=60");
        assert_eq!(value("ratelimit"), "\"key\";r=999;t=4, \"workspace\";r=0;t=60");
        let text = String::from_utf8(lines(&all[0])).unwrap();
        assert_eq!(
            text,
            "\r\nratelimit-policy: \"key\";q=1000;w=3600\r\nratelimit: \"key\";r=999;t=4"
        );
    }

    #[test]
    fn a_limit_that_refuses_tells_when_it_would_not() {
        let (quota, mut bucket) = (Quota::per_minute(5), Bucket::default());
        bucket.take(quota, 5, 0);
        let verdict = bucket.take(quota, 1, 0);
        let [_, limit] = fields(&[Measured { limit: Limit::Key, quota, verdict }]);
        assert_eq!(limit, "\"key\";r=0;t=12");
    }

    #[test]
    fn where_nothing_is_limited_nothing_is_said() {
        let mut headers = HeaderMap::new();
        write(&mut headers, &[]);
        assert!(headers.is_empty());
    }

    #[test]
    fn the_last_word_of_each_limit_counts() {
        let request = TestRequest::default().to_http_request();
        let key = measured(Limit::Key, Quota::per_hour(10), 1);
        let creates = |cost| measured(Limit::LinkCreates, Quota::per_hour(100), cost);
        Charges::of(&request).note(&Allowance(vec![key]));
        Charges::of(&request).note(&Allowance(vec![creates(100)]));
        Charges::of(&request).note(&Allowance(vec![creates(40)]));
        let mut headers = HeaderMap::new();
        Charges::of(&request).write(&mut headers);
        let limit = headers.get("ratelimit").unwrap();
        assert_eq!(limit, "\"key\";r=9;t=360, \"link_creates\";r=60;t=1440");
    }
}
