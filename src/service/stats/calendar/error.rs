//! Why a question about time is refused.

use super::{BUCKETS_MAX, Interval};

/// One parameter that cannot be honoured. The sentences are for whoever wrote the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeriodError {
    #[error(
        "`{field}` must be an RFC 3339 time such as 2026-01-31T18:30:00Z, \
         or a date such as 2026-01-31"
    )]
    NotATime { field: &'static str },
    #[error("`{field}` must lie in the years 1970 to 2199")]
    OutsideYears { field: &'static str },
    #[error("`timezone` must be a name of the IANA time zone database, such as Europe/Berlin")]
    UnknownZone,
    #[error("`interval` must be minute, hour, day, week or month")]
    UnknownInterval,
    #[error("`from` must be earlier than `to`")]
    Backwards,
    #[error("`from` must not be in the future")]
    InFuture,
    #[error("`from` and `to` must not be more than 10 years apart")]
    TooLong,
    #[error(
        "`interval` {interval} would give more than {BUCKETS_MAX} buckets; \
         the smallest that fits this range is {fits}"
    )]
    TooFine { interval: Interval, fits: Interval },
    #[error(
        "`from` is too long ago: counts per {interval} are kept for {} days; \
         the smallest `interval` that fits this range is {fits}",
        interval.days_kept().unwrap_or_default()
    )]
    TooOld { interval: Interval, fits: Interval },
}

impl PeriodError {
    /// The parameter to change.
    pub const fn field(&self) -> &'static str {
        match self {
            Self::NotATime { field } | Self::OutsideYears { field } => field,
            Self::UnknownZone => "timezone",
            Self::UnknownInterval | Self::TooFine { .. } => "interval",
            Self::Backwards | Self::InFuture | Self::TooLong | Self::TooOld { .. } => "from",
        }
    }
}
