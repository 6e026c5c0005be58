//! A long segment, damaged everywhere: counted are the records before the damage, never more, and
//! once however often they are counted again.

use std::thread;

use super::files::{HEADER_BYTES, written};
use super::*;
use crate::actors::clicks::journal::{Scanned, scan};
use crate::domain::click::SegmentId;

const RECORDS: u64 = 1_000;

/// A segment of a thousand records, most of them short.
struct Long {
    id: SegmentId,
    /// Up to the end of the last record, and then some of the empty rest.
    bytes: Vec<u8>,
    /// Where each record ends, zeros that fill it up to a multiple of eight included.
    ends: Vec<usize>,
}

impl Long {
    fn new() -> Self {
        let of = |n| match n % 50 {
            0 => click(n),
            _ => RawClick { flags: ClickFlags::PRIVATE, ..click(n) },
        };
        let clicks: Vec<_> = (1..=RECORDS).map(of).collect();
        let (id, mut bytes, ends) = written(&clicks);
        bytes.truncate(ends[ends.len() - 1] + 64);
        Self { id, bytes, ends }
    }

    /// Where the checked bytes of each record begin and end.
    fn used(&self) -> Vec<(usize, usize)> {
        let starts = [HEADER_BYTES].into_iter().chain(self.ends.iter().copied());
        let length = |at: usize| u32::from_le_bytes(*self.bytes[at..].first_chunk().unwrap());
        starts
            .zip(&self.ends)
            .map(|(start, _)| (start, start + 8 + length(start) as usize))
            .collect()
    }

    /// Does `each` for every `step`th place of the records, on all cores, with bytes of its own.
    fn at_every(&self, step: usize, each: impl Fn(&mut Vec<u8>, usize) + Sync) {
        let last = self.ends[self.ends.len() - 1];
        let n_threads = thread::available_parallelism().map_or(1, usize::from);
        thread::scope(|scope| {
            for first in 0..n_threads {
                let each = &each;
                scope.spawn(move || {
                    let mut bytes = self.bytes.clone();
                    let begin = HEADER_BYTES + first * step;
                    for place in (begin..last).step_by(n_threads * step) {
                        each(&mut bytes, place);
                    }
                });
            }
        });
    }

    /// Flips one bit; the records before it, and no others, must be found.
    fn check_flipped(&self, bytes: &mut [u8], place: usize, bit: usize, used: &[(usize, usize)]) {
        bytes[place] ^= 1 << bit;
        let scanned = self.scan(bytes);
        bytes[place] ^= 1 << bit;
        let hit = used.partition_point(|(_, end)| *end <= place);
        if used.get(hit).is_none_or(|(start, _)| place < *start) {
            // Nobody reads the zeros between two records.
            assert_eq!((scanned.records, scanned.damage), (RECORDS, None), "byte {place}");
            return;
        }
        assert_eq!(scanned.records, hit as u64, "byte {place}, bit {bit}");
        let lost = scanned.damage.map_or(0, |damage| damage.lost);
        let behind = RECORDS - scanned.records;
        // A commit word that is damaged hides nothing but its own record.
        assert!(lost == behind || lost + 1 == behind, "byte {place}, bit {bit}: {lost} lost");
    }

    /// Reads the segment; what is found must be the first records, in order.
    fn scan(&self, bytes: &[u8]) -> Scanned {
        let mut n = 0;
        scan(bytes, self.id, |record| {
            n += 1;
            assert_eq!((record.link, record.at), (Id(n), START));
        })
    }
}

#[test]
fn a_segment_cut_at_every_byte_gives_the_records_before_the_cut() {
    let long = Long::new();
    let used = long.used();
    long.at_every(1, |bytes, cut| {
        let whole = used.partition_point(|(_, end)| *end <= cut) as u64;
        assert_eq!(long.scan(&bytes[..cut]).records, whole, "cut at {cut}");
    });
}

#[test]
fn a_segment_with_a_flipped_bit_gives_the_records_before_it() {
    let long = Long::new();
    let used = long.used();
    // Seven has no factor in common with a record's bytes, nor with the bits of a byte.
    long.at_every(7, |bytes, place| long.check_flipped(bytes, place, place % 8, &used));
}

#[test]
#[ignore = "takes minutes: `cargo test --profile quick --lib any_bit -- --ignored`"]
fn a_segment_with_any_bit_flipped_gives_the_records_before_it() {
    let long = Long::new();
    let used = long.used();
    long.at_every(1, |bytes, place| {
        (0..8).for_each(|bit| long.check_flipped(bytes, place, bit, &used));
    });
}

#[actix::test]
async fn a_damaged_segment_counts_once_however_often_it_is_counted_again() {
    let clicks: Vec<_> = (0..200).map(|_| click(1)).collect();
    let (id, bytes, ends) = written(&clicks);
    let name = format!("{:016x}.seg", id.0);
    for (place, intact) in [(HEADER_BYTES + 1, 0), (ends[0] + 9, 1), (ends[98] + 50, 99)] {
        let flipped = bytes.iter().enumerate().map(|(at, byte)| byte ^ u8::from(at == place));
        for damaged in [flipped.collect(), bytes[..place].to_vec()] {
            let (_home, journal) = folder();
            std::fs::create_dir(&journal).unwrap();
            std::fs::write(journal.join(&name), &damaged).unwrap();
            check_counted_again(&journal, intact).await;
        }
    }
}

/// Kills processes after their counts reached the store, told or not told so.
async fn check_counted_again(journal: &Path, intact: u64) {
    let (mut store, mut place) = (FakeStore::new(), copy_of(journal));
    for late in [u32::MAX, u32::MAX, 0, 0] {
        store.late.store(late, Ordering::Relaxed);
        let process = Process::start(&place.1, &store);
        process.sink.recovered().await;
        until("it is stored", || store.clicks(1) >= intact).await;
        assert_eq!(store.clicks(1), intact);
        // In this order: what the store has forgotten, the journal has no more.
        store = store.copy();
        place = copy_of(&place.1);
    }
    let last = Process::start(&place.1, &store);
    last.sink.recovered().await;
    assert_eq!(last.total(1).await, intact);
}
