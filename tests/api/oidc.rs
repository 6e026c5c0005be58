//! Signing in with a real provider: `oidc-provider` of npm, through its own pages.

#[path = "../support/browser.rs"]
pub(crate) mod browser;
#[path = "../support/oidc.rs"]
pub(crate) mod provider;

use std::sync::Arc;
use std::time::SystemTime;

use browser::{Browser, Page, sign_in};
use provider::{API_AUDIENCE, RealProvider, SITE};
use shunt::domain::secret::Secret;
use shunt::domain::time::{Clock, Timestamp};
use shunt::service::oidc::{
    Callback, Finished, Oidc, OidcConfig, OidcFault, ProviderConfig, TokenAuth, TokenFault,
};

use crate::harness::TestApp;

/// Where no browser is ever sent.
const SITE_OF_NOBODY: &str = "https://nowhere.test";

struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Timestamp::from_millis(since.expect("after 1970").as_millis() as i64)
    }
}

/// The providers `real`, `post` and `public`, which are one: a client of each kind.
fn configured(issuer: &str, id: &str) -> ProviderConfig {
    let (client_id, secret, token_auth) = match id {
        "post" => ("shunt-post", Some("another secret"), Some(TokenAuth::Post)),
        "public" => ("shunt-public", None, None),
        _ => ("shunt", Some("a secret: with / signs"), None),
    };
    ProviderConfig {
        id: id.to_owned(),
        name: "The real one".to_owned(),
        issuer: issuer.to_owned(),
        client_id: client_id.to_owned(),
        client_secret: secret.map(|text| Secret(text.to_owned())),
        audiences: vec![API_AUDIENCE.to_owned()],
        token_auth,
        ..ProviderConfig::default()
    }
}

fn oidc(provider: &RealProvider, id: &str) -> Oidc {
    let config = OidcConfig { providers: vec![configured(&provider.issuer, id)] };
    Oidc::new(&config, SITE, &[3; 32], Arc::new(WallClock)).expect("a client")
}

/// Goes to the provider and comes back as `name`: where to, and with which cookie.
async fn come_back(oidc: &Oidc, id: &str, browser: &mut Browser, name: &str) -> (Page, String) {
    let begun = oidc.begin(id, "/app").await.expect("a sign-in that begins");
    let page = browser.open(begun.url.as_str(), SITE).await;
    let back = sign_in(browser, &page, name, SITE).await;
    let expected = format!("{SITE}/api/v1/auth/oidc/{id}/callback?");
    assert!(back.url.as_str().starts_with(&expected), "{}", back.url);
    (back, begun.state_cookie)
}

async fn finish(oidc: &Oidc, id: &str, back: &Page, cookie: &str) -> Result<Finished, OidcFault> {
    let callback = Callback::parse(back.url.query().expect("a query"))?;
    oidc.finish(id, &callback, Some(cookie)).await
}

#[tokio::test]
async fn every_kind_of_client_learns_who_signed_in() {
    let ids = ["real", "post", "public"];
    let provider = RealProvider::start(&ids);
    for id in ids {
        let (oidc, mut browser) = (oidc(&provider, id), Browser::new());
        let (back, cookie) = come_back(&oidc, id, &mut browser, "ada").await;
        assert!(back.url.query_pairs().any(|(name, _)| name == "iss"), "{}", back.url);
        let done = finish(&oidc, id, &back, &cookie).await.expect("a sign-in that is done");
        assert_eq!(done.return_to.as_str(), "/app");
        assert_eq!(done.identity.issuer, provider.issuer);
        assert_eq!(done.identity.subject, "ada");
        assert_eq!(done.identity.email.as_deref(), Some("ada@example.com"));
        assert!(done.identity.email_verified);
        assert_eq!(done.identity.name.as_deref(), Some("Ada"));

        // The provider takes a code once, and the ID token is no bearer token.
        let again = finish(&oidc, id, &back, &cookie).await;
        assert_eq!(again.err(), Some(OidcFault::Code));
        let refused = oidc.verify_bearer(&done.id_token_hint.0).await.err();
        assert_eq!(refused, Some(OidcFault::Token(TokenFault::Header)));
    }
}

#[tokio::test]
async fn who_says_no_at_the_provider_is_not_signed_in() {
    let provider = RealProvider::start(&["real"]);
    let (oidc, mut browser) = (oidc(&provider, "real"), Browser::new());
    let begun = oidc.begin("real", "/").await.expect("a sign-in that begins");
    let page = browser.open(begun.url.as_str(), SITE).await;
    let abort = page.url.join(&format!("{}/abort", page.url.path())).expect("a URL");
    let back = browser.open(abort.as_str(), SITE).await;
    let refused = finish(&oidc, "real", &back, &begun.state_cookie).await;
    assert_eq!(refused.err(), Some(OidcFault::Denied));
}

