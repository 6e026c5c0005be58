//! Somebody with an account, who is signed in.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, TestApp};

/// A password that the rules take.
pub(crate) const PASSWORD: &str = "correct Horse battery 9";

/// Somebody who is signed in.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) id: String,
    pub(crate) email: String,
    pub(crate) workspace: String,
    pub(crate) access: String,
    pub(crate) refresh: String,
}

impl Person {
    /// From the answer to a registration, a log-in or a refresh.
    #[track_caller]
    pub(crate) fn of(answer: &Answer) -> Self {
        let body = answer.json();
        let text = |pointer: &str| {
            let text = body.pointer(pointer).and_then(Value::as_str);
            text.unwrap_or_else(|| panic!("no {pointer} in {body}")).to_owned()
        };
        Self {
            id: text("/user/id"),
            email: text("/user/email"),
            workspace: text("/user/workspace_id"),
            access: text("/access_token"),
            refresh: text("/refresh_token"),
        }
    }
}

impl TestApp {
    /// Registers `<name>@example.com`.
    pub(crate) async fn register(&self, name: &str) -> Person {
        let email = format!("{name}@example.com");
        let body = json!({"email": email, "password": PASSWORD, "name": name});
        let answer = self.post("/auth/register", body).await;
        answer.assert_status(201);
        Person::of(&answer)
    }

    /// A POST below the API without a credential.
    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        let request = self.request(Method::POST, &format!("/api/v1{path}"));
        self.send(request.json(&body)).await
    }

    /// Logs in with a password.
    pub(crate) async fn log_in(&self, email: &str, password: &str) -> Answer {
        self.post("/auth/login", json!({"email": email, "password": password})).await
    }

    pub(crate) async fn refresh(&self, token: &str) -> Answer {
        self.post("/auth/refresh", json!({"refresh_token": token})).await
    }

    /// A call by somebody who is signed in.
    pub(crate) async fn by(
        &self,
        who: &Person,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Answer {
        let request = self.request(method, &format!("/api/v1{path}")).bearer_auth(&who.access);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        self.send(request).await
    }

    /// Lets `guest` join the workspace of `owner` as `role`, and go on there.
    pub(crate) async fn join(&self, owner: &Person, guest: &Person, role: &str) -> Person {
        let body = Some(json!({"role": role}));
        let invited = self.by(owner, Method::POST, "/invitations", body).await;
        let token = invited.assert_status(201).json()["token"].clone();
        let accept = Some(json!({"token": token}));
        let joined = self.by(guest, Method::POST, "/invitations/accept", accept).await;
        joined.assert_status(200);
        let body = json!({"refresh_token": guest.refresh, "workspace_id": owner.workspace});
        let there = self.post("/auth/refresh", body).await;
        there.assert_status(200);
        Person::of(&there)
    }
}
