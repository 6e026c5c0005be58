//! The pages that mails lead to, from real mails.

use std::fs;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::harness::{Answer, PASSWORD, Person, TestApp};
use crate::smtp::{ReceivedMail, SmtpServer};

const OTHER: &str = "another Horse 12 staple";
const SITE: &str = "Sec-Fetch-Site";
/// Well formed, and of nobody.
const NOBODYS: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

async fn start(mails: &SmtpServer) -> TestApp {
    TestApp::builder()
        .set("SHUNT_MAIL__URL", &mails.url())
        .set("SHUNT_MAIL__FROM", "links@example.com")
        .start()
        .await
}

/// Path and query of a mail's link, and its token.
fn link(app: &TestApp, mail: &ReceivedMail) -> (String, String) {
    let path = mail.link().strip_prefix(&app.url).expect("a link to this server");
    let (_, token) = path.split_once("?token=").expect("a token");
    (path.to_owned(), token.to_owned())
}

fn form(app: &TestApp, path: &str, fields: &[(&str, &str)]) -> RequestBuilder {
    app.request(Method::POST, &format!("/app/{path}")).form(fields).header(SITE, "same-origin")
}

async fn post(app: &TestApp, path: &str, fields: &[(&str, &str)]) -> Answer {
    app.send(form(app, path, fields)).await
}

/// A page with this heading, which nobody keeps, lists or learns the address of.
#[track_caller]
fn assert_page(answer: &Answer, status: u16, heading: &str) {
    answer.assert_status(status);
    let html = answer.text();
    assert!(html.contains(&format!("<h1>{heading}</h1>")), "{html}");
    assert!(!html.contains("<script") && !html.contains("{{"), "{html}");
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(answer.header("www-authenticate"), None);
    let policy = answer.header("content-security-policy").expect("a policy");
    for rule in ["default-src 'none'", "form-action 'self'", "style-src 'sha256-"] {
        assert!(policy.contains(rule), "{policy}");
    }
    assert_sealed(answer);
}

#[track_caller]
fn assert_sealed(answer: &Answer) {
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("x-robots-tag"), Some("noindex"));
    assert_eq!(answer.header("referrer-policy"), Some("same-origin"));
    assert_eq!(answer.header("set-cookie"), None);
}

async fn me(app: &TestApp, who: &Person) -> Value {
    app.by(who, Method::GET, "/me", None).await.assert_status(200).json()
}

#[tokio::test]
async fn an_address_is_confirmed_by_the_button_and_not_by_the_link() {
    let mut mails = SmtpServer::start().await;
    let app = start(&mails).await;
    let ada = app.register("ada").await;
    let (path, token) = link(&app, &mails.next_mail().await);
    for _ in 0..3 {
        let page = app.get(&path).await;
        assert_page(&page, 200, "Confirm your address");
        let hidden = format!("<input type=\"hidden\" name=\"token\" value=\"{token}\">");
        assert!(page.text().contains(&hidden), "{}", page.text());
        assert!(page.text().contains("<form method=\"post\" action=\"verify-email\">"));
    }
    let head = app.send(app.request(Method::HEAD, &path)).await;
    assert_eq!((head.status(), head.text().as_str()), (200, ""));
    assert_eq!(me(&app, &ada).await["email_verified"], false);

    let fields = [("token", token.as_str())];
    assert_page(&post(&app, "verify-email", &fields).await, 200, "Your address is confirmed");
    assert_eq!(me(&app, &ada).await["email_verified"], true);
    let again = post(&app, "verify-email", &fields).await;
    assert_page(&again, 400, "This link cannot be used");
    assert!(!again.text().contains("<form"), "{}", again.text());
    app.finish().await;
}

