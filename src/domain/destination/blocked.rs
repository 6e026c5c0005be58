//! Hosts that the operator lets no link lead to, each with everything below it.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv6Addr};

use url::Host;

use super::address;

/// Longest name in a list, in bytes, which is the longest that DNS has.
const NAME_BYTES_MAX: usize = 253;
/// Longest entry that is read at all. No letter of an international name takes more bytes in UTF-8
/// than four times what it takes in ASCII.
const ENTRY_BYTES_MAX: usize = 4 * NAME_BYTES_MAX;
/// Characters of a bad entry that are shown.
const SHOWN_CHARS_MAX: usize = 64;

/// A set of hosts. A question costs one look-up per label of a name, however many hosts there are.
#[derive(Clone, Debug, Default)]
pub struct BlockedHosts {
    /// ASCII, lower case, without trailing dot.
    names: HashSet<Box<str>>,
    addresses: HashSet<IpAddr>,
}

/// An entry that is not one host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{shown:?} {fault}")]
pub struct BadHost {
    /// The entry, or its beginning.
    pub shown: String,
    pub fault: HostFault,
}

/// What is wrong with an entry; reads on after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostFault {
    #[error("is empty")]
    Empty,
    #[error("is too long for a host; a name has at most {NAME_BYTES_MAX} bytes")]
    TooLong,
    #[error("is more than a host; leave out scheme, user name, port and path")]
    NotAlone,
    #[error("has a wildcard; a name blocks everything below it without one")]
    Wildcard,
    #[error("is neither a host name nor an address")]
    Malformed,
}

impl BlockedHosts {
    /// Takes a host name, also an international one, or an address, as browsers read them.
    pub fn add(&mut self, entry: &str) -> Result<(), BadHost> {
        let shown = || entry.chars().take(SHOWN_CHARS_MAX).collect();
        match read(entry).map_err(|fault| BadHost { shown: shown(), fault })? {
            Host::Domain(name) => self.names.insert(name.into()),
            Host::Ipv4(address) => self.addresses.insert(address.into()),
            Host::Ipv6(address) => self.addresses.insert(address::unwrapped(address.into())),
        };
        Ok(())
    }

    /// Whether links may not lead to the host called `name`, as a parsed URL has it but without
    /// trailing dot, or to `address` if the host is one.
    pub(super) fn blocks(&self, name: &str, address: Option<IpAddr>) -> bool {
        match address {
            Some(address) => self.addresses.contains(&address::unwrapped(address)),
            None => with_parents(name).any(|name| self.names.contains(name)),
        }
    }
}

/// The name and all that it is below, as far as they can be in a list: what is made of thousands of
/// labels costs no more than what is not.
fn with_parents(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |name| Some(name.split_once('.')?.1))
        .skip_while(|name| name.len() > NAME_BYTES_MAX)
}

