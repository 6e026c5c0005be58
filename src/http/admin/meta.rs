//! `GET /openapi.json`: the description of all this, made from the code.

use std::sync::LazyLock;

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::Bytes;

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
