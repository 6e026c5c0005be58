//! Workspaces that several people share.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, PASSWORD, Person, TestApp};

#[tokio::test]
async fn a_role_that_changes_is_in_force_at_once() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.register("ada").await, app.register("bob").await);
    let bob = app.join(&ada, &bob, "admin").await;
    let body = || Some(json!({"destination": "https://shop.example/"}));
    app.by(&bob, Method::POST, "/links", body()).await.assert_status(201);
    let made = app.by(&bob, Method::POST, "/api-keys", Some(json!({"name": "ci"}))).await;
    let key = made.assert_status(201).json()["key"].as_str().expect("a key").to_owned();
    let by_key = |method: Method| app.request(method, "/api/v1/links").bearer_auth(&key);
    app.send(by_key(Method::POST).json(&body())).await.assert_status(201);

    let member = format!("/members/{}", bob.id);
    let demote = Some(json!({"role": "viewer"}));
    app.by(&ada, Method::PATCH, &member, demote).await.assert_status(200);
    app.by(&bob, Method::POST, "/links", body()).await.assert_problem(403, "insufficient_scope");
    app.by(&bob, Method::GET, "/links", None).await.assert_status(200);
    let refused = app.send(by_key(Method::POST).json(&body())).await;
    refused.assert_problem(403, "insufficient_scope");

    app.by(&ada, Method::DELETE, &member, None).await.assert_status(204);
    app.by(&bob, Method::GET, "/links", None).await.assert_problem(401, "token_expired");
    app.send(by_key(Method::GET)).await.assert_problem(401, "invalid_api_key");
    // Bob's session goes on at home.
    let home = Person::of(&app.refresh(&bob.refresh).await);
    assert_eq!(app.by(&home, Method::GET, "/links", None).await.json()["total"], 0);
    app.finish().await;
}

#[tokio::test]
async fn a_workspace_is_never_without_an_owner_and_nobody_rises_by_themselves() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.register("ada").await, app.register("bob").await);
    let bob = app.join(&ada, &bob, "admin").await;
    let role = |role: &str| Some(json!({"role": role}));
    let (of_ada, of_bob) = (format!("/members/{}", ada.id), format!("/members/{}", bob.id));
    app.by(&ada, Method::PATCH, &of_ada, role("admin")).await.assert_problem(409, "conflict");
    app.by(&bob, Method::PATCH, &of_bob, role("owner")).await.assert_problem(403, "forbidden");
    app.by(&bob, Method::PATCH, &of_ada, role("viewer")).await.assert_problem(403, "forbidden");
    app.by(&bob, Method::DELETE, &of_ada, None).await.assert_problem(403, "forbidden");
    let carl = app.register("carl").await;
    app.join(&ada, &carl, "owner").await;
    let of_carl = format!("/members/{}", carl.id);
    app.by(&bob, Method::DELETE, &of_carl, None).await.assert_problem(403, "forbidden");
    app.by(&ada, Method::DELETE, &of_carl, None).await.assert_status(204);
    let invite = app.by(&bob, Method::POST, "/invitations", role("owner")).await;
    invite.assert_problem(403, "forbidden");
    app.by(&ada, Method::PATCH, &of_bob, role("owner")).await.assert_status(200);
    app.by(&bob, Method::PATCH, &of_ada, role("member")).await.assert_status(200);
    let nobody = app.by(&bob, Method::PATCH, "/members/12345", role("member")).await;
    nobody.assert_problem(404, "not_found");
    app.finish().await;
}

#[tokio::test]
async fn members_change_their_own_links_and_admins_all() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.register("ada").await, app.register("bob").await);
    let carl = app.register("carl").await;
    let bob = app.join(&ada, &bob, "member").await;
    let carl = app.join(&ada, &carl, "member").await;
    let link = |alias: &str| Some(json!({"destination": "https://shop.example/", "alias": alias}));
    app.by(&bob, Method::POST, "/links", link("of-bob")).await.assert_status(201);
    let title = || Some(json!({"title": "x"}));
    app.by(&bob, Method::PATCH, "/links/of-bob", title()).await.assert_status(200);
    app.by(&carl, Method::GET, "/links/of-bob", None).await.assert_status(200);
    for (method, path, body) in [
        (Method::PATCH, "/links/of-bob", title()),
        (Method::DELETE, "/links/of-bob", None),
        (Method::DELETE, "/links/of-bob?erase_clicks=true", None),
        (Method::POST, "/links/of-bob/reset-clicks", None),
    ] {
        app.by(&carl, method, path, body).await.assert_problem(403, "forbidden");
    }
    app.by(&ada, Method::PATCH, "/links/of-bob", title()).await.assert_status(200);
    app.by(&ada, Method::DELETE, "/links/of-bob", None).await.assert_status(204);
    app.finish().await;
}

