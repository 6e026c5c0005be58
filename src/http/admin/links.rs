//! `/links` and `/links/{code}`: create, read, change, delete.

use actix_web::{FromRequest as _, HttpRequest, HttpResponse, web};

use super::answer::{self, Idempotency, no_content, once, send, to_the_end};
use super::budget::Budget;
use super::{AdminState, anonymous};
use crate::domain::api_key::Scope;
use crate::domain::click::ClickTotals;
use crate::domain::code::{Code, DomainId, LinkKey};
use crate::domain::limits::BODY_BYTES_MAX;
use crate::domain::link::Link;
use crate::http::error::ApiError;
use crate::http::extract::{Caller, Parameters, if_match, read_body, shows_nothing};
use crate::http::json;
use crate::http::openapi::shapes;
use crate::http::openapi::{
    AbsenceProblems, BodyProblems, ChangeProblems, CommonProblems, CreateProblems,
    DestinationProblems,
};
use crate::http::wire::{LinkView, etag, link_draft};
use crate::service::links::{Author, CreateIds, Made};
use crate::storage::KeptAnswer;

/// Create a link
#[utoipa::path(
    post, path = "/api/v1/links", tag = "links", operation_id = "create_link",
    params(
        ("find_if_exists" = Option<bool>, Query,
            description = "Answer 200 with your newest active link to that destination, if any"),
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255,
            pattern = "^[!-~]+$", description = "Replays the first answer for 24 hours"),
    ),
    request_body = shapes::CreateLink,
    responses(
        (status = 201, description = "The new link", body = LinkView,
            headers(("Location" = String), ("ETag" = String))),
        (status = 200, description = "The link that was there", body = LinkView,
            headers(("ETag" = String))),
        CommonProblems, BodyProblems, DestinationProblems, CreateProblems,
    ),
)]
pub(in crate::http) async fn create(
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    if state.anonymous.is_on() && shows_nothing(&request) {
        return anonymous::create(request, payload, state).await;
    }
    let caller = Caller::extract(&request).await?;
    caller.require(Scope::LinksWrite)?;
    let mut parameters = Parameters::of(&request)?;
    let find_if_exists = parameters.flag("find_if_exists");
    parameters.check()?;
    let body = read_body(&request, payload, "application/json", BODY_BYTES_MAX).await?;
    let idempotency = Idempotency::of(&request, caller.workspace(), &body)?;
    let author = Author::of(caller.by(), caller.via());

    let budget = Budget::of(&caller, &request, &state);

    to_the_end(async move {
        let work = async |ids: CreateIds| {
            let draft = link_draft(json::parse(&body)?, "");
            let made = match budget.charge(1).await {
                // What is there already needs no budget.
                Err(refusal) if find_if_exists => {
                    let found = state.links.find_existing(author.workspace, &draft).await?;
                    Made { link: found.ok_or(refusal)?, found: true }
                }
                Err(refusal) => return Err(refusal),
                Ok(()) => {
                    let made = match find_if_exists {
                        true => state.links.find_or_create(author, draft, &ids).await,
                        false => state.links.create(author, draft, &ids).await,
                    };
                    let created = made.as_ref().is_ok_and(|made| !made.found);
                    budget.settle(1, usize::from(created)).await;
                    made?
                }
            };
            let Made { link, found } = made;
            let mut answer = show(&state, if found { 200 } else { 201 }, &link, found).await?;
            answer.location = (!found).then(|| format!("/api/v1/links/{}", link.code));
            Ok(answer)
        };
        once(&state, idempotency, 1, work).await
    })
    .await
}

/// Read a link
#[utoipa::path(
    get, path = "/api/v1/links/{code}", tag = "links", operation_id = "fetch_link",
    params(shapes::CodeParameters, shapes::DomainParameter),
    responses(
        (status = 200, description = "The link", body = LinkView, headers(("ETag" = String))),
        CommonProblems, AbsenceProblems,
    ),
)]
pub(in crate::http) async fn fetch(
    caller: Caller,
    request: HttpRequest,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    caller.require(Scope::LinksRead)?;
    let key = link_key(&request, &state, Parameters::of(&request)?)?;
    let link = state.links.find(caller.workspace(), &key).await?;
    show(&state, 200, &link, true).await.map(send)
}

