//! The public keys of a provider: which of them are of use, and for which signatures.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

use super::config::SigningAlgorithm::{self, ES256, ES384, EdDSA, PS256, PS384, PS512};
use super::config::SigningAlgorithm::{RS256, RS384, RS512};
use super::fault::TokenFault;
use super::fetch::{FetchError, read_json};

/// More keys than any provider has at a time.
const KEYS_MAX: usize = 64;
const KEY_ID_BYTES_MAX: usize = 512;
/// Moduli of 2,048 to 8,192 bits: what the library checks signatures with.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1_024;

/// The keys that can check signatures.
pub(super) struct KeySet {
    keys: Vec<Key>,
    /// Of the document as it came: tells two versions apart.
    pub(super) digest: [u8; 32],
}

/// One key and the signatures that it is for.
pub(super) struct Key {
    id: Option<String>,
    algorithms: Vec<SigningAlgorithm>,
    key: DecodingKey,
}

/// What looking for a key gives.
pub(super) enum Found<'a> {
    Key(&'a Key),
    /// The provider may have made it since its keys were fetched.
    Unknown,
    /// Fetching again would not change it.
    Unfit(TokenFault),
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

/// A key as RFC 7517 writes it. Addresses and certificates in it are not even read.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Reads a JWK set. Keys of other kinds and for other purposes are left out, as RFC 7517 asks.
    pub(super) fn read(body: &[u8]) -> Result<Self, FetchError> {
        let document: Document = read_json(body)?;
        if document.keys.len() > KEYS_MAX {
            return Err(FetchError::Form("there are too many keys"));
        }
        let keys = document.keys.into_iter().filter_map(Key::read).collect();
        Ok(Self { keys, digest: *blake3::hash(body).as_bytes() })
    }

    /// The key that a token names, for the signature it carries. Without a name there must be just
    /// one that fits.
    pub(super) fn find(&self, id: Option<&str>, algorithm: SigningAlgorithm) -> Found<'_> {
        let named = |key: &&Key| id.is_none() || key.id.as_deref() == id;
        let fits = |key: &&Key| key.algorithms.contains(&algorithm);
        let mut fitting = self.keys.iter().filter(named).filter(fits);
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Found::Key(key),
            (Some(_), Some(_)) => Found::Unfit(TokenFault::Key),
            (None, _) if id.is_some() && self.keys.iter().any(|key| named(&key)) => {
                Found::Unfit(TokenFault::Algorithm)
            }
            (None, _) => Found::Unknown,
        }
    }
}

impl Key {
    fn read(value: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        let for_signatures = jwk.purpose.as_deref().is_none_or(|purpose| purpose == "sig")
            && jwk.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        let is_named = jwk.kid.as_ref().is_none_or(|id| id.len() <= KEY_ID_BYTES_MAX);
        if !(for_signatures && is_named) {
            return None;
        }
        let (key, mut algorithms) = jwk.decode()?;
        if let Some(name) = &jwk.alg {
            algorithms.retain(|algorithm| algorithm.name() == name);
        }
        (!algorithms.is_empty()).then_some(Self { id: jwk.kid, algorithms, key })
    }

    /// Whether `signature` of `message` was made with this key and no other kind of key.
    pub(super) fn verifies(
        &self,
        algorithm: SigningAlgorithm,
        message: &str,
        signature: &str,
    ) -> bool {
        let message = message.as_bytes();
        self.algorithms.contains(&algorithm)
            && jsonwebtoken::crypto::verify(signature, message, &self.key, algorithm.into())
                .unwrap_or(false)
    }
}

impl Jwk {
    /// The key and every signature that its kind can make.
    fn decode(&self) -> Option<(DecodingKey, Vec<SigningAlgorithm>)> {
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => {
                let (n, e) = (bytes(self.n.as_deref())?, bytes(self.e.as_deref())?);
                let significant = n.iter().skip_while(|byte| **byte == 0).count();
                let key = DecodingKey::from_rsa_raw_components(&n, &e);
                let all = vec![RS256, RS384, RS512, PS256, PS384, PS512];
                RSA_BYTES.contains(&significant).then_some((key, all))
            }
            ("EC", Some("P-256")) => Some((self.point(32)?, vec![ES256])),
            ("EC", Some("P-384")) => Some((self.point(48)?, vec![ES384])),
            ("OKP", Some("Ed25519")) => {
                let x = bytes(self.x.as_deref()).filter(|x| x.len() == 32)?;
                Some((DecodingKey::from_ed_der(&x), vec![EdDSA]))
            }
            _ => None,
        }
    }

    /// A point of a curve whose coordinates have so many bytes, uncompressed.
    fn point(&self, size: usize) -> Option<DecodingKey> {
        let coordinate = |text: &Option<String>| {
            bytes(text.as_deref()).filter(|coordinate| coordinate.len() == size)
        };
        let (x, y) = (coordinate(&self.x)?, coordinate(&self.y)?);
        Some(DecodingKey::from_ec_der(&[&[4], x.as_slice(), y.as_slice()].concat()))
    }
}

