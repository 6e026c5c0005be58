//! The search tree of a database: walked whole once, before it is used, and then gone down for each
//! IPv4 address, which most clicks come from. From the root that is some twenty steps through
//! memory that no cache holds; sixteen of them are taken beforehand, for all addresses.
//!
//! A look-up goes down one way, at most 128 nodes, whatever a file says, so a tree that runs in
//! circles does no harm later. It would to a check that follows every way: a hundred nodes whose
//! two sides both lead to the next have more ways than anyone can follow. Here each node is
//! entered once, so the work is bounded by the length of the file.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::database::DatabaseError;

const ADDRESS_BITS: u8 = 128;

/// The first bits of an IPv4 address that are gone down beforehand.
const START_BITS: u8 = 16;
/// Bytes between the tree and the records, which the numbers of records count in.
const GAP_BYTES: usize = 16;

/// Where the first bits of every IPv4 address lead, in a tree.
pub(super) struct Starts(Box<[u32]>);

/// The tree of a file, as its metadata describe it.
pub(super) struct Tree<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) n_nodes: usize,
    /// Bits of one side of a node: 24, 28 or 32.
    pub(super) side_bits: u16,
    /// False: the tree holds IPv4 addresses only.
    pub(super) v6: bool,
}

/// A node still to be entered, and the first bits of the addresses that lead there.
struct Way {
    node: usize,
    /// From the highest bit down, also for IPv4.
    bits: u128,
    depth: u8,
}

impl Tree<'_> {
    /// Calls `visit` with one address for each record that an address can lead to, and `pause`
    /// once for every node; says how many records there are. Fails when the tree is cut or leads
    /// below the last bit of an address. Whether a record lies in the file is up to `visit`.
    pub(super) fn each_record(
        &self,
        mut pause: impl FnMut() -> Result<(), DatabaseError>,
        mut visit: impl FnMut(IpAddr) -> Result<(), DatabaseError>,
    ) -> Result<usize, DatabaseError> {
        let depth_max = if self.v6 { ADDRESS_BITS } else { 32 };
        let mut entered = vec![0_u64; self.n_nodes.div_ceil(64)];
        let mut records: HashSet<usize, foldhash::fast::RandomState> = HashSet::default();
        let mut open = vec![Way { node: 0, bits: 0, depth: 0 }];
        while let Some(Way { node, bits, depth }) = open.pop() {
            pause()?;
            // The left one last, so that it is gone first: most files are laid out that way.
            for side in [1, 0] {
                let target = self.side(node, side).ok_or(DatabaseError::TreeCut)?;
                let bits = bits | (side as u128) << (ADDRESS_BITS - 1 - depth);
                if target < self.n_nodes {
                    if depth + 1 == depth_max {
                        return Err(DatabaseError::TreeDeep);
                    }
                    let (word, bit) = (target / 64, 1 << (target % 64));
                    if entered[word] & bit == 0 {
                        entered[word] |= bit;
                        open.push(Way { node: target, bits, depth: depth + 1 });
                    }
                } else if target > self.n_nodes && records.insert(target) {
                    visit(self.address(bits))?;
                }
            }
        }
        Ok(records.len())
    }

    /// Goes down the first bits of every IPv4 address.
    pub(super) fn starts(&self) -> Starts {
        // In a tree of IPv6 addresses those of IPv4 begin with 96 zeros.
        let root = if self.v6 { self.descend(0, 0, ADDRESS_BITS - 32) } else { 0 };
        let start = |bits: u32| self.descend(root, bits << START_BITS, START_BITS) as u32;
        Starts((0..1 << START_BITS).map(start).collect())
    }

    /// The number of the record of an IPv4 address, as the reader counts them: from the beginning
    /// of all records.
    #[inline]
    pub(super) fn record_number(&self, address: Ipv4Addr, starts: &Starts) -> Option<u32> {
        let bits = address.to_bits();
        let start = starts.0[(bits >> START_BITS) as usize] as usize;
        let target = self.descend(start, bits << START_BITS, 32 - START_BITS);
        Some(target.checked_sub(self.n_nodes + GAP_BYTES)? as u32)
    }

    /// Goes down from `target` by the highest `n` bits of `bits`, as far as there are nodes.
    #[inline]
    fn descend(&self, mut target: usize, mut bits: u32, n: u8) -> usize {
        for _ in 0..n {
            if target >= self.n_nodes {
                break;
            }
            // The tree was walked whole: every node has two sides.
            target = self.side(target, (bits >> 31) as usize).unwrap_or(self.n_nodes);
            bits <<= 1;
        }
        target
    }

    /// Where a side of a node leads: a node, nowhere (the number of nodes), or a record.
    fn side(&self, node: usize, side: usize) -> Option<usize> {
        let len = usize::from(self.side_bits) / 4;
        let bytes = self.bytes.get(node * len..(node + 1) * len)?;
        let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        Some(match (self.side_bits, side) {
            // The byte in the middle holds the highest four bits of both sides.
            (28, 0) => usize::from(bytes[3] >> 4) << 24 | number(&bytes[..3]),
            (28, _) => usize::from(bytes[3] & 15) << 24 | number(&bytes[4..]),
            (_, 0) => number(&bytes[..len / 2]),
            (_, _) => number(&bytes[len / 2..]),
        })
    }

    fn address(&self, bits: u128) -> IpAddr {
        if self.v6 {
            IpAddr::V6(Ipv6Addr::from_bits(bits))
        } else {
            IpAddr::V4(Ipv4Addr::from_bits((bits >> 96) as u32))
        }
    }
}
