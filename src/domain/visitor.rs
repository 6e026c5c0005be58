//! Visitors as numbers: a keyed hash of address and user agent, with a key that lives a day.
//!
//! SipHash-2-4 (Aumasson and Bernstein, 2012) is a pseudo-random function: without the key nobody
//! can tell whether a number belongs to an address, and the key is destroyed when its day is over.

use std::hash::Hasher as _;
use std::net::IpAddr;

use siphasher::sip::SipHasher24;

/// Key of one UTC day.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VisitorKey([u8; Self::BYTES]);

impl VisitorKey {
    pub const BYTES: usize = 16;

    pub const fn new(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    pub const fn bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// The number of a visitor, never zero. `agent` is a digest of the user agent.
    pub fn visitor(&self, address: IpAddr, agent: u64) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        match address {
            IpAddr::V4(v4) => hasher.write(&v4.octets()),
            IpAddr::V6(v6) => hasher.write(&v6.octets()),
        }
        hasher.write_u64(agent);
        hasher.finish().max(1)
    }
}

impl std::fmt::Debug for VisitorKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("VisitorKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn a_visitor_is_another_number_under_another_key() {
        let (today, tomorrow) = (VisitorKey::new([1; 16]), VisitorKey::new([2; 16]));
        let address = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(today.visitor(address, 7), today.visitor(address, 7));
        assert_ne!(today.visitor(address, 7), tomorrow.visitor(address, 7));
        assert_ne!(today.visitor(address, 7), today.visitor(address, 8));
        assert_ne!(today.visitor(address, 7), today.visitor(IpAddr::V6(Ipv6Addr::LOCALHOST), 7));
        assert_eq!(format!("{today:?}"), "VisitorKey(..)");
    }
}