#[tokio::test]
async fn workspaces_are_made_named_and_left() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.register("ada").await, app.register("bob").await);
    let made = app.by(&ada, Method::POST, "/workspaces", Some(json!({"name": "Team"}))).await;
    let team = made.assert_status(201).json();
    let body = json!({"refresh_token": ada.refresh, "workspace_id": team["id"]});
    let ada = Person::of(&app.post("/auth/refresh", body).await);
    let ada = Person { workspace: team["id"].as_str().expect("an id").to_owned(), ..ada };
    app.by(&ada, Method::PATCH, "/workspace", Some(json!({"name": "Crew"})))
        .await
        .assert_status(204);
    let bob = app.join(&ada, &bob, "viewer").await;
    let names = app.by(&bob, Method::GET, "/workspaces", None).await.json();
    assert_eq!(names["total"], 2);
    assert!(names.to_string().contains("Crew"), "{names}");
    app.by(&bob, Method::GET, "/members", None).await.assert_problem(403, "insufficient_scope");
    let members = app.by(&ada, Method::GET, "/members", None).await.json();
    assert_eq!(members["total"], 2);
    let leave = format!("/members/{}", bob.id);
    app.by(&bob, Method::DELETE, &leave, None).await.assert_status(204);
    assert_eq!(app.by(&ada, Method::GET, "/members", None).await.json()["total"], 1);
    let elsewhere = json!({"refresh_token": bob.refresh, "workspace_id": ada.workspace});
    app.post("/auth/refresh", elsewhere).await.assert_problem(403, "forbidden");
    app.finish().await;
}

#[tokio::test]
async fn an_invitation_works_once_and_can_be_taken_back() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.register("ada").await, app.register("bob").await);
    let carl = app.register("carl").await;
    let invite = async || {
        let made = app.by(&ada, Method::POST, "/invitations", Some(json!({}))).await;
        made.assert_status(201).json()
    };
    let accept = |who: &Person, invitation: &serde_json::Value| {
        let (who, body) = (who.clone(), Some(json!({"token": invitation["token"]})));
        let app = &app;
        async move { app.by(&who, Method::POST, "/invitations/accept", body).await }
    };
    let (first, second) = (invite().await, invite().await);
    let listed = app.by(&ada, Method::GET, "/invitations", None).await.json();
    assert_eq!(listed["total"], 2);
    assert!(!listed.to_string().contains("shunti_"), "{listed}");
    assert_eq!(accept(&bob, &first).await.assert_status(200).json()["role"], "member");
    accept(&carl, &first).await.assert_problem(400, "invalid_request");
    let second_id = second["id"].as_str().expect("an id");
    let path = format!("/invitations/{second_id}");
    app.by(&bob, Method::DELETE, &path, None).await.assert_problem(404, "not_found");
    app.by(&ada, Method::DELETE, &path, None).await.assert_status(204);
    accept(&carl, &second).await.assert_problem(400, "invalid_request");
    app.finish().await;
}

#[tokio::test]
async fn who_was_removed_and_is_invited_again_is_back_at_once() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.register("ada").await, app.register("bob").await);
    let mut there = app.join(&ada, &bob, "member").await;
    for by_page in [false, true] {
        let member = format!("/members/{}", bob.id);
        app.by(&ada, Method::DELETE, &member, None).await.assert_status(204);
        app.by(&there, Method::GET, "/links", None).await.assert_problem(401, "token_expired");
        let invited = app.by(&ada, Method::POST, "/invitations", Some(json!({}))).await;
        let token = invited.assert_status(201).json()["token"].clone();
        let home = Person::of(&app.refresh(&there.refresh).await);
        if by_page {
            join_by_page(&app, &token, &bob).await.assert_status(200);
        } else {
            let accept = Some(json!({"token": token}));
            let joined = app.by(&home, Method::POST, "/invitations/accept", accept).await;
            joined.assert_status(200);
        }
        let body = json!({"refresh_token": home.refresh, "workspace_id": ada.workspace});
        there = Person::of(&app.post("/auth/refresh", body).await);
        app.by(&there, Method::GET, "/links", None).await.assert_status(200);
    }
    app.finish().await;
}

