//! What belongs to another workspace is not there. No way of the API leads to a second workspace
//! in this version, so its link is put into the store before the server starts.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use shunt::domain::code::{Code, DomainId, LinkKey};
use shunt::domain::destination::Destination;
use shunt::domain::id::Id;
use shunt::domain::link::Link;
use shunt::storage::Claim;

use crate::harness::{Answer, TestApp};

const THEIR_TARGET: &str = "https://theirs.example/target";

fn key(code: &str) -> LinkKey {
    LinkKey::new(DomainId::DEFAULT, Code::parse(code.as_bytes()).expect("a code"))
}

fn their_link() -> Link {
    let destination = Destination::from_stored(THEIR_TARGET).expect("a destination");
    Link {
        title: "Their title".to_owned(),
        tags: vec!["their-tag".to_owned()],
        external_id: Some("their-id".to_owned()),
        ..Link::plain(Id(4_711), Id(77), key("theirs"), destination)
    }
}

/// A server with `theirs` of another workspace beside `mine` of the caller's.
async fn with_neighbour() -> TestApp {
    let app = TestApp::start().await;
    app.create(json!({"destination": "https://mine.example/", "alias": "mine"})).await;
    app.restart_after(async |stores| {
        let claimed = stores.links.claim(vec![their_link()], None).await.expect("the store writes");
        assert_eq!(claimed, [Claim::Won]);
    })
    .await
}

/// Every operation of the API that names one link, as the server itself describes them.
async fn operations_on_a_link(app: &TestApp) -> BTreeSet<(String, String)> {
    let document = app.get("/api/v1/openapi.json").await.json();
    let paths = document["paths"].as_object().expect("paths");
    let named = paths.iter().filter_map(|(path, item)| {
        let path = path.strip_prefix("/api/v1")?;
        path.contains("{code}").then(|| (path.to_owned(), item.clone()))
    });
    let methods = named.flat_map(|(path, item)| {
        let methods: Vec<String> = item.as_object().expect("methods").keys().cloned().collect();
        methods.into_iter().map(move |method| (method.to_uppercase(), path.clone()))
    });
    methods.collect()
}

async fn call(app: &TestApp, method: &str, path: &str, if_match: Option<&str>) -> Answer {
    let verb = Method::from_bytes(method.as_bytes()).expect("a method");
    let mut request = app.request(verb, &format!("/api/v1{path}")).bearer_auth(&app.key);
    if method == "PATCH" {
        request = request.json(&json!({"title": "mine now"}));
    }
    if let Some(etag) = if_match {
        request = request.header("If-Match", etag);
    }
    app.send(request).await
}

#[tokio::test]
async fn no_operation_can_tell_a_foreign_link_from_none() {
    let app = with_neighbour().await;
    let operations = operations_on_a_link(&app).await;
    let methods: BTreeSet<&str> = operations.iter().map(|(method, _)| method.as_str()).collect();
    assert!(methods.is_superset(&BTreeSet::from(["GET", "PATCH", "DELETE", "POST"])));
    for (method, path) in &operations {
        for query in ["", "?erase_clicks=true", "?domain=127.0.0.1"] {
            for if_match in [None, Some("\"1\""), Some("\"999\""), Some("*")] {
                let there = path.replace("{code}", "theirs") + query;
                let nowhere = path.replace("{code}", "never-was") + query;
                let answer = call(&app, method, &there, if_match).await;
                let unknown = call(&app, method, &nowhere, if_match).await;
                answer.assert_problem(404, "not_found");
                assert_eq!(answer.body(), unknown.body(), "{method} {there}");
            }
        }
    }
    app.get("/theirs").await.assert_found(THEIR_TARGET);
    let app = app
        .restart_after(async |stores| {
            let link = stores.links.fetch(&key("theirs")).await.expect("the store reads");
            assert_eq!(link, Some(their_link()));
            let totals = stores.clicks.totals(&[Id(4_711)]).await.expect("the store reads");
            assert_eq!(totals[0].clicks, 1);
        })
        .await;
    app.finish().await;
}

#[tokio::test]
async fn lists_searches_and_tags_show_the_callers_own_only() {
    let app = with_neighbour().await;
    let all = app.api(Method::GET, "/links", None).await.json();
    assert_eq!((&all["total"], &all["data"][0]["code"]), (&json!(1), &json!("mine")));
    for query in ["q=theirs", "q=their%20title", "tag=their-tag", "external_id=their-id"] {
        let page = app.api(Method::GET, &format!("/links?{query}"), None).await.json();
        assert_eq!((&page["total"], &page["data"]), (&json!(0), &json!([])), "{query}");
    }
    let tags = app.api(Method::GET, "/tags", None).await.json();
    assert_eq!((&tags["total"], &tags["data"]), (&json!(0), &json!([])));
    app.finish().await;
}

#[tokio::test]
async fn a_foreign_link_stands_in_for_nothing_but_its_code() {
    let app = with_neighbour().await;
    let same = json!({"destination": THEIR_TARGET, "external_id": "their-id"});
    let made = app.api(Method::POST, "/links?find_if_exists=true", Some(same)).await;
    assert_ne!(made.assert_status(201).json()["code"], "theirs");
    let alias = json!({"destination": "https://mine.example/", "alias": "theirs"});
    app.api(Method::POST, "/links", Some(alias)).await.assert_problem(409, "alias_taken");
    let moved = app.api(Method::PATCH, "/links/mine", Some(json!({"alias": "theirs"}))).await;
    moved.assert_problem(409, "alias_taken");
    let rows = [json!({"code": "theirs", "destination": THEIR_TARGET})];
    let imported = app.import(1, &rows).await;
    assert_eq!(imported["results"][0]["outcome"], "taken", "{imported}");
    app.get("/theirs").await.assert_found(THEIR_TARGET);
    app.finish().await;
}

#[tokio::test]
async fn ids_that_no_key_of_the_workspace_has_revoke_nothing() {
    let app = with_neighbour().await;
    for id in ["4711", "0", "18446744073709551615", "99999999999999999999999", "x", "-1"] {
        let answer = app.api(Method::DELETE, &format!("/api-keys/{id}"), None).await;
        answer.assert_problem(404, "not_found");
    }
    let keys: Value = app.api(Method::GET, "/api-keys", None).await.assert_status(200).json();
    assert_eq!(keys["total"], 1);
    app.finish().await;
}
