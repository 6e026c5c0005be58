//! The code flow against a provider that answers what each test wants.

use std::collections::HashMap;

use sha2::Digest as _;

use super::*;
use crate::service::oidc::provider::REDEEMED_MAX;

/// A sign-in that has begun: what the provider saw in the question.
struct Began {
    parameters: HashMap<String, String>,
    cookie: String,
}

impl Began {
    async fn with(oidc: &Oidc, provider: &str) -> Self {
        let Begun { url, state_cookie } = oidc.begin(provider, "/app?tab=2").await.unwrap();
        let parameters = url.query_pairs().into_owned().collect();
        Self { parameters, cookie: state_cookie }
    }

    /// What the provider sends the browser back with, and `more`.
    fn callback(&self, more: &str) -> Callback {
        let state = &self.parameters["state"];
        Callback::parse(&format!("code=c0de&state={state}{more}")).unwrap()
    }

    /// The claims of the ID token that answers this question.
    fn claims(&self, fake: &Fake) -> Value {
        let claims = with(fake.claims(), "aud", json!(CLIENT));
        with(claims, "nonce", json!(self.parameters["nonce"]))
    }
}

fn id_token(key: &Signer, claims: &Value) -> String {
    key.token_with(&with(key.header(), "typ", json!("JWT")), claims)
}

fn answer_with(fake: &Fake, id_token: &str) {
    let tokens = json!({ "id_token": id_token, "access_token": "acc3ss", "token_type": "Bearer" });
    fake.reply("/token", Reply::Json(tokens));
}

#[tokio::test]
async fn a_sign_in_tells_who_came_and_where_to_go() {
    let key = Signer::ec("a");
    let (fake, oidc, _) = start(&[&key]).await;
    let began = Began::with(&oidc, "acme").await;
    let asked = &began.parameters;
    assert_eq!(asked["response_type"], "code");
    assert_eq!(asked["client_id"], CLIENT);
    assert_eq!(asked["scope"], "openid email profile");
    assert_eq!(asked["code_challenge_method"], "S256");
    let redirect_uri = "https://go.example/api/v1/auth/oidc/acme/callback";
    assert_eq!(asked["redirect_uri"], redirect_uri);

    let token = id_token(&key, &began.claims(&fake));
    answer_with(&fake, &token);
    let done = oidc.finish("acme", &began.callback(""), Some(&began.cookie)).await.unwrap();
    assert_eq!(done.return_to.as_str(), "/app?tab=2");
    assert_eq!(done.identity.subject, "u1");
    assert_eq!(done.identity.email.as_deref(), Some("ada@example.com"));
    assert_eq!(done.id_token_hint.0, token);

    let request = fake.last("/token");
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let form: HashMap<String, String> =
        url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    assert_eq!(form["grant_type"], "authorization_code");
    assert_eq!((form["code"].as_str(), form["redirect_uri"].as_str()), ("c0de", redirect_uri));
    assert!(!form.contains_key("client_secret") && !form.contains_key("client_id"));
    let credentials = STANDARD.encode("shunt:s3cr%3At%2F%C3%A4");
    assert!(head.contains(&format!("Basic {credentials}")), "{head}");
    // RFC 7636: the challenge was the hash of what is shown now.
    let challenge = sha2::Sha256::digest(&form["code_verifier"]);
    assert_eq!(asked["code_challenge"], URL_SAFE_NO_PAD.encode(challenge));
}

#[tokio::test]
async fn the_client_proves_itself_as_configured() {
    let key = Signer::ed("a");
    let fake = Fake::start(&[&key]).await;
    let post = ProviderConfig { token_auth: Some(TokenAuth::Post), ..fake.config() };
    let public = ProviderConfig { client_secret: None, ..fake.config() };
    for (config, expected) in [(post, Some("s3cr%3At%2F%C3%A4")), (public, None)] {
        let (oidc, _) = oidc(vec![config]);
        let began = Began::with(&oidc, "acme").await;
        answer_with(&fake, &id_token(&key, &began.claims(&fake)));
        assert!(oidc.finish("acme", &began.callback(""), Some(&began.cookie)).await.is_ok());
        let request = fake.last("/token");
        assert!(request.contains("client_id=shunt") && !request.contains("authorization:"));
        let secret = request.split_once("client_secret=").map(|(_, rest)| rest);
        assert_eq!(secret.map(|rest| rest.split('&').next().unwrap()), expected);
    }
}

