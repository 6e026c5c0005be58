//! What is fetched of a provider, when, how often, and what becomes of failures.

use std::time::Duration;

use super::*;
use crate::service::oidc::refreshed::{FETCH_EVERY_MS, FRESH_MS};

const UNAVAILABLE: OidcFault = OidcFault::Unavailable;

/// Starts a provider with one document spoilt, and begins a sign-in and checks a token.
async fn with_reply(
    path: &str,
    reply: impl Fn(&Fake) -> Reply,
) -> (Result<(), OidcFault>, Result<(), OidcFault>) {
    let key = Signer::ed("a");
    let fake = Fake::start(&[&key]).await;
    fake.reply(path, reply(&fake));
    let (oidc, _) = oidc(vec![short_waits(fake.config())]);
    let begun = oidc.begin("acme", "/").await.map(drop);
    let verified = oidc.verify_bearer(&key.token(&fake.claims())).await.map(drop);
    assert_eq!(fake.asked(path), 1, "a second try came within the interval");
    (begun, verified)
}

/// An answer that would be good but for its head.
fn raw(head: &str, body: &Value) -> Reply {
    let body = body.to_string();
    let length = body.len();
    Reply::Raw(format!("{head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"))
}

/// Good and too long.
fn padded(document: Value) -> Reply {
    Reply::Json(with(document, "padding", json!("a".repeat(256 * 1_024))))
}

#[tokio::test]
async fn nobody_is_asked_before_somebody_comes() {
    let (fake, oidc, _) = start(&[]).await;
    assert_eq!(oidc.providers().next().unwrap().id, "acme");
    assert_eq!(fake.asked(DISCOVERY), 0);
}

#[tokio::test]
async fn a_description_of_no_use_makes_the_provider_unavailable() {
    let json = "Content-Type: application/json";
    let spoilt: [&dyn Fn(&Fake) -> Reply; 9] = [
        &|fake| Reply::Json(with(fake.metadata(), "issuer", json!("https://login.acme.example"))),
        &|fake| Reply::Json(with(fake.metadata(), "token_endpoint", json!(7))),
        &|_| Reply::Json(json!([])),
        &|fake| padded(fake.metadata()),
        &|fake| raw(&format!("500 Oh\r\n{json}"), &fake.metadata()),
        &|fake| raw(&format!("302 Found\r\nLocation: /other\r\n{json}"), &fake.metadata()),
        &|fake| raw("200 OK\r\nContent-Type: text/html", &fake.metadata()),
        &|_| Reply::Raw(format!("200 OK\r\n{json}\r\nContent-Length: 99\r\n\r\n{{")),
        &|_| Reply::Silence,
    ];
    for (place, reply) in spoilt.into_iter().enumerate() {
        let answers = with_reply(DISCOVERY, reply).await;
        assert_eq!(answers, (Err(UNAVAILABLE), Err(UNAVAILABLE)), "{place}");
    }
}

#[tokio::test]
async fn keys_of_no_use_leave_sign_in_possible_and_tokens_unchecked() {
    let spoilt: [&dyn Fn(&Fake) -> Reply; 4] = [
        &|_| Reply::Json(json!({ "keys": {} })),
        &|_| Reply::Json(json!({ "keys": vec![json!({}); 65] })),
        &|_| padded(json!({ "keys": [] })),
        &|_| Reply::Silence,
    ];
    for (place, reply) in spoilt.into_iter().enumerate() {
        let answers = with_reply("/jwks", reply).await;
        assert_eq!(answers, (Ok(()), Err(UNAVAILABLE)), "{place}");
    }
}

#[tokio::test]
async fn a_redirect_of_the_description_is_not_followed() {
    let (real, fake) = (Fake::start(&[]).await, Fake::start(&[]).await);
    let to =
        format!("302 Found\r\nLocation: {}{DISCOVERY}\r\nContent-Length: 0\r\n\r\n", real.issuer);
    fake.reply(DISCOVERY, Reply::Raw(to));
    let (oidc, _) = oidc(vec![fake.config()]);
    assert_eq!(oidc.begin("acme", "/").await.err(), Some(UNAVAILABLE));
    assert_eq!(real.asked(DISCOVERY), 0);
}

#[tokio::test]
async fn a_provider_that_was_away_is_asked_again_after_the_interval() {
    let (fake, oidc, clock) = start(&[]).await;
    fake.reply(DISCOVERY, Reply::Raw(json_answer("503 Oh", &json!({}))));
    for _ in 0..10 {
        assert_eq!(oidc.begin("acme", "/").await.err(), Some(UNAVAILABLE));
    }
    assert_eq!(fake.asked(DISCOVERY), 1);

    fake.reply(DISCOVERY, Reply::Json(fake.metadata()));
    clock.pass(FETCH_EVERY_MS - 1);
    assert_eq!(oidc.begin("acme", "/").await.err(), Some(UNAVAILABLE));
    clock.pass(1);
    assert!(oidc.begin("acme", "/").await.is_ok());
    assert_eq!(fake.asked(DISCOVERY), 2);
}

