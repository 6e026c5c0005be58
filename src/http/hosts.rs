//! Which hosts are served. The front service compares bytes; the slow path normalises first.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use actix_web::dev::RequestHead;
use actix_web::http::header;
use url::Url;

use crate::domain::code::DomainId;
use crate::domain::destination::OwnHost;

/// Served hosts and the domain behind each.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    /// As clients usually write them. A handful, compared one after the other.
    exact: Vec<(Box<[u8]>, DomainId)>,
    normal: HashMap<String, DomainId>,
    own: Vec<OwnHost>,
}

impl Hosts {
    /// The host of `public_url`, and the loopback names of every listener that can be reached by
    /// them, all of the default domain.
    pub fn new(public_url: &Url, listeners: &[SocketAddr]) -> Self {
        let mut hosts = Self::default();
        if let Some(host) = public_url.host_str() {
            let host = match public_url.port() {
                Some(port) => format!("{host}:{port}"),
                None => host.to_owned(),
            };
            hosts.add(host);
        }
        for listener in listeners {
            let ip = listener.ip();
            if ip.is_loopback() || ip.is_unspecified() {
                for name in ["127.0.0.1", "localhost", "[::1]"] {
                    hosts.add(format!("{name}:{}", listener.port()));
                    hosts.own.push(OwnHost::at(name, listener.port()));
                }
            }
            if !ip.is_unspecified() {
                hosts.add(listener.to_string());
                hosts.own.push(OwnHost::at(&ip.to_string(), listener.port()));
            }
        }
        if let Some(host) = public_url.host_str() {
            // A machine that is listened on may be home to others, at other ports.
            let shared = hosts.own.iter().any(|own| own.is_called(host.trim_matches(['[', ']'])));
            let port = public_url.port_or_known_default().filter(|_| shared);
            hosts.own.push(port.map_or_else(|| host.into(), |port| OwnHost::at(host, port)));
        }
        hosts
    }

    /// Has every visit take the slow path.
    pub(crate) fn without_hits(self: &Arc<Self>) -> Arc<Self> {
        Arc::new(Self { exact: Vec::new(), ..Self::clone(self) })
    }

    /// The domain of a host written exactly as it is configured.
    pub(crate) fn exact(&self, host: &[u8]) -> Option<DomainId> {
        self.exact.iter().find(|(served, _)| **served == *host).map(|(_, domain)| *domain)
    }

    /// The domain of a host in any spelling: other case, a trailing dot, the default port.
    pub(crate) fn find(&self, host: &[u8]) -> Option<DomainId> {
        let host = std::str::from_utf8(host).ok()?;
        self.normal.get(&normalised(host)).copied()
    }

    /// Where destinations may not lead: the public host at any port, listeners at theirs.
    pub fn names(&self) -> Vec<OwnHost> {
        self.own.clone()
    }

    fn add(&mut self, host: String) {
        let normal = normalised(&host);
        if self.normal.insert(normal, DomainId::DEFAULT).is_none() {
            self.exact.push((host.into_bytes().into(), DomainId::DEFAULT));
        }
    }
}

/// The host a request is for: that of an absolute request target, else the `Host` header.
pub(crate) fn requested_host(head: &RequestHead) -> &[u8] {
    match head.uri.authority() {
        Some(authority) => authority.as_str().as_bytes(),
        None => head.headers.get(header::HOST).map_or(b"", |host| host.as_bytes()),
    }
}

/// The URL to reach a listener by, when the operator did not say.
pub(crate) fn url_of_listener(listener: SocketAddr) -> String {
    let ip = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, listener.port()))
}

/// Lower case, no trailing dot, no port that the scheme implies.
fn normalised(host: &str) -> String {
    let (name, port) = split_port(host);
    let mut normal = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    if let Some(port) = port.filter(|port| !matches!(*port, "" | "80" | "443")) {
        normal.push(':');
        normal.push_str(port);
    }
    normal
}

