//! The description of the API, made from the code that serves it. Operations are described beside
//! their handlers, answers in `wire`, requests in `shapes`.

pub(super) mod shapes;

use std::collections::BTreeMap;

use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, Header, HeaderBuilder, Ref, RefOr, Response, ResponseBuilder, schema,
};
use utoipa::{IntoResponses, Modify, OpenApi};

use super::admin;
use super::error::ProblemCode;
use super::wire::{FaultView, ProblemView};
use shapes::{
    ActionWord, BotsWord, CreatedViaWord, FormatWord, IntervalWord, ShownWord, SortWord, StateWord,
    TagText, TargetWord,
};

/// A group of refusals that several operations share.
macro_rules! problems {
    ($(#[doc = $doc:literal])+ $name:ident: $($status:literal $why:literal),+ $(,)?) => {
        $(#[doc = $doc])+
        pub(crate) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                BTreeMap::from([
                    $((stringify!($status).to_owned(), problem($status, $why).into())),+
                ])
            }
        }
    };
}

problems! {
    /// What every operation that needs a key may answer.
    CommonProblems:
    400 "The request is not valid",
    401 "No key, or none in force",
    403 "The key may not do this",
    414 "The request target is too long",
    429 "Too many requests, or links, of the key, its workspace or its account",
    431 "The request headers are too large",
    503 "Try again in a moment",
}
problems! {
    /// What an operation with a body may answer.
    BodyProblems:
    413 "The body is too large",
    415 "The body is compressed or no JSON",
}
problems! {
    /// What creating may answer.
    CreateProblems:
    409 "The alias or `external_id` is taken, or the first request with this key is under way",
    422 "The idempotency key belongs to another request",
}
problems! {
    /// What naming a destination may answer.
    DestinationProblems:
    403 "The key may not do this, or the operator does not allow links to that host",
}
problems! {
    /// What importing may answer.
    ImportProblems:
    422 "The idempotency key names a batch with other rows",
}
problems! {
    /// What changing may answer.
    ChangeProblems:
    409 "The alias or `external_id` is taken, or others changed the link",
    412 "The link has another version",
}
problems! {
    /// What changing people may answer.
    TakenProblems:
    409 "The address is taken, or a workspace would be left without an owner",
}
problems! {
    /// What may be tried so many times only.
    ThrottleProblems:
    429 "Too many tries; `Retry-After` says when to go on",
}
problems! {
    /// What signing in with a provider may answer.
    SignInProblems:
    400 "It was not begun in this browser, or too long ago; or it would lead off this site",
    403 "The provider, or this installation, does not let them in",
    404 "There is no such provider",
    414 "The request target is too long",
    431 "The request headers are too large",
    503 "The provider cannot be reached",
}
problems! {
    /// What naming one thing may answer.
    AbsenceProblems:
    404 "It is not there, or not yours",
}

fn problem(status: u16, why: &str) -> Response {
    let problem = Ref::from_schema_name("Problem");
    let content = ContentBuilder::new().schema(Some(problem)).build();
    let response =
        ResponseBuilder::new().description(why).content("application/problem+json", content);
    let text = || HeaderBuilder::new().build();
    match status {
        401 => response.header("WWW-Authenticate", text()),
        405 => response.header("Allow", text()),
        429 | 503 => response.header("Retry-After", text()),
        _ => response,
    }
    .build()
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Shunt",
        description = "A link-redirect engine. Errors are `application/problem+json`.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    paths(
        admin::lists::list, admin::links::create, admin::bulk::create, admin::import::import,
        admin::links::fetch,
        admin::links::change, admin::links::remove, admin::links::reset_clicks, admin::tags::list,
        admin::stats::of_link, admin::stats::of_workspace,
        admin::clicks::list, admin::live::watch,
        admin::keys::list, admin::keys::create, admin::keys::revoke, admin::audit::list,
        admin::meta::openapi, admin::meta::jwks,
        admin::anonymous::list, admin::anonymous::claim,
        admin::auth::register, admin::auth::log_in, admin::auth::refresh, admin::auth::log_out,
        admin::auth::log_out_everywhere,
        admin::passwords::change, admin::passwords::forgot, admin::passwords::reset,
        admin::passwords::verify, admin::passwords::send_verification,
        admin::me::show, admin::me::change, admin::me::erase,
        admin::members::workspaces, admin::members::create_workspace,
        admin::members::rename_workspace, admin::members::list, admin::members::change,
        admin::members::remove,
        admin::invitations::list, admin::invitations::create, admin::invitations::withdraw,
        admin::invitations::accept,
        admin::oidc::login, admin::oidc::callback, admin::oidc::logout,
        shapes::health, shapes::redirect,
    ),
    components(schemas(
        ProblemView, FaultView, SortWord, StateWord, CreatedViaWord, TagText, IntervalWord,
        BotsWord, FormatWord, ActionWord, TargetWord, ShownWord,
    )),
    security(("bearer" = []), ("api_key" = [])),
    modifiers(&Details),
)]
struct Description;

/// Bodies that take no other fields than those that they have.
const CLOSED: [&str; 16] = [
    "CreateLink",
    "ChangeLink",
    "CreateLinks",
    "CreateApiKey",
    "Register",
    "LogIn",
    "Refresh",
    "ChangePassword",
    "ForgotPassword",
    "ResetPassword",
    "MailedToken",
    "ChangeMe",
    "Confirm",
    "Named",
    "ChangeMember",
    "Invite",
];

