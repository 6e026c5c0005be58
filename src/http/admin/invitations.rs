//! `/invitations`: offers to belong to a workspace.

use actix_web::{HttpRequest, HttpResponse, web};

use super::AdminState;
use super::answer::{self, no_content, send, to_the_end};
use super::members::{path_id, whole};
use crate::domain::api_key::Scope;
use crate::http::error::ApiError;
use crate::http::extract::{Caller, read_json};
use crate::http::openapi::{
    AbsenceProblems, BodyProblems, CommonProblems, ThrottleProblems, shapes,
};
use crate::http::wire::PageView;
use crate::http::wire::people::{
    InvitationView, MembershipView, NewInvitationView, invitation_draft, read, required,
};

/// Invite somebody into your workspace; the token is shown this once
#[utoipa::path(
    post, path = "/api/v1/invitations", tag = "workspaces", operation_id = "invite",
    request_body = shapes::Invite,
    responses(
        (status = 201, description = "The invitation; with an address, a mail is on its way",
            body = NewInvitationView),
        CommonProblems, BodyProblems, ThrottleProblems,
    ),
)]
pub(in crate::http) async fn create(
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    caller.require(Scope::OrgManage)?;
    let draft = read_json(&request, payload, invitation_draft).await?;
    to_the_end(async move {
        let invited = state.accounts.invite(caller.by(), draft).await?;
        answer::json(201, &NewInvitationView::from(&invited)).map(send)
    })
    .await
}

/// List invitations that wait
#[utoipa::path(
    get, path = "/api/v1/invitations", tag = "workspaces", operation_id = "list_invitations",
    responses(
        (status = 200, description = "All of them", body = PageView<InvitationView>),
        CommonProblems,
    ),
)]
pub(in crate::http) async fn list(
    caller: Caller,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    caller.require(Scope::OrgManage)?;
    let invitations = state.accounts.invitations(caller.by()).await?;
    whole(invitations.iter().map(InvitationView::from).collect())
}

/// Take an invitation back
#[utoipa::path(
    delete, path = "/api/v1/invitations/{id}", tag = "workspaces",
    operation_id = "withdraw_invitation",
    params(("id" = String, Path, pattern = "^[0-9]{1,20}$")),
    responses((status = 204, description = "It is gone"), CommonProblems, AbsenceProblems),
)]
pub(in crate::http) async fn withdraw(
    caller: Caller,
    request: HttpRequest,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    caller.require(Scope::OrgManage)?;
    let id = path_id(&request)?;
    to_the_end(async move {
        state.accounts.withdraw_invitation(caller.by(), id).await?;
        Ok(no_content())
    })
    .await
}

/// Join the workspace of an invitation
#[utoipa::path(
    post, path = "/api/v1/invitations/accept", tag = "workspaces",
    operation_id = "accept_invitation",
    request_body = shapes::MailedToken,
    responses(
        (status = 200, description = "Where you belong to now", body = MembershipView),
        CommonProblems, BodyProblems,
    ),
)]
pub(in crate::http) async fn accept(
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    let token =
        read_json(&request, payload, |value| read(value, |reader| required(reader, "token")))
            .await?;
    to_the_end(async move {
        let member = state.accounts.accept_invitation(caller.by(), &token).await?;
        answer::json(200, &MembershipView::from(&member)).map(send)
    })
    .await
}
