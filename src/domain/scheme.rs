//! How new codes are made.

use crate::domain::code::Code;

/// `codes.scheme`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CodeScheme {
    #[default]
    Sealed,
    Snowflake,
    Random,
    Hash,
}

impl CodeScheme {
    pub const ALL: &[Self] = &[Self::Sealed, Self::Snowflake, Self::Random, Self::Hash];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sealed => "sealed",
            Self::Snowflake => "snowflake",
            Self::Random => "random",
            Self::Hash => "hash",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|scheme| scheme.as_str() == word)
    }
}

/// Eleven characters of base 62: a Snowflake id, zero-padded.
pub fn snowflake_code(_id: u64) -> Code {
    unreachable!("replaced by the domain work package")
}

/// `length` characters of base 62 from `entropy` (at least one byte per character is consumed,
/// rejection-sampled so that every character is equally likely). `None` when entropy ran out.
pub fn random_code(_length: usize, _entropy: &[u8]) -> Option<Code> {
    unreachable!("replaced by the domain work package")
}

/// The code of a destination: base 62 of a digest. `attempt` counts collisions; each appends a
/// constant and hashes again.
pub fn hash_code(_destination: &str, _attempt: u32, _length: usize) -> Code {
    unreachable!("replaced by the domain work package")
}
