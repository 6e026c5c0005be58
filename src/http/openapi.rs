//! The description of the API, made from the code that serves it. The shapes of requests stand
//! here; those of answers are in `wire`, the operations beside their handlers.

use std::collections::BTreeMap;

use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, HeaderBuilder, Ref, RefOr, Response, ResponseBuilder, schema,
};
use utoipa::{IntoParams, IntoResponses, Modify, OpenApi, ToSchema};

use super::admin;
use super::wire::{CreatedViaWord, FaultView, ProblemView, ScopeWord, StateWord};

/// A link to create.
#[derive(ToSchema)]
pub struct CreateLink {
    /// Absolute http or https URL, at most 8,192 bytes, to a public host.
    #[schema(max_length = 8192, format = "uri", examples("https://example.com/spring"))]
    pub destination: String,
    /// The code to claim; absent, one is made.
    #[schema(min_length = 3, max_length = 50, pattern = "^[A-Za-z0-9_-]+$")]
    pub alias: Option<String>,
    /// A served domain; absent, the default one.
    #[schema(max_length = 253)]
    pub domain: Option<String>,
    #[schema(max_length = 200, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    pub title: Option<String>,
    /// The one text that may have line breaks.
    #[schema(max_length = 2000, pattern = r"^[^\u0000-\u0009\u000b-\u001f\u007f-\u009f]*$")]
    pub notes: Option<String>,
    /// Trimmed; of equal ones the first is kept.
    #[schema(max_items = 20)]
    pub tags: Option<Vec<TagText>>,
    /// One of 301, 302 (the default), 303, 307 and 308.
    #[schema(value_type = Option<RedirectStatusNumber>)]
    pub redirect_status: Option<u16>,
    /// Before this time the link is not there.
    #[schema(format = DateTime)]
    pub starts_at: Option<String>,
    /// In the future, and after `starts_at`. Not together with `expires_in`.
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
    /// Seconds from now.
    #[schema(minimum = 1, maximum = 3_153_600_000_u64)]
    pub expires_in: Option<u64>,
    /// Where visitors go when the link is expired or exhausted.
    #[schema(max_length = 8192, format = "uri")]
    pub expired_url: Option<String>,
    #[schema(minimum = 1, maximum = 1_000_000_000_000_u64)]
    pub max_clicks: Option<u64>,
    /// Whether the visitor's query is passed on; the default is true.
    pub forward_query: Option<bool>,
    /// Yours; unique in the workspace. At most 255 bytes.
    #[schema(min_length = 1, max_length = 255, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    pub external_id: Option<String>,
    /// Where the operator allows a choice.
    #[schema(value_type = Option<CodeSchemeWord>)]
    pub code_scheme: Option<String>,
    /// Characters of a random or hash code, where the operator allows a choice.
    #[schema(minimum = 5, maximum = 32)]
    pub code_length: Option<u64>,
}

/// What to change of a link: absent fields stay, `null` clears.
#[derive(ToSchema)]
pub struct ChangeLink {
    #[schema(max_length = 8192, format = "uri", examples("https://example.com/summer"))]
    #[schema(required = false, nullable = false)]
    pub destination: Option<String>,
    /// Moves the link; the old code stays reserved.
    #[schema(min_length = 3, max_length = 50, pattern = "^[A-Za-z0-9_-]+$", nullable = false)]
    pub alias: Option<String>,
    #[schema(max_length = 253)]
    pub domain: Option<String>,
    #[schema(value_type = OwnerStatusWord, required = false)]
    pub status: Option<String>,
    #[schema(max_length = 200, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    pub title: Option<String>,
    #[schema(max_length = 2000, pattern = r"^[^\u0000-\u0009\u000b-\u001f\u007f-\u009f]*$")]
    pub notes: Option<String>,
    #[schema(max_items = 20)]
    pub tags: Option<Vec<TagText>>,
    #[schema(value_type = Option<RedirectStatusNumber>)]
    pub redirect_status: Option<u16>,
    #[schema(format = DateTime)]
    pub starts_at: Option<String>,
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
    #[schema(minimum = 1, maximum = 3_153_600_000_u64)]
    pub expires_in: Option<u64>,
    #[schema(max_length = 8192, format = "uri")]
    pub expired_url: Option<String>,
    #[schema(minimum = 1, maximum = 1_000_000_000_000_u64)]
    pub max_clicks: Option<u64>,
    pub forward_query: Option<bool>,
    #[schema(min_length = 1, max_length = 255, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    pub external_id: Option<String>,
}

