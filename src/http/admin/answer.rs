//! Answers: made once, sent as often as their idempotency key is shown again.

use std::future::Future;
use std::sync::Arc;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use tracing::{Instrument as _, warn};

use super::AdminState;
use crate::domain::id::Id;
use crate::domain::limits::IDEMPOTENCY_KEY_BYTES_MAX;
use crate::http::error::{ApiError, ProblemCode};
use crate::service::links::CreateIds;
use crate::storage::patience::{briefly, carried};
use crate::storage::{KeptAnswer, Replay, ReplayKey};

const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// A JSON answer.
pub(super) fn json(status: u16, body: &impl Serialize) -> Result<KeptAnswer, ApiError> {
    let body = serde_json::to_vec(body).map_err(|error| {
        tracing::error!(%error, "an answer could not be written as JSON");
        ApiError::unavailable()
    })?;
    Ok(KeptAnswer { status, location: None, etag: None, body })
}

/// Puts an answer on the wire.
pub(super) fn send(answer: KeptAnswer) -> HttpResponse {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let mut response = HttpResponse::build(status);
    response.insert_header((header::CACHE_CONTROL, "no-store"));
    if let Some(location) = answer.location {
        response.insert_header((header::LOCATION, location));
    }
    if let Some(etag) = answer.etag {
        response.insert_header((header::ETAG, etag));
    }
    let refused = status.is_client_error();
    response.content_type(if refused { "application/problem+json" } else { "application/json" });
    response.body(answer.body)
}

/// 204.
pub(super) fn no_content() -> HttpResponse {
    HttpResponse::NoContent().insert_header((header::CACHE_CONTROL, "no-store")).finish()
}

/// 202: it will be done, or there was nothing to do.
pub(super) fn accepted() -> HttpResponse {
    HttpResponse::Accepted().insert_header((header::CACHE_CONTROL, "no-store")).finish()
}

/// Runs `work` to its end even if the client goes away meanwhile: a change that started is not
/// left half done.
pub(in crate::http) async fn to_the_end<T: 'static>(
    work: impl Future<Output = Result<T, ApiError>> + 'static,
) -> Result<T, ApiError> {
    actix_web::rt::spawn(carried(work).in_current_span()).await.unwrap_or_else(|error| {
        tracing::error!(%error, "a request ended in a panic");
        Err(ApiError::unavailable())
    })
}

/// The request's `Idempotency-Key`, if it has one, with what the request is bound to.
pub(super) struct Idempotency {
    key: ReplayKey,
    fingerprint: [u8; 32],
}

impl Idempotency {
    /// Kinds: 400 for a key that is empty, too long or not visible ASCII.
    pub(super) fn of(
        request: &HttpRequest,
        workspace: Id,
        body: &[u8],
    ) -> Result<Option<Self>, ApiError> {
        let Some(key) = idempotency_key(request)? else { return Ok(None) };
        let mut hasher = blake3::Hasher::new();
        let uri = request.uri();
        let parts = [request.method().as_str(), uri.path(), uri.query().unwrap_or_default()];
        for part in parts.map(str::as_bytes).into_iter().chain([body]) {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        let fingerprint = *hasher.finalize().as_bytes();
        Ok(Some(Self { key: ReplayKey { workspace, key }, fingerprint }))
    }
}

/// The text of `Idempotency-Key`. Kinds: 400.
pub(super) fn idempotency_key(request: &HttpRequest) -> Result<Option<String>, ApiError> {
    let mut values = request.headers().get_all(IDEMPOTENCY_KEY);
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let fits = (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&text.len());
    if !fits || values.next().is_some() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let detail = format!(
            "`Idempotency-Key` is one header of 1 to {IDEMPOTENCY_KEY_BYTES_MAX} visible \
             characters without spaces"
        );
        return Err(ApiError::new(ProblemCode::InvalidRequest, detail));
    }
    Ok(Some(text.to_owned()))
}

/// An answer, and whether it is the last word on its request.
pub(super) struct Worked {
    pub answer: KeptAnswer,
    /// Nothing in it would turn out otherwise if the request were sent again later.
    pub settled: bool,
}

impl From<KeptAnswer> for Worked {
    fn from(answer: KeptAnswer) -> Self {
        Self { answer, settled: true }
    }
}

/// Does `work` unless the same request was answered before; then repeats that answer, a refusal
/// too. Only what may pass by itself is not kept, so that the request can be sent again.
///
/// The ids of the `n_links` links to make are noted down before anything is made. When the answer
/// is lost, with the process or with the store's, the next try finds by them what there is.
pub(super) async fn once<A: Into<Worked>>(
    state: &AdminState,
    idempotency: Option<Idempotency>,
    n_links: usize,
    work: impl AsyncFnOnce(CreateIds) -> Result<A, ApiError>,
) -> Result<HttpResponse, ApiError> {
    let Some(Idempotency { key, fingerprint }) = idempotency else {
        return work(CreateIds::Fresh).await.map(|worked| send(worked.into().answer));
    };
    let replays = Arc::clone(&state.stores.replays);
    let ids = state.links.new_ids(n_links).await?;
    let ids = match replays.begin(&key, fingerprint, &ids, state.clock.now()).await? {
        Replay::Reserved => CreateIds::Given(ids),
        Replay::Resumed(earlier) => CreateIds::Earlier(earlier),
        Replay::InProgress => {
            let detail = "the first request with this key is not answered yet";
            return Err(ApiError::new(ProblemCode::IdempotencyInProgress, detail));
        }
        Replay::Mismatch => {
            let detail = "this `Idempotency-Key` was used with another path or body";
            return Err(ApiError::new(ProblemCode::IdempotencyMismatch, detail));
        }
        Replay::Answered(answer) => {
            let mut response = send(answer);
            let name = header::HeaderName::from_static("idempotency-replayed");
            response.headers_mut().insert(name, header::HeaderValue::from_static("true"));
            return Ok(response);
        }
    };
    let outcome = work(ids).await.map(Into::into);
    let answer = match &outcome {
        Ok(worked) => worked.settled.then(|| worked.answer.clone()),
        Err(error) if error.passes() => None,
        Err(error) => Some(json(error.code().status(), &error.view())?),
    };
    let now = state.clock.now();
    let keeping = async move {
        let kept = match answer {
            Some(answer) => replays.finish(&key, fingerprint, answer, now).await,
            None => replays.abandon(&key, fingerprint).await,
        };
        // What was done is done; a repetition after the reservation's minute finds it by its ids.
        if let Err(error) = kept {
            warn!(%error, "the outcome of an idempotent request was not kept");
        }
    };
    // With time of its own: the store may be what the request has waited for in vain.
    let _goes_on = briefly(actix_web::rt::spawn(keeping.in_current_span())).await;
    outcome.map(|worked| send(worked.answer))
}