#[tokio::test]
async fn only_this_site_sends_its_forms() {
    let mut mails = SmtpServer::start().await;
    let app = start(&mails).await;
    let ada = app.register("ada").await;
    let (_, token) = link(&app, &mails.next_mail().await);
    let fields = [("token", token.as_str())];
    let bare = || app.request(Method::POST, "/app/verify-email").form(&fields);
    for (name, value) in [
        (SITE, "cross-site"),
        (SITE, "same-site"),
        ("Origin", "https://evil.example"),
        ("Origin", "null"),
    ] {
        let refused = app.send(bare().header(name, value)).await;
        assert_page(&refused, 403, "This could not be done");
        let json = app.send(bare().header(name, value).header("Accept", "application/json")).await;
        assert_sealed(json.assert_problem(403, "forbidden"));
    }
    assert_eq!(me(&app, &ada).await["email_verified"], false);
    let own = app.send(bare().header("Origin", &app.url)).await;
    assert_page(&own, 200, "Your address is confirmed");
    app.finish().await;
}

#[tokio::test]
async fn a_new_password_is_chosen_once_and_must_be_good() {
    let mut mails = SmtpServer::start().await;
    let app = start(&mails).await;
    let ada = app.register("ada").await;
    mails.next_mail().await;
    app.post("/auth/password/forgot", json!({"email": ada.email})).await.assert_status(202);
    let (path, token) = link(&app, &mails.next_mail().await);
    let page = app.get(&path).await;
    assert_page(&page, 200, "Choose a new password");
    assert!(
        page.text().contains("type=\"password\" name=\"password\" autocomplete=\"new-password\"")
    );
    let set = |password| {
        let fields = [("token", token.as_str()), ("password", password)];
        let request = form(&app, "reset-password", &fields);
        app.send(request)
    };
    let weak = set("weak<b>").await;
    assert_page(&weak, 400, "Choose a new password");
    for reason in ["A password has at least 8 characters.", "A password needs a digit.", &token] {
        assert!(weak.text().contains(reason), "{reason} is missing in {}", weak.text());
    }
    assert!(!weak.text().contains("weak&lt;"), "the password is shown");
    app.by(&ada, Method::GET, "/me", None).await.assert_status(200);

    assert_page(&set(OTHER).await, 200, "Your password is changed");
    assert_page(&set("yet another Horse 13").await, 400, "This link cannot be used");
    app.by(&ada, Method::GET, "/me", None).await.assert_status(401);
    app.log_in(&ada.email, PASSWORD).await.assert_problem(401, "invalid_credentials");
    app.log_in(&ada.email, OTHER).await.assert_status(200);
    app.finish().await;
}

#[tokio::test]
async fn somebody_with_an_account_joins_by_its_password() {
    let mut mails = SmtpServer::start().await;
    let app = start(&mails).await;
    let (ada, bob) = (app.register("ada").await, app.register("bob").await);
    mails.next_mail().await;
    mails.next_mail().await;
    let name = Some(json!({"name": "<b>Team</b> \"{{x}}\""}));
    app.by(&ada, Method::PATCH, "/workspace", name).await.assert_status(204);
    let body = Some(json!({"email": bob.email, "role": "viewer"}));
    app.by(&ada, Method::POST, "/invitations", body).await.assert_status(201);
    let (path, token) = link(&app, &mails.next_mail().await);
    assert_page(&app.get(&path).await, 200, "Join a workspace");

    let join = |email, password| {
        let fields =
            [("token", token.as_str()), ("as", "member"), ("email", email), ("password", password)];
        app.send(form(&app, "join", &fields))
    };
    let hostile = "\"><script>alert(1)</script>@example.com";
    let wrong = join(hostile, PASSWORD).await;
    assert_page(&wrong, 401, "Join a workspace");
    assert!(wrong.text().contains("The address or the password is wrong."), "{}", wrong.text());
    assert!(wrong.text().contains("value=\"&quot;&gt;&lt;script&gt;"), "{}", wrong.text());
    assert!(wrong.text().contains("<form method=\"post\" action=\"join\""), "no way to try again");

    let done = join(&bob.email, PASSWORD).await;
    let heading = "You have joined “&lt;b&gt;Team&lt;/b&gt; &quot;{{x}}&quot;”";
    done.assert_status(200);
    assert!(done.text().contains(&format!("<h1>{heading}</h1>")), "{}", done.text());
    assert_sealed(&done);
    let workspaces = me(&app, &bob).await["workspaces"].to_string();
    assert!(workspaces.contains(&ada.workspace) && workspaces.contains("viewer"), "{workspaces}");
    assert_page(&join(&bob.email, PASSWORD).await, 400, "This link cannot be used");
    app.finish().await;
}