#[tokio::test]
async fn access_tokens_of_a_program_are_taken_for_the_audience_that_is_ours() {
    let provider = RealProvider::start(&["real"]);
    let oidc = oidc(&provider, "real");
    let token = provider.access_token(API_AUDIENCE).await;
    for _ in 0..2 {
        let identity = oidc.verify_bearer(&token).await.expect("a good token");
        assert_eq!((identity.subject.as_str(), identity.email.as_deref()), ("robot", None));
    }
    let other = provider.access_token("https://elsewhere.example/").await;
    let refused = oidc.verify_bearer(&other).await.err();
    assert_eq!(refused, Some(OidcFault::Token(TokenFault::Audience)));
}

#[tokio::test]
async fn signing_out_at_the_provider_ends_its_session() {
    let provider = RealProvider::start(&["real"]);
    let (oidc, mut browser) = (oidc(&provider, "real"), Browser::new());
    let (back, cookie) = come_back(&oidc, "real", &mut browser, "ada").await;
    let done = finish(&oidc, "real", &back, &cookie).await.expect("a sign-in that is done");
    assert!(browser.cookie(&provider.issuer, "_session").is_some());

    let home = format!("{SITE}/");
    let url = oidc.logout_url("real", Some(&done.id_token_hint.0), Some(&home)).await;
    let url = url.expect("the provider is there").expect("it has a place to sign out");
    let page = browser.open(url.as_str(), SITE).await;
    let gone = browser.submit(&page, &[("logout", "yes")], SITE).await;
    assert_eq!(gone.url.as_str(), home);
    // It asks again who it is.
    let begun = oidc.begin("real", "/").await.expect("a sign-in that begins");
    let page = browser.open(begun.url.as_str(), SITE).await;
    assert!(page.text.contains("name=\"password\""), "{}", page.text);
}

/// The real provider as a setting lists it, with what `more` sets.
pub(crate) fn listed(provider: &RealProvider, more: &str) -> String {
    let comma = if more.is_empty() { "" } else { ", " };
    format!(
        "[{{ id = \"real\", name = \"The real one\", issuer = \"{}\", client_id = \"shunt\", \
         client_secret = \"a secret: with / signs\", audiences = [\"{API_AUDIENCE}\"]{comma}\
         {more} }}]",
        provider.issuer
    )
}

/// A server that knows the real provider, as behind a proxy that ends TLS, and a browser.
pub(crate) async fn serve(provider: &RealProvider) -> (TestApp, Browser) {
    let app = TestApp::builder()
        .set("SHUNT_HTTP__PUBLIC_URL", SITE)
        .set("SHUNT_OIDC__PROVIDERS", &listed(provider, ""))
        .start()
        .await;
    let browser = Browser::new().stands_for(SITE, &app.url);
    (app, browser)
}

fn cookies_of(page: &Page) -> Vec<&str> {
    let cookies = page.headers.get_all("set-cookie").iter();
    cookies.map(|cookie| cookie.to_str().expect("plain characters")).collect()
}

#[tokio::test]
async fn a_browser_goes_to_the_provider_and_comes_back_signed_in() {
    let provider = RealProvider::start(&["real"]);
    let (app, mut browser) = serve(&provider).await;
    let login = format!("{SITE}/api/v1/auth/oidc/real/login?return_to=/app");
    let left = browser.open(&login, &provider.issuer).await;
    assert_eq!(left.status, 302);
    let [cookie] = cookies_of(&left)[..] else { panic!("{:?}", left.headers) };
    for part in
        ["__Host-shunt_oidc=", "HttpOnly", "Secure", "SameSite=Lax", "Path=/", "Max-Age=600"]
    {
        assert!(cookie.contains(part), "{part}: {cookie}");
    }
    assert_eq!(left.headers["cache-control"], "no-store");

    let page = browser.open(left.url.as_str(), SITE).await;
    let back = sign_in(&mut browser, &page, "ada", SITE).await;
    let done = browser.open(back.url.as_str(), &format!("{SITE}/app")).await;
    assert_eq!(done.status, 303, "{}", done.text);
    assert_eq!(done.url.as_str(), format!("{SITE}/app"));
    assert_eq!(done.headers["cache-control"], "no-store");
    assert_eq!(browser.cookie(SITE, "__Host-shunt_oidc"), None, "the cookie stayed");
    let me = browser.open(&format!("{SITE}/api/v1/me"), SITE_OF_NOBODY).await;
    assert_eq!(me.status, 200, "{}", me.text);
    assert!(me.text.contains("ada@example.com") && me.text.contains("Ada"), "{}", me.text);

    let again = browser.open(back.url.as_str(), SITE_OF_NOBODY).await;
    assert_eq!(again.status, 400, "{}", again.text);

    // Another browser of the same person finds the same account.
    let first = me_of(&me);
    let mut other = Browser::new().stands_for(SITE, &app.url);
    let page = other.open(&login, SITE_OF_NOBODY).await;
    let back = sign_in(&mut other, &page, "ada", &format!("{SITE}/app")).await;
    assert_eq!(back.url.as_str(), format!("{SITE}/app"));
    let me = other.open(&format!("{SITE}/api/v1/me"), SITE_OF_NOBODY).await;
    assert_eq!(me_of(&me), first);

    // Who has no password proves it by having signed in just now.
    let access = other.cookie(SITE, "__Host-shunt_access").expect("a session").to_owned();
    let renamed = app.request(reqwest::Method::PATCH, "/api/v1/me").bearer_auth(&access);
    let moved = serde_json::json!({ "email": "lovelace@example.com" });
    app.send(renamed.json(&moved)).await.assert_status(200);

    let refresh = other.cookie(SITE, "__Host-shunt_refresh").expect("a session").to_owned();
    let out = app.post("/auth/oidc/real/logout", serde_json::json!({"refresh_token": refresh}));
    let out = out.await;
    let url = out.assert_status(200).json()["logout_url"].as_str().expect("a place").to_owned();
    assert!(url.starts_with(&provider.issuer), "{url}");
    let forgotten = out.all("set-cookie");
    assert_eq!(forgotten.len(), 2, "{forgotten:?}");
    assert!(forgotten.iter().all(|cookie| cookie.contains("Max-Age=0")), "{forgotten:?}");
    let me = other.open(&format!("{SITE}/api/v1/me"), SITE_OF_NOBODY).await;
    assert_eq!(me.status, 401, "{}", me.text);
    app.finish().await;
}

