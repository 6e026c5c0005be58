//! What tries cost, and whom they keep out.

use reqwest::Method;
use serde_json::{Value, json};
use shunt::domain::account::Role;
use shunt::domain::id::Id;
use shunt::domain::time::Timestamp;
use shunt::storage::people::Invitation;

use crate::harness::{Answer, PASSWORD, Person, TestApp};

/// A POST in the name of a client.
async fn post_from(app: &TestApp, client: &str, path: &str, body: Value) -> Answer {
    let request = app.request(Method::POST, &format!("/api/v1{path}"));
    app.send(request.header("X-Forwarded-For", client).json(&body)).await
}

async fn behind_a_proxy(limit: &str, n: &str) -> TestApp {
    let app = TestApp::builder().set("SHUNT_HTTP__TRUSTED_PROXIES", "[\"127.0.0.1\"]");
    app.set(&format!("SHUNT_LIMITS__{limit}"), n).start().await
}

#[tokio::test]
async fn a_right_password_makes_up_for_the_wrong_ones() {
    let app = TestApp::start().await;
    let ada = app.register("ada").await;
    for _ in 0..2 {
        for _ in 0..4 {
            app.log_in(&ada.email, "wrong").await.assert_problem(401, "invalid_credentials");
        }
        app.log_in(&ada.email, PASSWORD).await.assert_status(200);
    }
    app.finish().await;
}

#[tokio::test]
async fn who_signs_in_or_goes_on_is_no_stranger() {
    let app = TestApp::builder()
        .set("SHUNT_LIMITS__UNAUTHENTICATED_REQUESTS_PER_MINUTE", "3")
        .start()
        .await;
    let mut ada = app.register("ada").await;
    for _ in 0..10 {
        let signed_in = app.log_in(&ada.email, PASSWORD).await;
        signed_in.assert_status(200);
        let gone_on = app.refresh(&ada.refresh).await;
        gone_on.assert_status(200);
        ada = Person::of(&gone_on);
    }
    // What is wrong stays charged.
    for _ in 0..4 {
        app.refresh("shuntr_x").await;
    }
    let refused = app.refresh("shuntr_x").await;
    refused.assert_problem(429, "rate_limited");
    let told = refused.header("ratelimit-policy");
    assert!(told.is_some_and(|told| told.contains("\"unauthenticated\"")), "{told:?}");
    app.by(&ada, Method::GET, "/me", None).await.assert_status(200);
    app.finish().await;
}

#[tokio::test]
async fn strangers_who_guess_keep_strangers_out_and_not_the_owner() {
    let app = behind_a_proxy("LOGIN_FAILURES_PER_ACCOUNT", "3").await;
    let (home, email) = ("198.51.100.7", "ada@example.com");
    let body = |password: &str| json!({"email": email, "password": password});
    post_from(&app, home, "/auth/register", body(PASSWORD)).await.assert_status(201);
    for network in 1..=3 {
        let answer =
            post_from(&app, &format!("203.0.{network}.1"), "/auth/login", body("wrong")).await;
        answer.assert_problem(401, "invalid_credentials");
    }
    let stranger = post_from(&app, "203.0.9.1", "/auth/login", body(PASSWORD)).await;
    stranger.assert_problem(429, "rate_limited");
    post_from(&app, home, "/auth/login", body(PASSWORD)).await.assert_status(200);
    app.finish().await;
}

#[tokio::test]
async fn registrations_are_limited_and_weak_passwords_are_none() {
    let app = TestApp::builder()
        .set("SHUNT_LIMITS__REGISTRATIONS_PER_HOUR_PER_CLIENT", "1")
        .start()
        .await;
    let register = |name: &str, password: &str| {
        let email = format!("{name}@example.com");
        app.post("/auth/register", json!({"email": email, "password": password}))
    };
    for _ in 0..3 {
        register("ada", "short").await.assert_problem(400, "weak_password");
    }
    register("ada", PASSWORD).await.assert_status(201);
    let refused = register("bob", PASSWORD).await;
    refused.assert_problem(429, "rate_limited");
    assert!(refused.header("retry-after").is_some() && refused.header("ratelimit").is_some());
    app.finish().await;
}

