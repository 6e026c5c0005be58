//! Sealed codes: an id and a 12-bit keyed tag through a keyed permutation, printed as eight
//! characters of which the first is a digit. Unguessable order, no coordination per code, and a
//! random guess passes the tag once in 4,096 tries.

use crate::domain::code::Code;

/// Ids that sealed codes can carry: 33 bits.
pub const SEALED_IDS_MAX: u64 = 1 << 33;

/// One version of the sealing key. Older versions keep opening the codes they made.
#[derive(Clone)]
pub struct SealKey {
    pub version: u32,
    pub secret: [u8; 32],
}

/// Seals with the newest key, opens with every key.
#[derive(Clone)]
pub struct Sealer {
    keys: Vec<SealKey>,
}

impl Sealer {
    /// `keys` in any order; the highest version seals. Panics when there is none.
    pub fn new(mut keys: Vec<SealKey>) -> Self {
        assert!(!keys.is_empty(), "sealing needs a key");
        keys.sort_by_key(|key| std::cmp::Reverse(key.version));
        Self { keys }
    }

    /// The code of `id`, which must be below [`SEALED_IDS_MAX`].
    pub fn seal(&self, _id: u64) -> Code {
        unreachable!("replaced by the domain work package")
    }

    /// The id in `code`, if any key made it. Costs no memory access beyond the keys.
    pub fn open(&self, _code: &Code) -> Option<u64> {
        let _ = &self.keys;
        None
    }
}