/// Name (an IPv6 address with its brackets) and port.
fn split_port(host: &str) -> (&str, Option<&str>) {
    let end_of_address = host.rfind(']').map_or(0, |at| at + 1);
    match host[end_of_address..].rfind(':') {
        Some(at) => (&host[..end_of_address + at], Some(&host[end_of_address + at + 1..])),
        None => (host, None),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;
    use crate::domain::destination::{Destination, DestinationError, DestinationPolicy};

    fn hosts(public_url: &str, listeners: &[&str]) -> Hosts {
        let listeners: Vec<SocketAddr> =
            listeners.iter().map(|listener| listener.parse().unwrap()).collect();
        Hosts::new(&Url::parse(public_url).unwrap(), &listeners)
    }

    #[test]
    fn the_public_host_is_found_in_every_spelling() {
        let hosts = hosts("https://Go.Example.com", &["10.0.0.5:8080"]);
        assert_eq!(hosts.exact(b"go.example.com"), Some(DomainId::DEFAULT));
        for host in ["go.example.com", "GO.example.COM", "go.example.com.", "go.example.com:443"] {
            assert_eq!(hosts.find(host.as_bytes()), Some(DomainId::DEFAULT), "{host}");
        }
        for host in
            ["", ".", "example.com", "xgo.example.com", "go.example.com:8443", "go.example.com.."]
        {
            assert_eq!(hosts.find(host.as_bytes()), None, "{host}");
            assert_eq!(hosts.exact(host.as_bytes()), None, "{host}");
        }
        assert_eq!(hosts.find(b"go.example.com\xff"), None);
    }

    #[test]
    fn a_port_in_the_public_url_belongs_to_the_host() {
        let hosts = hosts("http://go.example:8080/", &[]);
        assert!(hosts.exact(b"go.example:8080").is_some());
        assert!(hosts.find(b"GO.example.:8080").is_some());
        assert!(hosts.find(b"go.example").is_none());
    }

    #[test]
    fn a_listener_on_loopback_or_everywhere_answers_to_its_loopback_names() {
        for listener in ["127.0.0.1:8080", "0.0.0.0:8080", "[::]:8080", "[::1]:8080"] {
            let hosts = hosts("https://go.example", &[listener]);
            for name in ["127.0.0.1:8080", "localhost:8080", "[::1]:8080"] {
                assert!(hosts.exact(name.as_bytes()).is_some(), "{listener} as {name}");
            }
            assert!(hosts.find(b"localhost:8081").is_none());
            assert!(hosts.find(b"0.0.0.0:8080").is_none());
        }
        let hosts = hosts("https://go.example", &["10.0.0.5:8080"]);
        assert!(hosts.find(b"localhost:8080").is_none());
        assert!(hosts.find(b"10.0.0.5:8080").is_some());
    }

    #[test]
    fn destinations_may_not_lead_to_the_public_host_nor_to_a_port_that_is_listened_on() {
        let refused = |public_url: &str, listener: &str, url: &str| {
            let own_hosts = hosts(public_url, &[listener]).names();
            let open = DestinationPolicy { allow_private: true, ..DestinationPolicy::default() };
            let policy = DestinationPolicy { own_hosts, ..open };
            Destination::parse(url, &policy) == Err(DestinationError::OwnDomain)
        };
        let public = "https://go.example";
        for url in ["https://go.example/", "http://go.example:3000/", "http://localhost:8080/"] {
            assert!(refused(public, "[::1]:8080", url), "{url}");
        }
        for url in ["http://localhost/", "http://localhost:3000/", "http://[::1]:3000/"] {
            assert!(!refused(public, "0.0.0.0:8080", url), "{url}");
        }
        let derived = "http://127.0.0.1:8080";
        assert!(refused(derived, "127.0.0.1:8080", "http://127.0.0.1:8080/a"));
        assert!(!refused(derived, "127.0.0.1:8080", "http://127.0.0.1:3000/a"));
        assert!(refused("http://10.0.0.5", "10.0.0.5:8080", "http://[::ffff:10.0.0.5]/a"));
        assert!(refused("http://10.0.0.5", "10.0.0.5:8080", "http://10.0.0.5:8080/a"));
        assert!(!refused("http://10.0.0.5", "10.0.0.5:8080", "http://10.0.0.5:3000/a"));
    }

    #[test]
    fn a_listener_on_every_address_is_reached_by_loopback() {
        assert_eq!(url_of_listener("0.0.0.0:80".parse().unwrap()), "http://127.0.0.1:80");
        assert_eq!(url_of_listener("[::]:8080".parse().unwrap()), "http://[::1]:8080");
        assert_eq!(url_of_listener("10.1.1.1:8080".parse().unwrap()), "http://10.1.1.1:8080");
    }
}