#[tokio::test]
async fn a_password_that_is_asked_for_again_is_guessed_no_more_often() {
    let app = TestApp::start().await;
    let ada = app.register("ada").await;
    let change = json!({"current_password": "wrong", "new_password": "another Horse 12 staple"});
    for _ in 0..5 {
        let answer = app.by(&ada, Method::POST, "/auth/password", Some(change.clone())).await;
        answer.assert_problem(401, "invalid_credentials");
    }
    let moved = json!({"email": "other@example.com", "password": PASSWORD});
    for (method, path, body) in [
        (Method::POST, "/auth/password", change),
        (Method::PATCH, "/me", moved),
        (Method::DELETE, "/me", json!({"password": PASSWORD})),
    ] {
        let refused = app.by(&ada, method, path, Some(body)).await;
        refused.assert_problem(429, "rate_limited");
        let told = refused.header("ratelimit");
        assert!(told.is_some_and(|told| told.contains("login")), "{path}: {told:?}");
    }
    app.finish().await;
}

#[tokio::test]
async fn another_address_needs_the_right_password() {
    let app = TestApp::start().await;
    let ada = app.register("ada").await;
    let moved = |password: &str| json!({"email": "other@example.com", "password": password});
    let answer = app.by(&ada, Method::PATCH, "/me", Some(moved("wrong"))).await;
    answer.assert_problem(401, "invalid_credentials");
    app.by(&ada, Method::PATCH, "/me", Some(moved(PASSWORD))).await.assert_status(200);
    app.finish().await;
}

#[tokio::test]
async fn mails_that_somebody_has_sent_to_others_are_few() {
    let app = TestApp::start().await;
    let ada = app.register("ada").await;
    let invite = || {
        let body = json!({"email": "bob@example.com", "role": "viewer"});
        app.by(&ada, Method::POST, "/invitations", Some(body))
    };
    for _ in 0..5 {
        invite().await.assert_status(201);
        app.by(&ada, Method::POST, "/auth/verify/send", None).await.assert_status(202);
    }
    invite().await.assert_problem(429, "rate_limited");
    let refused = app.by(&ada, Method::POST, "/auth/verify/send", None).await;
    refused.assert_problem(429, "rate_limited");
    assert!(refused.header("ratelimit").is_some());
    let forgot = app.post("/auth/password/forgot", json!({"email": ada.email})).await;
    forgot.assert_problem(429, "rate_limited");
    assert!(forgot.header("ratelimit").is_some_and(|told| told.contains("mail")));
    app.finish().await;
}

#[tokio::test]
async fn an_invitation_that_is_not_made_costs_no_mail() {
    let app = TestApp::builder().set("SHUNT_TOKENS__ISSUER", "https://go.example").start().await;
    let ada = app.register("ada").await;
    let (workspace, invited_by) = (ada.workspace.clone(), ada.id.clone());
    let app = app
        .restart_after(async |stores| {
            for n in 0..1_000_u64 {
                let mut digest = [0; 32];
                digest[..8].copy_from_slice(&n.to_le_bytes());
                let waiting = Invitation {
                    id: Id(n + 1),
                    workspace: workspace.parse().expect("an id"),
                    digest,
                    email: None,
                    role: Role::Viewer,
                    invited_by: invited_by.parse().expect("an id"),
                    created_at: Timestamp(0),
                    expires_at: Timestamp(i64::MAX),
                };
                assert!(stores.teams.add_invitation(waiting, 1_000).await.expect("a store"));
            }
        })
        .await;
    let mailed = || {
        let body = json!({"email": "bob@example.com", "role": "viewer"});
        app.by(&ada, Method::POST, "/invitations", Some(body))
    };
    for _ in 0..10 {
        mailed().await.assert_problem(403, "quota_exceeded");
    }
    app.finish().await;
}

#[tokio::test]
async fn limits_are_for_everybody_but_the_operator() {
    let app =
        TestApp::builder().set("SHUNT_LIMITS__WORKSPACE_REQUESTS_PER_MINUTE", "3").start().await;
    let ada = app.register("ada").await;
    for _ in 0..3 {
        app.by(&ada, Method::GET, "/me", None).await.assert_status(200);
        app.api(Method::GET, "/links", None).await.assert_status(200);
    }
    app.by(&ada, Method::GET, "/me", None).await.assert_problem(429, "rate_limited");
    app.api(Method::GET, "/links", None).await.assert_status(200);
    app.finish().await;
}
