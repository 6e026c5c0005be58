//! Problems of the JSON API. A problem says what a client needs; its cause is logged once, here,
//! and never sent.

use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, ResponseError};
use tracing::{error, warn};

pub(crate) use super::problem::ProblemCode;
use super::wire::{FaultView, ProblemView};
use crate::actors::links::LoadError;
use crate::domain::audit::Target;
use crate::domain::password::Weakness;
use crate::service::accounts::AccountError;
use crate::service::anonymous::AnonymousError;
use crate::service::draft::{FieldCode, FieldError};
use crate::service::keys::KeyError;
use crate::service::limits::Allowance;
use crate::service::links::LinkError;
use crate::storage::{StorageError, StorageErrorKind};

/// Seconds after which a client may try again when the store or an owner is overloaded.
const RETRY_AFTER_SECS: u64 = 1;
/// Shortest and longest time after which one of too many who log in at once may try again. They
/// come back scattered: all at once, they would be too many again.
const BUSY_SECS: std::ops::RangeInclusive<u64> = 2..=5;
/// Faults listed in one answer; more help nobody.
const FAULTS_MAX: usize = 50;

/// A refusal on its way to the client.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    code: ProblemCode,
    /// A sentence for people; nothing in it comes from inside the service.
    detail: Cow<'static, str>,
    faults: Vec<FieldError>,
    /// Methods that a path takes, for 405.
    allow: &'static [&'static str],
    /// Seconds after which to try again, for 429 and 503.
    retry_after_secs: u64,
    /// Set when somebody wanted what it has no right to, for the audit log.
    denial: Option<Denial>,
}

/// What somebody had no right to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Denial {
    pub(crate) target: Option<Target>,
    /// The scope that it takes, or another fixed word.
    pub(crate) detail: &'static str,
}

impl ApiError {
    pub(crate) fn new(code: ProblemCode, detail: impl Into<Cow<'static, str>>) -> Self {
        let (faults, allow) = (Vec::new(), [].as_slice());
        let detail = detail.into();
        Self { code, detail, faults, allow, retry_after_secs: RETRY_AFTER_SECS, denial: None }
    }

    /// The same, to be recorded.
    #[must_use]
    pub(crate) fn because(mut self, denial: Denial) -> Self {
        self.denial = Some(denial);
        self
    }

    /// What is to be recorded of this refusal; every 403 is.
    pub(crate) fn denial(&self) -> Option<Denial> {
        let detail = self.code.as_str();
        let forbidden = (self.code.status() == 403).then_some(Denial { target: None, detail });
        self.denial.or(forbidden)
    }

    pub(crate) fn code(&self) -> ProblemCode {
        self.code
    }

    /// True when the same request may be answered otherwise in a moment.
    pub(crate) fn passes(&self) -> bool {
        matches!(self.code.status(), 429 | 500..)
    }

    /// Nothing here, or nothing of the caller's.
    pub(crate) fn not_found() -> Self {
        Self::new(ProblemCode::NotFound, "there is nothing here that you may see")
    }