fn read(entry: &str) -> Result<Host, HostFault> {
    if entry.trim().is_empty() {
        return Err(HostFault::Empty);
    }
    if entry.len() > ENTRY_BYTES_MAX {
        return Err(HostFault::TooLong);
    }
    let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(entry);
    if let Ok(address) = bare.parse::<Ipv6Addr>() {
        return Ok(Host::Ipv6(address));
    }
    if entry.contains(['/', '\\', ':', '@', '?', '#']) {
        return Err(HostFault::NotAlone);
    }
    // The parser would decode it.
    if entry.contains('%') {
        return Err(HostFault::Malformed);
    }
    let name = match Host::parse(entry) {
        Ok(Host::Domain(name)) => name,
        Ok(address) => return Ok(address),
        Err(_) => return Err(HostFault::Malformed),
    };
    let name = name.strip_suffix('.').unwrap_or(&name);
    if name.contains('*') {
        return Err(HostFault::Wildcard);
    }
    if name.split('.').any(str::is_empty) {
        return Err(HostFault::Malformed);
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(HostFault::TooLong);
    }
    Ok(Host::Domain(name.to_owned()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn of(entries: &[&str]) -> BlockedHosts {
        let mut hosts = BlockedHosts::default();
        for entry in entries {
            hosts.add(entry).unwrap();
        }
        hosts
    }

    fn blocks(hosts: &BlockedHosts, host: &str) -> bool {
        match Host::parse(host).unwrap() {
            Host::Domain(name) => hosts.blocks(&name, None),
            Host::Ipv4(address) => hosts.blocks(host, Some(address.into())),
            Host::Ipv6(address) => hosts.blocks(host, Some(address.into())),
        }
    }

    #[test]
    fn a_name_blocks_itself_and_what_is_below_it() {
        let hosts = of(&["evil.example", "a.b.test", "zip"]);
        for host in [
            "evil.example",
            "www.evil.example",
            "a.b.c.evil.example",
            "a.b.test",
            "some.zip",
            "zip",
        ] {
            assert!(blocks(&hosts, host), "{host}");
        }
        for host in [
            "notevil.example",
            "evil-example",
            "example",
            "evil.example.com",
            "evil",
            "b.test",
            "xa.b.test",
            "gzip",
            "zip.test",
        ] {
            assert!(!blocks(&hosts, host), "{host}");
        }
        assert!(!blocks(&BlockedHosts::default(), "evil.example"));
    }

    #[test]
    fn entries_are_compared_in_the_form_that_urls_have() {
        let spellings =
            ["bücher.example", "BÜCHER.Example", "xn--bcher-kva.example", "XN--BCHER-KVA.example."];
        for entry in spellings.into_iter().chain(["bu\u{308}cher。example。", "ｂücher.example"])
        {
            let hosts = of(&[entry]);
            assert!(blocks(&hosts, "xn--bcher-kva.example"), "{entry}");
            assert!(blocks(&hosts, "www.xn--bcher-kva.example"), "{entry}");
            assert!(!blocks(&hosts, "bcher.example"), "{entry}");
        }
    }

    #[test]
    fn addresses_are_compared_as_addresses() {
        for entry in ["192.0.2.7", "192.0.2.7.", "0xc0000207", "3221225991", "::ffff:c000:207"] {
            let hosts = of(&[entry]);
            for host in ["192.0.2.7", "0300.0.2.7", "[::ffff:192.0.2.7]", "[64:ff9b::c000:207]"] {
                assert!(blocks(&hosts, host), "{entry}, {host}");
            }
            assert!(!blocks(&hosts, "192.0.2.8"), "{entry}");
        }
        for entry in ["2001:db8::1", "[2001:DB8:0:0::1]"] {
            let hosts = of(&[entry]);
            assert!(blocks(&hosts, "[2001:db8::1]"), "{entry}");
            assert!(!blocks(&hosts, "[2001:db8::2]"), "{entry}");
        }
        // No address is below another, and none is a name.
        assert!(!blocks(&of(&["2.7"]), "192.0.2.7"));
    }

    #[test]
    fn what_is_not_one_host_is_refused() {
        let label = "a".repeat(63);
        let long = [label.as_str(); 4].join(".");
        let endless = "ä".repeat(ENTRY_BYTES_MAX);
        for (entry, fault) in [
            ("", HostFault::Empty),
            (" ", HostFault::Empty),
            ("https://evil.example", HostFault::NotAlone),
            ("//evil.example", HostFault::NotAlone),
            ("evil.example/", HostFault::NotAlone),
            ("evil.example/path", HostFault::NotAlone),
            ("evil.example:443", HostFault::NotAlone),
            ("192.0.2.7:80", HostFault::NotAlone),
            ("[2001:db8::1]:80", HostFault::NotAlone),
            ("192.0.2.0/24", HostFault::NotAlone),
            ("user@evil.example", HostFault::NotAlone),
            ("evil.example?a", HostFault::NotAlone),
            ("evil.example#a", HostFault::NotAlone),
            ("*.evil.example", HostFault::Wildcard),
            ("*", HostFault::Wildcard),
            ("ev*l.example", HostFault::Wildcard),
            ("＊.evil.example", HostFault::Wildcard),
            (".", HostFault::Malformed),
            (".evil.example", HostFault::Malformed),
            ("evil..example", HostFault::Malformed),
            ("evil.example..", HostFault::Malformed),
            (" evil.example", HostFault::Malformed),
            ("evil example", HostFault::Malformed),
            ("evil%2eexample", HostFault::Malformed),
            ("evil.example\0", HostFault::Malformed),
            ("xn--evil-.example", HostFault::Malformed),
            ("1.2.3.4.5", HostFault::Malformed),
            ("192.0.2.256", HostFault::Malformed),
            ("[192.0.2.7]", HostFault::Malformed),
            ("[2001:db8::1", HostFault::NotAlone),
            (long.as_str(), HostFault::TooLong),
            (endless.as_str(), HostFault::TooLong),
        ] {
            let bad = BlockedHosts::default().add(entry).unwrap_err();
            assert_eq!(bad.fault, fault, "{entry:?}");
            assert!(entry.starts_with(&bad.shown), "{entry:?}");
        }
        let bad = BlockedHosts::default().add("a\r\nb").unwrap_err();
        assert_eq!(bad.to_string(), r#""a\r\nb" is neither a host name nor an address"#);
        assert!(of(&[&long[1..][..253]]).blocks(&long[1..][..253], None));
    }

    #[test]
    fn a_name_of_thousands_of_labels_is_looked_up_like_any_other() {
        let hosts = of(&["evil.example"]);
        let long = "a.".repeat(4_000);
        assert!(hosts.blocks(&format!("{long}evil.example"), None));
        assert!(!hosts.blocks(&format!("{long}notevil.example"), None));
        assert!(with_parents(&format!("{long}evil.example")).count() <= NAME_BYTES_MAX.div_ceil(2));
    }
}
