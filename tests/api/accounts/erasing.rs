//! Leaving for good: what stays, and what must not.

use std::path::Path;

use reqwest::Method;
use serde_json::json;
use shunt::storage::embedded::{Embedded, Mode};

use crate::harness::{PASSWORD, TestApp};

/// Files below `folder` that hold one of `words`, in whatever case.
fn traces(folder: &Path, words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(traces(&path, words));
            continue;
        }
        // A server that runs may have put a file away meanwhile.
        let Ok(bytes) = std::fs::read(&path) else { continue };
        let bytes = bytes.to_ascii_lowercase();
        for word in words {
            let word = word.to_ascii_lowercase();
            if bytes.windows(word.len()).any(|window| window == word.as_bytes()) {
                found.push(format!("{word} in {}", path.display()));
            }
        }
    }
    found
}

#[tokio::test]
async fn an_erased_account_leaves_no_trace_and_its_links_stop() {
    let app = TestApp::builder().set("SHUNT_TOKENS__ISSUER", "https://go.example").start().await;
    let ada = app.register("ada-to-be-erased").await;
    let others: Vec<_> = futures_util::future::join_all(
        ["b", "c", "d", "e", "f", "g", "h", "i", "j", "k"].map(|name| app.register(name)),
    )
    .await;
    let long = "ada-to-be-erased wrote this. ".repeat(60);
    for n in 0..30 {
        let body = json!({
            "destination": format!("https://shop.example/?by=ada-to-be-erased&n={n}"),
            "alias": format!("of-ada-{n}"), "title": "of ada-to-be-erased", "notes": long,
            "tags": ["ada-to-be-erased"],
        });
        app.by(&ada, Method::POST, "/links", Some(body)).await.assert_status(201);
    }
    app.by(
        &ada,
        Method::PATCH,
        "/links/of-ada-1",
        Some(json!({"destination": "https://b.example/"})),
    )
    .await
    .assert_status(200);
    app.by(&ada, Method::POST, "/api-keys", Some(json!({"name": "ada-to-be-erased"})))
        .await
        .assert_status(201);
    let renamed = Some(json!({"name": "Ada-To-Be-Erased"}));
    app.by(&ada, Method::PATCH, "/me", renamed).await.assert_status(200);
    app.get("/of-ada-2").await.assert_status(302);
    app.api(Method::GET, "/links", None).await.assert_status(200);
    let before = app.by(&ada, Method::GET, "/stats", None).await.assert_status(200).json();
    assert_eq!(before["links"]["total"], 30);
    let app = app.restart().await;
    assert!(!traces(&app.data(), &["ada-to-be-erased"]).is_empty(), "nothing to be erased");

    let erase =
        |password: &str| app.by(&ada, Method::DELETE, "/me", Some(json!({"password": password})));
    erase("wrong").await.assert_problem(401, "invalid_credentials");
    erase(PASSWORD).await.assert_status(204);
    app.get("/of-ada-2").await.assert_status(404);
    app.by(&ada, Method::GET, "/me", None).await.assert_problem(401, "token_expired");
    app.refresh(&ada.refresh).await.assert_problem(401, "invalid_token");
    app.log_in(&ada.email, PASSWORD).await.assert_problem(401, "invalid_credentials");
    app.by(&others[7], Method::GET, "/me", None).await.assert_status(200);
    let taken = json!({"destination": "https://shop.example/", "alias": "of-ada-2"});
    let taken = app.api(Method::POST, "/links", Some(taken)).await;
    taken.assert_problem(409, "alias_taken");

    let folder = app.finish_and_keep().await;
    let data = folder.path().join("data");
    assert_eq!(traces(&data, &["ada-to-be-erased", &ada.email]), Vec::<String>::new());
    let store = Embedded::open(&data, Mode::Existing).expect("the store opens");
    let links = store.stores().links.count().await.expect("a number");
    assert_eq!(links, 30, "codes stay reserved");
}

#[tokio::test]
async fn the_last_owner_of_a_shared_workspace_hands_it_over_first() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.register("ada").await, app.register("bob").await);
    let there = app.join(&ada, &bob, "member").await;
    let link = json!({"destination": "https://shop.example/", "alias": "shared"});
    app.by(&ada, Method::POST, "/links", Some(link)).await.assert_status(201);
    let erase = || app.by(&ada, Method::DELETE, "/me", Some(json!({"password": PASSWORD})));
    erase().await.assert_problem(409, "conflict");
    let path = format!("/members/{}", bob.id);
    app.by(&ada, Method::PATCH, &path, Some(json!({"role": "owner"}))).await.assert_status(200);
    erase().await.assert_status(204);
    app.get("/shared").await.assert_found("https://shop.example/");
    let seen = app.by(&there, Method::GET, "/links/shared", None).await.assert_status(200).json();
    assert_eq!(seen["created_by"], ada.id, "an id names nobody");
    app.finish().await;
}

#[tokio::test]
async fn links_of_an_erased_account_stop_even_if_the_process_dies_on_the_way() {
    let app = TestApp::builder().set("SHUNT_LIMITS__LINK_CREATES_PER_HOUR", "0").start().await;
    let ada = app.register("ada").await;
    let links: Vec<_> = (0..900)
        .map(|n| json!({"destination": "https://shop.example/", "alias": format!("ada-{n}")}))
        .collect();
    let bulk = Some(json!({"links": links}));
    app.by(&ada, Method::POST, "/links/bulk", bulk).await.assert_status(200);
    let body = Some(json!({"password": PASSWORD}));
    let erase = app.by(&ada, Method::DELETE, "/me", body);
    // Whatever was done by then is enough, or is done by the next process.
    let _ = tokio::time::timeout(std::time::Duration::from_millis(150), erase).await;
    let app = app.kill_and_restart().await;
    let was_erased = app.log_in(&ada.email, PASSWORD).await.status() == 401;
    if was_erased {
        let deadline = std::time::Instant::now() + crate::harness::SOON;
        while app.get("/ada-899").await.status() != 404 || app.get("/ada-0").await.status() != 404 {
            assert!(std::time::Instant::now() < deadline, "links are still there");
            tokio::task::yield_now().await;
        }
    }
    app.finish().await;
}
