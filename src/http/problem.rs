//! Every problem that a client can be told of: the only place that knows their status codes.

/// Declares the codes, their statuses and titles from one list.
macro_rules! problem_codes {
    ($($variant:ident = $status:literal, $code:literal, $title:literal;)+) => {
        /// What went wrong, as programs read it: `code` and `status` of a problem.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum ProblemCode {
            $($variant),+
        }

        impl ProblemCode {
            pub(crate) const ALL: &[Self] = &[$(Self::$variant),+];

            /// Stable; what a client's program compares.
            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code),+ }
            }

            pub(crate) const fn status(self) -> u16 {
                match self { $(Self::$variant => $status),+ }
            }

            /// The same for every occurrence.
            pub(crate) const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title),+ }
            }
        }
    };
}

problem_codes! {
    InvalidRequest = 400, "invalid_request", "The request is not valid";
    InvalidUrl = 400, "invalid_url", "The URL cannot be a destination";
    InvalidAlias = 400, "invalid_alias", "The alias cannot be chosen";
    WeakPassword = 400, "weak_password", "The password is too weak";
    InvalidCursor = 400, "invalid_cursor", "The cursor does not fit this list";
    Unauthenticated = 401, "unauthenticated", "A credential is needed";
    InvalidCredentials = 401, "invalid_credentials", "The address or the password is wrong";
    TokenExpired = 401, "token_expired", "The token has expired";
    InvalidToken = 401, "invalid_token", "The token is not valid";
    InvalidApiKey = 401, "invalid_api_key", "The API key is not valid";
    Forbidden = 403, "forbidden", "This is not allowed";
    InsufficientScope = 403, "insufficient_scope", "The credential lacks a scope";
    AccountDisabled = 403, "account_disabled", "The account is disabled";
    SsoRequired = 403, "sso_required", "Sign in with your provider";
    DestinationBlocked = 403, "destination_blocked", "Links to this host are not allowed";
    QuotaExceeded = 403, "quota_exceeded", "The quota is used up";
    LinkBlocked = 403, "link_blocked", "This link has been blocked";
    NotFound = 404, "not_found", "There is no such thing";
    MethodNotAllowed = 405, "method_not_allowed", "The method is not allowed";
    AliasTaken = 409, "alias_taken", "The alias is taken";
    EmailTaken = 409, "email_taken", "The address is taken";
    Conflict = 409, "conflict", "The request conflicts with another";
    IdempotencyInProgress = 409, "idempotency_in_progress", "The first request is still under way";
    LinkExpired = 410, "link_expired", "This link has expired";
    LinkExhausted = 410, "link_exhausted", "This link is used up";
    LinkDisabled = 410, "link_disabled", "This link is switched off";
    LinkArchived = 410, "link_archived", "This link is no longer in use";
    PreconditionFailed = 412, "precondition_failed", "The link has changed";
    BodyTooLarge = 413, "body_too_large", "The body is too large";
    UriTooLong = 414, "uri_too_long", "The request target is too long";
    UnsupportedMediaType = 415, "unsupported_media_type", "The type of the body is not taken here";
    IdempotencyMismatch = 422, "idempotency_mismatch", "The key belongs to another request";
    RateLimited = 429, "rate_limited", "Too many requests";
    HeadersTooLarge = 431, "headers_too_large", "The request headers are too large";
    Unavailable = 503, "unavailable", "The service is not available right now";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_list_every_code_and_no_other() {
        let page = include_str!("../../docs/problems.md");
        let listed: Vec<&str> =
            page.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
        let expected: Vec<String> = ProblemCode::ALL
            .iter()
            .map(|code| format!("| {} | `{}` | {} |", code.status(), code.as_str(), code.title()))
            .collect();
        assert_eq!(listed, expected);
    }

    #[test]
    fn codes_are_different() {
        let mut codes: Vec<&str> = ProblemCode::ALL.iter().map(|code| code.as_str()).collect();
        codes.sort_unstable();
        assert!(codes.is_sorted_by(|a, b| a < b), "{codes:?}");
    }
}