#[tokio::test]
async fn somebody_new_joins_with_an_account_made_for_it() {
    let mut mails = SmtpServer::start().await;
    let app = start(&mails).await;
    let ada = app.register("ada").await;
    mails.next_mail().await;
    let body = Some(json!({"email": "eve@example.com", "role": "member"}));
    app.by(&ada, Method::POST, "/invitations", body).await.assert_status(201);
    let (_, token) = link(&app, &mails.next_mail().await);
    let join = |email, password, name| {
        let fields = [
            ("token", token.as_str()),
            ("as", "new"),
            ("email", email),
            ("password", password),
            ("name", name),
        ];
        app.send(form(&app, "join", &fields))
    };
    for (email, password, name, status, reason) in [
        ("eve", PASSWORD, "", 400, "An e-mail address looks like name@example.com."),
        ("eve@example.com", "weak", "", 400, "A password has at least 8 characters."),
        ("eve@example.com", PASSWORD, "a\nb", 400, "Control characters are not allowed."),
        (ada.email.as_str(), PASSWORD, "", 409, "There is an account with this address"),
    ] {
        let refused = join(email, password, name).await;
        assert_page(&refused, status, "Join a workspace");
        assert!(refused.text().contains(reason), "{reason} is missing in {}", refused.text());
        assert!(refused.text().contains(&format!("value=\"{email}\"")), "the address is gone");
    }
    let done = join("eve@example.com", PASSWORD, "Eve").await;
    assert_page(&done, 200, "You have joined “Personal”");
    let eve = Person::of(&app.log_in("eve@example.com", PASSWORD).await);
    let profile = me(&app, &eve).await;
    assert_eq!(profile["name"], "Eve");
    let workspaces = profile["workspaces"].as_array().expect("a list");
    assert_eq!(workspaces.len(), 2);
    assert!(workspaces.iter().any(|one| one["id"] == ada.workspace && one["role"] == "member"));
    let (path, token) = link(&app, &mails.next_mail().await);
    assert_page(&app.get(&path).await, 200, "Confirm your address");
    let confirmed = post(&app, "verify-email", &[("token", &token)]).await;
    assert_page(&confirmed, 200, "Your address is confirmed");
    app.finish().await;
}

#[tokio::test]
async fn passwords_are_tried_here_no_more_often_than_elsewhere() {
    let app =
        TestApp::builder().set("SHUNT_HTTP__TRUSTED_PROXIES", "[\"127.0.0.1\"]").start().await;
    let ada = app.register("ada").await;
    let invite = || app.api(Method::POST, "/invitations", Some(json!({"role": "viewer"})));
    let token = invite().await.assert_status(201).json()["token"].clone();
    let token = token.as_str().expect("a token");
    let join = |token: &str, password: &str, client: &str| {
        let fields = [("token", token), ("email", &ada.email), ("password", password)];
        app.send(form(&app, "join", &fields).header("X-Forwarded-For", client))
    };
    // Without an invitation, none is tried at all.
    let forged = format!("shunti_{NOBODYS}");
    for _ in 0..6 {
        let answer = join(&forged, "wrong", "203.0.113.9").await;
        assert_page(&answer, 400, "This link cannot be used");
    }
    for _ in 0..5 {
        assert_page(&join(token, "wrong", "203.0.113.9").await, 401, "Join a workspace");
    }
    let refused = join(token, PASSWORD, "203.0.113.9").await;
    assert_page(&refused, 429, "Join a workspace");
    assert!(refused.header("ratelimit").is_some_and(|left| left.contains("\"login\";r=0;")));
    let wait: u64 = refused.header("retry-after").expect("when").parse().expect("seconds");
    assert!((1..=900).contains(&wait) && refused.text().contains("Too many tries."));
    let body = json!({"email": ada.email, "password": PASSWORD});
    let elsewhere = app.request(Method::POST, "/api/v1/auth/login");
    let elsewhere = elsewhere.header("X-Forwarded-For", "203.0.113.9").json(&body);
    app.send(elsewhere).await.assert_problem(429, "rate_limited");
    let done = join(token, PASSWORD, "198.51.100.7").await;
    assert_page(&done, 200, "You have joined “operator”");
    app.finish().await;
}

