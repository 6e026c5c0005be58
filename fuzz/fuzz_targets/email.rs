//! Whatever comes as an e-mail address: no panic, and what is taken stands in a header as one
//! address, is itself again when it is read again, and is one account whatever its case.

#![no_main]

use libfuzzer_sys::fuzz_target;
use shunt::domain::email::Email;

fuzz_target!(|input: &[u8]| {
    let text = String::from_utf8_lossy(input);
    let Ok(email) = Email::parse(&text) else { return };
    assert_eq!(email.as_str(), text, "as it was written");
    assert!(text.len() <= 254);
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text}");
    assert!(!text.contains(['<', '>', '(', ')', '[', ']', ',', ';', ':', '"', '\\']), "{text}");
    let (local, domain) = text.split_once('@').expect("an address has a sign between its parts");
    assert!(!local.is_empty() && local.len() <= 64 && !domain.contains('@'), "{text}");
    assert!(domain.contains('.') && domain.parse::<std::net::Ipv4Addr>().is_err(), "{text}");
    for part in [local, domain] {
        assert!(!part.starts_with('.') && !part.ends_with('.') && !part.contains(".."), "{text}");
    }

    assert_eq!(Email::parse(email.as_str()).as_ref(), Ok(&email));
    let key = email.key();
    assert_eq!(Email::parse(&key).map(|email| email.key()).as_ref(), Ok(&key));
    let shouted = Email::parse(&text.to_ascii_uppercase()).map(|email| email.key());
    assert_eq!(shouted.as_ref(), Ok(&key));
    assert!(!format!("{email:?}").contains(&*text), "logs outlive accounts");
});