/// Up to 1,000 links, judged one by one.
#[derive(ToSchema)]
pub struct CreateLinks {
    #[schema(max_items = 1000)]
    pub links: Vec<CreateLink>,
}

/// A key to make.
#[derive(ToSchema)]
pub struct CreateApiKey {
    #[schema(min_length = 1, max_length = 100, pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$")]
    pub name: String,
    /// Absent: all that you may do.
    #[schema(min_items = 1)]
    pub scopes: Option<Vec<ScopeWord>>,
    /// In the future; absent: never.
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
}

/// A tag: not blank, no control characters.
#[derive(ToSchema)]
#[schema(
    min_length = 1,
    max_length = 50,
    pattern = r"^[^\u0000-\u0020\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*$"
)]
pub struct TagText(pub String);

/// What an owner may set.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum OwnerStatusWord {
    Active,
    Disabled,
    Archived,
}

/// How a code is made.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum CodeSchemeWord {
    Sealed,
    Snowflake,
    Random,
    Hash,
}

/// Status code of a redirect.
pub struct RedirectStatusNumber;

impl utoipa::PartialSchema for RedirectStatusNumber {
    fn schema() -> RefOr<schema::Schema> {
        let statuses = [301, 302, 303, 307, 308];
        schema::ObjectBuilder::new()
            .schema_type(schema::Type::Integer)
            .enum_values(Some(statuses))
            .description(Some("Status code of a redirect"))
            .into()
    }
}

impl ToSchema for RedirectStatusNumber {}

/// What names a link.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct CodeParameters {
    /// Code or alias.
    #[param(min_length = 1, max_length = 50, pattern = "^[A-Za-z0-9_-]+$")]
    pub code: String,
}

/// Where the link lives.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DomainParameter {
    /// Another than the default domain.
    #[param(max_length = 253, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    pub domain: Option<String>,
}

/// Optimistic concurrency.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct IfMatchParameter {
    /// The `ETag` that the change is meant for, or `*`.
    #[param(rename = "If-Match")]
    pub if_match: Option<String>,
}

/// What every list takes.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageParameters {
    /// Rows of a page; the default is 25.
    #[param(minimum = 1, maximum = 100)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// What the list of links is filtered and sorted by.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListParameters {
    /// Substring of code, destination, title or a tag, whatever the case.
    #[param(max_length = 200, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    pub q: Option<String>,
    /// All of these tags.
    #[param(max_items = 20)]
    pub tag: Option<Vec<TagText>>,
    #[param(value_type = Option<StateWord>)]
    pub state: Option<String>,
    #[param(max_length = 253, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    pub domain: Option<String>,
    #[param(format = DateTime)]
    pub created_after: Option<String>,
    #[param(format = DateTime)]
    pub created_before: Option<String>,
    #[param(value_type = Option<CreatedViaWord>)]
    pub created_via: Option<String>,
    #[param(max_length = 255, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    pub external_id: Option<String>,
    /// The default is `-created_at`.
    #[param(value_type = Option<SortWord>)]
    pub sort: Option<String>,
}

/// Order of the list of links.
#[derive(ToSchema)]
pub enum SortWord {
    #[schema(rename = "-created_at")]
    CreatedDesc,
    #[schema(rename = "created_at")]
    CreatedAsc,
    #[schema(rename = "-updated_at")]
    UpdatedDesc,
    #[schema(rename = "-clicks")]
    ClicksDesc,
    #[schema(rename = "clicks")]
    ClicksAsc,
    #[schema(rename = "title")]
    TitleAsc,
}

