//! Headers that try to choose the algorithm or the key. Each is tried with a true signature too, so
//! that nothing but the header can be what it is refused for.

use jsonwebtoken::{Algorithm, EncodingKey, crypto};

use super::*;
use crate::domain::refresh_token::RefreshToken;

/// Refused as no token of ours, whoever signed it.
fn assert_malformed(process: &Process, header: &str) {
    let payload = part(&process.token(), 1);
    let message = message(header, &payload);
    for signature in [process.sign(&message), encode([0; 64])] {
        let token = format!("{message}.{signature}");
        assert_eq!(process.verify(&token), Err(TokenFault::Malformed), "{header}");
    }
}

fn header_with_alg(process: &Process, alg: &str) -> String {
    process.header().replace("\"EdDSA\"", alg)
}

fn header_with(process: &Process, member: &str) -> String {
    process.header().replace('}', &format!(",{member}}}"))
}

#[tokio::test]
async fn no_algorithm_but_that_of_the_key_is_taken() {
    let process = Process::new().await;
    let mut words = vec![
        "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256",
        "PS384", "PS512", "Ed25519", "Ed448", "ES256K", "eddsa", "EDDSA", "EdDsa", "EdDSA ", "",
    ]
    .into_iter()
    .map(str::to_owned)
    .collect::<Vec<_>>();
    // `none` in every way to spell it.
    for bits in 0..16_u8 {
        let letter = |(index, letter): (usize, char)| match bits >> index & 1 {
            0 => letter,
            _ => letter.to_ascii_uppercase(),
        };
        words.push("none".chars().enumerate().map(letter).collect());
    }
    for word in words {
        assert_malformed(&process, &header_with_alg(&process, &format!("\"{word}\"")));
    }
    for value in ["null", "1", "[\"EdDSA\"]", "{}", "true", "\"\\u0045dDSA\""] {
        assert_malformed(&process, &header_with_alg(&process, value));
    }
}

#[tokio::test]
async fn a_token_without_a_signature_is_refused() {
    let process = Process::new().await;
    let payload = part(&process.token(), 1);
    for header in [process.header(), header_with_alg(&process, "\"none\"")] {
        let token = format!("{}.", message(&header, &payload));
        assert_eq!(process.verify(&token), Err(TokenFault::Malformed));
        assert_eq!(process.verify(token.trim_end_matches('.')), Err(TokenFault::Malformed));
    }
}

#[tokio::test]
async fn the_public_key_is_no_secret_to_sign_with() {
    let process = Process::new().await;
    let x = process.chain.jwks()["keys"][0]["x"].as_str().unwrap().to_owned();
    let jwk = process.chain.jwks()["keys"][0].to_string();
    let raw = URL_SAFE_NO_PAD.decode(&x).unwrap();
    let payload = part(&process.token(), 1);
    for secret in [raw.as_slice(), x.as_bytes(), jwk.as_bytes(), b""] {
        let secret = EncodingKey::from_secret(secret);
        for (alg, expected) in
            [("\"HS256\"", TokenFault::Malformed), ("\"EdDSA\"", TokenFault::BadSignature)]
        {
            let message = message(&header_with_alg(&process, alg), &payload);
            let signature = crypto::sign(message.as_bytes(), &secret, Algorithm::HS256).unwrap();
            assert_eq!(process.verify(&format!("{message}.{signature}")), Err(expected));
        }
    }
}

#[tokio::test]
async fn a_true_signature_of_another_kind_of_key_is_refused() {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
    let process = Process::new().await;
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let key = EncodingKey::from_ec_der(document.as_ref());
    let payload = part(&process.token(), 1);
    for (alg, expected) in
        [("\"ES256\"", TokenFault::Malformed), ("\"EdDSA\"", TokenFault::BadSignature)]
    {
        let message = message(&header_with_alg(&process, alg), &payload);
        let signature = crypto::sign(message.as_bytes(), &key, Algorithm::ES256).unwrap();
        assert_eq!(process.verify(&format!("{message}.{signature}")), Err(expected));
    }
}

#[tokio::test]
async fn a_header_brings_no_key_and_no_address_of_one() {
    let process = Process::new().await;
    let stranger = Process::new().await;
    let jwk = stranger.chain.jwks()["keys"][0].to_string();
    for member in [
        format!("\"jwk\":{jwk}"),
        "\"jku\":\"https://evil.example/jwks.json\"".to_owned(),
        "\"x5u\":\"https://evil.example/cert.pem\"".to_owned(),
        "\"x5c\":[\"MIIB\"]".to_owned(),
        "\"x5t\":\"AAAA\"".to_owned(),
        "\"x5t#S256\":\"AAAA\"".to_owned(),
        "\"crit\":[\"exp\"]".to_owned(),
        "\"crit\":[]".to_owned(),
        "\"b64\":false".to_owned(),
        "\"zip\":\"DEF\"".to_owned(),
        "\"cty\":\"JWT\"".to_owned(),
        "\"enc\":\"A256GCM\"".to_owned(),
        "\"nonce\":\"1\"".to_owned(),
        "\"x\":null".to_owned(),
    ] {
        let header = header_with(&process, &member);
        assert_malformed(&process, &header);
        // As its maker would send it: signed with the key that it brings.
        let token = stranger.forge(&header, &part(&process.token(), 1));
        assert_eq!(process.verify(&token), Err(TokenFault::Malformed), "{header}");
    }
}