    pub(crate) fn method_not_allowed(allow: &'static [&'static str]) -> Self {
        let mut error =
            Self::new(ProblemCode::MethodNotAllowed, "`Allow` lists what this path takes");
        error.allow = allow;
        error
    }

    /// A limit refused `cost` at once; which one, `RateLimit` tells.
    pub(crate) fn rate_limited(refused: &Allowance, cost: u32) -> Self {
        let too_much = refused.0.iter().find(|one| !one.verdict.allowed);
        let detail = match too_much {
            // It would be refused at any other time too.
            Some(one) if cost > one.quota.n => {
                Cow::Owned(format!("at most {} at once are taken from you", one.quota.n))
            }
            _ => Cow::Borrowed("`RateLimit` tells the limits, `Retry-After` when to try again"),
        };
        let error = Self::new(ProblemCode::RateLimited, detail);
        Self { retry_after_secs: refused.retry_after_secs(), ..error }
    }

    pub(crate) fn unavailable() -> Self {
        Self::new(ProblemCode::Unavailable, "try again in a moment")
    }

    /// Refused fields. The code is that of the faults if they agree, else `invalid_request`.
    pub(crate) fn fields(mut faults: Vec<FieldError>) -> Self {
        let all = |code| faults.iter().all(|fault| fault.code == code);
        let code = if faults.is_empty() {
            ProblemCode::InvalidRequest
        } else if all(FieldCode::InvalidUrl) {
            ProblemCode::InvalidUrl
        } else if all(FieldCode::DestinationBlocked) {
            ProblemCode::DestinationBlocked
        } else if all(FieldCode::WeakPassword) {
            ProblemCode::WeakPassword
        } else if all(FieldCode::InvalidAlias) {
            ProblemCode::InvalidAlias
        } else {
            ProblemCode::InvalidRequest
        };
        let detail = match faults.as_slice() {
            [only] => Cow::Owned(only.detail.clone()),
            // The same is true of each.
            [first, ..] if code == ProblemCode::DestinationBlocked => {
                Cow::Owned(first.detail.clone())
            }
            _ => Cow::Borrowed("`errors` names each field that is not acceptable"),
        };
        faults.truncate(FAULTS_MAX);
        Self { faults, ..Self::new(code, detail) }
    }

    /// The problem as JSON has it.
    pub(crate) fn view(&self) -> ProblemView {
        ProblemView {
            kind: format!("/problems/{}", self.code.as_str()),
            title: self.code.title().to_owned(),
            status: self.code.status(),
            detail: self.detail.clone().into_owned(),
            code: self.code.as_str().to_owned(),
            errors: self.faults.iter().map(FaultView::from).collect(),
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.code.as_str(), self.detail)
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        response.insert_header((header::CACHE_CONTROL, "no-store"));
        match self.code {
            ProblemCode::Unauthenticated => {
                response.insert_header((header::WWW_AUTHENTICATE, "Bearer realm=\"shunt\""));
            }
            ProblemCode::InvalidApiKey
            | ProblemCode::InvalidToken
            | ProblemCode::TokenExpired
            | ProblemCode::InvalidCredentials => {
                let challenge = "Bearer realm=\"shunt\", error=\"invalid_token\"";
                response.insert_header((header::WWW_AUTHENTICATE, challenge));
            }
            ProblemCode::MethodNotAllowed => {
                response.insert_header((header::ALLOW, self.allow.join(", ")));
            }
            ProblemCode::Unavailable | ProblemCode::RateLimited => {
                response.insert_header((header::RETRY_AFTER, self.retry_after_secs.to_string()));
            }
            // What is still coming would be taken for the next request.
            ProblemCode::BodyTooLarge => {
                response.force_close();
            }
            _ => (),
        }
        let body = serde_json::to_vec(&self.view()).unwrap_or_default();
        response.content_type("application/problem+json").body(body)
    }
}

/// One of [`BUSY_SECS`], each as often as the others.
fn scattered() -> u64 {
    static N_REFUSED: AtomicU64 = AtomicU64::new(0);
    let (first, last) = BUSY_SECS.into_inner();
    first + N_REFUSED.fetch_add(1, Ordering::Relaxed) % (last - first + 1)
}

impl From<StorageError> for ApiError {
    fn from(cause: StorageError) -> Self {
        if cause.kind == StorageErrorKind::TooMany {
            let detail = cause.source.as_ref().map_or(cause.to_string(), ToString::to_string);
            return Self::new(ProblemCode::InvalidRequest, detail);
        }
        log_storage(&cause);
        Self::unavailable()
    }
}

impl From<LoadError> for ApiError {
    fn from(cause: LoadError) -> Self {
        match &cause {
            LoadError::Storage(cause) => log_storage(cause),
            LoadError::Overloaded | LoadError::TimedOut(_) => {
                warn!(error = %cause, "the link table did not answer");
            }
        }
        Self::unavailable()
    }
}

