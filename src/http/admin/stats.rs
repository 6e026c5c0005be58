//! `/links/{code}/stats` and `/stats`: what clicks add up to.

use actix_web::{HttpRequest, HttpResponse, web};

use super::AdminState;
use super::answer::{self, send};
use super::links::key_in;
use super::lists::DOMAIN_CHARS_MAX;
use crate::domain::api_key::Scope;
use crate::domain::limits::TAG_CHARS_MAX;
use crate::domain::link::Link;
use crate::domain::time::Timestamp;
use crate::http::error::ApiError;
use crate::http::extract::{Caller, Parameters};
use crate::http::openapi::{AbsenceProblems, CommonProblems, shapes};
use crate::http::wire::{StatsView, WorkspaceStatsView};
use crate::service::draft::FieldCode;
use crate::service::stats::calendar::{Interval, Period, PeriodError};
use crate::service::stats::{self, Bots, Question, Selection, TOP_DEFAULT, TOP_MAX};

/// What every question about statistics takes.
const COMMON: [&str; 6] = ["from", "to", "interval", "timezone", "bots", "top"];

/// Statistics of a link
#[utoipa::path(
    get, path = "/api/v1/links/{code}/stats", tag = "statistics", operation_id = "link_stats",
    params(
        shapes::CodeParameters, shapes::DomainParameter, shapes::ClickRangeParameters,
        shapes::StatsParameters,
    ),
    responses(
        (status = 200, description = "What its clicks add up to", body = StatsView),
        CommonProblems, AbsenceProblems,
    ),
)]
pub(in crate::http) async fn of_link(
    caller: Caller,
    request: HttpRequest,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    caller.require(Scope::StatsRead)?;
    let mut parameters = Parameters::of(&request)?;
    let link = own_link(&caller, &request, &state, &mut parameters).await?;
    let question = question(parameters, &["domain"], state.clock.now())?;
    let report = stats::of_link(&state.stores, link, &question).await?;
    answer::json(200, &StatsView::new(report, &question.period)).map(send)
}

/// Statistics of all links of the workspace, or of some
#[utoipa::path(
    get, path = "/api/v1/stats", tag = "statistics", operation_id = "workspace_stats",
    params(
        shapes::SelectionParameters, shapes::ClickRangeParameters, shapes::StatsParameters,
    ),
    responses(
        (status = 200, description = "What their clicks add up to", body = WorkspaceStatsView),
        CommonProblems,
    ),
)]
pub(in crate::http) async fn of_workspace(
    caller: Caller,
    request: HttpRequest,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    caller.require(Scope::StatsRead)?;
    let mut parameters = Parameters::of(&request)?;
    let domain = parameters.text("domain", DOMAIN_CHARS_MAX);
    let tag = parameters.text("tag", TAG_CHARS_MAX);
    let question = question(parameters, &["domain", "tag"], state.clock.now())?;
    let known = domain.as_ref().map(|name| state.links.domain(name));
    let report = match known {
        Some(None) => stats::of_nothing(&question),
        None | Some(Some(_)) => {
            let workspace = caller.workspace();
            let selection = Selection { workspace, tag, domain: known.flatten() };
            stats::of_workspace(&state.stores, &selection, &question).await?
        }
    };
    let view = WorkspaceStatsView::new(report, &question.period, &state.site);
    answer::json(200, &view).map(send)
}

/// The link that path and `?domain=` name, if it is the caller's. Judged before all else, so that
/// no refusal tells that there is a link.
pub(super) async fn own_link(
    caller: &Caller,
    request: &HttpRequest,
    state: &AdminState,
    parameters: &mut Parameters,
) -> Result<Link, ApiError> {
    let domain = parameters.one("domain");
    let key = key_in(request, state, domain.as_deref())?;
    Ok(state.links.find(caller.workspace(), &key).await?)
}

/// Reads a question, and judges all parameters.
fn question(
    mut parameters: Parameters,
    more: &[&str],
    now: Timestamp,
) -> Result<Question, ApiError> {
    parameters.only(&[&COMMON[..], more].concat());
    let bots = bots(&mut parameters).unwrap_or_default();
    let top = parameters.number("top", TOP_MAX as u32, TOP_DEFAULT as u32) as usize;
    let period = period(&mut parameters, now);
    parameters.check()?;
    Ok(Question { period, bots, top, now })
}

pub(super) fn bots(parameters: &mut Parameters) -> Option<Bots> {
    parameters.word("bots", &Bots::ALL.map(|(word, _)| word), Bots::from_word)
}

/// Reads `from`, `to`, `interval` and `timezone`. If one of them is refused, any period stands in.
pub(super) fn period(parameters: &mut Parameters, now: Timestamp) -> Period {
    let [from, to, interval, zone] =
        ["from", "to", "interval", "timezone"].map(|name| parameters.one(name));
    let [from, to] = [from.as_deref(), to.as_deref()];
    match Period::parse(from, to, interval.as_deref(), zone.as_deref(), now) {
        Ok(period) => period,
        Err(error) => {
            let code = match error {
                PeriodError::NotATime { .. } => FieldCode::InvalidTime,
                PeriodError::UnknownZone | PeriodError::UnknownInterval => FieldCode::InvalidValue,
                PeriodError::Backwards => FieldCode::Contradiction,
                PeriodError::OutsideYears { .. }
                | PeriodError::InFuture
                | PeriodError::TooLong
                | PeriodError::TooFine { .. }
                | PeriodError::TooOld { .. } => FieldCode::OutOfRange,
            };
            parameters.refuse(error.field(), code, error.to_string());
            let to = now.plus_millis(1);
            Period { from: now, to, interval: Interval::Day, zone: Default::default() }
        }
    }
}