#[tokio::test]
async fn a_hundred_at_once_make_one_fetch() {
    let key = Signer::ed("a");
    let (fake, oidc, _) = start(&[&key]).await;
    let token = |n: usize| key.token(&with(fake.claims(), "jti", json!(n)));
    let tokens: Vec<String> = (0..100).map(token).collect();
    let all = tokens.iter().map(|token| oidc.verify_bearer(token));
    let results = futures_util::future::join_all(all).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!((fake.asked(DISCOVERY), fake.asked("/jwks")), (1, 1));
}

#[tokio::test]
async fn a_fetch_goes_on_when_who_asked_for_it_leaves() {
    let key = Signer::ed("a");
    let (fake, oidc, _) = start(&[&key]).await;
    let token = key.token(&fake.claims());
    tokio::select! {
        biased;
        _ = oidc.verify_bearer(&token) => panic!("the provider cannot have answered yet"),
        // Polled once: the fetch is under way and nobody waits for it any more.
        () = std::future::ready(()) => (),
    }
    assert!(oidc.verify_bearer(&token).await.is_ok());
    assert_eq!(fake.asked(DISCOVERY), 1);
}

#[tokio::test]
async fn a_flood_of_unknown_keys_makes_one_fetch_per_interval() {
    let (known, stranger) = (Signer::ed("a"), Signer::ed("a"));
    let (fake, oidc, clock) = start(&[&known]).await;
    for round in 1..=3 {
        for n in 0..50 {
            let header = with(stranger.header(), "kid", json!(format!("{round}-{n}")));
            let token = stranger.token_with(&header, &fake.claims());
            let refused = oidc.verify_bearer(&token).await.err();
            assert_eq!(refused, Some(TokenFault::Key.into()));
        }
        assert_eq!(fake.asked("/jwks"), round);
        clock.pass(FETCH_EVERY_MS);
    }
    assert_eq!(fake.asked(DISCOVERY), 1);
}

#[tokio::test]
async fn a_new_key_is_picked_up_and_an_old_one_is_dropped() {
    let (old, new) = (Signer::ed("old"), Signer::ec("new"));
    let (fake, oidc, clock) = start(&[&old]).await;
    let (by_old, by_new) = (old.token(&fake.claims()), new.token(&fake.claims()));
    assert!(oidc.verify_bearer(&by_old).await.is_ok());

    fake.publish(&[&new]);
    assert_eq!(oidc.verify_bearer(&by_new).await.err(), Some(TokenFault::Key.into()));
    clock.pass(FETCH_EVERY_MS);
    assert!(oidc.verify_bearer(&by_new).await.is_ok());
    // It was remembered as good: under keys that are no longer published.
    assert_eq!(oidc.verify_bearer(&by_old).await.err(), Some(TokenFault::Key.into()));
}

#[tokio::test]
async fn keys_are_kept_when_fetching_them_again_fails() {
    let (known, stranger) = (Signer::ed("a"), Signer::ed("b"));
    let (fake, oidc, clock) = start(&[&known]).await;
    let claims = with(fake.claims(), "exp", json!(NOW + 100_000));
    assert!(oidc.verify_bearer(&known.token(&claims)).await.is_ok());

    let empty = json!({ "keys": [] });
    for (round, reply) in [Reply::Json(json!({})), padded(empty)].into_iter().enumerate() {
        fake.reply("/jwks", reply);
        clock.pass(FETCH_EVERY_MS);
        let refused = oidc.verify_bearer(&stranger.token(&claims)).await.err();
        assert_eq!(refused, Some(TokenFault::Key.into()));
        assert_eq!(fake.asked("/jwks"), round + 2);
        let other = with(claims.clone(), "jti", json!(round));
        assert!(oidc.verify_bearer(&known.token(&other)).await.is_ok());
    }
}

#[tokio::test]
async fn old_keys_are_fetched_again_behind_the_answer() {
    let key = Signer::ed("a");
    let (fake, oidc, clock) = start(&[&key]).await;
    let claims = with(fake.claims(), "exp", json!(NOW + 100_000));
    let token = key.token(&claims);
    assert!(oidc.verify_bearer(&token).await.is_ok());
    clock.pass(FRESH_MS - 1);
    assert!(oidc.verify_bearer(&token).await.is_ok());
    assert_eq!(fake.asked("/jwks"), 1);

    fake.reply("/jwks", Reply::Silence);
    clock.pass(1);
    // The provider keeps silent, and the token is taken all the same.
    assert!(oidc.verify_bearer(&token).await.is_ok());
    let asked = async {
        while fake.asked("/jwks") < 2 {
            tokio::task::yield_now().await;
        }
    };
    let asked = tokio::time::timeout(Duration::from_secs(10), asked).await;
    assert!(asked.is_ok(), "nobody asked for newer keys");
}
