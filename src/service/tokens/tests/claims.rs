//! Payloads that were truly signed and are bent all the same, and times at their edges.

use super::*;

/// The payload of a good token, with one member replaced by `member`, or taken out.
fn payload_with(process: &Process, name: &str, member: Option<&str>) -> String {
    let payload = part(&process.token(), 1);
    let start = payload.find(&format!("\"{name}\":")).unwrap();
    // Texts of the payload have no comma in them.
    let end = payload[start..].find([',', '}']).unwrap() + start;
    let (before, after) = (&payload[..start], &payload[end..]);
    match member {
        Some(member) => format!("{before}\"{name}\":{member}{after}"),
        None => format!("{before}{after}").replace(",,", ",").replace("{,", "{").replace(",}", "}"),
    }
}

fn verify_with(process: &Process, name: &str, value: &str) -> Result<AccessClaims, TokenFault> {
    process.verify(&process.with_payload(&payload_with(process, name, Some(value))))
}

const MEMBERS: [&str; 10] =
    ["iss", "aud", "sub", "org", "role", "scope", "jti", "iat", "nbf", "exp"];

#[tokio::test]
async fn every_member_is_needed() {
    let process = Process::new().await;
    for name in MEMBERS {
        let payload = payload_with(&process, name, None);
        assert!(serde_json::from_str::<serde_json::Value>(&payload).is_ok(), "{payload}");
        let token = process.with_payload(&payload);
        assert_eq!(process.verify(&token), Err(TokenFault::Malformed), "{name}");
    }
}

#[tokio::test]
async fn every_member_has_its_one_type() {
    let process = Process::new().await;
    for name in MEMBERS {
        for value in ["null", "true", "[]", "{}", "[\"a\"]"] {
            let outcome = verify_with(&process, name, value);
            assert_eq!(outcome, Err(TokenFault::Malformed), "{name} {value}");
        }
    }
    for name in ["iss", "aud", "sub", "org", "role", "scope", "jti"] {
        assert_eq!(verify_with(&process, name, "1"), Err(TokenFault::Malformed), "{name}");
    }
}

#[tokio::test]
async fn times_are_whole_seconds_without_a_sign() {
    let process = Process::new().await;
    for name in ["iat", "nbf", "exp"] {
        let second = if name == "exp" { 1_780_000_900_u64 } else { 1_780_000_000 };
        let good = second.to_string();
        assert!(verify_with(&process, name, &good).is_ok());
        for value in [
            format!("\"{second}\""),
            format!("{second}.0"),
            format!("{second}.5"),
            format!("-{second}"),
            format!("+{second}"),
            format!("0{second}"),
            format!("{second}e0"),
            format!("{second}000000000000000000000"),
            "1.78e9".to_owned(),
            "9999999999".to_owned(),
            "18446744073709551615".to_owned(),
            "18446744073709551616".to_owned(),
            "-1".to_owned(),
            "NaN".to_owned(),
            "Infinity".to_owned(),
        ] {
            let outcome = verify_with(&process, name, &value);
            assert_eq!(outcome, Err(TokenFault::Malformed), "{name} {value}");
        }
    }
}

#[tokio::test]
async fn other_issuers_and_audiences_are_refused() {
    let process = Process::new().await;
    for iss in ["https://evil.example", "https://go.example/", "http://go.example", "", "shunt"] {
        let outcome = verify_with(&process, "iss", &format!("\"{iss}\""));
        assert_eq!(outcome, Err(TokenFault::WrongIssuer), "{iss}");
    }
    for aud in ["other", "Shunt", "shunt ", ""] {
        let outcome = verify_with(&process, "aud", &format!("\"{aud}\""));
        assert_eq!(outcome, Err(TokenFault::WrongAudience), "{aud}");
    }
    for aud in ["[\"shunt\"]", "[\"shunt\";\"other\"]", "[]", "{\"shunt\":1}"] {
        let outcome = verify_with(&process, "aud", &aud.replace(';', ","));
        assert_eq!(outcome, Err(TokenFault::Malformed), "{aud}");
    }
    for (name, text) in [("iss", "https:\\/\\/go.example"), ("aud", "\\u0073hunt")] {
        let outcome = verify_with(&process, name, &format!("\"{text}\""));
        assert_eq!(outcome, Err(TokenFault::Malformed), "escapes: {text}");
    }
}

#[tokio::test]
async fn ids_roles_and_scopes_have_one_spelling() {
    let process = Process::new().await;
    for (name, values) in [
        ("sub", ["", "-1", "+1", "01", "1.0", " 1", "18446744073709551616", "ada", "0x1"]),
        ("org", ["", "-1", "+1", "01", "1.0", " 1", "18446744073709551616", "*", "1,2"]),
        ("role", ["", "root", "Admin", "OWNER", " owner", "owner ", "admin owner", "*", "3"]),
        (
            "scope",
            [
                "links:admin",
                "links:read  links:write",
                " links:read",
                "links:read ",
                "links:write links:read",
                "links:read links:read",
                "links:read;stats:read",
                "LINKS:READ",
                "links:*",
            ],
        ),
        ("jti", ["", "1", "1.", ".1", "1.2.3", "01.2", "1.-2", "1.4294967296", "a.b"]),
    ] {
        for value in values {
            let payload = part(&process.token(), 1);
            let json: serde_json::Value = serde_json::from_str(&payload).unwrap();
            let good = json[name].as_str().unwrap();
            let bent = payload
                .replace(&format!("\"{name}\":\"{good}\""), &format!("\"{name}\":\"{value}\""));
            assert_ne!(bent, payload);
            let outcome = process.verify(&process.with_payload(&bent));
            assert_eq!(outcome, Err(TokenFault::Malformed), "{name} {value:?}");
        }
    }
}

