//! Bearer tokens of providers: which pass, and that no other does.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;

#[track_caller]
fn refused(verified: Result<Arc<ExternalIdentity>, OidcFault>, fault: TokenFault, why: &Value) {
    assert_eq!(verified.err(), Some(OidcFault::Token(fault)), "{why}");
}

#[tokio::test]
async fn a_good_token_says_who_it_is_with_every_kind_of_key() {
    for key in [Signer::ed("a"), Signer::ec("b"), Signer::rsa("c"), pss("d")] {
        let (fake, oidc, _) = start(&[&key]).await;
        let token = key.token(&fake.claims());
        for _ in 0..2 {
            let identity = oidc.verify_bearer(&token).await.unwrap();
            let expected = ExternalIdentity {
                provider: "acme".to_owned(),
                issuer: fake.issuer.clone(),
                subject: "u1".to_owned(),
                email: Some("ada@example.com".to_owned()),
                email_verified: true,
                name: Some("Ada".to_owned()),
            };
            assert_eq!(*identity, expected);
        }
    }
}

fn pss(id: &str) -> Signer {
    Signer { algorithm: Algorithm::PS256, ..Signer::rsa(id) }
}

#[tokio::test]
async fn claims_are_complete_of_the_right_type_and_about_us() {
    use TokenFault::{Audience, Claims, Expired, NotYet, Party};
    let key = Signer::ed("a");
    let (fake, oidc, _) = start(&[&key]).await;
    for (name, value, fault) in [
        ("exp", json!(null), Claims),
        ("exp", json!((NOW + 300).to_string()), Claims),
        ("exp", json!(1e300), Claims),
        ("exp", json!(u64::MAX), Claims),
        ("exp", json!(NOW - 60), Expired),
        ("exp", json!(i64::MIN), Expired),
        ("nbf", json!(NOW + 61), NotYet),
        ("nbf", json!(i64::MAX), NotYet),
        ("nbf", json!((NOW - 1).to_string()), Claims),
        ("iat", json!(NOW + 61), NotYet),
        ("iat", json!(true), Claims),
        ("sub", json!(null), Claims),
        ("sub", json!(7), Claims),
        ("sub", json!(""), Claims),
        ("sub", json!("s".repeat(256)), Claims),
        ("aud", json!(null), Claims),
        ("aud", json!([]), Claims),
        ("aud", json!({ "0": AUDIENCE }), Claims),
        ("aud", json!([AUDIENCE, 7]), Claims),
        ("aud", json!("somebody else"), Audience),
        ("aud", json!(format!("{AUDIENCE}/")), Audience),
        ("aud", json!(["somebody else"]), Audience),
        // What an ID token of the sign-in has.
        ("aud", json!(CLIENT), Audience),
        ("aud", json!([AUDIENCE, "somebody else"]), Party),
    ] {
        let token = key.token(&with(fake.claims(), name, value.clone()));
        refused(oidc.verify_bearer(&token).await, fault, &json!([name, value]));
    }
    for (name, value) in [
        ("exp", json!(NOW - 59)),
        ("nbf", json!(NOW + 60)),
        ("iat", json!(null)),
        ("aud", json!([AUDIENCE])),
        ("email_verified", json!("false")),
        ("email", json!(7)),
        ("name", json!(null)),
    ] {
        let token = key.token(&with(fake.claims(), name, value.clone()));
        assert!(oidc.verify_bearer(&token).await.is_ok(), "{name}: {value}");
    }
    // `null` is no number, and a claim given twice has no meaning.
    let text = fake.claims().to_string();
    for text in [
        text.replace("\"iat\":", "\"nbf\":null,\"iat\":"),
        text.replace("\"iat\":", "\"exp\":9999999999,\"iat\":"),
    ] {
        let token = key.sign(&key.header().to_string(), &text);
        refused(oidc.verify_bearer(&token).await, Claims, &json!(text));
    }
}

#[tokio::test]
async fn a_token_for_several_names_who_it_was_given_to() {
    let key = Signer::ed("a");
    let (fake, oidc, _) = start(&[&key]).await;
    let several = with(fake.claims(), "aud", json!(["other", AUDIENCE]));
    for party in [CLIENT, AUDIENCE] {
        let token = key.token(&with(several.clone(), "azp", json!(party)));
        assert!(oidc.verify_bearer(&token).await.is_ok(), "{party}");
    }
    let token = key.token(&with(several.clone(), "azp", json!("other")));
    refused(oidc.verify_bearer(&token).await, TokenFault::Party, &several);
}

