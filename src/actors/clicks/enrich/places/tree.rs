//! Walks the whole search tree of a database once, before it is used.
//!
//! A look-up goes down one way, at most 128 nodes, whatever a file says, so a tree that runs in
//! circles does no harm later. It would to a check that follows every way: a hundred nodes whose
//! two sides both lead to the next have more ways than anyone can follow. Here each node is
//! entered once, so the work is bounded by the length of the file.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::database::DatabaseError;

const ADDRESS_BITS: u8 = 128;

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
