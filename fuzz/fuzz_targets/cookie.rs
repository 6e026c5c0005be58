//! Whatever comes as cookies: no panic, and a token is read only from a cookie of exactly its name,
//! there once, as it was set; and from none beside a credential in a header.

#![no_main]

use actix_http::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use shunt::http::SessionCookie;

/// What a browser may send, line by line.
fn headers(input: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in input.split(|byte| *byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(COOKIE, value);
        }
    }
    headers
}

fuzz_target!(|input: &[u8]| {
    let mut headers = headers(input);
    for cookie in SessionCookie::ALL {
        let Some(token) = cookie.read(&headers).map(str::to_owned) else { continue };
        assert!((1..=4_096).contains(&token.len()));
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        assert!(token.bytes().all(allowed), "{token}");
        // Read by hand: the one pair of this name, whatever else is there.
        let pairs = headers.get_all(COOKIE).flat_map(|line| line.as_bytes().split(|b| *b == b';'));
        let is_space = |byte: &u8| [b' ', b'\t'].contains(byte);
        let squeezed = pairs.map(|pair| {
            let start = pair.iter().position(|byte| !is_space(byte)).unwrap_or(pair.len());
            pair[start..].to_vec()
        });
        let name = cookie.name().as_bytes();
        let of_name: Vec<Vec<u8>> = squeezed
            .filter(|pair| {
                let rest = pair.strip_prefix(name).unwrap_or(b"x");
                matches!(rest.iter().find(|byte| !is_space(byte)), None | Some(b'='))
            })
            .collect();
        assert_eq!(of_name.len(), 1, "a cookie that is there twice is none");
        let shown: Vec<u8> = of_name[0].iter().copied().filter(|byte| !is_space(byte)).collect();
        assert_eq!(shown, [name, b"=", token.as_bytes()].concat());

        // A neighbour's cookie of the same name makes it none, and so does a key in a header.
        let mut twice = headers.clone();
        let more = format!("{}=x", cookie.name());
        twice.append(COOKIE, HeaderValue::from_str(&more).expect("a header takes this"));
        assert_eq!(cookie.read(&twice), None);
    }
    headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer x"));
    for cookie in SessionCookie::ALL {
        assert_eq!(cookie.read(&headers), None);
    }
});
