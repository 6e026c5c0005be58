//! Keys of the table: a domain and a code of up to eleven bytes in sixteen bytes, the rest boxed.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};

use crate::domain::code::{DomainId, LinkKey};
use crate::domain::limits::CODE_BYTES_MAX;

/// Longest code that [`ShortKey`] can hold, in bytes.
pub(super) const SHORT_CODE_MAX: usize = 11;

/// The first eight bytes of the code, then its last three, its length and the domain. Aligned to
/// eight bytes, so that an entry of the table is not padded to sixteen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ShortKey {
    low: u64,
    high: u64,
}

/// Domain (four bytes, little endian) and code.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct LongKey(Box<[u8]>);

/// Either key, where both kinds are kept together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Short(ShortKey),
    Long(LongKey),
}

/// Room for the bytes of a [`LongKey`] on the stack.
pub(super) type LongBuffer = [u8; 4 + CODE_BYTES_MAX];

impl ShortKey {
    /// Packs a code of 1 to 11 bytes; `None` for other lengths. Two different codes never pack
    /// into the same key, whatever bytes they hold.
    ///
    /// Reads overlapping words instead of single bytes: where two reads overlap they carry the
    /// same bytes to the same place, so that `|` does no harm.
    #[inline]
    pub(super) fn pack(domain: DomainId, code: &[u8]) -> Option<Self> {
        let length = code.len();
        let (low, tail) = match length {
            8..=SHORT_CODE_MAX => {
                let first = u64::from_le_bytes(*code.first_chunk::<8>()?);
                let last = u64::from(u32::from_le_bytes(*code.last_chunk::<4>()?));
                (first, last >> (8 * (12 - length)))
            }
            4..8 => {
                let first = u64::from(u32::from_le_bytes(*code.first_chunk::<4>()?));
                let last = u64::from(u32::from_le_bytes(*code.last_chunk::<4>()?));
                (first | last << (8 * (length - 4)), 0)
            }
            1..4 => {
                let (first, middle, last) = (code[0], code[length / 2], code[length - 1]);
                let low = u64::from(first)
                    | u64::from(middle) << (8 * (length / 2))
                    | u64::from(last) << (8 * (length - 1));
                (low, 0)
            }
            _ => return None,
        };
        let high = u64::from(domain.0) << 32 | (length as u64) << 24 | tail;
        Some(Self { low, high })
    }
}

impl Hash for ShortKey {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(u128::from(self.high) << 64 | u128::from(self.low));
    }
}

impl LongKey {
    /// The bytes that a key of `domain` and `code` has; `None` when no code is that long.
    pub(super) fn bytes<'a>(
        domain: DomainId,
        code: &[u8],
        buffer: &'a mut LongBuffer,
    ) -> Option<&'a [u8]> {
        let bytes = buffer.get_mut(..4 + code.len())?;
        bytes[..4].copy_from_slice(&domain.0.to_le_bytes());
        bytes[4..].copy_from_slice(code);
        Some(bytes)
    }

    /// Bytes on the heap.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Looks up by bytes without a box: `[u8]` hashes as the boxed bytes do.
impl Borrow<[u8]> for LongKey {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl From<&LinkKey> for Key {
    fn from(key: &LinkKey) -> Self {
        let code = key.code.as_bytes();
        match ShortKey::pack(key.domain, code) {
            Some(short) => Self::Short(short),
            None => {
                let mut bytes = Vec::with_capacity(4 + code.len());
                bytes.extend_from_slice(&key.domain.0.to_le_bytes());
                bytes.extend_from_slice(code);
                Self::Long(LongKey(bytes.into()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::domain::code::Code;

    fn key(domain: u32, code: &str) -> Key {
        let code = Code::parse(code.as_bytes()).expect("a well-formed code");
        Key::from(&LinkKey::new(DomainId(domain), code))
    }

    #[test]
    fn every_length_packs_every_byte() {
        let code = b"abcdefghijk";
        for length in 1..=code.len() {
            let whole = ShortKey::pack(DomainId(7), &code[..length]).expect("short enough");
            let mut bytes = whole.low.to_le_bytes().to_vec();
            bytes.extend_from_slice(&whole.high.to_le_bytes()[..3]);
            assert_eq!(&bytes[..length], &code[..length], "length {length}");
            assert!(bytes[length..].iter().all(|byte| *byte == 0), "length {length}");
            assert_eq!(whole.high >> 24 & 0xFF, length as u64);
            assert_eq!(whole.high >> 32, 7);
        }
        assert_eq!(ShortKey::pack(DomainId(7), b""), None);
        assert_eq!(ShortKey::pack(DomainId(7), b"abcdefghijkl"), None);
    }

    #[test]
    fn different_codes_and_domains_have_different_keys() {
        let mut seen = HashMap::new();
        let codes =
            ["a", "aa", "aaa", "aaaa", "aaaaaaaa", "aaaaaaaaaaa", "aaaaaaaaaaaa", "b", "ab"];
        for domain in [0, 1, 256, u32::MAX] {
            for code in codes {
                assert_eq!(seen.insert(key(domain, code), (domain, code)), None);
            }
        }
        assert_eq!(ShortKey::pack(DomainId(0), b"a\0"), ShortKey::pack(DomainId(0), b"a\0"));
        assert_ne!(ShortKey::pack(DomainId(0), b"a\0"), ShortKey::pack(DomainId(0), b"a"));
    }

    #[test]
    fn an_entry_of_the_table_is_not_padded() {
        assert_eq!((size_of::<ShortKey>(), align_of::<ShortKey>()), (16, 8));
    }
}
