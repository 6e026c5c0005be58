//! Limits: everybody gets what is left of theirs, is told how much that is, and nobody more. No way
//! of the API leads to a second workspace, so one is put into the store before the server starts.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use shunt::domain::account::User;
use shunt::domain::api_key::{ApiKey, KeyText, Scopes};
use shunt::domain::email::Email;
use shunt::domain::id::Id;
use shunt::domain::time::Timestamp;
use shunt::storage::Workspace;
use shunt::storage::people::{NewUser, UserAdded};
use shunt::storage::secrets::Secrets;

use crate::harness::{Answer, TestApp};

/// The workspace of the others.
const THEIRS: Id = Id(77);
const TO: &str = "https://shop.example/";

/// A server with these settings and, for each of the others, a key of another workspace.
async fn start<const N: usize>(settings: &[(&str, &str)]) -> (TestApp, [String; N]) {
    let mut builder = TestApp::builder();
    for (name, text) in settings {
        builder = builder.set(&format!("SHUNT_LIMITS__{name}"), text);
    }
    let app = builder.start().await;
    let secret = Secrets::open(&app.data()).expect("the secrets").api_keys;
    let texts: [KeyText; N] = std::array::from_fn(|n| KeyText::from_entropy(&[n as u8 + 1; 32]));
    let keys: Vec<ApiKey> = (0_u64..).zip(&texts).map(|(n, text)| key(n, text, &secret)).collect();
    let app = app
        .restart_after(async |stores| {
            let added = stores.users.add_user(user()).await.expect("the store writes");
            assert_eq!(added, UserAdded::Done);
            for key in keys {
                stores.accounts.add_key(key, None).await.expect("the store writes");
            }
        })
        .await;
    (app, texts.map(|text| text.as_str().to_owned()))
}

/// Somebody with a workspace.
fn user() -> NewUser {
    let (created_at, updated_at) = (Timestamp(0), Timestamp(0));
    let user = User {
        id: Id(60),
        email: Email::parse("them@theirs.example").expect("an address"),
        email_verified_at: None,
        name: "Them".to_owned(),
        password: None,
        workspace: THEIRS,
        created_at,
        updated_at,
        disabled_at: None,
    };
    let name = "theirs".to_owned();
    let workspace = Workspace { id: THEIRS, name, operator: false, created_at };
    NewUser { user, workspace, identity: None, invitation: None }
}

fn key(n: u64, text: &KeyText, secret: &[u8; 32]) -> ApiKey {
    ApiKey {
        id: Id(70 + n),
        workspace: THEIRS,
        user: None,
        name: "theirs".to_owned(),
        prefix: text.prefix().to_owned(),
        digest: text.digest(secret),
        scopes: Scopes::EVERYTHING,
        created_at: Timestamp(0),
        expires_at: None,
        last_used_at: None,
        uses: 0,
        revoked_at: None,
    }
}

fn call(app: &TestApp, key: &str, method: Method, path: &str) -> RequestBuilder {
    app.request(method, &format!("/api/v1{path}")).bearer_auth(key)
}

async fn list(app: &TestApp, key: &str) -> Answer {
    app.send(call(app, key, Method::GET, "/links")).await
}

fn bulk(app: &TestApp, key: &str, n_links: usize) -> RequestBuilder {
    let links = vec![json!({"destination": TO}); n_links];
    call(app, key, Method::POST, "/links/bulk").json(&json!({ "links": links }))
}

/// `r` of a limit in the answer.
#[track_caller]
fn left(answer: &Answer, limit: &str) -> u32 {
    let field = answer.header("ratelimit").expect("RateLimit");
    let quoted = format!("\"{limit}\";r=");
    let item = field.split(", ").find_map(|item| item.strip_prefix(quoted.as_str()));
    let item = item.unwrap_or_else(|| panic!("{limit} is not in {field}"));
    item.split(';').next().expect("r").parse().expect("a number")
}

#[track_caller]
fn assert_limited(answer: &Answer, policy: &str) -> u64 {
    answer.assert_problem(429, "rate_limited");
    let told = answer.header("ratelimit-policy").expect("RateLimit-Policy");
    assert!(told.split(", ").any(|item| item == policy), "{policy} is not in {told}");
    assert!(answer.header("ratelimit").is_some());
    let wait: u64 = answer.header("retry-after").expect("Retry-After").parse().expect("seconds");
    assert!(wait > 0);
    wait
}

