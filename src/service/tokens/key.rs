//! One key that signs access tokens, and how it is sealed for the store.
//!
//! A sealed key is a format byte, a random nonce of 12 bytes, and the PKCS#8 document under
//! AES-256-GCM with its tag. The name of the key is authenticated with it, so one sealed key cannot
//! stand in for another. The sealing key comes from the installation's secret, which is not in the
//! store: a copy of the database alone makes no token.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, crypto};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::domain::time::Timestamp;
use crate::storage::signing::StoredSigningKey;

/// Characters of a key's name: a SHA-256 hash in base64url.
pub(super) const KID_CHARS: usize = 43;

const ALGORITHM: Algorithm = Algorithm::EdDSA;
const SEAL_CONTEXT: &str = "shunt 2026 seal of a signing key";
const FORMAT: u8 = 1;

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFault {
    #[error("it is not an Ed25519 private key (PKCS#8)")]
    NotEd25519,
    #[error(
        "it is damaged, or was sealed by an installation with other secrets; bring `keys.toml` and \
         the store back from the same backup"
    )]
    Sealed,
    #[error("the system makes no key")]
    Entropy,
}

/// An Ed25519 key. Its secret is never printed by `Debug`.
#[derive(Clone)]
pub struct SigningKey {
    kid: String,
    /// The public key, in base64url.
    x: String,
    secret: EncodingKey,
    public: DecodingKey,
    pub(super) created_at: Timestamp,
    /// From when on nothing verifies with it; `None`: not known yet.
    pub(super) retires_at: Option<Timestamp>,
}

impl SigningKey {
    /// Makes a new key.
    pub(super) fn generate(created_at: Timestamp) -> Result<Self, KeyFault> {
        let pair = Ed25519KeyPair::generate().map_err(|_| KeyFault::Entropy)?;
        let document = pair.to_pkcs8().map_err(|_| KeyFault::Entropy)?;
        Self::from_pkcs8(document.as_ref(), created_at)
    }

    /// Takes a key from a PKCS#8 document.
    pub(super) fn from_pkcs8(der: &[u8], created_at: Timestamp) -> Result<Self, KeyFault> {
        let pair = Ed25519KeyPair::from_pkcs8(der).map_err(|_| KeyFault::NotEd25519)?;
        let public = pair.public_key().as_ref();
        let x = URL_SAFE_NO_PAD.encode(public);
        Ok(Self {
            kid: thumbprint(&x),
            public: DecodingKey::from_ed_der(public),
            x,
            secret: EncodingKey::from_ed_der(der),
            created_at,
            retires_at: None,
        })
    }

    /// Takes a key from PEM text.
    pub(super) fn from_pem(pem: &[u8], created_at: Timestamp) -> Result<Self, KeyFault> {
        let key = EncodingKey::from_ed_pem(pem).map_err(|_| KeyFault::NotEd25519)?;
        Self::from_pkcs8(key.as_bytes(), created_at)
    }

    /// The key as the store keeps it.
    pub(super) fn seal(&self, secret: &[u8; 32]) -> Result<StoredSigningKey, KeyFault> {
        let mut body = self.secret.as_bytes().to_vec();
        let nonce = sealing_key(secret)?
            .seal_in_place_append_tag(Aad::from(self.kid.as_bytes()), &mut body)
            .map_err(|_| KeyFault::Entropy)?;
        let sealed = [&[FORMAT], nonce.as_ref().as_slice(), &body].concat();
        Ok(StoredSigningKey {
            kid: self.kid.clone(),
            sealed,
            created_at: self.created_at,
            retires_at: self.retires_at,
        })
    }

    /// Back from [`seal`](Self::seal).
    pub(super) fn open(stored: &StoredSigningKey, secret: &[u8; 32]) -> Result<Self, KeyFault> {
        let (format, rest) = stored.sealed.split_first().ok_or(KeyFault::Sealed)?;
        let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>().ok_or(KeyFault::Sealed)?;
        if *format != FORMAT {
            return Err(KeyFault::Sealed);
        }
        let mut body = body.to_vec();
        let der = sealing_key(secret)?
            .open_in_place(Nonce::from(nonce), Aad::from(stored.kid.as_bytes()), &mut body)
            .map_err(|_| KeyFault::Sealed)?;
        let key = Self::from_pkcs8(der, stored.created_at)?;
        if key.kid != stored.kid {
            return Err(KeyFault::Sealed);
        }
        Ok(Self { retires_at: stored.retires_at, ..key })
    }

    /// The signature of a message, in base64url.
    pub(super) fn sign(&self, message: &str) -> String {
        crypto::sign(message.as_bytes(), &self.secret, ALGORITHM)
            .expect("the key was tried when it was taken in")
    }

    /// Whether `signature`, in base64url, is this key's own of the message.
    pub(super) fn verifies(&self, message: &str, signature: &str) -> bool {
        crypto::verify(signature, message.as_bytes(), &self.public, ALGORITHM).unwrap_or(false)
    }

    /// Its name in tokens: the thumbprint of RFC 7638.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// False from the time on at which it retires.
    pub(super) fn in_force(&self, now: Timestamp) -> bool {
        self.retires_at.is_none_or(|at| now < at)
    }

    /// The public key as RFC 8037 writes it.
    pub(super) fn jwk(&self) -> Value {
        json!({
            "kty": "OKP",
            "crv": "Ed25519",
            "x": self.x,
            "kid": self.kid,
            "use": "sig",
            "alg": "EdDSA",
        })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SigningKey({})", self.kid)
    }
}

/// RFC 7638: the hash of the members that make the key, in order of their names.
fn thumbprint(x: &str) -> String {
    let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    URL_SAFE_NO_PAD.encode(Sha256::digest(members.as_bytes()))
}

