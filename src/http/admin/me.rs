//! `/me`: the caller's own account.

use actix_web::{HttpRequest, HttpResponse, web};

use super::AdminState;
use super::answer::{self, no_content, send, to_the_end};
use super::auth::{explain, forget};
use crate::domain::password::Password;
use crate::http::error::ApiError;
use crate::http::extract::{Caller, read_json};
use crate::http::openapi::{BodyProblems, CommonProblems, TakenProblems, ThrottleProblems, shapes};
use crate::http::rates::{Charges, ClientAddress};
use crate::http::wire::people::{ProfileView, profile_draft, read};

/// Read your profile
#[utoipa::path(
    get, path = "/api/v1/me", tag = "me", operation_id = "me",
    responses((status = 200, description = "You", body = ProfileView), CommonProblems),
)]
pub(in crate::http) async fn show(
    caller: Caller,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    let profile = state.accounts.profile(caller.by()).await?;
    answer::json(200, &ProfileView::from(&profile)).map(send)
}

/// Change your name or your address
#[utoipa::path(
    patch, path = "/api/v1/me", tag = "me", operation_id = "change_me",
    request_body = shapes::ChangeMe,
    responses(
        (status = 200, description = "You as you are now", body = ProfileView),
        CommonProblems, BodyProblems, TakenProblems, ThrottleProblems,
    ),
)]
pub(in crate::http) async fn change(
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    let draft = read_json(&request, payload, profile_draft).await?;
    let (client, charges) = (ClientAddress::of(&request), Charges::of(&request));
    to_the_end(async move {
        let changed = state.accounts.change_profile(caller.by(), draft, client).await;
        let profile = explain(&charges, changed)?;
        answer::json(200, &ProfileView::from(&profile)).map(send)
    })
    .await
}

/// Erase your account; links of workspaces that nobody else belongs to stop
#[utoipa::path(
    delete, path = "/api/v1/me", tag = "me", operation_id = "erase_me",
    request_body = shapes::Confirm,
    responses(
        (status = 204, description = "Nothing names you any more"),
        CommonProblems, BodyProblems, TakenProblems, ThrottleProblems,
    ),
)]
pub(in crate::http) async fn erase(
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    let password = read_json(&request, payload, |value| {
        read(value, |reader| reader.string("password").given())
    })
    .await?;
    let password = password.map(Password::new);
    let (client, charges) = (ClientAddress::of(&request), Charges::of(&request));
    to_the_end(async move {
        explain(&charges, state.accounts.erase(caller.by(), password, client).await)?;
        Ok(forget(no_content()))
    })
    .await
}
