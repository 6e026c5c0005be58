//! Destinations: refusals, normal form, the WPT corpus.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod corpus;

use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<Destination, DestinationError> {
    let policy = DestinationPolicy {
        own_hosts: vec!["sho.rt".into(), "xn--bcher-kva.example".into(), "192.0.2.7".into()],
        ..DestinationPolicy::default()
    };
    Destination::parse(text, &policy)
}

fn open_policy() -> DestinationPolicy {
    DestinationPolicy { allow_private: true, ..DestinationPolicy::default() }
}

#[track_caller]
fn assert_refused(error: DestinationError, texts: &[&str]) {
    for text in texts {
        assert_eq!(parse(text), Err(error), "{text:?}");
    }
}

#[test]
fn urls_are_kept_as_the_parser_writes_them() {
    for (text, kept) in [
        ("https://example.com", "https://example.com/"),
        ("HTTP://EXAMPLE.com:80/a/../b", "http://example.com/b"),
        (
            "https://bücher.test/straße?q=ä#ö",
            "https://xn--bcher-kva.test/stra%C3%9Fe?q=%C3%A4#%C3%B6",
        ),
        ("https://example.com/a b?c d#e f", "https://example.com/a%20b?c%20d#e%20f"),
        (
            "https://example.com/{a}|b?c={d}|^e'#{f}",
            "https://example.com/%7Ba%7D|b?c={d}|^e%27#{f}",
        ),
        ("https://example.com:8443/?a=1&a=2#x", "https://example.com:8443/?a=1&a=2#x"),
        ("https://example.com\\a", "https://example.com/a"),
        ("http://[2001:DB8::0:1]/", "http://[2001:db8::1]/"),
    ] {
        assert_eq!(parse(text).map(|url| url.to_string()), Ok(kept.to_owned()), "{text}");
    }
}

#[test]
fn white_space_and_control_characters_are_refused_not_stripped() {
    assert_refused(
        DestinationError::ControlCharacter,
        &[
            " https://example.com/",
            "https://example.com/ ",
            "\thttps://example.com/",
            "https://example.com/\n",
            "ht\ttps://example.com/",
            "https://exam\nple.com/",
            "https://example.com/a\r\nSet-Cookie: b=c",
            "https://example.com/\0",
            "https://example.com/\u{7f}",
            "https://example.com/\u{85}",
            "\u{a0}https://example.com/",
            "https://example.com/\u{2028}",
            "java\nscript:alert(1)",
            "\u{1}javascript:alert(1)",
        ],
    );
}

#[test]
fn only_web_addresses_are_allowed() {
    assert_refused(
        DestinationError::Scheme,
        &[
            "javascript:alert(1)",
            "JavaScript://example.com/%0aalert(1)",
            "data:text/html,<script>alert(1)</script>",
            "vbscript:msgbox(1)",
            "file:///etc/passwd",
            "ftp://example.com/",
            "mailto:a@example.com",
            "ws://example.com/",
            "httpx://example.com/",
            "view-source:https://example.com/",
        ],
    );
}

#[test]
fn what_is_not_an_absolute_url_is_refused() {
    assert_refused(DestinationError::Empty, &[""]);
    assert_refused(
        DestinationError::Malformed,
        &[
            "//example.com/",
            "/a",
            "example.com",
            "a b",
            "?a",
            "#",
            "https://exa mple.com/",
            "https://example.com:99999/",
            "https://example.com:port/",
            "https://[::1/",
            "https://1.2.3.4.5/",
            "https://a%00b/",
            "https:example.com",
            "https:/example.com",
            "https:///example.com",
            "https:\\\\example.com",
            "https://\\example.com",
        ],
    );
    assert_refused(DestinationError::NoHost, &["https://", "http:///", "https://?a", "http://./"]);
}

#[test]
fn user_names_and_passwords_are_refused_even_empty_ones() {
    assert_refused(
        DestinationError::UserInfo,
        &[
            "https://user@example.com/",
            "https://user:secret@example.com/",
            "https://:secret@example.com/",
            "https://@example.com/",
            "https://:@example.com/",
            "https://good.example@evil.example/",
            "https:\\\\good.example@evil.example/",
            "https:good.example@evil.example",
        ],
    );
    assert!(parse("https://example.com/@a?b=@c#@d").is_ok());
    assert!(
        parse("https://example.com\\@evil.example/").is_ok_and(|url| url.host() == "example.com")
    );
}

