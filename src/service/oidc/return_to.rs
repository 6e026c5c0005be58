//! Where a browser goes after a sign-in: a path of this site and nothing else.

use super::fault::OidcFault;

/// Longest path with its query, in bytes.
pub(super) const RETURN_TO_BYTES_MAX: usize = 1_024;

/// A path below the site's root, with its query and fragment: begins with one `/`, and no reader of
/// URLs takes it for a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnTo(String);

impl ReturnTo {
    /// Takes `text` if every browser stays on this site with it. Browsers read `\` as `/` and
    /// leave out tabs and line ends, so none of these may appear, not even encoded: what decodes
    /// once more on its way must not become a header or a host.
    pub fn parse(text: &str) -> Result<Self, OidcFault> {
        let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
        let one_slash = text.starts_with('/') && !text.starts_with("//");
        let fits = text.len() <= RETURN_TO_BYTES_MAX;
        if !(fits && one_slash && text.bytes().all(is_plain)) || hides_harm(text) {
            return Err(OidcFault::ReturnTo);
        }
        Ok(Self(text.to_owned()))
    }

    /// For the `Location` header.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// True when decoding gives a control character or a backslash anywhere, or a second slash at the
/// beginning.
fn hides_harm(text: &str) -> bool {
    let decoded: Vec<u8> = percent_encoding::percent_decode_str(text).collect();
    decoded.starts_with(b"//") || decoded.iter().any(|b| b.is_ascii_control() || *b == b'\\')
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use proptest::prelude::*;
    use url::Url;

    use super::*;

    #[test]
    fn paths_of_this_site_are_kept_as_they_are() {
        for path in ["/", "/app", "/app/links?tag=a%20b&x=%2F#top", "/a//b", "/%C3%A9", "/a:b@c"] {
            assert_eq!(ReturnTo::parse(path).unwrap().as_str(), path);
        }
        let longest = format!("/{}", "a".repeat(RETURN_TO_BYTES_MAX - 1));
        assert!(ReturnTo::parse(&longest).is_ok());
    }

    #[test]
    fn everything_else_is_refused() {
        let too_long = format!("/{}", "a".repeat(RETURN_TO_BYTES_MAX));
        for text in [
            "",
            "app",
            "//evil",
            "///evil",
            "/\\evil",
            "\\\\evil",
            "https://evil.example",
            "javascript:alert(1)",
            "/%0d%0aSet-Cookie:x",
            "/%0A",
            "/a\r\nb",
            "/a\tb",
            "/\t/evil",
            "/%2Fevil",
            "/%5Cevil",
            "/a%5cb",
            "/a\\b",
            "/a b",
            "/é",
            "/%00",
            "/a\u{7f}",
            " /app",
            "%2F%2Fevil",
            "?x",
            "#x",
            too_long.as_str(),
        ] {
            assert_eq!(ReturnTo::parse(text), Err(OidcFault::ReturnTo), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_leads_off_the_site(text in "[/\\\\%a-f0-9A-F:@.?#\t\r\n -]{0,24}") {
            let site = Url::parse("https://go.example/api/v1/auth/oidc/x/callback").unwrap();
            if let Ok(path) = ReturnTo::parse(&text) {
                let target = site.join(path.as_str()).unwrap();
                prop_assert_eq!(target.origin(), site.origin());
                prop_assert!(target.username().is_empty());
            }
        }

        #[test]
        fn nor_does_any_other(text in "\\PC{0,40}") {
            let site = Url::parse("https://go.example/").unwrap();
            for text in [text.clone(), format!("/{text}")] {
                if let Ok(path) = ReturnTo::parse(&text) {
                    prop_assert_eq!(site.join(path.as_str()).unwrap().origin(), site.origin());
                }
            }
        }
    }
}
