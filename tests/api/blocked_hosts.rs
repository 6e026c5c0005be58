//! Hosts that the operator lets no link lead to: refused by every door, whoever knocks.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{TestApp, shunt};

const GOOD: &str = "https://shop.example/";
const HOSTS: &str = r#"["evil.example", "Bücher.example.", "192.0.2.66", "2001:db8::66"]"#;

async fn start() -> TestApp {
    let app = TestApp::builder().set("SHUNT_LINKS__BLOCKED_HOSTS", HOSTS);
    app.set("SHUNT_ANONYMOUS__ENABLED", "true").start().await
}

fn words(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn assert_told(problem: &Value, pointer: &str) {
    assert_eq!(problem["code"], "destination_blocked", "{problem}");
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(detail.contains("operator") && detail.contains("not allow"), "{problem}");
    let fault = &problem["errors"][0];
    assert_eq!((&fault["pointer"], &fault["code"]), (&json!(pointer), &problem["code"]));
}

#[tokio::test]
async fn a_blocked_host_is_refused_by_every_door_in_every_spelling() {
    let app = start().await;
    app.create(json!({"destination": GOOD, "alias": "good"})).await;
    let post = |path: &'static str, body: Value| app.api(Method::POST, path, Some(body));
    let patch = |body: Value| app.api(Method::PATCH, "/links/good", Some(body));
    for url in [
        "https://evil.example/a?b",
        "http://www.EVIL.Example.:8080/",
        "https://evil%2eexample",
        "https://bücher.example/",
        "https://a.xn--bcher-kva.example/",
        "http://3221226050/",
        "http://[::ffff:192.0.2.66]/",
        "http://[2001:DB8::0:66]/",
    ] {
        let to = json!({"destination": url});
        let out = json!({"destination": GOOD, "expired_url": url});
        for (answer, pointer) in [
            (post("/links", to.clone()).await, "/destination"),
            (post("/links?find_if_exists=true", to.clone()).await, "/destination"),
            (post("/links", out.clone()).await, "/expired_url"),
            (patch(to.clone()).await, "/destination"),
            (patch(json!({"expired_url": url})).await, "/expired_url"),
            (patch(json!({"destination": url, "expired_url": url})).await, "/destination"),
            (app.send(app.request(Method::POST, "/api/v1/links").json(&to)).await, "/destination"),
        ] {
            assert_told(&answer.assert_problem(403, "destination_blocked").json(), pointer);
        }
        let bulk = post("/links/bulk", json!({"links": [to, out]})).await;
        let bulk = bulk.assert_status(200).json();
        assert_told(&bulk["results"][0]["error"], "/links/0/destination");
        assert_told(&bulk["results"][1]["error"], "/links/1/expired_url");
    }
    // What is wrong in two ways, or could lead nowhere, is called that.
    let also_short = json!({"destination": "https://evil.example/", "alias": "a"});
    post("/links", also_short).await.assert_problem(400, "invalid_request");
    let no_web = json!({"destination": "ftp://evil.example/"});
    post("/links", no_web).await.assert_problem(400, "invalid_url");
    assert_eq!(app.api(Method::GET, "/links", None).await.json()["total"], 1);
    for url in ["https://notevil.example/", "https://evil.example.com/", "http://192.0.2.67/"] {
        app.create(json!({"destination": url})).await;
    }
    app.get("/good").await.assert_found(GOOD);
    app.finish().await;
}

#[tokio::test]
async fn a_row_of_an_import_that_leads_there_is_refused_by_its_line() {
    let app = start().await;
    let rows = [
        json!({"code": "a", "destination": "https://www.evil.example/"}),
        json!({"code": "b", "destination": GOOD}),
        json!({"code": "c", "destination": GOOD, "expired_url": "http://192.0.2.66/"}),
    ];
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    let trial = app.request(Method::POST, "/api/v1/links/import?dry_run=true");
    let trial = trial.bearer_auth(&app.key).header("Content-Type", "application/x-ndjson");
    let trial = app.send(trial.body(lines.clone())).await.assert_status(200).json();
    for answer in [trial, app.import(1, &rows).await] {
        let results = answer["results"].as_array().expect("results");
        for (row, outcome, field) in [
            (&results[0], "invalid", "destination"),
            (&results[1], "created", ""),
            (&results[2], "invalid", "expired_url"),
        ] {
            assert_eq!(row["outcome"], outcome, "{row}");
            let why = "is refused: the operator of this service does not allow links to this host";
            let why = (outcome == "invalid").then(|| format!("`{field}` {why}"));
            assert_eq!(row["detail"].as_str(), why.as_deref(), "{row}");
        }
    }

    let file = app.folder().join("rows.ndjson");
    std::fs::write(&file, lines).expect("a file");
    let file = file.display().to_string();
    let arguments = ["links", "import", &file, "--url", &app.url, "--key", &app.key];
    let import = shunt(&app.data(), &arguments);
    assert_eq!(import.status.code(), Some(1));
    let said = words(&import.stderr);
    assert!(said.contains("line 1: `destination` is refused: the operator"), "{said}");
    assert!(said.contains("line 3: `expired_url` is refused: the operator"), "{said}");
    app.finish().await;
}

#[tokio::test]
async fn links_that_were_there_before_their_host_was_blocked_stay() {
    let app = TestApp::start().await;
    let old = "https://www.evil.example/old";
    app.create(json!({"destination": old, "alias": "old-1", "expired_url": old})).await;
    let list = "# all of them\n\nevil.example # since May\n";
    std::fs::write(app.folder().join("hosts.txt"), list).expect("a file");
    let config = "[links]\nblocked_hosts_file = \"hosts.txt\"\n";
    std::fs::write(app.folder().join("shunt.toml"), config).expect("a file");
    let app = app.restart().await;
    app.get("/old-1").await.assert_found(old);
    let patch = |body: Value| app.api(Method::PATCH, "/links/old-1", Some(body));
    for change in [
        json!({"title": "Old"}),
        json!({"status": "disabled"}),
        json!({"status": "active", "max_clicks": 100}),
        json!({"alias": "old-2"}),
    ] {
        patch(change).await.assert_status(200);
    }
    app.get("/old-2").await.assert_found(old);
    let patch = |body: Value| app.api(Method::PATCH, "/links/old-2", Some(body));
    let body = json!({"destination": old});
    let find = app.api(Method::POST, "/links?find_if_exists=true", Some(body.clone())).await;
    find.assert_problem(403, "destination_blocked");
    patch(json!({"destination": GOOD, "expired_url": null})).await.assert_status(200);
    patch(body).await.assert_problem(403, "destination_blocked");
    app.get("/old-2").await.assert_found(GOOD);
    app.finish().await;
}

#[test]
fn an_import_into_the_store_itself_asks_the_same_list() {
    let folder = tempfile::tempdir().expect("a folder");
    let (data, write) = (folder.path().join("data"), |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).expect("a file");
    });
    write("shunt.toml", "[links]\nblocked_hosts_file = \"hosts.txt\"\n");
    write("hosts.txt", "evil.example\n");
    write("links.csv", "code,destination\na,https://shop.example/\nb,http://www.Evil.example.\n");
    for dry in [true, false] {
        let mut arguments = vec!["links", "import", "links.csv"];
        arguments.extend(dry.then_some("--dry-run"));
        let import = shunt(&data, &arguments);
        assert_eq!(import.status.code(), Some(1), "dry: {dry}");
        let said = words(&import.stderr);
        assert!(said.contains("line 3: `destination` is refused: the operator"), "{said}");
        assert!(words(&import.stdout).contains("1 refused"), "{}", words(&import.stdout));
    }
    // Nothing is judged by the list, so nobody misses it.
    std::fs::remove_file(folder.path().join("hosts.txt")).expect("it was there");
    let export = shunt(&data, &["links", "export", "-"]);
    assert!(export.status.success(), "{}", words(&export.stderr));
    assert!(words(&export.stdout).contains("https://shop.example/"));
}

