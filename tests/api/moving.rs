//! `shunt export` and `shunt import`: from one machine to a database that several nodes share, and
//! from one machine to another. Whoever has a link, a key or a session notices nothing.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use shunt::storage::config::Replication;
use shunt::storage::embedded::{Embedded, Mode};
use shunt::storage::moving::Move;
use shunt::storage::scylla::{Cql, CqlConfig};
use tempfile::TempDir;

use crate::harness::{PASSWORD, Person, TestApp, shunt};
use crate::services::services;

/// What is asked before and after. Refusals would be told in the audit log.
const QUESTIONS: [&str; 5] = [
    "/links?limit=100&sort=-clicks",
    "/stats?from=2026-01-01T00:00:00Z&to=2027-06-01T00:00:00Z&interval=month",
    "/tags",
    "/api-keys",
    "/audit-log?limit=100",
];
/// What only the owner may ask.
const OF_A_LINK: [&str; 3] = [
    "/links/spring",
    "/links/spring/clicks?from=2020-01-01T00:00:00Z&to=2090-01-01T00:00:00Z",
    "/links/spring/stats?from=2026-01-01T00:00:00Z&to=2027-06-01T00:00:00Z&interval=month",
];
/// What only people are told.
const OF_PEOPLE: [&str; 4] = ["/members", "/invitations", "/workspaces", "/me"];

/// Settings of the store that a command or a server works on.
type Store = Vec<(String, String)>;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a command on a store to its end.
fn run(data: &Path, store: &Store, arguments: &[&str]) -> Output {
    command(data, store, arguments).output().expect("the binary runs")
}

fn command(data: &Path, store: &Store, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shunt"));
    command.args(arguments).env("SHUNT_STORAGE__PATH", data);
    command.envs(store.iter().map(|(name, text)| (name, text)));
    command
}

/// What stays the same of an answer: not when a key was used, nor how cursors are sealed.
fn lasting(mut answer: Value) -> Value {
    if let Some(object) = answer.as_object_mut() {
        object.remove("next_cursor");
        object.remove("as_of");
        for key in object.get_mut("data").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(key) = key.as_object_mut() {
                key.remove("uses");
                key.remove("last_used_at");
            }
        }
    }
    answer
}

/// Everything that the owner and `ada` are told.
async fn answers(app: &TestApp, ada: &Person) -> Vec<(String, Value)> {
    let mut answers = Vec::new();
    for path in QUESTIONS.into_iter().chain(OF_A_LINK) {
        let answer = app.api(Method::GET, path, None).await;
        answers.push((format!("owner {path}"), lasting(answer.json())));
    }
    for path in QUESTIONS.into_iter().chain(OF_PEOPLE) {
        let answer = app.by(ada, Method::GET, path, None).await;
        answers.push((format!("ada {path}"), lasting(answer.json())));
    }
    answers
}

/// The address that all servers of an installation have: tokens are good for it alone.
const SITE: (&str, &str) = ("SHUNT_HTTP__PUBLIC_URL", "http://short.example");

/// A server with links, clicks, people; and somebody who is signed in.
async fn busy() -> (TestApp, Person, String) {
    let app = TestApp::builder().set(SITE.0, SITE.1).start().await;
    let rows: Vec<Value> = (0..2_000)
        .map(|n| (format!("old-{n}"), format!("https://e.example/{n}")))
        .map(|(code, destination)| json!({"code": code, "destination": destination}))
        .collect();
    app.import(5, &rows[..1_000]).await;
    app.import(6, &rows[1_000..]).await;
    let body = json!({"destination": "https://e.example/s", "alias": "spring", "tags": ["a", "b"]});
    app.create(body).await;
    let sealed = app.create(json!({"destination": "https://e.example/sealed"})).await;
    app.create(json!({"destination": "https://e.example/gone", "alias": "gone-1"})).await;
    app.api(Method::DELETE, "/links/gone-1", None).await.assert_status(204);
    for code in ["spring", "spring", "old-7", "spring"] {
        app.get(&format!("/{code}")).await;
    }
    app.stats_become("spring", 3).await;
    app.stats_become("old-7", 1).await;
    let ada = app.register("ada").await;
    let bob = app.register("bob").await;
    app.join(&ada, &bob, "member").await;
    let link = Some(json!({"destination": "https://e.example/ada", "alias": "of-ada"}));
    app.by(&ada, Method::POST, "/links", link).await.assert_status(201);
    let offer = Some(json!({"role": "viewer", "email": "carl@example.com"}));
    app.by(&ada, Method::POST, "/invitations", offer).await.assert_status(201);
    let sealed = sealed["code"].as_str().expect("a code").to_owned();
    (app, ada, sealed)
}

