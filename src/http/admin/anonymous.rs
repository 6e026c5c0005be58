//! Links without an account: made by `POST /links`, listed, and taken over after signing in.

use actix_web::{HttpRequest, HttpResponse, web};

use super::AdminState;
use super::answer::{self, idempotency_key, send, to_the_end};
use super::lists::{open_cursor, page};
use crate::domain::api_key::Scope;
use crate::domain::limits::BODY_BYTES_MAX;
use crate::http::cursor::CursorScope;
use crate::http::error::{ApiError, ProblemCode};
use crate::http::extract::{Caller, Door, Parameters, read_body};
use crate::http::json;
use crate::http::openapi::{AbsenceProblems, CommonProblems, ThrottleProblems, shapes};
use crate::http::rates::{Charges, ClientAddress};
use crate::http::wire::{AnonymousLinkView, ClaimedView, LinkView, PageView, etag, link_draft};
use crate::service::anonymous::{AnonymousError, Holder};
use crate::storage::{PageMark, SortValue};

const TOKEN: &str = "x-anonymous-token";

/// Makes a link for somebody without an account.
pub(super) async fn create(
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    let mut parameters = Parameters::of(&request)?;
    parameters.only(&[]);
    parameters.check()?;
    if idempotency_key(&request)?.is_some() {
        let detail = "`Idempotency-Key` needs an account: nobody else's answers may be repeated";
        return Err(ApiError::new(ProblemCode::InvalidRequest, detail));
    }
    Door::knock(&request, &state).await?;
    let holder = holder(&request, &state, true)?;
    let body = read_body(&request, payload, "application/json", BODY_BYTES_MAX).await?;
    let draft = link_draft(json::parse(&body)?, "");
    let (client, charges) = (ClientAddress::of(&request), Charges::of(&request));
    to_the_end(async move {
        let made = state.anonymous.create(&state.links, holder, draft, client).await;
        if let Err(AnonymousError::TooMany(refused)) = &made {
            charges.note(&refused.shown);
        }
        let made = made?;
        charges.note(&made.shown);
        let now = state.clock.now();
        let view = AnonymousLinkView {
            link: LinkView::new(&made.link, Default::default(), &state.site, now),
            anonymous_token: made.ticket.as_str().to_owned(),
            remaining: made.remaining,
        };
        let mut answer = answer::json(201, &view)?;
        answer.etag = Some(etag(&made.link));
        Ok(send(answer))
    })
    .await
}

/// List the links of an anonymous token, the newest first
#[utoipa::path(
    get, path = "/api/v1/anonymous/links", tag = "anonymous", operation_id = "list_anonymous_links",
    security(()),
    params(
        shapes::PageParameters,
        ("X-Anonymous-Token" = String, Header, pattern = "^shunta_[0-9A-Za-z_-]{43}$"),
    ),
    responses(
        (status = 200, description = "One page", body = PageView<LinkView>),
        CommonProblems, ThrottleProblems, AbsenceProblems,
    ),
)]
pub(in crate::http) async fn list(
    request: HttpRequest,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    Door::knock(&request, &state).await?;
    let holder = holder(&request, &state, false)?;
    let (rows, cursor) = page(&request)?;
    let scope = CursorScope::new("anonymous", holder.id(), "");
    let after = cursor.map(|cursor| open_cursor(&state, &scope, &cursor)).transpose()?;
    let before = after.map(|mark| mark.id);
    let (links, total) = state.anonymous.list(&holder, before, rows as u32 + 1).await?;
    let more = links.len() > rows;
    let links = &links[..links.len().min(rows)];
    let ids: Vec<_> = links.iter().map(|link| link.id).collect();
    let totals = state.clicks.totals(&ids).await?;
    let now = state.clock.now();
    let show = |(link, totals)| LinkView::new(link, totals, &state.site, now);
    let data = links.iter().zip(totals).map(show).collect();
    let mark = links.last().filter(|_| more);
    let mark = mark.map(|last| PageMark { value: SortValue::Number(0), id: last.id });
    let next_cursor = mark.map(|mark| state.cursors.seal(&scope, &mark));
    answer::json(200, &PageView { data, next_cursor, total }).map(send)
}

/// Take over the links of an anonymous token; they are yours for good
#[utoipa::path(
    post, path = "/api/v1/links/claim", tag = "anonymous", operation_id = "claim_links",
    params(("X-Anonymous-Token" = String, Header, pattern = "^shunta_[0-9A-Za-z_-]{43}$")),
    responses(
        (status = 200, description = "How many", body = ClaimedView),
        CommonProblems, AbsenceProblems,
    ),
)]
pub(in crate::http) async fn claim(
    caller: Caller,
    request: HttpRequest,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    caller.require(Scope::LinksWrite)?;
    let holder = holder(&request, &state, false)?;
    to_the_end(async move {
        let claimed = state.anonymous.claim(&state.links, &holder, caller.by()).await?;
        answer::json(200, &ClaimedView { claimed }).map(send)
    })
    .await
}

/// Whoever shows the token of the header. Without one there is a new holder, where `new` says so.
fn holder(request: &HttpRequest, state: &AdminState, new: bool) -> Result<Holder, ApiError> {
    let mut values = request.headers().get_all(TOKEN);
    let token = match (values.next(), values.next()) {
        (None, _) => None,
        (Some(value), None) => Some(value.to_str().map_err(|_| AnonymousError::MalformedToken)?),
        (Some(_), Some(_)) => return Err(AnonymousError::MalformedToken.into()),
    };
    if token.is_none() && !new {
        let detail = "send the token as `X-Anonymous-Token`";
        return Err(ApiError::new(ProblemCode::InvalidRequest, detail));
    }
    Ok(state.anonymous.holder(token.map(str::trim))?)
}
