//! `shunt users`, beside a running server.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use shunt::domain::account::User;
use shunt::domain::email::Email;
use shunt::domain::id::Id;
use shunt::domain::time::Timestamp;
use shunt::storage::Workspace;
use shunt::storage::people::{NewUser, UserAdded};

use crate::harness::{PASSWORD, Person, TestApp, shunt};

/// How long a server may take to notice what was changed beside it.
const NOTICED_WITHIN: Duration = Duration::from_secs(2);
const OTHER: &str = "another Horse 12 staple";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn users(app: &TestApp, arguments: &[&str]) -> Output {
    shunt(&app.data(), &[&["users"], arguments].concat())
}

/// The same with something on standard input.
fn users_told(app: &TestApp, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_shunt"))
        .arg("users")
        .args(arguments)
        .current_dir(app.folder())
        .env("SHUNT_STORAGE__PATH", app.data())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    // One that refuses before it reads closes the pipe.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    child.wait_with_output().expect("the binary ends")
}

#[track_caller]
fn assert_exit(output: &Output, code: i32, words: &str) {
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{told}");
    assert!(told.contains(words), "{words:?} is missing in {told}");
}

/// Asks until the answer is a 401.
async fn becomes_unauthorized(app: &TestApp, credential: &str) {
    let deadline = Instant::now() + NOTICED_WITHIN;
    loop {
        let request = app.request(Method::GET, "/api/v1/links").bearer_auth(credential);
        if app.send(request).await.status() == 401 {
            return;
        }
        assert!(Instant::now() < deadline, "still in force");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn somebody_whose_account_the_operator_made_logs_in() {
    let app = TestApp::builder().set("SHUNT_AUTH__REGISTRATION", "closed").start().await;
    let made = users(&app, &["create", "--email", "Ada@Example.com", "--name", "Ada"]);
    assert_exit(&made, 0, "made account");
    let password = text(&made.stdout);
    let password = password.strip_suffix('\n').expect("a line");
    assert!(password.len() >= 20 && !password.contains(char::is_whitespace), "{password}");
    let ada = Person::of(&app.log_in("ada@example.com", password).await);
    let me = app.by(&ada, Method::GET, "/me", None).await.assert_status(200).json();
    assert_eq!((&me["name"], &me["email_verified"]), (&json!("Ada"), &json!(true)));
    assert_eq!(
        (&me["workspaces"][0]["id"], me["workspaces"][1].is_null()),
        (&json!(ada.workspace), true)
    );
    assert_eq!(me["workspaces"][0]["role"], "owner");

    let told = ["create", "--email", "bob@example.com", "--password-stdin"];
    let made = users_told(&app, &told, &format!("{PASSWORD}\r\n"));
    assert_exit(&made, 0, "made account");
    assert_eq!(text(&made.stdout), "");
    app.log_in("bob@example.com", PASSWORD).await.assert_status(200);
    app.finish().await;
}

#[tokio::test]
async fn what_cannot_be_an_account_is_refused_with_a_reason() {
    let app = TestApp::start().await;
    app.register("ada").await;
    let taken = users(&app, &["create", "--email", "ADA@example.com"]);
    assert_exit(&taken, 1, "there is an account with the address ADA@example.com");
    assert_eq!(text(&taken.stdout), "", "a password of nobody is shown");
    assert_exit(&users(&app, &["create", "--email", "ada"]), 2, "name@example.com");
    assert_exit(&users(&app, &["create"]), 2, "--email");
    let named = users(&app, &["create", "--email", "b@example.com", "--name", "a\nb"]);
    assert_exit(&named, 2, "control characters");
    let create = ["create", "--email", "bob@example.com", "--password-stdin"];
    assert_exit(&users_told(&app, &create, "bob1\n"), 2, "at least 8 characters");
    assert_exit(&users_told(&app, &create, "Bob@example.com1\n"), 2, "too easy to guess");
    for none in ["", "\n", "Two lines 1\nof Words 2\n"] {
        assert_exit(&users_told(&app, &create, none), 2, "on one line");
    }
    for command in ["disable", "enable", "reset-password"] {
        for nobody in ["12345", "nobody@example.com", "nobody"] {
            let expected = format!("there is no account {nobody}");
            assert_exit(&users(&app, &[command, nobody]), 1, &expected);
        }
        assert_exit(&users(&app, &[command]), 2, "Usage");
    }
    let list = text(&users(&app, &["list"]).stdout);
    assert_eq!(list.lines().count(), 2, "somebody was made after all:\n{list}");
    app.finish().await;
}

#[tokio::test]
async fn a_disabled_account_holds_nothing_until_it_is_enabled() {
    let app = TestApp::start().await;
    let ada = app.register("ada").await;
    let body = Some(json!({"name": "ci"}));
    let key = app.by(&ada, Method::POST, "/api-keys", body).await.assert_status(201).json();
    let key = key["key"].as_str().expect("a key").to_owned();
    let link = json!({"destination": "https://shop.example/ada", "alias": "by-ada"});
    app.by(&ada, Method::POST, "/links", Some(link)).await.assert_status(201);
    let with_key = || app.send(app.request(Method::GET, "/api/v1/links").bearer_auth(&key));
    with_key().await.assert_status(200);

    let disabled = users(&app, &["disable", "ADA@example.com"]);
    assert_exit(&disabled, 0, "");
    assert!(text(&disabled.stdout).contains("1 session ended"), "{}", text(&disabled.stdout));
    becomes_unauthorized(&app, &ada.access).await;
    becomes_unauthorized(&app, &key).await;
    app.refresh(&ada.refresh).await.assert_problem(401, "invalid_token");
    app.log_in(&ada.email, "wrong").await.assert_problem(401, "invalid_credentials");
    app.log_in(&ada.email, PASSWORD).await.assert_problem(403, "account_disabled");
    app.get("/by-ada").await.assert_found("https://shop.example/ada");

    assert_exit(&users(&app, &["enable", &ada.id]), 0, "");
    let again = Person::of(&app.log_in(&ada.email, PASSWORD).await);
    app.by(&again, Method::GET, "/me", None).await.assert_status(200);
    app.by(&ada, Method::GET, "/me", None).await.assert_status(401);
    let deadline = Instant::now() + NOTICED_WITHIN;
    while with_key().await.status() != 200 {
        assert!(Instant::now() < deadline, "the key does not come back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    app.finish().await;
}

#[tokio::test]
async fn a_password_that_the_operator_sets_ends_what_went_before() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.register("ada").await, app.register("bob").await);
    let weak = users_told(&app, &["reset-password", &ada.id, "--password-stdin"], "ada");
    assert_exit(&weak, 2, "at least 8 characters");
    app.by(&ada, Method::GET, "/me", None).await.assert_status(200);

    let set = users_told(&app, &["reset-password", &ada.id, "--password-stdin"], OTHER);
    assert_exit(&set, 0, "1 session ended");
    assert_eq!(text(&set.stdout), "");
    becomes_unauthorized(&app, &ada.access).await;
    app.refresh(&ada.refresh).await.assert_problem(401, "invalid_token");
    app.log_in(&ada.email, PASSWORD).await.assert_problem(401, "invalid_credentials");
    app.log_in(&ada.email, OTHER).await.assert_status(200);

    let made = users(&app, &["reset-password", "ada@example.com"]);
    assert_exit(&made, 0, "another password");
    app.log_in(&ada.email, OTHER).await.assert_problem(401, "invalid_credentials");
    app.log_in(&ada.email, text(&made.stdout).trim_end()).await.assert_status(200);
    app.by(&bob, Method::GET, "/me", None).await.assert_status(200);
    app.finish().await;
}

#[tokio::test]
async fn accounts_are_listed_for_people_and_for_programs() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.register("ada").await, app.register("bob").await);
    app.join(&ada, &bob, "viewer").await;
    let made = users_told(&app, &["create", "--email", "c@example.com", "--password-stdin"], OTHER);
    assert_exit(&made, 0, "made account");
    assert_exit(&users(&app, &["disable", &ada.id]), 0, "");

    let list = text(&users(&app, &["list"]).stdout);
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 4, "{list}");
    assert!(lines[0].starts_with("ID ") && lines[0].ends_with("WORKSPACES"), "{list}");
    for (line, words) in lines[1..].iter().zip([
        [ada.id.as_str(), "ada@example.com", "disabled", "no", "Personal (owner)"],
        [bob.id.as_str(), "bob@example.com", "active", "no", "Personal (owner)"],
        ["", "c@example.com", "active", "yes", "Personal (owner)"],
    ]) {
        for word in words {
            assert!(line.contains(word), "{word} is missing in {line}");
        }
    }
    assert!(lines[2].contains("Personal (viewer)"), "{list}");

    let list = text(&users(&app, &["list", "--format", "ndjson"]).stdout);
    let list: Vec<Value> =
        list.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(list.len(), 3);
    assert_eq!((&list[0]["id"], &list[0]["state"]), (&json!(ada.id), &json!("disabled")));
    assert_eq!((&list[1]["email"], &list[1]["name"]), (&json!(bob.email), &json!("bob")));
    assert_eq!(list[1]["workspaces"].as_array().map(Vec::len), Some(2));
    assert_eq!(list[2]["email_verified"], true);
    assert!(!list.iter().any(|user| user.to_string().contains("argon2")));
    app.finish().await;
}

