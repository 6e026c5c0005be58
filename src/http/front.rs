//! The hit: a known code, answered before any router, middleware or future exists, in a request
//! that the direct way handed over.
//!
//! The front service wraps the actix-web application. It sees the bare request, and when that is a
//! plain `GET` or `HEAD` of a link in memory, it answers: one map read, one decision, one record in
//! the journal. It takes no lock, awaits nothing, calls no store and allocates nothing. Everything
//! else goes on to the application, untouched; `redirect.rs` there makes the same decisions.

use std::future::{Ready, ready};
use std::rc::Rc;

use actix_http::body::BoxBody;
use actix_http::{ConnectionType, Request, Response};
use actix_service::{Service, ServiceFactory, forward_ready};
use actix_web::Error;
use actix_web::dev::{AppConfig, ServiceResponse};
use actix_web::http::{Method, Uri, header};
use futures_util::FutureExt as _;
use futures_util::future::{Either, LocalBoxFuture, Map};

use crate::domain::limits::{CODE_BYTES_MAX, HEADERS_BYTES_MAX};
use crate::http::direct::Life;
use crate::http::headers::{
    VisitHeaders, X_REQUEST_ID, X_ROBOTS_TAG, given_request_id, noindex, nosniff, referrer_policy,
};
use crate::http::rates;
use crate::http::redirect::status_code;
use crate::http::worker::Worker;

/// Makes the front service of one worker around `app`.
pub(crate) struct FrontFactory<A> {
    pub worker: Rc<Worker>,
    pub app: A,
}

/// The front service of one worker.
pub(crate) struct Front<S> {
    worker: Rc<Worker>,
    app: S,
}

type Answer = Result<Response<BoxBody>, Error>;
type FromApp<F> = Map<F, fn(Result<ServiceResponse, Error>) -> Answer>;

impl<A> ServiceFactory<Request> for FrontFactory<A>
where
    A: ServiceFactory<
            Request,
            Config = AppConfig,
            Response = ServiceResponse,
            Error = Error,
            InitError = (),
        >,
    A::Future: 'static,
{
    type Response = Response<BoxBody>;
    type Error = Error;
    type Config = AppConfig;
    type Service = Front<A::Service>;
    type InitError = ();
    type Future = LocalBoxFuture<'static, Result<Self::Service, ()>>;

    fn new_service(&self, config: AppConfig) -> Self::Future {
        let worker = Rc::clone(&self.worker);
        let app = self.app.new_service(config);
        Box::pin(async move { Ok(Front { worker, app: app.await? }) })
    }
}

impl<S> Service<Request> for Front<S>
where
    S: Service<Request, Response = ServiceResponse, Error = Error>,
{
    type Response = Response<BoxBody>;
    type Error = Error;
    type Future = Either<Ready<Answer>, FromApp<S::Future>>;

    forward_ready!(app);

    fn call(&self, request: Request) -> Self::Future {
        match hit(&self.worker, &request) {
            Some(mut response) => {
                if let Some(life) = request.conn_data::<Rc<Life>>() {
                    life.answered();
                    if life.is_last() {
                        response.head_mut().set_connection_type(ConnectionType::Close);
                    }
                }
                Either::Left(ready(Ok(response)))
            }
            None => Either::Right(self.app.call(request).map(|answer| answer.map(Into::into))),
        }
    }
}

/// The answer to a plain visit of a link in memory; `None` when it takes more than that.
fn hit(worker: &Worker, request: &Request) -> Option<Response<BoxBody>> {
    let head = request.head();
    let counts = match head.method {
        Method::GET => true,
        Method::HEAD => false,
        _ => return None,
    };
    let code = plain_code(&head.uri)?;
    let headers = VisitHeaders::read(&head.headers);
    if headers.bytes > HEADERS_BYTES_MAX {
        return None;
    }
    let domain = worker.hosts.exact(headers.host)?;
    let given = headers.has_request_id.then_some(&head.headers).and_then(given_request_id);

    let started = worker.sample();
    let client = || worker.client(request.peer_addr(), &head.headers);
    let click = counts.then(|| headers.click(client()));
    let response = worker.hit((domain, code), click, client, |target, measured| {
        let location = worker.header_value(&target.location.parts())?;
        let mut response = Response::with_body(status_code(target.status), BoxBody::new(()));
        let headers = response.headers_mut();
        headers.insert(header::LOCATION, location);
        headers.insert(header::CACHE_CONTROL, worker.rules.caching(target.status));
        headers.insert(X_ROBOTS_TAG, noindex());
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff());
        headers.insert(header::REFERRER_POLICY, referrer_policy());
        if let Some(hsts) = worker.safety.hsts() {
            headers.insert(header::STRICT_TRANSPORT_SECURITY, hsts.clone());
        }
        headers.insert(X_REQUEST_ID, given.unwrap_or_else(|| worker.request_id()));
        if let Some(measured) = measured {
            rates::write(headers, &[*measured]);
        }
        Some(response)
    })?;
    if let Some(started) = started {
        worker.observe_sample(started);
    }
    Some(response)
}

/// The path's only segment, if the target is nothing but that: no query, no host. Whether it is a
/// code the table decides; a `/` or `?` in it makes it none.
fn plain_code(uri: &Uri) -> Option<&[u8]> {
    if uri.authority().is_some() {
        return None;
    }
    let target = uri.path_and_query()?.as_str().as_bytes();
    let code = target.strip_prefix(b"/")?;
    (1..=CODE_BYTES_MAX).contains(&code.len()).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lone_segment_can_be_a_plain_code() {
        let code = |uri: &'static str| plain_code(&Uri::from_static(uri)).map(<[u8]>::to_vec);
        assert_eq!(code("/spring"), Some(b"spring".to_vec()));
        assert_eq!(code("/"), None);
        assert_eq!(code("http://go.example/spring"), None);
        assert_eq!(code("go.example:443"), None);
        assert_eq!(code("*"), None);
        let longest: &'static str =
            concat!("/", "01234567890123456789012345678901234567890123456789");
        assert_eq!(code(longest).map(|code| code.len()), Some(CODE_BYTES_MAX));
        assert_eq!(code("/012345678901234567890123456789012345678901234567890"), None);
    }
}
