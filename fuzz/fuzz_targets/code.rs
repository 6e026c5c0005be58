//! Whatever a stranger puts into a path or presents as a key: no panic, and only what is allowed
//! comes out.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use shunt::domain::api_key::KeyText;
use shunt::domain::code::{Code, is_code_byte, is_reserved};
use shunt::domain::seal::{SEALED_IDS_MAX, SealKey, Sealer};

static SEALER: LazyLock<Sealer> = LazyLock::new(|| {
    let key = |version| SealKey { version, secret: [version as u8; 32] };
    Sealer::new(vec![key(1), key(2)])
});

fuzz_target!(|input: &[u8]| {
    match Code::parse(input) {
        Ok(code) => {
            assert!(input.iter().all(|byte| is_code_byte(*byte)));
            assert_eq!(code.as_bytes(), input);
            assert_eq!(Code::parse(code.to_string().as_bytes()), Ok(code));
            check_sealing(&code);
        }
        Err(_) => assert_eq!(SEALER.open_bytes(input), None),
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(alias) = Code::parse_alias(text) {
        assert_eq!(alias.as_str(), text);
        assert!(!alias.has_sealed_shape() && !is_reserved(text));
    }
    if let Some(key) = KeyText::parse(text) {
        assert_eq!(key.as_str(), text);
    }
});

fn check_sealing(code: &Code) {
    assert_eq!(SEALER.open(code), SEALER.open_bytes(code.as_bytes()));
    if let Some(id) = SEALER.open(code) {
        assert!(code.has_sealed_shape() && id < SEALED_IDS_MAX);
        assert_eq!(SEALER.open(&SEALER.seal(id)), Some(id));
    }
}
