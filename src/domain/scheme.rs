//! How new codes are made.
//!
//! No function here gives a reserved name or a code of sealed shape: the first would hide a page,
//! the second would be refused without a look by installations that trust the tag.

use crate::domain::base62;
use crate::domain::code::{Code, is_reserved};
use crate::domain::limits::{CODE_BYTES_MAX, CODE_COLLISIONS_MAX};

/// Characters of a Snowflake id in base 62: 62^11 is above 2^64.
const SNOWFLAKE_BYTES: usize = 11;
/// What a collision appends to a destination before it is hashed again.
const COLLISION: &[u8] = b"\0collision";
/// Hash codes tried for one link before a drawn one is taken: a URL may be shortened any number of
/// times, and the row of its hashes is walked from the start each time.
const HASHES_MAX: u32 = 2 * CODE_COLLISIONS_MAX;
/// Binds a seed to this use.
const SEED_CONTEXT: &str = "shunt 2026 codes of one link, drawn one after the other";

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
pub fn snowflake_code(id: u64) -> Code {
    let mut text = [0; SNOWFLAKE_BYTES];
    base62::encode(id, &mut text);
    Code::parse(&text).expect("base 62 is within the alphabet of codes")
}

/// The code of a destination: base 62 of a digest. `attempt` counts collisions; each appends a
/// constant (with its number) and hashes again. A length outside 1 to 50 is taken as the nearest
/// of these.
pub fn hash_code(destination: &str, attempt: u32, length: usize) -> Code {
    let mut hasher = blake3::Hasher::new();
    hasher.update(destination.as_bytes());
    if attempt > 0 {
        hasher.update(COLLISION).update(&attempt.to_le_bytes());
    }
    drawn(length, &hasher)
}

/// The codes to try for one link, one after the other, until one is free. All follow from what is
/// in here, so that whoever finds one taken can go on without asking back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeSeries {
    /// The first ones are hashes of the destination.
    pub hashed: bool,
    /// Characters of the first one.
    pub length: usize,
    /// Random bytes that nobody knows.
    pub seed: [u8; 16],
}

impl CodeSeries {
    /// The code for the link to `destination` after `attempt` others were taken. Every fifth
    /// collision makes it a character longer.
    pub fn code(&self, destination: &str, attempt: u32) -> Code {
        let grown = self.length.saturating_add((attempt / CODE_COLLISIONS_MAX) as usize);
        let length = grown.min(CODE_BYTES_MAX);
        if self.hashed && attempt < HASHES_MAX {
            return hash_code(destination, attempt, length);
        }
        let mut hasher = blake3::Hasher::new_derive_key(SEED_CONTEXT);
        hasher.update(&self.seed).update(&attempt.to_le_bytes());
        drawn(length, &hasher)
    }
}

/// The first code that may be given out, from an endless digest.
fn drawn(length: usize, hasher: &blake3::Hasher) -> Code {
    let mut digest = hasher.finalize_xof();
    let endless = std::iter::repeat_with(move || {
        let mut block = [0; 64];
        digest.fill(&mut block);
        block
    });
    sampled(length, endless.flatten()).expect("an endless digest does not run out")
}

