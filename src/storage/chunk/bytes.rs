//! Numbers and checksums as bytes: what everything that packs clicks is made of.

/// Bytes that are not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("click counts that do not parse")]
pub(in crate::storage) struct Damage;

pub(in crate::storage) type Outcome<T> = Result<T, Damage>;

/// Writes the checksum into the first four bytes, so that the value counts under this row id only.
pub(in crate::storage) fn seal_at(id: i64, body: &mut [u8]) {
    let crc = checksum(id, &body[4..]);
    body[..4].copy_from_slice(&crc.to_le_bytes());
}

fn checksum(id: i64, rest: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&id.to_le_bytes());
    crc.update(rest);
    crc.finalize()
}

/// Writes the checksum into the first four bytes.
pub(in crate::storage) fn seal(body: &mut [u8]) {
    let crc = crc32fast::hash(&body[4..]);
    body[..4].copy_from_slice(&crc.to_le_bytes());
}

pub(in crate::storage) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Makes small numbers of those near zero, whatever their sign.
pub(in crate::storage) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Back from [`zigzag`].
pub(in crate::storage) const fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

pub(super) const fn damaged() -> Damage {
    Damage
}

/// Reads what `put` and `seal` wrote. Never reads past the end, never panics.
pub(in crate::storage) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(in crate::storage) fn open(body: &'a [u8]) -> Outcome<Self> {
        Self::checked(body, crc32fast::hash)
    }

    /// Of a value under this row id.
    pub(in crate::storage) fn open_at(id: i64, body: &'a [u8]) -> Outcome<Self> {
        Self::checked(body, |rest| checksum(id, rest))
    }

    /// Of bytes without a checksum.
    pub(in crate::storage) const fn of(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    fn checked(body: &'a [u8], checksum: impl FnOnce(&[u8]) -> u32) -> Outcome<Self> {
        let (crc, rest) = body.split_first_chunk::<4>().ok_or_else(damaged)?;
        if u32::from_le_bytes(*crc) != checksum(rest) {
            return Err(damaged());
        }
        Ok(Self { rest })
    }

    pub(in crate::storage) fn number(&mut self) -> Outcome<u64> {
        let mut value = 0_u64;
        for (index, byte) in self.rest.iter().enumerate().take(10) {
            let bits = u64::from(byte & 0x7F);
            if index == 9 && bits > 1 {
                return Err(damaged());
            }
            value |= bits << (7 * index);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        Err(damaged())
    }

    pub(in crate::storage) fn byte(&mut self) -> Outcome<u8> {
        let (byte, rest) = self.rest.split_first().ok_or_else(damaged)?;
        self.rest = rest;
        Ok(*byte)
    }

    pub(in crate::storage) fn bytes(&mut self, n: usize) -> Outcome<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(n).ok_or_else(damaged)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// A reader of the next `n` bytes, which are passed over here.
    pub(in crate::storage) fn part(&mut self, n: usize) -> Outcome<Self> {
        Ok(Self { rest: self.bytes(n)? })
    }

    /// A number of entries that take at least `bytes_min` each: what cannot fit is damage, so that
    /// nothing is allocated for it.
    pub(in crate::storage) fn count(&mut self, bytes_min: usize) -> Outcome<usize> {
        let n = usize::try_from(self.number()?).map_err(|_| damaged())?;
        if n > self.rest.len() / bytes_min {
            return Err(damaged());
        }
        Ok(n)
    }

    pub(in crate::storage) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(in crate::storage) fn finish(self) -> Outcome<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(damaged()) }
    }
}
