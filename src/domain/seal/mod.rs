//! Sealed codes: an id and a 12-bit keyed tag through a keyed permutation, printed as eight
//! characters of which the first is a digit. Unguessable order, no coordination per code, and a
//! random guess passes the tag once in 4,096 tries.
//!
//! The permutation is a Feistel network over exactly 45 bits, halves of 23 and 22 bits that take
//! turns, as in the alternating networks of Black and Rogaway ("Ciphers with arbitrary finite
//! domains", 2002) and of NIST SP 800-38G. Luby and Rackoff (1988) showed that a few rounds of it
//! are a pseudo-random permutation when the round function is a pseudo-random function; here that
//! is SipHash-2-4 (Aumasson and Bernstein, 2012). Twelve rounds leave the known attacks on small
//! halves behind. A code is not a secret all the same: it says no more than that its maker held
//! the key.

use siphasher::sip::SipHasher24;

use crate::domain::base62;
use crate::domain::code::Code;

/// Ids that sealed codes can carry: 33 bits.
pub const SEALED_IDS_MAX: u64 = 1 << (VALUE_BITS - TAG_BITS);
/// Name of the space that these ids are leased from.
pub const SEALED_SPACE: &str = "sealed";

const TAG_BITS: u32 = 12;
const TAG_MASK: u64 = (1 << TAG_BITS) - 1;
const LEFT_BITS: u32 = 23;
const RIGHT_BITS: u32 = 22;
const VALUE_BITS: u32 = LEFT_BITS + RIGHT_BITS;
const CODE_BYTES: usize = 8;
const ROUNDS: usize = 12;
/// Binds the derived keys to this use and layout; another layout needs another text.
const KEY_CONTEXT: &str = "shunt 2026 sealed code: 12 Feistel rounds over 45 bits, tag";

// The first character is a digit: ten times 62^7 values must hold every sealed one.
const _: () = assert!(10 * 62_u64.pow(7) > 1 << VALUE_BITS);

/// One version of the sealing key. Older versions keep opening the codes they made.
#[derive(Clone)]
pub struct SealKey {
    pub version: u32,
    pub secret: [u8; 32],
}

/// Seals with the newest key, opens with every key.
#[derive(Clone)]
pub struct Sealer {
    /// The newest first.
    seals: Vec<Seal>,
}

/// One key, ready for use.
#[derive(Clone)]
struct Seal {
    permutation: Feistel<LEFT_BITS, RIGHT_BITS>,
    tagger: SipHasher24,
}

/// A keyed permutation over `LEFT + RIGHT` bits.
#[derive(Clone)]
struct Feistel<const LEFT: u32, const RIGHT: u32> {
    rounds: [SipHasher24; ROUNDS],
}

impl Sealer {
    /// `keys` in any order; the highest version seals. Panics when there is none.
    pub fn new(mut keys: Vec<SealKey>) -> Self {
        assert!(!keys.is_empty(), "sealing needs a key");
        keys.sort_by_key(|key| std::cmp::Reverse(key.version));
        Self { seals: keys.iter().map(|key| Seal::new(&key.secret)).collect() }
    }

    /// The code of `id`, which must be below [`SEALED_IDS_MAX`]; panics otherwise.
    pub fn seal(&self, id: u64) -> Code {
        let value = self.seals[0].close(id);
        let mut text = [0; CODE_BYTES];
        base62::encode(value, &mut text);
        Code::parse(&text).expect("base 62 is within the alphabet of codes")
    }

    /// The id in `code`, if any key made it, the newest first. Costs no memory access beyond the
    /// keys, allocates nothing, and does the same work for every code of sealed shape.
    pub fn open(&self, code: &Code) -> Option<u64> {
        self.open_bytes(code.as_bytes())
    }

    /// Like [`open`](Self::open), for bytes as they stand in a path.
    pub fn open_bytes(&self, code: &[u8]) -> Option<u64> {
        if code.len() != CODE_BYTES || !code[0].is_ascii_digit() {
            return None;
        }
        let value = base62::decode(code).filter(|value| *value < 1 << VALUE_BITS)?;
        // All keys are tried, whichever fits: the time tells nothing about the age of a code.
        self.seals.iter().fold(None, |found, seal| {
            let opened = seal.open(value);
            found.or(opened)
        })
    }
}

impl Seal {
    fn new(secret: &[u8; 32]) -> Self {
        let mut keys = blake3::Hasher::new_derive_key(KEY_CONTEXT).update(secret).finalize_xof();
        let mut next = || {
            let mut key = [0; 16];
            keys.fill(&mut key);
            SipHasher24::new_with_key(&key)
        };
        Self { permutation: Feistel { rounds: std::array::from_fn(|_| next()) }, tagger: next() }
    }

    fn close(&self, id: u64) -> u64 {
        assert!(id < SEALED_IDS_MAX, "sealed codes carry ids below 2^33");
        self.permutation.forward(id << TAG_BITS | self.tag(id))
    }

    fn open(&self, value: u64) -> Option<u64> {
        let value = self.permutation.backward(value);
        let id = value >> TAG_BITS;
        (value & TAG_MASK == self.tag(id)).then_some(id)
    }

    fn tag(&self, id: u64) -> u64 {
        self.tagger.hash(&id.to_le_bytes()) & TAG_MASK
    }
}

impl<const LEFT: u32, const RIGHT: u32> Feistel<LEFT, RIGHT> {
    fn forward(&self, value: u64) -> u64 {
        let (mut left, mut right) = split::<RIGHT>(value);
        for pair in self.rounds.chunks_exact(2) {
            left ^= mix::<LEFT>(&pair[0], right);
            right ^= mix::<RIGHT>(&pair[1], left);
        }
        join::<RIGHT>(left, right)
    }

    fn backward(&self, value: u64) -> u64 {
        let (mut left, mut right) = split::<RIGHT>(value);
        for pair in self.rounds.chunks_exact(2).rev() {
            right ^= mix::<RIGHT>(&pair[1], left);
            left ^= mix::<LEFT>(&pair[0], right);
        }
        join::<RIGHT>(left, right)
    }
}

/// The round function: as many bits of the keyed hash of one half as the other half has.
fn mix<const BITS: u32>(round: &SipHasher24, half: u32) -> u32 {
    (round.hash(&half.to_le_bytes()) & ((1 << BITS) - 1)) as u32
}

const fn split<const RIGHT: u32>(value: u64) -> (u32, u32) {
    ((value >> RIGHT) as u32, (value & ((1 << RIGHT) - 1)) as u32)
}

const fn join<const RIGHT: u32>(left: u32, right: u32) -> u64 {
    (left as u64) << RIGHT | right as u64
}

#[cfg(test)]
mod tests;
