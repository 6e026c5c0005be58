//! The store's file goes away or is spoilt below a running server, and across a restart.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use reqwest::Method;
use rusqlite::Connection;
use serde_json::json;
use shunt::storage::embedded::{Embedded, Mode};

use crate::harness::{Killed, SOON, TestApp, shunt};

const PAGE: u64 = 4_096;

/// A server with everything in the one file, nothing in the log beside it, and its links by code.
async fn server_with_links(n: usize) -> (TestApp, Vec<(String, String)>) {
    let app = TestApp::start().await;
    let mut links = Vec::new();
    for n in 0..n {
        let target = format!("https://shop.example/{n}");
        let link = app.create(json!({"destination": target})).await;
        links.push((link["code"].as_str().expect("a code").to_owned(), target));
    }
    let data = app.data();
    let killed = app.kill();
    let store = Connection::open(data.join("shunt.db")).expect("the store");
    store.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").expect("write the log back");
    drop(store);
    (killed.start().await, links)
}

fn store_file(app: &TestApp) -> PathBuf {
    app.data().join("shunt.db")
}

/// `shunt serve` must give up at once, with exit code 1 and these words.
fn assert_refuses(data: &Path, words: &[&str]) {
    let refused = shunt(data, &["serve"]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{told}");
    for word in words {
        assert!(told.contains(word), "{word:?} is missing in {told}");
    }
}

async fn assert_all_redirect(app: &TestApp, links: &[(String, String)]) {
    for (code, target) in links {
        app.get(&format!("/{code}")).await.assert_found(target);
    }
}

async fn health_becomes(app: &TestApp, status: &str) -> String {
    let deadline = Instant::now() + SOON;
    loop {
        let answer = app.ops_get("/healthz").await;
        let health = answer.json();
        if health["checks"]["store"][0]["status"] == status {
            return answer.text().to_owned();
        }
        assert!(Instant::now() < deadline, "not {status}: {health}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_deleted_store_stops_promises_but_no_redirect() {
    let (app, links) = server_with_links(5).await;
    let backup = app.folder().join("backup").display().to_string();
    assert!(shunt(&app.data(), &["backup", &backup]).status.success());
    assert_all_redirect(&app, &links).await;
    fs::remove_file(store_file(&app)).expect("delete the store");

    // A link that is answered with 201 now would be gone with the process.
    let lost = app.api(Method::POST, "/links", Some(json!({"destination": links[0].1}))).await;
    lost.assert_status(503);
    assert_eq!(lost.json()["code"], "unavailable");
    assert_all_redirect(&app, &links).await;
    let told = health_becomes(&app, "fail").await;
    assert!(told.contains("shunt.db was deleted"), "{told}");
    app.ops_get("/readyz").await.assert_status(200);

    let data = app.data();
    let killed = app.kill();
    // An empty store in its place would answer every link with 404.
    assert_refuses(&data, &["shunt.db is missing", "shunt restore"]);
    assert!(!data.join("shunt.db").exists(), "a store was made");
    let restored = shunt(&data, &["restore", &backup]);
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    let app = killed.start().await;
    assert_all_redirect(&app, &links).await;
    // The backup knows of no click; the journal, which outlived the store, of all.
    app.clicks_become(&links[0].0, 3).await;
    app.finish().await;
}

#[tokio::test]
async fn a_lost_store_is_not_made_anew_where_no_clicks_are_counted_either() {
    let app = TestApp::builder().set("SHUNT_CLICKS__ENABLED", "false").start().await;
    let data = app.data();
    app.create(json!({"destination": "https://shop.example/"})).await;
    let killed = app.kill();
    // Nothing but the keys tells that there was a store: its codes would be given out again.
    let _ = fs::remove_dir_all(data.join("journal"));
    for name in ["shunt.db", "shunt.db-wal", "shunt.db-shm"] {
        fs::remove_file(data.join(name)).expect("delete the store");
    }
    let words = ["shunt.db is missing", "shunt restore", "keys.toml"];
    assert_refuses(&data, &words);
    fs::write(data.join("shunt.db"), b"").expect("an empty file");
    assert_refuses(&data, &words);
    fs::remove_file(data.join("shunt.db")).expect("remove the empty file");
    fs::remove_file(data.join("keys.toml")).expect("begin anew, as the message says");
    let migrated = shunt(&data, &["migrate"]);
    assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
    drop(killed);
}

#[tokio::test]
async fn damaged_counts_and_a_damaged_hot_link_stop_no_start() {
    let (app, links) = server_with_links(3).await;
    for (code, target) in &links {
        app.get(&format!("/{code}")).await.assert_found(target);
        app.clicks_become(code, 1).await;
    }
    // A stop in good order brings the counts into the store, which name the hottest links.
    let app = app.restart().await;
    let data = app.data();
    let killed = app.kill();
    let store = Connection::open(data.join("shunt.db")).expect("the store");
    store
        .execute_batch(
            "INSERT OR REPLACE INTO click_pages (id, body) VALUES (3 << 48, zeroblob(9));
             UPDATE links SET destination = 'https://evil.example/'
             WHERE id = (SELECT max(id) FROM links)",
        )
        .expect("damage it");
    drop(store);
    let app = killed.start().await;
    assert_all_redirect(&app, &links[..2]).await;
    // Whoever asks for the damaged one is led nowhere.
    app.get(&format!("/{}", links[2].0)).await.assert_status(410);
    // Not in good order: the damaged row is told as an error.
    app.kill();
}

#[tokio::test]
async fn what_fails_is_logged_with_the_ids_of_request_and_trace() {
    let app = TestApp::start().await;
    fs::remove_file(store_file(&app)).expect("delete the store");
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let request = app.request(Method::POST, "/api/v1/links").bearer_auth(&app.key);
    let request = request
        .header("X-Request-Id", "order-7")
        .header("traceparent", format!("00-{trace}-b7ad6b7169203331-01"))
        .json(&json!({"destination": "https://shop.example/"}));
    app.send(request).await.assert_status(503);
    let deadline = Instant::now() + SOON;
    // The cause is found in a task of its own, the answer is seen around it.
    for message in ["no code or id was made", "an API request failed"] {
        loop {
            let lines = app.logged();
            let line = lines.iter().find(|line| line["message"] == message);
            if let Some(line) = line {
                let ids = (&line["span"]["request_id"], &line["span"]["trace_id"]);
                assert_eq!(ids, (&json!("order-7"), &json!(trace)), "{line}");
                break;
            }
            assert!(Instant::now() < deadline, "{message} is not logged: {lines:?}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
    app.kill();
}

#[tokio::test]
async fn a_store_that_was_replaced_below_the_server_takes_no_writes() {
    let (app, links) = server_with_links(1).await;
    let (file, copy) = (store_file(&app), app.data().join("copy"));
    fs::copy(&file, &copy).expect("copy the store");
    fs::rename(&copy, &file).expect("replace the store");
    let lost = app.api(Method::POST, "/links", Some(json!({"destination": links[0].1}))).await;
    lost.assert_status(503);
    assert_all_redirect(&app, &links).await;
    let told = health_becomes(&app, "fail").await;
    assert!(told.contains("shunt.db was replaced"), "{told}");
    let app = app.kill_and_restart().await;
    app.create(json!({"destination": links[0].1})).await;
    health_becomes(&app, "pass").await;
    app.finish().await;
}

#[tokio::test]
async fn a_stop_in_good_order_leaves_the_store_in_its_one_file() {
    let app = TestApp::start().await;
    let target = "https://shop.example/whole";
    for _ in 0..40 {
        app.create(json!({"destination": target})).await;
    }
    let data = app.data();
    let _kept = app.finish_and_keep().await;
    assert!(!data.join("shunt.db-wal").exists(), "the store was not closed");
    let copy = tempfile::tempdir().expect("a folder");
    fs::copy(data.join("shunt.db"), copy.path().join("shunt.db")).expect("copy the one file");
    fs::copy(data.join("keys.toml"), copy.path().join("keys.toml")).expect("copy the keys");
    let exported = shunt(copy.path(), &["links", "export", "-", "--format", "ndjson"]);
    assert_eq!(String::from_utf8_lossy(&exported.stdout).matches(target).count(), 40);
}

#[tokio::test]
async fn what_cannot_be_opened_is_named() {
    let (app, _) = server_with_links(1).await;
    let data = app.data();
    let killed = app.kill();
    let (file, aside) = (data.join("shunt.db"), data.join("aside"));
    fs::rename(&file, &aside).expect("set the store aside");
    // Root may read everything, but not a folder as if it were a file.
    fs::create_dir(&file).expect("put a folder in its place");
    assert_refuses(&data, &["shunt.db"]);
    fs::remove_dir(&file).expect("remove the folder");
    fs::rename(&aside, &file).expect("put the store back");
    killed.start().await.finish().await;
}

#[tokio::test]
async fn pages_overwritten_below_a_running_server_never_lead_astray() {
    let mut refused = 0;
    for seed in 1..=4_u64 {
        let (app, links) = server_with_links(40).await;
        let file = fs::OpenOptions::new().write(true).open(store_file(&app)).expect("the store");
        assert_all_redirect(&app, &links).await;
        let n_pages = file.metadata().expect("its length").len() / PAGE;
        // The first page in one round, every second page in the others.
        let spoilt = (0..n_pages).filter(|page| if seed == 1 { *page == 0 } else { page % 2 == 1 });
        for page in spoilt {
            let noise = noise(seed * 1_000 + page);
            file.write_all_at(&noise, page * PAGE).expect("spoil a page");
        }
        assert_all_redirect(&app, &links).await;
        let data = app.data();
        let killed = app.kill();
        // The log beside the file may hold sound copies of the pages: it goes as well.
        for beside in ["shunt.db-wal", "shunt.db-shm"] {
            fs::remove_file(data.join(beside)).expect("the log of a killed server");
        }
        assert_eq!(shunt(&data, &["verify"]).status.code(), Some(1), "seed {seed}");
        refused += u64::from(serves_right_or_refuses(killed, &links).await);
    }
    assert!(refused > 0, "the first page was overwritten and the store was served");
}

/// True when the server refused. If it serves, a link may be gone but must not lead elsewhere.
async fn serves_right_or_refuses(killed: Killed, links: &[(String, String)]) -> bool {
    match killed.try_start().await {
        Err(told) => {
            assert!(told.contains("shunt.db") && told.contains("shunt verify"), "{told}");
            assert!(told.contains("shunt restore"), "{told}");
            true
        }
        Ok(app) => {
            for (code, target) in links {
                let answer = app.get(&format!("/{code}")).await;
                if answer.status() == 302 {
                    answer.assert_found(target);
                }
            }
            app.kill();
            false
        }
    }
}

/// A page of the same noise for the same seed.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..PAGE / 8).flat_map(|_| next()).collect()
}

#[test]
fn a_first_start_that_was_cut_short_begins_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    Embedded::open(&data, Mode::Create).expect("a store without keys and owner").close();
    let made = shunt(&data, &["migrate"]);
    let text = String::from_utf8_lossy(&made.stdout);
    assert!(made.status.success() && text.starts_with("owner API key: shunt_"), "{made:?}");
    assert!(shunt(&data, &["verify"]).status.success());
}
