//! `/auth/oidc`: signing in with a provider, by the address bar of a browser.
//!
//! What has to be remembered while the person is at the provider travels in a cookie that only
//! this site gets and that ends when they come back, whatever comes of it.

use actix_web::cookie::time::Duration;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::http::header::{self, HeaderMap};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _, web};

use super::AdminState;
use super::answer::{self, send, to_the_end};
use super::auth::{forget, remember, token};
use crate::http::cookies::sole;
use crate::http::error::{ApiError, ProblemCode};
use crate::http::extract::{Door, Parameters, read_json};
use crate::http::openapi::{
    BodyProblems, CommonProblems, SignInProblems, TakenProblems, ThrottleProblems, shapes,
};
use crate::http::rates::ClientAddress;
use crate::http::wire::people::{LogoutView, refresh_body};
use crate::service::oidc::{Callback, OidcFault};

/// The prefix makes browsers refuse one that a neighbour, or a listener without TLS, has set.
const COOKIE: &str = "__Host-shunt_oidc";
/// How long a person may take at the provider.
const COOKIE_LIFE: Duration = Duration::minutes(10);

/// Begin signing in with a provider
#[utoipa::path(
    get, path = "/api/v1/auth/oidc/{provider}/login", tag = "auth", operation_id = "oidc_login",
    security(()),
    params(
        ("provider" = String, Path, pattern = "^[a-z0-9-]{1,40}$"),
        ("return_to" = Option<String>, Query, max_length = 1024, description = "Where to go \
         afterwards: a path of this site, `/` unless given"),
    ),
    responses(
        (status = 302, description = "To the provider"),
        SignInProblems, ThrottleProblems,
    ),
)]
pub(in crate::http) async fn login(
    request: HttpRequest,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    let mut parameters = Parameters::of(&request)?;
    let return_to = parameters.one("return_to").unwrap_or_else(|| "/".to_owned());
    parameters.check()?;
    Door::knock(&request, &state).await?;
    let begun = state.oidc.begin(provider(&request), &return_to).await?;
    let answer = HttpResponse::Found()
        .insert_header((header::LOCATION, begun.url.as_str()))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .cookie(carried(begun.state_cookie, COOKIE_LIFE))
        .finish();
    Ok(answer)
}

/// Come back from a provider
#[utoipa::path(
    get, path = "/api/v1/auth/oidc/{provider}/callback", tag = "auth",
    operation_id = "oidc_callback", security(()),
    params(
        ("provider" = String, Path, pattern = "^[a-z0-9-]{1,40}$"),
        ("code" = Option<String>, Query), ("state" = Option<String>, Query),
        ("iss" = Option<String>, Query), ("error" = Option<String>, Query),
    ),
    responses(
        (status = 303, description = "To where the sign-in was begun for"),
        SignInProblems, TakenProblems, ThrottleProblems,
    ),
)]
pub(in crate::http) async fn callback(
    request: HttpRequest,
    state: web::Data<AdminState>,
) -> HttpResponse {
    let mut answer = match arrive(&request, state).await {
        Ok(answer) => answer,
        Err(error) => error.error_response(),
    };
    // A name and a value of plain characters make a header.
    let _ = answer.add_cookie(&carried(String::new(), Duration::ZERO));
    answer
}

/// Opens a session for who came back, once that is proven.
async fn arrive(
    request: &HttpRequest,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    Door::knock(request, &state).await?;
    let callback = Callback::parse(request.query_string())?;
    let id = provider(request);
    let finished = state.oidc.finish(id, &callback, brought(request.headers())).await?;
    let provision = state.oidc.providers().any(|one| one.id == id && one.provision);
    let client = ClientAddress::of(request);
    to_the_end(async move {
        let accounts = &state.accounts;
        let signed_in = accounts.sign_in_with(&finished.identity, provision, client).await?;
        let mut answer = HttpResponse::SeeOther()
            .insert_header((header::LOCATION, finished.return_to.as_str()))
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .finish();
        remember(&mut answer, &signed_in);
        Ok(answer)
    })
    .await
}

