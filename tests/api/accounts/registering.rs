//! Registering and logging in.

use reqwest::Method;
use serde_json::json;

use crate::harness::{PASSWORD, Person, TestApp};

#[tokio::test]
async fn somebody_who_registers_is_signed_in_with_a_workspace_of_their_own() {
    let app = TestApp::start().await;
    let body = json!({"email": "Ada@Example.com", "password": PASSWORD, "name": "Ada"});
    let answer = app.post("/auth/register", body).await;
    let body = answer.assert_status(201).json();
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body["expires_in"], 900);
    assert_eq!(body["user"]["email"], "Ada@Example.com");
    assert_eq!(body["user"]["email_verified"], false);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!(!answer.text().contains("argon2"), "{}", answer.text());
    let ada = Person::of(&answer);

    let me = app.by(&ada, Method::GET, "/me", None).await.assert_status(200).json();
    assert_eq!(me["workspaces"][0]["id"], ada.workspace);
    assert_eq!(me["workspaces"][0]["role"], "owner");
    let link = json!({"destination": "https://shop.example/ada", "alias": "by-ada"});
    let link = app.by(&ada, Method::POST, "/links", Some(link)).await.assert_status(201).json();
    assert_eq!(link["created_by"], ada.id);
    app.get("/by-ada").await.assert_found("https://shop.example/ada");
    let seen = app.api(Method::GET, "/links/by-ada", None).await;
    seen.assert_problem(404, "not_found");
    assert_eq!(app.by(&ada, Method::GET, "/links", None).await.json()["total"], 1);
    app.finish().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_registration_is_named() {
    let app = TestApp::start().await;
    app.register("ada").await;
    for (body, code, pointer) in [
        (json!({"email": "ADA@example.com", "password": PASSWORD}), "email_taken", "/email"),
        (json!({"email": "ada", "password": PASSWORD}), "invalid_request", "/email"),
        (json!({"email": "b@example.com", "password": "short"}), "weak_password", "/password"),
        (json!({"email": "b@example.com", "password": "Password1"}), "weak_password", "/password"),
        (json!({"email": "b@example.com"}), "invalid_request", "/password"),
        (
            json!({"email": "b@example.com", "password": PASSWORD, "role": "owner"}),
            "invalid_request",
            "/role",
        ),
        (
            json!({"email": "b@example.com", "password": PASSWORD, "name": "a\nb"}),
            "invalid_request",
            "/name",
        ),
    ] {
        let status = if code == "email_taken" { 409 } else { 400 };
        let answer = app.post("/auth/register", body).await;
        let problem = answer.assert_problem(status, code).json();
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
    }
    app.finish().await;
}

#[tokio::test]
async fn registration_can_be_closed_or_for_the_invited_only() {
    let body = json!({"email": "ada@example.com", "password": PASSWORD});
    let app = TestApp::builder().set("SHUNT_AUTH__REGISTRATION", "closed").start().await;
    app.post("/auth/register", body.clone()).await.assert_problem(403, "forbidden");
    app.finish().await;

    let app = TestApp::builder().set("SHUNT_AUTH__REGISTRATION", "invite").start().await;
    app.post("/auth/register", body.clone()).await.assert_problem(403, "forbidden");
    let invited = app.api(Method::POST, "/invitations", Some(json!({"role": "viewer"}))).await;
    let token = invited.assert_status(201).json()["token"].clone();
    let mut body = body;
    body["invitation"] = json!("shunti_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    app.post("/auth/register", body.clone()).await.assert_problem(400, "invalid_request");
    body["invitation"] = token;
    let ada = app.post("/auth/register", body.clone()).await;
    let me = app.by(&Person::of(&ada), Method::GET, "/me", None).await.json();
    let mut roles: Vec<_> = me["workspaces"].as_array().expect("a list").iter().collect();
    roles.sort_by_key(|workspace| workspace["role"].as_str());
    assert_eq!(roles.len(), 2);
    assert_eq!((&roles[0]["role"], &roles[1]["role"]), (&json!("owner"), &json!("viewer")));
    body["email"] = json!("bob@example.com");
    let again = app.post("/auth/register", body).await;
    again.assert_problem(400, "invalid_request");
    app.finish().await;
}

#[tokio::test]
async fn a_wrong_address_and_a_wrong_password_are_one_answer() {
    let app = TestApp::start().await;
    app.register("ada").await;
    app.log_in(" ADA@example.com", PASSWORD).await.assert_status(200);
    let wrong = app.log_in("ada@example.com", "wrong").await;
    let unknown = app.log_in("nobody@example.com", "wrong").await;
    let malformed = app.log_in("nobody", "wrong").await;
    for answer in [&wrong, &unknown, &malformed] {
        answer.assert_problem(401, "invalid_credentials");
        assert_eq!(answer.text(), wrong.text());
        assert_eq!(answer.header("www-authenticate"), wrong.header("www-authenticate"));
    }
    // What is left to the client falls with each try, whomever it is about.
    for answer in [&wrong, &unknown, &malformed] {
        assert!(answer.header("ratelimit").is_some_and(|left| left.contains("\"login\";r=4;")));
    }
    app.finish().await;
}

#[tokio::test]
async fn failures_of_a_client_with_an_account_are_counted_and_others_go_on() {
    let app =
        TestApp::builder().set("SHUNT_HTTP__TRUSTED_PROXIES", "[\"127.0.0.1\"]").start().await;
    app.register("ada").await;
    let log_in = |client: &str, password: &str| {
        let body = json!({"email": "ada@example.com", "password": password});
        let request = app.request(Method::POST, "/api/v1/auth/login");
        app.send(request.header("X-Forwarded-For", client).json(&body))
    };
    for _ in 0..5 {
        log_in("203.0.113.9", "wrong").await.assert_problem(401, "invalid_credentials");
    }
    let refused = log_in("203.0.113.9", PASSWORD).await;
    refused.assert_problem(429, "rate_limited");
    assert!(refused.header("retry-after").is_some() && refused.header("ratelimit").is_some());
    log_in("203.0.113.200", PASSWORD).await.assert_problem(429, "rate_limited");
    log_in("198.51.100.7", PASSWORD).await.assert_status(200);
    app.finish().await;
}
