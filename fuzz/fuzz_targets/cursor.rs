//! Whatever comes back as a cursor: only what this installation sealed for this very list opens,
//! and in one spelling.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use shunt::domain::id::Id;
use shunt::http::{CursorScope, CursorSealer};
use shunt::storage::{PageMark, SortValue};

static SEALER: LazyLock<CursorSealer> = LazyLock::new(|| CursorSealer::new(&[1; 32]));
static OTHER: LazyLock<CursorSealer> = LazyLock::new(|| CursorSealer::new(&[2; 32]));

// Taken as a cursor; and again as where to damage one (two bytes), an id (eight bytes), and the
// value that a list was sorted by.
fuzz_target!(|input: &[u8]| {
    let scope = CursorScope::new("links", Id(3), "sort=title");
    let text = String::from_utf8_lossy(input);
    // The fuzzer watches comparisons, and has learnt tags from them: what opens must then be, to
    // the letter, what would have been sealed.
    if let Some(mark) = SEALER.open(&scope, &text) {
        assert_eq!(SEALER.seal(&scope, &mark), text);
    }

    let Some((&[place, replacement], rest)) = input.split_first_chunk::<2>() else { return };
    let Some((id, value)) = rest.split_first_chunk::<8>() else { return };
    let value = match <[u8; 8]>::try_from(value) {
        Ok(number) => SortValue::Number(i64::from_le_bytes(number)),
        Err(_) => SortValue::Text(String::from_utf8_lossy(value).chars().take(300).collect()),
    };
    let mark = PageMark { value, id: Id(u64::from_le_bytes(*id)) };
    let cursor = SEALER.seal(&scope, &mark);
    assert!(cursor.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!(SEALER.open(&scope, &cursor).as_ref(), Some(&mark));
    assert_eq!(OTHER.open(&scope, &cursor), None);
    for other in [
        CursorScope::new("links", Id(4), "sort=title"),
        CursorScope::new("links", Id(3), ""),
        CursorScope::new("api-keys", Id(3), "sort=title"),
    ] {
        assert_eq!(SEALER.open(&other, &cursor), None);
    }

    let place = usize::from(place) % cursor.len();
    let mut forged = cursor.clone().into_bytes();
    forged[place] = replacement;
    let forged = String::from_utf8_lossy(&forged).into_owned();
    if forged != cursor {
        assert_eq!(SEALER.open(&scope, &forged), None);
    }
    assert_eq!(SEALER.open(&scope, &cursor[..place]), None);
    assert_eq!(SEALER.open(&scope, &format!("{cursor}{}", &cursor[..place + 1])), None);
});
