//! API keys: `shunt_<40 base62>_<6 checksum>`, and what they may do.

use std::fmt;

use crate::domain::id::Id;
use crate::domain::time::Timestamp;

/// What a credential may do. `All` is everything its creator may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    LinksRead,
    LinksWrite,
    StatsRead,
    KeysManage,
    OrgManage,
    All,
}

impl Scope {
    pub const ALL: &[Self] = &[
        Self::LinksRead,
        Self::LinksWrite,
        Self::StatsRead,
        Self::KeysManage,
        Self::OrgManage,
        Self::All,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LinksRead => "links:read",
            Self::LinksWrite => "links:write",
            Self::StatsRead => "stats:read",
            Self::KeysManage => "keys:manage",
            Self::OrgManage => "org:manage",
            Self::All => "*",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|scope| scope.as_str() == word)
    }
}

/// A small set of scopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    pub const EVERYTHING: Self = Self(1 << Scope::All as u8);

    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    pub const fn bits(self) -> u8 {
        self.0
    }

    #[must_use]
    pub const fn with(self, scope: Scope) -> Self {
        Self(self.0 | 1 << scope as u8)
    }

    pub const fn allow(self, scope: Scope) -> bool {
        self.0 & (1 << Scope::All as u8 | 1 << scope as u8) != 0
    }

    /// True when every scope in `other` is allowed by `self`.
    pub fn cover(self, other: Self) -> bool {
        other.iter().all(|scope| self.allow(scope))
    }

    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.iter().copied().filter(move |scope| self.0 & (1 << *scope as u8) != 0)
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Keyed hash of a key's text: all that is ever stored of it.
pub type KeyDigest = [u8; 32];

/// A key as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    pub id: Id,
    pub workspace: Id,
    pub name: String,
    /// First characters of the key, to recognise it by: `shunt_` and six more.
    pub prefix: String,
    pub digest: KeyDigest,
    pub scopes: Scopes,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub last_used_at: Option<Timestamp>,
    pub uses: u64,
    pub revoked_at: Option<Timestamp>,
}

/// The text of a key: shown once, never stored, never printed by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyText(String);

impl KeyText {
    /// Makes a key from 32 random bytes.
    pub fn from_entropy(_entropy: &[u8; 32]) -> Self {
        unreachable!("replaced by the domain work package")
    }

    /// Accepts well-formed text only: prefix, 40 characters of base 62, matching checksum.
    pub fn parse(_text: &str) -> Option<Self> {
        unreachable!("replaced by the domain work package")
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn prefix(&self) -> &str {
        &self.0[..12]
    }

    /// blake3 keyed hash under the installation's secret.
    pub fn digest(&self, secret: &[u8; 32]) -> KeyDigest {
        *blake3::keyed_hash(secret, self.0.as_bytes()).as_bytes()
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("KeyText(…)")
    }
}