#[tokio::test]
async fn however_many_accounts_there_are_all_are_listed() {
    let app = TestApp::start().await;
    let app = app
        .restart_after(async |stores| {
            for n in 1..=450_u64 {
                let (id, workspace, at) = (Id(n), Id(n + 1_000), Timestamp(0));
                let user = User {
                    id,
                    email: Email::parse(&format!("{n}@example.com")).expect("an address"),
                    email_verified_at: None,
                    name: String::new(),
                    password: None,
                    workspace,
                    created_at: at,
                    updated_at: at,
                    disabled_at: None,
                };
                let name = "Personal".to_owned();
                let own = Workspace { id: workspace, name, operator: false, created_at: at };
                let new = NewUser { user, workspace: own, identity: None, invitation: None };
                let added = stores.users.add_user(new).await.expect("a store");
                assert_eq!(added, UserAdded::Done);
            }
        })
        .await;
    let list = text(&users(&app, &["list", "--format", "ndjson"]).stdout);
    let ids: Vec<Value> = list
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["id"].clone())
        .collect();
    let expected: Vec<Value> = (1..=450).map(|n| json!(n.to_string())).collect();
    assert_eq!(ids, expected);
    app.finish().await;
}

#[tokio::test]
async fn a_password_that_is_made_is_as_long_as_the_policy_wants() {
    let app = TestApp::start().await;
    let made = Command::new(env!("CARGO_BIN_EXE_shunt"))
        .args(["users", "create", "--email", "ada@example.com"])
        .current_dir(app.folder())
        .env("SHUNT_STORAGE__PATH", app.data())
        .env("SHUNT_PASSWORDS__CHARS_MIN", "100")
        .output()
        .expect("the binary runs");
    assert_exit(&made, 0, "made account");
    let password = text(&made.stdout);
    assert_eq!(password.trim_end().len(), 100);
    app.log_in("ada@example.com", password.trim_end()).await.assert_status(200);
    app.finish().await;
}
