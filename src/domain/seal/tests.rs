//! Sealed codes: a bijection that nobody else can open.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

fn key(version: u32, byte: u8) -> SealKey {
    SealKey { version, secret: [byte; 32] }
}

fn sealer() -> Sealer {
    Sealer::new(vec![key(1, 7)])
}

fn code(text: &str) -> Code {
    Code::parse(text.as_bytes()).unwrap()
}

/// Every value of a small network, sent through it.
fn images<const LEFT: u32, const RIGHT: u32>() -> Vec<u64> {
    let seal = Seal::new(&[3; 32]);
    let network = Feistel::<LEFT, RIGHT> { rounds: seal.permutation.rounds };
    (0..1 << (LEFT + RIGHT))
        .map(|value| {
            let image = network.forward(value);
            assert_eq!(network.backward(image), value);
            image
        })
        .collect()
}

fn assert_permutation(images: &[u64]) {
    let different: HashSet<_> = images.iter().copied().collect();
    assert_eq!(different.len(), images.len());
    assert!(images.iter().all(|image| (*image as usize) < images.len()));
}

/// Correlation of consecutive values, between -1 and 1.
fn serial_correlation(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let shared: f64 = values.windows(2).map(|pair| (pair[0] - mean) * (pair[1] - mean)).sum();
    shared / variance
}

proptest! {
    #[test]
    fn what_was_sealed_opens(id in 0..SEALED_IDS_MAX, secret: [u8; 32]) {
        let sealer = Sealer::new(vec![SealKey { version: 1, secret }]);
        let code = sealer.seal(id);
        prop_assert!(code.has_sealed_shape());
        prop_assert_eq!(sealer.open(&code), Some(id));
        prop_assert_eq!(sealer.open_bytes(code.as_bytes()), Some(id));
    }

    #[test]
    fn any_bytes_open_without_panic(text in proptest::collection::vec(any::<u8>(), 0..60)) {
        if let Some(id) = sealer().open_bytes(&text) {
            let sealed = sealer().seal(id);
            prop_assert_eq!(sealed.as_bytes(), text.as_slice());
        }
    }
}

#[test]
fn small_networks_are_permutations_on_their_whole_domain() {
    assert_permutation(&images::<1, 1>());
    assert_permutation(&images::<5, 4>());
    assert_permutation(&images::<7, 8>());
    assert_permutation(&images::<9, 8>());
}

#[test]
fn the_first_and_the_last_id_fit() {
    for id in [0, 1, SEALED_IDS_MAX - 1] {
        assert_eq!(sealer().open(&sealer().seal(id)), Some(id));
    }
}

#[test]
#[should_panic(expected = "below 2^33")]
fn an_id_that_does_not_fit_is_a_bug() {
    sealer().seal(SEALED_IDS_MAX);
}

#[test]
fn codes_do_not_change_between_releases() {
    // Printed codes live for ever: whoever changes these lines breaks them.
    let sealer = Sealer::new(vec![SealKey { version: 1, secret: [42; 32] }]);
    let codes: Vec<_> = [0, 1, 2, 123_456_789].map(|id| sealer.seal(id).to_string()).into();
    assert_eq!(codes, FROZEN);
}

#[test]
fn an_older_key_keeps_opening_its_codes_and_the_newest_seals() {
    let old = Sealer::new(vec![key(1, 1)]);
    let both = Sealer::new(vec![key(1, 1), key(2, 2)]);
    assert_eq!(both.open(&old.seal(77)), Some(77));
    assert_eq!(both.seal(77), Sealer::new(vec![key(2, 2)]).seal(77));
    assert_ne!(both.seal(77), old.seal(77));
}

#[test]
fn a_code_of_another_key_passes_the_tag_about_once_in_4096_tries() {
    let (ours, theirs) = (sealer(), Sealer::new(vec![key(1, 8)]));
    let tries = 400_000;
    let passed = (0..tries).filter(|id| ours.open(&theirs.seal(*id)).is_some()).count();
    // 97.7 are expected; six standard deviations around that.
    assert!((38..=157).contains(&passed), "{passed} of {tries} passed");
}

#[test]
fn other_shapes_and_values_beyond_45_bits_are_refused() {
    for text in ["", "1", "A2345678", "123456789", "1234567", "1234-678", "zzzzzzzz"] {
        assert_eq!(sealer().open_bytes(text.as_bytes()), None, "{text}");
    }
    // 10 * 62^7 - 1 is above 2^45; no key can have made it.
    assert_eq!(sealer().open(&code("9zzzzzzz")), None);
    assert!(base62::decode(b"9zzzzzzz").unwrap() >= 1 << VALUE_BITS);
}

#[test]
fn changing_any_character_of_a_code_almost_never_gives_another_valid_one() {
    let valid = sealer().seal(1_000_000);
    let mut n_passed = 0;
    for position in 0..CODE_BYTES {
        for replacement in b'0'..=b'9' {
            let mut text = valid.as_bytes().to_vec();
            text[position] = replacement;
            let other = text.as_slice() != valid.as_bytes();
            n_passed += usize::from(other && sealer().open_bytes(&text).is_some());
        }
    }
    assert!(n_passed <= 3, "{n_passed}");
}

#[test]
fn codes_of_consecutive_ids_show_no_order() {
    const PAIRS: usize = 100_000;
    let sealer = sealer();
    let values: Vec<f64> = (0..=PAIRS as u64)
        .map(|id| base62::decode(sealer.seal(id).as_bytes()).unwrap() as f64)
        .collect();
    // The standard deviation is 1 / sqrt(PAIRS), about 0.0032.
    let correlation = serial_correlation(&values);
    assert!(correlation.abs() < 0.02, "{correlation}");

    let n_rising = values.windows(2).filter(|pair| pair[0] < pair[1]).count();
    assert!(n_rising.abs_diff(PAIRS / 2) < 1_000, "{n_rising} of {PAIRS} rise");
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let middle = (1_u64 << (VALUE_BITS - 1)) as f64;
    assert!((mean / middle - 1.0).abs() < 0.01, "{mean} against {middle}");
}

#[test]
fn neighbouring_ids_differ_in_half_of_the_bits() {
    let seal = Seal::new(&[9; 32]);
    let n_ids = 10_000_u64;
    let n_flipped: u32 =
        (0..n_ids).map(|id| (seal.close(id) ^ seal.close(id ^ 1)).count_ones()).sum();
    let share = f64::from(n_flipped) / (n_ids * u64::from(VALUE_BITS)) as f64;
    assert!((0.49..0.51).contains(&share), "{share}");
}

/// Codes of ids 0, 1, 2 and 123,456,789 under the secret of 32 times 42.
const FROZEN: [&str; 4] = ["20C0iegM", "9v7phIpO", "1ARCsaEj", "2CJiiUeB"];
