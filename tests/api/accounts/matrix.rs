//! Every route, called by everybody, on what is theirs and what is not. A route without a row here
//! fails.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use shunt::http::admin::ROUTES;

use crate::harness::{Answer, PASSWORD, Person, TestApp};

/// Whoever calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Nobody,
    Viewer,
    Member,
    Admin,
    Owner,
    /// The owner of another workspace.
    Stranger,
}

use Who::{Admin, Member, Nobody, Owner, Stranger, Viewer};

const ALL: [Who; 6] = [Nobody, Viewer, Member, Admin, Owner, Stranger];

/// What a row's path stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    /// No object: everybody acts in their own workspace.
    None,
    /// A link that the member made.
    MembersLink,
    /// A link that the owner made.
    OwnersLink,
    /// A key of the owner's.
    OwnersKey,
    /// The viewer, as a member.
    TheViewer,
    /// An invitation that waits.
    AnInvitation,
}

struct Row {
    method: &'static str,
    path: &'static str,
    on: On,
    body: Value,
    /// Those whom it lets; the others get 403, or 404 where they must not know.
    lets: &'static [Who],
    /// Statuses of those it lets.
    good: &'static [u16],
}

const READERS: &[Who] = &[Viewer, Member, Admin, Owner];
const WRITERS: &[Who] = &[Member, Admin, Owner];
const ADMINS: &[Who] = &[Admin, Owner];
/// Admins, and whoever leaves.
const WHO_REMOVES: &[Who] = &[Viewer, Admin, Owner];

fn row(
    route: &'static str,
    on: On,
    body: Value,
    lets: &'static [Who],
    good: &'static [u16],
) -> Row {
    let (method, path) = route.split_once(' ').expect("a method and a path");
    Row { method, path, on, body, lets, good }
}

fn rows() -> Vec<Row> {
    use On::{AnInvitation, MembersLink, None as Nothing, OwnersKey, OwnersLink, TheViewer};
    let with_stranger: &[Who] = &[Viewer, Member, Admin, Owner, Stranger];
    let writers: &[Who] = &[Member, Admin, Owner, Stranger];
    let admins: &[Who] = &[Admin, Owner, Stranger];
    let link = || json!({"destination": "https://shop.example/"});
    let password = || json!({"current_password": PASSWORD, "new_password": "another Horse 12"});
    let mut rows = vec![
        row("GET /links", Nothing, Value::Null, with_stranger, &[200]),
        row("POST /links", Nothing, link(), writers, &[201]),
        row("POST /links/bulk", Nothing, json!({"links": [link()]}), writers, &[200]),
        row("POST /links/import", Nothing, link(), writers, &[200]),
        row("POST /links/claim", Nothing, Value::Null, writers, &[400]),
        row("GET /stats", Nothing, Value::Null, with_stranger, &[200]),
        row("GET /tags", Nothing, Value::Null, with_stranger, &[200]),
        row("GET /api-keys", Nothing, Value::Null, writers, &[200]),
        row("POST /api-keys", Nothing, json!({"name": "k"}), writers, &[201]),
        row("DELETE /api-keys/{id}", OwnersKey, Value::Null, ADMINS, &[204]),
        row("GET /me", Nothing, Value::Null, with_stranger, &[200]),
        row("PATCH /me", Nothing, json!({"name": "n"}), with_stranger, &[200]),
        row("GET /workspaces", Nothing, Value::Null, with_stranger, &[200]),
        row("POST /workspaces", Nothing, json!({"name": "w"}), admins, &[201]),
        row("PATCH /workspace", Nothing, json!({"name": "w"}), admins, &[204]),
        row("GET /audit-log", Nothing, Value::Null, admins, &[200]),
        row("GET /members", Nothing, Value::Null, admins, &[200]),
        row("PATCH /members/{id}", TheViewer, json!({"role": "viewer"}), ADMINS, &[200]),
        row("GET /invitations", Nothing, Value::Null, admins, &[200]),
        row("POST /invitations", Nothing, json!({"role": "viewer"}), admins, &[201]),
        row("DELETE /invitations/{id}", AnInvitation, Value::Null, ADMINS, &[204]),
        row(
            "POST /invitations/accept",
            Nothing,
            json!({"token": "shunti_x"}),
            with_stranger,
            &[400],
        ),
        row("POST /auth/verify/send", Nothing, Value::Null, with_stranger, &[202]),
    ];
    for (on, writers) in [(MembersLink, WRITERS), (OwnersLink, ADMINS)] {
        rows.extend([
            row("GET /links/{code}", on, Value::Null, READERS, &[200]),
            row("PATCH /links/{code}", on, json!({"title": "t"}), writers, &[200]),
            row("GET /links/{code}/stats", on, Value::Null, READERS, &[200]),
            row("GET /links/{code}/clicks", on, Value::Null, READERS, &[200]),
            row("GET /links/{code}/live", on, Value::Null, READERS, &[200]),
            row("POST /links/{code}/reset-clicks", on, Value::Null, writers, &[204]),
            row("DELETE /links/{code}", on, Value::Null, writers, &[204]),
        ]);
    }
    // What ends what others need comes last.
    rows.push(row("DELETE /members/{id}", TheViewer, Value::Null, WHO_REMOVES, &[204]));
    rows.push(row("POST /auth/password", Nothing, password(), with_stranger, &[204]));
    rows.push(row("POST /auth/logout-all", Nothing, Value::Null, with_stranger, &[204]));
    let erase = || json!({"password": PASSWORD});
    rows.push(row("DELETE /me", Nothing, erase(), with_stranger, &[204, 409]));
    rows
}

