//! API keys: who may call what.

use reqwest::Method;
use serde_json::json;

use crate::harness::{SOON, TestApp, shunt};

#[tokio::test]
async fn callers_without_a_good_key_are_refused() {
    let app = TestApp::start().await;
    let list = || app.request(Method::GET, "/api/v1/links");
    app.send(list()).await.assert_problem(401, "unauthenticated");
    app.send(list().bearer_auth("nonsense")).await.assert_problem(401, "invalid_api_key");
    let forged = format!("{}x", &app.key[..app.key.len() - 1]);
    app.send(list().bearer_auth(forged)).await.assert_problem(401, "invalid_api_key");
    app.send(list().header("X-API-Key", &app.key)).await.assert_status(200);
    app.send(list().bearer_auth(&app.key)).await.assert_status(200);
    app.finish().await;
}

#[tokio::test]
async fn scopes_are_enforced_and_cannot_be_widened() {
    let app = TestApp::start().await;
    let body = json!({"name": "reader", "scopes": ["links:read", "keys:manage"]});
    let made = app.api(Method::POST, "/api-keys", Some(body)).await;
    let reader = made.assert_status(201).json()["key"].as_str().expect("a key").to_owned();
    let as_reader = |method, path: &str| app.request(method, path).bearer_auth(&reader);
    app.send(as_reader(Method::GET, "/api/v1/links")).await.assert_status(200);
    let write = as_reader(Method::POST, "/api/v1/links")
        .json(&json!({"destination": "https://shop.example/"}));
    app.send(write).await.assert_problem(403, "insufficient_scope");
    let widen = as_reader(Method::POST, "/api/v1/api-keys")
        .json(&json!({"name": "wider", "scopes": ["*"]}));
    app.send(widen).await.assert_problem(403, "insufficient_scope");
    app.finish().await;
}

#[tokio::test]
async fn a_revoked_key_is_refused_at_once() {
    let app = TestApp::start().await;
    let made = app.api(Method::POST, "/api-keys", Some(json!({"name": "short-lived"}))).await;
    let made = made.assert_status(201).json();
    let key = made["key"].as_str().expect("a key").to_owned();
    let list = || app.request(Method::GET, "/api/v1/links").bearer_auth(&key);
    app.send(list()).await.assert_status(200);
    let id = made["id"].as_str().expect("an id");
    app.api(Method::DELETE, &format!("/api-keys/{id}"), None).await.assert_status(204);
    app.send(list()).await.assert_problem(401, "invalid_api_key");
    let keys = app.api(Method::GET, "/api-keys", None).await.json();
    assert!(!keys.to_string().contains(&key), "the list shows a whole key");
    app.finish().await;
}

#[tokio::test]
async fn uses_of_a_key_are_true_soon() {
    let app = TestApp::start().await;
    let made = app.api(Method::POST, "/api-keys", Some(json!({"name": "used"}))).await.json();
    let key = made["key"].as_str().expect("a key").to_owned();
    for _ in 0..7 {
        let list = app.request(Method::GET, "/api/v1/links").bearer_auth(&key);
        app.send(list).await.assert_status(200);
    }
    let deadline = std::time::Instant::now() + SOON;
    loop {
        let keys = app.api(Method::GET, "/api-keys", None).await.json();
        let rows = keys["data"].as_array().expect("rows");
        let used = rows.iter().find(|row| row["id"] == made["id"]).expect("the key");
        if used["uses"] == 7 {
            assert!(used["last_used_at"].is_string());
            break;
        }
        assert!(std::time::Instant::now() < deadline, "uses are {}", used["uses"]);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    app.finish().await;
}

#[tokio::test]
async fn keys_made_on_the_command_line_work_while_the_server_runs() {
    let app = TestApp::start().await;
    let output = shunt(&app.data(), &["keys", "create", "--name", "cli", "--scopes", "links:read"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let key = String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned();
    assert!(key.starts_with("shunt_"), "{key}");
    let deadline = std::time::Instant::now() + SOON;
    loop {
        let list = app.request(Method::GET, "/api/v1/links").bearer_auth(&key);
        if app.send(list).await.status() == 200 {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "the key is not known");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    app.finish().await;
}

#[tokio::test]
async fn the_operator_may_choose_the_first_key() {
    let app = TestApp::start().await;
    let chosen = app.key.clone();
    app.finish().await;
    let other = TestApp::builder().set("SHUNT_AUTH__BOOTSTRAP_KEY", &chosen).start().await;
    let list = other.request(Method::GET, "/api/v1/links").bearer_auth(&chosen);
    other.send(list).await.assert_status(200);
    other.finish().await;
}
