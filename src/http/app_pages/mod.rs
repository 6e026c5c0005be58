//! The pages that mails lead to: plain forms that work without any script.
//!
//! Opening one changes nothing and asks no store: programs that look for harmful mail follow every
//! link in it. Only a form that the page itself sends does what the mail was for.

mod form;
mod view;

use std::net::IpAddr;

use actix_web::body::BoxBody;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _, guard, web};

use super::admin::AdminState;
use super::admin::answer::to_the_end;
use super::csrf::check_form;
use super::error::ApiError;
use super::headers::{X_ROBOTS_TAG, noindex, prefers_json};
use super::hosts::requested_host;
use super::origins::Origins;
use super::pages::{HTML, method_not_allowed, policy};
use super::rates::Charges;
use super::{OnWorker, nothing_here};
use crate::domain::password::Password;
use crate::domain::ticket::{Ticket, TicketKind};
use crate::service::accounts::{AccountError, Login, RegistrationDraft};

use form::Form;
use view::{Filled, View};

/// One page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mailed {
    VerifyEmail,
    ResetPassword,
    Join,
}

impl Mailed {
    const ALL: [Self; 3] = [Self::VerifyEmail, Self::ResetPassword, Self::Join];

    /// As `Accounts` writes it into mails.
    const fn path(self) -> &'static str {
        match self {
            Self::VerifyEmail => "/app/verify-email",
            Self::ResetPassword => "/app/reset-password",
            Self::Join => "/app/join",
        }
    }

    const fn kind(self) -> TicketKind {
        match self {
            Self::VerifyEmail => TicketKind::Verification,
            Self::ResetPassword => TicketKind::PasswordReset,
            Self::Join => TicketKind::Invitation,
        }
    }
}

/// A page, and whose forms it takes.
struct Desk {
    page: Mailed,
    origins: Origins,
}

/// Who sends a form, and what limits say of it.
struct Sender {
    client: IpAddr,
    charges: Charges,
}

/// What comes of a request: a page that says what was done, or why not.
enum Outcome {
    Fine(View),
    Refused(ApiError, View),
}

/// Puts the pages into an application whose data holds an [`AdminState`].
pub fn configure(cfg: &mut web::ServiceConfig, origins: &Origins) {
    for page in Mailed::ALL {
        let desk = Desk { page, origins: origins.clone() };
        let reads = guard::Any(guard::Get()).or(guard::Head());
        cfg.service(
            web::resource(page.path())
                .app_data(web::Data::new(desk))
                .route(web::route().guard(reads).to(show))
                .route(web::post().to(take))
                .default_service(web::to(|| async {
                    sealed(method_not_allowed("GET, HEAD, POST"))
                })),
        );
    }
}

/// Shows the form. Whether the text of the mail is in force is found out when it is sent.
async fn show(
    request: HttpRequest,
    worker: OnWorker,
    desk: web::Data<Desk>,
    state: web::Data<AdminState>,
) -> HttpResponse {
    if worker.hosts.find(requested_host(request.head())).is_none() {
        return nothing_here(request, worker).await;
    }
    let query = request.query_string().as_bytes();
    let mut tokens = url::form_urlencoded::parse(query).filter(|(name, _)| name == "token");
    let token = tokens.next().map(|(_, token)| token).filter(|_| tokens.next().is_none());
    let ticket = token.and_then(|token| Ticket::parse(desk.page.kind(), &token));
    let outcome = match ticket {
        Some(ticket) => {
            let filled = Filled::new(desk.page, &ticket, &state.accounts);
            Outcome::Fine(filled.view(&[]))
        }
        None => refused(AccountError::InvalidTicket, View::spent(desk.page)),
    };
    answer(&request, outcome)
}