#[test]
fn own_domains_are_refused_in_every_spelling() {
    assert_refused(
        DestinationError::OwnDomain,
        &[
            "https://sho.rt",
            "http://SHO.RT/abc",
            "https://sho.rt:8443/abc",
            "https://sho.rt./abc",
            "https://sho%2ert/",
            "https://ｓｈｏ.rt/",
            "https://sho。rt/",
            "https://bücher.example/",
            "https://BÜCHER.example./",
            "https://xn--bcher-kva.example/",
            "https://XN--BCHER-KVA.EXAMPLE/",
            "http://192.0.2.7/",
            "http://192.0.2.7:8080/",
            "http://3221225991/",
            "http://0xc0000207/",
            "http://0300.0.2.7/",
            "http://192.0.519/",
            "http://[::ffff:192.0.2.7]/",
        ],
    );
    for text in ["https://a.sho.rt/", "https://sho.rt.example/", "https://xsho.rt/"] {
        assert!(parse(text).is_ok(), "{text}");
    }
}

#[test]
fn private_addresses_are_refused_in_every_notation_unless_allowed() {
    let private = [
        "http://localhost/",
        "http://LOCALHOST:3000/",
        "http://localhost./",
        "http://a.localhost/",
        "http://127.0.0.1/",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://017700000001/",
        "http://127.0.0.1./",
        "http://0/",
        "http://10.0.0.1/",
        "http://192.168.1.1:8080/",
        "http://169.254.169.254/latest/meta-data/",
        "http://100.64.0.1/",
        "http://[::1]/",
        "http://[::]/",
        "http://[fe80::1]/",
        "http://[fd00::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
    ];
    assert_refused(DestinationError::PrivateAddress, &private);
    for text in private {
        assert!(Destination::parse(text, &open_policy()).is_ok(), "{text}");
    }
    for text in ["http://localhost.example/", "http://notlocalhost/", "http://203.0.113.5/"] {
        assert!(parse(text).is_ok(), "{text}");
    }
}

#[test]
fn blocked_hosts_are_refused_in_every_spelling() {
    let mut blocked = BlockedHosts::default();
    for host in ["evil.example", "München.example.", "192.0.2.66", "2001:db8::66"] {
        blocked.add(host).unwrap();
    }
    let policy = DestinationPolicy { blocked: Arc::new(blocked), ..DestinationPolicy::default() };
    for text in [
        "https://evil.example",
        "http://EVIL.Example.",
        "http://evil.example..:8080/a?b#c",
        "https://www.evil.example/",
        "https://a.b.c.evil.example/",
        "https://a..evil.example/",
        "https://evil%2eexample/",
        "https://%65vil.example/",
        "https://evil。example/",
        "https://ｅｖｉｌ.example/",
        "https://evil.example\\@good.example/",
        "https://münchen.example/",
        "https://www.xn--mnchen-3ya.example/",
        "http://192.0.2.66/",
        "http://192.0.2.66.:81/",
        "http://3221226050/",
        "http://0xc0.0.0x242/",
        "http://0300.0.2.66/",
        "http://[::ffff:192.0.2.66]/",
        "http://[2001:DB8:0::0066]:8443/",
    ] {
        assert_eq!(Destination::parse(text, &policy), Err(DestinationError::Blocked), "{text}");
        assert!(parse(text).is_ok(), "{text}");
    }
    for text in [
        "https://notevil.example/",
        "https://evil.example.com/",
        "https://good.example/evil.example?evil.example#evil.example",
        "http://192.0.2.67/",
        "http://66.192.0.2/",
        "http://[2001:db8::67]/",
    ] {
        assert!(Destination::parse(text, &policy).is_ok(), "{text}");
    }
    // What cannot be a destination anyway is called that, not blocked.
    let scheme = Destination::parse("ftp://evil.example/", &policy);
    assert_eq!(scheme, Err(DestinationError::Scheme));
    // A row in the store stays what it is.
    assert!(Destination::from_stored("https://evil.example/").is_ok());
}

#[test]
fn names_that_hide_behind_punycode_are_refused() {
    assert_refused(
        DestinationError::DeceptiveHost,
        &[
            "https://xn--example-.com/",
            "https://xn--sho-.rt/",
            "https://XN--example-.com/",
            "https://xn--.com/",
            "https://a.xn--localhost-.b/",
        ],
    );
    assert!(parse("https://xn--mnchen-3ya.example/").is_ok());
}

#[test]
fn lengths_are_bounded_before_and_after_normalisation() {
    let prefix = "https://example.com/";
    let fitting = format!("{prefix}{}", "a".repeat(DESTINATION_BYTES_MAX - prefix.len()));
    assert!(parse(&fitting).is_ok());
    assert_eq!(parse(&format!("{fitting}a")), Err(DestinationError::TooLong));
    let growing = format!("{prefix}{}", "ä".repeat(3_000));
    assert_eq!(parse(&growing), Err(DestinationError::TooLong));
}