#[tokio::test]
async fn a_key_counts_down_on_every_answer_until_it_is_refused() {
    let (app, [key]) = start(&[("KEY_REQUESTS_PER_HOUR", "5")]).await;
    let first = list(&app, &key).await;
    let policy = first.assert_status(200).header("ratelimit-policy");
    assert_eq!(policy, Some("\"key\";q=5;w=3600, \"workspace\";q=600;w=60"));
    assert_eq!((left(&first, "key"), left(&first, "workspace")), (4, 599));
    for (left_after, method, path, status) in [
        (3, Method::GET, "/links/nowhere", 404),
        (2, Method::GET, "/links?limit=0", 400),
        (1, Method::DELETE, "/links/nowhere", 404),
        (0, Method::POST, "/links", 415),
    ] {
        let answer = app.send(call(&app, &key, method, path)).await;
        assert_eq!(left(answer.assert_status(status), "key"), left_after, "{path}");
        assert_eq!(answer.header("retry-after"), None);
    }
    let refused = list(&app, &key).await;
    let wait = assert_limited(&refused, "\"key\";q=5;w=3600");
    assert!((700..=720).contains(&wait), "{wait}");
    assert_eq!(left(&refused, "workspace"), 595, "what is refused costs nothing else");
    for path in ["/openapi.json", "/nowhere"] {
        let answer = app.get(&format!("/api/v1{path}")).await;
        assert_eq!(answer.header("ratelimit"), None, "{path} is not limited");
    }
    assert_eq!(app.metric("shunt_rate_limited_total").await, 1.0);
    app.finish().await;
}

#[tokio::test]
async fn keys_of_a_workspace_share_its_budget_and_the_operators_has_none() {
    let (app, [one, other]) = start(&[("WORKSPACE_REQUESTS_PER_MINUTE", "3")]).await;
    assert_eq!(left(&list(&app, &one).await, "workspace"), 2);
    assert_eq!(left(&list(&app, &other).await, "workspace"), 1);
    assert_eq!(left(&list(&app, &one).await, "workspace"), 0);
    for key in [&one, &other] {
        assert_limited(&list(&app, key).await, "\"workspace\";q=3;w=60");
    }
    for _ in 0..10 {
        let answer = app.api(Method::GET, "/links", None).await;
        assert_eq!(answer.assert_status(200).header("ratelimit"), None);
    }
    app.finish().await;
}

#[tokio::test]
async fn a_workspace_that_is_named_has_its_own_limits() {
    let named = "[{ name = 'operator', key_requests_per_hour = 2 }]";
    let (app, [theirs]) = start(&[("WORKSPACES", named)]).await;
    let first = app.api(Method::GET, "/links", None).await;
    assert_eq!(first.header("ratelimit-policy"), Some("\"key\";q=2;w=3600"));
    app.api(Method::GET, "/links", None).await.assert_status(200);
    let refused = app.api(Method::GET, "/links", None).await;
    assert_limited(&refused, "\"key\";q=2;w=3600");
    assert_eq!(left(&list(&app, &theirs).await, "key"), 999);
    app.finish().await;
}

#[tokio::test]
async fn links_are_counted_one_by_one_and_only_those_that_are_made() {
    let (app, [key]) = start(&[("LINK_CREATES_PER_HOUR", "10")]).await;
    let create = |body: Value| call(&app, &key, Method::POST, "/links").json(&body);
    let made = app.send(create(json!({"destination": TO})).header("Idempotency-Key", "a")).await;
    assert_eq!(left(made.assert_status(201), "link_creates"), 9);
    let again = app.send(create(json!({"destination": TO})).header("Idempotency-Key", "a")).await;
    assert_eq!(again.assert_status(201).header("idempotency-replayed"), Some("true"));
    let bad = app.send(create(json!({"destination": "ftp://shop.example/"}))).await;
    assert_eq!(left(bad.assert_problem(400, "invalid_url"), "link_creates"), 9);
    let found = json!({"destination": TO});
    let find = || call(&app, &key, Method::POST, "/links?find_if_exists=true").json(&found);
    assert_eq!(left(app.send(find()).await.assert_status(200), "link_creates"), 9);

    let some = app.send(bulk(&app, &key, 6)).await;
    assert_eq!(left(some.assert_status(200), "link_creates"), 3);
    let refused = app.send(bulk(&app, &key, 4)).await;
    assert_limited(&refused, "\"link_creates\";q=10;w=3600");
    assert_eq!(left(&refused, "link_creates"), 3);
    let total = |page: &Answer| page.json()["total"].clone();
    assert_eq!(total(&list(&app, &key).await), 7, "nothing of it was made");
    let never = app.send(bulk(&app, &key, 11)).await;
    never.assert_problem(429, "rate_limited");

    let rows = |n| (0..n).map(|n| json!({"code": format!("row-{n}"), "destination": TO}));
    let import = |name: u32, n: u32| {
        let lines: String = rows(n).map(|row| format!("{row}\n")).collect();
        let request = call(&app, &key, Method::POST, "/links/import").body(lines);
        request
            .header("Idempotency-Key", format!("{name:032x}"))
            .header("Content-Type", "application/x-ndjson")
    };
    assert_limited(&app.send(import(1, 4)).await, "\"link_creates\";q=10;w=3600");
    let imported = app.send(import(2, 3)).await;
    assert_eq!(left(imported.assert_status(200), "link_creates"), 0);
    assert_limited(
        &app.send(create(json!({"destination": TO}))).await,
        "\"link_creates\";q=10;w=3600",
    );
    assert_eq!(left(app.send(find()).await.assert_status(200), "link_creates"), 0);
    let missing = json!({"destination": "https://other.example/"});
    let missing = call(&app, &key, Method::POST, "/links?find_if_exists=true").json(&missing);
    assert_limited(&app.send(missing).await, "\"link_creates\";q=10;w=3600");
    assert_eq!(total(&list(&app, &key).await), 10);
    app.finish().await;
}

