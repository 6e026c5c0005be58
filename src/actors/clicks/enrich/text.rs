//! Reads the texts that visitors send: referrers, languages, campaigns.
//!
//! They are bytes of strangers: invalid UTF-8 is replaced, control characters are left out, and
//! everything is cut.

use std::borrow::Cow;

use percent_encoding::percent_decode;
use url::{Host, Url};

use super::joined;

/// Longest referrer that is kept, in characters.
const REFERRER_CHARS_MAX: usize = 500;
/// Longest campaign parameter that is kept, in characters.
const UTM_CHARS_MAX: usize = 200;
const UTM_NAMES: [&[u8]; 5] =
    [b"utm_source", b"utm_medium", b"utm_campaign", b"utm_term", b"utm_content"];

/// Number that stands for a user agent in the hash of a visitor: eight bytes of its BLAKE3 hash.
pub(super) fn digest(user_agent: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&blake3::hash(user_agent).as_bytes()[..8]);
    u64::from_le_bytes(bytes)
}

/// Domain of a referrer, and the referrer without what follows a `#`. The domain is the one that
/// somebody registered (`example.co.uk` of `news.example.co.uk`, by the public suffix list); that
/// of an app is its name; an address stays as it is.
pub(super) fn referrer(bytes: &[u8]) -> String {
    let text = clean(bytes, REFERRER_CHARS_MAX);
    let text = text.split('#').next().unwrap_or_default();
    let domain = Url::parse(text).ok().and_then(|url| match url.host()? {
        Host::Domain(name) if matches!(url.scheme(), "http" | "https") => {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            let registered = psl::domain_str(&name).map(str::to_owned);
            Some(registered.unwrap_or(name))
        }
        host => Some(host.to_string().to_ascii_lowercase()),
    });
    joined(&[domain.as_deref(), Some(text).filter(|text| !text.is_empty())])
}

/// The language that a visitor likes best, without its country: `de` of `de-AT;q=0.9`.
pub(super) fn language(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut best: Option<(f32, &str)> = None;
    for range in text.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let tag = parts.next().unwrap_or_default();
        let quality = parts
            .find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")))
            .map_or(Some(1.0), |value| value.trim().parse().ok())
            .filter(|quality| (0.0..=1.0).contains(quality));
        let primary = tag.split('-').next().unwrap_or_default();
        let is_language =
            (2..=8).contains(&primary.len()) && primary.bytes().all(|b| b.is_ascii_alphabetic());
        if let Some(quality) = quality.filter(|quality| is_language && *quality > 0.0)
            && best.is_none_or(|(known, _)| quality > known)
        {
            best = Some((quality, primary));
        }
    }
    best.map(|(_, primary)| primary.to_ascii_lowercase())
}

/// Campaign parameters of a query: source, medium, campaign, term, content. Of equal names the
/// first counts.
pub(super) fn utm(query: &[u8]) -> String {
    let mut found: [Option<String>; 5] = Default::default();
    for pair in query.split(|byte| *byte == b'&') {
        if !pair.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"utm_")) {
            continue;
        }
        let mut parts = pair.splitn(2, |byte| *byte == b'=');
        let (name, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let known = UTM_NAMES.iter().position(|known| known.eq_ignore_ascii_case(name));
        if let Some(place) = known.map(|at| &mut found[at]).filter(|place| place.is_none()) {
            let spaced: Vec<u8> =
                value.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
            let decoded: Cow<'_, [u8]> = percent_decode(&spaced).into();
            let text = clean(&decoded, UTM_CHARS_MAX);
            *place = Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        }
    }
    joined(&found.each_ref().map(|part| part.as_deref()))
}

/// Bytes as a text without control characters, cut.
fn clean(bytes: &[u8], chars_max: usize) -> String {
    String::from_utf8_lossy(bytes).chars().filter(|c| !c.is_control()).take(chars_max).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_referrer_is_known_by_the_domain_that_somebody_registered() {
        for (sent, domain, kept) in [
            (
                "https://news.example.co.uk/a?b=c#d",
                "example.co.uk",
                "https://news.example.co.uk/a?b=c",
            ),
            ("https://WWW.Example.COM", "example.com", "https://WWW.Example.COM"),
            ("http://t.co/", "t.co", "http://t.co/"),
            ("http://192.0.2.7:8080/x", "192.0.2.7", "http://192.0.2.7:8080/x"),
            ("http://[2001:db8::1]/", "[2001:db8::1]", "http://[2001:db8::1]/"),
            ("http://localhost/x", "localhost", "http://localhost/x"),
            (
                "android-app://com.google.android.gm/",
                "com.google.android.gm",
                "android-app://com.google.android.gm/",
            ),
            ("https://someone.github.io/", "someone.github.io", "https://someone.github.io/"),
            ("no address", "", "no address"),
        ] {
            assert_eq!(referrer(sent.as_bytes()), format!("{domain}\u{1f}{kept}"), "{sent}");
        }
        assert_eq!(referrer(b""), "");
    }

    #[test]
    fn bytes_of_strangers_become_text_that_fits() {
        assert_eq!(referrer(b"a\x1fb\0c\xff"), "\u{1f}abc\u{fffd}");
        let long = referrer(&[b'x'; 70_000]);
        assert_eq!(long.chars().count(), REFERRER_CHARS_MAX + 1);
    }

    #[test]
    fn the_best_liked_language_counts() {
        for (sent, expected) in [
            ("de-DE,de;q=0.9,en;q=0.8", Some("de")),
            ("en;q=0.5, FR-ca", Some("fr")),
            ("*, it;q=0.1", Some("it")),
            ("en;q=0, nl;q=0.001", Some("nl")),
            ("zh-Hant-TW", Some("zh")),
            ("*", None),
            ("", None),
            ("12,x,verylonglanguage", None),
            ("en;q=nonsense, es", Some("es")),
        ] {
            assert_eq!(language(sent.as_bytes()).as_deref(), expected, "{sent}");
        }
        assert_eq!(language(b"\xff"), None);
    }

    #[test]
    fn campaigns_are_read_from_the_query() {
        let found =
            utm(b"a=b&utm_source=news+letter&UTM_Medium=e%2Dmail&utm_source=second&utm_term=");
        assert_eq!(found, "news letter\u{1f}e-mail\u{1f}\u{1f}\u{1f}");
        assert_eq!(utm(b"utm_content=%FF%1F%00x"), "\u{1f}\u{1f}\u{1f}\u{1f}\u{fffd}x");
        assert_eq!(utm(b"source=x&utm_other=y&utm_source"), "");
    }
}