/// Does what the form is for.
async fn take(
    request: HttpRequest,
    payload: web::Payload,
    worker: OnWorker,
    desk: web::Data<Desk>,
    state: web::Data<AdminState>,
) -> HttpResponse {
    if worker.hosts.find(requested_host(request.head())).is_none() {
        return nothing_here(request, worker).await;
    }
    let client = worker.client(request.peer_addr(), request.headers());
    let charges = Charges::default();
    let sender = Sender { client, charges: charges.clone() };
    let outcome = desk.take(&request, payload, sender, state).await;
    let outcome = outcome.unwrap_or_else(|error| Outcome::Refused(error, View::not_taken()));
    let mut response = answer(&request, outcome);
    charges.write(response.headers_mut());
    response
}

impl Desk {
    /// Kinds: 403 for a form of somebody else's page; 400, 413 and 415 for what is no form.
    async fn take(
        &self,
        request: &HttpRequest,
        payload: web::Payload,
        sender: Sender,
        state: web::Data<AdminState>,
    ) -> Result<Outcome, ApiError> {
        check_form(request.head(), &self.origins)?;
        let mut form = Form::read(request, payload).await?;
        let page = self.page;
        let Some(ticket) = Ticket::parse(page.kind(), &form.take("token")) else {
            return Ok(refused(AccountError::InvalidTicket, View::spent(page)));
        };
        to_the_end(async move { Ok(serve(page, &ticket, form, &sender, &state).await) }).await
    }
}

async fn serve(
    page: Mailed,
    ticket: &Ticket,
    mut form: Form,
    sender: &Sender,
    state: &AdminState,
) -> Outcome {
    let accounts = &state.accounts;
    let mut filled = Filled::new(page, ticket, accounts);
    let password = Password::new(form.take("password"));
    let done = match page {
        Mailed::VerifyEmail => {
            accounts.verify_email(ticket.as_str()).await.map(|()| View::confirmed())
        }
        Mailed::ResetPassword => {
            accounts.reset_password(ticket.as_str(), password).await.map(|()| View::changed())
        }
        Mailed::Join => {
            filled.is_new = form.take("as") == "new";
            filled.email = form.take("email");
            filled.name = form.take("name");
            let email = filled.email.clone();
            let joined = if filled.is_new {
                let (name, invitation) = (Some(filled.name.clone()), None);
                let draft = RegistrationDraft { email, password, name, invitation };
                accounts.join_as_new(ticket.as_str(), draft, sender.client).await
            } else {
                let login = Login { email, password, workspace: None };
                accounts.join(ticket.as_str(), login, sender.client).await
            };
            joined.map(|joined| View::joined(&joined, filled.is_new))
        }
    };
    match done {
        Ok(view) => Outcome::Fine(view),
        Err(cause) => {
            if let AccountError::TooMany { shown, .. } = &cause {
                sender.charges.note(shown);
            }
            let view = match view::sentences(&cause) {
                Some(sentences) => filled.view(&sentences),
                None => View::spent(page),
            };
            refused(cause, view)
        }
    }
}

fn refused(cause: AccountError, view: View) -> Outcome {
    Outcome::Refused(cause.into(), view)
}

/// Puts an outcome on the wire: for programs that ask for JSON a refusal is a problem.
fn answer(request: &HttpRequest, outcome: Outcome) -> HttpResponse {
    let (response, html) = match outcome {
        Outcome::Fine(view) => (HttpResponse::Ok().finish(), view.html(None)),
        Outcome::Refused(error, view) => {
            let response = error.error_response();
            if prefers_json(request.headers()) {
                return sealed(response);
            }
            // Nobody logs in here by what a header could ask a browser for.
            let html = view.html(Some(response.status()));
            (response, html)
        }
    };
    let policy = policy(&html, "'self'");
    let mut response = response.set_body(BoxBody::new(html));
    let headers = response.headers_mut();
    headers.remove(header::WWW_AUTHENTICATE);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(HTML));
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    sealed(response)
}

/// What holds for all answers here: the address has a secret in it.
fn sealed(mut response: HttpResponse) -> HttpResponse {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_ROBOTS_TAG, noindex());
    // No other site learns the address. With `no-referrer` this one would not learn either that a
    // form is its own: without TLS `Origin` alone tells, and browsers would send `null`.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}
