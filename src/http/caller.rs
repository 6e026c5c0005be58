//! Who asks: what a request shows, and what that is good for.

use std::net::IpAddr;

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, web};
use futures_util::future::LocalBoxFuture;

use super::admin::AdminState;
use super::cookies::SessionCookie;
use super::error::{ApiError, Denial, ProblemCode};
use super::rates::{Charges, ClientAddress};
use crate::domain::api_key::Scope;
use crate::domain::id::Id;
use crate::domain::link::CreatedVia;
use crate::service::access::{Actor, Grant, Place};
use crate::service::limits::Subject;
use crate::service::oidc::{OidcFault, TokenFault as ForeignFault};
use crate::service::tokens::TokenFault;

/// Whoever sent a key that is in force.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    by: Actor,
    /// The credential came in a cookie: somebody sits before a browser.
    by_cookie: bool,
}

impl Caller {
    /// Goes on only if the key may do this.
    pub(crate) fn require(&self, scope: Scope) -> Result<(), ApiError> {
        if self.by.grant.scopes.allow(scope) {
            return Ok(());
        }
        let detail = format!("this needs the scope `{}`", scope.as_str());
        let refused = ApiError::new(ProblemCode::InsufficientScope, detail);
        Err(refused.because(Denial { target: None, detail: scope.as_str() }))
    }

    pub(crate) fn workspace(&self) -> Id {
        self.by.grant.workspace
    }

    /// Which door a link comes in by that the caller makes one by one.
    pub(crate) fn via(&self) -> CreatedVia {
        if self.by_cookie { CreatedVia::Web } else { CreatedVia::Api }
    }

    /// Who acts: the user, or the key that is nobody's.
    pub(crate) fn actor(&self) -> Id {
        self.by.grant.actor()
    }

    pub(crate) fn grant(&self) -> &Grant {
        &self.by.grant
    }

    /// Who acts, and from where.
    pub(crate) fn by(&self) -> &Actor {
        &self.by
    }

    async fn of(request: &HttpRequest) -> Result<Self, ApiError> {
        let state = state(request)?;
        let shown = credential(request);
        let by_cookie = shown.as_ref().is_ok_and(|shown| shown.by_cookie);
        let known = shown.as_ref().ok().and_then(|shown| known(state, shown));
        let grant = match known {
            Some(grant) => grant,
            None => unknown(request, state, shown).await?,
        };
        let allowance = state.limits.request(&Subject::of(&grant)).await;
        Charges::of(request).note(&allowance);
        if allowance.allowed() {
            let by = Actor { grant, place: Place::of(ClientAddress::of(request)) };
            // What is refused later on is recorded as its doing.
            request.extensions_mut().insert(by);
            Ok(Self { by, by_cookie })
        } else {
            Err(ApiError::rate_limited(&allowance, 1))
        }
    }
}

/// Whoever shows this, without asking any store.
fn known(state: &AdminState, shown: &Shown<'_>) -> Option<Grant> {
    match shown.is_token() {
        true => state.access.token(shown.text).ok(),
        false => state.keys.authenticate(shown.text),
    }
}

/// A request that needs no credential. It counts as one without, unless something good comes of it.
pub(crate) struct Door<'a> {
    state: &'a AdminState,
    client: IpAddr,
}

impl<'a> Door<'a> {
    /// Kinds: 429.
    pub(crate) async fn knock(
        request: &HttpRequest,
        state: &'a AdminState,
    ) -> Result<Self, ApiError> {
        let client = ClientAddress::of(request);
        let allowance = state.limits.unauthenticated(client).await;
        Charges::of(request).note(&allowance);
        if allowance.allowed() {
            Ok(Self { state, client })
        } else {
            Err(ApiError::rate_limited(&allowance, 1))
        }
    }

    /// Whoever it was may be here.
    pub(crate) async fn opened(self) {
        self.state.limits.was_authenticated(self.client).await;
    }
}

/// Asks the store for what is not known here, unless the client asked for too much of it.
async fn unknown(
    request: &HttpRequest,
    state: &AdminState,
    shown: Result<Shown<'_>, ApiError>,
) -> Result<Grant, ApiError> {
    let client = ClientAddress::of(request);
    let allowance = state.limits.unauthenticated(client).await;
    if !allowance.allowed() {
        Charges::of(request).note(&allowance);
        return Err(ApiError::rate_limited(&allowance, 1));
    }
    let found = match shown {
        Ok(shown) if shown.is_token() => by_token(state, shown.text).await,
        Ok(shown) => state.keys.authenticate_fresh(shown.text).await.ok_or_else(invalid_key),
        Err(error) => Err(error),
    };
    match &found {
        Ok(_) => state.limits.was_authenticated(client).await,
        Err(_) => Charges::of(request).note(&allowance),
    }
    found
}

