//! The audit log: who changed what, when and from where, and that nobody can take it back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use shunt::domain::account::User;
use shunt::domain::api_key::{ApiKey, KeyText, Scopes};
use shunt::domain::email::Email;
use shunt::domain::id::Id;
use shunt::domain::time::Timestamp;
use shunt::storage::people::{NewUser, UserAdded};
use shunt::storage::secrets::Secrets;
use shunt::storage::{Stores, Workspace};

use crate::harness::{Killed, SOON, TestApp, shunt};

/// All entries that a key may see, the oldest first.
async fn log_of(app: &TestApp, key: &str) -> Vec<Value> {
    let (mut entries, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/api/v1/audit-log?limit=100{cursor}");
        let page = app.send(app.request(Method::GET, &path).bearer_auth(key)).await;
        let page = page.assert_status(200).json();
        entries.extend(page["data"].as_array().expect("entries").iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    entries.reverse();
    entries
}

/// What was done, the oldest first, when there are so many refusals among it.
async fn log_with_denials(app: &TestApp, denials: usize) -> Vec<Value> {
    let deadline = Instant::now() + SOON;
    loop {
        let log = log_of(app, &app.key).await;
        let n = log.iter().filter(|entry| entry["action"] == "access.denied").count();
        if n >= denials {
            assert_eq!(n, denials, "{log:#?}");
            return log;
        }
        assert!(Instant::now() < deadline, "{n} of {denials} refusals are recorded");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The given fields of each entry.
fn fields(log: &[Value], names: &[&str]) -> Vec<Value> {
    let of = |entry: &Value| names.iter().map(|name| entry[*name].clone()).collect::<Vec<_>>();
    log.iter().map(|entry| json!(of(entry))).collect()
}

fn denials(log: &[Value]) -> Vec<Value> {
    log.iter().filter(|entry| entry["action"] == "access.denied").cloned().collect()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

#[tokio::test]
async fn every_change_is_told_with_who_from_where_and_versions() {
    let app = TestApp::start().await;
    let draft = json!({
        "destination": "https://shop.example/a", "alias": "spring", "title": "who@mail.example",
        "external_id": "theirs@mail.example",
    });
    let link = app.create(draft).await;
    let bulk = json!({"links": [
        {"destination": "https://shop.example/b"}, {"destination": "nonsense"},
        {"destination": "https://shop.example/c"}, {"destination": "https://b", "alias": "spring"},
    ]});
    app.api(Method::POST, "/links/bulk", Some(bulk)).await.assert_status(200);
    let patch = |path: &'static str, body| app.api(Method::PATCH, path, Some(body));
    let new = json!({"title": "x", "destination": "https://shop.example/d"});
    patch("/links/spring", new).await.assert_status(200);
    patch("/links/spring", json!({"title": "x"})).await.assert_status(200);
    patch("/links/spring", json!({"alias": "summer"})).await.assert_status(200);
    app.api(Method::POST, "/links/summer/reset-clicks", None).await.assert_status(204);
    app.api(Method::DELETE, "/links/summer?erase_clicks=true", None).await.assert_status(204);
    app.api(Method::DELETE, "/links/summer", None).await.assert_status(404);
    let rows =
        ["one", "two"].map(|code| json!({"code": code, "destination": "https://b.example/"}));
    for _ in 0..2 {
        app.import(1, &rows).await;
    }
    let key = app.api(Method::POST, "/api-keys", Some(json!({"name": "ci"}))).await.json();
    let path = format!("/api-keys/{}", text(&key["id"]));
    app.api(Method::DELETE, &path, None).await.assert_status(204);

    let log = log_of(&app, &app.key).await;
    let shape =
        fields(&log, &["action", "target_type", "before_version", "after_version", "detail"]);
    let expected = json!([
        ["workspace.create", "workspace", null, null, null],
        ["key.create", "api_key", null, null, null],
        ["link.create", "link", null, 1, null],
        ["link.create", "link", null, 1, null],
        ["link.create", "link", null, 1, null],
        ["link.change", "link", 1, 2, "destination,title"],
        ["link.change", "link", 2, 3, "alias"],
        ["link.reset_clicks", "link", null, null, null],
        ["link.delete", "link", 3, null, null],
        ["link.reset_clicks", "link", null, null, null],
        ["links.import", null, null, null, "created 2, not created 0"],
        ["key.create", "api_key", null, null, null],
        ["key.revoke", "api_key", null, null, null],
    ]);
    assert_eq!(json!(shape), expected);
    let owner = &log[1]["target_id"];
    for entry in &log[2..] {
        assert_eq!((&entry["actor"], &entry["credential_id"]), (owner, owner), "{entry}");
        assert_eq!(
            (&entry["credential"], &entry["from"]),
            (&json!("api_key"), &json!("127.0.0.0/24"))
        );
    }
    let began = fields(&log[..2], &["actor", "credential", "credential_id", "from"]);
    assert_eq!(began, vec![json!([null, "command_line", null, null]); 2]);
    let targets: Vec<_> = [2, 5, 6, 7, 8, 9].map(|n| &log[n]["target_id"]).to_vec();
    assert_eq!(targets, [&link["id"]; 6]);
    assert_eq!((&log[11]["target_id"], &log[12]["target_id"]), (&key["id"], &key["id"]));
    let places: Vec<_> = log.iter().map(|entry| text(&entry["id"]).to_owned()).collect();
    assert_eq!(places, (1..=13).map(|n: u32| n.to_string()).collect::<Vec<_>>());
    let told = json!(log).to_string();
    assert!(!told.contains('@') && !told.contains("shop.example"), "{told}");

    let verified = shunt(&app.data(), &["verify"]);
    let words = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(verified.status.success(), "{words}");
    assert!(words.contains("13 entries of the audit log"), "{words}");
    app.finish().await;
}

#[tokio::test]
async fn who_asks_for_what_it_may_not_do_is_recorded() {
    let app = TestApp::start().await;
    app.create(json!({"destination": "https://shop.example/a", "alias": "spring"})).await;
    let body = json!({"name": "reader", "scopes": ["links:read"]});
    let made = app.api(Method::POST, "/api-keys", Some(body)).await.assert_status(201).json();
    let call = |method, path: &str| {
        app.request(method, &format!("/api/v1{path}")).bearer_auth(text(&made["key"]))
    };
    app.send(call(Method::GET, "/links/spring")).await.assert_status(200);
    app.send(call(Method::GET, "/links/never-was")).await.assert_status(404);
    for (method, path) in [
        (Method::DELETE, "/links/spring"),
        (Method::GET, "/audit-log"),
        (Method::GET, "/api-keys"),
        (Method::GET, "/links/spring/stats"),
    ] {
        app.send(call(method, path)).await.assert_problem(403, "insufficient_scope");
    }
    let widen = call(Method::POST, "/api-keys").json(&json!({"name": "w", "scopes": ["*"]}));
    app.send(widen).await.assert_problem(403, "insufficient_scope");
    // More than are recorded at once: they are counted, and hold nobody up.
    let log = denials(&log_with_denials(&app, 5).await);
    let details = fields(&log, &["detail"]);
    let wanted = ["links:write", "org:manage", "keys:manage", "stats:read", "keys:manage"];
    assert_eq!(details, wanted.map(|word| json!([word])));
    for entry in &log {
        assert_eq!((&entry["actor"], &entry["from"]), (&made["id"], &json!("127.0.0.0/24")));
    }
    // A stop writes what waits.
    app.send(call(Method::DELETE, "/links/spring")).await.assert_status(403);
    let app = app.restart().await;
    assert_eq!(denials(&log_of(&app, &app.key).await).len(), 6);
    app.finish().await;
}

/// Another workspace, with a key of its own, and a link.
async fn add_neighbour(stores: &Stores, key: &KeyText, digest: [u8; 32]) {
    let at = Timestamp(1_780_000_000_000);
    let workspace =
        Workspace { id: Id(77), name: "theirs".to_owned(), operator: false, created_at: at };
    let user = User {
        id: Id(78),
        email: Email::parse("them@mail.example").expect("an address"),
        email_verified_at: None,
        name: "Them".to_owned(),
        password: None,
        workspace: workspace.id,
        created_at: at,
        updated_at: at,
        disabled_at: None,
    };
    let new = NewUser { user, workspace, identity: None, invitation: None };
    assert_eq!(stores.users.add_user(new).await.expect("the store writes"), UserAdded::Done);
    let key = ApiKey {
        id: Id(79),
        workspace: Id(77),
        user: Some(Id(78)),
        name: "theirs".to_owned(),
        prefix: key.prefix().to_owned(),
        digest,
        scopes: Scopes::EVERYTHING,
        created_at: at,
        expires_at: None,
        last_used_at: None,
        uses: 0,
        revoked_at: None,
    };
    assert!(stores.accounts.add_key(key, None).await.expect("the store writes"));
}

#[tokio::test]
async fn what_is_another_workspaces_is_not_told_and_asking_for_it_is() {
    let app = TestApp::start().await;
    let link = app.create(json!({"destination": "https://shop.example/a", "alias": "ours"})).await;
    let secrets = Secrets::open(&app.data()).expect("the keys");
    let theirs = KeyText::from_entropy(&[5; 32]);
    let digest = theirs.digest(&secrets.api_keys);
    let app = app.restart_after(async |stores| add_neighbour(&stores, &theirs, digest).await).await;
    let theirs = theirs.as_str();
    assert_eq!(log_of(&app, theirs).await, Vec::<Value>::new());

    let call = |method, path: &str| app.request(method, path).bearer_auth(theirs);
    let ours = log_of(&app, &app.key).await;
    let key = text(&ours[1]["target_id"]);
    for path in ["/api/v1/links/ours", &format!("/api/v1/api-keys/{key}")] {
        app.send(call(Method::DELETE, path)).await.assert_problem(404, "not_found");
    }
    app.send(call(Method::DELETE, "/api/v1/api-keys/4711")).await.assert_problem(404, "not_found");
    let target = format!("/api/v1/audit-log?target={}", text(&link["id"]));
    let deadline = Instant::now() + SOON;
    let told = loop {
        let log = log_of(&app, theirs).await;
        if log.len() >= 2 {
            break log;
        }
        assert!(Instant::now() < deadline, "it is not recorded");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let shape = fields(&told, &["action", "target_id", "actor", "credential_id", "detail"]);
    let expected = json!([
        ["access.denied", link["id"], "78", "79", "another workspace"],
        ["access.denied", key, "78", "79", "somebody else's"],
    ]);
    assert_eq!(json!(shape), expected);
    let theirs = app.send(call(Method::GET, &target)).await.json();
    assert_eq!(theirs["data"].as_array().map(Vec::len), Some(1), "their own asking alone");
    assert_eq!(log_of(&app, &app.key).await, ours, "and ours tells nothing of them");
    app.finish().await;
}

#[tokio::test]
async fn the_log_is_filtered_and_paged() {
    let running = TestApp::start().await;
    let app = &running;
    for n in 0..5 {
        app.create(json!({"destination": format!("https://shop.example/{n}")})).await;
    }
    let get = |query: String| async move {
        app.api(Method::GET, &format!("/audit-log?{query}"), None).await
    };
    let ids = |page: &Value| fields(page["data"].as_array().expect("rows"), &["id"]);
    let first = get("action=link.create&limit=2".into()).await.assert_status(200).json();
    assert_eq!(json!(ids(&first)), json!([["7"], ["6"]]));
    let cursor = text(&first["next_cursor"]);
    let second = get(format!("action=link.create&limit=2&cursor={cursor}")).await.json();
    assert_eq!(json!(ids(&second)), json!([["5"], ["4"]]));
    let all = get(String::new()).await.json();
    assert_eq!((&first["total"], &second["total"]), (&json!(5), &json!(5)));
    assert_eq!(all["total"], json!(ids(&all).len()));
    get(format!("limit=2&cursor={cursor}")).await.assert_problem(400, "invalid_cursor");
    let actor = text(&first["data"][0]["actor"]);
    assert_eq!(ids(&get(format!("actor={actor}")).await.json()).len(), 5);
    let target = text(&first["data"][0]["target_id"]);
    assert_eq!(json!(ids(&get(format!("target={target}")).await.json())), json!([["7"]]));
    let at = text(&first["data"][0]["at"]);
    assert_eq!(json!(ids(&get(format!("from={at}&limit=1")).await.json())), json!([["7"]]));
    assert_eq!(get(format!("from={at}&limit=1")).await.json()["total"], 1);
    assert!(!ids(&get(format!("to={at}")).await.json()).contains(&json!(["7"])));
    for query in ["action=link.made", "actor=me", "target=-1", "from=now", "what=1"] {
        get(query.into()).await.assert_problem(400, "invalid_request");
    }
    running.finish().await;
}

#[tokio::test]
async fn the_command_line_is_told_as_such() {
    let app = TestApp::start().await;
    let made = shunt(&app.data(), &["keys", "create", "--name", "cli"]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let log = log_of(&app, &app.key).await;
    let key = text(&log[2]["target_id"]).to_owned();
    assert!(shunt(&app.data(), &["keys", "revoke", &key]).status.success());
    let file = app.folder().join("links.csv");
    std::fs::write(&file, "code,destination\none,https://shop.example/1\n").expect("a file");
    let app = app
        .restart_after_closing(async |data| {
            let imported = shunt(&data, &["links", "import", &file.display().to_string()]);
            assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
        })
        .await;
    let log = log_of(&app, &app.key).await;
    let shape = fields(&log[2..], &["action", "actor", "credential", "from", "detail"]);
    let expected = json!([
        ["key.create", null, "command_line", null, null],
        ["key.revoke", null, "command_line", null, null],
        ["links.import", null, "command_line", null, "created 1, not created 0"],
    ]);
    assert_eq!(json!(shape), expected);
    app.finish().await;
}

#[tokio::test]
async fn a_log_that_was_tampered_with_is_named_by_verify() {
    let app = TestApp::start().await;
    for n in 0..5 {
        app.create(json!({"destination": format!("https://shop.example/{n}")})).await;
    }
    let app = app
        .restart_after_closing(async |data| {
            let store = rusqlite::Connection::open(data.join("shunt.db")).expect("the store");
            let sql = "DROP TRIGGER audit_log_is_kept; DELETE FROM audit_log WHERE seq = 4";
            store.execute_batch(sql).expect("the row is removed");
        })
        .await;
    let verified = shunt(&app.data(), &["verify"]);
    let words = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert_eq!(verified.status.code(), Some(1), "{words}");
    assert!(words.contains("damaged: entry 4 of the audit log is missing"), "{words}");
    app.create(json!({"destination": "https://shop.example/later"})).await;
    app.finish().await;
}

/// Makes links until the server is gone; counts the answers.
async fn create_for_ever(url: String, key: String, made: Arc<AtomicUsize>) {
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    loop {
        let request = client.post(format!("{url}/api/v1/links")).bearer_auth(&key);
        let sent = request.json(&json!({"destination": "https://shop.example/"})).send().await;
        match sent {
            Ok(answer) if answer.status() == 201 => made.fetch_add(1, Ordering::Relaxed),
            _ => return,
        };
    }
}

async fn killed_amid_creates() -> Killed {
    let app = TestApp::start().await;
    let made = Arc::new(AtomicUsize::new(0));
    let creates = (0..8).map(|_| {
        tokio::spawn(create_for_ever(app.url.clone(), app.key.clone(), Arc::clone(&made)))
    });
    let creates: Vec<_> = creates.collect();
    let deadline = Instant::now() + SOON;
    while made.load(Ordering::Relaxed) < 300 {
        assert!(Instant::now() < deadline, "links are not made");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let killed = app.kill();
    for create in creates {
        create.await.expect("it ends with the server");
    }
    killed
}

#[tokio::test]
async fn after_kill_9_every_link_has_its_entry_and_every_entry_its_link() {
    let app = killed_amid_creates().await.start().await;
    let log = log_of(&app, &app.key).await;
    let made = log.iter().filter(|entry| entry["action"] == "link.create");
    let told: BTreeSet<_> = made.map(|entry| text(&entry["target_id"]).to_owned()).collect();
    let (mut links, mut cursor) = (BTreeSet::new(), String::new());
    loop {
        let page = app.api(Method::GET, &format!("/links?limit=100{cursor}"), None).await.json();
        let rows = page["data"].as_array().expect("rows");
        links.extend(rows.iter().map(|link| text(&link["id"]).to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert!(links.len() >= 300);
    assert_eq!(told, links);
    let verified = shunt(&app.data(), &["verify"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    app.finish().await;
}