/// What the macros cannot say.
struct Details;

impl Modify for Details {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let Some(components) = openapi.components.as_mut() else { return };
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        let header = ApiKey::Header(ApiKeyValue::new("X-API-Key"));
        components.add_security_scheme("api_key", SecurityScheme::ApiKey(header));
        if let Some(RefOr::T(schema::Schema::Object(problem))) =
            components.schemas.get_mut("Problem")
        {
            let codes = ProblemCode::ALL.iter().map(|code| code.as_str().into());
            if let Some(RefOr::T(schema::Schema::Object(code))) = problem.properties.get_mut("code")
            {
                code.enum_values = Some(codes.collect());
            }
        }
        for (path, item) in &mut openapi.paths.paths {
            let operations = [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete];
            for operation in operations.into_iter().flatten() {
                complete(path, operation);
            }
        }
        for name in CLOSED {
            if let Some(RefOr::T(schema::Schema::Object(object))) = components.schemas.get_mut(name)
            {
                let closed = schema::AdditionalProperties::FreeForm(false);
                object.additional_properties = Some(Box::new(closed));
            }
        }
    }
}

/// Adds what every answer has, and what no handler can say: that others are refused.
fn complete(path: &str, operation: &mut Operation) {
    let answers = &mut operation.responses.responses;
    let refused = || RefOr::T(problem(405, "The path does not take this method"));
    answers.entry("405".to_owned()).or_insert_with(refused);
    let is_limited = answers.contains_key("429");
    let replays = operation.operation_id.as_deref();
    let replays = matches!(replays, Some("create_link" | "create_links"));
    for (status, answer) in answers {
        let RefOr::T(answer) = answer else { continue };
        // A plain visit is answered before anything else is read of it.
        if !path.starts_with("/{") {
            answer.headers.insert("X-Request-Id".to_owned(), text("Yours, or one that was made"));
        }
        if is_limited && status != "405" {
            let policy = "The limits that applied: `q` requests, or links, per `w` seconds";
            let limit = "Of each limit, how many are left, and seconds until all are";
            answer.headers.insert("RateLimit-Policy".to_owned(), text(policy));
            answer.headers.insert("RateLimit".to_owned(), text(limit));
        }
        if replays && ["200", "201", "400", "403", "409"].contains(&status.as_str()) {
            let why = "`true`: the answer to the first request with this key, again";
            answer.headers.insert("Idempotency-Replayed".to_owned(), text(why));
        }
    }
}

fn text(description: &str) -> RefOr<Header> {
    HeaderBuilder::new().description(Some(description)).build().into()
}

/// The whole document, as JSON.
pub(crate) fn document() -> String {
    Description::openapi().to_json().expect("a description made of plain types is valid JSON")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn parsed() -> serde_json::Value {
        serde_json::from_str(&document()).unwrap()
    }

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let document = parsed();
        let described: BTreeSet<(String, String)> = document["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, item)| {
                let methods = item.as_object().unwrap().keys();
                methods.map(|method| (path.clone(), method.to_uppercase()))
            })
            .filter(|(path, _)| path.starts_with(admin::PREFIX))
            .collect();
        let routed: BTreeSet<(String, String)> = admin::ROUTES
            .iter()
            .flat_map(|route| {
                let path = format!("{}{}", admin::PREFIX, route.path);
                route.methods.iter().map(move |method| (path.clone(), (*method).to_owned()))
            })
            .collect();
        assert_eq!(described, routed);
    }

    #[test]
    fn every_operation_says_what_it_refuses_and_which_headers_answers_have() {
        let document = parsed();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let answers = &operation["responses"];
                assert!(answers["405"]["headers"]["Allow"].is_object(), "{method} {path}");
                let identified = answers["405"]["headers"]["X-Request-Id"].is_object();
                assert_eq!(identified, path != "/{code}", "{method} {path}");
            }
        }
        for path in ["/api/v1/links", "/api/v1/links/bulk"] {
            for status in ["200", "400", "403", "409"] {
                let answer = &document["paths"][path]["post"]["responses"][status];
                assert!(answer["headers"]["Idempotency-Replayed"].is_object(), "{path} {status}");
            }
        }
        for (path, method) in [("/api/v1/links", "post"), ("/api/v1/links/{code}", "patch")] {
            let refused = &document["paths"][path][method]["responses"]["403"]["description"];
            assert!(refused.as_str().unwrap().contains("that host"), "{method} {path}");
        }
        let list = &document["paths"]["/api/v1/links"]["get"]["responses"]["200"]["headers"];
        assert!(list["X-Request-Id"].is_object() && list["Idempotency-Replayed"].is_null());
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = parsed();
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer} leads nowhere");
        }
    }

    #[test]
    fn every_problem_code_is_listed() {
        let document = parsed();
        let listed = &document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"];
        let codes: Vec<_> = ProblemCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(*listed, serde_json::json!(codes));
    }

    #[test]
    fn requests_take_no_unknown_fields() {
        let document = parsed();
        for name in CLOSED {
            let schema = &document["components"]["schemas"][name];
            assert_eq!(schema["additionalProperties"], false, "{name}");
        }
    }
}
