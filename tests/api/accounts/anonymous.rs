//! Links without an account.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, TestApp};

async fn start() -> TestApp {
    TestApp::builder()
        .set("SHUNT_ANONYMOUS__ENABLED", "true")
        .set("SHUNT_HTTP__TRUSTED_PROXIES", "[\"127.0.0.1\"]")
        .start()
        .await
}

struct Guest<'a> {
    app: &'a TestApp,
    address: &'a str,
}

impl Guest<'_> {
    async fn call(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> Answer {
        let mut request = self.app.request(method, &format!("/api/v1{path}"));
        request = request.header("X-Forwarded-For", self.address);
        if let Some(token) = token {
            request = request.header("X-Anonymous-Token", token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        self.app.send(request).await
    }

    async fn make(&self, token: Option<&str>) -> Answer {
        let body = json!({"destination": "https://shop.example/", "title": "Mine"});
        self.call(Method::POST, "/links", token, Some(body)).await
    }
}

fn token(answer: &Answer) -> String {
    answer.assert_status(201);
    answer.json()["anonymous_token"].as_str().expect("a token").to_owned()
}

#[tokio::test]
async fn nobody_makes_links_where_the_operator_does_not_say_so() {
    let app = TestApp::start().await;
    let body = json!({"destination": "https://shop.example/"});
    app.post("/links", body).await.assert_problem(401, "unauthenticated");
    let guest = Guest { app: &app, address: "203.0.113.9" };
    let list = guest.call(Method::GET, "/anonymous/links", Some(&"x".repeat(50)), None).await;
    list.assert_problem(404, "not_found");
    app.finish().await;
}

#[tokio::test]
async fn a_guest_makes_lists_and_keeps_links() {
    let app = start().await;
    let guest = Guest { app: &app, address: "203.0.113.9" };
    let first = guest.make(None).await;
    let mine = token(&first);
    let link = first.json();
    assert_eq!((&link["remaining"], &link["created_via"]), (&json!(4), &json!("anonymous")));
    let code = link["code"].as_str().expect("a code").to_owned();
    app.get(&format!("/{code}")).await.assert_found("https://shop.example/");
    let times = ["created_at", "expires_at"].map(|name| {
        let text = link[name].as_str().expect("a time");
        chrono::DateTime::parse_from_rfc3339(text).expect("a time")
    });
    assert_eq!((times[1] - times[0]).num_hours(), 30 * 24);
    for remaining in [3, 2, 1] {
        let next = guest.make(Some(&mine)).await;
        assert_eq!(token(&next), mine);
        assert_eq!(next.json()["remaining"], remaining);
    }
    let soon = json!({"destination": "https://shop.example/", "expires_in": 60});
    let soon = guest.call(Method::POST, "/links", Some(&mine), Some(soon)).await;
    assert_ne!(soon.assert_status(201).json()["expires_at"], link["expires_at"]);

    let list = |token: &str, query: &str| {
        let (guest, path) = (&guest, format!("/anonymous/links{query}"));
        let token = token.to_owned();
        async move { guest.call(Method::GET, &path, Some(&token), None).await }
    };
    let page = list(&mine, "?limit=3").await.assert_status(200).json();
    assert_eq!((&page["total"], page["data"].as_array().map(Vec::len)), (&json!(5), Some(3)));
    let cursor = page["next_cursor"].as_str().expect("more");
    let rest = list(&mine, &format!("?limit=3&cursor={cursor}")).await.assert_status(200).json();
    assert_eq!(rest["data"].as_array().map(Vec::len), Some(2));
    assert_eq!(rest["data"][1]["code"], code.as_str());
    let other = Guest { app: &app, address: "198.51.100.7" };
    let stranger = token(&other.make(None).await);
    assert_eq!(list(&stranger, "").await.json()["total"], 1);
    list(&stranger, &format!("?cursor={cursor}")).await.assert_problem(400, "invalid_cursor");
    list("shunta_x", "").await.assert_problem(400, "invalid_request");

    let ada = app.register("ada").await;
    let taken = json!({"title": "Stolen"});
    let foreign = app.by(&ada, Method::PATCH, &format!("/links/{code}"), Some(taken)).await;
    foreign.assert_problem(404, "not_found");
    let claim = |token: &str| {
        let request = app.request(Method::POST, "/api/v1/links/claim").bearer_auth(&ada.access);
        app.send(request.header("X-Anonymous-Token", token))
    };
    app.get(&format!("/{code}")).await.assert_status(302);
    app.by(&ada, Method::GET, "/stats", None).await.assert_status(200);
    assert_eq!(claim(&mine).await.assert_status(200).json(), json!({"claimed": 5}));
    assert_eq!(claim(&mine).await.assert_status(200).json(), json!({"claimed": 0}));
    let kept = app.by(&ada, Method::GET, &format!("/links/{code}"), None).await;
    let kept = kept.assert_status(200).json();
    assert_eq!((&kept["expires_at"], &kept["created_by"]), (&Value::Null, &json!(ada.id)));
    assert_eq!(list(&mine, "").await.json()["total"], 0);
    app.get(&format!("/{code}")).await.assert_found("https://shop.example/");
    let mut links = 0;
    for path in ["/links", "/links?q=mine"] {
        links += app.by(&ada, Method::GET, path, None).await.json()["total"].as_u64().unwrap_or(0);
    }
    assert_eq!(links, 5 + 4);
    app.finish().await;
}

#[tokio::test]
async fn so_many_links_for_a_token_and_for_a_network() {
    let app = start().await;
    let guest = Guest { app: &app, address: "203.0.113.9" };
    let mine = token(&guest.make(None).await);
    let refused = json!({"destination": "javascript:alert(1)"});
    let refused = guest.call(Method::POST, "/links", Some(&mine), Some(refused)).await;
    refused.assert_problem(400, "invalid_url");
    for _ in 0..4 {
        guest.make(Some(&mine)).await.assert_status(201);
    }
    let over = guest.make(Some(&mine)).await;
    over.assert_problem(429, "rate_limited");
    assert!(over.header("retry-after").is_some() && over.header("ratelimit").is_some());
    guest.make(None).await.assert_problem(429, "rate_limited");
    let neighbour = Guest { app: &app, address: "203.0.113.77" };
    neighbour.make(None).await.assert_problem(429, "rate_limited");
    let elsewhere = Guest { app: &app, address: "198.51.100.7" };
    elsewhere.make(Some(&mine)).await.assert_problem(429, "rate_limited");
    elsewhere.make(None).await.assert_status(201);
    app.finish().await;
}

#[tokio::test]
async fn a_credential_that_went_missing_makes_nobody_a_guest() {
    let app = start().await;
    for (name, value) in [("Authorization", "Bearer "), ("X-API-Key", "")] {
        let request = app.request(Method::POST, "/api/v1/links").header(name, value);
        let request = request.json(&json!({"destination": "https://shop.example/"}));
        app.send(request).await.assert_problem(401, "invalid_api_key");
    }
    app.finish().await;
}

#[tokio::test]
async fn what_needs_an_account_is_refused_to_guests() {
    let app = start().await;
    let guest = Guest { app: &app, address: "203.0.113.9" };
    let body = json!({"destination": "https://shop.example/", "external_id": "crm-1"});
    let answer = guest.call(Method::POST, "/links", None, Some(body)).await;
    answer.assert_problem(400, "invalid_request");
    let request = app.request(Method::POST, "/api/v1/links").header("Idempotency-Key", "k");
    let answer = app.send(request.json(&json!({"destination": "https://shop.example/"}))).await;
    answer.assert_problem(400, "invalid_request");
    let request = app.request(Method::POST, "/api/v1/links").bearer_auth("shunt_wrong");
    let answer = app.send(request.json(&json!({"destination": "https://shop.example/"}))).await;
    answer.assert_problem(401, "invalid_api_key");
    app.post("/links/bulk", json!({"links": []})).await.assert_problem(401, "unauthenticated");
    app.finish().await;
}
