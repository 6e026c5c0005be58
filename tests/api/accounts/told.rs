//! What the audit log tells of accounts, and what it does not.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{PASSWORD, Person, SOON, TestApp, shunt};

async fn actions(app: &TestApp, who: &Person, least: usize) -> Vec<Value> {
    let deadline = std::time::Instant::now() + SOON;
    loop {
        let log = app.by(who, Method::GET, "/audit-log?limit=100", None).await;
        let log = log.assert_status(200).json()["data"].as_array().expect("a list").clone();
        // Failures are written behind.
        if log.len() >= least || std::time::Instant::now() > deadline {
            return log;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn accounts_are_told_of_by_id_and_the_log_outlives_them() {
    let app = TestApp::builder().set("SHUNT_TOKENS__ISSUER", "https://go.example").start().await;
    let (ada, bob) = (app.register("ada").await, app.register("bob").await);
    app.log_in(&ada.email, "wrong").await.assert_problem(401, "invalid_credentials");
    let there = app.join(&ada, &bob, "member").await;
    let path = format!("/members/{}", bob.id);
    app.by(&ada, Method::PATCH, &path, Some(json!({"role": "admin"}))).await.assert_status(200);
    app.by(&ada, Method::PATCH, "/me", Some(json!({"name": "Ada"}))).await.assert_status(200);
    app.by(&ada, Method::PATCH, "/workspace", Some(json!({"name": "T"}))).await.assert_status(204);
    app.by(&ada, Method::DELETE, &path, None).await.assert_status(204);
    let body = json!({"current_password": PASSWORD, "new_password": "another Horse 12 staple"});
    app.by(&ada, Method::POST, "/auth/password", Some(body)).await.assert_status(204);

    let log = actions(&app, &ada, 10).await;
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    let mut told: Vec<_> =
        log.iter().rev().map(|one| (text(one, "action"), text(one, "detail"))).collect();
    told.retain(|(action, _)| action != "user.login_failed");
    let told: Vec<_> = told.iter().map(|(one, two)| (one.as_str(), two.as_str())).collect();
    assert_eq!(
        told,
        [
            ("user.register", ""),
            ("user.login", ""),
            ("member.invite", "member"),
            ("member.join", "member"),
            ("member.role", "admin"),
            ("user.change", ""),
            ("workspace.change", ""),
            ("member.remove", ""),
            ("user.password_change", ""),
        ]
    );
    let failed = log.iter().find(|entry| entry["action"] == "user.login_failed");
    let failed = failed.expect("a failure");
    assert_eq!((&failed["actor"], &failed["target_id"]), (&Value::Null, &json!(ada.id)));
    assert_eq!(failed["from"], "127.0.0.0/24");
    let joined = log.iter().find(|entry| entry["action"] == "member.join").expect("a join");
    assert_eq!(joined["actor"], bob.id);
    let whole = json!(log).to_string();
    assert!(!whole.contains("example.com") && !whole.contains("127.0.0.1"), "{whole}");
    app.by(&there, Method::GET, "/audit-log", None).await.assert_problem(401, "token_expired");

    let erase = json!({"password": "another Horse 12 staple"});
    app.by(&ada, Method::DELETE, "/me", Some(erase)).await.assert_status(204);
    let folder = app.finish_and_keep().await;
    let verified = shunt(&folder.path().join("data"), &["verify"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}
