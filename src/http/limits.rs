//! Around every answer of the application: what is too much, what is not spoken here, and the
//! headers that each answer carries.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_http::ConnectionType;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::HeaderValue;
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::web::{self, Bytes};
use actix_web::{Error, HttpMessage as _, HttpRequest, HttpResponse};

use crate::domain::limits::{HEADERS_BYTES_MAX, TARGET_BYTES_MAX};
use crate::http::direct::{Life, Serving};
use crate::http::headers::{given_request_id, total_bytes};
use crate::http::pages::{method_not_allowed, problem};
use crate::http::problem::ProblemCode;
use crate::http::rates::ClientAddress;
use crate::http::worker::Worker;
use crate::telemetry::metrics::HttpLabels;

/// Name of the resource whose answers `shunt_redirects_total` counts, and nothing else.
pub(crate) const VISITS: &str = "visits";

/// Methods that some route takes.
const METHODS: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PATCH,
    Method::PUT,
    Method::DELETE,
    Method::OPTIONS,
];

/// The id that the answer to an API request will carry, for its log lines.
#[derive(Clone, Debug)]
pub struct RequestId(pub HeaderValue);

/// Refuses what no route should see, and completes what the routes answer.
pub(crate) async fn envelope<B: MessageBody + 'static>(
    worker: web::ThinData<Rc<Worker>>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    // While the request is at work, the client is not what it waits for.
    let serving = request.conn_data::<Rc<Life>>().map(Life::serve);
    let id = given_request_id(request.headers()).unwrap_or_else(|| worker.request_id());
    let of_api = request.path().starts_with("/api/");
    if let Some(refusal) = refusal(&request) {
        let mut response = request.into_response(refusal);
        let status = response.status();
        worker.safety.complete(response.headers_mut(), status, (of_api, &id));
        count(&worker, response.request(), response.status());
        return Ok(response);
    }
    if of_api {
        let client = worker.client(request.peer_addr(), request.headers());
        request.extensions_mut().insert(RequestId(id.clone()));
        request.extensions_mut().insert(ClientAddress(client));
    }
    match next.call(request).await {
        Ok(response) => {
            let mut response = response.map_into_boxed_body();
            let status = response.status();
            worker.safety.complete(response.headers_mut(), status, (of_api, &id));
            if serving.as_ref().is_some_and(Serving::is_last) {
                response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
            }
            count(&worker, response.request(), response.status());
            Ok(response.map_body(|_, body| match (body.size(), serving) {
                (BodySize::Stream, Some(serving)) => {
                    BoxBody::new(Streamed { body, _serving: serving })
                }
                (_, _) => body,
            }))
        }
        Err(mut error) => {
            let worker = Rc::clone(&worker);
            error.add_response_mapper(move |mut response| {
                let status = response.status();
                worker.safety.complete(response.headers_mut(), status, (of_api, &id));
                response
            });
            Err(error)
        }
    }
}

/// A body that is made while it is sent: the request is at work until its last byte is made.
struct Streamed {
    body: BoxBody,
    _serving: Serving,
}

impl MessageBody for Streamed {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_next(context)
    }
}

/// The answer to a request that is too long or whose method nobody takes.
fn refusal(request: &ServiceRequest) -> Option<HttpResponse> {
    // The API's routes know best what each of them takes.
    if !METHODS.contains(request.method()) && !request.path().starts_with("/api/") {
        return Some(method_not_allowed("GET, HEAD"));
    }
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > TARGET_BYTES_MAX {
        let reason = "The request target has more than 8,192 bytes.";
        return Some(problem(ProblemCode::UriTooLong, reason));
    }
    if total_bytes(request.headers()) > HEADERS_BYTES_MAX {
        let reason = "The request headers have more than 16,384 bytes.";
        return Some(problem(ProblemCode::HeadersTooLarge, reason));
    }
    None
}

/// Counts an answer under the pattern of its route, never under what a client typed.
fn count(worker: &Worker, request: &HttpRequest, status: StatusCode) {
    if request.match_name() == Some(VISITS) {
        return;
    }
    let method =
        if METHODS.contains(request.method()) { request.method().as_str() } else { "other" };
    let labels = HttpLabels {
        route: request.match_pattern().unwrap_or_else(|| "unmatched".to_owned()),
        method: method.to_owned(),
        status: status.as_u16(),
    };
    worker.metrics.http_requests.get_or_create(&labels).inc();
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn refused(request: TestRequest) -> Option<u16> {
        refusal(&request.to_srv_request()).map(|answer| answer.status().as_u16())
    }

    #[test]
    fn targets_and_headers_have_a_size() {
        let target = |length: usize| TestRequest::with_uri(&format!("/{}", "a".repeat(length - 1)));
        assert_eq!(refused(target(TARGET_BYTES_MAX)), None);
        assert_eq!(refused(target(TARGET_BYTES_MAX + 1)), Some(414));
        let query = TestRequest::with_uri(&format!("/a?{}", "b".repeat(TARGET_BYTES_MAX)));
        assert_eq!(refused(query), Some(414));

        let header =
            |length: usize| TestRequest::default().insert_header(("x-filling", "c".repeat(length)));
        let overhead = "x-filling: \r\n".len();
        assert_eq!(refused(header(HEADERS_BYTES_MAX - overhead)), None);
        assert_eq!(refused(header(HEADERS_BYTES_MAX - overhead + 1)), Some(431));
    }

    #[test]
    fn methods_that_no_route_takes_are_named_so() {
        for method in ["TRACE", "CONNECT", "PROPFIND", "get"] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(refused(TestRequest::with_uri("/a").method(method.clone())), Some(405));
            let route = TestRequest::with_uri("/api/v1/links").method(method);
            assert_eq!(refused(route), None, "its route answers");
        }
        for method in METHODS {
            assert_eq!(refused(TestRequest::with_uri("/a").method(method)), None);
        }
    }
}
