//! `/workspaces`, `/workspace`, `/members`: where people belong to, and as what.

use actix_web::{HttpRequest, HttpResponse, web};

use super::AdminState;
use super::answer::{self, no_content, send, to_the_end};
use crate::domain::account::{Member, Role};
use crate::domain::api_key::Scope;
use crate::domain::id::Id;
use crate::http::error::ApiError;
use crate::http::extract::{Caller, read_json};
use crate::http::openapi::{AbsenceProblems, BodyProblems, CommonProblems, TakenProblems, shapes};
use crate::http::wire::PageView;
use crate::http::wire::people::{MemberView, WorkspaceView, read, required, role_body};

/// List the workspaces that you belong to
#[utoipa::path(
    get, path = "/api/v1/workspaces", tag = "workspaces", operation_id = "list_workspaces",
    responses(
        (status = 200, description = "All of them", body = PageView<WorkspaceView>),
        CommonProblems,
    ),
)]
pub(in crate::http) async fn workspaces(
    caller: Caller,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    let profile = state.accounts.profile(caller.by()).await?;
    let memberships = profile.memberships.iter();
    whole(memberships.map(|(own, member)| WorkspaceView::new(own, member)).collect())
}

/// Make a workspace, which you own
#[utoipa::path(
    post, path = "/api/v1/workspaces", tag = "workspaces", operation_id = "create_workspace",
    request_body = shapes::Named,
    responses(
        (status = 201, description = "The new workspace", body = WorkspaceView),
        CommonProblems, BodyProblems,
    ),
)]
pub(in crate::http) async fn create_workspace(
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    caller.require(Scope::OrgManage)?;
    let name = name(&request, payload).await?;
    to_the_end(async move {
        let workspace = state.accounts.add_workspace(caller.by(), &name).await?;
        let (role, joined_at) = (Role::Owner, workspace.created_at);
        let member = Member { workspace: workspace.id, user: caller.actor(), role, joined_at };
        answer::json(201, &WorkspaceView::new(&workspace, &member)).map(send)
    })
    .await
}

/// Give your workspace another name
#[utoipa::path(
    patch, path = "/api/v1/workspace", tag = "workspaces", operation_id = "rename_workspace",
    request_body = shapes::Named,
    responses((status = 204, description = "It is renamed"), CommonProblems, BodyProblems),
)]
pub(in crate::http) async fn rename_workspace(
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    caller.require(Scope::OrgManage)?;
    let name = name(&request, payload).await?;
    to_the_end(async move {
        state.accounts.rename_workspace(caller.by(), &name).await?;
        Ok(no_content())
    })
    .await
}

/// List who belongs to your workspace
#[utoipa::path(
    get, path = "/api/v1/members", tag = "workspaces", operation_id = "list_members",
    responses(
        (status = 200, description = "All of them", body = PageView<MemberView>),
        CommonProblems,
    ),
)]
pub(in crate::http) async fn list(
    caller: Caller,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    caller.require(Scope::OrgManage)?;
    let members = state.accounts.members(caller.by()).await?;
    whole(members.iter().map(|(member, user)| MemberView::new(member, user)).collect())
}

/// Make a member something else
#[utoipa::path(
    patch, path = "/api/v1/members/{id}", tag = "workspaces", operation_id = "change_member",
    params(("id" = String, Path, pattern = "^[0-9]{1,20}$")),
    request_body = shapes::ChangeMember,
    responses(
        (status = 200, description = "The member as it is now", body = MemberView),
        CommonProblems, BodyProblems, AbsenceProblems, TakenProblems,
    ),
)]
pub(in crate::http) async fn change(
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    caller.require(Scope::OrgManage)?;
    let id = path_id(&request)?;
    let role = read_json(&request, payload, role_body).await?;
    to_the_end(async move {
        let (member, user) = state.accounts.set_role(caller.by(), id, role).await?;
        answer::json(200, &MemberView::new(&member, &user)).map(send)
    })
    .await
}

/// Remove a member, or leave; its keys are revoked, its links stay
#[utoipa::path(
    delete, path = "/api/v1/members/{id}", tag = "workspaces", operation_id = "remove_member",
    params(("id" = String, Path, pattern = "^[0-9]{1,20}$")),
    responses(
        (status = 204, description = "It is no member any more"),
        CommonProblems, AbsenceProblems, TakenProblems,
    ),
)]
pub(in crate::http) async fn remove(
    caller: Caller,
    request: HttpRequest,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    let id = path_id(&request)?;
    // Whoever may do nothing else may still leave.
    if caller.grant().user != Some(id) {
        caller.require(Scope::OrgManage)?;
    }
    to_the_end(async move {
        state.accounts.remove_member(caller.by(), id).await?;
        Ok(no_content())
    })
    .await
}

/// The id that the path ends with. What cannot be one is simply not there.
pub(super) fn path_id(request: &HttpRequest) -> Result<Id, ApiError> {
    let id = request.match_info().get("id").unwrap_or_default();
    id.parse().map_err(|_| ApiError::not_found())
}

/// A list that is short enough for one page.
pub(super) fn whole<T: serde::Serialize>(data: Vec<T>) -> Result<HttpResponse, ApiError> {
    let total = data.len() as u64;
    answer::json(200, &PageView { data, next_cursor: None, total }).map(send)
}

async fn name(request: &HttpRequest, payload: web::Payload) -> Result<String, ApiError> {
    read_json(request, payload, |value| read(value, |reader| required(reader, "name"))).await
}