#[tokio::test]
async fn an_id_token_answers_this_question_of_this_client() {
    use TokenFault::{AccessHash, Audience, Claims, Expired, Issuer, Nonce, NotYet, Party};
    let key = Signer::ed("a");
    let (fake, oidc, _) = start(&[&key]).await;
    for (name, value, fault) in [
        ("iss", json!("https://evil.example"), Issuer),
        ("iss", json!(format!("{}/", fake.issuer)), Issuer),
        ("aud", json!("somebody else"), Audience),
        ("aud", json!(AUDIENCE), Audience),
        ("aud", json!([CLIENT, "somebody else"]), Party),
        ("azp", json!("somebody else"), Party),
        ("nonce", json!(null), Nonce),
        ("nonce", json!("another"), Nonce),
        ("exp", json!(NOW - 60), Expired),
        ("exp", json!(null), Claims),
        ("exp", json!((NOW + 300).to_string()), Claims),
        ("iat", json!(null), Claims),
        ("iat", json!(NOW + 61), NotYet),
        ("nbf", json!(NOW + 61), NotYet),
        ("sub", json!(null), Claims),
        ("at_hash", json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), AccessHash),
        ("at_hash", json!(""), AccessHash),
    ] {
        let began = Began::with(&oidc, "acme").await;
        let claims = with(began.claims(&fake), name, value.clone());
        answer_with(&fake, &id_token(&key, &claims));
        let refused = oidc.finish("acme", &began.callback(""), Some(&began.cookie)).await.err();
        assert_eq!(refused, Some(fault.into()), "{name}: {value}");
    }
    let began = Began::with(&oidc, "acme").await;
    let claims = with(began.claims(&fake), "aud", json!([CLIENT, "other"]));
    let claims = with(claims, "azp", json!(CLIENT));
    // Ed25519 goes with SHA-512: the left half of its 64 bytes.
    let hash = sha2::Sha512::digest("acc3ss");
    let claims = with(claims, "at_hash", json!(URL_SAFE_NO_PAD.encode(&hash[..32])));
    answer_with(&fake, &id_token(&key, &claims));
    assert!(oidc.finish("acme", &began.callback(""), Some(&began.cookie)).await.is_ok());
}

#[tokio::test]
async fn the_access_token_is_hashed_as_the_signature_of_the_id_token_is() {
    use SigningAlgorithm::{RS256, RS384, RS512};
    let halves = [
        sha2::Sha256::digest("acc3ss")[..16].to_vec(),
        sha2::Sha384::digest("acc3ss")[..24].to_vec(),
        sha2::Sha512::digest("acc3ss")[..32].to_vec(),
    ];
    let kinds = [(Algorithm::RS256, RS256), (Algorithm::RS384, RS384), (Algorithm::RS512, RS512)];
    for (own, (algorithm, taken)) in kinds.into_iter().enumerate() {
        let key = Signer { algorithm, ..Signer::rsa("a") };
        let fake = Fake::start(&[&key]).await;
        let (oidc, _) = oidc(vec![ProviderConfig { algorithms: vec![taken], ..fake.config() }]);
        for (place, half) in halves.iter().enumerate() {
            let began = Began::with(&oidc, "acme").await;
            let hash = json!(URL_SAFE_NO_PAD.encode(half));
            answer_with(&fake, &id_token(&key, &with(began.claims(&fake), "at_hash", hash)));
            let done = oidc.finish("acme", &began.callback(""), Some(&began.cookie)).await;
            let expected = (place != own).then(|| TokenFault::AccessHash.into());
            assert_eq!(done.err(), expected, "{algorithm:?} {place}");
        }
    }
}

#[tokio::test]
async fn an_access_token_is_no_id_token_and_a_forged_one_is_none() {
    let (key, stranger) = (Signer::ed("a"), Signer::ed("a"));
    let (fake, oidc, _) = start(&[&key]).await;
    let began = Began::with(&oidc, "acme").await;
    let claims = began.claims(&fake);
    let long = json!("x".repeat(16 * 1_024));
    for (token, fault) in [
        (key.token(&claims), TokenFault::Header),
        (id_token(&stranger, &claims), TokenFault::Signature),
        ("no.token.atall".to_owned(), TokenFault::Malformed),
        (id_token(&key, &with(claims.clone(), "x", long)), TokenFault::Malformed),
    ] {
        answer_with(&fake, &token);
        let refused = oidc.finish("acme", &began.callback(""), Some(&began.cookie)).await.err();
        assert_eq!(refused, Some(fault.into()));
    }
    // And the other way round: what signs in is no bearer token.
    answer_with(&fake, &id_token(&key, &claims));
    let done = oidc.finish("acme", &began.callback(""), Some(&began.cookie)).await.unwrap();
    let refused = oidc.verify_bearer(&done.id_token_hint.0).await.err();
    assert_eq!(refused, Some(TokenFault::Audience.into()));
}

