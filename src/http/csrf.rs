//! Requests that a page of somebody else makes a browser send. The browser adds the cookies of the
//! visitor by itself, so a change that comes with them counts only when the browser says that a
//! page of this site, or of a listed origin, asks for it.
//!
//! Keys and tokens in headers prove it by themselves: no foreign page can make a browser add them.

use actix_web::Error;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{RequestHead, ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderName};
use actix_web::middleware::Next;

use super::cookies::{has_header_credential, sends_session};
use super::error::{ApiError, ProblemCode};
use super::origins::{Origins, sole};

pub(crate) const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Below this, answers set cookies: a foreign page must not log its visitors in as somebody else.
const SESSIONS: &str = "/api/v1/auth/";

/// Refuses changes for which a browser gives no proof.
pub(crate) async fn guarded(
    origins: Origins,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    // The path as routes see it: an escaped letter is the letter.
    if let Err(error) = check(request.head(), request.match_info().as_str(), &origins) {
        return Ok(request.error_response(error));
    }
    next.call(request).await.map(ServiceResponse::map_into_boxed_body)
}

/// Kinds: 403.
fn check(head: &RequestHead, path: &str, origins: &Origins) -> Result<(), ApiError> {
    if head.method.is_safe() || has_header_credential(&head.headers) {
        return Ok(());
    }
    let by_browser =
        [SEC_FETCH_SITE, header::ORIGIN].iter().any(|name| head.headers.contains_key(name));
    let at_stake = sends_session(&head.headers) || (by_browser && path.starts_with(SESSIONS));
    if !at_stake || is_proven(head, origins) {
        return Ok(());
    }
    let detail = "a change by cookie must come from a page of this site: `Sec-Fetch-Site` or \
                  `Origin` has to say so";
    Err(ApiError::new(ProblemCode::Forbidden, detail))
}

/// Takes a form of this site's own pages, and what no browser sends. Other sites have no business
/// with these, not even listed ones. Kinds: 403.
pub(crate) fn check_form(head: &RequestHead, origins: &Origins) -> Result<(), ApiError> {
    let site = sole(&head.headers, SEC_FETCH_SITE);
    let origin = sole(&head.headers, header::ORIGIN);
    let is_own = match (site, origin) {
        (Ok(Some(site)), Ok(_)) => matches!(site, b"same-origin" | b"none"),
        (Ok(None), Ok(Some(origin))) => origins.is_own(origin),
        (Ok(None), Ok(None)) => true,
        _ => false,
    };
    let detail = "a form must come from a page of this site: `Sec-Fetch-Site` or `Origin` has to \
                  say so";
    if is_own { Ok(()) } else { Err(ApiError::new(ProblemCode::Forbidden, detail)) }
}

