//! A checksum of many records in any order: the sum of their hashes. Stores hand records out in
//! orders of their own, so no other checksum tells whether two of them hold the same.
//!
//! It finds what went missing, came twice or changed on the way. It is no proof against somebody
//! who makes records up to fit it; the archive itself is sealed by plain hashes of its bytes.

use std::fmt;

use super::clicks;
use super::{Kind, Record, hex};

/// What records of one kind add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Records; of clicks, the clicks in them.
    pub count: u64,
    lanes: [u64; 4],
}

impl Sum {
    pub fn add(&mut self, record: &Record) {
        match record {
            // How clicks are packed together differs between stores.
            Record::Clicks(record) => clicks::each_unit(record, |unit| {
                self.add_bytes(Kind::Clicks, unit.as_bytes());
            }),
            record => self.add_bytes(record.kind(), record.to_line().as_bytes()),
        }
    }

    fn add_bytes(&mut self, kind: Kind, bytes: &[u8]) {
        let mut hasher = blake3::Hasher::new();
        hasher.update(kind.as_str().as_bytes()).update(&[0]).update(bytes);
        let hash = hasher.finalize();
        let (words, _) = hash.as_bytes().as_chunks::<8>();
        for (lane, word) in self.lanes.iter_mut().zip(words) {
            *lane = lane.wrapping_add(u64::from_le_bytes(*word));
        }
        self.count += 1;
    }
}

/// The checksum alone, as hexadecimal digits.
impl fmt::Display for Sum {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: Vec<u8> = self.lanes.iter().flat_map(|lane| lane.to_le_bytes()).collect();
        out.write_str(&hex::to_text(&bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::super::records::BlockRecord;
    use super::*;

    fn sum(spaces: &[&str]) -> Sum {
        let mut sum = Sum::default();
        for space in spaces {
            sum.add(&BlockRecord { space: (*space).to_owned(), next: 1 }.into());
        }
        sum
    }

    #[test]
    fn order_does_not_matter_and_everything_else_does() {
        assert_eq!(sum(&["a", "b", "c"]), sum(&["c", "a", "b"]));
        let all = [&[][..], &["a"], &["a", "a"], &["a", "a", "a"], &["a", "b"], &["b", "b"]];
        for (n, one) in all.iter().enumerate() {
            assert!(all[..n].iter().all(|other| sum(one).lanes != sum(other).lanes), "{one:?}");
        }
        assert_eq!(sum(&["a", "b"]).to_string().len(), 64);
    }
}
