//! Who calls is known without asking the store.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::json;

use crate::harness::TestApp;

/// What a server asks its store without being asked itself: changes of other processes, and how
/// often keys were used.
const BY_ITSELF: [&str; 5] =
    ["keys_epoch", "access_changes", "add_key_uses", "prune_access", "signing_keys"];

/// Calls of the store by operation, but for those.
async fn store_calls(app: &TestApp) -> BTreeMap<String, u64> {
    let text = app.ops_get("/metrics").await.text();
    let mut calls = BTreeMap::new();
    for line in text.lines() {
        let Some(rest) = line.strip_prefix("shunt_store_duration_seconds_count{") else { continue };
        let op = rest.split("op=\"").nth(1).and_then(|rest| rest.split('"').next());
        let n = rest.rsplit(' ').next().and_then(|n| n.parse::<f64>().ok());
        if let (Some(op), Some(n)) = (op, n)
            && !BY_ITSELF.contains(&op)
        {
            *calls.entry(op.to_owned()).or_default() += n as u64;
        }
    }
    calls
}

#[tokio::test]
async fn a_key_and_a_token_are_known_without_the_store_and_revoked_at_once() {
    let app =
        TestApp::builder().set("SHUNT_LIMITS__WORKSPACE_REQUESTS_PER_MINUTE", "0").start().await;
    let ada = app.register("ada").await;
    let made = app.by(&ada, Method::POST, "/api-keys", Some(json!({"name": "ci"}))).await;
    let made = made.assert_status(201).json();
    let key = made["key"].as_str().expect("a key").to_owned();
    // Authenticated, and refused before anything is read.
    let call = |credential: &str| {
        let request = app.request(Method::GET, "/api/v1/links?cursor=x").bearer_auth(credential);
        app.send(request)
    };
    for credential in [&key, &ada.access] {
        call(credential).await.assert_problem(400, "invalid_cursor");
    }
    // A page that reads shows that reads are seen.
    let before = store_calls(&app).await;
    app.by(&ada, Method::GET, "/links", None).await.assert_status(200);
    let after_reading = store_calls(&app).await;
    assert_ne!(before, after_reading);
    for _ in 0..500 {
        for credential in [&key, &ada.access] {
            call(credential).await.assert_problem(400, "invalid_cursor");
        }
    }
    assert_eq!(store_calls(&app).await, after_reading);

    let path = format!("/api-keys/{}", made["id"].as_str().expect("an id"));
    app.by(&ada, Method::DELETE, &path, None).await.assert_status(204);
    call(&key).await.assert_problem(401, "invalid_api_key");
    app.by(&ada, Method::POST, "/auth/logout-all", None).await.assert_status(204);
    call(&ada.access).await.assert_problem(401, "token_expired");
    app.finish().await;
}
