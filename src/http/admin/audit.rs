//! `GET /audit-log`: who changed what, the newest first.

use actix_web::{HttpRequest, HttpResponse, web};

use super::AdminState;
use super::answer::{self, send};
use super::lists::open_cursor;
use crate::domain::api_key::Scope;
use crate::domain::audit::AuditAction;
use crate::domain::id::Id;
use crate::http::cursor::CursorScope;
use crate::http::error::ApiError;
use crate::http::extract::{Caller, Parameters};
use crate::http::openapi::{CommonProblems, shapes};
use crate::http::wire::{AuditEntryView, AuditPageView};
use crate::service::draft::FieldCode;
use crate::storage::audit::AuditQuery;
use crate::storage::{PageMark, SortValue};

const KNOWN: [&str; 7] = ["action", "actor", "target", "from", "to", "limit", "cursor"];

/// List what was changed in the workspace, by whom, when and from where
#[utoipa::path(
    get, path = "/api/v1/audit-log", tag = "audit-log", operation_id = "list_audit_log",
    params(shapes::AuditParameters, shapes::PageParameters),
    responses((status = 200, description = "One page", body = AuditPageView), CommonProblems),
)]
pub(in crate::http) async fn list(
    caller: Caller,
    request: HttpRequest,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    caller.require(Scope::OrgManage)?;
    let mut parameters = Parameters::of(&request)?;
    parameters.only(&KNOWN);
    let actions: Vec<_> = AuditAction::ALL.iter().map(|action| action.as_str()).collect();
    let mut query = AuditQuery {
        workspace: caller.workspace(),
        action: parameters.word("action", &actions, AuditAction::from_word),
        actor: id(&mut parameters, "actor"),
        target: id(&mut parameters, "target"),
        from: parameters.time("from"),
        to: parameters.time("to"),
        ..AuditQuery::default()
    };
    let (limit, cursor) = (parameters.limit(), parameters.one("cursor"));
    parameters.check()?;
    let scope = CursorScope::new("audit-log", caller.workspace(), &format!("{query:?}"));
    let after = cursor.map(|cursor| open_cursor(&state, &scope, &cursor)).transpose()?;
    query.before = after.as_ref().map(|mark| mark.id.0);
    query.limit = limit;

    // Counted for the first page; those behind it carry it on.
    let total = match after {
        Some(PageMark { value: SortValue::Number(total), .. }) => total.unsigned_abs(),
        _ => state.stores.audit.audit_count(query.clone()).await?,
    };
    let page = state.stores.audit.audit_log(query).await?;
    let next_cursor = page.next.map(|seq| {
        let mark = PageMark { value: SortValue::Number(total as i64), id: Id(seq) };
        state.cursors.seal(&scope, &mark)
    });
    let data = page.entries.iter().map(AuditEntryView::from).collect();
    answer::json(200, &AuditPageView { data, next_cursor, total }).map(send)
}

fn id(parameters: &mut Parameters, name: &str) -> Option<Id> {
    let text = parameters.one(name)?;
    let id = text.parse().ok();
    if id.is_none() {
        parameters.refuse(name, FieldCode::InvalidValue, "an id is a number");
    }
    id
}
