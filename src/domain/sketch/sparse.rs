//! Few visitors: their 32-bit prefixes, sorted and each once.

use std::iter;

use super::SPARSE_MAX;

/// A list that is so many times longer than another takes that one in one by one: to go through all
/// of it would cost more.
const SINGLY_BELOW: usize = 16;
/// Bits of a prefix.
const PREFIX_BITS: u32 = 32;

// Two of n visitors share a prefix with a chance of about n^2 / 2^33. In a full list that adds up
// to a two-thousandth of a visitor, so the length of the list needs no correction.
const _: () = assert!((SPARSE_MAX as u64).pow(2) < 1 << PREFIX_BITS);

/// A strictly increasing list.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Prefixes(Vec<u32>);

impl Prefixes {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = u32> {
        self.0.iter().copied()
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.0.capacity() * size_of::<u32>()
    }

    pub(super) fn insert(&mut self, prefix: u32) {
        if let Err(place) = self.0.binary_search(&prefix) {
            self.0.insert(place, prefix);
        }
    }

    /// Adds another strictly increasing list.
    pub(super) fn merge(&mut self, others: impl ExactSizeIterator<Item = u32>) {
        if others.len() * SINGLY_BELOW < self.0.len() {
            others.for_each(|prefix| self.insert(prefix));
            return;
        }
        self.0.extend(others);
        // The stable sort finds the two increasing runs and merges them in one go.
        self.0.sort();
        self.0.dedup();
    }

    /// Appends the length and the steps; the first step starts from zero.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        write_number(self.0.len() as u32, out);
        let mut last = 0;
        for prefix in self.iter() {
            write_number(prefix - last, out);
            last = prefix;
        }
    }
}

/// The prefixes that [`Prefixes::write`] wrote; `None` unless `bytes` are exactly such a list. All
/// of it is checked first, so that the caller adds either every visitor or none.
pub(super) fn read(bytes: &[u8]) -> Option<impl ExactSizeIterator<Item = u32>> {
    let mut checked = bytes;
    let length = read_number(&mut checked)? as usize;
    // The bound comes before anything is sized by it.
    (length <= SPARSE_MAX).then_some(())?;
    let mut list = checked;
    let mut last = None;
    for _ in 0..length {
        let step = read_number(&mut checked)?;
        last = Some(match last {
            None => step,
            Some(last) => (step != 0).then(|| step.checked_add(last))??,
        });
    }
    checked.is_empty().then_some(())?;

    let mut prefix = 0;
    let numbers = iter::repeat_n((), length).map(move |()| {
        prefix += read_number(&mut list).expect("the whole list was read once above");
        prefix
    });
    Some(numbers)
}

/// LEB128: seven bits a byte, lowest first; the high bit says that more follow.
fn write_number(mut number: u32, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes one number off the front. `None` if it is cut, above 32 bits, or padded with zeroes.
fn read_number(bytes: &mut &[u8]) -> Option<u32> {
    let mut number = 0;
    for shift in (0..PREFIX_BITS).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u32::from(byte & 0x7F);
        // The fifth byte has room for four bits of the seven.
        ((bits << shift) >> shift == bits).then_some(())?;
        number |= bits << shift;
        if byte < 0x80 {
            return (shift == 0 || bits != 0).then_some(number);
        }
    }
    None
}