impl From<LinkError> for ApiError {
    fn from(cause: LinkError) -> Self {
        match cause {
            LinkError::Invalid(faults) => Self::fields(faults),
            LinkError::AliasTaken => {
                Self::taken(ProblemCode::AliasTaken, "/alias", "this alias is taken")
            }
            LinkError::ExternalIdTaken => Self::taken(
                ProblemCode::Conflict,
                "/external_id",
                "another link of yours has this `external_id`",
            ),
            LinkError::NotFound => Self::not_found(),
            LinkError::Foreign(id) => {
                let target = Some(Target::link(id));
                Self::not_found().because(Denial { target, detail: "another workspace" })
            }
            LinkError::PreconditionFailed => Self::new(
                ProblemCode::PreconditionFailed,
                "the link has another version than `If-Match` names",
            ),
            LinkError::Conflict => Self::new(
                ProblemCode::Conflict,
                "the link was changed by others at the same time; try again",
            ),
            LinkError::NotYours(id) => Self::new(
                ProblemCode::Forbidden,
                "another member of the workspace made this link; admins may change it",
            )
            .because(Denial { target: Some(Target::link(id)), detail: "another member" }),
            LinkError::Blocked => Self::new(
                ProblemCode::Forbidden,
                "this link was blocked by the operator and cannot be changed",
            ),
            LinkError::OtherRows(_) => Self::new(
                ProblemCode::IdempotencyMismatch,
                "this `Idempotency-Key` named a batch with other rows",
            ),
            LinkError::Load(cause) => cause.into(),
            LinkError::Storage(cause) => cause.into(),
            LinkError::NoFreeCode
            | LinkError::Code(_)
            | LinkError::Id(_)
            | LinkError::Naming(_) => {
                warn!(error = %cause, "no code or id was made");
                Self::unavailable()
            }
        }
    }
}

impl From<AccountError> for ApiError {
    fn from(cause: AccountError) -> Self {
        use ProblemCode as Code;
        let text = cause.to_string();
        match cause {
            AccountError::Invalid(faults) => Self::fields(faults),
            AccountError::Weak(weaknesses) => {
                let fault = |weakness: Weakness| {
                    FieldError::new("/password", FieldCode::WeakPassword, weakness.to_string())
                };
                Self::fields(weaknesses.into_iter().map(fault).collect())
            }
            AccountError::WrongCredentials => Self::new(Code::InvalidCredentials, text),
            AccountError::Disabled => Self::new(Code::AccountDisabled, text),
            AccountError::SsoRequired(_) => Self::new(Code::SsoRequired, text),
            AccountError::EmailTaken => Self::taken(Code::EmailTaken, "/email", "this is taken"),
            AccountError::RegistrationClosed
            | AccountError::InvitationNeeded
            | AccountError::NotMember
            | AccountError::Nobody
            | AccountError::NotFresh
            | AccountError::Forbidden(_) => Self::new(Code::Forbidden, text),
            AccountError::InvalidTicket => Self::new(Code::InvalidRequest, text),
            AccountError::InvalidToken => Self::new(Code::InvalidToken, text),
            AccountError::SessionExpired => Self::new(Code::TokenExpired, text),
            AccountError::NotFound => Self::not_found(),
            AccountError::LastOwner => Self::new(Code::Conflict, text),
            AccountError::QuotaReached(_) => Self::new(Code::QuotaExceeded, text),
            AccountError::TooMany { retry_after_secs, shown } => {
                Self { retry_after_secs, ..Self::rate_limited(&shown, 1) }
            }
            AccountError::Busy => Self { retry_after_secs: scattered(), ..Self::unavailable() },
            AccountError::Storage(cause) => cause.into(),
            AccountError::Entropy(_) | AccountError::Passwords(_) | AccountError::Id(_) => {
                warn!(error = %cause, "an account could not be served");
                Self::unavailable()
            }
        }
    }
}

impl From<AnonymousError> for ApiError {
    fn from(cause: AnonymousError) -> Self {
        match cause {
            AnonymousError::Off => Self::not_found(),
            AnonymousError::MalformedToken => {
                Self::new(ProblemCode::InvalidRequest, cause.to_string())
            }
            AnonymousError::TooMany(refused) => Self::rate_limited(&refused.shown, 1),
            AnonymousError::Link(cause) => cause.into(),
            AnonymousError::Storage(cause) => cause.into(),
            AnonymousError::Entropy(_) | AnonymousError::Id(_) => {
                warn!(error = %cause, "no link was made without an account");
                Self::unavailable()
            }
        }
    }
}

impl From<KeyError> for ApiError {
    fn from(cause: KeyError) -> Self {
        match cause {
            KeyError::Invalid(faults) => Self::fields(faults),
            KeyError::ScopeExceeded(_) => {
                Self::new(ProblemCode::InsufficientScope, cause.to_string())
            }
            KeyError::QuotaReached => Self::new(ProblemCode::QuotaExceeded, cause.to_string()),
            KeyError::Storage(cause) => cause.into(),
            KeyError::Entropy(_) | KeyError::Id(_) => {
                warn!(error = %cause, "no key was made");
                Self::unavailable()
            }
        }
    }
}

