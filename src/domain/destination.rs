//! Where a link leads: parsed once by the WHATWG parser, kept as that parser writes it.

use std::fmt;

use crate::domain::limits::DESTINATION_BYTES_MAX;

/// A validated absolute http or https URL, normalised, printable ASCII only (0x21 to 0x7E).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Destination(Box<str>);

/// Why a URL cannot be a destination. Every kind is `invalid_url` to a client.
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
}

/// What an installation allows beyond the fixed rules.
#[derive(Clone, Debug, Default)]
pub struct DestinationPolicy {
    /// Hosts served here, lower case, without port and trailing dot: refused, they would loop.
    pub own_hosts: Vec<String>,
    /// Lets private addresses, `localhost` and `*.localhost` through.
    pub allow_private: bool,
}

impl Destination {
    /// Parses what a caller sent. Kinds: all of [`DestinationError`].
    pub fn parse(_text: &str, _policy: &DestinationPolicy) -> Result<Self, DestinationError> {
        unreachable!("replaced by the domain work package")
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

    /// Host without port, brackets and trailing dot, lower case.
    pub fn host(&self) -> &str {
        unreachable!("replaced by the domain work package")
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