/// Begins an import, kills it when some of it is there, and answers how far it had come.
async fn begin_and_kill(mut import: Command, moved: impl AsyncFn() -> Option<Move>) -> Move {
    let mut child = import.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs");
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut begun = None;
    while begun.is_none() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
        begun = moved().await.filter(|moved| moved.done > 0);
    }
    child.kill().expect("it runs still");
    child.wait().expect("it is gone");
    begun.expect("the import begins")
}

/// Sums that an export or an import printed.
fn sums(output: &Output) -> Vec<String> {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).lines().map(str::to_owned).collect()
}

#[track_caller]
fn assert_refused(output: &Output, words: &str) {
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains(words), "{}", text(&output.stderr));
}

#[tokio::test]
async fn one_machine_moves_to_a_database_and_nobody_notices() {
    let (app, ada, sealed) = busy().await;
    let archive = app.folder().join("archive").display().to_string();
    let refused = shunt(&app.data(), &["export", &archive]);
    assert_refused(&refused, "a server works on the store");
    let before = answers(&app, &ada).await;
    let (key, data) = (app.key.clone(), app.data());
    let _source = app.finish_and_keep().await;
    let export = shunt(&data, &["export", &archive]);
    let exported = sums(&export);
    assert!(text(&export.stderr).contains("keep it secret"), "{}", text(&export.stderr));

    let keyspace = format!("moved_{}", std::process::id());
    let contact = format!("[\"{}\"]", services().cql);
    let pairs = [("CQL", contact.as_str()), ("KEYSPACE", keyspace.as_str()), ("REPLICATION", "1")];
    let store: Store =
        pairs.map(|(name, text)| (format!("SHUNT_STORAGE__{name}"), text.to_owned())).into();
    let target = Arc::new(tempfile::tempdir().expect("a folder"));
    let there = target.path().join("data");
    let config = CqlConfig {
        nodes: vec![services().cql.clone()],
        keyspace: keyspace.clone(),
        user: None,
        password: None,
        tls: None,
        replication: Replication::Factor(1),
        fill_timeout: Duration::from_secs(5),
    };
    Cql::migrate(&config).await.expect("a keyspace");
    let cql = Cql::open(&config).await.expect("a database");
    let moved = async || cql.moved().await.expect("an answer");
    let cut = begin_and_kill(command(&there, &store, &["import", &archive]), moved).await;
    assert!(!cut.finished);
    let builder = || {
        let builder = TestApp::builder().set(SITE.0, SITE.1).on(&target, &key);
        store.iter().fold(builder, |builder, (name, text)| builder.set(name, text))
    };
    let said = builder().try_start().await.err().expect("a store in part is not served");
    assert!(said.contains("an import into this store was begun and is not finished"), "{said}");

    let imported = run(&there, &store, &["import", &archive]);
    assert_eq!(sums(&imported), exported);
    let app = builder().start().await;
    for (one, other) in before.iter().zip(answers(&app, &ada).await) {
        assert_eq!(*one, other);
    }
    app.get(&format!("/{sealed}")).await.assert_found("https://e.example/sealed");
    let taken = Some(json!({"destination": "https://e.example/x", "alias": "gone-1"}));
    app.api(Method::POST, "/links", taken).await.assert_status(409);
    Person::of(&app.refresh(&ada.refresh).await);
    Person::of(&app.log_in("ada@example.com", PASSWORD).await);
    app.create(json!({"destination": "https://e.example/new"})).await;
    app.get("/spring").await.assert_found("https://e.example/s");
    app.stats_become("spring", 4).await;
    assert_refused(&run(&there, &store, &["export", &archive]), "a server works on the store");
    let other = target.path().join("other");
    let again = target.path().join("again").display().to_string();
    assert_refused(&run(&other, &store, &["export", &again]), "the node numbers 0 are in use");
    app.finish().await;
    let stopped = target.path().join("stopped").display().to_string();
    sums(&run(&there, &store, &["export", &stopped]));
    drop(cql);
    drop_keyspace(&keyspace).await;
}

