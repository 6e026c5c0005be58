//! Which pages may ask: the origin of this site, and those that the operator lists.

use actix_web::http::header::{HeaderMap, HeaderName};
use url::Url;

/// In the place of all origins: every page may ask, none with credentials.
const ANY: &str = "*";

/// Origins of pages, as browsers write them.
#[derive(Clone, Debug)]
pub struct Origins {
    own: String,
    listed: Vec<String>,
    any: bool,
}

impl Origins {
    /// The origin of `public_url`, and what `http.cors_origins` lists.
    pub fn new(public_url: &Url, listed: &[String]) -> Self {
        let any = listed.iter().any(|origin| origin == ANY);
        Self {
            own: public_url.origin().ascii_serialization(),
            listed: if any { Vec::new() } else { listed.to_vec() },
            any,
        }
    }

    /// Whether pages of other origins may ask at all.
    pub(crate) fn are_shared(&self) -> bool {
        self.any || !self.listed.is_empty()
    }

    /// Whether pages of every origin may ask.
    pub(crate) fn allow_any(&self) -> bool {
        self.any
    }

    pub(crate) fn listed(&self) -> impl Iterator<Item = &str> {
        self.listed.iter().map(String::as_str)
    }

    /// Whether the operator trusts this one with the sessions of users.
    pub(crate) fn lists(&self, origin: &[u8]) -> bool {
        self.listed.iter().any(|listed| listed.as_bytes() == origin)
    }

    pub(crate) fn is_own(&self, origin: &[u8]) -> bool {
        self.own.as_bytes() == origin
    }
}

/// The sentence on what is wrong with `http.cors_origins`, if anything is.
pub(crate) fn problem_of(listed: &[String]) -> Option<String> {
    if listed.iter().any(|origin| origin == ANY) {
        let alone = "`http.cors_origins` has \"*\", which must stand alone".to_owned();
        return (listed.len() > 1).then_some(alone);
    }
    let odd = listed.iter().find(|origin| !is_origin(origin))?;
    Some(format!(
        "`http.cors_origins` has {odd:?}; write origins as browsers do, like https://app.example \
         or http://localhost:3000: scheme, host in lower case, the port if it is not the usual \
         one, and no slash"
    ))
}

/// Whether a browser could send this as the origin of a page that was loaded by HTTP.
fn is_origin(text: &str) -> bool {
    // A star is a letter of a host to the parser, and a pattern to nobody here.
    !text.contains('*')
        && Url::parse(text).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == text
        })
}

/// The value of a header that must be there once. `Err`: it is there more often.
pub(crate) fn sole(headers: &HeaderMap, name: HeaderName) -> Result<Option<&[u8]>, ()> {
    let mut values = headers.get_all(name);
    let first = values.next();
    if values.next().is_some() { Err(()) } else { Ok(first.map(|value| value.as_bytes())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn origins_are_listed_as_browsers_write_them() {
        for fine in [
            &[][..],
            &["*"],
            &["https://app.example", "http://localhost:3000", "https://[2001:db8::1]:8443"],
            &["https://xn--bcher-kva.example"],
        ] {
            assert_eq!(problem_of(&of(fine)), None, "{fine:?}");
        }
        for odd in [
            "null",
            "",
            "app.example",
            "https://app.example/",
            "https://app.example/path",
            "https://app.example?",
            "https://App.example",
            "HTTPS://app.example",
            "https://app.example:443",
            "http://app.example:80",
            "https://me@app.example",
            "https://*.app.example",
            "https://bücher.example",
            "file:///etc",
            "chrome-extension://abc",
            " https://app.example",
        ] {
            let sentence = problem_of(&of(&["https://fine.example", odd])).unwrap_or_default();
            assert!(sentence.contains("`http.cors_origins`"), "{odd}: {sentence}");
        }
        assert!(problem_of(&of(&["*", "https://app.example"])).is_some());
    }

    #[test]
    fn origins_are_compared_byte_by_byte() {
        let url = Url::parse("https://go.example/").expect("a URL");
        let origins = Origins::new(&url, &of(&["https://app.example"]));
        assert!(origins.is_own(b"https://go.example"));
        assert!(origins.lists(b"https://app.example"));
        for other in [
            "https://go.example:443",
            "https://go.example.",
            "http://go.example",
            "https://app.example.evil.example",
            "https://evil-app.example",
            "https://sub.app.example",
            "null",
            "",
        ] {
            assert!(!origins.is_own(other.as_bytes()), "{other}");
            assert!(!origins.lists(other.as_bytes()), "{other}");
        }
        let anybody = Origins::new(&url, &of(&["*"]));
        assert!(anybody.are_shared() && anybody.allow_any());
        assert!(!anybody.lists(b"*") && !anybody.lists(b"https://app.example"));
        assert!(!Origins::new(&url, &[]).are_shared());
    }
}
