//! Whatever somebody calls a URL, and whatever a visitor appends to one: no panic, no way past the
//! rules, and what comes out stays as it is.

#![no_main]

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use shunt::domain::destination::{BlockedHosts, Destination, DestinationError, DestinationPolicy};
use shunt::domain::limits::DESTINATION_BYTES_MAX;
use shunt::domain::query::{has_parameter, merge_query};
use url::{Host, Url};

const STRIPPED: &str = "shunt-no-track";

static POLICY: LazyLock<DestinationPolicy> = LazyLock::new(|| DestinationPolicy {
    own_hosts: vec!["sho.rt".into(), "192.0.2.7".into()],
    allow_private: false,
    blocked: Arc::new(blocked()),
});

static OPEN_POLICY: LazyLock<DestinationPolicy> =
    LazyLock::new(|| DestinationPolicy { allow_private: true, ..DestinationPolicy::default() });

fn blocked() -> BlockedHosts {
    let mut hosts = BlockedHosts::default();
    for host in ["evil.example", "xn--bcher-kva.example", "192.0.2.66", "2001:db8::66"] {
        hosts.add(host).expect("it is a host");
    }
    hosts
}

// A URL, and after a zero byte what a visitor brings as query.
fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (url, query) = text.split_once('\u{0}').unwrap_or((text, text));
    let parsed = Destination::parse(url, &POLICY);
    let location = match &parsed {
        Ok(destination) => {
            check_accepted(url, destination);
            destination.as_str()
        }
        Err(error) => {
            check_refused(url, *error);
            "https://example.com/?a=1&b=2#c"
        }
    };
    if let Ok(stored) = Destination::from_stored(url) {
        assert_eq!(stored.as_str(), url);
        let _ = stored.host();
        let _ = stored.is_own(&POLICY);
    }
    check_merging(location, query);
    let _ = BlockedHosts::default().add(url);
});

fn check_accepted(text: &str, destination: &Destination) {
    let kept = destination.as_str();
    assert!(is_printable(kept) && kept.len() <= DESTINATION_BYTES_MAX);
    assert!(kept.starts_with("http://") || kept.starts_with("https://"));
    assert_eq!(Destination::parse(kept, &POLICY).as_ref(), Ok(destination));
    assert_eq!(Destination::from_stored(kept).as_ref(), Ok(destination));
    let reference = Url::parse(text).expect("what is accepted is a URL");
    assert_eq!(reference.as_str(), kept);
    assert!(reference.username().is_empty() && reference.password().is_none());
    assert!(!destination.is_own(&POLICY));
    let host = match reference.host().expect("what is accepted has a host") {
        Host::Domain(name) => {
            assert!(name != "localhost" && !name.ends_with(".localhost"));
            name.trim_end_matches('.').to_owned()
        }
        Host::Ipv4(address) => {
            assert!(!address.is_loopback() && !address.is_private() && !address.is_link_local());
            address.to_string()
        }
        Host::Ipv6(address) => {
            assert!(!address.is_loopback() && !address.is_unspecified());
            assert!(!address.is_unique_local() && !address.is_unicast_link_local());
            address.to_string()
        }
    };
    assert!(host != "evil.example" && !host.ends_with(".evil.example"));
    // Whatever is taken for a host in a list of them blocks itself. A name such as `0x1..`, without
    // its dots, is taken for an address.
    let is_address =
        |host: &str| Host::parse(host).is_ok_and(|host| !matches!(host, Host::Domain(_)));
    let mut itself = BlockedHosts::default();
    let stays = is_address(&host) == matches!(reference.host(), Some(Host::Ipv4(_)));
    if stays && itself.add(&host).is_ok() {
        let policy =
            DestinationPolicy { blocked: Arc::new(itself), ..DestinationPolicy::default() };
        assert_eq!(Destination::parse(text, &policy), Err(DestinationError::Blocked));
    }
    match host.parse::<IpAddr>() {
        Ok(address) => assert_eq!(destination.host().parse(), Ok(address)),
        Err(_) => assert_eq!(destination.host(), host),
    }
}

/// Whoever loosens the policy gets through what only the policy refused, and nothing else.
fn check_refused(text: &str, error: DestinationError) {
    let open = Destination::parse(text, &OPEN_POLICY);
    match error {
        DestinationError::OwnDomain
        | DestinationError::PrivateAddress
        | DestinationError::Blocked => {
            // Its normal form may still be too long.
            assert!(open.is_ok() || open == Err(DestinationError::TooLong));
        }
        _ => assert_eq!(open, Err(error)),
    }
}

fn check_merging(location: &str, query: &str) {
    let merged = merge_query(location, query, STRIPPED);
    assert!(is_printable(&merged));
    assert!(merged.len() <= location.len() + 3 * query.len() + 1);
    let fragment = |text: &str| text.split_once('#').map(|(_, fragment)| fragment.to_owned());
    assert_eq!(fragment(&merged), fragment(location));
    let base = |text: &str| text.split(['?', '#']).next().map(str::to_owned);
    assert_eq!(base(&merged), base(location));
    // Every parameter overrides itself, so merging again adds and loses nothing. It may bring
    // together what has one name, and after that it changes nothing.
    if !has_parameter(query, STRIPPED) {
        let again = merge_query(&merged, query, STRIPPED);
        assert_eq!(parameters(&again), parameters(&merged));
        assert_eq!(merge_query(&again, query, STRIPPED), again);
    }
}

fn parameters(text: &str) -> Vec<&str> {
    let before_fragment = text.split('#').next().unwrap_or_default();
    let query = before_fragment.split_once('?').map_or("", |(_, query)| query);
    let mut parameters: Vec<_> = query.split('&').collect();
    parameters.sort_unstable();
    parameters
}

fn is_printable(text: &str) -> bool {
    text.bytes().all(|byte| (0x21..=0x7E).contains(&byte))
}
