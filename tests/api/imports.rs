//! Imports that meet what is there already, and imports that are sent again.

use reqwest::Method;
use serde_json::{Value, json};
use shunt::domain::scheme::hash_code;

use crate::harness::{TestApp, shunt};

const CROWDED: &str = "https://shop.example/crowded";

fn outcomes(answer: &Value) -> Vec<&str> {
    let results = answer["results"].as_array().expect("results");
    results.iter().map(|row| row["outcome"].as_str().expect("an outcome")).collect()
}

#[tokio::test]
async fn a_batch_that_is_sent_again_has_the_same_answer() {
    let app = TestApp::start().await;
    app.create(json!({"destination": "https://shop.example/", "alias": "there",
                      "external_id": "e-1"}))
        .await;
    let rows = [
        json!({"destination": "https://shop.example/made"}),
        json!({"destination": "javascript:alert(1)"}),
        json!({"code": "there", "destination": "https://shop.example/else"}),
        json!({"code": "there", "destination": "https://shop.example/"}),
        json!({"code": 5}),
        json!({"code": "new-1", "destination": "https://shop.example/", "external_id": "e-1"}),
        json!({"code": "new-2", "destination": "https://shop.example/"}),
    ];
    let first = app.import(7, &rows).await;
    let expected =
        ["created", "invalid", "taken", "unchanged", "invalid", "external_id_taken", "created"];
    assert_eq!((outcomes(&first), &first["replayed"]), (expected.to_vec(), &json!(false)));
    // What happened meanwhile changes nothing about what happened then.
    app.api(Method::DELETE, "/links/new-2", None).await.assert_status(204);
    let again = app.import(7, &rows).await;
    assert_eq!((&again["results"], &again["replayed"]), (&first["results"], &json!(true)));
    let app = app.kill_and_restart().await;
    assert_eq!(app.import(7, &rows).await, again);
    assert_eq!(app.api(Method::GET, "/links", None).await.json()["total"], 2);
    app.finish().await;
}

#[tokio::test]
async fn the_key_of_a_batch_takes_no_other_rows() {
    let app = TestApp::start().await;
    let send = |rows: &'static str| {
        let request = app.request(Method::POST, "/api/v1/links/import").bearer_auth(&app.key);
        let request = request.header("Idempotency-Key", format!("{:032x}", 9));
        app.send(request.header("Content-Type", "application/x-ndjson").body(rows))
    };
    let first = r#"{"code":"first","destination":"https://shop.example/1"}"#;
    assert_eq!(outcomes(&send(first).await.json()), ["created"]);
    for other in [
        r#"{"code":"other","destination":"https://shop.example/2"}"#,
        r#"{"code":"first","destination":"https://shop.example/2"}"#,
        "",
    ] {
        send(other).await.assert_problem(422, "idempotency_mismatch");
    }
    let again = send(r#" {"destination":"https://shop.example/1","code":"first"} "#).await.json();
    assert_eq!((outcomes(&again), &again["replayed"]), (vec!["created"], &json!(true)));
    assert_eq!(app.api(Method::GET, "/links", None).await.json()["total"], 1);
    app.finish().await;
}

#[tokio::test]
async fn an_import_that_is_run_again_names_its_refused_lines_again() {
    let app = TestApp::start().await;
    app.create(json!({"destination": "https://shop.example/", "alias": "there"})).await;
    let file = app.folder().join("rows.csv");
    let csv = "code,destination\nfine,https://shop.example/1\nbad,ftp://shop.example/\n\
               there,https://shop.example/else\n,https://shop.example/2\n";
    std::fs::write(&file, csv).expect("a file");
    let file = file.display().to_string();
    let run = |through_server: bool| {
        let mut arguments = vec!["links", "import", &file];
        if through_server {
            arguments.extend(["--url", &app.url, "--key", &app.key]);
        }
        let output = shunt(&app.data(), &arguments);
        assert_eq!(output.status.code(), Some(1));
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        (text(&output.stdout), text(&output.stderr))
    };
    let (told, problems) = run(true);
    assert!(told.contains("2 created") && told.contains("2 refused"), "{told}");
    assert!(problems.contains("line 3: ") && problems.contains("line 4: "), "{problems}");
    let (told, again) = run(true);
    let counted = told.contains("0 created") && told.contains("2 done before");
    assert!(counted && told.contains("2 refused"), "{told}");
    assert_eq!(again, problems);
    app.finish().await;
}

/// A server whose first six hash codes for `CROWDED` lead elsewhere.
async fn crowded() -> TestApp {
    let app = TestApp::builder().set("SHUNT_CODES__SCHEME", "hash").start().await;
    let rows: Vec<Value> = (0..6)
        .map(|attempt| {
            let code = hash_code(CROWDED, attempt, 7 + attempt as usize / 5);
            json!({"code": code.as_str(), "destination": "https://shop.example/other"})
        })
        .collect();
    assert_eq!(outcomes(&app.import(1, &rows).await), ["created"; 6]);
    app
}

