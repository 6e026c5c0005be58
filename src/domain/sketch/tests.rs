//! The sketch against a plain set of prefixes. The wide sweep over cardinalities and seeds is
//! `examples/sketch_error.rs`.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::registers::{PACKED_BYTES, RANK_BITS, RANK_MAX, REGISTERS};
use super::*;

/// The finaliser of SplitMix64 (Steele, Lea, Flood, 2014).
fn mix(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

fn hashes(seed: u64, n_visitors: u64) -> impl Iterator<Item = u64> {
    let key = mix(seed);
    (1..=n_visitors).map(move |visitor| mix(visitor.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ key))
}

fn sketch_of(hashes: impl IntoIterator<Item = u64>) -> Sketch {
    let mut sketch = Sketch::default();
    for hash in hashes {
        sketch.insert(hash);
    }
    sketch
}

fn encoded(sketch: &Sketch) -> Vec<u8> {
    let mut bytes = Vec::new();
    sketch.encode(&mut bytes);
    bytes
}

/// What a sketch of `hashes` must be, built the slow and obvious way.
fn expected(hashes: &[u64]) -> Sketch {
    let prefixes: BTreeSet<u32> = hashes.iter().map(|hash| (hash >> 32) as u32).collect();
    let mut registers = Registers::default();
    if prefixes.len() <= SPARSE_MAX {
        let mut list = Prefixes::default();
        list.merge(prefixes.into_iter());
        return Sketch(Form::Sparse(list));
    }
    prefixes.into_iter().for_each(|prefix| registers.insert(prefix));
    Sketch(Form::Dense(registers))
}

/// Visitors of both forms and around the change: some come twice, and some are alike in all but
/// the bits of a mask, so that prefixes coincide or crowd into one register or into high ranks.
fn visitors() -> impl Strategy<Value = Vec<u64>> {
    let masks = [u64::MAX, 0x0003_FFFF << 32, 0xFFFC_0007 << 32, 0x07FF << 32];
    let n_visitors = prop_oneof![0..40_u64, 2_000..2_100_u64, 2_000..5_000_u64];
    let strays = vec(any::<u64>(), 0..20);
    (any::<u64>(), n_visitors, prop::sample::select(masks.to_vec()), strays).prop_map(
        |(seed, n_visitors, mask, strays)| {
            let mut visitors: Vec<u64> = hashes(seed, n_visitors).map(|hash| hash & mask).collect();
            visitors.extend_from_within(..visitors.len() / 3);
            visitors.extend(strays);
            visitors
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_sketch_depends_on_the_set_of_its_visitors_only(
        visitors in visitors(),
        at: prop::sample::Index,
    ) {
        let whole = expected(&visitors);
        prop_assert!(sketch_of(visitors.iter().copied()) == whole);
        prop_assert!(sketch_of(visitors.iter().rev().copied()) == whole);
        prop_assert!(sketch_of(visitors.iter().chain(&visitors).copied()) == whole);

        let (left, right) = visitors.split_at(at.index(visitors.len() + 1));
        let [left, right] = [left, right].map(|part| sketch_of(part.iter().copied()));
        for (one, other) in [(&left, &right), (&right, &left), (&whole, &left), (&left, &whole)] {
            let mut merged = one.clone();
            merged.merge(other);
            prop_assert!(merged == expected(&visitors));
            let mut merged = one.clone();
            prop_assert_eq!(merged.merge_encoded(&encoded(other)), Some(()));
            prop_assert!(merged == whole);
        }
    }

    #[test]
    fn merging_two_sets_counts_shared_visitors_once(seed: u64, n: [u16; 3]) {
        let [only_left, only_right, both] = n.map(|n| usize::from(n % 3_000));
        let all: Vec<u64> = hashes(seed, (only_left + only_right + both) as u64).collect();
        let mut left = sketch_of(all[..only_left + both].iter().copied());
        left.merge(&sketch_of(all[only_left..].iter().copied()));
        prop_assert!(left == expected(&all));
    }

    #[test]
    fn a_sketch_reads_back_as_it_was_written(visitors in visitors()) {
        let sketch = sketch_of(visitors);
        let bytes = encoded(&sketch);
        prop_assert!(bytes.len() <= ENCODED_BYTES_MAX);
        prop_assert!(Sketch::decode(&bytes) == Some(sketch));
    }

    #[test]
    fn what_decodes_is_what_would_be_encoded(
        visitors in visitors(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        cut: prop::sample::Index,
        keep_length: bool,
    ) {
        let mut bytes = encoded(&sketch_of(visitors));
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if !keep_length {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Some(sketch) = Sketch::decode(&bytes) {
            prop_assert_eq!(encoded(&sketch), bytes);
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic(form in 0..3_u8, rest: Vec<u8>) {
        let bytes = [&[form], &rest[..]].concat();
        if let Some(sketch) = Sketch::decode(&bytes) {
            prop_assert!(sketch.heap_bytes() <= 8 * bytes.len());
            prop_assert_eq!(encoded(&sketch), bytes);
        }
    }
}

#[test]
fn a_refused_encoding_adds_nothing() {
    let mut sketch = sketch_of(hashes(1, 5));
    let before = sketch.clone();
    let mut bytes = encoded(&sketch_of(hashes(2, 5)));
    bytes.push(0);
    assert_eq!(sketch.merge_encoded(&bytes), None);
    let mut bytes = encoded(&sketch_of(hashes(2, 5_000)));
    bytes[PACKED_BYTES] = 0xFF;
    assert_eq!(sketch.merge_encoded(&bytes), None);
    assert_eq!(sketch, before);
}

#[test]
fn lists_that_encode_never_writes_are_refused() {
    assert_eq!(Sketch::decode(&[0, 0]), Some(Sketch::default()));
    assert!(Sketch::decode(&[0, 2, 0, 5]).is_some(), "the smallest prefix is zero");
    assert!(Sketch::decode(&[0, 1, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F]).is_some(), "the largest");
    for bytes in [
        &[][..],
        &[2],
        &[0],
        &[0, 0, 0],
        &[0, 1],
        &[0, 0x80, 0],
        &[0, 2, 5, 0],
        &[0, 1, 0x85, 0],
        &[0, 1, 0x80, 0x80, 0x80, 0x80, 0x10],
        &[0, 1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
        &[0, 2, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 1],
        &[0, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F],
    ] {
        assert_eq!(Sketch::decode(bytes), None, "{bytes:?}");
    }
    let too_many = [&[0, 0x81, 0x10][..], &[1; SPARSE_MAX + 1]].concat();
    assert_eq!(Sketch::decode(&too_many), None);
    let just_enough = [&[0, 0x80, 0x10][..], &[1; SPARSE_MAX]].concat();
    assert_eq!(Sketch::decode(&just_enough).unwrap().estimate(), SPARSE_MAX as u64);
}

#[test]
fn registers_that_encode_never_writes_are_refused() {
    let good = encoded(&sketch_of(hashes(3, 5_000)));
    assert!(Sketch::decode(&good).is_some());
    assert_eq!(Sketch::decode(&good[..good.len() - 1]), None);
    assert_eq!(Sketch::decode(&[&good[..], &[0]].concat()), None);
    let empty = [&[DENSE][..], &[0; PACKED_BYTES]].concat();
    assert_eq!(Sketch::decode(&empty), None);
    for rank in 0..32 {
        for place in 0..8 {
            let mut bytes = good.clone();
            let group = (rank << (5 * place) | u64::from(place == 0) << 5).to_le_bytes();
            bytes[1..6].copy_from_slice(&group[..5]);
            let allowed = rank <= u64::from(RANK_MAX);
            assert_eq!(Sketch::decode(&bytes).is_some(), allowed, "rank {rank} at {place}");
        }
    }
}

#[test]
fn ranks_are_the_leading_zeroes_behind_the_index_and_one() {
    for (bits, rank) in [(1 << 17, 1), (1 << 16, 2), (0b11, 17), (1, 18), (0, RANK_MAX)] {
        let mut registers = Registers::default();
        registers.insert(5 << RANK_BITS | bits);
        assert_eq!(registers.ranks()[5], rank, "{bits:b}");
        assert_eq!(registers.ranks().iter().filter(|rank| **rank != 0).count(), 1);
    }
}

#[test]
fn few_visitors_take_few_bytes() {
    assert_eq!(size_of::<Sketch>() + Sketch::default().heap_bytes(), 24);
    let sketch = sketch_of(hashes(1, 3));
    assert_eq!(size_of::<Sketch>() + sketch.heap_bytes(), 40);
    assert!(encoded(&sketch).len() <= 17);
    assert_eq!(encoded(&sketch_of(hashes(1, 3_000))).len(), ENCODED_BYTES_MAX);
}

#[test]
fn the_estimate_never_falls_when_the_list_becomes_registers() {
    for seed in 0..20 {
        let mut sketch = sketch_of(hashes(seed, SPARSE_MAX as u64));
        assert_eq!(sketch.estimate(), SPARSE_MAX as u64);
        sketch.insert(mix(seed) ^ 1 << 32);
        assert!(sketch.estimate() > SPARSE_MAX as u64);
    }
}

#[test]
fn an_empty_sketch_counts_nobody_and_changes_nothing() {
    let empty = Sketch::default();
    assert!(empty.is_empty() && empty.estimate() == 0);
    let mut sketch = sketch_of(hashes(1, 3_000));
    assert!(!sketch.is_empty());
    sketch.merge(&empty);
    assert_eq!(sketch, sketch_of(hashes(1, 3_000)));
}

#[test]
fn full_registers_answer_a_number() {
    let mut sketch = Sketch::default();
    (0..REGISTERS as u64).for_each(|index| sketch.insert(index << (64 - 14)));
    assert_eq!(sketch.estimate(), 1 << 36);
}

/// Registers as the theory expects them for `n_visitors` with 32-bit prefixes drawn at random:
/// the share at or below a rank r is exp(-n / (2^14 2^r)), and all are at or below the last.
fn ideal(n_visitors: f64) -> u64 {
    let at_most = |rank: u8| match rank {
        RANK_MAX => 1.0,
        rank => (-n_visitors / REGISTERS as f64 / f64::from(1_u32 << rank)).exp(),
    };
    estimate::from_histogram(|rank| {
        let rank = rank as u8;
        let below = rank.checked_sub(1).map_or(0.0, at_most);
        (at_most(rank) * REGISTERS as f64).round() as u32
            - (below * REGISTERS as f64).round() as u32
    })
}

#[test]
fn full_registers_are_all_the_correction_that_short_prefixes_need() {
    // With a correction for prefixes that collide, four billion visitors would come out as infinite
    // and a billion as 14 % too many.
    for n_visitors in [1e4, 1e6, 1e7, 1e8, 1e9, 4e9] {
        let error = ideal(n_visitors) as f64 / n_visitors - 1.0;
        assert!(error.abs() < 0.001, "{n_visitors}: {error}");
    }
}

/// Share of `n_seeds` sketches whose estimate is within 2 % of `n_visitors`.
fn share_within(n_visitors: u64, n_seeds: u64) -> f64 {
    let within = |seed: &u64| {
        let estimate = sketch_of(hashes(*seed, n_visitors)).estimate() as f64;
        (estimate / n_visitors as f64 - 1.0).abs() <= 0.02
    };
    (0..n_seeds).filter(within).count() as f64 / n_seeds as f64
}

#[test]
fn ninety_five_of_a_hundred_estimates_are_within_two_percent() {
    let sweep = [
        (10, 200),
        (100, 200),
        (1_000, 200),
        (3_000, 200),
        (10_000, 200),
        (100_000, 40),
        (1_000_000, 5),
        (10_000_000, 2),
    ];
    for (n_visitors, n_seeds) in sweep {
        let share = share_within(n_visitors, n_seeds);
        assert!(share >= 0.95, "{n_visitors} visitors: {share}");
    }
}
