//! The two cookies of a web session. `__Host-` makes browsers take them only over TLS (or from the
//! machine itself), for this host alone; scripts never see them.
//!
//! They are read strictly: a cookie that is there twice may have been put there by a neighbour, and
//! nobody can tell which one, so it is none.

use std::time::Duration;

use actix_web::cookie::time::Duration as CookieAge;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::http::header::{self, HeaderMap};

/// Longest token taken out of a cookie; browsers keep no longer cookies either.
const TOKEN_BYTES_MAX: usize = 4_096;

/// A cookie of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionCookie {
    /// The access token, which every request needs.
    Access,
    /// The refresh token, which makes the next access token.
    Refresh,
}

impl SessionCookie {
    pub const ALL: [Self; 2] = [Self::Access, Self::Refresh];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Access => "__Host-shunt_access",
            Self::Refresh => "__Host-shunt_refresh",
        }
    }

    /// The cookie that keeps `token` in the browser for as long as it is good.
    pub fn holding(self, token: &str, lives: Duration) -> Cookie<'static> {
        let seconds = i64::try_from(lives.as_secs()).unwrap_or(i64::MAX);
        self.with(token.to_owned(), CookieAge::seconds(seconds))
    }

    /// The cookie that makes the browser forget it.
    pub fn forgetting(self) -> Cookie<'static> {
        self.with(String::new(), CookieAge::ZERO)
    }

    fn with(self, value: String, age: CookieAge) -> Cookie<'static> {
        Cookie::build(self.name(), value)
            .secure(true)
            .http_only(true)
            .same_site(SameSite::Lax)
            .path("/")
            .max_age(age)
            .finish()
    }

    /// The token that a request brings in this cookie. Nothing when the cookie is there more than
    /// once or its value is no token, and nothing when a header holds a credential, which counts.
    pub fn read(self, headers: &HeaderMap) -> Option<&str> {
        if has_header_credential(headers) {
            return None;
        }
        let value = sole(headers, self.name())?;
        let fits = (1..=TOKEN_BYTES_MAX).contains(&value.len());
        let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
        std::str::from_utf8(value).ok().filter(|_| fits && value.iter().all(is_token))
    }
}

/// Whether a header holds a key or a token, which no browser adds by itself.
pub fn has_header_credential(headers: &HeaderMap) -> bool {
    let is_bearer =
        |value: &[u8]| value.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"Bearer "));
    headers.contains_key("x-api-key")
        || headers.get_all(header::AUTHORIZATION).any(|value| is_bearer(value.as_bytes()))
}

/// Whether a request brings a session cookie, readable or not.
pub(crate) fn sends_session(headers: &HeaderMap) -> bool {
    let is_ours = |name: &[u8]| {
        SessionCookie::ALL.iter().any(|cookie| cookie.name().as_bytes().eq_ignore_ascii_case(name))
    };
    pairs(headers).any(|(name, _)| is_ours(name))
}

/// The value of a cookie that is there once and holds something. One that is there twice may be a
/// neighbour's, and is none.
pub(crate) fn sole<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let mut named = pairs(headers).filter(|(other, _)| *other == name.as_bytes());
    let (_, value) = named.next()?;
    (named.next().is_none() && !value.is_empty()).then_some(value)
}

/// Names and values of all cookies. Only spaces and tabs around them go: some parsers take more for
/// white space, by which a neighbour could give a cookie a name that it may not have.
fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    let lines = headers.get_all(header::COOKIE).map(|line| line.as_bytes());
    lines.flat_map(|line| line.split(|byte| *byte == b';')).map(|pair| {
        let equals = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let (name, value) = pair.split_at(equals);
        (trimmed(name), trimmed(value.strip_prefix(b"=").unwrap_or_default()))
    })
}

