//! Why something that was asked of an account is refused.

use crate::domain::password::Weakness;
use crate::service::draft::FieldError;
use crate::service::ids::IdSourceError;
use crate::service::limits::{Allowance, Refused};
use crate::service::passwords::PasswordError;
use crate::storage::StorageError;

/// A refusal. What it does not tell apart, callers must not learn.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    #[error("fields are not acceptable")]
    Invalid(Vec<FieldError>),
    #[error("the password is too weak")]
    Weak(Vec<Weakness>),
    #[error("the address or the password is wrong")]
    WrongCredentials,
    #[error("the account is disabled")]
    Disabled,
    #[error("an account has this address")]
    EmailTaken,
    #[error("people of this domain sign in with the provider `{0}`")]
    SsoRequired(String),
    #[error("nobody can register here")]
    RegistrationClosed,
    #[error("registering needs an invitation")]
    InvitationNeeded,
    #[error("the token is malformed, unknown, used or expired")]
    InvalidTicket,
    #[error("the refresh token is malformed, unknown or spent")]
    InvalidToken,
    #[error("the session has ended")]
    SessionExpired,
    #[error("you are no member of that workspace")]
    NotMember,
    #[error("there is no such thing, or not for you")]
    NotFound,
    #[error("{0}")]
    Forbidden(&'static str),
    #[error("a workspace needs an owner; make somebody else one first")]
    LastOwner,
    #[error("{0}")]
    QuotaReached(&'static str),
    #[error("a person has to be signed in for this; a key of the workspace is nobody")]
    Nobody,
    #[error("sign in again first: this takes a session that is younger than ten minutes")]
    NotFresh,
    #[error("too many tries")]
    TooMany { retry_after_secs: u64, shown: Allowance },
    #[error("too much at once")]
    Busy,
    #[error("no random bytes: {0}")]
    Entropy(getrandom::Error),
    #[error("passwords cannot be checked: {0}")]
    Passwords(PasswordError),
    #[error(transparent)]
    Id(#[from] IdSourceError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<PasswordError> for AccountError {
    fn from(cause: PasswordError) -> Self {
        match cause {
            PasswordError::Weak(weaknesses) => Self::Weak(weaknesses),
            PasswordError::Busy | PasswordError::Stopped => Self::Busy,
            other => Self::Passwords(other),
        }
    }
}

impl From<Refused> for AccountError {
    fn from(refused: Refused) -> Self {
        let retry_after_secs = refused.retry_after.as_millis().div_ceil(1_000).max(1) as u64;
        Self::TooMany { retry_after_secs, shown: refused.shown }
    }
}
