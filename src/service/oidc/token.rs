//! Signed tokens of providers: read strictly, believed only after the signature.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use super::config::SigningAlgorithm;
use super::fault::TokenFault;
use super::keys::Key;
use crate::domain::time::Timestamp;

/// Longest token that is looked at, in bytes.
pub(super) const TOKEN_BYTES_MAX: usize = 16 * 1_024;
/// Longest `sub`, which OpenID Connect bounds itself.
const SUBJECT_BYTES_MAX: usize = 255;
/// More audiences than a token has reason to name.
const AUDIENCES_MAX: usize = 64;

/// A token in its three parts. Nothing in it is true before [`verify`](Self::verify).
pub(super) struct Compact<'a> {
    /// Header and claims, as they were signed.
    message: &'a str,
    claims: Vec<u8>,
    signature: &'a str,
    pub(super) algorithm: SigningAlgorithm,
    pub(super) key_id: Option<String>,
    kind: Option<String>,
}

/// The header. Where a token says itself how or with what it should be checked, it is refused.
#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: Option<String>,
    kid: Option<String>,
    jku: Option<IgnoredAny>,
    jwk: Option<IgnoredAny>,
    x5u: Option<IgnoredAny>,
    x5c: Option<IgnoredAny>,
    crit: Option<IgnoredAny>,
    b64: Option<IgnoredAny>,
    enc: Option<IgnoredAny>,
    zip: Option<IgnoredAny>,
}

/// The claims that matter here, of a token whose signature is right. Numbers are whole seconds.
#[derive(Deserialize)]
pub(super) struct Claims {
    pub(super) iss: String,
    pub(super) sub: String,
    pub(super) aud: Audience,
    pub(super) exp: i64,
    #[serde(default, deserialize_with = "given")]
    pub(super) iat: Option<i64>,
    #[serde(default, deserialize_with = "given")]
    pub(super) nbf: Option<i64>,
    #[serde(default, deserialize_with = "given")]
    pub(super) azp: Option<String>,
    #[serde(default, deserialize_with = "given")]
    pub(super) nonce: Option<String>,
    #[serde(default, deserialize_with = "given")]
    pub(super) at_hash: Option<String>,
    #[serde(flatten)]
    pub(super) profile: Profile,
}

/// What a provider tells about a person: in a token, or when asked.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Profile {
    #[serde(default)]
    email: Value,
    #[serde(default)]
    email_verified: Value,
    #[serde(default)]
    name: Value,
}

/// `aud`: one or several.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Audience {
    One(String),
    Several(Vec<String>),
}

#[derive(Deserialize)]
struct IssuerOnly {
    iss: String,
}

/// A claim that may be left out, but not `null`.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

