//! Links through the API: create, read, change, list.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::TestApp;

#[tokio::test]
async fn a_created_link_has_every_field_of_the_contract() {
    let app = TestApp::start().await;
    let answer = app
        .api(
            Method::POST,
            "/links",
            Some(json!({
                "destination": "https://shop.example/a b", "alias": "spring", "title": "Spring",
                "tags": ["mail", "print"], "external_id": "crm-1", "notes": "two\nlines"
            })),
        )
        .await;
    answer.assert_status(201);
    assert!(answer.header("etag").is_some_and(|etag| etag.starts_with('"')));
    assert_eq!(answer.header("location"), Some("/api/v1/links/spring"));
    let link = answer.json();
    for field in [
        "id",
        "code",
        "domain",
        "short_url",
        "destination",
        "title",
        "notes",
        "tags",
        "status",
        "state",
        "redirect_status",
        "starts_at",
        "expires_at",
        "expired_url",
        "max_clicks",
        "password_protected",
        "rules",
        "utm",
        "forward_query",
        "external_id",
        "created_via",
        "created_by",
        "created_at",
        "updated_at",
        "clicks",
        "last_clicked_at",
        "version",
    ] {
        assert!(link.get(field).is_some(), "{field} is missing in {link}");
    }
    assert_eq!(link["destination"], "https://shop.example/a%20b");
    assert!(link["id"].is_string());
    assert_eq!(link["version"], 1);
    assert_eq!(link["created_via"], "api");
    assert!(link["created_at"].as_str().is_some_and(|at| at.ends_with('Z')));
    assert_eq!(link["short_url"], format!("{}/spring", app.url));
    let read = app.api(Method::GET, "/links/spring", None).await;
    assert_eq!(read.assert_status(200).json(), link);
    app.finish().await;
}

#[tokio::test]
async fn bad_destinations_are_refused_by_every_door() {
    let app = TestApp::start().await;
    app.create(json!({"destination": "https://shop.example/", "alias": "good"})).await;
    let own = format!("{}/good", app.url);
    let long = format!("https://shop.example/{}", "a".repeat(8_200));
    for url in [
        "",
        " ",
        "javascript:alert(1)",
        "data:text/html,x",
        "ftp://shop.example/",
        "//shop.example",
        "https://user:secret@shop.example/",
        "https://",
        "http://127.0.0.1/",
        "http://10.0.0.1/",
        "http://localhost/",
        "http://a.localhost/",
        "http://[::1]/",
        "http://0x7f.1/",
        "http://169.254.169.254/",
        "https://shop.example/\r\nSet-Cookie: x",
        "java\tscript:x",
        " https://shop.example/",
        "https://shop.example/\u{0}",
        "not a url",
        &own,
        &long,
    ] {
        let create = app.api(Method::POST, "/links", Some(json!({"destination": url}))).await;
        create.assert_problem(400, "invalid_url");
        let patch = app.api(Method::PATCH, "/links/good", Some(json!({"destination": url}))).await;
        patch.assert_problem(400, "invalid_url");
        let bulk = json!({"links": [{"destination": url}]});
        let bulk = app.api(Method::POST, "/links/bulk", Some(bulk)).await.json();
        assert_eq!(bulk["results"][0]["error"]["code"], "invalid_url", "{url:?}: {bulk}");
        let out = json!({"destination": "https://shop.example/", "expired_url": url});
        app.api(Method::POST, "/links", Some(out)).await.assert_problem(400, "invalid_url");
    }
    assert_eq!(app.api(Method::GET, "/links", None).await.json()["total"], 1);
    app.finish().await;
}

#[tokio::test]
async fn with_private_destinations_allowed_a_link_may_lead_to_a_neighbour_on_this_machine() {
    let app = TestApp::builder().set("SHUNT_DESTINATIONS__ALLOW_PRIVATE", "true").start().await;
    for (alias, url) in [
        ("name", "http://localhost:3000/"),
        ("loopback", "http://127.0.0.1:3000/"),
        ("private", "http://10.0.0.1/"),
    ] {
        app.create(json!({"destination": url, "alias": alias})).await;
        app.get(&format!("/{alias}")).await.assert_found(url);
    }
    let port = app.url.rsplit(':').next().expect("a port");
    for host in ["localhost", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"] {
        let body = json!({"destination": format!("http://{host}:{port}/name")});
        app.api(Method::POST, "/links", Some(body)).await.assert_problem(400, "invalid_url");
    }
    app.finish().await;
}

