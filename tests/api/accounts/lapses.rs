//! What time does to sessions and passwords. The store is made older between two processes.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use reqwest::Method;
use serde_json::json;
use shunt::domain::account::Session;
use shunt::domain::id::Id;
use shunt::domain::password::Password;
use shunt::domain::refresh_token::RefreshToken;
use shunt::domain::time::Timestamp;
use shunt::domain::units::Size;
use shunt::service::passwords::{PasswordHasher, PasswordsConfig};
use shunt::storage::embedded::{Embedded, Mode};
use shunt::storage::secrets::Secrets;
use shunt::telemetry::metrics::Metrics;

use crate::harness::{PASSWORD, Person, TestApp};

/// The port is another one after a restart, and with it the public URL.
async fn start() -> TestApp {
    TestApp::builder()
        .set("SHUNT_TOKENS__ISSUER", "https://go.example")
        .set("SHUNT_HTTP__TRUSTED_PROXIES", "[\"127.0.0.1\"]")
        .start()
        .await
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is set");
    Timestamp(since.as_millis() as i64)
}

fn id(text: &str) -> Id {
    Id(text.parse().expect("a number"))
}

/// The session that a refresh token names, by the secret in the folder of the store.
fn named(data: &Path, token: &str) -> Id {
    let secrets = Secrets::open(data).expect("secrets");
    RefreshToken::parse(token, &secrets.api_keys).expect("a token").session()
}

/// A session of `ada` that ends so many milliseconds from now, and its token.
fn made(data: &Path, ada: &Person, number: u64, left_ms: i64) -> (Session, String) {
    let secret = Secrets::open(data).expect("secrets").api_keys;
    let token = RefreshToken::new(Id(number), 0, &[7; 32], &secret);
    let session = Session {
        id: Id(number),
        user: id(&ada.id),
        workspace: id(&ada.workspace),
        generation: 0,
        digest: token.digest(&secret),
        client: [0; 16],
        created_at: now(),
        rotated_at: now(),
        expires_at: now().plus_millis(left_ms),
    };
    (session, token.as_str().to_owned())
}

fn open(data: &Path) -> Embedded {
    Embedded::open(data, Mode::Existing).expect("the store opens")
}

#[tokio::test]
async fn a_session_ends_in_time_and_no_access_token_outlives_it() {
    let app = start().await;
    let ada = app.register("ada").await;
    let mut tokens = Vec::new();
    let app = app
        .restart_after_closing(async |data| {
            let store = open(&data);
            for (number, left_ms) in [(1, 5_000), (2, 60_000)] {
                let (session, token) = made(&data, &ada, number, left_ms);
                let added = store.stores().sessions.add_session(session, 100).await;
                assert!(added.expect("the store writes").is_some());
                tokens.push(token);
            }
        })
        .await;
    let over = now().plus_millis(5_000);
    while now() < over {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    // Unless the server was so slow to start that it forgot it, it says why.
    app.refresh(&tokens[0]).await.assert_status(401);
    let last = app.refresh(&tokens[1]).await;
    let lives = last.assert_status(200).json()["expires_in"].as_u64().expect("seconds");
    assert!(lives <= 60, "{lives}");
    app.finish().await;
}

#[tokio::test]
async fn an_answer_is_given_again_for_a_moment_and_to_the_same_client_only() {
    let app = start().await;
    let ada = app.register("ada").await;
    let from = |client: &str, token: &str| {
        let request = app.request(Method::POST, "/api/v1/auth/refresh");
        let body = json!({ "refresh_token": token });
        app.send(request.header("X-Forwarded-For", client).json(&body))
    };
    from("198.51.100.7", &ada.refresh).await.assert_status(200);
    from("203.0.113.9", &ada.refresh).await.assert_problem(401, "invalid_token");
    from("198.51.100.7", &ada.refresh).await.assert_problem(401, "invalid_token");

    let again = Person::of(&app.log_in(&ada.email, PASSWORD).await);
    let next = Person::of(&app.refresh(&again.refresh).await);
    let app = app
        .restart_after_closing(async |data| {
            let sessions = open(&data).stores().sessions;
            let found = sessions.session(named(&data, &again.refresh)).await;
            let session = found.expect("the store reads").expect("a session");
            let (generation, rotated_at) = (session.generation + 1, now().plus_millis(-11_000));
            let older = Session { generation, rotated_at, ..session };
            assert!(sessions.rotate_session(older).await.expect("the store writes"));
        })
        .await;
    app.refresh(&again.refresh).await.assert_problem(401, "invalid_token");
    app.refresh(&next.refresh).await.assert_problem(401, "invalid_token");
    app.finish().await;
}

#[tokio::test]
async fn the_oldest_of_too_many_sessions_is_over_at_once() {
    let app = start().await;
    let ada = app.register("ada").await;
    let app = app
        .restart_after_closing(async |data| {
            let sessions = open(&data).stores().sessions;
            for number in 1..100 {
                let (session, _) = made(&data, &ada, number, 60_000);
                sessions.add_session(session, 100).await.expect("the store writes");
            }
        })
        .await;
    app.by(&ada, Method::GET, "/me", None).await.assert_status(200);
    let newest = Person::of(&app.log_in(&ada.email, PASSWORD).await);
    app.by(&ada, Method::GET, "/me", None).await.assert_problem(401, "token_expired");
    app.by(&newest, Method::GET, "/me", None).await.assert_status(200);
    app.finish().await;
}

#[tokio::test]
async fn a_hash_of_other_strength_is_made_anew_when_its_owner_logs_in() {
    let app = start().await;
    let ada = app.register("ada").await;
    let config = PasswordsConfig { memory: Size::mib(8), ..PasswordsConfig::default() };
    let hasher = PasswordHasher::start(&config, &Metrics::new()).expect("a thread");
    let weak = hasher.hash(Password::new(PASSWORD.to_owned())).await.expect("a hash");
    assert!(weak.contains("m=8192"), "{weak}");
    let app = app
        .restart_after(async |stores| {
            let user = stores.users.user(id(&ada.id)).await.expect("the store reads");
            let before = user.and_then(|user| user.password).expect("a hash");
            stores.users.rehash_password(id(&ada.id), &before, &weak).await.expect("written");
        })
        .await;
    app.log_in(&ada.email, "wrong").await.assert_problem(401, "invalid_credentials");
    app.log_in(&ada.email, PASSWORD).await.assert_status(200);
    app.log_in(&ada.email, PASSWORD).await.assert_status(200);
    let folder = app.finish_and_keep().await;
    let store = open(&folder.path().join("data"));
    let user = store.stores().users.user(id(&ada.id)).await.expect("the store reads");
    let hash = user.and_then(|user| user.password).expect("a hash");
    assert!(hash.contains("m=19456"), "{hash}");
}
