//! Whom a provider's word lets in: with which account, and where none is made.

use reqwest::{Method, StatusCode};
use serde_json::json;
use shunt::domain::id::Id;
use shunt::domain::time::Timestamp;

use crate::harness::{Answer, TestApp, shunt};
use crate::oidc::browser::{Browser, Page, sign_in};
use crate::oidc::provider::{API_AUDIENCE, RealProvider, SITE};
use crate::oidc::{listed, me_of, serve};

/// Signs in as `name`: where that ends, and whether in a session.
async fn arrive(app: &TestApp, name: &str) -> (Page, Browser) {
    let mut browser = Browser::new().stands_for(SITE, &app.url);
    let login = format!("{SITE}/api/v1/auth/oidc/real/login?return_to=/app");
    let page = browser.open(&login, &format!("{SITE}/app")).await;
    let page = sign_in(&mut browser, &page, name, &format!("{SITE}/app")).await;
    (page, browser)
}

/// Who is signed in after all.
async fn arrived(app: &TestApp, name: &str) -> String {
    let (page, mut browser) = arrive(app, name).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.text);
    me_of(&browser.open(&format!("{SITE}/api/v1/me"), SITE).await)
}

#[track_caller]
fn assert_refused((page, browser): &(Page, Browser), status: u16, code: &str) {
    assert_eq!(page.status, status, "{}", page.text);
    assert!(page.text.contains(&format!("\"{code}\"")), "{}", page.text);
    assert_eq!(browser.cookie(SITE, "__Host-shunt_access"), None);
}

async fn list(app: &TestApp, token: &str) -> Answer {
    app.send(app.request(Method::GET, "/api/v1/links").bearer_auth(token)).await
}

#[tokio::test]
async fn a_disabled_account_is_let_in_by_no_provider() {
    let provider = RealProvider::start(&["real"]);
    let (app, _) = serve(&provider).await;
    let ada = arrived(&app, "ada").await;
    let id: Id = ada.parse().expect("an id");
    let app = app
        .restart_after(async |stores| {
            let joined = stores.users.add_identity(id, &provider.issuer, "robot", Timestamp(1));
            assert!(joined.await.expect("a store"));
        })
        .await;
    let users =
        |command: &str| assert!(shunt(&app.data(), &["users", command, &ada]).status.success());
    users("disable");
    assert_refused(&arrive(&app, "ada").await, 403, "account_disabled");
    let token = provider.access_token(API_AUDIENCE).await;
    list(&app, &token).await.assert_problem(403, "account_disabled");
    users("enable");
    assert_eq!(arrived(&app, "ada").await, ada);
    app.finish().await;
}

#[tokio::test]
async fn nobody_new_gets_an_account_where_none_is_made() {
    let provider = RealProvider::start(&["real"]);
    for (registration, provision) in [("closed", true), ("invite", true), ("open", false)] {
        let app = TestApp::builder()
            .set("SHUNT_HTTP__PUBLIC_URL", SITE)
            .set("SHUNT_OIDC__PROVIDERS", &listed(&provider, &format!("provision = {provision}")))
            .set("SHUNT_AUTH__REGISTRATION", registration)
            .start()
            .await;
        assert_refused(&arrive(&app, "ada").await, 403, "forbidden");
        let users = shunt(&app.data(), &["users", "list"]).stdout;
        assert!(!String::from_utf8_lossy(&users).contains("ada@example.com"), "{registration}");
        app.finish().await;
    }
}

#[tokio::test]
async fn an_account_is_joined_when_both_sides_have_proven_its_address() {
    let provider = RealProvider::start(&["real"]);
    let (app, _) = serve(&provider).await;
    let (ada, bob) = (app.register("ada").await, app.register("unverified-bob").await);
    let app = app
        .restart_after(async |stores| {
            for person in [&ada, &bob] {
                let id = person.id.parse().expect("an id");
                assert!(stores.users.verify_email(id, Timestamp(1)).await.expect("a store"));
            }
        })
        .await;
    assert_eq!(arrived(&app, "ada").await, ada.id);
    assert_refused(&arrive(&app, "unverified-bob").await, 409, "email_taken");
    app.finish().await;
}

#[tokio::test]
async fn every_door_counts_strangers() {
    let app = TestApp::builder()
        .set("SHUNT_HTTP__TRUSTED_PROXIES", "[\"127.0.0.1\"]")
        .set("SHUNT_LIMITS__UNAUTHENTICATED_REQUESTS_PER_MINUTE", "1")
        .start()
        .await;
    let doors = [(Method::GET, "login"), (Method::GET, "callback"), (Method::POST, "logout")];
    for (network, (method, door)) in doors.into_iter().enumerate() {
        let path = format!("/api/v1/auth/oidc/nobodys/{door}");
        let knock = || {
            let request = app.request(method.clone(), &path);
            let request = request.header("X-Forwarded-For", format!("203.0.{network}.1"));
            app.send(request.json(&json!({"refresh_token": "shuntr_x"})))
        };
        let first = knock().await;
        assert!((400..=404).contains(&first.status()), "{door}: {}", first.text());
        knock().await.assert_problem(429, "rate_limited");
    }
    app.finish().await;
}

#[tokio::test]
async fn a_good_token_of_a_provider_is_no_stranger() {
    let provider = RealProvider::start(&["real"]);
    let app = TestApp::builder()
        .set("SHUNT_HTTP__PUBLIC_URL", SITE)
        .set("SHUNT_OIDC__PROVIDERS", &listed(&provider, ""))
        .set("SHUNT_LIMITS__UNAUTHENTICATED_REQUESTS_PER_MINUTE", "3")
        .start()
        .await;
    let ada: Id = app.register("ada").await.id.parse().expect("an id");
    let app = app
        .restart_after(async |stores| {
            let joined = stores.users.add_identity(ada, &provider.issuer, "robot", Timestamp(1));
            assert!(joined.await.expect("a store"));
        })
        .await;
    let token = provider.access_token(API_AUDIENCE).await;
    for _ in 0..20 {
        list(&app, &token).await.assert_status(200);
    }
    app.finish().await;
}