/// The first code that may be given out, from a stream of random bytes, rejection-sampled so that
/// every character is equally likely. `None` when the bytes ran out.
fn sampled(length: usize, bytes: impl Iterator<Item = u8>) -> Option<Code> {
    let length = length.clamp(1, CODE_BYTES_MAX);
    let mut characters = bytes.filter_map(base62::sample);
    loop {
        let mut text = [0; CODE_BYTES_MAX];
        for slot in &mut text[..length] {
            *slot = characters.next()?;
        }
        let code = Code::parse(&text[..length]).expect("base 62 is the alphabet of codes");
        if !code.has_sealed_shape() && !is_reserved(code.as_str()) {
            return Some(code);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn from_bytes(length: usize, bytes: &[u8]) -> Option<Code> {
        sampled(length, bytes.iter().copied())
    }

    proptest! {
        #[test]
        fn snowflake_codes_carry_the_id(id: u64) {
            let code = snowflake_code(id);
            prop_assert_eq!(code.as_bytes().len(), 11);
            prop_assert!(!code.has_sealed_shape() && !is_reserved(code.as_str()));
            prop_assert_eq!(base62::decode(code.as_bytes()), Some(id));
        }

        #[test]
        fn sampled_codes_are_well_formed_or_absent(length in 0_usize..60, entropy: Vec<u8>) {
            if let Some(code) = from_bytes(length, &entropy) {
                prop_assert_eq!(code.as_bytes().len(), length.clamp(1, CODE_BYTES_MAX));
                prop_assert!(code.as_bytes().len() <= entropy.len());
                prop_assert!(!code.has_sealed_shape() && !is_reserved(code.as_str()));
            }
        }

        #[test]
        fn hash_codes_depend_on_destination_and_attempt_alone(url: String, length in 1_usize..=50) {
            let code = hash_code(&url, 0, length);
            prop_assert_eq!(code, hash_code(&url, 0, length));
            prop_assert_eq!(code.as_bytes().len(), length);
            prop_assert!(!code.has_sealed_shape() && !is_reserved(code.as_str()));
        }
    }

    #[test]
    fn the_class_of_sealed_codes_and_reserved_names_are_skipped() {
        // Eight zeros make 00000000, which looks sealed; the eight after them make AAAAAAAA.
        let entropy: Vec<u8> = [[0; 8], [10; 8]].concat();
        assert_eq!(from_bytes(8, &entropy).unwrap().as_str(), "AAAAAAAA");
        let spelled = |text: &str| -> Vec<u8> {
            text.bytes().map(|byte| base62::decode(&[byte]).unwrap() as u8).collect()
        };
        let entropy = [spelled("LoGin"), spelled("spRng")].concat();
        assert_eq!(from_bytes(5, &entropy).unwrap().as_str(), "spRng");
        assert_eq!(from_bytes(5, &spelled("LoGin")), None);
    }

    #[test]
    fn bytes_that_would_favour_some_characters_are_not_used() {
        assert_eq!(from_bytes(4, &[255, 248, 0, 250, 1, 2, 3]).unwrap().as_str(), "0123");
        assert_eq!(from_bytes(4, &[255; 64]), None);
    }

    proptest! {
        #[test]
        fn a_series_grows_never_repeats_and_stays_in_its_class(
            hashed: bool, length in 5_usize..=32, seed: [u8; 16],
        ) {
            let series = CodeSeries { hashed, length, seed };
            let url = "https://example.com/";
            let codes: Vec<Code> = (0..16).map(|attempt| series.code(url, attempt)).collect();
            for (attempt, code) in codes.iter().enumerate() {
                prop_assert_eq!(code.as_bytes().len(), length + attempt / 5);
                prop_assert!(!code.has_sealed_shape() && !is_reserved(code.as_str()));
            }
            prop_assert_eq!(codes.iter().collect::<HashSet<_>>().len(), 16);
            prop_assert_eq!(codes[0] == hash_code(url, 0, length), hashed);
            let other = CodeSeries { seed: [seed[0] ^ 1; 16], ..series };
            prop_assert_ne!(codes[15], other.code(url, 15));
        }
    }

    #[test]
    fn a_collision_gives_another_code() {
        let codes: HashSet<_> =
            (0..1_000).map(|attempt| hash_code("https://example.com/", attempt, 7)).collect();
        assert_eq!(codes.len(), 1_000);
    }

    #[test]
    fn schemes_read_back() {
        for scheme in CodeScheme::ALL {
            assert_eq!(CodeScheme::from_word(scheme.as_str()), Some(*scheme));
        }
        assert_eq!(CodeScheme::from_word("Sealed"), None);
    }
}
