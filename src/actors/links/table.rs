//! The maps that readers look at. Everybody reads; only the shard that owns a key writes it.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use papaya::HashMap;

use super::key::{Key, LongBuffer, LongKey, ShortKey};
use super::limits::LIMIT_BYTES;
use crate::domain::code::DomainId;
use crate::domain::hot::{HotLink, Rare};

/// Share of the slot arrays per link, in bytes: nine per slot, at the emptiest that growth leaves.
const SLOT_BYTES: usize = 21;

pub(super) struct Table {
    short: HashMap<ShortKey, HotLink, RandomState>,
    long: HashMap<LongKey, HotLink, RandomState>,
    /// Decides which shard owns a key. Not the maps' own hasher: a shard must not fill one region.
    spread: RandomState,
    shards: usize,
}

/// What [`Table::insert`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// The key was not there.
    Inserted,
    /// An older version with this weight was there.
    Replaced(usize),
    /// The same or a newer version is there; nothing changed.
    Stale,
}

/// What the clock hand finds at a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passed {
    Absent,
    /// It was visited since the hand last passed; the mark is cleared.
    Visited,
    Cold,
}

impl Table {
    /// `shards` must be a power of two.
    pub(super) fn new(shards: usize) -> Self {
        assert!(shards.is_power_of_two(), "the shard is found by a mask");
        // One collector: its per-thread state is kept once, not per map.
        let collector = Arc::default();
        Self {
            short: HashMap::builder()
                .hasher(RandomState::default())
                .shared_collector(Arc::clone(&collector))
                .build(),
            long: HashMap::builder()
                .hasher(RandomState::default())
                .shared_collector(collector)
                .build(),
            spread: RandomState::default(),
            shards,
        }
    }

    /// Which shard owns `key`.
    pub(super) fn owner(&self, key: &Key) -> usize {
        self.spread.hash_one(key) as usize & (self.shards - 1)
    }

    /// Makes room for `links` more, so that filling the table does not copy it on the way.
    pub(super) fn reserve(&self, links: usize) {
        self.short.pin().reserve(links);
    }

    /// The hot path. No allocation, no lock; the link is marked as used.
    #[inline]
    pub(super) fn read<R>(
        &self,
        domain: DomainId,
        code: &[u8],
        look: impl FnOnce(&HotLink) -> R,
    ) -> Option<R> {
        let Some(key) = ShortKey::pack(domain, code) else {
            return self.read_long(domain, code, look);
        };
        let guard = self.short.guard();
        let link = self.short.get(&key, &guard)?;
        link.visit();
        Some(look(link))
    }

    #[inline(never)]
    fn read_long<R>(
        &self,
        domain: DomainId,
        code: &[u8],
        look: impl FnOnce(&HotLink) -> R,
    ) -> Option<R> {
        let mut buffer: LongBuffer = [0; _];
        let bytes = LongKey::bytes(domain, code, &mut buffer)?;
        let guard = self.long.guard();
        let link = self.long.get(bytes, &guard)?;
        link.visit();
        Some(look(link))
    }

    /// Looks without leaving a mark.
    pub(super) fn peek<R>(&self, key: &Key, look: impl FnOnce(&HotLink) -> R) -> Option<R> {
        match key {
            Key::Short(key) => self.short.pin().get(key).map(look),
            Key::Long(key) => self.long.pin().get(key).map(look),
        }
    }

    pub(super) fn version(&self, key: &Key) -> Option<u32> {
        self.peek(key, HotLink::version)
    }

    /// Puts a link in unless the same or a newer version is there. Owner only.
    pub(super) fn insert(&self, key: Key, link: HotLink) -> Put {
        match key {
            Key::Short(key) => {
                let map = self.short.pin();
                let Err(occupied) = map.try_insert(key, link) else {
                    return Put::Inserted;
                };
                if occupied.current.version() >= occupied.not_inserted.version() {
                    return Put::Stale;
                }
                let old = weigh(0, occupied.current);
                map.insert(key, occupied.not_inserted);
                Put::Replaced(old)
            }
            Key::Long(key) => {
                let map = self.long.pin();
                let Err(occupied) = map.try_insert(key.clone(), link) else {
                    return Put::Inserted;
                };
                if occupied.current.version() >= occupied.not_inserted.version() {
                    return Put::Stale;
                }
                let old = weigh(key.len(), occupied.current);
                map.insert(key, occupied.not_inserted);
                Put::Replaced(old)
            }
        }
    }

    /// Takes a link out; answers what it weighed. Owner only.
    pub(super) fn remove(&self, key: &Key) -> Option<usize> {
        match key {
            Key::Short(key) => self.short.pin().remove(key).map(|link| weigh(0, link)),
            Key::Long(key) => self.long.pin().remove(key).map(|link| weigh(key.len(), link)),
        }
    }

    /// The clock hand passes `key`. Owner only.
    pub(super) fn pass(&self, key: &Key) -> Passed {
        let visited = self.peek(key, HotLink::take_visited);
        visited.map_or(Passed::Absent, |hot| if hot { Passed::Visited } else { Passed::Cold })
    }

    /// Calls `visit` with every key that `shard` owns and its weight.
    pub(super) fn each_of(&self, shard: usize, mut visit: impl FnMut(Key, usize)) {
        for (key, link) in &self.short.pin() {
            let key = Key::Short(*key);
            if self.owner(&key) == shard {
                visit(key, weigh(0, link));
            }
        }
        for (long, link) in &self.long.pin() {
            let key = Key::Long(long.clone());
            if self.owner(&key) == shard {
                visit(key, weigh(long.len(), link));
            }
        }
    }
}

impl Key {
    /// Bytes of the key outside the entry.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Short(_) => 0,
            Self::Long(key) => key.len(),
        }
    }
}

/// Bytes that a link takes in memory: its entry, what hangs on it, its share of the slots and its
/// place in the ring. `key_bytes` is what the key keeps outside the entry.
pub(super) fn weigh(key_bytes: usize, link: &HotLink) -> usize {
    let entry = size_of::<ShortKey>() + size_of::<HotLink>();
    let rare = link.rare().map_or(0, |rare| {
        let limit = rare.allowance.as_ref().map_or(0, |_| LIMIT_BYTES);
        let way_out = rare.expired_url.as_ref().map_or(0, |url| block(url.len()));
        block(size_of::<Rare>()) + way_out + limit
    });
    // A long key is boxed twice: in the map and in the ring.
    let key = if key_bytes == 0 { 0 } else { 2 * block(key_bytes) };
    let ring = size_of::<ShortKey>();
    block(entry) + block(link.target_bytes()) + rare + key + ring + SLOT_BYTES
}

/// What the allocator takes for `bytes`: sixteen-byte steps up to 128 bytes, then four steps per
/// doubling.
fn block(bytes: usize) -> usize {
    if bytes <= 128 {
        return bytes.next_multiple_of(16);
    }
    bytes.next_multiple_of(bytes.next_power_of_two() / 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_as_large_as_the_allocator_makes_them() {
        let sizes = [(1, 16), (16, 16), (56, 64), (65, 80), (128, 128), (129, 160), (161, 192)];
        for (asked, given) in sizes {
            assert_eq!(block(asked), given, "{asked}");
        }
        assert_eq!(block(257), 320);
        assert_eq!(block(1_024), 1_024);
    }

    #[test]
    fn an_entry_with_a_short_key_fits_one_block_of_64_bytes() {
        assert_eq!(block(size_of::<ShortKey>() + size_of::<HotLink>()), 64);
    }
}