fn sealing_key(secret: &[u8; 32]) -> Result<RandomizedNonceKey, KeyFault> {
    let key = blake3::derive_key(SEAL_CONTEXT, secret);
    RandomizedNonceKey::new(&AES_256_GCM, &key).map_err(|_| KeyFault::Sealed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    const SECRET: [u8; 32] = [9; 32];
    const NOON: Timestamp = Timestamp(1_780_000_000_000);
    /// The private key of RFC 8410, section 10.3, as OpenSSL writes it.
    const PEM: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        -----END PRIVATE KEY-----\n";

    #[test]
    fn a_thumbprint_is_that_of_the_standard() {
        // RFC 8037, appendix A.3.
        let kid = thumbprint("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        assert_eq!(kid, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        assert_eq!(kid.len(), KID_CHARS);
    }

    #[test]
    fn a_key_of_openssl_is_taken_and_verifies_what_it_signs() {
        let key = SigningKey::from_pem(PEM.as_bytes(), NOON).unwrap();
        let signature = key.sign("a.b");
        assert!(key.verifies("a.b", &signature) && !key.verifies("a.c", &signature));
        assert!(!SigningKey::generate(NOON).unwrap().verifies("a.b", &signature));
        // The public key of the same section.
        let expected = "GbH0SoVB1tRW3tyRV1tl1n7tBN9/0ZoQmPzG3XHq2xI=".len();
        assert_eq!(key.jwk()["x"].as_str().unwrap().len() + 1, expected);
    }

    #[test]
    fn what_is_no_ed25519_key_is_refused() {
        for pem in ["", "no key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
        {
            assert!(matches!(
                SigningKey::from_pem(pem.as_bytes(), NOON),
                Err(KeyFault::NotEd25519)
            ));
        }
    }

    #[test]
    fn a_sealed_key_opens_with_all_that_it_was() {
        let key = SigningKey {
            retires_at: Some(NOON.plus_millis(5)),
            ..SigningKey::generate(NOON).unwrap()
        };
        let stored = key.seal(&SECRET).unwrap();
        assert_eq!((stored.kid.as_str(), stored.created_at), (key.kid(), NOON));
        let opened = SigningKey::open(&stored, &SECRET).unwrap();
        assert_eq!(opened.secret.as_bytes(), key.secret.as_bytes());
        assert_eq!((opened.kid(), opened.retires_at), (key.kid(), key.retires_at));
        let again = key.seal(&SECRET).unwrap();
        assert_ne!(stored.sealed, again.sealed, "a nonce is never used twice");
        let secret = &key.secret.as_bytes()[16..48];
        assert!(!stored.sealed.windows(8).any(|part| part == &secret[..8]));
    }

    #[test]
    fn a_sealed_key_does_not_open_under_another_secret() {
        let stored = SigningKey::generate(NOON).unwrap().seal(&SECRET).unwrap();
        let fault = SigningKey::open(&stored, &[8; 32]).unwrap_err();
        assert!(matches!(fault, KeyFault::Sealed));
        assert!(fault.to_string().contains("keys.toml"), "{fault}");
    }

    #[test]
    fn any_flipped_byte_or_cut_of_a_sealed_key_is_refused() {
        let stored = SigningKey::generate(NOON).unwrap().seal(&SECRET).unwrap();
        for place in 0..stored.sealed.len() {
            let mut broken = stored.clone();
            broken.sealed[place] ^= 1;
            assert!(matches!(SigningKey::open(&broken, &SECRET), Err(KeyFault::Sealed)));
            broken.sealed = stored.sealed[..place].to_vec();
            assert!(matches!(SigningKey::open(&broken, &SECRET), Err(KeyFault::Sealed)));
        }
    }

    #[test]
    fn a_sealed_key_does_not_open_under_another_name() {
        let (one, two) = (SigningKey::generate(NOON).unwrap(), SigningKey::generate(NOON).unwrap());
        let mixed = StoredSigningKey {
            sealed: one.seal(&SECRET).unwrap().sealed,
            ..two.seal(&SECRET).unwrap()
        };
        assert!(matches!(SigningKey::open(&mixed, &SECRET), Err(KeyFault::Sealed)));
    }

    #[test]
    fn a_sealed_key_has_the_name_that_is_its_own() {
        let (one, two) = (SigningKey::generate(NOON).unwrap(), SigningKey::generate(NOON).unwrap());
        // Whoever has the secret can seal a key under any name.
        let renamed = SigningKey { kid: two.kid, ..one }.seal(&SECRET).unwrap();
        assert!(matches!(SigningKey::open(&renamed, &SECRET), Err(KeyFault::Sealed)));
    }

    #[test]
    fn sealed_keys_do_not_change_between_releases() {
        // Keys are kept for weeks: whoever changes this opens none of them any more.
        let key = SigningKey::from_pem(PEM.as_bytes(), NOON).unwrap();
        let sealed = URL_SAFE_NO_PAD.decode(FROZEN).unwrap();
        let stored = StoredSigningKey { sealed, ..key.seal(&SECRET).unwrap() };
        let opened = SigningKey::open(&stored, &SECRET).unwrap();
        assert_eq!(opened.secret.as_bytes(), key.secret.as_bytes());
    }

    #[test]
    fn a_key_is_never_printed_by_debug() {
        let key = SigningKey::from_pem(PEM.as_bytes(), NOON).unwrap();
        assert_eq!(format!("{key:?}"), format!("SigningKey({})", key.kid()));
    }

    const FROZEN: &str = "AbKCCwbJkxfUOyWE0Xr7TToTUDBx2HnUKUKhUjEAfip4XBUL8ZubLTdDBEluK1zwDGcg-\
        t022l2wI7zSTiHo2Mb5OAMQ7VIus-MlGq8";
}
