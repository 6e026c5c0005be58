//! Sessions: how long they last and what ends them.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{PASSWORD, Person, TestApp};

#[tokio::test]
async fn a_refresh_token_is_spent_by_its_use_and_ends_the_session_when_it_comes_again() {
    let app = TestApp::start().await;
    let ada = app.register("ada").await;
    let second = Person::of(&app.refresh(&ada.refresh).await);
    assert_ne!((&second.access, &second.refresh), (&ada.access, &ada.refresh));
    let third = Person::of(&app.refresh(&second.refresh).await);
    app.by(&third, Method::GET, "/me", None).await.assert_status(200);

    app.refresh(&ada.refresh).await.assert_problem(401, "invalid_token");
    app.refresh(&third.refresh).await.assert_problem(401, "invalid_token");
    for token in [&ada, &second, &third] {
        let answer = app.by(token, Method::GET, "/me", None).await;
        answer.assert_problem(401, "token_expired");
    }
    let other = Person::of(&app.log_in(&ada.email, PASSWORD).await);
    app.by(&other, Method::GET, "/me", None).await.assert_status(200);
    app.finish().await;
}

#[tokio::test]
async fn an_answer_that_was_lost_is_given_again() {
    let app = TestApp::start().await;
    let ada = app.register("ada").await;
    let first = Person::of(&app.refresh(&ada.refresh).await);
    let again = Person::of(&app.refresh(&ada.refresh).await);
    assert_eq!(first.refresh, again.refresh);
    let next = Person::of(&app.refresh(&again.refresh).await);
    app.by(&next, Method::GET, "/me", None).await.assert_status(200);
    app.finish().await;
}

#[tokio::test]
async fn many_exchanges_of_one_token_have_one_successor() {
    let app = TestApp::start().await;
    let ada = app.register("ada").await;
    let answers = futures_util::future::join_all((0..30).map(|_| app.refresh(&ada.refresh))).await;
    let successors: std::collections::BTreeSet<String> =
        answers.iter().map(|answer| Person::of(answer).refresh).collect();
    assert_eq!(successors.len(), 1);
    app.finish().await;
}

#[tokio::test]
async fn logging_out_ends_one_session_or_all_at_once() {
    let app = TestApp::start().await;
    let ada = app.register("ada").await;
    let [one, two] = [
        Person::of(&app.log_in(&ada.email, PASSWORD).await),
        Person::of(&app.log_in(&ada.email, PASSWORD).await),
    ];
    let out = app.post("/auth/logout", json!({"refresh_token": one.refresh})).await;
    out.assert_status(204);
    app.by(&one, Method::GET, "/me", None).await.assert_problem(401, "token_expired");
    app.refresh(&one.refresh).await.assert_problem(401, "invalid_token");
    app.by(&two, Method::GET, "/me", None).await.assert_status(200);
    app.by(&two, Method::POST, "/auth/logout-all", None).await.assert_status(204);
    for gone in [&ada, &two] {
        app.by(gone, Method::GET, "/me", None).await.assert_problem(401, "token_expired");
        app.refresh(&gone.refresh).await.assert_problem(401, "invalid_token");
    }
    let out = app.post("/auth/logout", json!({"refresh_token": "shuntr_x"})).await;
    out.assert_problem(401, "invalid_token");
    app.post("/auth/logout", json!({})).await.assert_problem(401, "unauthenticated");
    app.finish().await;
}

#[tokio::test]
async fn a_new_password_ends_other_sessions_and_the_old_one_opens_none() {
    let app = TestApp::start().await;
    let ada = app.register("ada").await;
    let other = Person::of(&app.log_in(&ada.email, PASSWORD).await);
    let change = |current: &str, new: &str| {
        let body = json!({"current_password": current, "new_password": new});
        app.by(&ada, Method::POST, "/auth/password", Some(body))
    };
    change("wrong", "another Horse 12 staple").await.assert_problem(401, "invalid_credentials");
    change(PASSWORD, "Password1").await.assert_problem(400, "weak_password");
    change(PASSWORD, "another Horse 12 staple").await.assert_status(204);
    app.by(&ada, Method::GET, "/me", None).await.assert_status(200);
    app.by(&other, Method::GET, "/me", None).await.assert_problem(401, "token_expired");
    app.log_in(&ada.email, PASSWORD).await.assert_problem(401, "invalid_credentials");
    app.log_in(&ada.email, "another Horse 12 staple").await.assert_status(200);
    app.finish().await;
}

#[tokio::test]
async fn sessions_and_what_ended_outlive_the_process() {
    // The port is another one after a restart, and with it the public URL.
    let app = TestApp::builder().set("SHUNT_TOKENS__ISSUER", "https://go.example").start().await;
    let ada = app.register("ada").await;
    let gone = Person::of(&app.log_in(&ada.email, PASSWORD).await);
    app.post("/auth/logout", json!({"refresh_token": gone.refresh})).await.assert_status(204);
    let app = app.kill_and_restart().await;
    app.by(&ada, Method::GET, "/me", None).await.assert_status(200);
    app.by(&gone, Method::GET, "/me", None).await.assert_problem(401, "token_expired");
    app.refresh(&ada.refresh).await.assert_status(200);
    app.finish().await;
}

#[tokio::test]
async fn forged_and_foreign_tokens_are_refused() {
    let app = TestApp::start().await;
    let other = TestApp::start().await;
    let (ada, foreign) = (app.register("ada").await, other.register("ada").await);
    let mut forged = ada.access.clone();
    forged.pop();
    for token in [forged.as_str(), &foreign.access, "a.b.c", "..", &ada.access.replace('.', "..")] {
        let request = app.request(Method::GET, "/api/v1/me").bearer_auth(token);
        app.send(request).await.assert_problem(401, "invalid_token");
    }
    app.refresh(&foreign.refresh).await.assert_problem(401, "invalid_token");
    let keys = app.get("/.well-known/jwks.json").await.assert_status(200).json();
    let keys = keys["keys"].as_array().expect("keys");
    assert!(keys.iter().all(|key| key["crv"] == "Ed25519" && key["d"] == Value::Null));
    assert_eq!(keys.len(), 1);
    other.finish().await;
    app.finish().await;
}
