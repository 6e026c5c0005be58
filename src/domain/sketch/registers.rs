//! Many visitors: the registers of a HyperLogLog.
//!
//! In memory a register is a byte, because then merging is one byte-wise maximum that the compiler
//! turns into vector instructions; encoded it is five bits.

use std::array;

use super::estimate;

/// Bits of a prefix that choose its register.
const INDEX_BITS: u32 = 14;
/// Bits of a prefix whose leading zeroes are counted.
pub(super) const RANK_BITS: u32 = 32 - INDEX_BITS;
/// Number of registers.
pub(super) const REGISTERS: usize = 1 << INDEX_BITS;
/// Largest value of a register: all rank bits are zero.
pub(super) const RANK_MAX: u8 = RANK_BITS as u8 + 1;
/// Bits of a packed register.
const FIELD_BITS: usize = 5;
/// Registers that are packed together, and the bytes they fill: as many as a field has bits.
const GROUP: usize = 8;
const GROUP_BYTES: usize = FIELD_BITS;
/// Bytes of all registers, packed.
pub(super) const PACKED_BYTES: usize = REGISTERS / GROUP * GROUP_BYTES;

const _: () = assert!(RANK_MAX < 1 << FIELD_BITS);

/// The largest rank seen per register, 0 for none.
pub(super) type Ranks = [u8; REGISTERS];

/// Ranks that visitors are added to.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Registers(Box<Ranks>);

impl Default for Registers {
    fn default() -> Self {
        Self(Box::new([0; REGISTERS]))
    }
}

impl Registers {
    pub(super) fn insert(&mut self, prefix: u32) {
        let index = (prefix >> RANK_BITS) as usize;
        // A one behind the last rank bit ends the count at `RANK_MAX`.
        let bits = (prefix << INDEX_BITS) | 1 << (INDEX_BITS - 1);
        let rank = bits.leading_zeros() as u8 + 1;
        self.0[index] = self.0[index].max(rank);
    }

    pub(super) fn merge(&mut self, others: &Ranks) {
        for (mine, other) in self.0.iter_mut().zip(others) {
            *mine = (*mine).max(*other);
        }
    }

    pub(super) fn ranks(&self) -> &Ranks {
        &self.0
    }

    /// Appends all registers, the first in the lowest bits of the first byte.
    pub(super) fn pack(&self, out: &mut Vec<u8>) {
        out.reserve(PACKED_BYTES);
        for group in self.0.as_chunks::<GROUP>().0 {
            let packed = squeeze(u64::from_le_bytes(*group)).to_le_bytes();
            out.extend_from_slice(&packed[..GROUP_BYTES]);
        }
    }

    pub(super) fn estimate(&self) -> u64 {
        // One table would make most additions wait for the one before, as most ranks are equal.
        let mut tables = [[0_u32; RANK_MAX as usize + 1]; 4];
        for registers in self.0.as_chunks::<4>().0 {
            for (table, rank) in tables.iter_mut().zip(registers) {
                table[usize::from(*rank)] += 1;
            }
        }
        estimate::from_histogram(|rank| tables.iter().map(|table| table[rank]).sum())
    }
}

/// The ranks that [`Registers::pack`] wrote. `None` unless there are as many as there should be,
/// none above [`RANK_MAX`] and some above zero. No more can be asked: a single rank of one stands
/// for up to 2^17 visitors, more than any list.
pub(super) fn unpack(packed: &[u8]) -> Option<Ranks> {
    const ONES: u64 = u64::from_le_bytes([1; GROUP]);
    /// Lifts every rank that is too large, and no other, to the high bit of its byte.
    const LIFT: u64 = ONES * (0x7F - RANK_MAX as u64);

    (packed.len() == PACKED_BYTES).then_some(())?;
    let mut ranks = [0; REGISTERS];
    let (mut seen, mut lifted) = (0, 0);
    // Eight groups at a time are one step for vector instructions.
    let blocks = packed.as_chunks::<{ GROUP * GROUP_BYTES }>().0;
    for (block, bytes) in ranks.as_chunks_mut::<{ GROUP * GROUP }>().0.iter_mut().zip(blocks) {
        let groups: [u64; GROUP] = array::from_fn(|index| group(bytes, index));
        let groups = groups.map(spread);
        for (eight, group) in block.as_chunks_mut::<GROUP>().0.iter_mut().zip(groups) {
            seen |= group;
            lifted |= group + LIFT;
            *eight = group.to_le_bytes();
        }
    }
    (seen != 0 && lifted & (ONES << 7) == 0).then_some(ranks)
}

/// The packed group at `index` of a block.
fn group(block: &[u8; GROUP * GROUP_BYTES], index: usize) -> u64 {
    let mut group = [0; GROUP];
    group[..GROUP_BYTES].copy_from_slice(&block[index * GROUP_BYTES..][..GROUP_BYTES]);
    u64::from_le_bytes(group)
}

/// Moves eight fields of five bits apart, one to a byte, by halves.
const fn spread(fields: u64) -> u64 {
    let halves = (fields & 0xF_FFFF) | (fields & 0xFF_FFF0_0000) << 12;
    let quarters = (halves & 0x0000_03FF_0000_03FF) | (halves & 0x000F_FC00_000F_FC00) << 6;
    (quarters & 0x001F_001F_001F_001F) | (quarters & 0x03E0_03E0_03E0_03E0) << 3
}

/// Undoes [`spread`].
const fn squeeze(ranks: u64) -> u64 {
    let quarters = (ranks & 0x001F_001F_001F_001F) | (ranks >> 3 & 0x03E0_03E0_03E0_03E0);
    let halves = (quarters & 0x0000_03FF_0000_03FF) | (quarters >> 6 & 0x000F_FC00_000F_FC00);
    (halves & 0xF_FFFF) | (halves >> 12 & 0xFF_FFF0_0000)
}