#[tokio::test]
async fn other_members_and_members_twice_are_refused() {
    let process = Process::new().await;
    let payload = part(&process.token(), 1);
    for member in [
        "\"admin\":true",
        "\"client_id\":\"a\"",
        "\"exp\":1780000900",
        "\"exp\":9999999999",
        "\"sub\":\"1\"",
        "\"org\":\"7002\"",
        "\"role\":\"owner\"",
        "\"\\u0072ole\":\"owner\"",
    ] {
        for bent in [
            payload.replacen('{', &format!("{{{member},"), 1),
            payload.replace('}', &format!(",{member}}}")),
        ] {
            let outcome = process.verify(&process.with_payload(&bent));
            assert_eq!(outcome, Err(TokenFault::Malformed), "{bent}");
        }
    }
}

#[tokio::test]
async fn payloads_that_are_no_object_are_refused() {
    let process = Process::new().await;
    let payload = part(&process.token(), 1);
    let json: serde_json::Value = serde_json::from_str(&payload).unwrap();
    let values: Vec<_> = MEMBERS.iter().map(|name| json[*name].clone()).collect();
    let list = serde_json::to_string(&values).unwrap();
    let twice = format!("{payload}{payload}");
    let nested = "[".repeat(500);
    let marked = format!("\u{feff}{payload}");
    let cut = &payload[..payload.len() - 1];
    for bent in ["", "null", "{}", "1", &list, &twice, &nested, &marked, cut] {
        let outcome = process.verify(&process.with_payload(bent));
        assert_eq!(outcome, Err(TokenFault::Malformed), "{bent}");
    }
    let message = format!("{}.{}", encode(process.header()), encode(b"{\"sub\":\"\xff\"}"));
    let token = format!("{message}.{}", process.sign(&message));
    assert_eq!(process.verify(&token), Err(TokenFault::Malformed), "not UTF-8");
}

#[tokio::test]
async fn a_token_is_good_until_its_expiry_and_the_leeway_are_over() {
    let process = Process::new().await;
    let token = process.token();
    let end = NOON.plus_millis(15 * MINUTE + LEEWAY);
    // Not seen before, then from memory.
    for _ in 0..2 {
        let verify = |ms| process.chain.verify(&token, end.plus_millis(ms));
        assert_eq!(verify(0), Err(TokenFault::Expired));
        assert_eq!(verify(1), Err(TokenFault::Expired));
        assert_eq!(verify(DAY), Err(TokenFault::Expired));
        assert_eq!(verify(-1), Ok(claims_at(NOON)));
    }
}

#[tokio::test]
async fn a_token_that_was_verified_before_is_refused_when_it_has_expired() {
    let process = Process::new().await;
    let token = process.token();
    assert!(process.verify(&token).is_ok());
    let digest = cache::digest(&token);
    assert!(process.chain.held.load().verified.get(&digest).is_some(), "it is in memory");
    process.clock.set(NOON.plus_millis(15 * MINUTE + LEEWAY));
    assert_eq!(process.verify(&token), Err(TokenFault::Expired));
    process.clock.set(NOON.plus_millis(-LEEWAY - 1));
    assert_eq!(process.verify(&token), Err(TokenFault::NotYet));
}

#[tokio::test]
async fn a_token_from_the_future_is_not_good_yet() {
    let process = Process::new().await;
    let token = process.token();
    for _ in 0..2 {
        let verify = |ms| process.chain.verify(&token, NOON.plus_millis(ms));
        assert_eq!(verify(-LEEWAY - 1), Err(TokenFault::NotYet));
        assert_eq!(verify(-LEEWAY), Ok(claims_at(NOON)));
    }
    // Times that no token of ours has.
    for (name, value) in [
        ("nbf", "1780000001"),
        ("nbf", "1779999999"),
        ("nbf", "1780000600"),
        ("iat", "1780000001"),
        ("iat", "1780000901"),
        ("exp", "1779999999"),
        ("exp", "1780003601"),
        ("exp", "0"),
    ] {
        assert_eq!(verify_with(&process, name, value), Err(TokenFault::Malformed), "{name}");
    }
    let later = claims_at(NOON.plus_millis(LEEWAY + 1_000));
    assert_eq!(process.verify(&process.chain.sign(&later)), Err(TokenFault::NotYet));
}

#[tokio::test]
async fn a_refused_token_is_not_remembered() {
    let process = Process::new().await;
    let good = process.token();
    let (message, _) = good.rsplit_once('.').unwrap();
    let unsigned = format!("{message}.{}", encode([7; 64]));
    let expired = process.chain.sign(&claims_at(NOON.plus_millis(-DAY)));
    for token in [&unsigned, &expired, &process.with_payload("{}")] {
        assert!(process.verify(token).is_err());
        assert_eq!(process.chain.held.load().verified.get(&cache::digest(token)), None);
    }
}
