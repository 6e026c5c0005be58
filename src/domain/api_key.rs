//! API keys: `shunt_<40 base62>_<6 checksum>`, and what they may do.

use std::fmt;

use crate::domain::base62;
use crate::domain::id::Id;
use crate::domain::time::Timestamp;

const PREFIX: &str = "shunt_";
const SECRET_BYTES: usize = 40;
const CHECKSUM_BYTES: usize = 6;
/// Prefix, secret, an underscore, checksum.
const KEY_BYTES: usize = PREFIX.len() + SECRET_BYTES + 1 + CHECKSUM_BYTES;
/// Characters to recognise a key by: the prefix and six of the secret.
const SHOWN_BYTES: usize = PREFIX.len() + 6;

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

    pub const fn none() -> Self {
        Self(0)
    }

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

    /// What both of them allow.
    #[must_use]
    pub fn within(self, other: Self) -> Self {
        let both = |scope: &Scope| self.allow(*scope) && other.allow(*scope);
        let all = Scope::ALL.iter().copied().filter(both);
        all.fold(Self::none(), Self::with)
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
    /// On whose behalf it acts, and no longer than that user may; `None`: the workspace's own.
    pub user: Option<Id>,
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
    /// Makes a key from 32 random bytes. Its 40 characters hold 238 bits of them, each character
    /// equally likely.
    pub fn from_entropy(entropy: &[u8; 32]) -> Self {
        let mut stream = blake3::Hasher::new_derive_key("shunt 2026 text of an API key")
            .update(entropy)
            .finalize_xof();
        let mut text = String::with_capacity(KEY_BYTES);
        text.push_str(PREFIX);
        while text.len() < PREFIX.len() + SECRET_BYTES {
            let mut byte = [0];
            stream.fill(&mut byte);
            text.extend(base62::sample(byte[0]).map(char::from));
        }
        let checksum = checksum(&text);
        text.push('_');
        text.extend(checksum.map(char::from));
        Self(text)
    }

    /// Accepts well-formed text only: prefix, 40 characters of base 62, matching checksum.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != KEY_BYTES || !text.is_ascii() {
            return None;
        }
        let (start, end) = text.split_at(PREFIX.len() + SECRET_BYTES);
        let secret = start.strip_prefix(PREFIX)?;
        let given = end.strip_prefix('_')?;
        let well_formed = secret.bytes().all(|byte| byte.is_ascii_alphanumeric())
            && given.as_bytes() == checksum(start);
        well_formed.then(|| Self(text.to_owned()))
    }

    /// The whole key: for its owner's eyes, once.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// First characters, to recognise the key by: `shunt_` and six more.
    pub fn prefix(&self) -> &str {
        &self.0[..SHOWN_BYTES]
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

/// CRC-32 of everything before it, in base 62: catches slips of the pen before any look-up.
fn checksum(start: &str) -> [u8; CHECKSUM_BYTES] {
    let mut text = [0; CHECKSUM_BYTES];
    base62::encode(u64::from(crc32fast::hash(start.as_bytes())), &mut text);
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_made_key_is_well_formed(entropy: [u8; 32]) {
            let key = KeyText::from_entropy(&entropy);
            prop_assert_eq!(key.as_str().len(), 53);
            prop_assert!(key.as_str().starts_with("shunt_"));
            prop_assert_eq!(key.prefix(), &key.as_str()[..12]);
            prop_assert_eq!(KeyText::parse(key.as_str()), Some(key));
        }

        #[test]
        fn a_key_with_one_wrong_character_is_refused(
            entropy: [u8; 32],
            position in 0..53_usize,
            replacement in "[ -~]",
        ) {
            let mut text = KeyText::from_entropy(&entropy).as_str().to_owned();
            prop_assume!(text[position..=position] != replacement);
            text.replace_range(position..=position, &replacement);
            prop_assert_eq!(KeyText::parse(&text), None);
        }

        #[test]
        fn any_text_parses_without_panic(text: String) {
            prop_assert_eq!(KeyText::parse(&text), None);
        }
    }

    #[test]
    fn keys_cut_extended_or_padded_are_refused() {
        let key = KeyText::from_entropy(&[7; 32]);
        let text = key.as_str();
        for broken in [
            "".to_owned(),
            text[..52].to_owned(),
            format!("{text}0"),
            format!(" {text}"),
            format!("{text}\n"),
            text.to_uppercase(),
            text.replace('_', "-"),
            "ä".repeat(26) + "a",
        ] {
            assert_eq!(KeyText::parse(&broken), None, "{broken}");
        }
    }

    #[test]
    fn keys_of_different_entropy_and_digests_of_different_secrets_differ() {
        let (one, two) = (KeyText::from_entropy(&[1; 32]), KeyText::from_entropy(&[2; 32]));
        assert_ne!(one, two);
        assert_ne!(one.digest(&[0; 32]), two.digest(&[0; 32]));
        assert_ne!(one.digest(&[0; 32]), one.digest(&[1; 32]));
        assert_eq!(one.digest(&[0; 32]), one.clone().digest(&[0; 32]));
    }

    #[test]
    fn a_key_is_never_printed_by_debug() {
        let key = KeyText::from_entropy(&[7; 32]);
        assert!(!format!("{key:?}").contains(&key.as_str()[6..]));
    }

    #[test]
    fn scopes_allow_themselves_and_everything_allows_all() {
        for scope in Scope::ALL {
            assert_eq!(Scope::from_word(scope.as_str()), Some(*scope));
            assert!(Scopes::EVERYTHING.allow(*scope));
            assert!(!Scopes::default().allow(*scope));
            assert!(Scopes::default().with(*scope).allow(*scope));
        }
        let reader = Scopes::default().with(Scope::LinksRead);
        assert!(!reader.allow(Scope::LinksWrite) && !reader.allow(Scope::All));
        assert!(Scopes::EVERYTHING.cover(reader) && !reader.cover(Scopes::EVERYTHING));
        assert!(reader.cover(Scopes::default()) && Scopes::default().is_empty());
        assert_eq!(Scopes::from_bits(reader.bits()), reader);
    }
}
