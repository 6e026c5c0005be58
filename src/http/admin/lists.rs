//! `GET /links`: one page of a workspace's links, filtered and sorted.

use actix_web::{HttpRequest, HttpResponse, web};

use super::AdminState;
use super::answer::{self, send};
use crate::domain::api_key::Scope;
use crate::domain::id::Id;
use crate::domain::limits::{EXTERNAL_ID_BYTES_MAX, SEARCH_CHARS_MAX, TAG_CHARS_MAX, TAGS_MAX};
use crate::domain::link::{CreatedVia, LinkState};
use crate::http::cursor::CursorScope;
use crate::http::error::{ApiError, ProblemCode};
use crate::http::extract::{Caller, Parameters};
use crate::http::openapi::{CommonProblems, shapes};
use crate::http::wire::{LinkView, PageView};
use crate::service::draft::FieldCode;
use crate::storage::{LinkQuery, LinkSort, PageMark};

/// Longest name of a domain.
pub(super) const DOMAIN_CHARS_MAX: usize = 253;

const SORTS: [(&str, LinkSort); 6] = [
    ("-created_at", LinkSort::CreatedDesc),
    ("created_at", LinkSort::CreatedAsc),
    ("-updated_at", LinkSort::UpdatedDesc),
    ("-clicks", LinkSort::ClicksDesc),
    ("clicks", LinkSort::ClicksAsc),
    ("title", LinkSort::TitleAsc),
];

/// List links
#[utoipa::path(
    get, path = "/api/v1/links", tag = "links", operation_id = "list_links",
    params(shapes::ListParameters, shapes::PageParameters),
    responses(
        (status = 200, description = "One page", body = PageView<LinkView>),
        CommonProblems,
    ),
)]
pub(in crate::http) async fn list(
    caller: Caller,
    request: HttpRequest,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    caller.require(Scope::LinksRead)?;
    let mut parameters = Parameters::of(&request)?;
    let domain = parameters.text("domain", DOMAIN_CHARS_MAX);
    let mut query = link_query(&mut parameters, caller.workspace());
    let cursor = parameters.one("cursor");
    let limit = parameters.limit();
    parameters.check()?;
    // The limit may change from page to page; everything else is what the cursor is bound to.
    let filters = format!("{domain:?}{query:?}");
    let scope = CursorScope::new("links", caller.workspace(), &filters);
    query.after = cursor.map(|cursor| open_cursor(&state, &scope, &cursor)).transpose()?;
    query.limit = limit;
    query.now = state.clock.now();
    if let Some(name) = domain {
        match state.links.domain(&name) {
            Some(domain) => query.domain = Some(domain),
            None => {
                let empty = PageView::<LinkView> { data: Vec::new(), next_cursor: None, total: 0 };
                return answer::json(200, &empty).map(send);
            }
        }
    }

    let page = state.stores.links.list(&query).await?;
    let ids: Vec<Id> = page.links.iter().map(|link| link.id).collect();
    let totals = if ids.is_empty() { Vec::new() } else { state.clicks.totals(&ids).await? };
    let data = page.links.iter().enumerate().map(|(index, link)| {
        let totals = totals.get(index).copied().unwrap_or_default();
        LinkView::new(link, totals, &state.site, query.now)
    });
    let next_cursor = page.next.as_ref().map(|mark| state.cursors.seal(&scope, mark));
    let view = PageView { data: data.collect(), next_cursor, total: page.total };
    answer::json(200, &view).map(send)
}

fn link_query(parameters: &mut Parameters, workspace: Id) -> LinkQuery {
    let tags = parameters.many("tag");
    if tags.len() > TAGS_MAX {
        parameters.refuse("tag", FieldCode::TooMany, format!("at most {TAGS_MAX} tags"));
    }
    if tags.iter().any(|tag| tag.chars().count() > TAG_CHARS_MAX) {
        let detail = format!("at most {TAG_CHARS_MAX} characters");
        parameters.refuse("tag", FieldCode::TooLong, detail);
    }
    let sorts = SORTS.map(|(word, _)| word);
    let states: Vec<_> = LinkState::ALL.iter().map(|state| state.as_str()).collect();
    let doors: Vec<_> = CreatedVia::ALL.iter().map(|via| via.as_str()).collect();
    LinkQuery {
        workspace,
        text: parameters.text("q", SEARCH_CHARS_MAX).filter(|text| !text.is_empty()),
        tags,
        state: parameters.word("state", &states, LinkState::from_word),
        created_via: parameters.word("created_via", &doors, CreatedVia::from_word),
        created_after: parameters.time("created_after"),
        created_before: parameters.time("created_before"),
        external_id: parameters.text("external_id", EXTERNAL_ID_BYTES_MAX),
        sort: parameters.word("sort", &sorts, sort_of).unwrap_or_default(),
        ..LinkQuery::default()
    }
}

fn sort_of(word: &str) -> Option<LinkSort> {
    SORTS.iter().find(|(known, _)| *known == word).map(|(_, sort)| *sort)
}

/// Rows of one page, and the cursor that says where it begins. Kinds: 400.
pub(super) fn page(request: &HttpRequest) -> Result<(usize, Option<String>), ApiError> {
    let mut parameters = Parameters::of(request)?;
    let (limit, cursor) = (parameters.limit(), parameters.one("cursor"));
    parameters.check()?;
    Ok((limit as usize, cursor))
}

/// Where the page before ended. Kinds: 400 for a cursor of another list, workspace or installation.
pub(super) fn open_cursor(
    state: &AdminState,
    scope: &CursorScope,
    cursor: &str,
) -> Result<PageMark, ApiError> {
    state.cursors.open(scope, cursor).ok_or_else(|| {
        let detail = "take `next_cursor` as it is, with the same filters and the same order";
        ApiError::new(ProblemCode::InvalidCursor, detail)
    })
}
