//! HTTP: every route of the public listener in one table.
//!
//! | path | answers | where |
//! |---|---|---|
//! | `/{code}` in memory | the redirect | `direct`, from the bytes of the connection |
//! | the same on a connection that had other requests | the redirect | `front.rs`, before any route |
//! | `/{code}` | the redirect, or why not | `redirect.rs` |
//! | `/api/v1/…` | the API | `admin` |
//! | `/app/…` | the pages that mails lead to | `app_pages` |
//! | `/`, `/health`, `/robots.txt`, `/favicon.ico` | what they are called | here |
//!
//! The operations listener has its own table in `ops`.

pub mod admin;
pub mod app_pages;
mod caller;
mod client;
mod cookies;
mod cors;
mod csrf;
mod cursor;
mod direct;
mod error;
mod extract;
mod front;
mod headers;
mod hosts;
mod json;
mod limits;
mod listen;
mod openapi;
mod ops;
mod origins;
mod pages;
mod problem;
mod rates;
mod redirect;
mod safety;
mod server;
mod wire;
mod worker;

#[cfg(test)]
mod tests;

use std::rc::Rc;

use actix_http::Request;
use actix_service::{IntoServiceFactory as _, ServiceFactory};
use actix_web::dev::{AppConfig, ServiceRequest, ServiceResponse};
use actix_web::http::header;
use actix_web::middleware::{Next, from_fn};
use actix_web::{
    App, Error, FromRequest, Handler, HttpRequest, HttpResponse, Resource, guard, web,
};

pub use client::TrustedProxies;
pub use cookies::{SessionCookie, has_header_credential};
pub use cursor::{CursorScope, CursorSealer};
pub use direct::{Body, Extent, Parsed, PlainVisit, Refusal, parse as parse_visit};
pub use headers::VisitHeaders;
pub use hosts::Hosts;
pub use limits::RequestId;
pub use listen::{ListenAddresses, Listeners};
pub use ops::{Check, Dependency, OpsConfig, OpsParts, Readiness, Report, RunningOps, serve_ops};
pub use origins::Origins;
pub use pages::{Pages, PagesConfig};
pub use redirect::RedirectConfig;
pub use server::{HttpConfig, HttpParts, RunningServer, serve};
pub use wire::Site;

use headers::prefers_json;
use hosts::requested_host;
use limits::{VISITS, envelope};
use pages::{Page, method_not_allowed};
use worker::Worker;

/// Crawlers may follow short links, whose answers tell them not to index; the API is not for them.
const ROBOTS: &str = "User-agent: *\nDisallow: /api/\n";

/// The state that handlers of this module take.
type OnWorker = web::ThinData<Rc<Worker>>;

/// The actix-web application of one worker: everything that the front service passes on.
fn application(
    worker: Rc<Worker>,
    admin: impl FnOnce(&mut web::ServiceConfig),
) -> impl ServiceFactory<
    Request,
    Config = AppConfig,
    Response = ServiceResponse,
    Error = Error,
    InitError = (),
    Service: 'static,
    Future: 'static,
> {
    let around = worker.clone();
    App::new()
        .app_data(web::ThinData(worker))
        .configure(admin)
        .service(read_only("/", home))
        .service(read_only("/health", health))
        .service(read_only("/robots.txt", robots))
        .service(read_only("/favicon.ico", no_icon))
        .service(web::resource("/{code}").name(VISITS).to(redirect::visit))
        .default_service(web::to(nothing_here))
        .wrap(from_fn(move |request: ServiceRequest, next: Next<_>| {
            envelope(web::ThinData(Rc::clone(&around)), request, next)
        }))
        .into_factory()
}

async fn home(request: HttpRequest, worker: OnWorker) -> HttpResponse {
    match worker.hosts.find(requested_host(request.head())) {
        Some(_) => worker.pages.home(),
        None => nothing_here(request, worker).await,
    }
}

/// The process answers. Probes that want to know more ask the operations listener.
async fn health() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(serde_json::json!({ "status": "ok" }))
}

async fn robots() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "public, max-age=86400"))
        .content_type("text/plain; charset=utf-8")
        .body(ROBOTS)
}

/// Browsers ask for it on every page; a short answer that they keep.
async fn no_icon() -> HttpResponse {
    HttpResponse::NotFound()
        .insert_header((header::CACHE_CONTROL, "public, max-age=86400"))
        .finish()
}

async fn nothing_here(request: HttpRequest, worker: OnWorker) -> HttpResponse {
    worker.pages.answer(Page::NotFound, prefers_json(request.headers()))
}

/// A resource that takes `GET` and `HEAD`, and says so when asked otherwise.
fn read_only<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args, Output = HttpResponse>,
    Args: FromRequest + 'static,
{
    let reads = guard::Any(guard::Get()).or(guard::Head());
    web::resource(path)
        .route(web::route().guard(reads).to(handler))
        .default_service(web::to(|| async { method_not_allowed("GET, HEAD") }))
}