#[test]
fn a_bad_list_stops_whoever_would_judge_by_it_and_names_its_lines() {
    let folder = tempfile::tempdir().expect("a folder");
    let (data, write) = (folder.path().join("data"), |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).expect("a file");
    });
    write("shunt.toml", "[links]\nblocked_hosts_file = \"hosts.txt\"\n");
    write("links.csv", "code,destination\na,https://shop.example/\n");
    let commands = [
        &["serve"][..],
        &["links", "import", "links.csv"],
        &["links", "import", "links.csv", "--dry-run"],
    ];
    for list in [Some("good.example\n\nhttp://evil.example/\n*.evil.example\n"), None] {
        if let Some(list) = list {
            write("hosts.txt", list);
        } else {
            std::fs::remove_file(folder.path().join("hosts.txt")).expect("it was there");
        }
        for command in commands {
            let output = shunt(&data, command);
            assert_eq!(output.status.code(), Some(1), "{command:?}");
            let said = words(&output.stderr);
            assert!(said.contains("`links.blocked_hosts_file`"), "{said}");
            let named = said.contains("line 3: \"http://evil.example/\"")
                && said.contains("line 4: \"*.evil.example\"");
            assert_eq!(named, list.is_some(), "{said}");
        }
    }
    write("shunt.toml", "[links]\nblocked_hosts = [\"a/b\", \"good.example\", \"*.c\", \"\"]\n");
    for command in ["check-config", "serve"] {
        let output = shunt(&data, &[command]);
        assert_eq!(output.status.code(), Some(2), "{command}");
        let said = words(&output.stderr);
        let named =
            said.lines().filter(|line| line.contains("`links.blocked_hosts` has a bad entry"));
        assert_eq!(named.count(), 3, "{said}");
    }
    assert!(!data.exists(), "a refused start left something behind");
}