impl<'a> Compact<'a> {
    /// Takes a token apart. Faults: it is none, or its header is not acceptable.
    pub(super) fn parse(text: &'a str) -> Result<Self, TokenFault> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(TokenFault::Malformed);
        }
        let (message, signature) = text.rsplit_once('.').ok_or(TokenFault::Malformed)?;
        let (header, claims) = message.split_once('.').ok_or(TokenFault::Malformed)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenFault::Malformed);
        let (header, claims) = (decode(header)?, decode(claims)?);
        let header: Header = serde_json::from_slice(&header).map_err(|_| TokenFault::Malformed)?;
        if header.asks_for_more() {
            return Err(TokenFault::Header);
        }
        let algorithm = SigningAlgorithm::of_name(&header.alg).ok_or(TokenFault::Algorithm)?;
        let (key_id, kind) = (header.kid, header.typ);
        Ok(Self { message, claims, signature, algorithm, key_id, kind })
    }

    /// Whose token it says it is: good for choosing whom to ask for keys, and for nothing else.
    pub(super) fn claimed_issuer(&self) -> Option<String> {
        serde_json::from_slice(&self.claims).ok().map(|IssuerOnly { iss }| iss)
    }

    /// Its claims, if `key` signed them.
    pub(super) fn verify(&self, key: &Key) -> Result<Claims, TokenFault> {
        if !key.verifies(self.algorithm, self.message, self.signature) {
            return Err(TokenFault::Signature);
        }
        let claims: Claims =
            serde_json::from_slice(&self.claims).map_err(|_| TokenFault::Claims)?;
        let named = (1..=SUBJECT_BYTES_MAX).contains(&claims.sub.len());
        let addressed = (1..=AUDIENCES_MAX).contains(&claims.aud.all().len());
        if named && addressed { Ok(claims) } else { Err(TokenFault::Claims) }
    }

    /// Whether `typ` is one of `kinds`; media types are compared without case and prefix.
    pub(super) fn is_kind(&self, kinds: &[&str]) -> bool {
        let Some(kind) = &self.kind else { return false };
        let kind = kind.to_ascii_lowercase();
        kinds.contains(&kind.strip_prefix("application/").unwrap_or(&kind))
    }

    /// Whether it has no `typ` at all.
    pub(super) fn has_no_kind(&self) -> bool {
        self.kind.is_none()
    }

    /// The left half of the hash of `text`, as `at_hash` has it for this token's signature.
    pub(super) fn half_hash(&self, text: &str) -> String {
        use SigningAlgorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
        let hash = match self.algorithm {
            RS256 | PS256 | ES256 => Sha256::digest(text).to_vec(),
            RS384 | PS384 | ES384 => Sha384::digest(text).to_vec(),
            RS512 | PS512 | EdDSA => Sha512::digest(text).to_vec(),
        };
        URL_SAFE_NO_PAD.encode(&hash[..hash.len() / 2])
    }
}

impl Header {
    fn asks_for_more(&self) -> bool {
        let others = [
            &self.jku, &self.jwk, &self.x5u, &self.x5c, &self.crit, &self.b64, &self.enc, &self.zip,
        ];
        others.iter().any(|member| member.is_some())
    }
}

impl Claims {
    /// Checks issuer and time. `leeway` is in seconds.
    pub(super) fn check(
        &self,
        issuer: &str,
        now: Timestamp,
        leeway: i64,
    ) -> Result<(), TokenFault> {
        if self.iss != issuer {
            return Err(TokenFault::Issuer);
        }
        let now = now.as_millis().div_euclid(1_000);
        if now >= self.exp.saturating_add(leeway) {
            return Err(TokenFault::Expired);
        }
        if self.valid_from() > now.saturating_add(leeway) {
            return Err(TokenFault::NotYet);
        }
        Ok(())
    }

    /// The first second that it is good for.
    pub(super) fn valid_from(&self) -> i64 {
        self.nbf.max(self.iat).unwrap_or(i64::MIN)
    }
}

impl Audience {
    pub(super) fn all(&self) -> &[String] {
        match self {
            Self::One(only) => std::slice::from_ref(only),
            Self::Several(all) => all,
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.all().iter().any(|audience| audience == name)
    }
}

impl Profile {
    /// Longest e-mail address and name that are taken over, in bytes.
    const EMAIL_BYTES_MAX: usize = 254;
    const NAME_BYTES_MAX: usize = 400;

    pub(super) fn email(&self) -> Option<&str> {
        text(&self.email, Self::EMAIL_BYTES_MAX)
    }

    pub(super) fn name(&self) -> Option<&str> {
        text(&self.name, Self::NAME_BYTES_MAX)
    }

    /// Only the word `true` itself: some providers send texts, and `"false"` is one.
    pub(super) fn email_verified(&self) -> bool {
        self.email_verified == Value::Bool(true)
    }
}

/// What cannot be shown to people as it is counts as not given.
fn text(value: &Value, bytes_max: usize) -> Option<&str> {
    let text = value.as_str()?;
    let fits = (1..=bytes_max).contains(&text.len()) && !text.chars().any(char::is_control);
    fits.then_some(text)
}