fn state(request: &HttpRequest) -> Result<&web::Data<AdminState>, ApiError> {
    request.app_data::<web::Data<AdminState>>().ok_or_else(ApiError::unavailable)
}

impl FromRequest for Caller {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move { Self::of(&request).await })
    }
}

/// Whoever shows this token, of ours or of a provider.
async fn by_token(state: &AdminState, text: &str) -> Result<Grant, ApiError> {
    let refused = match state.access.token_fresh(text).await {
        Ok(grant) => return Ok(grant),
        Err(fault) => fault,
    };
    if !state.oidc.takes_bearers() || refused == TokenFault::Expired {
        return Err(token_refused(refused));
    }
    match state.oidc.verify_bearer(text).await {
        Ok(identity) => Ok(state.accounts.outsider(&identity).await?),
        Err(OidcFault::Unavailable) => Err(ApiError::unavailable()),
        Err(OidcFault::Token(ForeignFault::Expired)) => Err(token_refused(TokenFault::Expired)),
        Err(_) => Err(token_refused(refused)),
    }
}

fn token_refused(fault: TokenFault) -> ApiError {
    match fault {
        TokenFault::Expired => {
            ApiError::new(ProblemCode::TokenExpired, "the token has expired, or its session ended")
        }
        _ => {
            ApiError::new(ProblemCode::InvalidToken, "the token is malformed or not of this server")
        }
    }
}

fn invalid_key() -> ApiError {
    ApiError::new(ProblemCode::InvalidApiKey, "the API key is malformed, unknown or not in force")
}

/// What a request shows.
struct Shown<'a> {
    text: &'a str,
    by_cookie: bool,
}

impl Shown<'_> {
    /// No key has a dot in it, and every token has; cookies hold nothing else.
    fn is_token(&self) -> bool {
        self.by_cookie || self.text.contains('.')
    }
}

/// Whether a request shows no credential at all.
pub(crate) fn shows_nothing(request: &HttpRequest) -> bool {
    credential(request).is_err_and(|error| error.code() == ProblemCode::Unauthenticated)
}

/// The one credential of a request. Two that differ are refused: which one counts must not depend
/// on who reads them.
fn credential(request: &HttpRequest) -> Result<Shown<'_>, ApiError> {
    let mut found: Option<&str> = None;
    for value in request.headers().get_all(header::AUTHORIZATION) {
        let value = value.to_str().map_err(|_| invalid_key())?;
        // Nothing after the scheme is a credential that went missing, not none.
        let (scheme, text) = value.trim().split_once(' ').unwrap_or((value.trim(), ""));
        if scheme.eq_ignore_ascii_case("Bearer") {
            agree(&mut found, text.trim())?;
        }
    }
    for value in request.headers().get_all("x-api-key") {
        agree(&mut found, value.to_str().map_err(|_| invalid_key())?.trim())?;
    }
    // A browser adds its cookie by itself; what somebody wrote down counts before it.
    let by_cookie = found.is_none();
    let found = found.or_else(|| SessionCookie::Access.read(request.headers()));
    found.map(|text| Shown { text, by_cookie }).ok_or_else(|| {
        let detail =
            "send an API key or an access token as `Authorization: Bearer …` or `X-API-Key: …`";
        ApiError::new(ProblemCode::Unauthenticated, detail)
    })
}

fn agree<'a>(found: &mut Option<&'a str>, text: &'a str) -> Result<(), ApiError> {
    match found.replace(text) {
        Some(other) if other != text => Err(invalid_key()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn one_credential_counts_and_two_that_differ_are_refused() {
        let with = |bearer: Option<&str>, key: Option<&str>| {
            let mut request = TestRequest::get();
            if let Some(text) = bearer {
                request = request.insert_header((header::AUTHORIZATION, text));
            }
            if let Some(text) = key {
                request = request.insert_header(("X-API-Key", text));
            }
            let request = request.to_http_request();
            credential(&request).map(|shown| shown.text.to_owned()).map_err(|error| error.code())
        };
        assert_eq!(with(Some("Bearer a"), None), Ok("a".to_owned()));
        assert_eq!(with(Some("bearer  a "), None), Ok("a".to_owned()));
        assert_eq!(with(None, Some("a")), Ok("a".to_owned()));
        assert_eq!(with(Some("Bearer a"), Some("a")), Ok("a".to_owned()));
        assert_eq!(with(Some("Bearer a"), Some("b")), Err(ProblemCode::InvalidApiKey));
        assert_eq!(with(Some("Bearer "), None), Ok(String::new()));
        assert_eq!(with(None, Some("")), Ok(String::new()));
        assert_eq!(with(Some("Basic a"), None), Err(ProblemCode::Unauthenticated));
        assert_eq!(with(Some("Basic"), None), Err(ProblemCode::Unauthenticated));
        assert_eq!(with(None, None), Err(ProblemCode::Unauthenticated));
    }
}
