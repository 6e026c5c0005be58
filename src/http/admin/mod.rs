//! The admin API under `/api/v1`: every route in one table.

pub(super) mod anonymous;
pub(super) mod answer;
pub(super) mod audit;
pub(super) mod auth;
mod budget;
pub(super) mod bulk;
pub(super) mod clicks;
mod csv_lines;
pub(super) mod import;
pub(super) mod invitations;
pub(super) mod keys;
pub(super) mod links;
pub(super) mod lists;
pub(super) mod live;
pub(super) mod me;
pub(super) mod members;
pub(super) mod meta;
pub(super) mod oidc;
pub(super) mod passwords;
pub(super) mod stats;
mod streams;
pub(super) mod tags;

use std::sync::Arc;
use std::time::Duration;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::{Next, from_fn};
use actix_web::{Error, HttpMessage as _, HttpResponse, Resource, web};
use tracing::field::Empty;
use tracing::{Instrument as _, info, info_span};

use super::cors::{self, explained};
use super::csrf::guarded;
use super::cursor::CursorSealer;
use super::error::{ApiError, Denial, ProblemCode};
use super::headers::trace_id;
use super::limits::RequestId;
use super::origins::Origins;
use super::rates::Charges;
use super::wire::Site;
use crate::actors::clicks::ClickSink;
use crate::domain::audit::AuditAction;
use crate::domain::limits::{STORE_WAIT_MUCH_SECS, STORE_WAIT_SECS};
use crate::domain::time::Clock;
use crate::service::access::Actor;
use crate::service::accounts::{Access, Accounts};
use crate::service::anonymous::Anonymous;
use crate::service::denials::Denials;
use crate::service::keys::KeyRing;
use crate::service::limits::Limiter;
use crate::service::links::LinkService;
use crate::service::oidc::Oidc;
use crate::storage::Stores;
use crate::storage::patience::Patience;

/// What the handlers share, in the application's data.
pub struct AdminState {
    pub links: LinkService,
    pub keys: Arc<KeyRing>,
    pub access: Arc<Access>,
    pub accounts: Accounts,
    pub anonymous: Anonymous,
    pub limits: Arc<Limiter>,
    pub oidc: Oidc,
    pub denials: Arc<Denials>,
    pub stores: Stores,
    pub clicks: ClickSink,
    pub cursors: CursorSealer,
    pub site: Site,
    pub clock: Arc<dyn Clock>,
}

/// Where all of this is mounted.
pub const PREFIX: &str = "/api/v1";

/// Where the keys are that access tokens are signed with.
const JWKS: &str = "/.well-known/jwks.json";

/// One path and the methods it takes.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// Below [`PREFIX`].
    pub path: &'static str,
    pub methods: &'static [&'static str],
}

/// Makes the table that people and tests read, and the one that actix-web routes by, from one list.
macro_rules! routes {
    ($($path:literal => $($method:ident $handler:path),+;)+) => {
        /// Every route below [`PREFIX`].
        pub const ROUTES: &[Route] =
            &[$(Route { path: $path, methods: &[$(stringify!($method)),+] }),+];

        fn resources(cfg: &mut web::ServiceConfig) {
            $(
                let resource = web::resource($path);
                $(let resource = routes!(@add resource $method $handler);)+
                cfg.service(refuse_others(resource, &[$(stringify!($method)),+]));
            )+
        }
    };
    (@add $resource:ident GET $handler:path) => {
        $resource.route(web::get().to($handler)).route(web::head().to($handler))
    };
    (@add $resource:ident POST $handler:path) => { $resource.route(web::post().to($handler)) };
    (@add $resource:ident PATCH $handler:path) => { $resource.route(web::patch().to($handler)) };
    (@add $resource:ident DELETE $handler:path) => { $resource.route(web::delete().to($handler)) };
}

// Fixed names come before `{code}`; none of them can be an alias.
routes! {
    "/links" => GET lists::list, POST links::create;
    "/links/bulk" => POST bulk::create;
    "/links/import" => POST import::import;
    "/links/claim" => POST anonymous::claim;
    "/links/{code}" => GET links::fetch, PATCH links::change, DELETE links::remove;
    "/links/{code}/reset-clicks" => POST links::reset_clicks;
    "/links/{code}/stats" => GET stats::of_link;
    "/links/{code}/clicks" => GET clicks::list;
    "/links/{code}/live" => GET live::watch;
    "/stats" => GET stats::of_workspace;
    "/tags" => GET tags::list;
    "/api-keys" => GET keys::list, POST keys::create;
    "/api-keys/{id}" => DELETE keys::revoke;
    "/anonymous/links" => GET anonymous::list;
    "/auth/register" => POST auth::register;
    "/auth/login" => POST auth::log_in;
    "/auth/refresh" => POST auth::refresh;
    "/auth/logout" => POST auth::log_out;
    "/auth/logout-all" => POST auth::log_out_everywhere;
    "/auth/password" => POST passwords::change;
    "/auth/password/forgot" => POST passwords::forgot;
    "/auth/password/reset" => POST passwords::reset;
    "/auth/verify" => POST passwords::verify;
    "/auth/verify/send" => POST passwords::send_verification;
    "/me" => GET me::show, PATCH me::change, DELETE me::erase;
    "/workspaces" => GET members::workspaces, POST members::create_workspace;
    "/workspace" => PATCH members::rename_workspace;
    "/members" => GET members::list;
    "/members/{id}" => PATCH members::change, DELETE members::remove;
    "/invitations" => GET invitations::list, POST invitations::create;
    "/invitations/accept" => POST invitations::accept;
    "/invitations/{id}" => DELETE invitations::withdraw;
    "/auth/oidc/{provider}/login" => GET oidc::login;
    "/auth/oidc/{provider}/callback" => GET oidc::callback;
    "/auth/oidc/{provider}/logout" => POST oidc::logout;
    "/audit-log" => GET audit::list;
    "/openapi.json" => GET meta::openapi;
}

