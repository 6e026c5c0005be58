//! Whose request it is: the peer, or whom trusted proxies say it is for.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;

/// Networks whose `Forwarded` and `X-Forwarded-For` headers count.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// The client's address: the right-most hop that is not a trusted proxy. What stands further
    /// left is only what the client says about itself. The arguments are the peer, and the lines of
    /// `Forwarded` and of `X-Forwarded-For`, in the order in which they came.
    pub(crate) fn client<'a>(
        &self,
        peer: Option<SocketAddr>,
        forwarded: impl DoubleEndedIterator<Item = &'a [u8]>,
        x_forwarded_for: impl DoubleEndedIterator<Item = &'a [u8]>,
    ) -> IpAddr {
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip().to_canonical());
        if self.0.is_empty() || !self.trusts(peer) {
            return peer;
        }
        let forwarded = self.walk(peer, forwarded, forwarded_for);
        let x_forwarded = self.walk(peer, x_forwarded_for, address);
        match (forwarded, x_forwarded) {
            // A proxy writes one of the two and may pass the other on as the client sent it: where
            // they differ, one of them is forged, and nobody can tell which.
            (Some(one), Some(other)) if one != other => peer,
            (one, other) => one.or(other).unwrap_or(peer),
        }
    }

    /// Follows the hops from the nearest one while each was told by somebody trusted.
    fn walk<'a>(
        &self,
        peer: IpAddr,
        lines: impl DoubleEndedIterator<Item = &'a [u8]>,
        read: fn(&str) -> Option<IpAddr>,
    ) -> Option<IpAddr> {
        let mut reached = None;
        let hops = lines.rev().flat_map(|line| text(line).rsplit(','));
        for hop in hops {
            if !self.trusts(reached.unwrap_or(peer)) {
                break;
            }
            match read(hop.trim()) {
                Some(address) => reached = Some(address),
                None => return reached.or(Some(peer)),
            }
        }
        reached
    }

    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// A line that is no text tells nothing.
fn text(line: &[u8]) -> &str {
    std::str::from_utf8(line).unwrap_or_default()
}

/// The `for` parameter of one element of `Forwarded` (RFC 7239), if it is an address.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let value = value.trim();
        let value =
            value.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(value);
        if name.trim().eq_ignore_ascii_case("for") { address(value) } else { None }
    })
}

/// An address with or without port, IPv6 with or without brackets.
fn address(text: &str) -> Option<IpAddr> {
    let ip = if let Ok(ip) = text.parse::<IpAddr>() {
        ip
    } else if let Ok(socket) = text.parse::<SocketAddr>() {
        socket.ip()
    } else {
        IpAddr::V6(text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()?)
    };
    Some(ip.to_canonical())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn client(peer: &str, lines: &[(&str, &str)]) -> String {
        let proxies =
            TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        client_by(&proxies, peer, lines)
    }

    fn client_by(proxies: &TrustedProxies, peer: &str, lines: &[(&str, &str)]) -> String {
        let named = |name: &'static str| {
            let of_name = move |line: &&(&str, &str)| line.0 == name;
            lines.iter().filter(of_name).map(|(_, value)| value.as_bytes())
        };
        let peer = Some(peer.parse().unwrap());
        proxies.client(peer, named("forwarded"), named("x-forwarded-for")).to_string()
    }

    #[test]
    fn a_stranger_cannot_speak_for_others() {
        let forged = [("x-forwarded-for", "1.2.3.4"), ("forwarded", "for=1.2.3.4")];
        assert_eq!(client("198.51.100.7:5000", &forged), "198.51.100.7");
        assert_eq!(client_by(&TrustedProxies::default(), "10.0.0.1:1", &forged), "10.0.0.1");
    }

    #[test]
    fn the_right_most_untrusted_hop_is_the_client() {
        for (line, expected) in [
            ("203.0.113.9", "203.0.113.9"),
            ("1.1.1.1, 203.0.113.9", "203.0.113.9"),
            ("1.1.1.1, 203.0.113.9, 10.2.2.2", "203.0.113.9"),
            ("203.0.113.9:4711", "203.0.113.9"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("::ffff:203.0.113.9", "203.0.113.9"),
            ("10.3.3.3", "10.3.3.3"),
            ("", "10.0.0.1"),
            ("unknown", "10.0.0.1"),
            ("1.1.1.1, unknown, 10.2.2.2", "10.2.2.2"),
        ] {
            assert_eq!(client("10.0.0.1:80", &[("x-forwarded-for", line)]), expected, "{line}");
        }
        let two_lines = [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "203.0.113.9")];
        assert_eq!(client("10.0.0.1:80", &two_lines), "203.0.113.9");
    }

    #[test]
    fn forwarded_is_read_by_its_own_grammar() {
        for (line, expected) in [
            ("for=203.0.113.9", "203.0.113.9"),
            ("For=\"[2001:db8::1]:4711\";proto=https", "2001:db8::1"),
            ("proto=https;for=203.0.113.9;by=10.0.0.1", "203.0.113.9"),
            ("for=1.1.1.1, for=203.0.113.9, for=10.2.2.2", "203.0.113.9"),
            ("for=_hidden", "10.0.0.1"),
            ("for=1.1.1.1, for=unknown", "10.0.0.1"),
        ] {
            assert_eq!(
                client("[fd00::5]:80", &[("forwarded", line)]),
                if expected == "10.0.0.1" { "fd00::5" } else { expected },
                "{line}"
            );
        }
    }

    #[test]
    fn headers_that_contradict_each_other_count_for_nothing() {
        let lines = [("x-forwarded-for", "203.0.113.9"), ("forwarded", "for=1.2.3.4")];
        assert_eq!(client("10.0.0.1:80", &lines), "10.0.0.1");
        let lines = [("x-forwarded-for", "203.0.113.9"), ("forwarded", "for=203.0.113.9")];
        assert_eq!(client("10.0.0.1:80", &lines), "203.0.113.9");
    }
}
