//! `/links/bulk`: many links in one request, each with an answer of its own.

use actix_web::{HttpRequest, HttpResponse, web};

use super::AdminState;
use super::answer::{self, Idempotency, Worked, once, to_the_end};
use super::budget::Budget;
use crate::domain::api_key::Scope;
use crate::domain::id::Id;
use crate::domain::limits::{BULK_BODY_BYTES_MAX, BULK_LINKS_MAX};
use crate::domain::link::CreatedVia;
use crate::http::error::{ApiError, ProblemCode};
use crate::http::extract::{Caller, read_body};
use crate::http::json::{self, Reader};
use crate::http::openapi::{BodyProblems, CommonProblems, CreateProblems, shapes};
use crate::http::wire::{BulkItem, BulkView, LinkView, link_draft};
use crate::service::draft::{Field, FieldCode, LinkDraft};
use crate::service::links::{Author, CreateIds, LinkError, Made};

/// Create up to 1,000 links
#[utoipa::path(
    post, path = "/api/v1/links/bulk", tag = "links", operation_id = "create_links",
    params(
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255,
            pattern = "^[!-~]+$", description = "Replays the first answer for 24 hours"),
    ),
    request_body = shapes::CreateLinks,
    responses(
        (status = 200, description = "One answer per link, in order", body = BulkView),
        CommonProblems, BodyProblems, CreateProblems,
    ),
)]
pub(in crate::http) async fn create(
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    caller.require(Scope::LinksWrite)?;
    let body = read_body(&request, payload, "application/json", BULK_BODY_BYTES_MAX).await?;
    let idempotency = Idempotency::of(&request, caller.workspace(), &body)?;
    let drafts = drafts(&body);
    let author = Author::of(caller.by(), CreatedVia::Bulk);

    let budget = Budget::of(&caller, &request, &state);

    to_the_end(async move {
        let n_links = drafts.as_ref().map_or(0, Vec::len);
        let work = async |ids: CreateIds| {
            let drafts = drafts?;
            budget.charge(n_links).await?;
            let results = state.links.create_many(author, drafts, &ids).await;
            let is_new =
                |result: &&Result<Made, LinkError>| result.as_ref().is_ok_and(|made| !made.found);
            let n_created = results.iter().flatten().filter(is_new).count();
            budget.settle(n_links, n_created).await;
            let (results, now) = (results?, state.clock.now());
            let count = |what: fn(&Result<Made, LinkError>) -> bool| {
                results.iter().filter(|result| what(result)).count() as u64
            };
            let created = n_created as u64;
            let failed = count(Result::is_err);
            // Only a link that was there before can have clicks.
            let found = results.iter().flatten().filter(|made| made.found);
            let found: Vec<Id> = found.map(|made| made.link.id).collect();
            let totals =
                if found.is_empty() { Vec::new() } else { state.clicks.totals(&found).await? };
            let mut totals = totals.into_iter();
            let mut settled = true;
            let results = results.into_iter().enumerate().map(|(index, result)| match result {
                Ok(Made { link, found }) => {
                    let totals = if found { totals.next() } else { None }.unwrap_or_default();
                    let view = LinkView::new(&link, totals, &state.site, now);
                    BulkItem::Link(Box::new(view))
                }
                Err(error) => {
                    let problem = ApiError::from(error).at(&format!("/links/{index}"));
                    // What failed for the moment is made when the request is sent again.
                    settled &= problem.code() != ProblemCode::Unavailable;
                    BulkItem::Error(problem.view())
                }
            });
            let results = results.collect();
            let answer = answer::json(200, &BulkView { results, created, failed })?;
            Ok(Worked { answer, settled })
        };
        once(&state, idempotency, n_links, work).await
    })
    .await
}

fn drafts(body: &[u8]) -> Result<Vec<LinkDraft>, ApiError> {
    let mut reader =
        Reader::open(json::parse(body)?, "").map_err(|fault| ApiError::fields(vec![fault]))?;
    let links = match reader.array("links") {
        Field::Set(links) => links,
        Field::Null => {
            reader.refuse("links", FieldCode::Required, "`links` is an array of links");
            Vec::new()
        }
        Field::Absent if reader.has_faults() => Vec::new(),
        Field::Absent => {
            reader.refuse("links", FieldCode::Required, "`links` is an array of links");
            Vec::new()
        }
    };
    if links.len() > BULK_LINKS_MAX {
        let detail = format!("at most {BULK_LINKS_MAX} links at once");
        reader.refuse("links", FieldCode::TooMany, detail);
    }
    let faults = reader.close();
    if !faults.is_empty() {
        return Err(ApiError::fields(faults));
    }
    let draft = |(index, value)| link_draft(value, &format!("/links/{index}"));
    Ok(links.into_iter().enumerate().map(draft).collect())
}