#[tokio::test]
async fn bad_aliases_are_refused_and_taken_ones_named() {
    let app = TestApp::start().await;
    let with = |alias: Value| json!({"destination": "https://shop.example/", "alias": alias});
    for alias in ["ab", "", "api", "ADMIN", "a b", "ä-umlaut", "a/b", "1abcdefg", "x\r\ny"] {
        app.api(Method::POST, "/links", Some(with(json!(alias))))
            .await
            .assert_problem(400, "invalid_alias");
    }
    app.api(Method::POST, "/links", Some(with(json!("a".repeat(51)))))
        .await
        .assert_problem(400, "invalid_alias");
    app.create(with(json!("taken"))).await;
    app.api(Method::POST, "/links", Some(with(json!("taken"))))
        .await
        .assert_problem(409, "alias_taken");
    app.api(Method::DELETE, "/links/taken", None).await.assert_status(204);
    app.api(Method::POST, "/links", Some(with(json!("taken"))))
        .await
        .assert_problem(409, "alias_taken");
    app.finish().await;
}

#[tokio::test]
async fn malformed_bodies_are_named_and_change_nothing() {
    let app = TestApp::start().await;
    let post = |body: Vec<u8>, kind: &'static str| {
        let request = app.request(Method::POST, "/api/v1/links").bearer_auth(&app.key);
        app.send(request.header("Content-Type", kind).body(body))
    };
    let json_kind = "application/json";
    for body in [
        &b"{"[..],
        b"",
        b"[]",
        b"null",
        b"\"x\"",
        b"{\"destination\": 5}",
        b"{\"destination\":\"https://a.example/\",\"surprise\":1}",
        b"{\"destination\":\"https://a.example/\",\"workspace\":\"1\"}",
        b"{\"destination\":\"https://a.example/\",\"destination\":\"https://b.example/\"}",
        b"{\"destination\":\"https://a.example/\xff\"}",
        b"{\"destination\":\"https://a.example/\",\"tags\":\"x\"}",
        b"{\"destination\":\"https://a.example/\",\"max_clicks\":-1}",
        b"{\"destination\":\"https://a.example/\",\"title\":\"a\\r\\nb\"}",
        b"{\"destination\":\"https://a.example/\",\"expires_in\":99999999999999999999}",
        b"{\"destination\":\"https://a.example/\",\"starts_at\":\"yesterday\"}",
        b"{\"destination\":\"https://a.example/\",\"redirect_status\":200}",
    ] {
        post(body.to_vec(), json_kind).await.assert_problem(400, "invalid_request");
    }
    let deep = [b"{\"destination\":".to_vec(), b"[".repeat(1_000)].concat();
    post(deep, json_kind).await.assert_problem(400, "invalid_request");
    post(vec![b' '; 70_000], json_kind).await.assert_problem(413, "body_too_large");
    post(b"{}".to_vec(), "text/plain").await.assert_problem(415, "unsupported_media_type");
    assert_eq!(app.api(Method::GET, "/links", None).await.json()["total"], 0);
    app.finish().await;
}

#[tokio::test]
async fn all_bad_fields_are_named_at_once() {
    let app = TestApp::start().await;
    let body = json!({
        "destination": "https://shop.example/", "title": "x".repeat(201),
        "tags": ["y".repeat(51)], "redirect_status": 418
    });
    let problem = app.api(Method::POST, "/links", Some(body)).await;
    problem.assert_problem(400, "invalid_request");
    let pointers: Vec<String> = problem.json()["errors"]
        .as_array()
        .expect("errors")
        .iter()
        .map(|error| error["pointer"].as_str().expect("a pointer").to_owned())
        .collect();
    for pointer in ["/title", "/tags/0", "/redirect_status"] {
        assert!(pointers.iter().any(|found| found == pointer), "{pointer} not in {pointers:?}");
    }
    app.finish().await;
}

