//! Base 62, the alphabet of everything that people copy: digits, upper case, lower case.

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Marks bytes outside the alphabet in [`VALUES`].
const NONE: u8 = 0xFF;
const VALUES: [u8; 256] = values();
/// Largest multiple of 62 that a byte can count up to: bytes from here on would favour the first
/// characters and are thrown away.
const FAIR: u8 = 248;

/// Writes `value` into all of `out`, most significant character first, zero-padded. What does not
/// fit is lost, so `out` must be long enough for the largest value.
pub fn encode(mut value: u64, out: &mut [u8]) {
    for slot in out.iter_mut().rev() {
        *slot = ALPHABET[(value % 62) as usize];
        value /= 62;
    }
    debug_assert_eq!(value, 0, "the value is wider than its text");
}

/// The value of `text`. `None` for an empty text, other characters, or 2^64 and above.
pub fn decode(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |value, byte| {
        let digit = VALUES[*byte as usize];
        (digit != NONE).then_some(())?;
        value.checked_mul(62)?.checked_add(u64::from(digit))
    })
}

/// The character that a random byte stands for, each equally likely. `None`: take another byte.
pub const fn sample(byte: u8) -> Option<u8> {
    if byte < FAIR { Some(ALPHABET[(byte % 62) as usize]) } else { None }
}

const fn values() -> [u8; 256] {
    let mut values = [NONE; 256];
    let mut index = 0;
    while index < ALPHABET.len() {
        values[ALPHABET[index] as usize] = index as u8;
        index += 1;
    }
    values
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_number_reads_back(value: u64) {
            let mut text = [0; 11];
            encode(value, &mut text);
            prop_assert!(text.iter().all(u8::is_ascii_alphanumeric));
            prop_assert_eq!(decode(&text), Some(value));
        }

        #[test]
        fn any_bytes_decode_without_panic(text: Vec<u8>) {
            if let Some(value) = decode(&text) {
                prop_assert!(!text.is_empty() && text.iter().all(u8::is_ascii_alphanumeric));
                prop_assert!(text.len() > 11 || value < 62_u64.saturating_pow(text.len() as u32));
            }
        }
    }

    #[test]
    fn order_of_texts_is_order_of_numbers() {
        let texts = [0, 1, 9, 10, 35, 36, 61, 62, 3_843, 3_844].map(|value| {
            let mut text = [0; 3];
            encode(value, &mut text);
            text
        });
        assert!(texts.is_sorted());
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        assert_eq!(decode(b"zzzzzzzzzzz"), None);
        assert_eq!(decode(b""), None);
        assert_eq!(decode(b"a-b"), None);
    }

    #[test]
    fn every_character_comes_from_equally_many_bytes() {
        let mut n_bytes = [0; 256];
        for character in (0..=255).filter_map(sample) {
            n_bytes[character as usize] += 1;
        }
        assert!(ALPHABET.iter().all(|character| n_bytes[*character as usize] == 4));
    }
}
