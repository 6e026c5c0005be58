//! Headers that every answer carries, for the sake of those who read it in a browser.

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use url::Url;

use crate::http::headers::{X_REQUEST_ID, nosniff, referrer_policy};
use crate::http::origins::Origins;
use crate::http::server::HttpConfig;

const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");

/// What does not depend on the answer: made once, at start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Safety {
    /// Only where visitors come by TLS.
    hsts: Option<HeaderValue>,
    /// Pages of other origins may ask the API.
    shared: bool,
}

impl Safety {
    pub(crate) fn new(config: &HttpConfig, public_url: &Url) -> Self {
        let seconds = config.hsts_max_age.0.as_secs();
        let hsts = (public_url.scheme() == "https" && seconds > 0).then(|| {
            HeaderValue::from_str(&format!("max-age={seconds}"))
                .expect("words and digits are a header value")
        });
        Self { hsts, shared: Origins::new(public_url, &config.cors_origins).are_shared() }
    }

    /// `Strict-Transport-Security`, where it means something.
    pub(crate) fn hsts(&self) -> Option<&HeaderValue> {
        self.hsts.as_ref()
    }

    /// Adds what every answer carries, unless the route was more exact. `id` is the request's.
    pub(crate) fn complete(
        &self,
        headers: &mut HeaderMap,
        status: StatusCode,
        (of_api, id): (bool, &HeaderValue),
    ) {
        headers.insert(X_REQUEST_ID, id.clone());
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff());
        if let Some(hsts) = &self.hsts {
            headers.insert(header::STRICT_TRANSPORT_SECURITY, hsts.clone());
        }
        add(headers, header::REFERRER_POLICY, referrer_policy());
        // Nobody looks at a redirect.
        if !status.is_redirection() {
            add(headers, header::CONTENT_SECURITY_POLICY, nothing_loads());
        }
        if of_api {
            add(headers, header::CACHE_CONTROL, const { HeaderValue::from_static("no-store") });
            if !self.shared {
                let own = const { HeaderValue::from_static("same-origin") };
                add(headers, CROSS_ORIGIN_RESOURCE_POLICY, own);
            }
        }
    }
}

/// The policy of what is no page, should a browser be made to show it as one.
pub(crate) fn nothing_loads() -> HeaderValue {
    const {
        HeaderValue::from_static(
            "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        )
    }
}

fn add(headers: &mut HeaderMap, name: HeaderName, value: HeaderValue) {
    if !headers.contains_key(&name) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;
    use crate::domain::units::Span;

    const ID: HeaderValue = HeaderValue::from_static("abc");

    fn safety(url: &str, config: &HttpConfig) -> Safety {
        Safety::new(config, &Url::parse(url).unwrap())
    }

    fn completed(safety: &Safety, status: u16, of_api: bool) -> HeaderMap {
        let mut headers = HeaderMap::new();
        safety.complete(&mut headers, StatusCode::from_u16(status).unwrap(), (of_api, &ID));
        headers
    }

    #[test]
    fn every_answer_is_completed_and_what_a_route_said_stays() {
        let safety = safety("http://go.example", &HttpConfig::default());
        let headers = completed(&safety, 404, false);
        assert_eq!(headers.get(X_REQUEST_ID), Some(&ID));
        assert_eq!(headers.get(header::X_CONTENT_TYPE_OPTIONS).unwrap(), "nosniff");
        assert!(headers.contains_key(header::REFERRER_POLICY));
        assert_eq!(headers.get(header::CONTENT_SECURITY_POLICY), Some(&nothing_loads()));
        assert!(!headers.contains_key(header::CACHE_CONTROL));
        assert!(!headers.contains_key(CROSS_ORIGIN_RESOURCE_POLICY));

        let mut headers = HeaderMap::new();
        let own = HeaderValue::from_static("default-src 'self'");
        headers.insert(header::CONTENT_SECURITY_POLICY, own.clone());
        safety.complete(&mut headers, StatusCode::OK, (false, &ID));
        assert_eq!(headers.get(header::CONTENT_SECURITY_POLICY), Some(&own));

        let redirect = completed(&safety, 302, false);
        assert!(!redirect.contains_key(header::CONTENT_SECURITY_POLICY));
    }

    #[test]
    fn browsers_are_told_to_stay_with_tls_only_where_there_is_tls() {
        let said = |url: &str, age: u64| {
            let hsts_max_age = Span::from_secs(age);
            let safety = safety(url, &HttpConfig { hsts_max_age, ..HttpConfig::default() });
            let headers = completed(&safety, 200, false);
            headers
                .get(header::STRICT_TRANSPORT_SECURITY)
                .map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(said("https://go.example", 60).as_deref(), Some("max-age=60"));
        assert_eq!(said("https://go.example", 0), None);
        assert_eq!(said("http://go.example", 60), None);
        let default = safety("https://go.example", &HttpConfig::default());
        assert_eq!(default.hsts().unwrap(), "max-age=31536000");
    }

    #[test]
    fn answers_of_the_api_are_kept_by_nobody_and_shared_only_with_listed_origins() {
        let alone = safety("https://go.example", &HttpConfig::default());
        let headers = completed(&alone, 200, true);
        assert_eq!(headers.get(header::CACHE_CONTROL).unwrap(), "no-store");
        assert_eq!(headers.get(CROSS_ORIGIN_RESOURCE_POLICY).unwrap(), "same-origin");
        let cors_origins = vec!["https://app.example".to_owned()];
        let config = HttpConfig { cors_origins, ..HttpConfig::default() };
        let shared = safety("https://go.example", &config);
        assert!(!completed(&shared, 200, true).contains_key(CROSS_ORIGIN_RESOURCE_POLICY));
    }
}
