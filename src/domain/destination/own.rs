//! Hosts that this installation answers on: a link that leads there would lead in circles.

use std::net::IpAddr;

use super::address;

/// A host that is served here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnHost {
    /// Without brackets and trailing dot.
    name: Box<str>,
    /// What the name says if it is an address.
    address: Option<IpAddr>,
    /// `None`: whatever the port. A domain is one site, an address may be home to others.
    port: Option<u16>,
}

impl OwnHost {
    /// A host that is all ours.
    pub fn new(host: &str) -> Self {
        Self::with(host, None)
    }

    /// A host that is ours at one port.
    pub fn at(host: &str, port: u16) -> Self {
        Self::with(host, Some(port))
    }

    fn with(host: &str, port: Option<u16>) -> Self {
        let name = host.trim_matches(['[', ']']).trim_end_matches('.');
        Self { name: name.into(), address: address::of_host(name), port }
    }

    /// Whether this is the host called `name`, at any port.
    pub fn is_called(&self, name: &str) -> bool {
        self.is(name, address::of_host(name))
    }

    fn is(&self, name: &str, address: Option<IpAddr>) -> bool {
        match (self.address, address) {
            (None, None) => self.name.eq_ignore_ascii_case(name),
            (ours, theirs) => ours == theirs,
        }
    }
}

impl From<&str> for OwnHost {
    fn from(host: &str) -> Self {
        Self::new(host)
    }
}

/// Whether one of `own` is the host called `name`, without brackets and trailing dot, at `port`.
/// Addresses are compared as addresses, however they are spelled or wrapped.
pub(super) fn is_own(own: &[OwnHost], name: &str, port: u16) -> bool {
    let address = address::of_host(name);
    own.iter().any(|own| own.port.is_none_or(|ours| ours == port) && own.is(name, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_the_same_in_every_spelling() {
        let own = [OwnHost::new("10.0.0.5"), OwnHost::new("[2001:db8::5]"), "sho.rt.".into()];
        for name in ["10.0.0.5", "0xa.5", "167772165", "::ffff:a00:5", "::FFFF:10.0.0.5"] {
            assert!(is_own(&own, name, 80), "{name}");
        }
        for name in ["2001:DB8:0:0::5", "sho.rt", "SHO.rt"] {
            assert!(is_own(&own, name, 80), "{name}");
        }
        for name in ["", "10.0.0.6", "10.0.0.5.example", "::5", "xsho.rt", "5"] {
            assert!(!is_own(&own, name, 80), "{name}");
        }
    }

    #[test]
    fn a_host_may_be_ours_at_one_port_only() {
        let own = [OwnHost::at("localhost", 8_080)];
        assert!(is_own(&own, "LocalHost", 8_080));
        assert!(!is_own(&own, "localhost", 3_000));
        assert!(own[0].is_called("localhost"));
    }
}
