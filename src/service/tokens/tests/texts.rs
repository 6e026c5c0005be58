//! Texts that are almost a token: cut, padded, spelled otherwise, or far too long.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

/// One process for all cases: making keys is dear.
static PROCESS: LazyLock<Process> = LazyLock::new(|| {
    // A thread of its own: some tests run inside a runtime already.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    std::thread::spawn(move || runtime.block_on(Process::new())).join().unwrap()
});

proptest! {
    #[test]
    fn any_one_other_character_is_refused(place: prop::sample::Index, replacement in "[ -~]") {
        let good = PROCESS.token();
        let place = place.index(good.len());
        let mut text = good.clone();
        text.replace_range(place..=place, &replacement);
        prop_assume!(text != good);
        prop_assert!(PROCESS.verify(&text).is_err(), "{place} {replacement}");
        prop_assert!(PROCESS.verify(&good).is_ok());
    }

    #[test]
    fn any_text_is_refused_without_panic(
        text: String,
        parts in prop::collection::vec("[A-Za-z0-9_=-]{0,90}", 0..6),
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        prop_assert!(PROCESS.verify(&text).is_err());
        prop_assert!(PROCESS.verify(&parts.join(".")).is_err());
        let message = format!("{}.{}", encode(PROCESS.header()), encode(&bytes));
        let signature = PROCESS.sign(&message);
        let token = format!("{message}.{signature}");
        prop_assert!(PROCESS.verify(&token).is_err());
    }
}

#[test]
fn every_character_replaced_by_every_letter_is_refused() {
    let good = PROCESS.token();
    let start = good.rfind('.').unwrap();
    // All of the signature, and above all its last character, half of whose bits say nothing.
    for place in start..good.len() {
        for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.".chars() {
            let mut text = good.clone();
            text.replace_range(place..=place, letter.encode_utf8(&mut [0; 4]));
            assert!(text == good || PROCESS.verify(&text).is_err(), "{place} {letter}");
        }
    }
}

#[test]
fn a_cut_token_is_refused_wherever_it_is_cut() {
    let good = PROCESS.token();
    for length in 0..good.len() {
        assert!(PROCESS.verify(&good[..length]).is_err(), "{length}");
        assert!(PROCESS.verify(&good[good.len() - length..]).is_err(), "{length}");
    }
}

#[test]
fn other_numbers_of_parts_are_refused() {
    let good = PROCESS.token();
    let parts: Vec<&str> = good.split('.').collect();
    let (header, payload, signature) = (parts[0], parts[1], parts[2]);
    for text in [
        "",
        ".",
        "..",
        "...",
        header,
        &format!("{header}.{payload}"),
        &format!("{header}.{payload}."),
        &format!("{header}..{signature}"),
        &format!(".{payload}.{signature}"),
        &format!("{header}.{payload}.{signature}."),
        &format!(".{header}.{payload}.{signature}"),
        &format!("{header}.{payload}..{signature}"),
        &format!("{header}.{payload}.{signature}.{signature}"),
        &format!("{header}.{header}.{payload}.{signature}"),
        // The shape of an encrypted token.
        &format!("{header}.{payload}.{payload}.{payload}.{signature}"),
        &format!("{good}{good}"),
        &format!("{good}.{good}"),
        // A token in a token.
        &PROCESS.forge(&PROCESS.header(), &good),
        &PROCESS.forge(&PROCESS.header(), &format!("\"{good}\"")),
    ] {
        assert_eq!(PROCESS.verify(text), Err(TokenFault::Malformed), "{text}");
    }
}

#[test]
fn base64_has_one_spelling() {
    // Of some length every part has bits or padding to play with.
    for header_spaces in 0..3 {
        for payload_spaces in 0..3 {
            let header = PROCESS.header() + &" ".repeat(header_spaces);
            let payload = part(&PROCESS.token(), 1) + &" ".repeat(payload_spaces);
            let good = PROCESS.forge(&header, &payload);
            assert!(PROCESS.verify(&good).is_ok());
            assert_respelled_is_refused(&good);
        }
    }
}

/// Tries each part in other spellings; what is signed is signed as it is spelled.
fn assert_respelled_is_refused(good: &str) {
    for index in 0..3 {
        let parts: Vec<&str> = good.split('.').collect();
        let part = parts[index];
        let last = part.as_bytes()[part.len() - 1];
        let mut spelled = vec![
            format!("{part}="),
            format!("{part}=="),
            format!("{part}\n"),
            format!("{part} "),
            format!(" {part}"),
            format!("{}\n{}", &part[..4], &part[4..]),
            format!("{part}%3D"),
        ];
        if !part.len().is_multiple_of(4) {
            // The neighbour in the alphabet differs in bits that are thrown away.
            spelled.push(format!("{}{}", &part[..part.len() - 1], neighbour(last)));
        }
        for other in spelled {
            let mut parts = parts.clone();
            parts[index] = &other;
            let mut text = parts.join(".");
            if index < 2 {
                let message = format!("{}.{}", parts[0], parts[1]);
                text = format!("{message}.{}", PROCESS.sign(&message));
            }
            assert_eq!(PROCESS.verify(&text), Err(TokenFault::Malformed), "{other}");
        }
    }
}

fn neighbour(letter: u8) -> char {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let place = alphabet.iter().position(|other| *other == letter).unwrap();
    char::from(alphabet[place ^ 1])
}

#[test]
fn a_very_long_text_is_refused() {
    let good = PROCESS.token();
    for length in [4_097, 1_000_000] {
        let long = "A".repeat(length);
        let signed = PROCESS.forge(&PROCESS.header(), &long);
        let parts = format!("{long}.{long}.{long}");
        for text in [&long, &signed, &parts, &format!("{good}{long}"), &".".repeat(length)] {
            assert_eq!(PROCESS.verify(text), Err(TokenFault::Malformed));
        }
    }
    // A good one that is as long as may be, and one that is a byte longer.
    let spaced = |n| PROCESS.with_payload(&(part(&PROCESS.token(), 1) + &" ".repeat(n)));
    let n_fitting = (0..4_096).rev().find(|n| spaced(*n).len() <= 4_096).unwrap();
    assert!(PROCESS.verify(&spaced(n_fitting)).is_ok());
    assert_eq!(PROCESS.verify(&spaced(n_fitting + 1)), Err(TokenFault::Malformed));
}

#[tokio::test]
async fn a_token_of_another_installation_is_refused() {
    let other = Process::new().await;
    let token = other.token();
    assert!(other.verify(&token).is_ok());
    assert_eq!(PROCESS.verify(&token), Err(TokenFault::UnknownKey));
    // It claims our key.
    let forged = other.forge(&PROCESS.header(), &part(&token, 1));
    assert_eq!(PROCESS.verify(&forged), Err(TokenFault::BadSignature));
}

#[test]
fn a_signature_belongs_to_its_own_message() {
    let (one, two) = (PROCESS.token(), PROCESS.chain.sign(&claims_at(NOON.plus_millis(1_000))));
    let (message, _) = one.rsplit_once('.').unwrap();
    let (_, signature) = two.rsplit_once('.').unwrap();
    let mixed = format!("{message}.{signature}");
    assert_eq!(PROCESS.verify(&mixed), Err(TokenFault::BadSignature));
    for bytes in [vec![], vec![0; 63], vec![0; 64], vec![0; 65], vec![255; 64]] {
        assert!(PROCESS.verify(&format!("{message}.{}", encode(bytes))).is_err());
    }
}