#[tokio::test]
async fn only_the_browser_that_began_can_finish() {
    let key = Signer::ed("a");
    let (fake, other) = (Fake::start(&[&key]).await, Fake::start(&[&key]).await);
    let renamed = ProviderConfig { id: "other".to_owned(), ..other.config() };
    let (oidc, clock) = oidc(vec![fake.config(), renamed]);
    let (mine, theirs) = (Began::with(&oidc, "acme").await, Began::with(&oidc, "acme").await);
    let elsewhere = Began::with(&oidc, "other").await;
    answer_with(&fake, &id_token(&key, &mine.claims(&fake)));

    let state = OidcFault::State;
    let crossed = oidc.finish("acme", &theirs.callback(""), Some(&mine.cookie)).await;
    assert_eq!(crossed.err(), Some(state));
    let none = oidc.finish("acme", &mine.callback(""), None).await;
    assert_eq!(none.err(), Some(state));
    let other_cookie = oidc.finish("acme", &elsewhere.callback(""), Some(&elsewhere.cookie)).await;
    assert_eq!(other_cookie.err(), Some(state));
    let stateless = Callback::parse("code=c0de").unwrap();
    assert_eq!(oidc.finish("acme", &stateless, Some(&mine.cookie)).await.err(), Some(state));
    let unknown = oidc.finish("nobody", &mine.callback(""), Some(&mine.cookie)).await;
    assert_eq!(unknown.err(), Some(OidcFault::UnknownProvider));
    assert_eq!(fake.asked("/token"), 0, "a code went to the provider");

    clock.pass(10 * 60_000);
    let late = oidc.finish("acme", &mine.callback(""), Some(&mine.cookie)).await;
    assert_eq!(late.err(), Some(state));
    clock.pass(-1);
    answer_with(&fake, &id_token(&key, &with(mine.claims(&fake), "exp", json!(NOW + 900))));
    assert!(oidc.finish("acme", &mine.callback(""), Some(&mine.cookie)).await.is_ok());
}

#[tokio::test]
async fn an_answer_comes_from_the_provider_that_was_asked() {
    let key = Signer::ed("a");
    let (fake, _, _) = start(&[&key]).await;
    let promise = "authorization_response_iss_parameter_supported";
    for (promises, iss, expected) in [
        (false, None, None),
        (false, Some(fake.issuer.as_str()), None),
        (false, Some("https://evil.example"), Some(OidcFault::Issuer)),
        (true, None, Some(OidcFault::Issuer)),
        (true, Some(""), Some(OidcFault::Issuer)),
        (true, Some(fake.issuer.as_str()), None),
    ] {
        fake.reply(DISCOVERY, Reply::Json(with(fake.metadata(), promise, json!(promises))));
        let (oidc, _) = oidc(vec![fake.config()]);
        let began = Began::with(&oidc, "acme").await;
        answer_with(&fake, &id_token(&key, &began.claims(&fake)));
        let before = fake.asked("/token");
        let more = iss.map(|iss| format!("&iss={iss}")).unwrap_or_default();
        let done = oidc.finish("acme", &began.callback(&more), Some(&began.cookie)).await;
        assert_eq!(done.err(), expected, "{promises} {iss:?}");
        let n_redeemed = fake.asked("/token") - before;
        assert_eq!(n_redeemed, usize::from(expected.is_none()), "{promises} {iss:?}");
    }
}

#[tokio::test]
async fn refusals_of_the_provider_are_told_apart_without_its_words() {
    let (fake, oidc, _) = start(&[]).await;
    let began = Began::with(&oidc, "acme").await;
    let state = &began.parameters["state"];
    let callback = |text: &str| Callback::parse(&format!("{text}&state={state}")).unwrap();
    let finish = async |text: &str| {
        oidc.finish("acme", &callback(text), Some(&began.cookie)).await.unwrap_err()
    };
    assert_eq!(finish("error=access_denied&error_description=x").await, OidcFault::Denied);
    assert_eq!(finish("error=%0d%0a&code=c").await, OidcFault::Denied);
    assert_eq!(finish("code=").await, OidcFault::Callback);
    assert_eq!(finish(&format!("code={}", "c".repeat(4_097))).await, OidcFault::Callback);
    assert_eq!(fake.asked("/token"), 0);
    for (reply, fault) in [
        (Reply::Raw(json_answer("400 Bad", &json!({ "error": "invalid_grant" }))), OidcFault::Code),
        (Reply::Raw(json_answer("401 Who", &json!("?"))), OidcFault::Code),
        (Reply::Raw(json_answer("500 Oh", &json!({}))), OidcFault::Unavailable),
        (Reply::Json(json!({ "access_token": "x" })), OidcFault::Unavailable),
        (Reply::Raw("302 Found\r\nLocation: /x\r\n\r\n".to_owned()), OidcFault::Unavailable),
    ] {
        fake.reply("/token", reply);
        assert_eq!(finish("code=c").await, fault);
    }
}