/// Routes that ask for no credential: whoever calls is told the same.
const OPEN: &[(&str, &str)] = &[
    ("POST", "/auth/register"),
    ("POST", "/auth/login"),
    ("POST", "/auth/refresh"),
    ("POST", "/auth/logout"),
    ("POST", "/auth/password/forgot"),
    ("POST", "/auth/password/reset"),
    ("POST", "/auth/verify"),
    ("GET", "/anonymous/links"),
    ("GET", "/auth/oidc/{provider}/login"),
    ("GET", "/auth/oidc/{provider}/callback"),
    ("POST", "/auth/oidc/{provider}/logout"),
    ("GET", "/openapi.json"),
];

#[test]
fn every_route_has_a_row() {
    let routed: BTreeSet<(&str, &str)> = ROUTES
        .iter()
        .flat_map(|route| route.methods.iter().map(|method| (*method, route.path)))
        .collect();
    let rows = rows();
    let listed: BTreeSet<(&str, &str)> =
        rows.iter().map(|row| (row.method, row.path)).chain(OPEN.iter().copied()).collect();
    assert_eq!(listed, routed);
}

/// People in one workspace, and what the rows are about.
struct Cast {
    app: TestApp,
    people: Vec<(Who, Person)>,
    n_links: std::cell::Cell<u32>,
}

impl Cast {
    async fn new() -> Self {
        let app = TestApp::builder()
            .set("SHUNT_LIMITS__REGISTRATIONS_PER_HOUR_PER_CLIENT", "0")
            .set("SHUNT_LIMITS__LINK_CREATES_PER_HOUR", "0")
            .set("SHUNT_LIMITS__WORKSPACE_REQUESTS_PER_MINUTE", "0")
            .start()
            .await;
        let owner = app.register("owner").await;
        let mut people = vec![(Stranger, app.register("stranger").await)];
        for (who, role) in [(Viewer, "viewer"), (Member, "member"), (Admin, "admin")] {
            let home = app.register(role).await;
            people.push((who, app.join(&owner, &home, role).await));
        }
        people.push((Owner, owner));
        Self { app, people, n_links: std::cell::Cell::new(0) }
    }

    fn person(&self, who: Who) -> Option<&Person> {
        self.people.iter().find(|(other, _)| *other == who).map(|(_, person)| person)
    }

    async fn make(&self, who: Who, path: &str, body: Value) -> Value {
        let person = self.person(who).expect("somebody");
        let made = self.app.by(person, Method::POST, path, Some(body)).await;
        made.assert_status(201).json()
    }

    /// Something fresh for the placeholder of a row's path.
    async fn object(&self, on: On) -> String {
        let n = self.n_links.get() + 1;
        self.n_links.set(n);
        let link = json!({"destination": "https://shop.example/", "alias": format!("row-{n}")});
        let id = |made: Value| made["id"].as_str().expect("an id").to_owned();
        match on {
            On::None => String::new(),
            On::MembersLink => {
                self.make(Member, "/links", link).await;
                format!("row-{n}")
            }
            On::OwnersLink => {
                self.make(Owner, "/links", link).await;
                format!("row-{n}")
            }
            On::OwnersKey => id(self.make(Owner, "/api-keys", json!({"name": "k"})).await),
            On::TheViewer => self.person(Viewer).expect("a viewer").id.clone(),
            On::AnInvitation => id(self.make(Owner, "/invitations", json!({})).await),
        }
    }

    async fn call(&self, who: Who, row: &Row, object: &str) -> Answer {
        let path = row.path.replace("{code}", object).replace("{id}", object);
        let method: Method = row.method.parse().expect("a method");
        let mut request = self.app.request(method, &format!("/api/v1{path}"));
        if let Some(person) = self.person(who) {
            request = request.bearer_auth(&person.access);
        }
        if row.path == "/links/import" {
            let name = format!("{:032x}", self.n_links.get());
            request = request
                .header("Idempotency-Key", name)
                .header("Content-Type", "application/x-ndjson")
                .body(row.body.to_string());
        } else if !row.body.is_null() {
            request = request.json(&row.body);
        }
        if row.path.ends_with("/live") {
            // It has no end: its head is all that counts.
            return Answer::head_of(request).await;
        }
        self.app.send(request).await
    }
}

#[tokio::test]
async fn each_may_do_what_the_role_says_and_learns_nothing_of_others() {
    let mut cast = Cast::new().await;
    for row in rows() {
        let ends = ["/auth/password", "/auth/logout-all"].contains(&row.path)
            || (row.method, row.path) == ("DELETE", "/me");
        if ends || (row.method, row.path) == ("DELETE", "/members/{id}") {
            cast.app.finish().await;
            cast = Cast::new().await;
        }
        for who in ALL {
            let object = cast.object(row.on).await;
            let answer = cast.call(who, &row, &object).await;
            let (status, place) =
                (answer.status(), format!("{who:?}: {} {} {:?}", row.method, row.path, row.on));
            match who {
                Nobody => assert_eq!(status, 401, "{place}: {}", answer.text()),
                _ if row.lets.contains(&who) => {
                    let repeated = row.on == On::TheViewer && status == 404;
                    let good = row.good.contains(&status) || repeated;
                    assert!(good, "{place}: {status} {}", answer.text());
                }
                Stranger => assert_eq!(status, 404, "{place}: {}", answer.text()),
                _ => {
                    let refused = status == 403 || (status == 404 && row.on == On::OwnersKey);
                    assert!(refused, "{place}: {status} {}", answer.text());
                }
            }
        }
    }
    cast.app.finish().await;
}