#[tokio::test]
async fn a_token_of_the_provider_speaks_for_who_is_known_here() {
    let provider = RealProvider::start(&["real"]);
    let (app, _) = serve(&provider).await;
    let token = provider.access_token(API_AUDIENCE).await;
    let list = async |app: &TestApp, token: &str| {
        app.send(app.request(reqwest::Method::GET, "/api/v1/links").bearer_auth(token)).await
    };
    list(&app, &token).await.assert_problem(401, "invalid_token");
    let ada = app.register("ada").await;
    let id: shunt::domain::id::Id = ada.id.parse().expect("an id");
    let app = app
        .restart_after(async |stores| {
            let joined = stores.users.add_identity(id, &provider.issuer, "robot", Timestamp(1));
            assert!(joined.await.expect("a store"));
        })
        .await;
    let body = serde_json::json!({ "destination": "https://shop.example/" });
    let made = app.request(reqwest::Method::POST, "/api/v1/links").bearer_auth(&token);
    let made = app.send(made.json(&body)).await.assert_status(201).json();
    assert_eq!(made["created_by"], ada.id);
    let other = provider.access_token("https://elsewhere.example/").await;
    list(&app, &other).await.assert_problem(401, "invalid_token");
    let mut forged = token.clone();
    forged.pop();
    list(&app, &forged).await.assert_problem(401, "invalid_token");

    let erase = serde_json::json!({ "password": crate::harness::PASSWORD });
    app.by(&ada, reqwest::Method::DELETE, "/me", Some(erase)).await.assert_status(204);
    list(&app, &token).await.assert_problem(401, "invalid_token");
    app.finish().await;
}

/// The account that an answer of `/me` is about.
pub(crate) fn me_of(page: &Page) -> String {
    let me: serde_json::Value = serde_json::from_str(&page.text).expect("JSON");
    me["id"].as_str().unwrap_or_else(|| panic!("nobody: {me}")).to_owned()
}

#[tokio::test]
async fn who_has_an_account_with_the_same_address_that_nobody_proved_is_not_joined_to_it() {
    let provider = RealProvider::start(&["real"]);
    let (app, mut browser) = serve(&provider).await;
    let body = serde_json::json!({ "email": "ada@example.com", "password": "Tr0mbone-quarry-71" });
    let made = app.request(reqwest::Method::POST, "/api/v1/auth/register").json(&body);
    app.send(made).await.assert_status(201);

    let login = format!("{SITE}/api/v1/auth/oidc/real/login");
    let page = browser.open(&login, SITE_OF_NOBODY).await;
    let done = sign_in(&mut browser, &page, "ada", SITE_OF_NOBODY).await;
    assert_eq!(done.status, 409, "{}", done.text);
    assert!(done.text.contains("email_taken"), "{}", done.text);
    assert_eq!(browser.cookie(SITE, "__Host-shunt_access"), None);
    app.finish().await;
}

#[tokio::test]
async fn what_cannot_begin_or_end_says_so_and_tells_nothing_of_the_provider() {
    let provider = RealProvider::start(&["real"]);
    let (app, _) = serve(&provider).await;
    let at = |rest: &str| format!("/api/v1/auth/oidc/{rest}");
    app.get(&at("other/login")).await.assert_problem(404, "not_found");
    for place in ["//evil.example", "/%5Cevil", "https://evil.example", "/%250d%250a", ""] {
        let path = at(&format!("real/login?return_to={place}"));
        app.get(&path).await.assert_problem(400, "invalid_request");
    }
    app.get(&at("real/callback?code=a&code=b")).await.assert_problem(400, "invalid_request");
    app.get(&at("real/callback?code=a&state=b")).await.assert_problem(400, "invalid_request");

    drop(provider);
    let gone = app.get(&at("real/login")).await;
    gone.assert_problem(503, "unavailable");
    assert!(!gone.text().contains("127.0.0.1"), "{}", gone.text());
    app.finish().await;
}
