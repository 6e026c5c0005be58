//! `/auth/password…` and `/auth/verify…`: passwords, and what is proven by mail.

use actix_web::{HttpRequest, HttpResponse, web};

use super::AdminState;
use super::answer::{accepted, no_content, to_the_end};
use super::auth::explain;
use crate::http::error::ApiError;
use crate::http::extract::{Caller, Door, read_json};
use crate::http::openapi::{BodyProblems, CommonProblems, ThrottleProblems, shapes};
use crate::http::rates::{Charges, ClientAddress};
use crate::http::wire::people::{password, read, required};

/// Change your password; other sessions end
#[utoipa::path(
    post, path = "/api/v1/auth/password", tag = "auth", operation_id = "change_password",
    request_body = shapes::ChangePassword,
    responses(
        (status = 204, description = "It is changed"),
        CommonProblems, BodyProblems, ThrottleProblems,
    ),
)]
pub(in crate::http) async fn change(
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    let take = |value| {
        read(value, |reader| {
            (password(reader, "current_password"), password(reader, "new_password"))
        })
    };
    let (current, new) = read_json(&request, payload, take).await?;
    let (client, charges) = (ClientAddress::of(&request), Charges::of(&request));
    to_the_end(async move {
        let accounts = &state.accounts;
        let changed = accounts.change_password(caller.by(), current, new, client).await;
        explain(&charges, changed)?;
        Ok(no_content())
    })
    .await
}

/// Ask for a mail that lets you choose a new password
#[utoipa::path(
    post, path = "/api/v1/auth/password/forgot", tag = "auth", operation_id = "forgot_password",
    security(()),
    request_body = shapes::ForgotPassword,
    responses(
        (status = 202, description = "If there is such an account, a mail is on its way"),
        CommonProblems, BodyProblems, ThrottleProblems,
    ),
)]
pub(in crate::http) async fn forgot(
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    Door::knock(&request, &state).await?;
    let email =
        read_json(&request, payload, |value| read(value, |reader| required(reader, "email")))
            .await?;
    let charges = Charges::of(&request);
    to_the_end(async move {
        explain(&charges, state.accounts.forgot_password(&email).await)?;
        Ok(accepted())
    })
    .await
}

/// Choose a new password by the token of such a mail; all sessions end
#[utoipa::path(
    post, path = "/api/v1/auth/password/reset", tag = "auth", operation_id = "reset_password",
    security(()),
    request_body = shapes::ResetPassword,
    responses(
        (status = 204, description = "It is changed"),
        CommonProblems, BodyProblems, ThrottleProblems,
    ),
)]
pub(in crate::http) async fn reset(
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    Door::knock(&request, &state).await?;
    let take =
        |value| read(value, |reader| (required(reader, "token"), password(reader, "new_password")));
    let (token, new) = read_json(&request, payload, take).await?;
    to_the_end(async move {
        state.accounts.reset_password(&token, new).await?;
        Ok(no_content())
    })
    .await
}

/// Prove your address by the token of a mail
#[utoipa::path(
    post, path = "/api/v1/auth/verify", tag = "auth", operation_id = "verify_email",
    security(()),
    request_body = shapes::MailedToken,
    responses(
        (status = 204, description = "It is proven"),
        CommonProblems, BodyProblems, ThrottleProblems,
    ),
)]
pub(in crate::http) async fn verify(
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    Door::knock(&request, &state).await?;
    let token =
        read_json(&request, payload, |value| read(value, |reader| required(reader, "token")))
            .await?;
    to_the_end(async move {
        state.accounts.verify_email(&token).await?;
        Ok(no_content())
    })
    .await
}

/// Ask for another mail that proves your address
#[utoipa::path(
    post, path = "/api/v1/auth/verify/send", tag = "auth", operation_id = "send_verification",
    responses(
        (status = 202, description = "A mail is on its way, unless the address is proven"),
        CommonProblems, ThrottleProblems,
    ),
)]
pub(in crate::http) async fn send_verification(
    caller: Caller,
    request: HttpRequest,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    let charges = Charges::of(&request);
    to_the_end(async move {
        explain(&charges, state.accounts.ask_for_verification(caller.by()).await)?;
        Ok(accepted())
    })
    .await
}