#[tokio::test]
async fn a_provider_that_keeps_silent_holds_a_bounded_number_of_sign_ins() {
    let fake = Fake::start(&[]).await;
    fake.reply("/token", Reply::Silence);
    let (oidc, _) = oidc(vec![short_waits(fake.config())]);
    let began = Began::with(&oidc, "acme").await;
    let callback = began.callback("");
    let many = (0..REDEEMED_MAX + 5).map(|_| oidc.finish("acme", &callback, Some(&began.cookie)));
    let results = futures_util::future::join_all(many).await;
    assert!(results.iter().all(|done| done.as_ref().err() == Some(&OidcFault::Unavailable)));
    assert_eq!(fake.asked("/token"), REDEEMED_MAX);
}

#[test]
fn a_parameter_that_counts_is_there_once() {
    for query in ["code=a&code=b", "state=a&state=a", "iss=&iss=", "error=x&%65rror=y"] {
        assert_eq!(Callback::parse(query), Err(OidcFault::Callback), "{query}");
    }
    assert!(Callback::parse("session_state=1&session_state=2&code=a%20b").is_ok());
}

#[tokio::test]
async fn an_address_that_the_token_lacks_is_asked_for() {
    let key = Signer::ed("a");
    let (fake, _, _) = start(&[&key]).await;
    let at = json!(format!("{}/me", fake.issuer));
    fake.reply(DISCOVERY, Reply::Json(with(fake.metadata(), "userinfo_endpoint", at)));
    let (oidc, _) = oidc(vec![fake.config()]);
    let told = json!({ "sub": "u1", "email": "ada@example.org", "email_verified": true });
    for (reply, email) in [
        (Reply::Json(told.clone()), Ok(Some("ada@example.org"))),
        (Reply::Raw(json_answer("500 Oh", &json!({}))), Ok(None)),
        (Reply::Json(with(told, "sub", json!("u2"))), Err(TokenFault::Subject.into())),
    ] {
        fake.reply("/me", reply);
        let began = Began::with(&oidc, "acme").await;
        let claims = with(began.claims(&fake), "email", json!(null));
        answer_with(&fake, &id_token(&key, &claims));
        let done = oidc.finish("acme", &began.callback(""), Some(&began.cookie)).await;
        let found = done.map(|done| (done.identity.email, done.identity.name));
        let expected =
            email.map(|email: Option<&str>| (email.map(str::to_owned), Some("Ada".to_owned())));
        assert_eq!(found, expected);
        assert!(fake.last("/me").contains("Bearer acc3ss"));
    }
}

#[tokio::test]
async fn a_sign_in_leads_back_to_this_site_only() {
    let (_fake, oidc, _) = start(&[]).await;
    for return_to in ["//evil", "/\\evil", "https://evil.example", "/%0d%0a", ""] {
        assert_eq!(oidc.begin("acme", return_to).await.err(), Some(OidcFault::ReturnTo));
    }
    assert_eq!(oidc.begin("nobody", "/").await.err(), Some(OidcFault::UnknownProvider));
}

#[tokio::test]
async fn signing_out_at_the_provider_has_an_address_where_there_is_one() {
    let (fake, oidc, _) = start(&[]).await;
    let url = oidc.logout_url("acme", Some("t0ken"), Some("https://go.example/bye")).await;
    let url = url.unwrap().unwrap();
    assert!(url.as_str().starts_with(&format!("{}/logout?x=1&", fake.issuer)), "{url}");
    let pairs: HashMap<String, String> = url.query_pairs().into_owned().collect();
    assert_eq!(pairs["id_token_hint"], "t0ken");
    assert_eq!(pairs["post_logout_redirect_uri"], "https://go.example/bye");

    let (fake, oidc, _) = start(&[]).await;
    fake.reply(DISCOVERY, Reply::Json(with(fake.metadata(), "end_session_endpoint", json!(null))));
    assert_eq!(oidc.logout_url("acme", None, None).await, Ok(None));
}