#[tokio::test]
async fn an_address_counts_as_seen_only_when_the_provider_says_true() {
    let key = Signer::ed("a");
    let (fake, oidc, _) = start(&[&key]).await;
    for value in [json!("true"), json!(1), json!(false), json!(null)] {
        let token = key.token(&with(fake.claims(), "email_verified", value));
        assert!(!oidc.verify_bearer(&token).await.unwrap().email_verified);
    }
    let token = key.token(&with(fake.claims(), "email", json!(null)));
    assert!(!oidc.verify_bearer(&token).await.unwrap().email_verified);
}

#[tokio::test]
async fn what_cannot_be_shown_of_somebody_is_left_out() {
    let key = Signer::ed("a");
    let (fake, oidc, _) = start(&[&key]).await;
    for (name, bytes_max) in [("email", 254), ("name", 400)] {
        for (text, shown) in [
            ("x".repeat(bytes_max), true),
            ("x".repeat(bytes_max + 1), false),
            ("Ada\r\nBcc: x".to_owned(), false),
            ("Ada\u{0}".to_owned(), false),
            ("Ada\u{85}".to_owned(), false),
            (String::new(), false),
        ] {
            let token = key.token(&with(fake.claims(), name, json!(text)));
            let identity = oidc.verify_bearer(&token).await.unwrap();
            let found = if name == "name" { &identity.name } else { &identity.email };
            assert_eq!(found.as_ref(), shown.then_some(&text), "{name} {text:?}");
        }
    }
}

#[tokio::test]
async fn the_header_decides_nothing() {
    use TokenFault::{Algorithm, Header, Key, Malformed};
    let key = Signer::ed("a");
    let (fake, oidc, _) = start(&[&key]).await;
    for (name, value, fault) in [
        ("jku", json!("https://evil.example/jwks"), Header),
        ("jwk", key.jwk(), Header),
        ("x5u", json!("https://evil.example/cert"), Header),
        ("x5c", json!(["MIIB"]), Header),
        ("crit", json!([]), Header),
        ("b64", json!(false), Header),
        ("zip", json!("DEF"), Header),
        ("enc", json!("A128GCM"), Header),
        ("typ", json!(null), Header),
        ("typ", json!("logout+jwt"), Header),
        ("typ", json!(7), Malformed),
        ("alg", json!(null), Malformed),
        ("alg", json!("none"), Algorithm),
        ("alg", json!("None"), Algorithm),
        ("alg", json!("HS256"), Algorithm),
        ("alg", json!("RS256"), Algorithm),
        ("alg", json!("ES256"), Algorithm),
        ("kid", json!("../../../dev/null"), Key),
        ("kid", json!(""), Key),
        ("kid", json!(["a"]), Malformed),
    ] {
        let token = key.token_with(&with(key.header(), name, value.clone()), &fake.claims());
        refused(oidc.verify_bearer(&token).await, fault, &json!([name, value]));
    }
    for (name, value) in [
        ("typ", json!("JWT")),
        ("typ", json!("application/AT+JWT")),
        ("kid", json!(null)),
        ("x5t", json!("abc")),
    ] {
        let token = key.token_with(&with(key.header(), name, value.clone()), &fake.claims());
        assert!(oidc.verify_bearer(&token).await.is_ok(), "{name}: {value}");
    }
}

#[tokio::test]
async fn a_public_key_is_no_shared_secret() {
    let key = Signer::rsa("a");
    let (fake, oidc, _) = start(&[&key]).await;
    let jwk = key.jwk();
    let modulus = jwk["n"].as_str().unwrap();
    let secrets = [
        modulus.as_bytes().to_vec(),
        URL_SAFE_NO_PAD.decode(modulus).unwrap(),
        jwk.to_string().into_bytes(),
    ];
    for secret in secrets {
        let forger = Signer {
            algorithm: Algorithm::HS256,
            key: EncodingKey::from_secret(&secret),
            ..key.clone()
        };
        let token = forger.token(&fake.claims());
        refused(oidc.verify_bearer(&token).await, TokenFault::Algorithm, &jwk);
        // The same signature under the name of the key's own kind.
        let token = forger.token_with(&key.header(), &fake.claims());
        refused(oidc.verify_bearer(&token).await, TokenFault::Signature, &jwk);
    }
    let header = json!({ "alg": "none", "kid": "a", "typ": "at+jwt" });
    let unsigned = format!("{}.", message(&header.to_string(), &fake.claims().to_string()));
    refused(oidc.verify_bearer(&unsigned).await, TokenFault::Algorithm, &header);
    let unsigned = format!("{}.", message(&key.header().to_string(), &fake.claims().to_string()));
    refused(oidc.verify_bearer(&unsigned).await, TokenFault::Signature, &header);
}

