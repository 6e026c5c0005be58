//! `/api-keys`: make, list and revoke the keys of a workspace.

use actix_web::{HttpRequest, HttpResponse, web};

use super::AdminState;
use super::answer::{self, no_content, send, to_the_end};
use super::lists::{open_cursor, page};
use crate::domain::api_key::Scope;
use crate::domain::audit::Target;
use crate::domain::id::Id;
use crate::http::cursor::CursorScope;
use crate::http::error::{ApiError, Denial};
use crate::http::extract::{Caller, read_json};
use crate::http::openapi::{AbsenceProblems, BodyProblems, CommonProblems, shapes};
use crate::http::wire::{KeyView, NewKeyView, PageView, key_draft};
use crate::storage::{PageMark, SortValue};

/// Make a key; its text is shown this once
#[utoipa::path(
    post, path = "/api/v1/api-keys", tag = "api-keys", operation_id = "create_api_key",
    request_body = shapes::CreateApiKey,
    responses(
        (status = 201, description = "The new key", body = NewKeyView),
        CommonProblems, BodyProblems,
    ),
)]
pub(in crate::http) async fn create(
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    caller.require(Scope::KeysManage)?;
    let draft = read_json(&request, payload, key_draft).await?;
    to_the_end(async move {
        let (key, text) = state.keys.create(caller.by(), draft).await?;
        answer::json(201, &NewKeyView::new(&key, &text)).map(send)
    })
    .await
}

/// List keys
#[utoipa::path(
    get, path = "/api/v1/api-keys", tag = "api-keys", operation_id = "list_api_keys",
    params(shapes::PageParameters),
    responses((status = 200, description = "One page", body = PageView<KeyView>), CommonProblems),
)]
pub(in crate::http) async fn list(
    caller: Caller,
    request: HttpRequest,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    caller.require(Scope::KeysManage)?;
    let (rows, cursor) = page(&request)?;
    let scope = CursorScope::new("api-keys", caller.workspace(), "");
    let after = cursor.map(|cursor| open_cursor(&state, &scope, &cursor)).transpose()?;

    let keys = state.keys.list(caller.grant()).await?;
    let total = keys.len() as u64;
    let start = keys.partition_point(|key| after.as_ref().is_some_and(|mark| key.id <= mark.id));
    let page = &keys[start..keys.len().min(start + rows)];
    let more = start + page.len() < keys.len();
    let mark = page
        .last()
        .filter(|_| more)
        .map(|last| PageMark { value: SortValue::Number(0), id: last.id });
    let next_cursor = mark.map(|mark| state.cursors.seal(&scope, &mark));
    let data = page.iter().map(KeyView::from).collect();
    answer::json(200, &PageView { data, next_cursor, total }).map(send)
}

/// Revoke a key
#[utoipa::path(
    delete, path = "/api/v1/api-keys/{id}", tag = "api-keys", operation_id = "revoke_api_key",
    params(("id" = String, Path, pattern = "^[0-9]{1,20}$")),
    responses((status = 204, description = "It is revoked"), CommonProblems, AbsenceProblems),
)]
pub(in crate::http) async fn revoke(
    caller: Caller,
    request: HttpRequest,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    caller.require(Scope::KeysManage)?;
    let id = request.match_info().get("id").unwrap_or_default();
    let id: Id = id.parse().map_err(|_| ApiError::not_found())?;
    to_the_end(async move {
        if state.keys.revoke(caller.by(), id).await? {
            return Ok(no_content());
        }
        let refused = ApiError::not_found();
        if !state.keys.is_known(id) {
            return Err(refused);
        }
        let target = Some(Target::key(id));
        Err(refused.because(Denial { target, detail: "somebody else's" }))
    })
    .await
}