fn bytes(text: Option<&str>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text?).ok()
}

impl SigningAlgorithm {
    const ALL: [(Self, &'static str, Algorithm); 9] = [
        (RS256, "RS256", Algorithm::RS256),
        (RS384, "RS384", Algorithm::RS384),
        (RS512, "RS512", Algorithm::RS512),
        (PS256, "PS256", Algorithm::PS256),
        (PS384, "PS384", Algorithm::PS384),
        (PS512, "PS512", Algorithm::PS512),
        (ES256, "ES256", Algorithm::ES256),
        (ES384, "ES384", Algorithm::ES384),
        (EdDSA, "EdDSA", Algorithm::EdDSA),
    ];

    pub(super) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

impl From<SigningAlgorithm> for Algorithm {
    fn from(algorithm: SigningAlgorithm) -> Self {
        SigningAlgorithm::ALL[algorithm as usize].2
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(keys: &Value) -> KeySet {
        KeySet::read(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
    }

    fn point() -> String {
        URL_SAFE_NO_PAD.encode([7; 32])
    }

    #[test]
    fn names_and_numbers_of_algorithms_agree() {
        for (place, (algorithm, name, other)) in SigningAlgorithm::ALL.into_iter().enumerate() {
            assert_eq!(algorithm as usize, place);
            assert_eq!(format!("{other:?}"), name);
            assert_eq!(serde_json::to_value(algorithm).unwrap(), name);
            assert_eq!(SigningAlgorithm::of_name(name), Some(algorithm));
        }
        assert!(SigningAlgorithm::of_name("HS256").is_none());
        assert!(SigningAlgorithm::of_name("none").is_none());
    }

    #[test]
    fn keys_that_cannot_check_signatures_are_left_out() {
        let x = point();
        let short = URL_SAFE_NO_PAD.encode([1; 128]);
        let set = read(&json!([
            { "kty": "oct", "k": x, "kid": "a" },
            { "kty": "OKP", "crv": "X25519", "x": x, "kid": "b" },
            { "kty": "OKP", "crv": "Ed25519", "x": x, "kid": "c", "use": "enc" },
            { "kty": "OKP", "crv": "Ed25519", "x": x, "kid": "d", "alg": "RS256" },
            { "kty": "OKP", "crv": "Ed25519", "x": x, "kid": "e", "key_ops": ["sign"] },
            { "kty": "OKP", "crv": "Ed25519", "x": "AA", "kid": "f" },
            { "kty": "RSA", "n": short, "e": "AQAB", "kid": "g" },
            { "kty": "RSA", "n": 5, "e": "AQAB", "kid": "h" },
            { "kty": "EC", "crv": "P-256", "x": x, "kid": "i" },
            { "kty": "EC", "crv": "P-384", "x": x, "y": x, "kid": "j" },
            { "kty": "OKP", "crv": "Ed25519", "x": x, "kid": "k".repeat(513) },
            "no key at all",
            7,
        ]));
        assert_eq!(set.keys.len(), 0);
        assert!(matches!(set.find(Some("a"), EdDSA), Found::Unknown));
    }

    #[test]
    fn a_key_is_found_by_its_name_for_its_own_kind_of_signature() {
        let x = point();
        let set = read(&json!([
            { "kty": "OKP", "crv": "Ed25519", "x": x, "kid": "a" },
            { "kty": "EC", "crv": "P-256", "x": x, "y": x, "kid": "b" },
        ]));
        assert!(matches!(set.find(Some("a"), EdDSA), Found::Key(_)));
        assert!(matches!(set.find(None, ES256), Found::Key(_)));
        assert!(matches!(set.find(Some("a"), ES256), Found::Unfit(TokenFault::Algorithm)));
        assert!(matches!(set.find(Some("b"), ES384), Found::Unfit(TokenFault::Algorithm)));
        assert!(matches!(set.find(Some("../../etc/passwd"), EdDSA), Found::Unknown));
        assert!(matches!(set.find(None, RS256), Found::Unknown));
    }

    #[test]
    fn without_a_name_two_keys_that_fit_are_one_too_many() {
        let x = point();
        let key = json!({ "kty": "OKP", "crv": "Ed25519", "x": x });
        let set = read(&json!([key, key]));
        assert!(matches!(set.find(None, EdDSA), Found::Unfit(TokenFault::Key)));
    }

    #[test]
    fn a_set_with_too_many_keys_is_refused() {
        let keys: Vec<Value> = (0..=KEYS_MAX).map(|_| json!({ "kty": "oct" })).collect();
        assert!(KeySet::read(json!({ "keys": keys }).to_string().as_bytes()).is_err());
    }
}
