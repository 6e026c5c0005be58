//! Refresh tokens: `shuntr_` and 80 characters, good for one new access token and their successor.
//!
//! The characters are session (8 bytes), generation (4), 32 random bytes, and a tag (16): a hash of
//! all before it under a key of the installation. A session has one token that is good at a time,
//! of its newest generation, and the store keeps no more than the digest of that one. A token that
//! was spent before keeps its tag, so it is recognised when somebody shows it again: it names its
//! session, its generation is not the newest, and no stranger can have made it up. Somebody has
//! stolen it or was stolen from, and the whole session can be ended. No list of spent tokens is
//! needed for that, and without a true tag no store is asked.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::domain::id::Id;

const PREFIX: &str = "shuntr_";
const TAG_CONTEXT: &str = "shunt 2026 tag of a refresh token";
const DIGEST_CONTEXT: &str = "shunt 2026 digest of a refresh token";
const TAG_BYTES: usize = 16;
/// Session, generation, random bytes.
const TAGGED_BYTES: usize = 8 + 4 + 32;
const BODY_BYTES: usize = TAGGED_BYTES + TAG_BYTES;
/// Sixty bytes fill eighty characters to the last bit, so a token has one spelling.
const TEXT_BYTES: usize = PREFIX.len() + BODY_BYTES / 3 * 4;
const _: () = assert!(BODY_BYTES.is_multiple_of(3));

/// Keyed hash of a token's text: all that is ever stored of it.
pub type RefreshDigest = [u8; 32];

/// The text of a refresh token that this installation made; never printed by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct RefreshToken {
    text: String,
    session: Id,
    generation: u32,
}

impl RefreshToken {
    /// Makes the token of a generation of a session from 32 random bytes. `key` is the secret of
    /// the installation.
    pub fn new(session: Id, generation: u32, entropy: &[u8; 32], key: &[u8; 32]) -> Self {
        let mut body = Vec::with_capacity(BODY_BYTES);
        body.extend_from_slice(&session.0.to_be_bytes());
        body.extend_from_slice(&generation.to_be_bytes());
        body.extend_from_slice(entropy);
        let tag = tag(&body, key);
        body.extend_from_slice(&tag);
        let text = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(&body));
        Self { text, session, generation }
    }

    /// Accepts what [`new`](Self::new) made under the same `key`, and nothing else. How long it
    /// takes does not tell how much of a tag was right.
    pub fn parse(text: &str, key: &[u8; 32]) -> Option<Self> {
        if text.len() != TEXT_BYTES {
            return None;
        }
        let mut body = [0; BODY_BYTES];
        let n_bytes = URL_SAFE_NO_PAD.decode_slice(text.strip_prefix(PREFIX)?, &mut body).ok()?;
        let (tagged, given) = body.split_at(TAGGED_BYTES);
        if n_bytes != BODY_BYTES || whole(given) != whole(&tag(tagged, key)) {
            return None;
        }
        let (session, rest) = tagged.split_first_chunk()?;
        let session = Id(u64::from_be_bytes(*session));
        let generation = u32::from_be_bytes(*rest.first_chunk()?);
        Some(Self { text: text.to_owned(), session, generation })
    }

    /// blake3 keyed hash of the text, under another key than that of the tag.
    pub fn digest(&self, key: &[u8; 32]) -> RefreshDigest {
        let key = blake3::derive_key(DIGEST_CONTEXT, key);
        *blake3::keyed_hash(&key, self.text.as_bytes()).as_bytes()
    }

    /// The session that it continues.
    pub const fn session(&self) -> Id {
        self.session
    }

    /// How many tokens of the session came before it, as its maker counts.
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    /// The whole token: for its owner's eyes.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "RefreshToken({}.{} …)", self.session, self.generation)
    }
}

fn tag(tagged: &[u8], key: &[u8; 32]) -> [u8; TAG_BYTES] {
    let hash = blake3::keyed_hash(&blake3::derive_key(TAG_CONTEXT, key), tagged);
    let mut tag = [0; TAG_BYTES];
    tag.copy_from_slice(&hash.as_bytes()[..TAG_BYTES]);
    tag
}