#[tokio::test]
async fn stale_edits_are_refused_and_fresh_ones_counted_up() {
    let app = TestApp::start().await;
    let link = app.create(json!({"destination": "https://shop.example/", "alias": "edit"})).await;
    assert_eq!(link["version"], 1);
    let etag = app.api(Method::GET, "/links/edit", None).await;
    let etag = etag.header("etag").expect("an etag").to_owned();
    let patch = |etag: String, title: &'static str| {
        let request = app.request(Method::PATCH, "/api/v1/links/edit").bearer_auth(&app.key);
        app.send(request.header("If-Match", etag).json(&json!({"title": title})))
    };
    let changed = patch(etag.clone(), "first").await;
    assert_eq!(changed.assert_status(200).json()["version"], 2);
    patch(etag.clone(), "second").await.assert_problem(412, "precondition_failed");
    let delete = app.request(Method::DELETE, "/api/v1/links/edit").bearer_auth(&app.key);
    app.send(delete.header("If-Match", etag)).await.assert_problem(412, "precondition_failed");
    let read = app.api(Method::GET, "/links/edit", None).await.json();
    assert_eq!(read["title"], "first");
    let cleared = app.api(Method::PATCH, "/links/edit", Some(json!({"title": null}))).await;
    assert_ne!(cleared.assert_status(200).json()["title"], "first");
    app.finish().await;
}

#[tokio::test]
async fn a_new_alias_moves_the_link_and_reserves_the_old_code() {
    let app = TestApp::start().await;
    app.create(json!({"destination": "https://shop.example/", "alias": "before"})).await;
    app.get("/before").await.assert_found("https://shop.example/");
    let moved = app.api(Method::PATCH, "/links/before", Some(json!({"alias": "after"}))).await;
    assert_eq!(moved.assert_status(200).json()["code"], "after");
    app.get("/after").await.assert_found("https://shop.example/");
    app.get("/before").await.assert_status(404);
    app.api(Method::GET, "/links/before", None).await.assert_problem(404, "not_found");
    let again = json!({"destination": "https://shop.example/", "alias": "before"});
    app.api(Method::POST, "/links", Some(again)).await.assert_problem(409, "alias_taken");
    app.clicks_become("after", 2).await;
    app.finish().await;
}

#[tokio::test]
async fn a_repeated_request_is_answered_once() {
    let app = TestApp::start().await;
    let post = |body: Value| {
        let request = app.request(Method::POST, "/api/v1/links").bearer_auth(&app.key);
        app.send(request.header("Idempotency-Key", "order-1").json(&body))
    };
    let first = post(json!({"destination": "https://shop.example/"})).await;
    let second = post(json!({"destination": "https://shop.example/"})).await;
    assert_eq!(second.assert_status(201).json(), first.assert_status(201).json());
    assert_eq!(second.header("idempotency-replayed"), Some("true"));
    post(json!({"destination": "https://other.example/"}))
        .await
        .assert_problem(422, "idempotency_mismatch");
    assert_eq!(app.api(Method::GET, "/links", None).await.json()["total"], 1);
    app.finish().await;
}

