//! What a caller asked of a link, before anybody judged it, and how a judge names what is wrong.

use crate::domain::link::LinkStatus;
use crate::domain::scheme::CodeScheme;
use crate::domain::time::Timestamp;

/// A field of a request: not there, `null`, or a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Field<T> {
    #[default]
    Absent,
    Null,
    Set(T),
}

impl<T> Field<T> {
    /// The value, if one was given.
    pub fn given(self) -> Option<T> {
        match self {
            Self::Set(value) => Some(value),
            Self::Absent | Self::Null => None,
        }
    }

    pub const fn is_set(&self) -> bool {
        matches!(self, Self::Set(_))
    }
}

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// JSON pointer into the body, or `?name` for a parameter of the query.
    pub pointer: String,
    pub code: FieldCode,
    /// A sentence for people.
    pub detail: String,
}

/// Why a field is refused, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldCode {
    Required,
    WrongType,
    UnknownField,
    TooLong,
    TooMany,
    OutOfRange,
    ControlCharacter,
    InvalidValue,
    InvalidTime,
    InvalidUrl,
    DestinationBlocked,
    InvalidAlias,
    NotAvailable,
    Contradiction,
    Taken,
    WeakPassword,
}

impl FieldCode {
    pub const ALL: &[Self] = &[
        Self::Required,
        Self::WrongType,
        Self::UnknownField,
        Self::TooLong,
        Self::TooMany,
        Self::OutOfRange,
        Self::ControlCharacter,
        Self::InvalidValue,
        Self::InvalidTime,
        Self::InvalidUrl,
        Self::DestinationBlocked,
        Self::InvalidAlias,
        Self::NotAvailable,
        Self::Contradiction,
        Self::Taken,
        Self::WeakPassword,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::WrongType => "wrong_type",
            Self::UnknownField => "unknown_field",
            Self::TooLong => "too_long",
            Self::TooMany => "too_many",
            Self::OutOfRange => "out_of_range",
            Self::ControlCharacter => "control_character",
            Self::InvalidValue => "invalid_value",
            Self::InvalidTime => "invalid_time",
            Self::InvalidUrl => "invalid_url",
            Self::DestinationBlocked => "destination_blocked",
            Self::InvalidAlias => "invalid_alias",
            Self::NotAvailable => "not_available",
            Self::Contradiction => "contradiction",
            Self::Taken => "taken",
            Self::WeakPassword => "weak_password",
        }
    }
}

impl FieldError {
    pub fn new(pointer: impl Into<String>, code: FieldCode, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), code, detail: detail.into() }
    }
}

/// A request to create or change one link, field by field.
#[derive(Clone, Debug, Default)]
pub struct LinkDraft {
    pub destination: Field<String>,
    pub alias: Field<String>,
    pub domain: Field<String>,
    pub title: Field<String>,
    pub notes: Field<String>,
    pub tags: Field<Vec<String>>,
    pub status: Field<LinkStatus>,
    pub redirect_status: Field<u64>,
    pub starts_at: Field<Timestamp>,
    pub expires_at: Field<Timestamp>,
    /// Seconds from now.
    pub expires_in: Field<u64>,
    pub expired_url: Field<String>,
    pub max_clicks: Field<u64>,
    pub forward_query: Field<bool>,
    pub external_id: Field<String>,
    pub code_scheme: Field<CodeScheme>,
    pub code_length: Field<u64>,
    /// What reading the request already found wrong.
    pub faults: Vec<FieldError>,
    /// Where in the body the draft stands: empty, or `/links/3`.
    pub pointer: String,
}
