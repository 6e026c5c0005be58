//! Short codes and the key a link is found by.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};

use crate::domain::limits::{ALIAS_BYTES_MIN, CODE_BYTES_MAX};

/// A syntactically valid code: 1 to 50 bytes of `A-Z a-z 0-9 - _`. Compared byte for byte.
#[derive(Clone, Copy)]
pub struct Code {
    len: u8,
    bytes: [u8; CODE_BYTES_MAX],
}

/// Why a text is not a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    #[error("a code must not be empty")]
    Empty,
    #[error("a code has at most {CODE_BYTES_MAX} characters")]
    TooLong,
    #[error("a code consists of A-Z, a-z, 0-9, - and _")]
    BadCharacter,
}

/// Why a well-formed code may not be chosen as an alias.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AliasError {
    #[error(transparent)]
    Malformed(#[from] CodeError),
    #[error("an alias has at least {ALIAS_BYTES_MIN} characters")]
    TooShort,
    #[error("this alias is reserved")]
    Reserved,
    #[error(
        "an alias must not look like a generated code: eight letters and digits, the first a digit"
    )]
    LooksGenerated,
}

/// Names that the public listener or a future page of it needs for itself. Compared ignoring case.
const RESERVED: &[&str] = &[
    "about",
    "account",
    "admin",
    "anonymous",
    "api",
    "app",
    "assets",
    "auth",
    "billing",
    "claim",
    "dashboard",
    "docs",
    "domains",
    "explain",
    "export",
    "favicon",
    "health",
    "healthz",
    "help",
    "import",
    "index",
    "legal",
    "links",
    "livez",
    "login",
    "logout",
    "me",
    "metrics",
    "new",
    "oauth",
    "openapi",
    "pricing",
    "privacy",
    "problems",
    "public",
    "qr",
    "readyz",
    "register",
    "report",
    "reset",
    "robots",
    "settings",
    "shunt",
    "signin",
    "signout",
    "signup",
    "sitemap",
    "static",
    "stats",
    "status",
    "support",
    "terms",
    "user",
    "users",
    "well-known",
    "workspace",
    "www",
];

impl Code {
    /// Parses bytes as they stand in a path.
    pub fn parse(text: &[u8]) -> Result<Self, CodeError> {
        if text.is_empty() {
            return Err(CodeError::Empty);
        }
        if text.len() > CODE_BYTES_MAX {
            return Err(CodeError::TooLong);
        }
        if !text.iter().all(|byte| is_code_byte(*byte)) {
            return Err(CodeError::BadCharacter);
        }
        let mut bytes = [0; CODE_BYTES_MAX];
        bytes[..text.len()].copy_from_slice(text);
        Ok(Self { len: text.len() as u8, bytes })
    }

    /// Parses an alias that a caller chose: long enough, not reserved, not in the generated class.
    pub fn parse_alias(text: &str) -> Result<Self, AliasError> {
        let code = Self::parse(text.as_bytes())?;
        if text.len() < ALIAS_BYTES_MIN {
            return Err(AliasError::TooShort);
        }
        if is_reserved(text) {
            return Err(AliasError::Reserved);
        }
        if code.has_sealed_shape() {
            return Err(AliasError::LooksGenerated);
        }
        Ok(code)
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("a code holds ASCII only, checked by `parse`")
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len as usize]
    }

    /// Eight letters and digits, the first a digit: the class that sealed codes live in alone.
    pub fn has_sealed_shape(&self) -> bool {
        let bytes = self.as_bytes();
        bytes.len() == 8 && bytes[0].is_ascii_digit() && bytes.iter().all(u8::is_ascii_alphanumeric)
    }
}

/// True for a name that no alias and no generated code may take, whatever its case.
pub fn is_reserved(text: &str) -> bool {
    RESERVED.iter().any(|name| name.eq_ignore_ascii_case(text))
}

/// `A-Z a-z 0-9 - _`.
pub const fn is_code_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

impl PartialEq for Code {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Code {}

impl PartialOrd for Code {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Code {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Hash for Code {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl Borrow<[u8]> for Code {
    fn borrow(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl fmt::Display for Code {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Code({self})")
    }
}

/// Number of a served domain in this installation. Zero is the default domain, whatever its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainId(pub u32);

impl DomainId {
    pub const DEFAULT: Self = Self(0);
}

/// What a link is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkKey {
    pub domain: DomainId,
    pub code: Code,
}

impl LinkKey {
    pub const fn new(domain: DomainId, code: Code) -> Self {
        Self { domain, code }
    }
}