#[tokio::test]
async fn a_repeated_request_that_was_refused_is_refused_the_same_again() {
    let app = TestApp::start().await;
    app.create(json!({"destination": "https://shop.example/", "alias": "taken"})).await;
    let good = r#"{"destination":"https://shop.example/2"}"#;
    for (name, path, body, status, code) in [
        ("url", "/links", r#"{"destination":"nonsense"}"#, 400, "invalid_url"),
        (
            "alias",
            "/links",
            r#"{"destination":"https://shop.example/","alias":"taken"}"#,
            409,
            "alias_taken",
        ),
        ("json", "/links", "{", 400, "invalid_request"),
        ("bulk", "/links/bulk", r#"{"links":5}"#, 400, "invalid_request"),
    ] {
        let post = |body: &'static str| {
            let request = app.request(Method::POST, &format!("/api/v1{path}"));
            let request = request.bearer_auth(&app.key).header("Idempotency-Key", name);
            app.send(request.header("Content-Type", "application/json").body(body))
        };
        let first = post(body).await;
        first.assert_problem(status, code);
        assert_eq!(first.header("idempotency-replayed"), None);
        let again = post(body).await;
        again.assert_problem(status, code);
        assert_eq!(again.header("idempotency-replayed"), Some("true"), "{name}");
        assert_eq!(again.body(), first.body(), "{name}");
        post(good).await.assert_problem(422, "idempotency_mismatch");
    }
    app.finish().await;
}

#[tokio::test]
async fn one_of_many_claims_of_an_alias_wins() {
    let app = TestApp::start().await;
    let claims = (0..100).map(|n| {
        let body = json!({"destination": format!("https://shop.example/{n}"), "alias": "only-one"});
        app.api(Method::POST, "/links", Some(body))
    });
    let answers = futures_util::future::join_all(claims).await;
    let won: Vec<Value> =
        answers.iter().filter(|answer| answer.status() == 201).map(|a| a.json()).collect();
    assert_eq!(won.len(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.status() == 409).count(), 99);
    let target = won[0]["destination"].as_str().expect("a destination").to_owned();
    app.get("/only-one").await.assert_found(&target);
    app.finish().await;
}

#[tokio::test]
async fn bulk_answers_in_order_with_good_and_bad_together() {
    let app = TestApp::start().await;
    let body = json!({"links": [
        {"destination": "https://shop.example/1", "alias": "bulk-1"},
        {"destination": "nonsense"},
        {"destination": "https://shop.example/3", "alias": "bulk-1"},
        {"destination": "https://shop.example/4"},
    ]});
    let answer = app.api(Method::POST, "/links/bulk", Some(body)).await;
    let answer = answer.assert_status(200).json();
    assert_eq!((&answer["created"], &answer["failed"]), (&json!(2), &json!(2)), "{answer}");
    assert_eq!(answer["results"][0]["link"]["code"], "bulk-1");
    assert_eq!(answer["results"][1]["error"]["code"], "invalid_url");
    assert_eq!(answer["results"][2]["error"]["code"], "alias_taken");
    assert_eq!(answer["results"][3]["link"]["created_via"], "bulk");
    app.finish().await;
}

#[tokio::test]
async fn lists_page_filter_search_and_sort() {
    let app = TestApp::start().await;
    for n in 0..30 {
        app.create(json!({
            "destination": format!("https://shop.example/item/{n}"),
            "alias": format!("item-{n:02}"), "title": format!("Item {n:02}"),
            "tags": if n % 2 == 0 { vec!["even"] } else { vec!["odd"] }
        }))
        .await;
    }
    let first = app.api(Method::GET, "/links?limit=20&sort=created_at", None).await.json();
    assert_eq!(first["total"], 30);
    assert_eq!(first["data"].as_array().map(Vec::len), Some(20));
    assert_eq!(first["data"][0]["code"], "item-00");
    let cursor = first["next_cursor"].as_str().expect("a cursor").to_owned();
    let rest = format!("/links?limit=20&sort=created_at&cursor={cursor}");
    let rest = app.api(Method::GET, &rest, None).await.json();
    assert_eq!(rest["data"].as_array().map(Vec::len), Some(10));
    assert_eq!(rest["next_cursor"], Value::Null);
    assert_eq!(rest["data"][9]["code"], "item-29");

    let forged = format!("/links?sort=created_at&cursor={}x", &cursor[..cursor.len() - 1]);
    app.api(Method::GET, &forged, None).await.assert_problem(400, "invalid_cursor");
    let other_sort = format!("/links?sort=title&cursor={cursor}");
    app.api(Method::GET, &other_sort, None).await.assert_problem(400, "invalid_cursor");

    for (query, total) in [
        ("q=ITEM%2F7", 1),
        ("q=item-1", 10),
        ("tag=even", 15),
        ("tag=even&tag=odd", 0),
        ("q=100%25", 0),
        ("state=active", 30),
        ("state=disabled", 0),
        ("created_via=api", 30),
        ("created_before=2020-01-01T00:00:00Z", 0),
    ] {
        let page = app.api(Method::GET, &format!("/links?{query}"), None).await.json();
        assert_eq!(page["total"], total, "{query}: {page}");
    }
    for query in ["limit=0", "limit=101", "limit=x", "sort=random", "state=odd", "created_after=x"]
    {
        let answer = app.api(Method::GET, &format!("/links?{query}"), None).await;
        answer.assert_problem(400, "invalid_request");
    }
    let tags = app.api(Method::GET, "/tags", None).await.json();
    assert!(tags.to_string().contains("even"), "{tags}");
    app.finish().await;
}

#[tokio::test]
async fn an_existing_link_is_found_instead_of_made_again() {
    let app = TestApp::start().await;
    let body = json!({"destination": "https://shop.example/same"});
    let made = app.api(Method::POST, "/links?find_if_exists=true", Some(body.clone())).await;
    let found = app.api(Method::POST, "/links?find_if_exists=true", Some(body)).await;
    assert_eq!(found.assert_status(200).json()["id"], made.assert_status(201).json()["id"]);
    app.finish().await;
}