#[tokio::test]
async fn a_member_twice_is_refused_whichever_is_the_good_one() {
    let process = Process::new().await;
    let kid = process.kid();
    for member in [
        "\"alg\":\"EdDSA\"".to_owned(),
        "\"alg\":\"none\"".to_owned(),
        "\"typ\":\"JWT\"".to_owned(),
        format!("\"kid\":\"{kid}\""),
        "\"kid\":\"other\"".to_owned(),
        "\"\\u0061lg\":\"none\"".to_owned(),
    ] {
        assert_malformed(&process, &header_with(&process, &member));
        let first = process.header().replacen('{', &format!("{{{member},"), 1);
        assert_malformed(&process, &first);
    }
}

#[tokio::test]
async fn names_of_keys_are_names_of_keys_here() {
    let process = Process::new().await;
    let kid = process.kid();
    let bad = [
        "../../dev/null".to_owned(),
        "/dev/null".to_owned(),
        "file:///dev/null".to_owned(),
        "../../../../../../../../../../dev/null-----".to_owned(),
        "x' UNION SELECT 'AAAA".to_owned(),
        "https://evil.example/".to_owned(),
        String::new(),
        format!("{kid}A"),
        format!("{kid}="),
        format!(" {kid}"),
        kid[..42].to_owned(),
        format!("{}/", &kid[..42]),
        format!("{}\\u0041", &kid[..42]),
        "ä".repeat(21) + "a",
    ];
    for name in &bad {
        assert_malformed(&process, &process.header().replace(&kid, name));
    }
    for value in ["null", "1", "[]", "{}"] {
        assert_malformed(&process, &process.header().replace(&format!("\"{kid}\""), value));
    }
    let unknown = "A".repeat(43);
    let token = process.forge(&process.header().replace(&kid, &unknown), "{}");
    assert_eq!(process.verify(&token), Err(TokenFault::UnknownKey));
}

#[tokio::test]
async fn every_member_of_a_header_is_needed() {
    let process = Process::new().await;
    let kid = process.kid();
    for header in [
        r#"{"alg":"EdDSA","typ":"at+jwt"}"#.to_owned(),
        format!(r#"{{"alg":"EdDSA","kid":"{kid}"}}"#),
        format!(r#"{{"typ":"at+jwt","kid":"{kid}"}}"#),
        format!(r#"["EdDSA","at+jwt","{kid}"]"#),
        "{}".to_owned(),
        "null".to_owned(),
        String::new(),
        "EdDSA".to_owned(),
        format!("{} ", process.header()) + "{}",
        process.header().replace('}', ""),
        process.header().replace('}', ",}"),
    ] {
        assert_malformed(&process, &header);
    }
}

#[tokio::test]
async fn no_other_type_of_token_is_taken() {
    let process = Process::new().await;
    for typ in [
        "JWT",
        "jwt",
        "at+JWT",
        "AT+JWT",
        "application/at+jwt",
        "id+jwt",
        "dpop+jwt",
        "logout+jwt",
        "secevent+jwt",
        "JOSE",
        "",
    ] {
        assert_malformed(&process, &process.header().replace("at+jwt", typ));
    }
}

#[tokio::test]
async fn a_refresh_token_is_no_access_token_and_its_key_signs_none() {
    let process = Process::new().await;
    let refresh = RefreshToken::new(Id(7_003), 4, &[1; 32], &SECRET);
    assert_eq!(process.verify(refresh.as_str()), Err(TokenFault::Malformed));
    let payload = part(&process.token(), 1);
    let message = message(&process.header(), &payload);
    for context in ["shunt 2026 tag of a refresh token", "shunt 2026 digest of a refresh token"] {
        let key = blake3::derive_key(context, &SECRET);
        let tag = blake3::keyed_hash(&key, message.as_bytes());
        let mac =
            crypto::sign(message.as_bytes(), &EncodingKey::from_secret(&key), Algorithm::HS512);
        for signature in
            [encode(tag.as_bytes()), encode([*tag.as_bytes(); 2].concat()), mac.unwrap()]
        {
            let token = format!("{message}.{signature}");
            assert_eq!(process.verify(&token), Err(TokenFault::BadSignature));
        }
    }
}