#[test]
fn the_host_is_found_in_whatever_a_store_kept() {
    for (text, host) in [
        ("https://example.com/", "example.com"),
        ("https://example.com:8443/a:b@c", "example.com"),
        ("https://example.com./", "example.com"),
        ("https://[2001:db8::1]:80/", "2001:db8::1"),
        ("http://example.com?a@b", "example.com"),
        ("http://example.com#a@b", "example.com"),
        ("http://user:secret@Sho.rt/", "Sho.rt"),
        ("http://sho.rt\\@example.com/", "sho.rt"),
        ("http://", ""),
        ("http://[", ""),
    ] {
        assert_eq!(Destination::from_stored(text).unwrap().host(), host, "{text}");
    }
    let policy =
        DestinationPolicy { own_hosts: vec!["sho.rt".into()], ..DestinationPolicy::default() };
    assert!(Destination::from_stored("http://user:secret@Sho.rt/").unwrap().is_own(&policy));
    assert!(!Destination::from_stored("http://example.com/sho.rt").unwrap().is_own(&policy));
}

#[test]
fn a_row_planted_in_the_store_is_checked_again() {
    for (text, error) in [
        ("", DestinationError::Empty),
        ("javascript:alert(1)", DestinationError::Scheme),
        ("//example.com", DestinationError::Scheme),
        ("https://example.com/\r\nX: y", DestinationError::ControlCharacter),
        ("https://example.com/ä", DestinationError::ControlCharacter),
        ("https://example.com/a b", DestinationError::ControlCharacter),
    ] {
        assert_eq!(Destination::from_stored(text), Err(error), "{text}");
    }
}

/// Texts that look enough like URLs to get past the first checks.
fn urlish() -> impl Strategy<Value = String> {
    let scheme = prop_oneof![Just("http"), Just("https"), Just("HTTPS"), Just("ftp"), Just("")];
    let slashes = prop_oneof![Just("://"), Just(":"), Just(":\\\\"), Just(":///")];
    let host = prop_oneof![
        "[a-zA-Z0-9.-]{1,20}",
        "[a-z]{1,5}\\.\\PC{1,4}",
        "xn--[a-z0-9-]{1,10}",
        "[0-9]{1,3}(\\.[0-9a-fx]{1,4}){0,4}",
        "\\[[0-9a-f:.]{2,20}\\]",
    ];
    (scheme, slashes, host, "(:[0-9]{0,6})?", "([/?#\\\\]\\PC{0,30}){0,3}").prop_map(
        |(scheme, slashes, host, port, rest)| format!("{scheme}{slashes}{host}{port}{rest}"),
    )
}

fn check_properties(text: &str) -> Result<(), TestCaseError> {
    let policy = open_policy();
    let Ok(url) = Destination::parse(text, &policy) else { return Ok(()) };
    prop_assert!(url.as_str().bytes().all(|byte| (0x21..=0x7E).contains(&byte)));
    prop_assert!(url.as_str().starts_with("http://") || url.as_str().starts_with("https://"));
    prop_assert!(url.as_str().len() <= DESTINATION_BYTES_MAX);
    let again = Destination::parse(url.as_str(), &policy);
    prop_assert_eq!(again.as_ref(), Ok(&url));
    let stored = Destination::from_stored(url.as_str());
    prop_assert_eq!(stored.as_ref(), Ok(&url));

    let parsed = Url::parse(text).unwrap();
    let host = parsed.host_str().unwrap().trim_matches(['[', ']']).trim_end_matches('.');
    prop_assert_eq!(url.host(), host);
    prop_assert_eq!(url.as_str(), parsed.as_str());
    prop_assert!(parsed.username().is_empty() && parsed.password().is_none());

    let own = DestinationPolicy { own_hosts: vec![host.into()], ..open_policy() };
    prop_assert_eq!(Destination::parse(text, &own), Err(DestinationError::OwnDomain));
    prop_assert!(url.is_own(&own));

    let mut blocked = BlockedHosts::default();
    if blocked.add(host).is_ok() {
        let policy = DestinationPolicy { blocked: Arc::new(blocked), ..open_policy() };
        prop_assert_eq!(Destination::parse(text, &policy), Err(DestinationError::Blocked));
    }
    Ok(())
}

proptest! {
    #[test]
    fn an_accepted_url_is_stable_printable_and_names_its_host(text in urlish()) {
        check_properties(&text)?;
    }

    #[test]
    fn any_text_is_judged_without_panic(text: String) {
        check_properties(&text)?;
    }
}
