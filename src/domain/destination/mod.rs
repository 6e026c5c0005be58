//! Where a link leads: parsed once by the WHATWG parser, kept as that parser writes it.

mod address;
mod blocked;
mod own;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use url::{Host, Url};

pub use blocked::{BadHost, BlockedHosts, HostFault};
pub use own::OwnHost;

use crate::domain::limits::DESTINATION_BYTES_MAX;

/// A validated absolute http or https URL, normalised, printable ASCII only (0x21 to 0x7E).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Destination(Box<str>);

/// Why a URL cannot be a destination. `Blocked` is `destination_blocked` to a client, every other
/// kind `invalid_url`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    #[error("the URL is empty")]
    Empty,
    #[error("the URL is longer than {DESTINATION_BYTES_MAX} bytes")]
    TooLong,
    #[error("the URL contains control characters or surrounding spaces")]
    ControlCharacter,
    #[error("this is not an absolute URL")]
    Malformed,
    #[error("only http and https URLs are allowed")]
    Scheme,
    #[error("the URL must not carry a user name or a password")]
    UserInfo,
    #[error("the URL has no host")]
    NoHost,
    #[error("the host name is deceptive")]
    DeceptiveHost,
    #[error("the URL leads back to a domain that this service answers on")]
    OwnDomain,
    #[error("the URL leads to a private or local address")]
    PrivateAddress,
    #[error("the operator of this service does not allow links to this host")]
    Blocked,
}

/// What an installation allows beyond the fixed rules.
#[derive(Clone, Debug, Default)]
pub struct DestinationPolicy {
    /// Hosts served here: refused, they would loop.
    pub own_hosts: Vec<OwnHost>,
    /// Lets private addresses, `localhost` and `*.localhost` through.
    pub allow_private: bool,
    /// Hosts that the operator lets no link lead to. Links that are there already stay.
    pub blocked: Arc<BlockedHosts>,
}

impl Destination {
    /// Parses what a caller sent. White space is not stripped and slashes are not guessed: what
    /// means one thing here and another beside a base URL is refused. Kinds: all of
    /// [`DestinationError`].
    pub fn parse(text: &str, policy: &DestinationPolicy) -> Result<Self, DestinationError> {
        if text.is_empty() {
            return Err(DestinationError::Empty);
        }
        if text.len() > DESTINATION_BYTES_MAX {
            return Err(DestinationError::TooLong);
        }
        let padded = text.starts_with(char::is_whitespace) || text.ends_with(char::is_whitespace);
        if padded || text.contains(char::is_control) {
            return Err(DestinationError::ControlCharacter);
        }
        let url = Url::parse(text).map_err(|error| refusal(text, error))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(DestinationError::Scheme);
        }
        // The parser drops an empty `@`; a reader would still take what stands before it as host.
        if typed_authority(text).contains('@') {
            return Err(DestinationError::UserInfo);
        }
        // `https:example.com` is relative where the page is https too, `https:///a` is a slip.
        let after_scheme = &text[url.scheme().len()..];
        if !after_scheme.starts_with("://") || after_scheme[3..].starts_with(['/', '\\']) {
            return Err(DestinationError::Malformed);
        }
        check_host(&url, policy)?;
        // Checks length and bytes of what the parser made of it.
        Self::from_stored(url.as_str())
    }

    /// Takes text that a store kept. Checks scheme, bytes and length again, nothing else: policy
    /// may have changed since. Kinds: `Scheme`, `ControlCharacter`, `TooLong`, `Empty`.
    pub fn from_stored(text: &str) -> Result<Self, DestinationError> {
        if text.is_empty() {
            return Err(DestinationError::Empty);
        }
        if text.len() > DESTINATION_BYTES_MAX {
            return Err(DestinationError::TooLong);
        }
        if !(text.starts_with("https://") || text.starts_with("http://")) {
            return Err(DestinationError::Scheme);
        }
        if !text.bytes().all(|byte| (0x21..=0x7E).contains(&byte)) {
            return Err(DestinationError::ControlCharacter);
        }
        Ok(Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Host without port, brackets and trailing dot. Lower case when it came through
    /// [`parse`](Self::parse); what a store kept is not changed, so compare it ignoring case.
    pub fn host(&self) -> &str {
        self.host_and_port().0
    }

    /// True when it leads to a host that this installation serves, which would be a loop.
    pub fn is_own(&self, policy: &DestinationPolicy) -> bool {
        let (host, port) = self.host_and_port();
        own::is_own(&policy.own_hosts, host, port)
    }

    /// The port is that of the scheme where none is written.
    fn host_and_port(&self) -> (&str, u16) {
        let authority = typed_authority(&self.0);
        let after_user = authority.rsplit_once('@').map_or(authority, |(_, rest)| rest);
        let (host, rest) = match after_user.strip_prefix('[') {
            Some(literal) => literal.split_once(']').unwrap_or((literal, "")),
            None => after_user.split_at(after_user.find(':').unwrap_or(after_user.len())),
        };
        let default = if self.0.starts_with("https:") { 443 } else { 80 };
        let port = rest.strip_prefix(':').and_then(|port| port.parse().ok()).unwrap_or(default);
        (host.trim_end_matches('.'), port)
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Destination({})", self.0)
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// What stands between the slashes and the path, as browsers see it: slashes may lean either way.
fn typed_authority(text: &str) -> &str {
    let after_scheme = text.split_once(':').map_or("", |(_, rest)| rest);
    let authority = after_scheme.trim_start_matches(['/', '\\']);
    authority.split(['/', '\\', '?', '#']).next().unwrap_or_default()
}

fn refusal(text: &str, error: url::ParseError) -> DestinationError {
    let punycode = || typed_authority(text).to_ascii_lowercase().contains("xn--");
    match error {
        url::ParseError::EmptyHost => DestinationError::NoHost,
        // A label that claims to be international and is not, or decodes to what it may not.
        url::ParseError::IdnaError if punycode() => DestinationError::DeceptiveHost,
        _ => DestinationError::Malformed,
    }
}

fn check_host(url: &Url, policy: &DestinationPolicy) -> Result<(), DestinationError> {
    let (name, address) = match url.host() {
        Some(Host::Domain(domain)) => (domain.trim_end_matches('.').to_owned(), None),
        Some(Host::Ipv4(address)) => (address.to_string(), Some(IpAddr::V4(address))),
        Some(Host::Ipv6(address)) => (address.to_string(), Some(IpAddr::V6(address))),
        None => return Err(DestinationError::NoHost),
    };
    if name.is_empty() {
        return Err(DestinationError::NoHost);
    }
    if name.split('.').any(is_deceptive) {
        return Err(DestinationError::DeceptiveHost);
    }
    let port = url.port_or_known_default().unwrap_or_default();
    if own::is_own(&policy.own_hosts, &name, port) {
        return Err(DestinationError::OwnDomain);
    }
    let is_local_name = name == "localhost" || name.ends_with(".localhost");
    if !policy.allow_private && (is_local_name || address.is_some_and(address::is_private)) {
        return Err(DestinationError::PrivateAddress);
    }
    if policy.blocked.blocks(&name, address) {
        return Err(DestinationError::Blocked);
    }
    Ok(())
}

/// A punycode label that decodes to plain ASCII shows one name and asks for another. The parser
/// refuses it since `idna` 1.0 (RUSTSEC-2024-0421); this holds the line if it ever does not.
fn is_deceptive(label: &str) -> bool {
    label.strip_prefix("xn--").is_some_and(|rest| rest.is_empty() || rest.ends_with('-'))
}

#[cfg(test)]
mod tests;
