//! `GET /openapi.json`: the description of all this, made from the code.

use std::sync::LazyLock;

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::{self, Bytes};

use super::AdminState;
use crate::http::openapi::document;

static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(document()));

/// The OpenAPI description of this API
#[utoipa::path(
    get, path = "/api/v1/openapi.json", tag = "operations", operation_id = "openapi",
    security(()),
    responses((status = 200, description = "OpenAPI 3.1", body = Object)),
)]
pub(in crate::http) async fn openapi() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "public, max-age=300"))
        .content_type("application/json")
        .body(DOCUMENT.clone())
}

/// The public keys of access tokens
#[utoipa::path(
    get, path = "/.well-known/jwks.json", tag = "operations", operation_id = "jwks",
    security(()),
    responses((
        status = 200, description = "A JSON Web Key Set", body = Object,
        content_type = "application/jwk-set+json",
    )),
)]
pub(in crate::http) async fn jwks(state: web::Data<AdminState>) -> HttpResponse {
    // A key is shown for a while before it signs alone, and after; see `tokens.rotate_after`.
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "public, max-age=300"))
        .content_type("application/jwk-set+json")
        .body(state.access.tokens().jwks().to_string())
}
