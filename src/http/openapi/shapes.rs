//! Shapes that only describe: requests, parameters, words, and what `http` serves outside of the
//! API. Requests are read by `wire`, field by field, so that every fault can be named.

#![expect(dead_code, reason = "the description is made from the types, not from values of them")]

mod audit;
pub(crate) mod people;
mod stats;

use utoipa::openapi::{RefOr, schema};
use utoipa::{IntoParams, ToSchema};

use crate::http::wire::ProblemView;

pub(crate) use audit::{ActionWord, AuditParameters, ShownWord, TargetWord};
pub(crate) use people::*;
pub(crate) use stats::{
    BotsWord, ClickListParameters, ClickRangeParameters, FormatWord, IntervalWord,
    SelectionParameters, StatsParameters,
};

/// A request whose fields are those given and then all that a link has both when it is created and
/// when it is changed.
macro_rules! with_link_fields {
    ($(#[$about:meta])* $name:ident { $($own:tt)* }) => {
        $(#[$about])*
        #[derive(ToSchema)]
        pub(crate) struct $name {
            $($own)*
            /// A served domain; absent, the default one.
            #[schema(max_length = 253)]
            pub(crate) domain: Option<String>,
            #[schema(max_length = 200, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
            pub(crate) title: Option<String>,
            /// The one text that may have line breaks.
            #[schema(
                max_length = 2000,
                pattern = r"^[^\u0000-\u0009\u000b-\u001f\u007f-\u009f]*$"
            )]
            pub(crate) notes: Option<String>,
            /// Trimmed; of equal ones the first is kept.
            #[schema(max_items = 20)]
            pub(crate) tags: Option<Vec<TagText>>,
            /// One of 301, 302 (the default), 303, 307 and 308.
            #[schema(value_type = Option<RedirectStatusNumber>)]
            pub(crate) redirect_status: Option<u16>,
            /// Before this time the link is not there.
            #[schema(format = DateTime)]
            pub(crate) starts_at: Option<String>,
            /// In the future, and after `starts_at`. Not together with `expires_in`.
            #[schema(format = DateTime)]
            pub(crate) expires_at: Option<String>,
            /// Seconds from now.
            #[schema(minimum = 1, maximum = 3_153_600_000_u64)]
            pub(crate) expires_in: Option<u64>,
            /// Where visitors go when the link is expired or exhausted.
            #[schema(max_length = 8192, format = "uri")]
            pub(crate) expired_url: Option<String>,
            #[schema(minimum = 1, maximum = 1_000_000_000_000_u64)]
            pub(crate) max_clicks: Option<u64>,
            /// Whether the visitor's query is passed on; the default is true.
            pub(crate) forward_query: Option<bool>,
            /// Yours; unique in the workspace. At most 255 bytes.
            #[schema(
                min_length = 1,
                max_length = 255,
                pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$"
            )]
            pub(crate) external_id: Option<String>,
        }
    };
}

with_link_fields! {
    /// A link to create.
    CreateLink {
        /// Absolute http or https URL, at most 8,192 bytes, to a public host that the operator
        /// does not block.
        #[schema(max_length = 8192, format = "uri", examples("https://example.com/spring"))]
        pub(crate) destination: String,
        /// The code to claim; absent, one is made.
        #[schema(min_length = 3, max_length = 50, pattern = "^[A-Za-z0-9_-]+$")]
        pub(crate) alias: Option<String>,
        /// Where the operator allows a choice.
        #[schema(value_type = Option<CodeSchemeWord>)]
        pub(crate) code_scheme: Option<String>,
        /// Characters of a random or hash code, where the operator allows a choice.
        #[schema(minimum = 5, maximum = 32)]
        pub(crate) code_length: Option<u64>,
    }
}

with_link_fields! {
    /// What to change of a link: absent fields stay, `null` clears.
    ChangeLink {
        #[schema(max_length = 8192, format = "uri", examples("https://example.com/summer"))]
        #[schema(required = false, nullable = false)]
        pub(crate) destination: Option<String>,
        /// Moves the link; the old code stays reserved.
        #[schema(min_length = 3, max_length = 50, pattern = "^[A-Za-z0-9_-]+$", nullable = false)]
        pub(crate) alias: Option<String>,
        #[schema(value_type = OwnerStatusWord, required = false)]
        pub(crate) status: Option<String>,
    }
}

/// Up to 1,000 links, judged one by one.
#[derive(ToSchema)]
pub(crate) struct CreateLinks {
    /// Each as in `CreateLink`. One that is not acceptable has a problem for an answer; the
    /// others are created.
    #[schema(max_items = 1000, value_type = Vec<Object>)]
    pub(crate) links: Vec<CreateLink>,
}

/// A key to make.
#[derive(ToSchema)]
pub(crate) struct CreateApiKey {
    #[schema(min_length = 1, max_length = 100, pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$")]
    pub(crate) name: String,
    /// Absent: all that you may do.
    #[schema(min_items = 1)]
    pub(crate) scopes: Option<Vec<ScopeWord>>,
    /// In the future; absent: never.
    #[schema(format = DateTime)]
    pub(crate) expires_at: Option<String>,
}

