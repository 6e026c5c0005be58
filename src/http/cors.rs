//! Pages of other origins: what browsers let them ask of the API, and read of its answers.
//!
//! Nothing is allowed that `http.cors_origins` does not list. Then the listed origins may ask, with
//! the cookies of their visitors too; any other page is refused before a route sees its request,
//! and learns nothing from the refusal.

use actix_cors::{Cors, CorsError};
use actix_web::body::MessageBody;
use actix_web::dev::{RequestHead, ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::middleware::{Condition, Next};
use actix_web::{Error, ResponseError as _};

use super::csrf::SEC_FETCH_SITE;
use super::error::{ApiError, ProblemCode};
use super::headers::X_REQUEST_ID;
use super::origins::Origins;

/// How long a browser may remember what a page may ask, in seconds.
const MAX_AGE_SECS: usize = 600;
/// Answers to other origins differ; caches must not mix them up.
const VARY: &str = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const X_ANONYMOUS_TOKEN: HeaderName = HeaderName::from_static("x-anonymous-token");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Headers that pages may send.
const SENT: [HeaderName; 7] = [
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    header::IF_MATCH,
    IDEMPOTENCY_KEY,
    X_API_KEY,
    X_ANONYMOUS_TOKEN,
    X_REQUEST_ID,
];
/// Headers that pages may read, besides those that they always may.
const READ: [HeaderName; 7] = [
    header::ETAG,
    header::LOCATION,
    HeaderName::from_static("ratelimit"),
    HeaderName::from_static("ratelimit-policy"),
    header::RETRY_AFTER,
    X_REQUEST_ID,
    HeaderName::from_static("idempotency-replayed"),
];

/// The rules for a scope whose routes take these methods. Does nothing when no other origin may
/// ask.
pub(crate) fn rules(origins: &Origins, methods: Vec<Method>) -> Condition<Cors> {
    let cors = Cors::default()
        .allowed_methods(methods)
        .allowed_headers(SENT)
        .expose_headers(READ)
        .max_age(MAX_AGE_SECS)
        .block_on_origin_mismatch(true);
    let cors = if origins.allow_any() {
        // A page without an origin of its own may be anybody's, in a frame of anybody.
        let named = |origin: &HeaderValue, _: &RequestHead| origin != "null";
        cors.allow_any_origin().allowed_origin_fn(named).send_wildcard()
    } else {
        let own = origins.clone();
        let cors = origins.listed().fold(cors, Cors::allowed_origin);
        cors.allowed_origin_fn(move |origin, head| is_same(&own, origin, head))
            .supports_credentials()
    };
    Condition::new(origins.are_shared(), cors)
}

/// Browsers name the origin of this site's own pages too.
fn is_same(origins: &Origins, origin: &HeaderValue, head: &RequestHead) -> bool {
    let says = |site: &HeaderValue| site.as_bytes() == b"same-origin";
    origins.is_own(origin.as_bytes()) || head.headers.get(SEC_FETCH_SITE).is_some_and(says)
}

/// Tells of refusals in the words of this API.
pub(crate) async fn explained(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse, Error> {
    let response = next.call(request).await?;
    let refused = response.response().error().and_then(|error| error.as_error::<CorsError>());
    let Some(problem) = refused.map(problem_of) else {
        return Ok(response.map_into_boxed_body());
    };
    let mut answer = problem.error_response();
    answer.headers_mut().insert(header::VARY, const { HeaderValue::from_static(VARY) });
    Ok(response.into_response(answer))
}

fn problem_of(refused: &CorsError) -> ApiError {
    let (code, detail) = match refused {
        CorsError::OriginNotAllowed => {
            (ProblemCode::Forbidden, "pages of this origin may not use the API")
        }
        CorsError::MethodNotAllowed => {
            (ProblemCode::Forbidden, "pages of other origins may not use this method")
        }
        CorsError::HeadersNotAllowed => {
            (ProblemCode::Forbidden, "pages of other origins may not send these headers")
        }
        _ => (ProblemCode::InvalidRequest, "this is no question that a browser asks beforehand"),
    };
    ApiError::new(code, detail)
}
