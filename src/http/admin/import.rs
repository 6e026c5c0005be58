//! `/links/import`: rows from elsewhere, imported exactly once per batch.

use actix_web::{HttpRequest, HttpResponse, web};

use super::AdminState;
use super::answer::{self, idempotency_key, send, to_the_end};
use super::budget::Budget;
use crate::domain::api_key::Scope;
use crate::domain::limits::BULK_BODY_BYTES_MAX;
use crate::domain::link::CreatedVia;
use crate::http::cursor::from_hex;
use crate::http::error::{ApiError, ProblemCode};
use crate::http::extract::{Caller, Parameters, read_body};
use crate::http::json;
use crate::http::openapi::{BodyProblems, CommonProblems, ImportProblems};
use crate::http::wire::{ImportItem, ImportView};
use crate::service::import::{BatchDigest, ImportRow, RowOutcome, Settled};
use crate::service::links::Author;

const NDJSON: &str = "application/x-ndjson";
/// Rows of one batch. They are in memory together.
const ROWS_MAX: usize = 10_000;
/// Characters of what is said about one bad row.
const DETAIL_CHARS_MAX: usize = 300;

/// Import links, one JSON object per line
#[utoipa::path(
    post, path = "/api/v1/links/import", tag = "links", operation_id = "import_links",
    params(
        ("Idempotency-Key" = Option<String>, Header, pattern = "^[0-9a-f]{32}$",
            description = "Names the batch: the same one is imported once, for ever. Required \
                           unless `dry_run` is true"),
        ("dry_run" = Option<bool>, Query,
            description = "Only say what would become of each row; write nothing"),
    ),
    request_body(content = String, content_type = "application/x-ndjson",
        description = "Fields as in a new link, `code` of any length from 1 to 50, and `status`, \
                       `clicks`, `last_clicked_at`, `created_at`, `updated_at`, `created_via`, \
                       `version`"),
    responses(
        (status = 200, description = "One outcome per row, in order", body = ImportView),
        CommonProblems, BodyProblems, ImportProblems,
    ),
)]
pub(in crate::http) async fn import(
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    caller.require(Scope::LinksWrite)?;
    let mut parameters = Parameters::of(&request)?;
    let dry_run = parameters.flag("dry_run");
    parameters.check()?;
    // What is not done needs no name.
    let digest = if dry_run { None } else { Some(batch_digest(&request)?) };
    let body = read_body(&request, payload, NDJSON, BULK_BODY_BYTES_MAX).await?;
    let author = Author::of(caller.by(), CreatedVia::Import);
    let lines = read_lines(&body)?;
    let numbers: Vec<u64> = lines.iter().map(|(number, _)| *number).collect();
    let n_rows = lines.iter().filter(|(_, row)| row.is_ok()).count();
    let rows = lines.into_iter().map(|(_, row)| row).collect();
    let budget = Budget::of(&caller, &request, &state);

    to_the_end(async move {
        let Settled { outcomes, replayed } = match digest {
            Some(digest) => {
                budget.charge(n_rows).await?;
                let settled = state.links.import(author, &digest, rows).await;
                budget.settle(n_rows, settled.as_ref().map_or(0, n_created)).await;
                settled?
            }
            None => {
                let outcomes = state.links.try_import(author, rows).await?;
                Settled { outcomes, replayed: false }
            }
        };
        let results = numbers.into_iter().zip(outcomes);
        let results = results.map(|(line, outcome)| item(line, outcome)).collect();
        let view = ImportView { results, replayed };
        answer::json(200, &view).map(send)
    })
    .await
}

/// Links that this request made, and no earlier one.
fn n_created(settled: &Settled) -> usize {
    let created = |outcome: &&RowOutcome| **outcome == RowOutcome::Created;
    if settled.replayed { 0 } else { settled.outcomes.iter().filter(created).count() }
}

fn batch_digest(request: &HttpRequest) -> Result<BatchDigest, ApiError> {
    let key = idempotency_key(request)?;
    let digest = key.and_then(|key| BatchDigest::try_from(from_hex(&key)?).ok());
    digest.ok_or_else(|| {
        let detail = "an import needs an `Idempotency-Key` of 32 hex digits that names the batch";
        ApiError::new(ProblemCode::InvalidRequest, detail)
    })
}

/// Numbers the lines from one, skips empty ones, and reads the others. One that cannot be read has
/// the reason in its place.
#[expect(clippy::type_complexity, reason = "a line number, and a row or why there is none")]
fn read_lines(body: &[u8]) -> Result<Vec<(u64, Result<ImportRow, String>)>, ApiError> {
    let numbered = (1_u64..).zip(body.split(|byte| *byte == b'\n'));
    let mut rows = Vec::new();
    for (number, line) in numbered {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        if rows.len() == ROWS_MAX {
            let detail = format!("at most {ROWS_MAX} rows at once");
            return Err(ApiError::new(ProblemCode::InvalidRequest, detail));
        }
        rows.push((number, read_row(line)));
    }
    Ok(rows)
}

fn read_row(line: &[u8]) -> Result<ImportRow, String> {
    let value = json::parse(line).map_err(|error| error.view().detail)?;
    if !value.is_object() {
        return Err("a row is a JSON object".to_owned());
    }
    serde_json::from_value(value)
        .map_err(|error| error.to_string().chars().take(DETAIL_CHARS_MAX).collect())
}

fn item(line: u64, outcome: RowOutcome) -> ImportItem {
    let word = outcome.as_str();
    let detail = match outcome {
        RowOutcome::Invalid(detail) => Some(detail),
        _ => None,
    };
    ImportItem { line, outcome: word, detail }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_their_numbers_and_bad_ones_their_reason() {
        let body =
            b"{\"code\":\"a\"}\n\n  \r\n[1]\r\n{\"code\":1}\n{\"what\":1}\n{\"a\":1,\"a\":1}\n{}";
        let lines = read_lines(body).unwrap();
        let shape: Vec<_> = lines.iter().map(|(number, row)| (*number, row.is_ok())).collect();
        assert_eq!(shape, [(1, true), (4, false), (5, false), (6, false), (7, false), (8, true)]);
        assert_eq!(lines[0].1.as_ref().unwrap().code.as_deref(), Some("a"));
    }

    #[test]
    fn a_batch_has_a_bound() {
        assert!(read_lines(&b"{}\n".repeat(ROWS_MAX)).is_ok());
        assert!(read_lines(&b"{}\n".repeat(ROWS_MAX + 1)).is_err());
    }
}