/// End a session here, and learn where to end the one at the provider
#[utoipa::path(
    post, path = "/api/v1/auth/oidc/{provider}/logout", tag = "auth", operation_id = "oidc_logout",
    security(()),
    params(("provider" = String, Path, pattern = "^[a-z0-9-]{1,40}$")),
    request_body = shapes::Refresh,
    responses(
        (status = 200, description = "It is over here", body = LogoutView),
        CommonProblems, BodyProblems, ThrottleProblems,
    ),
)]
pub(in crate::http) async fn logout(
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    Door::knock(&request, &state).await?;
    let body = read_json(&request, payload, refresh_body).await?;
    let (token, _) = token(&request, body.token)?;
    let id = provider(&request).to_owned();
    to_the_end(async move {
        state.accounts.log_out(&token).await?;
        // The session here is over, whether the provider can be asked or not.
        let home = format!("{}/", state.site.public_url);
        let url = state.oidc.logout_url(&id, None, Some(&home)).await;
        let logout_url = url.ok().flatten().map(|url| url.to_string());
        let answer = answer::json(200, &LogoutView { logout_url }).map(send)?;
        Ok(forget(answer))
    })
    .await
}

/// The cookie of a sign-in. A neighbour's, who wants somebody to end up in an account of the
/// neighbour's, is none.
fn brought(headers: &HeaderMap) -> Option<&str> {
    sole(headers, COOKIE).and_then(|value| std::str::from_utf8(value).ok())
}

fn provider(request: &HttpRequest) -> &str {
    request.match_info().get("provider").unwrap_or_default()
}

fn carried(value: String, life: Duration) -> Cookie<'static> {
    Cookie::build(COOKIE, value)
        .path("/")
        .secure(true)
        .http_only(true)
        // `Strict` would keep it from the very request that it is for: one that the provider sent.
        .same_site(SameSite::Lax)
        .max_age(life)
        .finish()
}

impl From<OidcFault> for ApiError {
    fn from(fault: OidcFault) -> Self {
        match fault {
            OidcFault::UnknownProvider => Self::not_found(),
            OidcFault::Unavailable | OidcFault::Entropy => Self::unavailable(),
            OidcFault::ReturnTo => {
                Self::new(ProblemCode::InvalidRequest, "`return_to` must be a path of this site")
            }
            OidcFault::State | OidcFault::Issuer | OidcFault::Callback => Self::new(
                ProblemCode::InvalidRequest,
                "this sign-in was not begun in this browser, or more than ten minutes ago; \
                 begin again",
            ),
            OidcFault::Denied | OidcFault::Code | OidcFault::Token(_) => Self::new(
                ProblemCode::Forbidden,
                "the provider did not confirm who you are; begin again",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_cookie_that_could_be_somebody_elses_is_none() {
        let read = |lines: &[&str]| {
            let mut request = TestRequest::get();
            for line in lines {
                let line = HeaderValue::from_bytes(line.as_bytes()).expect("no control characters");
                request = request.append_header((header::COOKIE, line));
            }
            brought(request.to_http_request().headers()).map(str::to_owned)
        };
        let good = Some("abc".to_owned());
        assert_eq!(read(&["__Host-shunt_oidc=abc"]), good);
        assert_eq!(read(&["a=b; __Host-shunt_oidc=abc ; c=d"]), good);
        assert_eq!(read(&["__Host-shunt_oidc=abc; __Host-shunt_oidc=abc"]), None);
        assert_eq!(read(&["__Host-shunt_oidc=abc", "__Host-shunt_oidc=d"]), None);
        assert_eq!(read(&["\u{a0}__Host-shunt_oidc=abc"]), None);
        assert_eq!(
            read(&["__host-shunt_oidc=abc", "x=__Host-shunt_oidc=abc", "__Host-shunt_oidc"]),
            None
        );
        assert_eq!(read(&[]), None);
    }
}
