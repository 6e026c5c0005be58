//! `/auth/…`: register, log in, go on, log out.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};

use super::AdminState;
use super::answer::{self, no_content, send, to_the_end};
use crate::http::cookies::SessionCookie;
use crate::http::error::{ApiError, ProblemCode};
use crate::http::extract::{Caller, Door, read_json};
use crate::http::openapi::{BodyProblems, CommonProblems, TakenProblems, ThrottleProblems, shapes};
use crate::http::rates::{Charges, ClientAddress};
use crate::http::wire::people::{SignedInView, login_body, refresh_body, register_body, seconds};
use crate::service::accounts::{AccountError, SignedIn};
use crate::service::limits::Allowance;

/// Make an account, and sign in
#[utoipa::path(
    post, path = "/api/v1/auth/register", tag = "auth", operation_id = "register",
    security(()),
    request_body = shapes::Register,
    responses(
        (status = 201, description = "Signed in", body = SignedInView),
        CommonProblems, BodyProblems, TakenProblems, ThrottleProblems,
    ),
)]
pub(in crate::http) async fn register(
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    let body = read_json(&request, payload, register_body).await?;
    Door::knock(&request, &state).await?;
    let (client, charges) = (ClientAddress::of(&request), Charges::of(&request));
    to_the_end(async move {
        let signed_in = explain(&charges, state.accounts.register(body.draft, client).await)?;
        show(201, &signed_in, body.cookies)
    })
    .await
}

/// Sign in with address and password
#[utoipa::path(
    post, path = "/api/v1/auth/login", tag = "auth", operation_id = "log_in",
    security(()),
    request_body = shapes::LogIn,
    responses(
        (status = 200, description = "Signed in", body = SignedInView),
        CommonProblems, BodyProblems, ThrottleProblems,
    ),
)]
pub(in crate::http) async fn log_in(
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    let body = read_json(&request, payload, login_body).await?;
    let client = ClientAddress::of(&request);
    // Not to the end: nobody waits for the password of a client that has gone.
    let door = Door::knock(&request, &state).await?;
    let mut told = Allowance::default();
    let signed_in = state.accounts.log_in(body.login, client, &mut told).await;
    Charges::of(&request).note(&told);
    let signed_in = explain(&Charges::of(&request), signed_in)?;
    door.opened().await;
    show(200, &signed_in, body.cookies)
}

/// Exchange a refresh token; it is spent by that
#[utoipa::path(
    post, path = "/api/v1/auth/refresh", tag = "auth", operation_id = "refresh",
    security(()),
    request_body = shapes::Refresh,
    responses(
        (status = 200, description = "A new pair", body = SignedInView),
        CommonProblems, BodyProblems, ThrottleProblems,
    ),
)]
pub(in crate::http) async fn refresh(
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    let body = read_json(&request, payload, refresh_body).await?;
    let (token, by_cookie) = token(&request, body.token)?;
    let client = ClientAddress::of(&request);
    Door::knock(&request, &state).await?;
    to_the_end(async move {
        let signed_in = state.accounts.refresh(&token, body.workspace, client).await?;
        state.limits.was_authenticated(client).await;
        show(200, &signed_in, by_cookie)
    })
    .await
}

/// End the session of a refresh token
#[utoipa::path(
    post, path = "/api/v1/auth/logout", tag = "auth", operation_id = "log_out",
    security(()),
    request_body = shapes::Refresh,
    responses(
        (status = 204, description = "It is over"),
        CommonProblems, BodyProblems, ThrottleProblems,
    ),
)]
pub(in crate::http) async fn log_out(
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    let body = read_json(&request, payload, refresh_body).await?;
    let (token, by_cookie) = token(&request, body.token)?;
    Door::knock(&request, &state).await?;
    to_the_end(async move {
        state.accounts.log_out(&token).await?;
        Ok(if by_cookie { forget(no_content()) } else { no_content() })
    })
    .await
}

/// End all of your sessions
#[utoipa::path(
    post, path = "/api/v1/auth/logout-all", tag = "auth", operation_id = "log_out_everywhere",
    responses((status = 204, description = "They are over"), CommonProblems),
)]
pub(in crate::http) async fn log_out_everywhere(
    caller: Caller,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    to_the_end(async move {
        state.accounts.log_out_everywhere(caller.by()).await?;
        Ok(forget(no_content()))
    })
    .await
}

/// Tells with the answer which limit refused, if one did.
pub(super) fn explain<T>(
    charges: &Charges,
    outcome: Result<T, AccountError>,
) -> Result<T, ApiError> {
    if let Err(AccountError::TooMany { shown, .. }) = &outcome {
        charges.note(shown);
    }
    Ok(outcome?)
}

/// The refresh token of the body, or else of the cookie, and whether it was the cookie's.
pub(super) fn token(
    request: &HttpRequest,
    given: Option<String>,
) -> Result<(String, bool), ApiError> {
    if let Some(token) = given {
        return Ok((token, false));
    }
    let cookie = SessionCookie::Refresh.read(request.headers());
    let token = cookie.map(|token| (token.to_owned(), true));
    token.ok_or_else(|| {
        let detail = "send `refresh_token`, or the cookie that holds it";
        ApiError::new(ProblemCode::Unauthenticated, detail)
    })
}

/// Answers with the tokens, or puts them into cookies.
pub(super) fn show(
    status: u16,
    signed_in: &SignedIn,
    cookies: bool,
) -> Result<HttpResponse, ApiError> {
    let mut response = answer::json(status, &SignedInView::new(signed_in, !cookies)).map(send)?;
    if cookies {
        remember(&mut response, signed_in);
    }
    Ok(response)
}

/// Puts a session into cookies.
pub(super) fn remember(response: &mut HttpResponse, signed_in: &SignedIn) {
    let lasts = |until| Duration::from_secs(seconds(signed_in.now, until));
    let (access, refresh) = (&signed_in.access_token, signed_in.refresh_token.as_str());
    let cookies = [
        SessionCookie::Access.holding(access, lasts(signed_in.access_expires_at)),
        SessionCookie::Refresh.holding(refresh, lasts(signed_in.refresh_expires_at)),
    ];
    for cookie in &cookies {
        // Fails for values that no header takes, and tokens are none of these.
        let _ = response.add_cookie(cookie);
    }
}

/// Makes the browser forget a session.
pub(super) fn forget(mut response: HttpResponse) -> HttpResponse {
    for cookie in SessionCookie::ALL {
        let _ = response.add_cookie(&cookie.forgetting());
    }
    response
}