#[tokio::test]
async fn what_is_no_form_of_a_mail_is_refused() {
    let app = TestApp::start().await;
    let hostile = "%22%3E%3Cscript%3Ealert(1)%3C/script%3E";
    for (page, prefix) in
        [("verify-email", "shuntv_"), ("reset-password", "shuntp_"), ("join", "shunti_")]
    {
        let path = |query: &str| format!("/app/{page}{query}");
        let good = format!("{prefix}{NOBODYS}");
        let well = app.get(&path(&format!("?token={good}"))).await;
        well.assert_status(200);
        let twice = format!("?token={good}&token={good}");
        for query in ["", "?token=", "?token=shunt", &twice, &format!("?token={good}{hostile}")] {
            let bad = app.get(&path(query)).await;
            assert_page(&bad, 400, "This link cannot be used");
            assert!(!bad.text().contains("alert(1)"), "{}", bad.text());
            let json = app.request(Method::GET, &path(query)).header("Accept", "application/json");
            assert_sealed(app.send(json).await.assert_problem(400, "invalid_request"));
        }
        let typed = format!("{good}\"><script>alert(1)</script>");
        let fields = [("token", typed.as_str()), ("password", PASSWORD), ("email", "a@b.example")];
        let bad = post(&app, page, &fields).await;
        assert_page(&bad, 400, "This link cannot be used");
        assert!(!bad.text().contains("alert(1)"), "{}", bad.text());

        let request = || app.request(Method::POST, &path(""));
        let large = request().form(&[("token", "x".repeat(20_000))]);
        assert_page(&app.send(large).await, 413, "This could not be done");
        let other = request().json(&json!({"token": good}));
        assert_page(&app.send(other).await, 415, "This could not be done");
        let put = app.send(app.request(Method::PUT, &path(""))).await;
        put.assert_problem(405, "method_not_allowed");
        assert_eq!(put.header("allow"), Some("GET, HEAD, POST"));
        let elsewhere = app.request(Method::GET, &path("")).header("Host", "evil.example");
        app.send(elsewhere).await.assert_status(404);
        let elsewhere = form(&app, page, &fields).header("Host", "evil.example");
        app.send(elsewhere).await.assert_status(404);
    }
    app.get("/app/other").await.assert_status(404);
    app.finish().await;

    let app = TestApp::builder().set("SHUNT_AUTH__REGISTRATION", "closed").start().await;
    let page = app.get(&format!("/app/join?token=shunti_{NOBODYS}")).await;
    assert!(!page.text().contains("I am new"), "{}", page.text());
    app.finish().await;
}

#[tokio::test]
async fn a_store_that_is_gone_is_told_and_the_form_stays() {
    let app = TestApp::start().await;
    fs::remove_file(app.data().join("shunt.db")).expect("delete the store");
    let token = format!("shuntv_{NOBODYS}");
    let answer = post(&app, "verify-email", &[("token", &token)]).await;
    assert_page(&answer, 503, "Confirm your address");
    assert!(answer.header("retry-after").is_some());
    assert!(answer.text().contains(&token), "the form is gone: {}", answer.text());
    let request = form(&app, "verify-email", &[("token", &token)]);
    let request = request.header("Accept", "application/json");
    app.send(request).await.assert_problem(503, "unavailable");
    drop(app.kill());
}
