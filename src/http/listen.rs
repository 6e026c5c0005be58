//! Sockets before they are served: addresses as operators write them, taken with their ports.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::net::TcpSocket;
use url::Url;

use crate::domain::problems::Problems;
use crate::http::hosts::{Hosts, url_of_listener};
use crate::http::server::HttpConfig;

/// One or more addresses to listen on; written as a text or a list of texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddresses(Vec<SocketAddr>);

impl From<SocketAddr> for ListenAddresses {
    fn from(address: SocketAddr) -> Self {
        Self(vec![address])
    }
}

impl ListenAddresses {
    /// Adds a line to `problems` when there is nothing to listen on.
    pub(crate) fn check(&self, key: &str, problems: &mut Problems) {
        if self.0.is_empty() {
            problems.add(format!("`{key}` is empty; it must have at least one address"));
        }
    }
}

impl Serialize for ListenAddresses {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => one.serialize(serializer),
            many => many.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for ListenAddresses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum OneOrMany {
            One(String),
            Many(Vec<String>),
        }
        let texts = match OneOrMany::deserialize(deserializer)? {
            OneOrMany::One(text) => vec![text],
            OneOrMany::Many(texts) => texts,
        };
        let parse = |text: &String| {
            text.parse().map_err(|_| {
                serde::de::Error::custom(format_args!(
                    "{text:?} is not an address with a port; write it like 127.0.0.1:8080"
                ))
            })
        };
        texts.iter().map(parse).collect::<Result<_, _>>().map(Self)
    }
}

impl HttpConfig {
    /// What short URLs begin with, and the hosts that are served, as far as the settings tell
    /// without listening. Fails when there is nothing to listen on.
    pub fn site(&self) -> io::Result<(Url, Hosts)> {
        site_at(self, &self.listen.0)
    }
}

fn site_at(config: &HttpConfig, addresses: &[SocketAddr]) -> io::Result<(Url, Hosts)> {
    let public_url = match (&config.public_url, addresses.first()) {
        (Some(url), _) => url.clone(),
        (None, Some(first)) => url_of_listener(*first),
        (None, None) => return Err(io::Error::other("there is no address to listen on")),
    };
    let public_url = parse_public_url(&public_url).map_err(io::Error::other)?;
    let hosts = Hosts::new(&public_url, addresses);
    Ok((public_url, hosts))
}

/// The public sockets, taken but not yet served.
pub struct Listeners {
    pub(super) sockets: Vec<TcpListener>,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) public_url: Url,
    pub(super) hosts: Arc<Hosts>,
}

impl Listeners {
    /// Takes the addresses. Call inside an actix `System`. Fails when one cannot be taken.
    pub fn bind(config: &HttpConfig) -> io::Result<Self> {
        let sockets = bind_all(&config.listen, config.backlog)?;
        let addresses =
            sockets.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
        let (public_url, hosts) = site_at(config, &addresses)?;
        Ok(Self { sockets, addresses, public_url, hosts: Arc::new(hosts) })
    }

    /// Where it will be listened, with the ports that were taken.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What short URLs begin with.
    pub fn public_url(&self) -> &Url {
        &self.public_url
    }

    /// The hosts that are served.
    pub fn hosts(&self) -> &Hosts {
        &self.hosts
    }
}

/// Takes every address. Call inside a runtime with its reactor.
pub(super) fn bind_all(addresses: &ListenAddresses, backlog: u32) -> io::Result<Vec<TcpListener>> {
    addresses.0.iter().map(|address| bind(*address, backlog)).collect()
}

fn bind(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let take = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A restart must not wait for connections of the last run to be forgotten.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(backlog)?.into_std()
    };
    take().map_err(|error| io::Error::new(error.kind(), format!("listen on {address}: {error}")))
}

pub(super) fn parse_public_url(text: &str) -> Result<Url, String> {
    Url::parse(text)
        .ok()
        .filter(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.path() == "/"
                && url.query().is_none()
                && url.fragment().is_none()
                && url.username().is_empty()
                && url.password().is_none()
        })
        .ok_or_else(|| {
            format!(
                "`http.public_url` is {text:?}; it must be an http or https URL with nothing \
                 after the host"
            )
        })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_one_address_or_several() {
        let read = |toml: &str| toml::from_str::<HttpConfig>(toml).map(|config| config.listen.0);
        let written =
            |toml: &str| toml::to_string(&toml::from_str::<HttpConfig>(toml).unwrap()).unwrap();
        assert!(written("listen = '0.0.0.0:80'").contains("listen = \"0.0.0.0:80\""));
        assert!(written("listen = ['0.0.0.0:80', '[::]:80']").contains("listen = ["));
        assert_eq!(read("listen = '0.0.0.0:80'").unwrap().len(), 1);
        assert_eq!(read("listen = ['0.0.0.0:80', '[::]:80']").unwrap().len(), 2);
        let error = read("listen = 'localhost'").unwrap_err().to_string();
        assert!(error.contains("127.0.0.1:8080"), "{error}");
    }

    #[actix_web::test]
    async fn a_free_port_ends_up_in_the_public_url_and_the_hosts() {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0)).into();
        let config = HttpConfig { listen, ..HttpConfig::default() };
        let listeners = Listeners::bind(&config).unwrap();
        let port = listeners.addresses()[0].port();
        assert_ne!(port, 0);
        assert_eq!(listeners.public_url().as_str(), format!("http://127.0.0.1:{port}/"));
        assert!(listeners.hosts().exact(format!("127.0.0.1:{port}").as_bytes()).is_some());
        assert!(listeners.hosts().exact(format!("localhost:{port}").as_bytes()).is_some());
    }

    #[actix_web::test]
    async fn a_taken_address_is_named() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = holder.local_addr().unwrap();
        let config = HttpConfig { listen: address.into(), ..HttpConfig::default() };
        let error = Listeners::bind(&config).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&address.to_string()));
    }
}