/// Sends the form of the page of an invitation for somebody who has an account.
async fn join_by_page(app: &TestApp, token: &Value, who: &Person) -> Answer {
    let fields = [
        ("token", token.as_str().expect("a token")),
        ("as", "member"),
        ("email", who.email.as_str()),
        ("password", PASSWORD),
    ];
    let form = app.request(Method::POST, "/app/join").form(&fields);
    app.send(form.header("Sec-Fetch-Site", "same-origin")).await
}

#[tokio::test]
async fn an_invitation_into_a_workspace_that_is_gone_is_good_for_nothing() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.register("ada").await, app.register("bob").await);
    let carl = app.register("carl").await;
    let there = app.join(&ada, &bob, "admin").await;
    let invited = app.by(&there, Method::POST, "/invitations", Some(json!({}))).await;
    let token = invited.assert_status(201).json()["token"].clone();
    let leave = format!("/members/{}", bob.id);
    app.by(&there, Method::DELETE, &leave, None).await.assert_status(204);
    let erase = Some(json!({"password": PASSWORD}));
    app.by(&ada, Method::DELETE, "/me", erase).await.assert_status(204);

    let accept = Some(json!({"token": token}));
    let refused = app.by(&carl, Method::POST, "/invitations/accept", accept).await;
    refused.assert_problem(400, "invalid_request");
    let eve = json!({"email": "eve@example.com", "password": PASSWORD, "invitation": token});
    app.post("/auth/register", eve).await.assert_problem(400, "invalid_request");
    app.log_in("eve@example.com", PASSWORD).await.assert_problem(401, "invalid_credentials");
    join_by_page(&app, &token, &carl).await.assert_status(400);
    let own = app.by(&carl, Method::GET, "/workspaces", None).await.json();
    assert_eq!(own["total"], 1, "{own}");
    app.finish().await;
}

#[tokio::test]
async fn nobody_leaves_home_or_has_workspaces_without_end() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.register("ada").await, app.register("bob").await);
    app.join(&ada, &bob, "owner").await;
    let leave = format!("/members/{}", ada.id);
    app.by(&ada, Method::DELETE, &leave, None).await.assert_problem(403, "forbidden");
    let make = || app.by(&bob, Method::POST, "/workspaces", Some(json!({"name": "Team"})));
    // At home, at ada's, and in these.
    for _ in 0..48 {
        make().await.assert_status(201);
    }
    make().await.assert_problem(403, "quota_exceeded");
    for name in ["", "a\nb", &"x".repeat(101)] {
        let made = app.by(&bob, Method::POST, "/workspaces", Some(json!({ "name": name }))).await;
        made.assert_problem(400, "invalid_request");
    }
    app.finish().await;
}

#[tokio::test]
async fn an_invitation_raises_and_never_lowers() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.register("ada").await, app.register("bob").await);
    let bob = app.join(&ada, &bob, "viewer").await;
    let link = || Some(json!({"destination": "https://shop.example/"}));
    app.by(&bob, Method::POST, "/links", link()).await.assert_problem(403, "insufficient_scope");
    for role in ["admin", "viewer"] {
        let invited = app.by(&ada, Method::POST, "/invitations", Some(json!({"role": role}))).await;
        let token = invited.assert_status(201).json()["token"].clone();
        let accept = Some(json!({"token": token}));
        let joined = app.by(&bob, Method::POST, "/invitations/accept", accept).await;
        assert_eq!(joined.assert_status(200).json()["role"], "admin");
        // A token made for a viewer is good for no more than that; the next one is.
        let me = Person::of(&app.refresh(&bob.refresh).await);
        app.by(&me, Method::POST, "/links", link()).await.assert_status(201);
    }
    app.finish().await;
}