/// Change a link
#[utoipa::path(
    patch, path = "/api/v1/links/{code}", tag = "links", operation_id = "change_link",
    params(shapes::CodeParameters, shapes::DomainParameter, shapes::IfMatchParameter),
    request_body = shapes::ChangeLink,
    responses(
        (status = 200, description = "The link as it is now", body = LinkView,
            headers(("ETag" = String))),
        CommonProblems, BodyProblems, DestinationProblems, ChangeProblems, AbsenceProblems,
    ),
)]
pub(in crate::http) async fn change(
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    caller.require(Scope::LinksWrite)?;
    let key = link_key(&request, &state, Parameters::of(&request)?)?;
    let precondition = if_match(&request);
    let body = read_body(&request, payload, "application/json", BODY_BYTES_MAX).await?;
    let draft = link_draft(json::parse(&body)?, "");

    to_the_end(async move {
        let (link, totals) = state.links.change(caller.by(), &key, &precondition, &draft).await?;
        shown(&state, 200, &link, totals).map(send)
    })
    .await
}

/// Delete a link for ever; its code is never given out again
#[utoipa::path(
    delete, path = "/api/v1/links/{code}", tag = "links", operation_id = "delete_link",
    params(
        shapes::CodeParameters, shapes::DomainParameter, shapes::IfMatchParameter,
        ("erase_clicks" = Option<bool>, Query, description = "Forget its clicks as well"),
    ),
    responses(
        (status = 204, description = "It is gone"),
        CommonProblems, ChangeProblems, AbsenceProblems,
    ),
)]
pub(in crate::http) async fn remove(
    caller: Caller,
    request: HttpRequest,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    caller.require(Scope::LinksWrite)?;
    let mut parameters = Parameters::of(&request)?;
    let erase_clicks = parameters.flag("erase_clicks");
    let key = link_key(&request, &state, parameters)?;
    let precondition = if_match(&request);

    to_the_end(async move {
        state.links.delete(caller.by(), &key, &precondition, erase_clicks).await?;
        Ok(no_content())
    })
    .await
}

/// Forget the clicks of a link
#[utoipa::path(
    post, path = "/api/v1/links/{code}/reset-clicks", tag = "links", operation_id = "reset_clicks",
    params(shapes::CodeParameters, shapes::DomainParameter),
    responses(
        (status = 204, description = "It has no clicks"),
        CommonProblems, AbsenceProblems,
    ),
)]
pub(in crate::http) async fn reset_clicks(
    caller: Caller,
    request: HttpRequest,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    caller.require(Scope::LinksWrite)?;
    let key = link_key(&request, &state, Parameters::of(&request)?)?;
    to_the_end(async move {
        state.links.reset_clicks(caller.by(), &key).await?;
        Ok(no_content())
    })
    .await
}

/// A link as the answer shows it. A link made this moment has no clicks to ask for.
pub(super) async fn show(
    state: &AdminState,
    status: u16,
    link: &Link,
    clicked: bool,
) -> Result<KeptAnswer, ApiError> {
    let totals = if clicked { state.clicks.totals(&[link.id]).await? } else { Vec::new() };
    shown(state, status, link, totals.first().copied().unwrap_or_default())
}

fn shown(
    state: &AdminState,
    status: u16,
    link: &Link,
    totals: ClickTotals,
) -> Result<KeptAnswer, ApiError> {
    let view = LinkView::new(link, totals, &state.site, state.clock.now());
    let mut answer = answer::json(status, &view)?;
    answer.etag = Some(etag(link));
    Ok(answer)
}

/// The link that path and `?domain=` name, after all parameters were judged. What cannot be a link
/// is simply not there.
fn link_key(
    request: &HttpRequest,
    state: &AdminState,
    mut parameters: Parameters,
) -> Result<LinkKey, ApiError> {
    let domain = parameters.one("domain");
    parameters.check()?;
    key_in(request, state, domain.as_deref())
}

/// The link that the path names, on a domain.
pub(super) fn key_in(
    request: &HttpRequest,
    state: &AdminState,
    domain: Option<&str>,
) -> Result<LinkKey, ApiError> {
    let code = request.match_info().get("code").unwrap_or_default();
    let code = Code::parse(code.as_bytes()).map_err(|_| ApiError::not_found())?;
    let domain = match domain {
        Some(name) => state.links.domain(name).ok_or_else(ApiError::not_found)?,
        None => DomainId::DEFAULT,
    };
    Ok(LinkKey::new(domain, code))
}
