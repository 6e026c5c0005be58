//! A sign-in under way. The server keeps nothing of it: the browser carries it, sealed.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::fault::OidcFault;
use super::return_to::{RETURN_TO_BYTES_MAX, ReturnTo};
use crate::domain::time::Timestamp;

/// How long a person may take at the provider, in milliseconds.
pub(super) const PENDING_MS: i64 = 10 * 60_000;
/// How far the clock may go back meanwhile, in milliseconds.
const CLOCK_BACK_MS: i64 = 60_000;
/// Binds the derived key to this use and layout; another layout needs another text.
const KEY_CONTEXT: &str = "shunt 2026 oidc sign-in under way: time, state, nonce, verifier, path";
const WORD_BYTES: usize = 32;
const FIXED_BYTES: usize = 8 + 3 * WORD_BYTES;
const TAG_BYTES: usize = 16;
/// Longest sealed text, in characters.
const SEALED_CHARS_MAX: usize =
    (NONCE_LEN + FIXED_BYTES + RETURN_TO_BYTES_MAX + TAG_BYTES).div_ceil(3) * 4;

/// What must be the same when the browser comes back.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pending {
    began_at: Timestamp,
    /// Three random words: they tie the answer to the browser, the ID token to the question, and
    /// the code to this installation.
    state: [u8; WORD_BYTES],
    nonce: [u8; WORD_BYTES],
    verifier: [u8; WORD_BYTES],
    pub(super) return_to: ReturnTo,
}

/// Seals and opens under a key of this installation.
pub(super) struct PendingSealer {
    key: RandomizedNonceKey,
}

impl Pending {
    /// Begins now. Fault: `Entropy`.
    pub(super) fn begin(began_at: Timestamp, return_to: ReturnTo) -> Result<Self, OidcFault> {
        let word = || -> Result<[u8; WORD_BYTES], OidcFault> {
            let mut word = [0; WORD_BYTES];
            getrandom::fill(&mut word).map_err(|_| OidcFault::Entropy)?;
            Ok(word)
        };
        let (state, nonce, verifier) = (word()?, word()?, word()?);
        Ok(Self { began_at, state, nonce, verifier, return_to })
    }

    pub(super) fn state(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.state)
    }

    pub(super) fn nonce(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.nonce)
    }

    pub(super) fn verifier(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.verifier)
    }

    /// RFC 7636, S256: what the provider may know of the verifier before the code is redeemed.
    pub(super) fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(self.verifier()))
    }
}

impl PendingSealer {
    pub(super) fn new(secret: &[u8; 32]) -> Self {
        let key = blake3::derive_key(KEY_CONTEXT, secret);
        let key = RandomizedNonceKey::new(&AES_256_GCM, &key).expect("a key of 32 bytes fits");
        Self { key }
    }

    /// For the browser to carry; opens for the same provider only.
    pub(super) fn seal(&self, provider: &str, pending: &Pending) -> Result<String, OidcFault> {
        let mut text = Vec::with_capacity(SEALED_CHARS_MAX);
        text.extend_from_slice(&pending.began_at.as_millis().to_le_bytes());
        for word in [&pending.state, &pending.nonce, &pending.verifier] {
            text.extend_from_slice(word);
        }
        text.extend_from_slice(pending.return_to.as_str().as_bytes());
        let sealed = self.key.seal_in_place_append_tag(Aad::from(provider), &mut text);
        let nonce = sealed.map_err(|_| OidcFault::Entropy)?;
        Ok(URL_SAFE_NO_PAD.encode([nonce.as_ref().as_slice(), &text].concat()))
    }

    /// What was sealed for `provider` here, less than ten minutes ago. Fault: `State`.
    pub(super) fn open(
        &self,
        provider: &str,
        sealed: &str,
        now: Timestamp,
    ) -> Result<Pending, OidcFault> {
        let pending = self.open_whenever(provider, sealed).ok_or(OidcFault::State)?;
        let age = now.as_millis().saturating_sub(pending.began_at.as_millis());
        if (-CLOCK_BACK_MS..PENDING_MS).contains(&age) {
            Ok(pending)
        } else {
            Err(OidcFault::State)
        }
    }