/// A request without a credential that a trusted proxy passes on.
async fn stranger(app: &TestApp, forwarded_for: &str) -> Answer {
    let request = app.request(Method::GET, "/api/v1/links");
    app.send(request.header("X-Forwarded-For", forwarded_for)).await
}

#[tokio::test]
async fn strangers_are_counted_by_the_network_that_a_proxy_names() {
    let app = TestApp::builder()
        .set("SHUNT_HTTP__TRUSTED_PROXIES", r#"["127.0.0.1"]"#)
        .set("SHUNT_LIMITS__UNAUTHENTICATED_REQUESTS_PER_MINUTE", "2")
        .start()
        .await;
    let first = stranger(&app, "203.0.113.1").await;
    assert_eq!(left(first.assert_problem(401, "unauthenticated"), "unauthenticated"), 1);
    stranger(&app, "10.0.0.1, 203.0.113.2").await.assert_status(401);
    let forged = stranger(&app, "198.51.100.1, 203.0.113.3").await;
    assert_limited(&forged, "\"unauthenticated\";q=2;w=60");
    let guess = app.request(Method::GET, "/api/v1/links").bearer_auth("x");
    let guess = app.send(guess.header("X-Forwarded-For", "203.0.113.4")).await;
    assert_limited(&guess, "\"unauthenticated\";q=2;w=60");
    for neighbour in ["2001:db8::1", "2001:db8::ffff:1"] {
        stranger(&app, neighbour).await.assert_status(401);
    }
    stranger(&app, "2001:db8::2").await.assert_status(429);
    stranger(&app, "2001:db8:0:1::2").await.assert_status(401);
    let known = app.request(Method::GET, "/api/v1/links").bearer_auth(&app.key);
    let known = app.send(known.header("X-Forwarded-For", "203.0.113.5")).await;
    assert_eq!(known.assert_status(200).header("ratelimit"), None, "a good key is no stranger");
    app.finish().await;
}

#[tokio::test]
async fn a_client_cannot_name_another_network() {
    let limit = [("UNAUTHENTICATED_REQUESTS_PER_MINUTE", "2")];
    let (app, []) = start(&limit).await;
    for (n, status) in [(1, 401), (2, 401), (3, 429), (4, 429)] {
        stranger(&app, &format!("203.0.{n}.1")).await.assert_status(status);
    }
    app.finish().await;
}

#[tokio::test]
async fn codes_may_be_guessed_unless_the_operator_says_otherwise() {
    let app = TestApp::start().await;
    for n in 0..200 {
        let answer = app.get(&format!("/guess-{n}")).await;
        assert_eq!(answer.assert_status(404).header("ratelimit"), None);
    }
    app.finish().await;

    let (app, []) = start(&[("UNKNOWN_CODES_PER_MINUTE", "3")]).await;
    app.create(json!({"destination": TO, "alias": "spring"})).await;
    for left_after in [2, 1, 0] {
        let answer = app.get("/nowhere").await;
        assert_eq!(left(answer.assert_status(404), "unknown_codes"), left_after);
        app.get("/spring").await.assert_found(TO);
    }
    let refused = app.get("/nowhere").await;
    assert!(refused.assert_status(429).text().contains("Please wait a moment"));
    assert!(refused.header("retry-after").is_some());
    let json = app.request(Method::GET, "/nowhere").header("Accept", "application/json");
    assert_limited(&app.send(json).await, "\"unknown_codes\";q=3;w=60");
    for path in ["/spring", "/spring?a=b"] {
        let answer = app.get(path).await;
        assert_eq!(answer.assert_status(302).header("ratelimit"), None, "{path}");
    }
    assert_eq!(app.metric("shunt_rate_limited_total").await, 2.0);
    app.finish().await;
}

#[tokio::test]
async fn redirects_are_limited_where_the_operator_says_so() {
    let (app, []) = start(&[("REDIRECTS_PER_MINUTE", "4")]).await;
    app.create(json!({"destination": TO, "alias": "spring"})).await;
    // From the bytes of the connection, in front of the application, and in it.
    for (left_after, method, path) in [
        (3, Method::GET, "/spring"),
        (2, Method::HEAD, "/spring"),
        (1, Method::GET, "/spring?a=b"),
        (0, Method::GET, "/spring"),
    ] {
        let answer = app.send(app.request(method, path)).await;
        assert_eq!(left(answer.assert_status(302), "redirects"), left_after);
        assert_eq!(answer.header("ratelimit-policy"), Some("\"redirects\";q=4;w=60"));
    }
    for path in ["/spring", "/spring?a=b"] {
        let answer = app.get(path).await;
        assert_eq!(answer.assert_status(429).header("location"), None);
        assert!(answer.header("retry-after").is_some());
    }
    app.get("/nowhere").await.assert_status(404);
    app.clicks_become("spring", 3).await;
    app.finish().await;
}