/// A tag as a hash: hashes are compared in constant time.
fn whole(tag: &[u8]) -> blake3::Hash {
    let mut bytes = [0; 32];
    bytes[..TAG_BYTES].copy_from_slice(tag);
    blake3::Hash::from_bytes(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: [u8; 32] = [9; 32];

    fn token() -> RefreshToken {
        RefreshToken::new(Id(u64::MAX - 1), 7, &[3; 32], &KEY)
    }

    proptest! {
        #[test]
        fn what_was_made_reads_back(
            session: u64,
            generation: u32,
            entropy: [u8; 32],
            key: [u8; 32],
        ) {
            let made = RefreshToken::new(Id(session), generation, &entropy, &key);
            prop_assert_eq!(made.as_str().len(), 87);
            let read = RefreshToken::parse(made.as_str(), &key).unwrap();
            prop_assert_eq!((read.session(), read.generation()), (Id(session), generation));
            prop_assert_eq!(read.digest(&key), made.digest(&key));
            prop_assert_eq!(read, made);
        }

        #[test]
        fn a_token_with_one_wrong_character_is_refused(
            position in 0..87_usize,
            replacement in "[ -~]",
        ) {
            let mut text = token().as_str().to_owned();
            prop_assume!(text[position..=position] != replacement);
            text.replace_range(position..=position, &replacement);
            prop_assert_eq!(RefreshToken::parse(&text, &KEY), None);
        }

        #[test]
        fn any_text_parses_without_panic(text: String, body in "[A-Za-z0-9_-]{80}") {
            prop_assert_eq!(RefreshToken::parse(&text, &KEY), None);
            prop_assert_eq!(RefreshToken::parse(&format!("shuntr_{body}"), &KEY), None);
        }
    }

    #[test]
    fn tokens_cut_extended_or_padded_are_refused() {
        let token = token();
        let text = token.as_str();
        for length in 0..text.len() {
            assert_eq!(RefreshToken::parse(&text[..length], &KEY), None, "{length}");
        }
        for broken in [
            format!("{text}A"),
            format!("{text}="),
            format!("{}=", &text[..86]),
            format!("{text}\n"),
            format!(" {text}"),
            format!("shuntr_{text}"),
            text.to_uppercase(),
            text.replace("shuntr_", "shuntv_"),
            format!("shuntr_{}", "ä".repeat(40)),
            "ä".repeat(43) + "a",
        ] {
            assert_eq!(RefreshToken::parse(&broken, &KEY), None, "{broken}");
        }
    }

    #[test]
    fn a_token_of_another_installation_is_refused() {
        assert_eq!(RefreshToken::parse(token().as_str(), &[8; 32]), None);
    }

    #[test]
    fn a_tag_does_not_fit_another_session_or_generation() {
        let body = |token: &RefreshToken| URL_SAFE_NO_PAD.decode(&token.as_str()[7..]).unwrap();
        let own = body(&token());
        let later = body(&RefreshToken::new(token().session(), 8, &[3; 32], &KEY));
        let mixed = [&later[..TAGGED_BYTES], &own[TAGGED_BYTES..]].concat();
        let text = format!("shuntr_{}", URL_SAFE_NO_PAD.encode(mixed));
        assert_eq!(text.len(), TEXT_BYTES);
        assert_eq!(RefreshToken::parse(&text, &KEY), None);
    }

    #[test]
    fn digests_differ_by_key_and_are_not_the_tag() {
        let token = token();
        assert_ne!(token.digest(&KEY), token.digest(&[8; 32]));
        let body = URL_SAFE_NO_PAD.decode(&token.as_str()[7..]).unwrap();
        assert_ne!(token.digest(&KEY)[..TAG_BYTES], body[TAGGED_BYTES..]);
        let other = RefreshToken::new(token.session(), 7, &[4; 32], &KEY);
        assert_ne!(token.digest(&KEY), other.digest(&KEY));
    }

    #[test]
    fn tokens_do_not_change_between_releases() {
        // Sessions last for weeks: whoever changes this line ends them all.
        let made = RefreshToken::new(Id(258), 3, &[7; 32], &[1; 32]);
        assert_eq!(made.as_str(), FROZEN);
    }

    #[test]
    fn a_token_is_never_printed_by_debug() {
        let token = token();
        assert!(!format!("{token:?}").contains(&token.as_str()[23..40]));
    }

    const FROZEN: &str = "shuntr_AAAAAAAAAQIAAAADBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBweVqTNF\
        jRwIPRVhGVWjTkxa";
}
