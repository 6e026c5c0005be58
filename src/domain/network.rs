//! The network that a client is taken for: whoever has one address of it can have the others.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The /24 of an IPv4 address, the /64 of an IPv6 one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientNetwork([u8; 9]);

impl ClientNetwork {
    /// The network of `address`; an IPv4 address in IPv6 clothes is the IPv4 address.
    pub fn of(address: IpAddr) -> Self {
        let mut bytes = [0; 9];
        match address.to_canonical() {
            IpAddr::V4(address) => {
                bytes[0] = 4;
                bytes[1..4].copy_from_slice(&address.octets()[..3]);
            }
            IpAddr::V6(address) => {
                bytes[0] = 6;
                bytes[1..].copy_from_slice(&address.octets()[..8]);
            }
        }
        Self(bytes)
    }

    /// The same network has the same bytes, and no other has them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Back from [`Self::as_bytes`]; nothing else is a network.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: [u8; 9] = bytes.try_into().ok()?;
        match bytes {
            [4, _, _, _, 0, 0, 0, 0, 0] | [6, ..] => Some(Self(bytes)),
            _ => None,
        }
    }
}

/// Its first address and how many bits tell it from others: `203.0.113.0/24`.
impl fmt::Display for ClientNetwork {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [kind, a, b, c, ..] = self.0;
        if kind == 4 {
            return write!(out, "{}/24", Ipv4Addr::new(a, b, c, 0));
        }
        let mut octets = [0; 16];
        octets[..8].copy_from_slice(&self.0[1..]);
        write!(out, "{}/64", Ipv6Addr::from(octets))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn network(text: &str) -> ClientNetwork {
        ClientNetwork::of(text.parse().unwrap())
    }

    #[test]
    fn neighbours_are_one_client_and_others_are_not() {
        for (one, other, same) in [
            ("203.0.113.1", "203.0.113.254", true),
            ("203.0.113.1", "203.0.112.1", false),
            ("203.0.113.1", "::ffff:203.0.113.9", true),
            ("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", true),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
            ("0.0.0.0", "::", false),
            ("4.0.0.0", "400::", false),
        ] {
            assert_eq!(network(one) == network(other), same, "{one} and {other}");
        }
    }

    #[test]
    fn a_network_is_written_as_people_write_it_and_comes_back_from_its_bytes() {
        for (address, text) in
            [("203.0.113.77", "203.0.113.0/24"), ("2001:db8:0:1::1", "2001:db8:0:1::/64")]
        {
            let network = network(address);
            assert_eq!(network.to_string(), text);
            assert_eq!(ClientNetwork::from_bytes(network.as_bytes()), Some(network));
        }
        for bytes in [&[4, 1, 2, 3][..], &[5, 1, 2, 3, 4, 5, 6, 7, 8], &[4, 1, 2, 3, 4, 0, 0, 0, 0]]
        {
            assert_eq!(ClientNetwork::from_bytes(bytes), None);
        }
    }
}
