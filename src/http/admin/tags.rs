//! `GET /tags`: the tags of a workspace with the number of their links.

use actix_web::{HttpRequest, HttpResponse, web};

use super::AdminState;
use super::answer::{self, send};
use super::lists::{open_cursor, page};
use crate::domain::api_key::Scope;
use crate::domain::id::Id;
use crate::http::cursor::CursorScope;
use crate::http::error::ApiError;
use crate::http::extract::Caller;
use crate::http::openapi::{CommonProblems, shapes};
use crate::http::wire::{PageView, TagView};
use crate::storage::{PageMark, SortValue};

/// List tags
#[utoipa::path(
    get, path = "/api/v1/tags", tag = "links", operation_id = "list_tags",
    params(shapes::PageParameters),
    responses((status = 200, description = "One page", body = PageView<TagView>), CommonProblems),
)]
pub(in crate::http) async fn list(
    caller: Caller,
    request: HttpRequest,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    caller.require(Scope::LinksRead)?;
    let (rows, cursor) = page(&request)?;
    let scope = CursorScope::new("tags", caller.workspace(), "");
    let after = cursor.map(|cursor| open_cursor(&state, &scope, &cursor)).transpose()?;

    let tags = state.stores.links.tags(caller.workspace()).await?;
    let total = tags.len() as u64;
    let mut rest = tags.into_iter().filter(|(tag, _)| match &after {
        Some(PageMark { value: SortValue::Text(last), .. }) => tag > last,
        _ => true,
    });
    let data: Vec<TagView> =
        rest.by_ref().take(rows).map(|(tag, links)| TagView { tag, links }).collect();
    let mark = data
        .last()
        .filter(|_| rest.next().is_some())
        .map(|last| PageMark { value: SortValue::Text(last.tag.clone()), id: Id::default() });
    let next_cursor = mark.map(|mark| state.cursors.seal(&scope, &mark));
    answer::json(200, &PageView { data, next_cursor, total }).map(send)
}
