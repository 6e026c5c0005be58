//! What the operator types and reads.

use std::fmt::Write;

use reqwest::Method;
use serde_json::json;

use crate::harness::{TestApp, shunt};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn wrong_usage_exits_2_and_help_exits_0() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    assert_eq!(shunt(&data, &["--help"]).status.code(), Some(0));
    assert_eq!(shunt(&data, &["surf"]).status.code(), Some(2));
    assert_eq!(shunt(&data, &["keys", "create"]).status.code(), Some(2));
    assert_eq!(shunt(&data, &["--config", "/nowhere.toml", "serve"]).status.code(), Some(2));
}

#[test]
fn a_configuration_with_three_mistakes_names_all_three() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("shunt.toml");
    let mistakes = "[http]\nlisten = \"nowhere\"\n[links]\nmemory_max = \"plenty\"\n\
                    [clicks]\nsegmentsize = 5\n";
    std::fs::write(&file, mistakes).expect("a file");
    for command in ["check-config", "serve"] {
        let file = file.display().to_string();
        let output = shunt(&folder.path().join("data"), &["--config", &file, command]);
        assert_eq!(output.status.code(), Some(2), "{command}");
        let words = text(&output.stderr);
        for key in ["http.listen", "links.memory_max", "clicks.segmentsize"] {
            assert!(words.contains(key), "{key} is not named in:\n{words}");
        }
    }
    assert!(!folder.path().join("data").exists(), "a refused start left something behind");
}

#[test]
fn the_effective_configuration_is_printed_without_secrets() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = shunt(&folder.path().join("data"), &["print-config"]);
    assert_eq!(output.status.code(), Some(0));
    let printed = text(&output.stdout);
    for line in ["listen = ", "[http]", "[storage]", "[links]", "[clicks]"] {
        assert!(printed.contains(line), "{line} is missing in:\n{printed}");
    }
}

#[tokio::test]
async fn an_import_reports_bad_lines_and_can_be_run_again() {
    let app = TestApp::start().await;
    let data = app.data();
    let file = app.folder().join("links.csv");
    let mut csv = "code,destination,title,tags\n".to_owned();
    for n in 0..2_500 {
        let _ = writeln!(csv, "old-{n},https://shop.example/{n},Item {n},mail|print");
    }
    csv.push_str(
        "x,javascript:alert(1),bad,\n1abcdefg,https://shop.example/sealed,looks sealed,\n",
    );
    csv.push_str(",https://shop.example/no-code,generated,\n");
    std::fs::write(&file, csv).expect("a file");
    let file = file.display().to_string();
    let _kept = app.finish_and_keep().await;

    let dry = shunt(&data, &["links", "import", &file, "--dry-run"]);
    assert_eq!(dry.status.code(), Some(1), "{}", text(&dry.stderr));
    let first = shunt(&data, &["links", "import", &file]);
    assert_eq!(first.status.code(), Some(1));
    assert!(text(&first.stderr).contains("2502"), "no line number: {}", text(&first.stderr));
    let again = shunt(&data, &["links", "import", &file]);
    assert!(text(&again.stdout).contains("0 created"), "{}", text(&again.stdout));
    let exported = shunt(&data, &["links", "export", "-", "--format", "ndjson"]);
    assert_eq!(exported.status.code(), Some(0), "{}", text(&exported.stderr));
    assert_eq!(text(&exported.stdout).lines().count(), 2_502);
}

#[tokio::test]
async fn what_export_writes_import_takes() {
    let app = TestApp::start().await;
    app.create(json!({
        "destination": "https://shop.example/a,b\"c", "alias": "quoted",
        "title": "A \"title\", yes",
        "tags": ["one", "two"], "max_clicks": 100, "expires_at": "2999-01-01T00:00:00Z"
    }))
    .await;
    app.create(json!({"destination": "https://shop.example/gone", "alias": "gone-1"})).await;
    app.api(Method::DELETE, "/links/gone-1", None).await.assert_status(204);
    for _ in 0..3 {
        app.get("/quoted").await;
    }
    app.clicks_become("quoted", 3).await;
    let data = app.data();
    let folder = app.folder().to_owned();
    let app = app.restart().await;
    for format in ["csv", "ndjson"] {
        let file = folder.join(format!("all.{format}")).display().to_string();
        let export = shunt(&data, &["links", "export", &file]);
        assert!(export.status.success(), "{}", text(&export.stderr));
        let copy = folder.join(format!("copy-{format}"));
        let import = shunt(&copy, &["links", "import", &file]);
        assert!(import.status.success(), "{}", text(&import.stderr));
        let again = folder.join(format!("again.{format}")).display().to_string();
        let export = shunt(&copy, &["links", "export", &again]);
        assert!(export.status.success(), "{}", text(&export.stderr));
        let (before, after) = (std::fs::read_to_string(&file), std::fs::read_to_string(&again));
        assert_eq!(before.expect("exported"), after.expect("exported again"), "{format}");
    }
    app.finish().await;
}

#[tokio::test]
async fn an_import_goes_through_a_running_server() {
    let app = TestApp::start().await;
    let file = app.folder().join("more.csv");
    std::fs::write(
        &file,
        "code,destination\nx1,https://shop.example/1\n7OLDcode,https://shop.example/2\n",
    )
    .expect("a file");
    let file = file.display().to_string();
    let direct = shunt(&app.data(), &["links", "import", &file]);
    assert_eq!(direct.status.code(), Some(1), "imported below a running server");
    assert!(text(&direct.stderr).contains("--url"), "{}", text(&direct.stderr));
    let arguments = ["links", "import", &file, "--url", &app.url, "--key", &app.key];
    let import = shunt(&app.data(), &arguments);
    assert!(import.status.success(), "{}", text(&import.stderr));
    app.get("/x1").await.assert_found("https://shop.example/1");
    app.get("/7OLDcode").await.assert_found("https://shop.example/2");
    let app = app.restart().await;
    app.get("/7OLDcode").await.assert_found("https://shop.example/2");
    app.finish().await;
}

#[tokio::test]
async fn keys_are_listed_and_revoked() {
    let app = TestApp::start().await;
    let data = app.data();
    let made = shunt(&data, &["keys", "create", "--name", "ci"]);
    let key = text(&made.stdout).trim().to_owned();
    let list = text(&shunt(&data, &["keys", "list"]).stdout);
    let row = list.lines().find(|line| line.contains("ci")).expect("the key is listed");
    assert!(!list.contains(&key), "the list shows a whole key");
    let id = row.split_whitespace().next().expect("an id").to_owned();
    let revoked = shunt(&data, &["keys", "revoke", &id]);
    assert!(revoked.status.success(), "{}", text(&revoked.stderr));
    let deadline = std::time::Instant::now() + crate::harness::SOON;
    loop {
        let list = app.request(Method::GET, "/api/v1/links").bearer_auth(&key);
        if app.send(list).await.status() == 401 {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "the key still works");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(shunt(&data, &["keys", "revoke", "12345"]).status.code(), Some(1));
    app.finish().await;
}
