//! Parameters of questions about clicks.

use utoipa::{IntoParams, ToSchema};

/// Which clicks.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ClickRangeParameters {
    /// A time such as `2026-01-31T18:30:00Z`, or a date, whose day is included; the default is the
    /// start of the 29th day before the last one.
    #[param(max_length = 64, example = "2026-01-01")]
    pub(crate) from: Option<String>,
    /// A time, or a date, whose day is included; the default is now.
    #[param(max_length = 64, example = "2026-01-31")]
    pub(crate) to: Option<String>,
    /// IANA name of the zone whose days are meant; the default is `UTC`.
    #[param(max_length = 64, example = "America/New_York")]
    pub(crate) timezone: Option<String>,
}

/// How statistics are cut and what they count.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct StatsParameters {
    /// Width of the buckets; the default suits the length of the range.
    #[param(value_type = Option<IntervalWord>)]
    pub(crate) interval: Option<String>,
    /// The default is `exclude`.
    #[param(value_type = Option<BotsWord>)]
    pub(crate) bots: Option<String>,
    /// Rows of each list; the default is 10.
    #[param(minimum = 1, maximum = 100)]
    pub(crate) top: Option<u32>,
}

/// Which links of the workspace.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct SelectionParameters {
    /// Links with this tag.
    #[param(max_length = 50)]
    pub(crate) tag: Option<String>,
    /// Links on this domain.
    #[param(max_length = 253, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    pub(crate) domain: Option<String>,
}

/// Which single clicks, and how.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ClickListParameters {
    /// The default is `include`: each click says whether it is a bot's.
    #[param(value_type = Option<BotsWord>)]
    pub(crate) bots: Option<String>,
    /// The default is `json`, or `csv` for `Accept: text/csv`. CSV is the whole range at once and
    /// takes no `limit` and no `cursor`.
    #[param(value_type = Option<FormatWord>)]
    pub(crate) format: Option<String>,
}

/// Width of a bucket.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum IntervalWord {
    Minute,
    Hour,
    Day,
    Week,
    Month,
}

/// Whether bots are counted.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum BotsWord {
    Exclude,
    Include,
    Only,
}

/// How a list is written.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum FormatWord {
    Json,
    Csv,
}
