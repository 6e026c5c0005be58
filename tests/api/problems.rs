//! Every problem code that the server describes can be met, and none besides.

use std::collections::BTreeSet;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use shunt::domain::api_key::{ApiKey, Scopes};
use shunt::domain::id::Id;
use shunt::domain::time::Timestamp;
use shunt::storage::Stores;

use crate::harness::{PASSWORD, Person, SOON, TestApp};

/// Codes met so far.
#[derive(Default)]
struct Seen(BTreeSet<&'static str>);

impl Seen {
    async fn meets(
        &mut self,
        app: &TestApp,
        request: RequestBuilder,
        status: u16,
        code: &'static str,
    ) {
        app.send(request).await.assert_problem(status, code);
        self.0.insert(code);
    }
}

fn call(app: &TestApp, method: Method, path: &str) -> RequestBuilder {
    app.request(method, &format!("/api/v1{path}")).bearer_auth(&app.key)
}

fn post(app: &TestApp, body: &Value) -> RequestBuilder {
    call(app, Method::POST, "/links").json(body)
}

#[tokio::test]
async fn every_code_that_is_described_can_be_met() {
    let mut seen = Seen::default();
    let blocked = r#"["blocked.example"]"#;
    let app = TestApp::builder().set("SHUNT_LINKS__BLOCKED_HOSTS", blocked).start().await;
    requests(&app, &mut seen).await;
    states(&app, &mut seen).await;
    visits(&app, &mut seen).await;
    under_way(&app, &mut seen).await;
    let ada = people(&app, &mut seen).await;
    let app = app
        .restart_after(async |stores| {
            fill_keys(&stores).await;
            let id = Id(ada.id.parse().expect("a number"));
            stores.users.disable_user(id, true, Timestamp(1)).await.expect("the store writes");
        })
        .await;
    let log_in = json!({"email": ada.email, "password": PASSWORD});
    let log_in = app.request(Method::POST, "/api/v1/auth/login").json(&log_in);
    seen.meets(&app, log_in, 403, "account_disabled").await;
    let key = call(&app, Method::POST, "/api-keys").json(&json!({"name": "one too many"}));
    seen.meets(&app, key, 403, "quota_exceeded").await;
    let document = app.get("/api/v1/openapi.json").await.json();
    app.finish().await;
    full_store(&mut seen).await;
    limited(&mut seen).await;
    of_a_provider(&mut seen).await;

    let listed = &document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"];
    let listed = listed.as_array().expect("codes").iter();
    let listed: BTreeSet<&str> = listed.map(|code| code.as_str().expect("a code")).collect();
    assert_eq!(seen.0, listed);
}

/// An address whose people have no password here.
async fn of_a_provider(seen: &mut Seen) {
    let provider = "[{ id = \"corp\", name = \"Corp\", issuer = \"http://127.0.0.1:9/\", \
                    client_id = \"shunt\", domains = [\"corp.example\"] }]";
    let app = TestApp::builder().set("SHUNT_OIDC__PROVIDERS", provider).start().await;
    let body = json!({"email": "ada@Corp.example", "password": PASSWORD});
    for path in ["/auth/login", "/auth/register", "/auth/password/forgot"] {
        let body = match path {
            "/auth/password/forgot" => json!({"email": body["email"]}),
            _ => body.clone(),
        };
        let request = app.request(Method::POST, &format!("/api/v1{path}")).json(&body);
        seen.meets(&app, request, 403, "sso_required").await;
    }
    app.register("ada").await;
    app.finish().await;
}

/// What is wrong with a request alone.
async fn requests(app: &TestApp, seen: &mut Seen) {
    let to = "https://shop.example/";
    seen.meets(app, post(app, &json!({"surprise": 1})), 400, "invalid_request").await;
    let bad_url = post(app, &json!({"destination": "ftp://shop.example/"}));
    seen.meets(app, bad_url, 400, "invalid_url").await;
    let blocked = post(app, &json!({"destination": "https://www.blocked.example/"}));
    seen.meets(app, blocked, 403, "destination_blocked").await;
    let bad_alias = post(app, &json!({"destination": to, "alias": "a"}));
    seen.meets(app, bad_alias, 400, "invalid_alias").await;
    let cursor = call(app, Method::GET, "/links?cursor=x");
    seen.meets(app, cursor, 400, "invalid_cursor").await;
    let nobody = app.request(Method::GET, "/api/v1/links");
    seen.meets(app, nobody, 401, "unauthenticated").await;
    let stranger = app.request(Method::GET, "/api/v1/links").bearer_auth("x");
    seen.meets(app, stranger, 401, "invalid_api_key").await;
    let reader = json!({"name": "reader", "scopes": ["links:read"]});
    let reader = app.api(Method::POST, "/api-keys", Some(reader)).await.json();
    let reader = reader["key"].as_str().expect("a key").to_owned();
    let write = app.request(Method::POST, "/api/v1/links").bearer_auth(reader);
    let write = write.json(&json!({"destination": to}));
    seen.meets(app, write, 403, "insufficient_scope").await;
    seen.meets(app, call(app, Method::GET, "/links/nowhere"), 404, "not_found").await;
    seen.meets(app, call(app, Method::PUT, "/links"), 405, "method_not_allowed").await;
    let large = call(app, Method::POST, "/links").header("Content-Type", "application/json");
    seen.meets(app, large.body(vec![b' '; 70_000]), 413, "body_too_large").await;
    let plain = call(app, Method::POST, "/links").header("Content-Type", "text/plain");
    seen.meets(app, plain.body("x"), 415, "unsupported_media_type").await;
    let long = app.request(Method::GET, &format!("/{}", "a".repeat(9_000)));
    seen.meets(app, long, 414, "uri_too_long").await;
    let fat = app.request(Method::GET, "/x").header("X-Fat", "x".repeat(20_000));
    seen.meets(app, fat, 431, "headers_too_large").await;
}

/// What is wrong with a request because of what is there.
async fn states(app: &TestApp, seen: &mut Seen) {
    let to = "https://shop.example/";
    app.create(json!({"destination": to, "alias": "there", "external_id": "e-1"})).await;
    let taken = post(app, &json!({"destination": to, "alias": "there"}));
    seen.meets(app, taken, 409, "alias_taken").await;
    let twice = post(app, &json!({"destination": to, "external_id": "e-1"}));
    seen.meets(app, twice, 409, "conflict").await;
    let stale = call(app, Method::DELETE, "/links/there").header("If-Match", "\"99\"");
    seen.meets(app, stale, 412, "precondition_failed").await;
    let once = |to: &str| post(app, &json!({"destination": to})).header("Idempotency-Key", "used");
    app.send(once(to)).await.assert_status(201);
    let other = once("https://other.example/");
    seen.meets(app, other, 422, "idempotency_mismatch").await;
    let blocked = json!({"code": "blocked", "destination": to, "status": "blocked"});
    app.import(1, &[blocked]).await;
    let unblock = call(app, Method::PATCH, "/links/blocked").json(&json!({"status": "active"}));
    seen.meets(app, unblock, 403, "forbidden").await;
}

/// What a visitor is told who asks for JSON.
async fn visits(app: &TestApp, seen: &mut Seen) {
    let to = "https://shop.example/";
    let rows = [
        json!({"code": "expired", "destination": to, "expires_at": "2020-01-01T00:00:00Z"}),
        json!({"code": "exhausted", "destination": to, "max_clicks": 1, "clicks": 1}),
        json!({"code": "disabled", "destination": to, "status": "disabled"}),
        json!({"code": "archived", "destination": to, "status": "archived"}),
    ];
    app.import(2, &rows).await;
    for (code, status, problem) in [
        ("expired", 410, "link_expired"),
        ("exhausted", 410, "link_exhausted"),
        ("disabled", 410, "link_disabled"),
        ("archived", 410, "link_archived"),
        ("blocked", 403, "link_blocked"),
        ("nowhere", 404, "not_found"),
    ] {
        let visit = app.request(Method::GET, &format!("/{code}"));
        let visit = visit.header("Accept", "application/json");
        seen.meets(app, visit, status, problem).await;
    }
}

/// What is wrong with people, or with what they show. Answers one with an account.
async fn people(app: &TestApp, seen: &mut Seen) -> Person {
    let ada = app.register("ada").await;
    let open = |path: &str, body: Value| {
        app.request(Method::POST, &format!("/api/v1/auth/{path}")).json(&body)
    };
    let taken = json!({"email": "ADA@example.com", "password": PASSWORD});
    seen.meets(app, open("register", taken), 409, "email_taken").await;
    let weak = json!({"email": "bob@example.com", "password": "short"});
    seen.meets(app, open("register", weak), 400, "weak_password").await;
    let wrong = json!({"email": ada.email, "password": "wrong"});
    seen.meets(app, open("login", wrong), 401, "invalid_credentials").await;
    let with = |token: &str| app.request(Method::GET, "/api/v1/me").bearer_auth(token);
    seen.meets(app, with("a.b.c"), 401, "invalid_token").await;
    app.by(&ada, Method::POST, "/auth/logout-all", None).await.assert_status(204);
    seen.meets(app, with(&ada.access), 401, "token_expired").await;
    ada
}

/// Two equal requests at once: the second finds the first under way, sooner or later.
async fn under_way(app: &TestApp, seen: &mut Seen) {
    let links: Vec<Value> =
        (0..300).map(|n| json!({"destination": format!("https://shop.example/{n}")})).collect();
    let body = json!({ "links": links });
    let deadline = std::time::Instant::now() + SOON;
    for round in 0.. {
        let bulk = || {
            let key = format!("round-{round}");
            let request = call(app, Method::POST, "/links/bulk").header("Idempotency-Key", key);
            app.send(request.json(&body))
        };
        let answers = futures_util::future::join_all([bulk(), bulk(), bulk()]).await;
        if let Some(answer) = answers.iter().find(|answer| answer.status() == 409) {
            answer.assert_problem(409, "idempotency_in_progress");
            seen.0.insert("idempotency_in_progress");
            return;
        }
        assert!(std::time::Instant::now() < deadline, "no request was under way");
    }
}

/// All the keys that a workspace may have.
async fn fill_keys(stores: &Stores) {
    let workspace = stores.accounts.operator_workspace().await.expect("the store reads");
    let workspace = workspace.expect("a store in use").id;
    let keys = (0..1_000_u64).map(|n| {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&n.to_le_bytes());
        stores.accounts.add_key(
            ApiKey {
                id: Id(1_000 + n),
                workspace,
                user: None,
                name: "filling".to_owned(),
                prefix: "shunt_000000".to_owned(),
                digest,
                scopes: Scopes::EVERYTHING,
                created_at: Timestamp(0),
                expires_at: None,
                last_used_at: None,
                uses: 0,
                revoked_at: None,
            },
            None,
        )
    });
    for added in futures_util::future::join_all(keys).await {
        added.expect("the store writes");
    }
}