fn trimmed(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn sent(lines: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            if let Ok(value) = HeaderValue::from_bytes(line) {
                headers.append(header::COOKIE, value);
            }
        }
        headers
    }

    fn access(line: &str) -> Option<String> {
        SessionCookie::Access.read(&sent(&[line.as_bytes()])).map(str::to_owned)
    }

    #[test]
    fn browsers_keep_them_from_scripts_and_from_neighbours() {
        let made = SessionCookie::Access.holding("a.b-c_d", Duration::from_secs(900));
        assert_eq!(
            made.to_string(),
            "__Host-shunt_access=a.b-c_d; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=900"
        );
        assert_eq!(
            SessionCookie::Refresh.forgetting().to_string(),
            "__Host-shunt_refresh=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0"
        );
        for cookie in SessionCookie::ALL {
            assert!(cookie.holding("a", Duration::MAX).domain().is_none());
        }
    }

    #[test]
    fn a_token_is_read_from_the_one_cookie_of_its_name() {
        let token = "__Host-shunt_access=abc.DEF-1_2";
        for line in [
            token.to_owned(),
            format!("theme=dark; {token}; lang=de"),
            format!("theme=dark;{token}"),
            format!("__Host-shunt_refresh=x; {token} "),
            format!("__host-shunt_access=other; {token}"),
            format!("x__Host-shunt_access=other; {token}"),
            format!("a=\"; {token}; b=\""),
        ] {
            assert_eq!(access(&line).as_deref(), Some("abc.DEF-1_2"), "{line}");
        }
        for line in [
            "",
            ";;=;",
            "__Host-shunt_access",
            "__Host-shunt_access=",
            "__Host-shunt_access=\"abc\"",
            "__Host-shunt_access=a b",
            "__Host-shunt_access=a=b",
            "__Host-shunt_access=a%2Eb",
            "__Host-shunt_access=a,b",
            "__HOST-shunt_access=abc",
            "__Host-shunt_access =\u{a0}abc",
            "\u{2000}__Host-shunt_access=abc",
            "$Version=1; ,__Host-shunt_access=abc",
            "a=\"b; __Host-shunt_access=abc\"",
            "__Host-shunt_access=abc; __Host-shunt_access=abc",
            "__Host-shunt_access=abc; __Host-shunt_access",
            "__Host-shunt_access=abc; __Host-shunt_access=\"",
        ] {
            assert_eq!(access(line), None, "{line}");
        }
        let two = sent(&[b"__Host-shunt_access=a", b"__Host-shunt_access=a"]);
        assert_eq!(SessionCookie::Access.read(&two), None);
        let split = sent(&[b"a=b", b"__Host-shunt_access=c"]);
        assert_eq!(SessionCookie::Access.read(&split), Some("c"));
        let long = |length: usize| access(&format!("__Host-shunt_access={}", "a".repeat(length)));
        assert!(long(TOKEN_BYTES_MAX).is_some());
        assert!(long(TOKEN_BYTES_MAX + 1).is_none());
    }

    #[test]
    fn a_credential_in_a_header_counts_alone() {
        for (name, value, counts) in [
            ("x-api-key", "k", true),
            ("authorization", "Bearer k", true),
            ("authorization", "bearer k", true),
            ("authorization", "Basic k", false),
            ("authorization", "Bearer", false),
        ] {
            let mut headers = sent(&[b"__Host-shunt_access=abc"]);
            let name = header::HeaderName::from_static(name);
            headers.insert(name, HeaderValue::from_static(value));
            assert_eq!(has_header_credential(&headers), counts, "{value}");
            assert_eq!(SessionCookie::Access.read(&headers).is_none(), counts, "{value}");
        }
    }

    /// Pieces of which hostile headers are made.
    fn piece() -> impl Strategy<Value = Vec<u8>> {
        const WORDS: [&str; 7] =
            ["__Host-shunt_access", "__Host-shunt_access=abc", "=", ";", "; ", "\"", " "];
        prop_oneof![
            proptest::sample::select(&WORDS[..]).prop_map(|word| word.as_bytes().to_vec()),
            proptest::collection::vec(any::<u8>(), 0..6),
        ]
    }

    proptest! {
        #[test]
        fn whatever_is_sent_only_an_untouched_cookie_is_read(
            lines in proptest::collection::vec(proptest::collection::vec(piece(), 0..12), 0..3),
        ) {
            let lines: Vec<Vec<u8>> = lines.iter().map(|pieces| pieces.concat()).collect();
            let headers = sent(&lines.iter().map(Vec::as_slice).collect::<Vec<_>>());
            if let Some(token) = SessionCookie::Access.read(&headers) {
                prop_assert!(token.bytes().all(|byte| byte.is_ascii_graphic()));
                prop_assert!(!token.contains(['"', ';', '=', ',', '%']));
                let all: Vec<u8> = headers
                    .get_all(header::COOKIE)
                    .flat_map(|line| [line.as_bytes(), b";"].concat())
                    .collect();
                let text: String = all.iter().map(|byte| char::from(*byte)).collect();
                let whole = format!("__Host-shunt_access={token}");
                let of_name: Vec<&str> = text
                    .split(';')
                    .map(|pair| pair.trim_matches([' ', '\t']))
                    .filter(|pair| {
                        let name = pair.split('=').next().unwrap_or_default();
                        name.trim_matches([' ', '\t']) == "__Host-shunt_access"
                    })
                    .collect();
                prop_assert_eq!(of_name.len(), 1);
                let shown: String = of_name[0].chars().filter(|c| !" \t".contains(*c)).collect();
                prop_assert_eq!(shown, whole);
                prop_assert!(sends_session(&headers));
            }
        }

        #[test]
        fn what_was_set_is_read_again(token in "[A-Za-z0-9_.-]{1,200}") {
            let cookie = SessionCookie::Refresh.holding(&token, Duration::from_secs(60));
            let pair = cookie.stripped().to_string();
            let headers = sent(&[b"theme=dark", pair.as_bytes()]);
            prop_assert_eq!(SessionCookie::Refresh.read(&headers), Some(token.as_str()));
            prop_assert_eq!(SessionCookie::Access.read(&headers), None);
        }
    }
}