/// Puts the API into an application whose data holds an [`AdminState`]. Pages of these origins may
/// use it from a browser.
pub fn configure(cfg: &mut web::ServiceConfig, origins: &Origins) {
    let scope = web::scope(PREFIX).configure(resources).default_service(web::to(nothing_here));
    let own = origins.clone();
    // The last one is the outermost.
    let scope = scope
        .wrap(from_fn(move |request, next: Next<_>| guarded(own.clone(), request, next)))
        .wrap(cors::rules(origins, methods()))
        .wrap(from_fn(explained))
        .wrap(from_fn(patient))
        .wrap(from_fn(traced));
    cfg.service(scope).service(web::resource(JWKS).route(web::get().to(meta::jwks)));
}

/// Answers for an API that this node does not serve, so that whoever asks tries another node.
pub fn configure_absent(cfg: &mut web::ServiceConfig) {
    async fn absent() -> Result<HttpResponse, ApiError> {
        Err(ApiError::new(ProblemCode::Unavailable, "this node does not serve the API"))
    }
    cfg.service(web::scope(PREFIX).default_service(web::to(absent)));
}

/// Every method that some route takes.
fn methods() -> Vec<Method> {
    let named = ROUTES.iter().flat_map(|route| route.methods);
    named.filter_map(|name| name.parse().ok()).chain([Method::HEAD]).collect()
}

/// Bounds what a request waits for the store, whatever it asks of it.
async fn patient(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let secs = if does_much(&request) { STORE_WAIT_MUCH_SECS } else { STORE_WAIT_SECS };
    let patience = Patience::new(Duration::from_secs(secs));
    patience.of(async move { next.call(request).await }).await
}

/// Whether a request takes more of the store the more there is.
fn does_much(request: &ServiceRequest) -> bool {
    let path = request.path().strip_prefix(PREFIX).unwrap_or_default();
    match *request.method() {
        Method::POST => {
            matches!(path, "/links/bulk" | "/links/import" | "/links/claim")
                || path.ends_with("/reset-clicks")
        }
        Method::GET | Method::HEAD => path.ends_with("/stats"),
        Method::DELETE => path == "/me" || request.query_string().contains("erase_clicks"),
        _ => false,
    }
}

/// Gives what is logged on behalf of a request its id and its trace, and says when it failed. The
/// answer tells of the limits that applied.
async fn traced(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let span = info_span!("api_request", request_id = Empty, trace_id = Empty);
    if let Some(RequestId(id)) = request.extensions().get() {
        span.record("request_id", id.to_str().unwrap_or_default());
    }
    if let Some(id) = trace_id(request.headers()) {
        span.record("trace_id", id);
    }
    async move {
        let mut response = next.call(request).await?;
        let charges = response.request().extensions().get::<Charges>().cloned();
        if let Some(charges) = charges {
            charges.write(response.headers_mut());
        }
        record_denial(&response);
        if response.status().is_server_error() {
            let route = response.request().match_pattern().unwrap_or_default();
            let method = response.request().method().as_str();
            info!(method, route, status = response.status().as_u16(), "an API request failed");
        }
        Ok(response)
    }
    .instrument(span)
    .await
}

/// Has the audit log tell of an answer that refused somebody for want of rights.
fn record_denial(response: &ServiceResponse<impl MessageBody>) {
    let error = response.response().error().and_then(|error| error.as_error::<ApiError>());
    let Some(denial) = error.and_then(ApiError::denial) else { return };
    let request = response.request();
    let (extensions, state) = (request.extensions(), request.app_data::<web::Data<AdminState>>());
    let (Some(actor), Some(state)) = (extensions.get::<Actor>(), state) else { return };
    let Denial { target, detail } = denial;
    let entry = actor.act(state.clock.now()).entry(AuditAction::AccessDenied, target);
    state.denials.record(entry.saying(detail));
}

async fn nothing_here() -> Result<HttpResponse, ApiError> {
    Err(ApiError::not_found())
}

fn refuse_others(resource: Resource, methods: &'static [&'static str]) -> Resource {
    // A route for GET takes HEAD as well.
    let allow: &'static [&'static str] = match methods {
        ["GET"] => &["GET", "HEAD"],
        ["GET", "POST"] => &["GET", "HEAD", "POST"],
        ["GET", "PATCH", "DELETE"] => &["GET", "HEAD", "PATCH", "DELETE"],
        others => others,
    };
    resource.default_service(web::to(move || async move {
        Err::<HttpResponse, _>(ApiError::method_not_allowed(allow))
    }))
}
