//! Whatever a stranger puts into a path, a URL or a query: no panic, and only what is allowed
//! comes out.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use shunt::domain::api_key::KeyText;
use shunt::domain::code::Code;
use shunt::domain::destination::{Destination, DestinationPolicy};
use shunt::domain::query::{has_parameter, merge_query};
use shunt::domain::seal::{SealKey, Sealer};

static SEALER: LazyLock<Sealer> = LazyLock::new(|| {
    let key = |version| SealKey { version, secret: [version as u8; 32] };
    Sealer::new(vec![key(1), key(2)])
});

static POLICY: LazyLock<DestinationPolicy> = LazyLock::new(|| DestinationPolicy {
    own_hosts: vec!["sho.rt".to_owned()],
    allow_private: false,
});

fuzz_target!(|input: &[u8]| {
    if let Ok(code) = Code::parse(input) {
        assert_eq!(code.as_bytes(), input);
        if let Some(id) = SEALER.open(&code) {
            assert!(code.has_sealed_shape());
            assert_eq!(SEALER.open(&SEALER.seal(id)), Some(id));
        }
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Some(key) = KeyText::parse(text) {
        assert_eq!(key.as_str(), text);
    }
    let (url, query) = text.split_once('\u{0}').unwrap_or((text, text));
    let location = match Destination::parse(url, &POLICY) {
        Ok(destination) => {
            let kept = destination.as_str();
            assert!(is_printable(kept));
            assert_ne!(destination.host(), "sho.rt");
            let again = Destination::parse(kept, &POLICY);
            assert_eq!(again.as_ref(), Ok(&destination));
            kept.to_owned()
        }
        Err(_) => "https://example.com/?a=1&b=2#c".to_owned(),
    };
    let merged = merge_query(&location, query, "shunt-no-track");
    assert!(is_printable(&merged));
    assert!(merged.len() <= location.len() + 3 * query.len() + 1);
    // Merging once more adds nothing: every parameter overrides itself.
    if !has_parameter(query, "shunt-no-track") {
        assert_eq!(merge_query(&merged, query, "shunt-no-track"), merged);
    }
});

fn is_printable(text: &str) -> bool {
    text.bytes().all(|byte| (0x21..=0x7E).contains(&byte))
}
