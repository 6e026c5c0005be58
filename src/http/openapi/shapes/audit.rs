//! Parameters and words of the audit log.

use utoipa::openapi::{RefOr, schema};
use utoipa::{IntoParams, ToSchema};

use crate::domain::audit::{AuditAction, TargetKind};

/// Which entries.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditParameters {
    #[param(value_type = Option<ActionWord>)]
    pub(crate) action: Option<String>,
    /// Id of who did it.
    #[param(pattern = "^[0-9]{1,20}$")]
    pub(crate) actor: Option<String>,
    /// Id of what it was done to.
    #[param(pattern = "^[0-9]{1,20}$")]
    pub(crate) target: Option<String>,
    /// This moment included.
    #[param(format = DateTime)]
    pub(crate) from: Option<String>,
    /// This moment not included.
    #[param(format = DateTime)]
    pub(crate) to: Option<String>,
}

/// What was done.
pub(crate) struct ActionWord;

/// What kind of thing it was done to.
pub(crate) struct TargetWord;

/// What was shown.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum ShownWord {
    ApiKey,
    Session,
    Provider,
    CommandLine,
}

impl utoipa::PartialSchema for ActionWord {
    fn schema() -> RefOr<schema::Schema> {
        words("What was done", AuditAction::ALL.iter().map(|action| action.as_str()))
    }
}

impl ToSchema for ActionWord {}

impl utoipa::PartialSchema for TargetWord {
    fn schema() -> RefOr<schema::Schema> {
        words("What it was done to", TargetKind::ALL.iter().map(|kind| kind.as_str()))
    }
}

impl ToSchema for TargetWord {}

fn words(what: &str, words: impl Iterator<Item = &'static str>) -> RefOr<schema::Schema> {
    schema::ObjectBuilder::new()
        .schema_type(schema::Type::String)
        .enum_values(Some(words))
        .description(Some(what))
        .into()
}