impl ApiError {
    fn taken(code: ProblemCode, pointer: &str, detail: &'static str) -> Self {
        let mut error = Self::new(code, detail);
        error.faults.push(FieldError::new(pointer, FieldCode::Taken, detail));
        error
    }

    /// Puts the place of one item of a bulk request before its pointers.
    #[must_use]
    pub(crate) fn at(mut self, place: &str) -> Self {
        for fault in &mut self.faults {
            if !fault.pointer.starts_with(place) {
                fault.pointer.insert_str(0, place);
            }
        }
        self
    }
}

/// An outage passes; damage and refused statements need a human.
fn log_storage(cause: &StorageError) {
    let source = cause.source.as_deref().map(ToString::to_string).unwrap_or_default();
    match cause.kind {
        StorageErrorKind::Corrupt | StorageErrorKind::Damaged | StorageErrorKind::Invalid => {
            error!(error = %cause, source, "a request failed in the store");
        }
        StorageErrorKind::Unavailable
        | StorageErrorKind::Timeout
        | StorageErrorKind::Full
        | StorageErrorKind::TooMany => {
            warn!(error = %cause, source, "a request found the store not available");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(code: FieldCode) -> FieldError {
        FieldError::new("/x", code, "why")
    }

    #[test]
    fn a_problem_carries_what_rfc_9457_and_the_contract_ask_for() {
        for code in ProblemCode::ALL {
            let error = ApiError::new(*code, "why");
            let response = error.error_response();
            let headers = response.headers();
            let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
            assert_eq!(kind, Some("application/problem+json"));
            assert_eq!(response.status().as_u16(), code.status());
            let has = |name| headers.contains_key(name);
            assert_eq!(has(header::WWW_AUTHENTICATE), code.status() == 401, "{code:?}");
            assert_eq!(has(header::RETRY_AFTER), matches!(code.status(), 429 | 503), "{code:?}");
            assert_eq!(has(header::ALLOW), code.status() == 405, "{code:?}");
            let view = serde_json::to_value(error.view()).unwrap_or_default();
            assert_eq!(view["type"], format!("/problems/{}", code.as_str()));
            assert_eq!(view["status"], code.status());
            assert_eq!(view["code"], code.as_str());
            assert!(view["title"].is_string() && view["detail"].is_string());
        }
    }

    #[test]
    fn a_question_about_too_many_rows_is_the_fault_of_whoever_asked() {
        let cause = StorageError::new(StorageErrorKind::TooMany, "list", "ask for less");
        let error = ApiError::from(cause);
        assert_eq!(
            (error.code, error.detail.as_ref()),
            (ProblemCode::InvalidRequest, "ask for less")
        );
        let cause = StorageError::new(StorageErrorKind::Timeout, "list", "what only the log tells");
        let error = ApiError::from(cause);
        assert_eq!(error.code, ProblemCode::Unavailable);
        assert!(!error.detail.contains("the log"));
    }

    #[test]
    fn the_code_of_refused_fields_is_theirs_when_they_agree() {
        use FieldCode::{DestinationBlocked, InvalidAlias, InvalidUrl, TooLong};
        for (faults, expected) in [
            (vec![InvalidUrl], ProblemCode::InvalidUrl),
            (vec![InvalidUrl, InvalidUrl], ProblemCode::InvalidUrl),
            (vec![InvalidAlias], ProblemCode::InvalidAlias),
            (vec![DestinationBlocked], ProblemCode::DestinationBlocked),
            (vec![DestinationBlocked, DestinationBlocked], ProblemCode::DestinationBlocked),
            (vec![DestinationBlocked, InvalidUrl], ProblemCode::InvalidRequest),
            (vec![InvalidAlias, InvalidUrl], ProblemCode::InvalidRequest),
            (vec![TooLong], ProblemCode::InvalidRequest),
        ] {
            let error = ApiError::fields(faults.into_iter().map(fault).collect());
            assert_eq!(error.code(), expected);
        }
    }

    #[test]
    fn causes_inside_the_service_are_not_told() {
        let cause = StorageError::new(StorageErrorKind::Timeout, "fetch", "at /var/lib: SELECT x");
        let error = ApiError::from(LinkError::from(cause));
        assert_eq!(error.code(), ProblemCode::Unavailable);
        let text = serde_json::to_string(&error.view()).unwrap_or_default();
        assert!(!text.contains("SELECT") && !text.contains("/var"), "{text}");
    }
}
