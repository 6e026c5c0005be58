//! The ring the clock hand walks: every key of a slice once, in chunks, so that growing it never
//! copies what is there.

/// Keys per chunk: 64 KiB of short keys.
const CHUNK: usize = 4_096;

pub(super) struct Ring<K> {
    chunks: Vec<Vec<K>>,
    hand: usize,
    len: usize,
}

impl<K> Default for Ring<K> {
    fn default() -> Self {
        Self { chunks: Vec::new(), hand: 0, len: 0 }
    }
}

impl<K> Ring<K> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn push(&mut self, key: K) {
        if self.len.is_multiple_of(CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.push(key);
            self.len += 1;
        }
    }

    /// The key under the hand.
    pub(super) fn current(&self) -> Option<&K> {
        self.chunks.get(self.hand / CHUNK)?.get(self.hand % CHUNK)
    }

    /// Moves the hand on by one.
    pub(super) fn advance(&mut self) {
        self.hand = if self.hand + 1 < self.len { self.hand + 1 } else { 0 };
    }

    /// Takes the key under the hand out and moves on. The newest key fills the hole, behind the
    /// hand: it has a whole turn before it is looked at.
    pub(super) fn take(&mut self) -> Option<K> {
        let newest = self.chunks.last_mut()?.pop()?;
        self.len -= 1;
        if self.len.is_multiple_of(CHUNK) {
            self.chunks.pop();
        }
        let hole =
            self.chunks.get_mut(self.hand / CHUNK).and_then(|c| c.get_mut(self.hand % CHUNK));
        let taken = match hole {
            Some(hole) => std::mem::replace(hole, newest),
            None => newest,
        };
        self.advance();
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taking_everything_gives_every_key_once() {
        for size in [0, 1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
            let mut ring = Ring::default();
            (0..size).for_each(|key| ring.push(key));
            let mut taken: Vec<usize> = std::iter::from_fn(|| ring.take()).collect();
            taken.sort_unstable();
            assert_eq!(taken, (0..size).collect::<Vec<_>>());
            assert_eq!((ring.len(), ring.current()), (0, None));
        }
    }

    #[test]
    fn a_new_key_has_a_whole_turn_before_the_hand_comes() {
        let mut ring = Ring::default();
        (0..4).for_each(|key| ring.push(key));
        ring.push(99);
        let mut order = Vec::new();
        for _ in 0..4 {
            order.extend(ring.current().copied());
            ring.take();
            ring.push(100);
        }
        assert!(!order.contains(&99), "{order:?}");
    }
}