#[tokio::test]
async fn a_signature_is_taken_only_if_configuration_and_key_allow_it() {
    let key = Signer::rsa("a");
    let (fake, _, _) = start(&[&key]).await;
    let config = ProviderConfig { algorithms: vec![SigningAlgorithm::ES256], ..fake.config() };
    let (narrow, _) = oidc(vec![config]);
    let token = key.token(&fake.claims());
    refused(narrow.verify_bearer(&token).await, TokenFault::Algorithm, &json!("configuration"));
    // The key says RS256; with PS256 it could sign as well.
    let (wide, _) = oidc(vec![fake.config()]);
    let token = pss("a").token(&fake.claims());
    refused(wide.verify_bearer(&token).await, TokenFault::Algorithm, &json!("key"));
}

#[tokio::test]
async fn each_issuer_has_its_own_keys_and_audiences() {
    let (one, other) = (Signer::ed("a"), Signer::ed("a"));
    let (first, second) = (Fake::start(&[&one]).await, Fake::start(&[&other]).await);
    let renamed = ProviderConfig { id: "other".to_owned(), ..second.config() };
    let silent = ProviderConfig { audiences: Vec::new(), ..renamed.clone() };
    let (both, _) = oidc(vec![first.config(), renamed]);
    assert!(both.verify_bearer(&one.token(&first.claims())).await.is_ok());
    let identity = both.verify_bearer(&other.token(&second.claims())).await.unwrap();
    assert_eq!(identity.provider, "other");
    let crossed = one.token(&second.claims());
    refused(both.verify_bearer(&crossed).await, TokenFault::Signature, &json!("crossed"));
    let stranger = with(first.claims(), "iss", json!("https://evil.example"));
    refused(both.verify_bearer(&one.token(&stranger)).await, TokenFault::Issuer, &stranger);
    let almost = with(first.claims(), "iss", json!(format!("{}/", first.issuer)));
    refused(both.verify_bearer(&one.token(&almost)).await, TokenFault::Issuer, &almost);

    let (half, _) = oidc(vec![first.config(), silent.clone()]);
    let token = other.token(&second.claims());
    refused(half.verify_bearer(&token).await, TokenFault::Issuer, &json!("no audiences"));
    let (none, _) = oidc(vec![silent]);
    assert!(!none.takes_bearers());
    assert!(none.verify_bearer(&token).await.is_err());
}

#[tokio::test]
async fn a_remembered_token_ends_when_it_expires() {
    let key = Signer::ed("a");
    let (fake, oidc, clock) = start(&[&key]).await;
    let token = key.token(&fake.claims());
    assert!(oidc.verify_bearer(&token).await.is_ok());
    clock.pass(359_000);
    assert!(oidc.verify_bearer(&token).await.is_ok());
    clock.pass(1_000);
    refused(oidc.verify_bearer(&token).await, TokenFault::Expired, &json!(token));
    clock.pass(-500_000);
    refused(oidc.verify_bearer(&token).await, TokenFault::NotYet, &json!(token));
}

#[tokio::test]
async fn what_is_no_token_is_refused_without_asking_anybody() {
    let key = Signer::ed("a");
    let (fake, oidc, _) = start(&[&key]).await;
    let long = key.token(&with(fake.claims(), "x", json!("x".repeat(16_384))));
    for text in [
        "",
        ".",
        "..",
        "...",
        "a.b",
        "a.b.c",
        "e30.e30.",
        "e30.e30.e30.e30",
        "shunt_x",
        long.as_str(),
    ] {
        assert!(oidc.verify_bearer(text).await.is_err(), "{text}");
    }
    assert_eq!(fake.asked(DISCOVERY), 0);
}

#[test]
fn a_token_with_any_character_changed_is_refused() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let key = Signer::ed("a");
    let (fake, oidc, token) = runtime.block_on(async {
        let (fake, oidc, _) = start(&[&key]).await;
        let token = key.token(&fake.claims());
        assert!(oidc.verify_bearer(&token).await.is_ok());
        (fake, oidc, token)
    });
    let changes = (any::<prop::sample::Index>(), "[A-Za-z0-9_.=-]");
    TestRunner::default()
        .run(&changes, |(place, other)| {
            let place = place.index(token.len());
            prop_assume!(token[place..=place] != other);
            let mut changed = token.clone();
            changed.replace_range(place..=place, &other);
            prop_assert!(runtime.block_on(oidc.verify_bearer(&changed)).is_err());
            Ok(())
        })
        .unwrap();
    assert!(fake.asked("/jwks") <= 2);
}