/// A caller who has used up what there was.
async fn limited(seen: &mut Seen) {
    let limits = "[{ name = 'operator', key_requests_per_hour = 1 }]";
    let app = TestApp::builder().set("SHUNT_LIMITS__WORKSPACES", limits).start().await;
    app.api(Method::GET, "/links", None).await.assert_status(200);
    seen.meets(&app, call(&app, Method::GET, "/links"), 429, "rate_limited").await;
    app.finish().await;
}

/// A store that has reached its bound serves what it has and takes no more.
async fn full_store(seen: &mut Seen) {
    let app = TestApp::builder().set("SHUNT_STORAGE__SIZE_MAX", "1MiB").start().await;
    let first = app.create(json!({"destination": "https://shop.example/first"})).await;
    for n in 0..1_000 {
        let to = format!("https://shop.example/{n}/{}", "x".repeat(8_000));
        let answer = app.api(Method::POST, "/links", Some(json!({"destination": to}))).await;
        if answer.status() != 201 {
            answer.assert_problem(503, "unavailable");
            assert!(answer.header("retry-after").is_some());
            seen.0.insert("unavailable");
            break;
        }
    }
    let code = first["code"].as_str().expect("a code");
    app.get(&format!("/{code}")).await.assert_found("https://shop.example/first");
    app.kill();
}
