//! `/links/{code}/clicks`: single clicks, page by page, or all of them as CSV.

use std::vec;

use actix_web::http::header;
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::{Stream, stream};
use tracing::warn;

use super::AdminState;
use super::answer::{self, send};
use super::csv_lines::CsvLines;
use super::lists::open_cursor;
use super::stats::{bots, own_link, period};
use super::streams::send_stream;
use crate::domain::api_key::Scope;
use crate::domain::event::ClickEvent;
use crate::domain::link::Link;
use crate::http::cursor::CursorScope;
use crate::http::error::ApiError;
use crate::http::extract::{Caller, Parameters};
use crate::http::headers::prefers_csv;
use crate::http::openapi::{AbsenceProblems, CommonProblems, shapes};
use crate::http::wire::{ClickView, PageView};
use crate::service::draft::FieldCode;
use crate::service::stats::{self, Bots, Destinations, Question};
use crate::storage::{EventQuery, PageMark, SortValue, StorageResult};

const KNOWN: [&str; 8] = ["domain", "from", "to", "timezone", "bots", "limit", "cursor", "format"];
/// Clicks that are read at once for a CSV, and lines that are sent at once. What an export holds in
/// memory is one such page, whatever a day has, and what the store needs to read it.
const CSV_PAGE_ROWS: u32 = 4_000;
const CSV_CHUNK_ROWS: usize = 200;

/// List single clicks of a link, the newest first
#[utoipa::path(
    get, path = "/api/v1/links/{code}/clicks", tag = "statistics", operation_id = "list_clicks",
    params(
        shapes::CodeParameters, shapes::DomainParameter, shapes::ClickRangeParameters,
        shapes::ClickListParameters, shapes::PageParameters,
    ),
    responses(
        (status = 200, description = "One page, or all as CSV", content(
            (PageView<ClickView> = "application/json"), (String = "text/csv"),
        )),
        CommonProblems, AbsenceProblems,
    ),
)]
pub(in crate::http) async fn list(
    caller: Caller,
    request: HttpRequest,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    caller.require(Scope::StatsRead)?;
    let mut parameters = Parameters::of(&request)?;
    let link = own_link(&caller, &request, &state, &mut parameters).await?;
    parameters.only(&KNOWN);
    let format = parameters.word("format", &["json", "csv"], |word| match word {
        "json" => Some(false),
        "csv" => Some(true),
        _ => None,
    });
    let is_csv = format.unwrap_or_else(|| prefers_csv(request.headers()));
    if is_csv {
        for name in ["limit", "cursor"] {
            if !parameters.many(name).is_empty() {
                let detail = "CSV is the whole range at once";
                parameters.refuse(name, FieldCode::Contradiction, detail);
            }
        }
    }
    let now = state.clock.now();
    let asked = ["from", "to", "timezone", "bots"].map(|name| parameters.many(name));
    let bots = bots(&mut parameters).unwrap_or(Bots::Include);
    let question = Question { period: period(&mut parameters, now), bots, top: 0, now };
    let (limit, cursor) = (parameters.limit(), parameters.one("cursor"));
    parameters.check()?;
    if is_csv {
        return as_csv(&request, state, link, &question).await;
    }
    // The limit may change from page to page; everything else is what the cursor is bound to.
    let filters = format!("{} {asked:?}", link.id);
    let scope = CursorScope::new("clicks", caller.workspace(), &filters);
    let after = cursor.map(|cursor| open_cursor(&state, &scope, &cursor)).transpose()?;

    // Counted for the first page; those behind it carry it on.
    let total = match &after {
        Some(PageMark { value: SortValue::Number(total), .. }) => total.unsigned_abs(),
        _ => stats::count(&state.stores, &link, &question).await?,
    };
    let query = EventQuery {
        before: after.map(|mark| mark.id),
        // One more tells whether there is a next page.
        limit: limit + 1,
        ..query(&link, &question)
    };
    let mut events = state.stores.stats.events(query).await?;
    let is_last = events.len() <= limit as usize;
    events.truncate(limit as usize);
    let next = events.last().filter(|_| !is_last).map(|last| {
        state
            .cursors
            .seal(&scope, &PageMark { value: SortValue::Number(total as i64), id: last.id })
    });
    let mut destinations = Destinations::of(&state.stores, link).await?;
    destinations.learn(&state.stores, newest_version(&events)).await?;
    let data = events.into_iter().map(|event| {
        let destination = destinations.at(event.version);
        ClickView::new(event, destination)
    });
    answer::json(200, &PageView { data: data.collect(), next_cursor: next, total }).map(send)
}

fn query(link: &Link, question: &Question) -> EventQuery {
    let Question { period, bots, .. } = question;
    let (from, to) = (period.from, period.to);
    EventQuery { link: link.id, from, to, before: None, bots: bots.flag(), limit: 0 }
}

fn newest_version(events: &[ClickEvent]) -> u32 {
    events.iter().map(|event| event.version).max().unwrap_or(0)
}

/// All clicks of the range, read as they are sent.
async fn as_csv(
    request: &HttpRequest,
    state: web::Data<AdminState>,
    link: Link,
    question: &Question,
) -> Result<HttpResponse, ApiError> {
    let mut response = HttpResponse::Ok();
    let name = format!("attachment; filename=\"clicks-{}.csv\"", link.code);
    response.content_type("text/csv; charset=utf-8; header=present");
    response.insert_header((header::CONTENT_DISPOSITION, name));
    response.insert_header((header::CACHE_CONTROL, "no-store"));
    let query = EventQuery { limit: CSV_PAGE_ROWS, ..query(&link, question) };
    let mut export = Export {
        destinations: Destinations::of(&state.stores, link).await?,
        state,
        query,
        page: Vec::new().into_iter(),
        is_last: false,
        began: false,
    };
    // What cannot be read at all is refused; later nothing can be said any more.
    export.read().await?;
    Ok(send_stream(request, response, export.chunks()))
}

/// A CSV on its way.
struct Export {
    state: web::Data<AdminState>,
    destinations: Destinations,
    query: EventQuery,
    page: vec::IntoIter<ClickEvent>,
    /// Nothing comes after `page`.
    is_last: bool,
    began: bool,
}

impl Export {
    fn chunks(self) -> impl Stream<Item = Result<Bytes, Box<dyn std::error::Error>>> {
        stream::try_unfold(self, async |mut export| {
            let chunk = export.next().await.inspect_err(|error| {
                warn!(%error, "an export of clicks was broken off");
            })?;
            Ok(chunk.map(|chunk| (chunk, export)))
        })
    }

    /// Reads the next page. Kinds: those of the store.
    async fn read(&mut self) -> StorageResult<()> {
        let stores = &self.state.stores;
        let events = stores.stats.events(self.query).await?;
        self.is_last = events.len() < self.query.limit as usize;
        self.query.before = events.last().map(|last| last.id).or(self.query.before);
        self.destinations.learn(stores, newest_version(&events)).await?;
        self.page = events.into_iter();
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Box<dyn std::error::Error>> {
        if self.page.len() == 0 && !self.is_last {
            self.read().await?;
        }
        let is_first = !std::mem::replace(&mut self.began, true);
        if self.page.len() == 0 && !is_first {
            return Ok(None);
        }
        let mut lines = CsvLines::new();
        if is_first {
            lines.header()?;
        }
        for event in self.page.by_ref().take(CSV_CHUNK_ROWS) {
            let destination = self.destinations.at(event.version);
            lines.click(&ClickView::new(event, destination))?;
        }
        Ok(Some(Bytes::from(lines.finish()?)))
    }
}