/// A group of refusals that several operations share.
macro_rules! problems {
    ($(#[doc = $doc:literal])+ $name:ident: $($status:literal $why:literal),+ $(,)?) => {
        $(#[doc = $doc])+
        pub struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                BTreeMap::from([$((stringify!($status).to_owned(), problem($status, $why).into())),+])
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
    /// What changing may answer.
    ChangeProblems:
    409 "The alias or `external_id` is taken, or others changed the link",
    412 "The link has another version",
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
        503 => response.header("Retry-After", text()),
        _ => response,
    }
    .build()
}

/// Is the process alive
#[utoipa::path(
    get, path = "/health", tag = "operations", operation_id = "health", security(()),
    responses((status = 200, description = "It is", body = HealthView)),
)]
#[expect(dead_code, reason = "describes what `http` serves outside of the API")]
fn health() {}

/// Answer of `/health`.
#[derive(ToSchema)]
#[schema(as = Health)]
pub struct HealthView {
    #[schema(pattern = "^ok$")]
    pub status: String,
}

/// Follow a short link
#[utoipa::path(
    get, path = "/{code}", tag = "redirects", operation_id = "redirect", security(()),
    params(
        ("code" = String, Path, description = "Code or alias", min_length = 1, max_length = 50,
            pattern = "^[A-Za-z0-9_-]+$"),
    ),
    responses(
        (status = 301, description = "Moved", headers(("Location" = String))),
        (status = 302, description = "Found", headers(("Location" = String))),
        (status = 303, description = "See other", headers(("Location" = String))),
        (status = 307, description = "Temporary redirect", headers(("Location" = String))),
        (status = 308, description = "Permanent redirect", headers(("Location" = String))),
        (status = 400, description = "The path is malformed", content_type = "text/html"),
        (status = 403, description = "Blocked", content_type = "text/html"),
        (status = 404, description = "There is no such link", content_type = "text/html"),
        (status = 410, description = "Expired, exhausted, disabled or archived",
            content_type = "text/html"),
        (status = 503, description = "Try again in a moment", content_type = "text/html"),
    ),
)]
#[expect(dead_code, reason = "describes what `http` serves outside of the API")]
fn redirect() {}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Shunt",
        description = "A link-redirect engine. Errors are `application/problem+json`.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    paths(
        admin::lists::list, admin::links::create, admin::bulk::create, admin::links::fetch,
        admin::links::change, admin::links::remove, admin::links::reset_clicks, admin::tags::list,
        admin::keys::list, admin::keys::create, admin::keys::revoke, admin::meta::openapi,
        health, redirect,
    ),
    components(schemas(ProblemView, FaultView, SortWord, StateWord, CreatedViaWord, TagText)),
    security(("bearer" = []), ("api_key" = [])),
    modifiers(&Details),
)]
struct Description;

/// What the macros cannot say.
struct Details;

impl Modify for Details {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let Some(components) = openapi.components.as_mut() else { return };
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        let header = ApiKey::Header(ApiKeyValue::new("X-API-Key"));
        components.add_security_scheme("api_key", SecurityScheme::ApiKey(header));
        for name in ["CreateLink", "ChangeLink", "CreateLinks", "CreateApiKey"] {
            if let Some(RefOr::T(schema::Schema::Object(object))) = components.schemas.get_mut(name)
            {
                let closed = schema::AdditionalProperties::FreeForm(false);
                object.additional_properties = Some(Box::new(closed));
            }
        }
    }
}

/// The whole document, as JSON.
pub fn document() -> String {
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
    fn every_reference_leads_somewhere() {
        let document = parsed();
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer} leads nowhere");
        }
    }

    #[test]
    fn requests_take_no_unknown_fields() {
        let document = parsed();
        for name in ["CreateLink", "ChangeLink", "CreateLinks", "CreateApiKey"] {
            let schema = &document["components"]["schemas"][name];
            assert_eq!(schema["additionalProperties"], false, "{name}");
        }
    }
}