/// A tag: not blank, no control characters.
#[derive(ToSchema)]
#[schema(
    min_length = 1,
    max_length = 50,
    pattern = r"^[^\u0000-\u0020\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*$"
)]
pub(crate) struct TagText(pub(crate) String);

/// What an owner may set.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum OwnerStatusWord {
    Active,
    Disabled,
    Archived,
}

/// How a code is made.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum CodeSchemeWord {
    Sealed,
    Snowflake,
    Random,
    Hash,
}

/// Status code of a redirect.
pub(crate) struct RedirectStatusNumber;

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
pub(crate) struct CodeParameters {
    /// Code or alias.
    #[param(min_length = 1, max_length = 50, pattern = "^[A-Za-z0-9_-]+$")]
    pub(crate) code: String,
}

/// Where the link lives.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct DomainParameter {
    /// Another than the default domain.
    #[param(max_length = 253, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    pub(crate) domain: Option<String>,
}

/// Optimistic concurrency.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct IfMatchParameter {
    /// The `ETag` that the change is meant for, or `*`.
    #[param(rename = "If-Match")]
    pub(crate) if_match: Option<String>,
}

/// What every list takes.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageParameters {
    /// Rows of a page; the default is 25.
    #[param(minimum = 1, maximum = 100)]
    pub(crate) limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub(crate) cursor: Option<String>,
}

/// What the list of links is filtered and sorted by.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListParameters {
    /// Substring of code, destination, title or a tag, whatever the case.
    #[param(max_length = 200, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    pub(crate) q: Option<String>,
    /// All of these tags.
    #[param(max_items = 20)]
    pub(crate) tag: Option<Vec<TagText>>,
    #[param(value_type = Option<StateWord>)]
    pub(crate) state: Option<String>,
    #[param(max_length = 253, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    pub(crate) domain: Option<String>,
    #[param(format = DateTime)]
    pub(crate) created_after: Option<String>,
    #[param(format = DateTime)]
    pub(crate) created_before: Option<String>,
    #[param(value_type = Option<CreatedViaWord>)]
    pub(crate) created_via: Option<String>,
    #[param(max_length = 255, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    pub(crate) external_id: Option<String>,
    /// The default is `-created_at`.
    #[param(value_type = Option<SortWord>)]
    pub(crate) sort: Option<String>,
}

/// Order of the list of links.
#[derive(ToSchema)]
pub(crate) enum SortWord {
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

/// What an owner can set, and `blocked`, which only the operator can.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum StatusWord {
    Active,
    Disabled,
    Archived,
    Blocked,
}

/// Computed from status, times and clicks.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum StateWord {
    Active,
    Scheduled,
    Expired,
    Exhausted,
    Disabled,
    Archived,
    Blocked,
}

/// The door a link came in by.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum CreatedViaWord {
    Web,
    Api,
    Anonymous,
    Import,
    Bulk,
}

/// What a key may do; `*` is all that its creator may do.
#[derive(ToSchema)]
pub(crate) enum ScopeWord {
    #[schema(rename = "links:read")]
    LinksRead,
    #[schema(rename = "links:write")]
    LinksWrite,
    #[schema(rename = "stats:read")]
    StatsRead,
    #[schema(rename = "keys:manage")]
    KeysManage,
    #[schema(rename = "org:manage")]
    OrgManage,
    #[schema(rename = "*")]
    All,
}

/// Outcome of a row.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum OutcomeWord {
    Created,
    Unchanged,
    Taken,
    ExternalIdTaken,
    Invalid,
    /// The batch was imported before, and what became of this row then is not remembered.
    Unknown,
}

/// Is the process alive
#[utoipa::path(
    get, path = "/health", tag = "operations", operation_id = "health", security(()),
    responses((status = 200, description = "It is", body = HealthView)),
)]
pub(in crate::http) fn health() {}

/// Answer of `/health`.
#[derive(ToSchema)]
#[schema(as = Health)]
pub(crate) struct HealthView {
    #[schema(pattern = "^ok$")]
    pub(crate) status: String,
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
        (status = 400, description = "The path is malformed", content(
            (String = "text/html"), (ProblemView = "application/problem+json"),
        )),
        (status = 403, description = "Blocked", content(
            (String = "text/html"), (ProblemView = "application/problem+json"),
        )),
        (status = 404, description = "There is no such link", content(
            (String = "text/html"), (ProblemView = "application/problem+json"),
        )),
        (status = 410, description = "Expired, exhausted, disabled or archived", content(
            (String = "text/html"), (ProblemView = "application/problem+json"),
        )),
        (status = 414, description = "The request target is too long",
            body = ProblemView, content_type = "application/problem+json"),
        (status = 431, description = "The request headers are too large",
            body = ProblemView, content_type = "application/problem+json"),
        (status = 503, description = "Try again in a moment", content(
            (String = "text/html"), (ProblemView = "application/problem+json"),
        )),
    ),
)]
pub(in crate::http) fn redirect() {}