async fn drop_keyspace(keyspace: &str) {
    let builder = scylla::client::session_builder::SessionBuilder::new();
    let session = builder.known_node(&services().cql).build().await.expect("a session");
    let statement = format!("DROP KEYSPACE {keyspace}");
    session.query_unpaged(statement, ()).await.expect("an answer");
}

#[tokio::test]
async fn one_machine_moves_to_another() {
    let (app, ada, sealed) = busy().await;
    let archive = app.folder().join("archive").display().to_string();
    let before = answers(&app, &ada).await;
    let (key, data) = (app.key.clone(), app.data());
    let _source = app.finish_and_keep().await;
    let exported = sums(&shunt(&data, &["export", &archive]));

    let target: Arc<TempDir> = Arc::new(tempfile::tempdir().expect("a folder"));
    let there = target.path().join("data");
    let moved = async || {
        let store = Embedded::open(&there, Mode::ReadOnly).ok()?;
        store.moved().await.ok().flatten()
    };
    let import = command(&there, &Vec::new(), &["import", &archive]);
    let cut = begin_and_kill(import, moved).await;
    assert!(!cut.finished);
    assert_refused(&shunt(&there, &["keys", "list"]), "is not finished");
    assert_refused(&shunt(&there, &["export", &archive]), "is not finished");
    assert_eq!(sums(&shunt(&there, &["import", &archive])), exported);
    let again = shunt(&there, &["import", &archive]);
    assert!(again.status.success(), "{}", text(&again.stderr));
    assert_refused(&shunt(&data, &["import", &archive]), "not empty");
    let sound = shunt(&there, &["verify"]);
    assert!(sound.status.success(), "{}", text(&sound.stdout));

    let app = TestApp::builder().set(SITE.0, SITE.1).on(&target, &key).start().await;
    for (one, other) in before.iter().zip(answers(&app, &ada).await) {
        assert_eq!(*one, other);
    }
    app.get(&format!("/{sealed}")).await.assert_found("https://e.example/sealed");
    Person::of(&app.refresh(&ada.refresh).await);
    app.get("/spring").await;
    app.stats_become("spring", 4).await;
    app.finish().await;
}

#[tokio::test]
async fn clicks_that_a_killed_server_left_are_counted_before_an_export() {
    let app = TestApp::start().await;
    app.create(json!({"destination": "https://e.example/s", "alias": "spring"})).await;
    app.get("/spring").await;
    app.stats_become("spring", 1).await;
    let data = app.data();
    let archive = app.folder().join("archive").display().to_string();
    let killed = app.kill();
    // A click that the store knows nothing of.
    forget_positions(&data);
    let refused = shunt(&data, &["export", &archive]);
    assert_refused(&refused, "start the server once and stop it with SIGTERM");
    let _kept = killed.start().await.finish_and_keep().await;
    sums(&shunt(&data, &["export", &archive]));
}

/// Lets the store forget how far the journal is counted.
fn forget_positions(data: &Path) {
    let sql = rusqlite::Connection::open(data.join("shunt.db")).expect("a store");
    sql.execute("DELETE FROM click_positions", []).expect("a table");
}

#[test]
fn wrong_usage_of_export_and_import_exits_2() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    for wrong in [&["export"][..], &["import"], &["import", "a", "b"], &["export", "--force", "a"]]
    {
        assert_eq!(shunt(&data, wrong).status.code(), Some(2), "{wrong:?}");
    }
    assert_refused(&shunt(&data, &["export", "a"]), "there is no store");
    assert_refused(&shunt(&data, &["import", "nowhere"]), "is no archive");
    assert!(!data.exists(), "something was made");
}