#[tokio::test]
async fn a_row_whose_made_code_is_taken_gets_another_one() {
    let app = crowded().await;
    let rows = [json!({"destination": CROWDED, "max_clicks": 2}), json!({"destination": CROWDED})];
    let imported = app.import(2, &rows).await;
    assert_eq!(outcomes(&imported), ["created", "unchanged"]);
    let code = hash_code(CROWDED, 6, 8);
    // At once, on this node, and with its limit.
    app.get(&format!("/{code}")).await.assert_found(CROWDED);
    let app = app.restart().await;
    app.get(&format!("/{code}")).await.assert_found(CROWDED);
    app.get(&format!("/{code}")).await.assert_status(410);
    app.finish().await;
}

#[tokio::test]
async fn an_import_into_the_store_itself_goes_round_taken_codes_too() {
    let app = crowded().await;
    let file = app.folder().join("rows.ndjson");
    std::fs::write(&file, format!("{}\n", json!({"destination": CROWDED}))).expect("a file");
    let config = app.folder().join("shunt.toml");
    std::fs::write(&config, "[codes]\nscheme = \"hash\"\n").expect("a file");
    let (file, config) = (file.display().to_string(), config.display().to_string());
    let app = app
        .restart_after_closing(async |data| {
            let arguments = ["--config", &config, "links", "import", &file];
            let output = shunt(&data, &arguments);
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success() && said.contains("1 created"), "{said}");
        })
        .await;
    app.get(&format!("/{}", hash_code(CROWDED, 6, 8))).await.assert_found(CROWDED);
    app.finish().await;
}

/// Rows that meet what is there, or each other, or a rule. The last ones are in another batch.
fn colliding() -> String {
    let mut csv = "code,destination,external_id\n".to_owned();
    for line in [
        "there,https://shop.example/else,",
        "there,https://shop.example/,",
        "twin,https://shop.example/1,",
        "twin,https://shop.example/2,",
        "twin,https://shop.example/1,",
        "own-1,https://shop.example/,e-1",
        "own-2,https://shop.example/,e-2",
        "own-3,https://shop.example/,e-2",
        "bad,ftp://shop.example/,",
        ",https://shop.example/made,",
    ] {
        csv.push_str(line);
        csv.push('\n');
    }
    for n in 0..1_000 {
        csv.push_str(&format!("many-{n},https://shop.example/{n},\n"));
    }
    csv.push_str("twin,https://shop.example/3,\nown-4,https://shop.example/,e-2\n");
    csv
}

#[tokio::test]
async fn a_dry_run_names_the_lines_that_the_import_refuses_and_writes_nothing() {
    let app = TestApp::start().await;
    app.create(json!({"destination": "https://shop.example/", "alias": "there",
                      "external_id": "e-1"}))
        .await;
    let file = app.folder().join("rows.csv");
    std::fs::write(&file, colliding()).expect("a file");
    let file = file.display().to_string();
    let run = |data: &std::path::Path, more: &[&str]| {
        let arguments = [&["links", "import", &file], more].concat();
        let output = shunt(data, &arguments);
        assert_eq!(output.status.code(), Some(1), "{more:?}");
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let problems = text(&output.stderr);
        let named = problems.lines().filter(|line| line.starts_with("line ")).map(str::to_owned);
        (text(&output.stdout), named.collect::<Vec<_>>())
    };
    let told = "1012 rows: 1003 can be imported, 2 unchanged, 7 refused; nothing written\n";
    let through = run(&app.data(), &["--dry-run", "--url", &app.url, "--key", &app.key]);
    let beside = run(&app.data(), &["--dry-run"]);
    assert_eq!((through.0.as_str(), &through), (told, &beside));
    assert_eq!(app.api(Method::GET, "/links", None).await.json()["total"], 1);
    let data = app.data();
    let _kept = app.finish_and_keep().await;

    let files = || {
        let names = std::fs::read_dir(&data).expect("the folder of the store");
        let mut names: Vec<_> = names.map(|entry| entry.expect("an entry").file_name()).collect();
        names.sort();
        (names, std::fs::read(data.join("shunt.db")).expect("the store"))
    };
    let before = files();
    assert_eq!(run(&data, &["--dry-run"]), beside);
    assert!(files() == before, "a dry run wrote to the store");
    let (told, problems) = run(&data, &[]);
    assert!(told.starts_with("1012 rows: 1003 created, 2 unchanged,"), "{told}");
    assert_eq!(problems, beside.1);

    let nowhere = data.join("nowhere");
    let (told, problems) = run(&nowhere, &["--dry-run"]);
    assert!(told.contains("6 refused") && problems[0].starts_with("line 3: "), "{problems:?}");
    assert!(!nowhere.exists(), "a dry run made a store");
}
