//! Answers that are made while they are sent.

use std::error::Error;

use actix_web::body::{BoxBody, None as NoBody};
use actix_web::http::{Method, Version};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use futures_util::Stream;

/// Answers with `chunks` as they come; an error breaks the connection off, so that nobody takes
/// what has come for the whole. `HEAD` gets the headers alone.
pub(super) fn send_stream<E: Into<Box<dyn Error>> + 'static>(
    request: &HttpRequest,
    mut response: HttpResponseBuilder,
    chunks: impl Stream<Item = Result<Bytes, E>> + 'static,
) -> HttpResponse {
    if request.method() == Method::HEAD {
        return response.message_body(BoxBody::new(NoBody::new())).unwrap_or_else(Into::into);
    }
    if request.version() < Version::HTTP_11 {
        // Without chunks only the end of the connection tells the end of the answer.
        response.force_close();
    }
    response.streaming(chunks)
}
