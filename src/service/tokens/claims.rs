//! What an access token says, and its one spelling: a JWT by RFC 9068, in compact form.
//!
//! Reading is stricter than the standards ask: every member is there once, with the very type that
//! the writer gives it, and no other member is. What is read here was signed by this installation;
//! what it would not have written, somebody tampers with.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::config::ACCESS_TTL_MAX;
use super::key::KID_CHARS;
use crate::domain::account::Role;
use crate::domain::api_key::{Scope, Scopes};
use crate::domain::id::Id;
use crate::domain::time::Timestamp;

const ALGORITHM: &str = "EdDSA";
const TYPE: &str = "at+jwt";

/// Who an access token speaks for, what it may do, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessClaims {
    pub user: Id,
    pub workspace: Id,
    pub role: Role,
    pub scope: Scopes,
    pub session: Id,
    /// That of the refresh token that it came with.
    pub generation: u32,
    /// Tokens tell whole seconds; what is more is cut off.
    pub issued_at: Timestamp,
    pub expires_at: Timestamp,
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    #[error("it is not an access token of this server")]
    Malformed,
    #[error("no key in force has the name that it gives")]
    UnknownKey,
    #[error("its signature does not fit")]
    BadSignature,
    #[error("it has expired")]
    Expired,
    #[error("it is from the future")]
    NotYet,
    #[error("it was made by somebody else")]
    WrongIssuer,
    #[error("it is for somebody else")]
    WrongAudience,
}

/// A token taken apart; nothing in it is proven yet.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    pub(super) kid: String,
    /// Header and payload as they are signed.
    pub(super) message: &'a str,
    pub(super) signature: &'a str,
    payload: &'a str,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header<'a> {
    alg: &'a str,
    typ: &'a str,
    kid: &'a str,
}

/// The members of a payload. Borrowed texts have no escapes.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Payload<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    org: &'a str,
    role: &'a str,
    scope: &'a str,
    jti: &'a str,
    #[serde(deserialize_with = "seconds")]
    iat: u32,
    #[serde(deserialize_with = "seconds")]
    nbf: u32,
    #[serde(deserialize_with = "seconds")]
    exp: u32,
}

impl<'a> Parts<'a> {
    /// Takes a token apart, if it has the form of one of ours. It costs as much as the text is
    /// long: the caller bounds that.
    pub(super) fn parse(text: &'a str) -> Result<Self, TokenFault> {
        let (message, signature) = text.rsplit_once('.').ok_or(TokenFault::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(TokenFault::Malformed)?;
        // The header cannot be empty: it is read below.
        if payload.is_empty() || payload.contains('.') || signature.is_empty() {
            return Err(TokenFault::Malformed);
        }
        // A signature with another spelling would be the same token under another digest.
        decode(signature)?;
        let header = decode(header)?;
        let Header { alg, typ, kid } = read(&header)?;
        let named = kid.len() == KID_CHARS && kid.bytes().all(is_base64url);
        if alg != ALGORITHM || typ != TYPE || !named {
            return Err(TokenFault::Malformed);
        }
        Ok(Self { kid: kid.to_owned(), message, signature, payload })
    }

    /// Reads what it says. Call when the signature is proven.
    pub(super) fn claims(&self, issuer: &str, audience: &str) -> Result<AccessClaims, TokenFault> {
        let payload = decode(self.payload)?;
        let payload: Payload<'_> = read(&payload)?;
        if payload.iss != issuer {
            return Err(TokenFault::WrongIssuer);
        }
        if payload.aud != audience {
            return Err(TokenFault::WrongAudience);
        }
        payload.claims().ok_or(TokenFault::Malformed)
    }
}

impl Payload<'_> {
    fn claims(&self) -> Option<AccessClaims> {
        let (session, generation) = self.jti.split_once('.')?;
        let claims = AccessClaims {
            user: number(self.sub)?,
            workspace: number(self.org)?,
            role: Role::from_word(self.role)?,
            scope: scopes(self.scope)?,
            session: number(session)?,
            generation: number(generation)?,
            issued_at: time(self.iat),
            expires_at: time(self.exp),
        };
        let life = self.exp.checked_sub(self.iat)?;
        let sound = self.nbf == self.iat && u64::from(life) <= ACCESS_TTL_MAX.0.as_secs();
        sound.then_some(claims)
    }
}

impl AccessClaims {
    /// The part of a token that is signed.
    pub(super) fn message(&self, kid: &str, issuer: &str, audience: &str) -> String {
        let header = format!(r#"{{"alg":"{ALGORITHM}","typ":"{TYPE}","kid":"{kid}"}}"#);
        let iat = whole_seconds(self.issued_at);
        let payload = Payload {
            iss: issuer,
            aud: audience,
            sub: &self.user.to_string(),
            org: &self.workspace.to_string(),
            role: self.role.as_str(),
            scope: &scope_text(self.scope),
            jti: &format!("{}.{}", self.session, self.generation),
            iat,
            nbf: iat,
            exp: whole_seconds(self.expires_at),
        };
        let payload = serde_json::to_string(&payload).expect("texts and numbers are JSON");
        format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload))
    }

    /// Whether it is good at `now`, when clocks may be `leeway_ms` apart.
    pub(super) fn check_time(&self, now: Timestamp, leeway_ms: i64) -> Result<(), TokenFault> {
        if now >= self.expires_at.plus_millis(leeway_ms) {
            return Err(TokenFault::Expired);
        }
        if now.plus_millis(leeway_ms) < self.issued_at {
            return Err(TokenFault::NotYet);
        }
        Ok(())
    }
}

/// Scopes as words with a space between.
fn scope_text(scopes: Scopes) -> String {
    scopes.iter().map(Scope::as_str).collect::<Vec<_>>().join(" ")
}

/// Back from [`scope_text`]: known words, each once and in order.
fn scopes(text: &str) -> Option<Scopes> {
    let words = text.split(' ').filter(|word| !word.is_empty());
    let scopes = words
        .map(Scope::from_word)
        .try_fold(Scopes::default(), |scopes, scope| Some(scopes.with(scope?)))?;
    (scope_text(scopes) == text).then_some(scopes)
}

/// A number in the one spelling that `Display` gives it.
fn number<T: std::str::FromStr + ToString>(text: &str) -> Option<T> {
    text.parse().ok().filter(|number: &T| number.to_string() == text)
}

/// Strict base64url: no padding, no other letters, no bits left over.
fn decode(text: &str) -> Result<Vec<u8>, TokenFault> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenFault::Malformed)
}

/// One JSON object with the members of `T`, each once, and nothing else.
fn read<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, TokenFault> {
    // A struct would be read from a list too.
    if json.first() != Some(&b'{') {
        return Err(TokenFault::Malformed);
    }
    serde_json::from_slice(json).map_err(|_| TokenFault::Malformed)
}

/// Seconds since 1970 as an integer: no text, no fraction, no sign.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let seconds = u64::deserialize(deserializer)?;
    u32::try_from(seconds).map_err(|_| D::Error::custom("beyond the year 2106"))
}

const fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

fn whole_seconds(at: Timestamp) -> u32 {
    let seconds = at.as_millis().div_euclid(1_000);
    seconds.clamp(0, u32::MAX.into()) as u32
}

fn time(seconds: u32) -> Timestamp {
    Timestamp(i64::from(seconds) * 1_000)
}