/// Whether the browser says that one of the site's own pages asks, or one of a listed origin.
fn is_proven(head: &RequestHead, origins: &Origins) -> bool {
    let site = sole(&head.headers, SEC_FETCH_SITE);
    let origin = sole(&head.headers, header::ORIGIN);
    let (Ok(site), Ok(origin)) = (site, origin) else { return false };
    let is_listed = origin.is_some_and(|origin| origins.lists(origin));
    match site {
        Some(b"same-origin") => true,
        Some(b"same-site" | b"cross-site") => is_listed,
        // `none`, which only a visitor can cause and never as a change, and whatever is not known.
        Some(_) => false,
        // Browsers before 2023, and those that were told not to say.
        None => is_listed || origin.is_some_and(|origin| origins.is_own(origin)),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::Method;
    use actix_web::test::TestRequest;
    use url::Url;

    use super::*;

    const COOKIE: (&str, &str) = ("cookie", "theme=dark; __Host-shunt_access=abc");
    const KEY: (&str, &str) = ("x-api-key", "k");
    const BEARER: (&str, &str) = ("authorization", "Bearer k");
    const BASIC: (&str, &str) = ("authorization", "Basic k");
    const OWN: (&str, &str) = ("origin", "https://go.example");
    const LISTED: (&str, &str) = ("origin", "https://app.example");
    const FOREIGN: (&str, &str) = ("origin", "https://evil.example");
    const NULL: (&str, &str) = ("origin", "null");

    fn site(says: &'static str) -> (&'static str, &'static str) {
        ("sec-fetch-site", says)
    }

    fn passes_by(method: Method, path: &str, headers: &[(&str, &str)], listed: &str) -> bool {
        let url = Url::parse("https://go.example").expect("a URL");
        let origins = Origins::new(&url, &[listed.to_owned()]);
        let mut request = TestRequest::with_uri(path).method(method);
        for header in headers {
            request = request.append_header(*header);
        }
        let request = request.to_srv_request();
        check(request.head(), request.path(), &origins).is_ok()
    }

    fn passes(method: Method, path: &str, headers: &[(&str, &str)]) -> bool {
        passes_by(method, path, headers, "https://app.example")
    }

    #[test]
    fn a_change_by_cookie_needs_the_word_of_the_browser() {
        for (headers, expected) in [
            (&[COOKIE][..], false),
            (&[COOKIE, site("same-origin")], true),
            (&[COOKIE, site("same-origin"), OWN], true),
            (&[COOKIE, site("none")], false),
            (&[COOKIE, site("none"), OWN], false),
            (&[COOKIE, site("same-site")], false),
            (&[COOKIE, site("same-site"), OWN], false),
            (&[COOKIE, site("same-site"), LISTED], true),
            (&[COOKIE, site("cross-site")], false),
            (&[COOKIE, site("cross-site"), FOREIGN], false),
            (&[COOKIE, site("cross-site"), NULL], false),
            (&[COOKIE, site("cross-site"), OWN], false),
            (&[COOKIE, site("cross-site"), LISTED], true),
            (&[COOKIE, site("Same-Origin")], false),
            (&[COOKIE, site("")], false),
            (&[COOKIE, site("same-origin"), site("cross-site")], false),
            (&[COOKIE, site("cross-site"), LISTED, FOREIGN], false),
            (&[COOKIE, OWN], true),
            (&[COOKIE, LISTED], true),
            (&[COOKIE, FOREIGN], false),
            (&[COOKIE, NULL], false),
            (&[COOKIE, OWN, FOREIGN], false),
            (&[COOKIE, ("origin", "https://go.example.")], false),
            (&[COOKIE, ("origin", "https://GO.example")], false),
            (&[COOKIE, ("referer", "https://go.example/a")], false),
            (&[("cookie", "__Host-shunt_refresh=abc")], false),
            (&[("cookie", "__Host-shunt_access=a; __Host-shunt_access=b")], false),
        ] {
            for method in [Method::POST, Method::PATCH, Method::PUT, Method::DELETE] {
                assert_eq!(passes(method, "/api/v1/links", headers), expected, "{headers:?}");
            }
        }
    }

    #[test]
    fn questions_and_keys_in_headers_need_none() {
        for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
            assert!(passes(method, "/api/v1/links", &[COOKIE, site("cross-site"), FOREIGN]));
        }
        for credential in [KEY, BEARER, ("authorization", "bearer k")] {
            let headers = [COOKIE, credential, site("cross-site"), FOREIGN];
            assert!(passes(Method::POST, "/api/v1/links", &headers), "{credential:?}");
        }
        // A browser adds this one by itself, once a visitor has typed a password.
        assert!(!passes(Method::POST, "/api/v1/links", &[COOKIE, BASIC, site("cross-site")]));
        assert!(passes(Method::POST, "/api/v1/links", &[site("cross-site"), FOREIGN]));
        assert!(passes(Method::POST, "/api/v1/links", &[("cookie", "theme=dark")]));
    }

    #[test]
    fn nobody_is_logged_in_by_a_foreign_page() {
        for (headers, expected) in [
            (&[][..], true),
            (&[site("same-origin")], true),
            (&[OWN], true),
            (&[site("cross-site"), LISTED], true),
            (&[site("cross-site")], false),
            (&[site("cross-site"), FOREIGN], false),
            (&[site("same-site"), FOREIGN], false),
            (&[FOREIGN], false),
            (&[NULL], false),
        ] {
            let login = "/api/v1/auth/login";
            assert_eq!(passes(Method::POST, login, headers), expected, "{headers:?}");
        }
        assert!(passes(Method::GET, "/api/v1/auth/oidc/callback", &[site("cross-site")]));
    }

    #[test]
    fn forms_come_from_own_pages_alone() {
        for (headers, expected) in [
            (&[][..], true),
            (&[site("same-origin")], true),
            (&[site("same-origin"), NULL], true),
            (&[site("none")], true),
            (&[OWN], true),
            (&[site("same-site"), OWN], false),
            (&[site("cross-site")], false),
            (&[site("cross-site"), LISTED], false),
            (&[site("cross-site"), OWN], false),
            (&[site("same-origin"), site("cross-site")], false),
            (&[site("same-origin"), OWN, FOREIGN], false),
            (&[LISTED], false),
            (&[FOREIGN], false),
            (&[NULL], false),
            (&[OWN, FOREIGN], false),
            (&[BEARER, FOREIGN], false),
        ] {
            let url = Url::parse("https://go.example").expect("a URL");
            let origins = Origins::new(&url, &["https://app.example".to_owned()]);
            let mut request = TestRequest::with_uri("/app/join").method(Method::POST);
            for header in headers {
                request = request.append_header(*header);
            }
            let request = request.to_srv_request();
            assert_eq!(check_form(request.head(), &origins).is_ok(), expected, "{headers:?}");
        }
    }

    #[test]
    fn a_list_of_everybody_trusts_nobody_with_sessions() {
        for headers in [[COOKIE, ("origin", "*")], [COOKIE, FOREIGN]] {
            assert!(!passes_by(Method::POST, "/api/v1/links", &headers, "*"));
        }
    }
}
