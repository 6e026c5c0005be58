//! Every scheme of generated codes, from the setting to the redirect.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use reqwest::Method;
use serde_json::{Value, json};
use shunt::domain::scheme::hash_code;

use crate::harness::{TestApp, shunt};

async fn with_scheme(scheme: &str) -> TestApp {
    TestApp::builder().set("SHUNT_CODES__SCHEME", scheme).start().await
}

fn code_of(link: &Value) -> String {
    link["code"].as_str().expect("a code").to_owned()
}

fn is_base62(code: &str) -> bool {
    code.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn looks_sealed(code: &str) -> bool {
    code.len() == 8 && code.as_bytes()[0].is_ascii_digit() && is_base62(code)
}

/// Creates links one by one and in bulk, before and after a kill, and follows all of them.
async fn assert_scheme(scheme: &str, fits: impl Fn(&str) -> bool) {
    let mut app = with_scheme(scheme).await;
    let mut known: Vec<(String, String)> = Vec::new();
    for round in 0..2 {
        for n in 0..10 {
            let target = format!("https://shop.example/{round}/{n}");
            let link = app.create(json!({"destination": target})).await;
            known.push((code_of(&link), target));
        }
        let targets: Vec<String> =
            (0..40).map(|n| format!("https://shop.example/{round}/bulk/{n}")).collect();
        let links: Vec<Value> = targets.iter().map(|to| json!({"destination": to})).collect();
        let bulk = app.api(Method::POST, "/links/bulk", Some(json!({"links": links}))).await.json();
        assert_eq!(bulk["created"], 40, "{bulk}");
        let results = bulk["results"].as_array().expect("results");
        known.extend(results.iter().map(|item| code_of(&item["link"])).zip(targets));

        app = app.kill_and_restart().await;
        for (code, target) in &known {
            app.get(&format!("/{code}")).await.assert_found(target);
        }
    }
    let codes: BTreeSet<&str> = known.iter().map(|(code, _)| code.as_str()).collect();
    assert_eq!(codes.len(), known.len(), "a code was given out twice");
    for code in codes {
        assert!(fits(code), "{code} is no {scheme} code");
        assert!(scheme == "sealed" || !looks_sealed(code), "{code} looks sealed");
    }
    app.finish().await;
}

#[tokio::test]
async fn sealed_codes_have_eight_characters_and_begin_with_a_digit() {
    assert_scheme("sealed", looks_sealed).await;
}

#[tokio::test]
async fn snowflake_codes_have_eleven_characters() {
    assert_scheme("snowflake", |code| code.len() == 11 && is_base62(code)).await;
}

#[tokio::test]
async fn random_codes_have_seven_characters() {
    assert_scheme("random", |code| code.len() == 7 && is_base62(code)).await;
}

#[tokio::test]
async fn hash_codes_have_seven_characters() {
    assert_scheme("hash", |code| code.len() == 7 && is_base62(code)).await;
}

#[tokio::test]
async fn codes_of_snowflake_links_carry_their_ids_in_order() {
    let app = with_scheme("snowflake").await;
    let mut codes = Vec::new();
    for n in 0..5 {
        let link = app.create(json!({"destination": format!("https://shop.example/{n}")})).await;
        codes.push(code_of(&link));
    }
    assert!(codes.is_sorted(), "{codes:?}");
    app.finish().await;
}

#[tokio::test]
async fn the_same_url_gives_the_same_hash_code() {
    let app = with_scheme("hash").await;
    let body = json!({"destination": "https://shop.example/same"});
    let first = app.create(body.clone()).await;
    let again = app.api(Method::POST, "/links", Some(body.clone())).await;
    assert_eq!(again.assert_status(200).json()["id"], first["id"]);
    let bulk = json!({"links": [body, {"destination": "https://shop.example/two"},
                                {"destination": "https://shop.example/two"}]});
    let bulk = app.api(Method::POST, "/links/bulk", Some(bulk)).await.json();
    assert_eq!((&bulk["created"], &bulk["failed"]), (&json!(1), &json!(0)), "{bulk}");
    assert_eq!(bulk["results"][0]["link"]["code"], first["code"]);
    assert_eq!(bulk["results"][1]["link"]["id"], bulk["results"][2]["link"]["id"]);
    let code = code_of(&first);
    assert_eq!(code, hash_code("https://shop.example/same", 0, 7).as_str());
    app.finish().await;

    let elsewhere = with_scheme("hash").await;
    let same = elsewhere.create(json!({"destination": "https://shop.example/same"})).await;
    assert_eq!(same["code"], first["code"], "another installation makes the same code");
    elsewhere.finish().await;
}

#[tokio::test]
async fn a_link_with_wishes_of_its_own_gets_a_hash_code_of_its_own() {
    let app = with_scheme("hash").await;
    let url = "https://shop.example/often";
    let plain = app.create(json!({"destination": url})).await;
    let mut codes = BTreeSet::from([code_of(&plain)]);
    // More than the codes that are tried for one link.
    for n in 0..25 {
        let titled = app.create(json!({"destination": url, "title": format!("No. {n}")})).await;
        assert!(codes.insert(code_of(&titled)), "{codes:?} {titled}");
        app.get(&format!("/{}", code_of(&titled))).await.assert_found(url);
    }
    let plain_code = code_of(&plain);
    app.api(Method::DELETE, &format!("/links/{plain_code}"), None).await.assert_status(204);
    // Who has no wishes is served by any link that is left, and by no deleted one.
    let anew = app.api(Method::POST, "/links", Some(json!({"destination": url}))).await;
    let anew = code_of(&anew.assert_status(200).json());
    assert!(anew != plain_code && codes.contains(&anew), "{anew}");
    app.finish().await;
}

#[tokio::test]
async fn codes_grow_after_five_collisions() {
    let app = TestApp::builder()
        .set("SHUNT_CODES__SCHEME", "hash")
        .set("SHUNT_CODES__ALLOW_CHOICE", "true")
        .start()
        .await;
    let url = "https://shop.example/crowded";
    let mut lengths = Vec::new();
    for n in 0..12 {
        let body = json!({"destination": url, "title": n.to_string(), "code_length": 6});
        lengths.push(code_of(&app.create(body).await).len());
    }
    assert_eq!(lengths, [6, 6, 6, 6, 6, 7, 7, 7, 7, 7, 8, 8]);
    app.finish().await;
}

#[tokio::test]
async fn no_alias_may_look_sealed_whatever_the_scheme() {
    for scheme in ["sealed", "random"] {
        let app = with_scheme(scheme).await;
        app.create(json!({"destination": "https://shop.example/", "alias": "spring"})).await;
        for alias in ["1abcdefg", "00000000", "9ZZZZZZZ"] {
            let body = json!({"destination": "https://shop.example/", "alias": alias});
            let create = app.api(Method::POST, "/links", Some(body)).await;
            create.assert_problem(400, "invalid_alias");
            let moved = json!({"alias": alias});
            let moved = app.api(Method::PATCH, "/links/spring", Some(moved)).await;
            moved.assert_problem(400, "invalid_alias");
        }
        for alias in ["abcdefg1", "1abcdef", "1abcdefgh", "1abc-efg"] {
            app.create(json!({"destination": "https://shop.example/", "alias": alias})).await;
        }
        app.finish().await;
    }
}

#[tokio::test]
async fn the_choice_of_a_scheme_is_the_operators_to_allow() {
    let app = TestApp::start().await;
    let body = json!({"destination": "https://shop.example/", "code_scheme": "random"});
    let refused = app.api(Method::POST, "/links", Some(body.clone())).await;
    refused.assert_problem(400, "invalid_request");
    app.finish().await;

    let free = TestApp::builder().set("SHUNT_CODES__ALLOW_CHOICE", "true").start().await;
    for (scheme, length) in [("sealed", 8), ("snowflake", 11), ("random", 7), ("hash", 7)] {
        let body = json!({"destination": "https://shop.example/", "code_scheme": scheme});
        assert_eq!(code_of(&free.create(body).await).len(), length, "{scheme}");
    }
    let body = json!({"destination": "https://shop.example/", "code_scheme": "random",
                      "code_length": 12});
    assert_eq!(code_of(&free.create(body).await).len(), 12);
    free.finish().await;
}

#[tokio::test]
async fn an_older_sealing_key_keeps_opening_its_codes() {
    let app = TestApp::start().await;
    let old = app.create(json!({"destination": "https://shop.example/old"})).await;
    let file = app.data().join("keys.toml");
    let app = app
        .restart_after(async |_stores| {
            let mut secrets = std::fs::read_to_string(&file).expect("the keys");
            let secret = "5a".repeat(32);
            let _ = write!(secrets, "\n[[seal]]\nversion = 2\nsecret = \"{secret}\"\n");
            std::fs::write(&file, secrets).expect("the keys are written");
        })
        .await;
    let new = app.create(json!({"destination": "https://shop.example/new"})).await;
    for _ in 0..2 {
        app.get(&format!("/{}", code_of(&old))).await.assert_found("https://shop.example/old");
        app.get(&format!("/{}", code_of(&new))).await.assert_found("https://shop.example/new");
    }
    app.finish().await;
}

#[tokio::test]
async fn an_import_takes_the_scheme_and_length_where_the_operator_lets_it() {
    let app = TestApp::builder().set("SHUNT_CODES__ALLOW_CHOICE", "true").start().await;
    let file = app.folder().join("rows.csv");
    let csv = "destination,code_scheme,code_length\nhttps://shop.example/long,random,12\n\
               https://shop.example/hash,hash,9\nhttps://shop.example/plain,,\n";
    std::fs::write(&file, csv).expect("a file");
    let file = file.display().to_string();
    let arguments = ["links", "import", &file, "--url", &app.url, "--key", &app.key];
    let output = shunt(&app.data(), &arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let links = app.api(Method::GET, "/links?sort=created_at", None).await.json();
    let codes: Vec<String> = (0..3).map(|n| code_of(&links["data"][n])).collect();
    assert_eq!(codes[0].len(), 12);
    assert_eq!(codes[1], hash_code("https://shop.example/hash", 0, 9).as_str());
    assert!(looks_sealed(&codes[2]), "{codes:?}");
    app.finish().await;

    let app = TestApp::start().await;
    let rows = [
        json!({"destination": "https://shop.example/", "code_scheme": "random"}),
        json!({"destination": "https://shop.example/", "code_length": 9}),
        json!({"destination": "https://shop.example/", "code_scheme": "sealed"}),
        json!({"destination": "https://shop.example/", "code_scheme": "odd"}),
    ];
    let answer = app.import(1, &rows).await;
    let outcomes = [0, 1, 2, 3].map(|n| answer["results"][n]["outcome"].clone());
    assert_eq!(outcomes, ["invalid", "invalid", "created", "invalid"], "{answer}");
    app.finish().await;
}
