//! Sessions of browsers: tokens in cookies, and who may use them.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, PASSWORD, TestApp};

/// The cookies that an answer sets, as a browser sends them back.
fn jar(answer: &Answer) -> String {
    let cookies = answer.all("set-cookie");
    let pairs = cookies.iter().filter_map(|cookie| cookie.split(';').next());
    pairs.collect::<Vec<_>>().join("; ")
}

#[tokio::test]
async fn a_browser_holds_its_session_in_cookies_that_scripts_do_not_see() {
    let app = TestApp::start().await;
    let ada = app.register("ada").await;
    let body = json!({"email": ada.email, "password": PASSWORD, "cookies": true});
    let signed_in = app.post("/auth/login", body).await;
    let shown = signed_in.assert_status(200).json();
    assert!(shown["access_token"] == Value::Null && shown["refresh_token"] == Value::Null);
    let set = signed_in.all("set-cookie");
    assert_eq!(set.len(), 2);
    for cookie in &set {
        assert!(cookie.starts_with("__Host-shunt_"), "{cookie}");
        for word in ["HttpOnly", "Secure", "SameSite=Lax", "Path=/"] {
            assert!(cookie.contains(word), "{cookie}");
        }
        assert!(!cookie.contains("Domain"), "{cookie}");
    }
    let jar_before = jar(&signed_in);
    let call = |method: Method, path: &str, jar: &str, site: &str| {
        let request = app.request(method, &format!("/api/v1{path}")).header("Cookie", jar);
        request.header("Sec-Fetch-Site", site)
    };
    app.send(call(Method::GET, "/me", &jar_before, "same-origin")).await.assert_status(200);

    let link = json!({"destination": "https://shop.example/"});
    for (site, status) in [("cross-site", 403), ("same-site", 403), ("none", 403)] {
        let request = call(Method::POST, "/links", &jar_before, site).json(&link);
        app.send(request).await.assert_problem(status, "forbidden");
    }
    let request = call(Method::POST, "/links", &jar_before, "same-origin").json(&link);
    let made = app.send(request).await.assert_status(201).json();
    assert_eq!(made["created_by"], ada.id);

    let request = call(Method::POST, "/auth/refresh", &jar_before, "same-origin").json(&json!({}));
    let refreshed = app.send(request).await;
    refreshed.assert_status(200);
    let jar_after = jar(&refreshed);
    assert_ne!(jar_after, jar_before);
    let request = call(Method::POST, "/auth/logout", &jar_after, "same-origin").json(&json!({}));
    let out = app.send(request).await;
    out.assert_status(204);
    assert_eq!(out.all("set-cookie").len(), 2);
    assert!(out.all("set-cookie").iter().all(|cookie| cookie.contains("Max-Age=0")));
    let me = app.send(call(Method::GET, "/me", &jar_after, "same-origin")).await;
    me.assert_problem(401, "token_expired");
    app.finish().await;
}

#[tokio::test]
async fn a_foreign_page_logs_nobody_in() {
    let app = TestApp::start().await;
    let ada = app.register("ada").await;
    let body = json!({"email": ada.email, "password": PASSWORD, "cookies": true});
    let request = app.request(Method::POST, "/api/v1/auth/login").json(&body);
    let answer = app.send(request.header("Sec-Fetch-Site", "cross-site")).await;
    answer.assert_problem(403, "forbidden");
    assert!(answer.all("set-cookie").is_empty());
    app.finish().await;
}

#[tokio::test]
async fn whatever_ends_a_session_clears_its_cookies() {
    let app = TestApp::start().await;
    let ada = app.register("ada").await;
    for (method, path, body) in [
        (Method::POST, "/auth/logout-all", json!({})),
        (Method::DELETE, "/me", json!({"password": PASSWORD})),
    ] {
        let body_in = json!({"email": ada.email, "password": PASSWORD, "cookies": true});
        let jar = jar(app.post("/auth/login", body_in).await.assert_status(200));
        let request = app.request(method, &format!("/api/v1{path}")).header("Cookie", jar);
        let ended = app.send(request.header("Sec-Fetch-Site", "same-origin").json(&body)).await;
        let cleared = ended.assert_status(204).all("set-cookie");
        assert_eq!(cleared.len(), 2, "{path}");
        assert!(cleared.iter().all(|cookie| cookie.contains("Max-Age=0")), "{path}: {cleared:?}");
    }
    app.finish().await;
}
