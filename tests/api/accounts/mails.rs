//! What is proven by mail, over a real mail server.

use reqwest::Method;
use serde_json::json;

use crate::harness::{PASSWORD, Person, TestApp};
use crate::smtp::{ReceivedMail, SmtpServer};

async fn start(mails: &SmtpServer) -> TestApp {
    TestApp::builder()
        .set("SHUNT_MAIL__URL", &mails.url())
        .set("SHUNT_MAIL__FROM", "Links <links@example.com>")
        .start()
        .await
}

fn token(mail: &ReceivedMail) -> String {
    let (_, token) = mail.link().split_once("?token=").expect("a token in the link");
    token.to_owned()
}

#[tokio::test]
async fn an_address_is_proven_by_the_mail_that_registering_sends() {
    let mut mails = SmtpServer::start().await;
    let app = start(&mails).await;
    let ada = app.register("ada").await;
    let mail = mails.next_mail().await;
    assert_eq!(mail.to, ["ada@example.com"]);
    assert!(mail.link().starts_with(&app.url), "{}", mail.link());
    let verify = |token: String| app.post("/auth/verify", json!({"token": token}));
    verify("shuntv_x".to_owned()).await.assert_problem(400, "invalid_request");
    verify(token(&mail)).await.assert_status(204);
    verify(token(&mail)).await.assert_problem(400, "invalid_request");
    let me = app.by(&ada, Method::GET, "/me", None).await.json();
    assert_eq!(me["email_verified"], true);
    app.by(&ada, Method::POST, "/auth/verify/send", None).await.assert_status(202);

    let moved = json!({"email": "lovelace@example.com", "password": PASSWORD});
    let moved = app.by(&ada, Method::PATCH, "/me", Some(moved)).await.assert_status(200).json();
    assert_eq!(
        (&moved["email"], &moved["email_verified"]),
        (&json!("lovelace@example.com"), &json!(false))
    );
    let first = mails.next_mail().await;
    assert_eq!(first.to, ["lovelace@example.com"], "a proven address gets no further mail");
    app.by(&ada, Method::POST, "/auth/verify/send", None).await.assert_status(202);
    let second = mails.next_mail().await;
    verify(token(&first)).await.assert_problem(400, "invalid_request");
    verify(token(&second)).await.assert_status(204);
    let bare = Some(json!({"email": "other@example.com"}));
    app.by(&ada, Method::PATCH, "/me", bare).await.assert_problem(400, "invalid_request");
    app.finish().await;
}

#[tokio::test]
async fn a_forgotten_password_is_replaced_by_whoever_gets_the_mail() {
    let mut mails = SmtpServer::start().await;
    let app = start(&mails).await;
    let ada = app.register("ada").await;
    mails.next_mail().await;
    let forgot = |email: &str| app.post("/auth/password/forgot", json!({"email": email}));
    let (known, unknown) = (forgot("ADA@example.com").await, forgot("nobody@example.com").await);
    for answer in [&known, &unknown] {
        answer.assert_status(202);
        assert_eq!(answer.text(), "");
    }
    let mail = mails.next_mail().await;
    assert_eq!(mail.to, ["ada@example.com"]);
    let reset = |token: &str, new: &str| {
        app.post("/auth/password/reset", json!({"token": token, "new_password": new}))
    };
    reset(&token(&mail), "weak").await.assert_problem(400, "weak_password");
    reset(&token(&mail), "another Horse 12 staple").await.assert_status(204);
    reset(&token(&mail), "yet another Horse 13").await.assert_problem(400, "invalid_request");
    let notice = mails.next_mail().await;
    assert_eq!(notice.to, ["ada@example.com"], "the owner is told, and nobody else got a mail");
    app.by(&ada, Method::GET, "/me", None).await.assert_problem(401, "token_expired");
    app.log_in(&ada.email, PASSWORD).await.assert_problem(401, "invalid_credentials");
    let there = Person::of(&app.log_in(&ada.email, "another Horse 12 staple").await);
    let me = app.by(&there, Method::GET, "/me", None).await.json();
    assert_eq!(me["email_verified"], true, "whoever gets the mail has the address");
    app.finish().await;
}

#[tokio::test]
async fn the_owner_is_told_of_a_new_password_and_a_disabled_one_gets_no_mail() {
    let mut mails = SmtpServer::start().await;
    let app = start(&mails).await;
    let ada = app.register("ada").await;
    app.register("bob").await;
    let (first, second) = (mails.next_mail().await, mails.next_mail().await);
    assert_ne!(first.to, second.to);
    let change = json!({"current_password": PASSWORD, "new_password": "another Horse 12 staple"});
    let changed = app.by(&ada, Method::POST, "/auth/password", Some(change)).await;
    changed.assert_status(204);
    let notice = mails.next_mail().await;
    assert_eq!(notice.to, ["ada@example.com"]);
    assert!(!notice.text.contains("token="), "{}", notice.text);

    let app = app
        .restart_after(async |stores| {
            let id = shunt::domain::id::Id(ada.id.parse().expect("a number"));
            let at = shunt::domain::time::Timestamp(1);
            stores.users.disable_user(id, true, at).await.expect("the store writes");
        })
        .await;
    for email in ["ada@example.com", "bob@example.com"] {
        app.post("/auth/password/forgot", json!({ "email": email })).await.assert_status(202);
    }
    assert_eq!(mails.next_mail().await.to, ["bob@example.com"]);
    app.finish().await;
}

#[tokio::test]
async fn so_many_mails_go_to_one_address_and_no_more() {
    let mails = SmtpServer::start().await;
    let app = start(&mails).await;
    for _ in 0..5 {
        let answer = app.post("/auth/password/forgot", json!({"email": "a@example.com"})).await;
        answer.assert_status(202);
    }
    let answer = app.post("/auth/password/forgot", json!({"email": "A@example.com"})).await;
    answer.assert_problem(429, "rate_limited");
    let answer = app.post("/auth/password/forgot", json!({"email": "b@example.com"})).await;
    answer.assert_status(202);
    app.finish().await;
}

#[tokio::test]
async fn somebody_is_invited_by_mail() {
    let mut mails = SmtpServer::start().await;
    let app = start(&mails).await;
    let ada = app.register("ada").await;
    mails.next_mail().await;
    let body = Some(json!({"email": "bob@example.com", "role": "viewer"}));
    app.by(&ada, Method::POST, "/invitations", body).await.assert_status(201);
    let mail = mails.next_mail().await;
    assert_eq!(mail.to, ["bob@example.com"]);
    let body =
        json!({"email": "bob@example.com", "password": PASSWORD, "invitation": token(&mail)});
    let bob = Person::of(&app.post("/auth/register", body).await);
    let me = app.by(&bob, Method::GET, "/me", None).await.json();
    assert!(me["workspaces"].to_string().contains("viewer"), "{me}");
    app.finish().await;
}

#[tokio::test]
async fn a_mail_server_that_is_gone_does_not_keep_anybody_out() {
    let mails = SmtpServer::start().await;
    let url = mails.url();
    mails.stop();
    let app = TestApp::builder()
        .set("SHUNT_MAIL__URL", &url)
        .set("SHUNT_MAIL__FROM", "links@example.com")
        .start()
        .await;
    let ada = app.register("ada").await;
    app.by(&ada, Method::GET, "/me", None).await.assert_status(200);
    app.finish().await;
}
