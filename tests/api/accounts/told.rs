//! What the audit log tells of accounts, and what it does not.

use std::time::Duration;

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
        tokio::time::sleep(Duration::from_millis(50)).await;
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

#[tokio::test]
async fn invitations_are_told_of_however_they_end() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.register("ada").await, app.register("bob").await);
    let invite = async || {
        let made = app.by(&ada, Method::POST, "/invitations", Some(json!({}))).await;
        made.assert_status(201).json()
    };
    let (withdrawn, taken) = (invite().await, invite().await);
    let path = format!("/invitations/{}", withdrawn["id"].as_str().expect("an id"));
    app.by(&ada, Method::DELETE, &path, None).await.assert_status(204);
    let fields = [
        ("token", taken["token"].as_str().expect("a token")),
        ("as", "member"),
        ("email", bob.email.as_str()),
        ("password", PASSWORD),
    ];
    let form = app.request(Method::POST, "/app/join").form(&fields);
    app.send(form.header("Sec-Fetch-Site", "same-origin")).await.assert_status(200);

    let mut log = actions(&app, &ada, 6).await;
    log.reverse();
    let told: Vec<Value> = log
        .iter()
        .map(|one| json!([one["action"], one["actor"], one["target_id"], one["detail"]]))
        .collect();
    let expected = json!([
        ["member.invite", ada.id, withdrawn["id"], "member"],
        ["member.invite", ada.id, taken["id"], "member"],
        ["member.invite", ada.id, withdrawn["id"], "withdrawn"],
        ["member.join", bob.id, bob.id, "member"],
    ]);
    // Behind the registration and the session that it opened.
    assert_eq!(json!(told[2..]), expected);
    app.finish().await;
}

#[tokio::test]
async fn what_the_operator_does_with_accounts_is_told() {
    let app = TestApp::start().await;
    let users = |arguments: &[&str]| {
        let done = shunt(&app.data(), &[&["users"], arguments].concat());
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).trim_end().to_owned()
    };
    users(&["create", "--email", "ada@example.com"]);
    users(&["disable", "ada@example.com"]);
    users(&["enable", "ada@example.com"]);
    let password = users(&["reset-password", "ada@example.com"]);
    let ada = Person::of(&app.log_in("ada@example.com", &password).await);
    let mut log = actions(&app, &ada, 5).await;
    log.reverse();
    let told: Vec<Value> = log
        .iter()
        .map(|one| json!([one["action"], one["actor"], one["credential"], one["target_id"]]))
        .collect();
    let by_operator = |action: &str| json!([action, null, "command_line", ada.id]);
    let expected =
        ["user.register", "user.disable", "user.enable", "user.password_reset"].map(by_operator);
    assert_eq!(told[..4], expected, "{told:#?}");
    app.finish().await;
}
