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
    "bulk",
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn exactly_the_alphabet_and_the_lengths_are_accepted(
            text in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let fits = (1..=50).contains(&text.len())
                && text.iter().all(|byte| is_code_byte(*byte));
            let code = Code::parse(&text);
            prop_assert_eq!(code.is_ok(), fits);
            if let Ok(code) = code {
                prop_assert_eq!(code.as_bytes(), text.as_slice());
                prop_assert_eq!(code.as_str().as_bytes(), text.as_slice());
                prop_assert_eq!(Code::parse(code.to_string().as_bytes()), Ok(code));
            }
        }

        #[test]
        fn well_formed_codes_read_back(
            text in "[A-Za-z0-9_-]{1,50}",
            other in "[A-Za-z0-9_-]{1,50}",
        ) {
            let (code, second) =
                (Code::parse(text.as_bytes()).unwrap(), Code::parse(other.as_bytes()).unwrap());
            prop_assert_eq!(code == second, text == other);
            prop_assert_eq!(code.cmp(&second), text.cmp(&other));
            let map = HashMap::from([(code, 1)]);
            prop_assert_eq!(map.get(text.as_bytes()), Some(&1));
        }

        #[test]
        fn aliases_are_codes_but_never_reserved_nor_generated(text in "[A-Za-z0-9]{1,10}") {
            if let Ok(code) = Code::parse_alias(&text) {
                prop_assert!(text.len() >= 3 && !code.has_sealed_shape() && !is_reserved(&text));
            }
        }
    }

    #[test]
    fn refusals_say_why() {
        assert_eq!(Code::parse(b""), Err(CodeError::Empty));
        assert_eq!(Code::parse(&[b'a'; 51]), Err(CodeError::TooLong));
        for text in ["a b", "a/b", "a.b", "ä", "a\n", "a%20", "robots.txt"] {
            assert_eq!(Code::parse(text.as_bytes()), Err(CodeError::BadCharacter), "{text}");
        }
        assert_eq!(Code::parse_alias("ab"), Err(AliasError::TooShort));
        assert_eq!(Code::parse_alias(""), Err(AliasError::Malformed(CodeError::Empty)));
        assert_eq!(Code::parse_alias("1abcdefg"), Err(AliasError::LooksGenerated));
        for text in ["api", "API", "Admin", "LOGIN", "well-known"] {
            assert_eq!(Code::parse_alias(text), Err(AliasError::Reserved), "{text}");
        }
        for text in ["abc", "abcdefgh", "1abcdef", "1abcdefgh", "1abcdef-", "1abcdef_", "apis"] {
            assert!(Code::parse_alias(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn reserved_names_are_listed_in_order_once_and_could_be_aliases() {
        assert!(RESERVED.is_sorted_by(|a, b| a < b));
        for name in RESERVED {
            assert!(Code::parse(name.as_bytes()).is_ok(), "{name}");
            assert_eq!(*name, name.to_ascii_lowercase());
        }
    }
}