    fn open_whenever(&self, provider: &str, sealed: &str) -> Option<Pending> {
        if sealed.len() > SEALED_CHARS_MAX {
            return None;
        }
        let mut bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, text) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let text = self.key.open_in_place(nonce, Aad::from(provider), text).ok()?;
        let (began_at, rest) = text.split_first_chunk::<8>()?;
        let (state, rest) = rest.split_first_chunk::<WORD_BYTES>()?;
        let (nonce, rest) = rest.split_first_chunk::<WORD_BYTES>()?;
        let (verifier, return_to) = rest.split_first_chunk::<WORD_BYTES>()?;
        let return_to = ReturnTo::parse(std::str::from_utf8(return_to).ok()?).ok()?;
        let began_at = Timestamp::from_millis(i64::from_le_bytes(*began_at));
        let (state, nonce, verifier) = (*state, *nonce, *verifier);
        Some(Pending { began_at, state, nonce, verifier, return_to })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn sealer() -> PendingSealer {
        PendingSealer::new(&[7; 32])
    }

    fn pending() -> Pending {
        Pending::begin(NOW, ReturnTo::parse("/app?x=1").unwrap()).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_for_ten_minutes() {
        let pending = pending();
        let sealed = sealer().seal("acme", &pending).unwrap();
        for age in [-CLOCK_BACK_MS, 0, PENDING_MS - 1] {
            let opened = sealer().open("acme", &sealed, NOW.plus_millis(age));
            assert_eq!(opened.as_ref(), Ok(&pending));
        }
        for age in [-CLOCK_BACK_MS - 1, PENDING_MS, i64::MAX] {
            let opened = sealer().open("acme", &sealed, NOW.plus_millis(age));
            assert_eq!(opened, Err(OidcFault::State));
        }
    }

    #[test]
    fn it_opens_for_no_other_provider_and_nowhere_else() {
        let sealed = sealer().seal("acme", &pending()).unwrap();
        assert_eq!(sealer().open("other", &sealed, NOW), Err(OidcFault::State));
        let elsewhere = PendingSealer::new(&[8; 32]);
        assert_eq!(elsewhere.open("acme", &sealed, NOW), Err(OidcFault::State));
        assert_eq!(sealer().open("acme", "", NOW), Err(OidcFault::State));
        assert_eq!(sealer().open("acme", &"A".repeat(100_000), NOW), Err(OidcFault::State));
    }

    #[test]
    fn two_sign_ins_share_no_word_and_the_longest_fits_into_a_cookie() {
        let (one, other) = (pending(), pending());
        for (one, other) in [
            (one.state(), other.state()),
            (one.nonce(), other.nonce()),
            (one.verifier(), other.verifier()),
        ] {
            assert_ne!(one, other);
            assert_eq!(one.len(), 43);
        }
        let longest = ReturnTo::parse(&format!("/{}", "a".repeat(RETURN_TO_BYTES_MAX - 1)));
        let pending = Pending::begin(NOW, longest.unwrap()).unwrap();
        let sealed = sealer().seal("acme", &pending).unwrap();
        assert!(sealed.len() <= SEALED_CHARS_MAX && SEALED_CHARS_MAX < 3_000);
        assert!(sealer().open("acme", &sealed, NOW).is_ok());
    }

    #[test]
    fn the_challenge_is_that_of_rfc_7636() {
        let mut pending = pending();
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        pending.verifier.copy_from_slice(&URL_SAFE_NO_PAD.decode(verifier).unwrap());
        assert_eq!(pending.verifier(), verifier);
        assert_eq!(pending.challenge(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    proptest! {
        #[test]
        fn a_changed_character_is_refused(place in any::<prop::sample::Index>(), other in "[ -~]") {
            let sealed = sealer().seal("acme", &pending()).unwrap();
            let place = place.index(sealed.len());
            prop_assume!(sealed[place..=place] != other);
            let mut changed = sealed;
            changed.replace_range(place..=place, &other);
            prop_assert_eq!(sealer().open("acme", &changed, NOW), Err(OidcFault::State));
        }

        #[test]
        fn so_is_any_other_text(text in "[A-Za-z0-9_-]{0,300}") {
            prop_assert_eq!(sealer().open("acme", &text, NOW), Err(OidcFault::State));
        }
    }
}
