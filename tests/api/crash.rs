//! Killed without warning, and damaged on disk.

use std::io::{Seek, SeekFrom, Write};

use reqwest::Method;
use serde_json::json;

use crate::harness::{TestApp, shunt};

#[tokio::test]
async fn every_link_whose_creation_was_answered_survives_kill_9() {
    let mut app = TestApp::start().await;
    let mut known = Vec::new();
    for round in 0..3 {
        for n in 0..20 {
            let target = format!("https://shop.example/{round}/{n}");
            let link = app.create(json!({"destination": target})).await;
            known.push((link["code"].as_str().expect("a code").to_owned(), target));
        }
        app = app.kill_and_restart().await;
        for (code, target) in &known {
            app.get(&format!("/{code}")).await.assert_found(target);
        }
    }
    app.finish().await;
}

#[tokio::test]
async fn two_servers_cannot_share_a_store() {
    let app = TestApp::start().await;
    let second = shunt(&app.data(), &["serve"]);
    assert_eq!(second.status.code(), Some(1));
    let words = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(words.contains("another"), "{words}");
    app.finish().await;
}

#[tokio::test]
async fn a_damaged_store_is_named_with_the_command_that_helps() {
    let app = TestApp::start().await;
    for n in 0..50 {
        app.create(json!({"destination": format!("https://shop.example/{n}")})).await;
    }
    let (data, keep) = (app.data(), app.folder().to_owned());
    let backup = keep.join("backup");
    let backup_text = backup.display().to_string();
    let output = shunt(&data, &["backup", &backup_text]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let app = app.restart().await;
    let copy = tempfile::tempdir().expect("a folder");
    let copied = copy.path().join("data");
    let restored = shunt(&copied, &["restore", &backup_text]);
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    let sound = shunt(&copied, &["verify"]);
    assert!(sound.status.success(), "{}", String::from_utf8_lossy(&sound.stdout));

    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .open(copied.join("shunt.db"))
        .expect("the store file");
    file.seek(SeekFrom::Start(0)).expect("seek");
    file.write_all(&[0xA5; 8_192]).expect("damage");
    drop(file);
    let refused = shunt(&copied, &["serve"]);
    assert_eq!(refused.status.code(), Some(1));
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(words.contains("shunt.db") && words.contains("shunt "), "{words}");
    let unsound = shunt(&copied, &["verify"]);
    assert_eq!(unsound.status.code(), Some(1));
    app.finish().await;
}

#[tokio::test]
async fn a_backup_taken_while_serving_holds_links_and_keys() {
    let app = TestApp::start().await;
    let link = app.create(json!({"destination": "https://shop.example/kept"})).await;
    let code = link["code"].as_str().expect("a code").to_owned();
    let backup = app.folder().join("backup").display().to_string();
    let output = shunt(&app.data(), &["backup", &backup]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    app.api(Method::DELETE, &format!("/links/{code}"), None).await.assert_status(204);

    let refused = shunt(&app.data(), &["restore", &backup]);
    assert_eq!(refused.status.code(), Some(1), "restored below a running server");
    let fresh = app.folder().join("restored");
    let output = shunt(&fresh, &["restore", &backup]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let listed = shunt(&fresh, &["links", "export", "-", "--format", "ndjson"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("https://shop.example/kept"));
    app.finish().await;
}

#[tokio::test]
async fn a_damaged_row_is_gone_for_visitors_and_left_out_of_lists() {
    let app = TestApp::start().await;
    for alias in ["first", "planted", "third"] {
        app.create(json!({"destination": format!("https://shop.example/{alias}"), "alias": alias}))
            .await;
    }
    let app = app
        .restart_after_closing(async |data| {
            let store = rusqlite::Connection::open(data.join("shunt.db")).expect("the store");
            let plant = "UPDATE links SET destination = 'javascript:alert(1)' \
                 WHERE code = 'planted'";
            store.execute_batch(plant).expect("the row is changed");
        })
        .await;
    for _ in 0..5 {
        let answer = app.get("/planted").await;
        answer.assert_status(410);
        assert!(answer.header("location").is_none() && !answer.text().contains("alert"));
    }
    app.get("/first").await.assert_found("https://shop.example/first");
    assert!(app.metric("shunt_unservable_visits_total").await >= 5.0);
    let list = app.api(Method::GET, "/links?limit=2", None).await.assert_status(200).json();
    assert_eq!(list["data"].as_array().map(Vec::len), Some(1), "{list}");
    let next = format!("/links?limit=2&cursor={}", list["next_cursor"].as_str().expect("more"));
    let rest = app.api(Method::GET, &next, None).await.assert_status(200).json();
    assert_eq!((&rest["data"][0]["code"], &rest["next_cursor"]), (&json!("first"), &json!(null)));
    // The server says loudly that a row is damaged, so it is not asked whether it logged errors.
    drop(app.kill());
}
