//! `GET /{code}`, the slow path: codes not in memory, query strings, click limits, refusals.
//!
//! Known codes cost what they cost in `front.rs` plus the router. Only a code that this node has
//! not seen waits, and then at most as long as the link table lets a load take.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Instant;

use actix_web::http::header::{self, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use crate::actors::links::LoadError;
use crate::domain::click::{ClickFlags, RawClick};
use crate::domain::code::{Code, LinkKey};
use crate::domain::decide::{Decision, Refusal, Target, decide, exhausted};
use crate::domain::hot::HotLink;
use crate::domain::id::Id;
use crate::domain::link::RedirectStatus;
use crate::domain::location::Location;
use crate::domain::problems::Problems;
use crate::domain::query::{has_parameter, merge_query};
use crate::domain::time::Timestamp;
use crate::domain::units::Span;
use crate::http::headers::{VisitHeaders, X_ROBOTS_TAG, noindex, prefers_json, private_no_store};
use crate::http::hosts::requested_host;
use crate::http::pages::{Page, method_not_allowed};
use crate::http::rates;
use crate::http::worker::{Worker, nanos_since};
use crate::service::limits::{Allowance, Measured, VisitLimit};
use crate::telemetry::metrics::Outcome;

/// Longest time a permanent redirect may be kept by a browser, in seconds: beyond a day, edits
/// would arrive too late to be of use.
const PERMANENT_SECS_MAX: u64 = 86_400;
/// How QR codes mark the visits they bring. Not passed on.
const QR_PARAMETER: &str = "qr=1";
/// How often a visit looks at a limited link whose clicks others drew before it.
const LOOKS_MAX: usize = 10;

/// `[redirect]`: how visits are answered.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedirectConfig {
    /// How long browsers may keep a 301 or 308, 0s to 1d. Visits from their cache are not counted
    /// and an edit arrives only after it.
    pub permanent_max_age: Span,
    /// A visit with this query parameter is not counted; the parameter is not passed on. One to
    /// fifty of `A-Z a-z 0-9 - _`.
    pub no_track_param: String,
    /// Keeps nothing about visitors who send `DNT: 1` or `Sec-GPC: 1`; their clicks count.
    pub honour_privacy_signals: bool,
}

impl Default for RedirectConfig {
    fn default() -> Self {
        Self {
            permanent_max_age: Span::from_secs(90),
            no_track_param: "shunt-no-track".to_owned(),
            honour_privacy_signals: true,
        }
    }
}

impl RedirectConfig {
    /// Adds a line to `problems` for every value that redirects could not honour.
    pub fn check(&self, problems: &mut Problems) {
        let longest = Span::from_secs(PERMANENT_SECS_MAX);
        problems.range(
            "redirect.permanent_max_age",
            self.permanent_max_age,
            Span::from_secs(0)..=longest,
        );
        if Code::parse(self.no_track_param.as_bytes()).is_err() {
            problems.add(format!(
                "`redirect.no_track_param` is {:?}; it must be 1 to 50 of A-Z, a-z, 0-9, - and _",
                self.no_track_param
            ));
        }
    }
}

/// The configuration as redirects use it.
pub(crate) struct RedirectRules {
    config: RedirectConfig,
    permanent: HeaderValue,
}

impl RedirectRules {
    pub(crate) fn new(config: RedirectConfig) -> Self {
        let seconds = config.permanent_max_age.0.as_secs();
        let permanent = HeaderValue::from_str(&format!("private, max-age={seconds}"))
            .expect("words and digits are a header value");
        Self { config, permanent }
    }

    /// `Cache-Control` of a redirect: only a permanent one may be kept, and by the browser alone.
    pub(crate) fn caching(&self, status: RedirectStatus) -> HeaderValue {
        if status.is_permanent() { self.permanent.clone() } else { private_no_store() }
    }

    /// Flags of clicks that mean something: without honour for privacy signals, all but those.
    pub(crate) fn flags_kept(&self) -> ClickFlags {
        let ignored = if self.config.honour_privacy_signals { 0 } else { ClickFlags::PRIVATE.0 };
        ClickFlags(!ignored)
    }
}

/// Answers a visit with the link's destination, or with the page that says why not.
pub(crate) async fn visit(request: HttpRequest, worker: web::ThinData<Rc<Worker>>) -> HttpResponse {
    let counts = match *request.method() {
        Method::GET => true,
        Method::HEAD => false,
        _ => return method_not_allowed("GET, HEAD"),
    };
    if !worker.redirects {
        return worker.pages.answer(Page::Unavailable, prefers_json(request.headers()));
    }
    let started = Instant::now();
    let visit = Visit::new(&worker, &request, counts);
    let (outcome, response) = visit.answer().await;
    if let Some(outcome) = outcome {
        worker.stats.count(outcome);
        worker.stats.observe(nanos_since(started), 1);
    }
    visit.tell_limit(response)
}

/// What `look` finds out while it may look at the link.
enum Verdict {
    Answer(HttpResponse),
    Refused(Refusal),
    TooMany,
}

/// The clicks that this node had of this limited link are drawn; others may have more.
struct Dry(Id);

type Looked = Result<Verdict, Dry>;

/// One visit on the slow path.
struct Visit<'a> {
    worker: &'a Worker,
    request: &'a HttpRequest,
    headers: VisitHeaders<'a>,
    query: &'a str,
    /// The visit is a click if the link lets it pass.
    counts: bool,
    now: Timestamp,
    /// What a limit said of the visit, if one applied.
    measured: Cell<Option<Measured>>,
}

impl<'a> Visit<'a> {
    fn new(worker: &'a Worker, request: &'a HttpRequest, is_get: bool) -> Self {
        let query = request.uri().query().unwrap_or_default();
        let mut headers = VisitHeaders::read(request.headers());
        if query.split('&').any(|pair| pair == QR_PARAMETER) {
            headers.flags = headers.flags.with(ClickFlags::QR);
        }
        let untracked =
            !query.is_empty() && has_parameter(query, &worker.rules.config.no_track_param);
        let counts = is_get && !untracked;
        let (now, measured) = (worker.clock.now(), Cell::new(None));
        Self { worker, request, headers, query, counts, now, measured }
    }

    /// `None` for a visit that was neither let pass nor refused for what the link is.
    async fn answer(&self) -> (Option<Outcome>, HttpResponse) {
        let Some(key) = self.key() else { return self.page(Outcome::Unknown, Page::NotFound) };
        for _ in 0..LOOKS_MAX {
            let Dry(link) = match self.find(key).await {
                Ok(Some((outcome, Ok(verdict)))) => return self.settle(outcome, verdict),
                Ok(Some((_, Err(dry)))) => dry,
                Ok(None) => return self.unknown(),
                // Something is there that must not be served; asking again will not change it.
                Err(error) if error.is_damage() => {
                    return self.settle(Outcome::Loaded, self.unservable());
                }
                Err(error) => return self.unavailable(&error),
            };
            if let Err(error) = self.worker.links.replenish(link, self.now).await {
                return self.unavailable(&error);
            }
        }
        self.unavailable(&LoadError::Overloaded)
    }

    /// Looks at the link in memory, or loads it.
    async fn find(&self, key: LinkKey) -> Result<Option<(Outcome, Looked)>, LoadError> {
        let links = &self.worker.links;
        let in_memory = links.read(key.domain, key.code.as_bytes(), |link| self.look(link));
        if let Some(looked) = in_memory {
            return Ok(Some((self.worker.hit_outcome(), looked)));
        }
        let loaded = links.load(key, |link| self.look(link)).await?;
        Ok(loaded.map(|looked| (Outcome::Loaded, looked)))
    }

    fn unavailable(&self, error: &LoadError) -> (Option<Outcome>, HttpResponse) {
        tracing::debug!(%error, "a link could not be loaded");
        self.page(Outcome::Unavailable, Page::Unavailable)
    }

    /// What the visit is for. `None`: nothing that can exist, so nobody needs to look for it.
    fn key(&self) -> Option<LinkKey> {
        let domain = self.worker.hosts.find(requested_host(self.request.head()))?;
        // The raw path: an escaped letter is not the letter, codes are compared byte for byte.
        let segment = self.request.uri().path().strip_prefix('/')?;
        let code = Code::parse(segment.as_bytes()).ok()?;
        Some(LinkKey::new(domain, code))
    }

    fn look(&self, link: &HotLink) -> Looked {
        let decision = decide(link, self.now);
        let is_charged = self.measured.get().is_some();
        if matches!(decision, Decision::Go(_))
            && !is_charged
            && !self.passes(self.worker.limits.redirects.as_ref())
        {
            return Ok(Verdict::TooMany);
        }
        let decision = match decision {
            Decision::Go(target) if target.counts && !self.draws(link) => {
                let allowance = link.rare().and_then(|rare| rare.allowance.as_deref());
                if allowance.is_some_and(|allowance| !allowance.is_spent(self.now)) {
                    return Err(Dry(link.id()));
                }
                exhausted(link)
            }
            decision => decision,
        };
        Ok(match decision {
            Decision::Go(target) => self.go(link, target),
            Decision::Refuse(Refusal::Unservable) => {
                tracing::debug!(link = %link.id(), "the stored destination may not be served");
                self.unservable()
            }
            Decision::Refuse(refusal) => Verdict::Refused(refusal),
        })
    }

    fn unservable(&self) -> Verdict {
        self.worker.metrics.unservable_visits.inc();
        Verdict::Refused(Refusal::Unservable)
    }

    /// Takes one click from the link's allowance, if the visit is one and the link has one. False:
    /// another visitor had the last.
    fn draws(&self, link: &HotLink) -> bool {
        let allowance = link.rare().and_then(|rare| rare.allowance.as_deref());
        let Some(allowance) = allowance.filter(|_| self.counts) else { return true };
        // A bot is no click, so it takes none: the limit and `clicks` must tell the same.
        self.is_bot() || allowance.draw()
    }

    /// Whether the counters leave this visit out. They know of it what the journal keeps.
    fn is_bot(&self) -> bool {
        let flags = self.headers.flags.only(self.worker.rules.flags_kept());
        let private = flags.has(ClickFlags::PRIVATE);
        !private && self.worker.is_bot(self.headers.user_agent)
    }

    fn go(&self, link: &HotLink, target: Target<'_>) -> Verdict {
        let forwards = link.forward_query() && target.counts && !self.query.is_empty();
        let location = if forwards { self.merged(target.location) } else { None };
        let location = location.as_deref().map_or(target.location, Location::of);
        let Some(location) = self.worker.header_value(&location.parts()) else {
            return Verdict::Refused(Refusal::Unservable);
        };
        if self.counts && target.counts {
            self.record(link);
        }
        let answer = HttpResponse::build(status_code(target.status))
            .insert_header((header::LOCATION, location))
            .insert_header((header::CACHE_CONTROL, self.worker.rules.caching(target.status)))
            .insert_header((X_ROBOTS_TAG, noindex()))
            .finish();
        Verdict::Answer(answer)
    }

    /// Charges the visit to a limit, if there is one. False: it is too much.
    fn passes(&self, limit: Option<&VisitLimit>) -> bool {
        let Some(limit) = limit else { return true };
        let measured = limit.take(self.client());
        self.measured.set(Some(measured));
        if !measured.verdict.allowed {
            limit.count_refusal();
        }
        measured.verdict.allowed
    }

    /// Adds what a limit said.
    fn tell_limit(&self, mut response: HttpResponse) -> HttpResponse {
        if let Some(measured) = self.measured.get() {
            let headers = response.headers_mut();
            rates::write(headers, &[measured]);
            if !measured.verdict.allowed {
                let seconds = Allowance(vec![measured]).retry_after_secs();
                headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            }
        }
        response
    }

    fn client(&self) -> IpAddr {
        self.worker.client(self.request.peer_addr(), self.request.headers())
    }

    fn record(&self, link: &HotLink) {
        let address = self.client();
        let (link, version, query) = (link.id(), link.version(), self.query.as_bytes());
        let click = self.headers.click(address);
        self.worker.record(&mut RawClick { at: self.now, link, version, query, ..click });
    }

    /// The location with what the visitor brought along.
    fn merged(&self, location: Location<'_>) -> Option<String> {
        let location = &String::from_utf8(location.to_vec()).ok()?;
        let no_track = &self.worker.rules.config.no_track_param;
        if !self.headers.flags.has(ClickFlags::QR) {
            return Some(merge_query(location, self.query, no_track));
        }
        let others: Vec<&str> =
            self.query.split('&').filter(|pair| *pair != QR_PARAMETER).collect();
        Some(merge_query(location, &others.join("&"), no_track))
    }

    fn settle(&self, outcome: Outcome, verdict: Verdict) -> (Option<Outcome>, HttpResponse) {
        let refusal = match verdict {
            Verdict::Answer(response) => return (Some(outcome), response),
            Verdict::Refused(refusal) => refusal,
            Verdict::TooMany => return (None, self.page(outcome, Page::TooMany).1),
        };
        match refusal {
            Refusal::Unknown => self.unknown(),
            Refusal::Expired => self.page(Outcome::Gone, Page::Expired),
            Refusal::Exhausted => self.page(Outcome::Gone, Page::Exhausted),
            Refusal::Disabled => self.page(Outcome::Gone, Page::Disabled),
            Refusal::Archived => self.page(Outcome::Gone, Page::Archived),
            Refusal::Unservable => self.page(Outcome::Gone, Page::Disabled),
            Refusal::Blocked => self.page(Outcome::Blocked, Page::Blocked),
        }
    }

    /// Nothing at what could have been a code: a guess, perhaps.
    fn unknown(&self) -> (Option<Outcome>, HttpResponse) {
        let passes = self.passes(self.worker.limits.unknown_codes.as_ref());
        self.page(Outcome::Unknown, if passes { Page::NotFound } else { Page::TooMany })
    }

    fn page(&self, outcome: Outcome, page: Page) -> (Option<Outcome>, HttpResponse) {
        let as_json = prefers_json(self.request.headers());
        (Some(outcome), self.worker.pages.answer(page, as_json))
    }
}

pub(crate) fn status_code(status: RedirectStatus) -> StatusCode {
    match status {
        RedirectStatus::MovedPermanently => StatusCode::MOVED_PERMANENTLY,
        RedirectStatus::Found => StatusCode::FOUND,
        RedirectStatus::SeeOther => StatusCode::SEE_OTHER,
        RedirectStatus::TemporaryRedirect => StatusCode::TEMPORARY_REDIRECT,
        RedirectStatus::PermanentRedirect => StatusCode::PERMANENT_REDIRECT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_permanent_redirects_may_be_kept_and_only_by_the_browser() {
        let rules = RedirectRules::new(RedirectConfig::default());
        for status in RedirectStatus::ALL {
            let expected =
                if status.is_permanent() { "private, max-age=90" } else { "private, no-store" };
            assert_eq!(rules.caching(*status), expected);
        }
    }

    #[test]
    fn every_redirect_status_is_sent_as_its_own_number() {
        for status in RedirectStatus::ALL {
            assert_eq!(status_code(*status).as_u16(), status.as_u16());
        }
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let config = RedirectConfig {
            permanent_max_age: Span::from_secs(PERMANENT_SECS_MAX + 1),
            no_track_param: "no track".to_owned(),
            honour_privacy_signals: true,
        };
        let mut problems = Problems::default();
        config.check(&mut problems);
        assert_eq!(problems.sentences().len(), 2);
        assert!(problems.sentences()[0].contains("`redirect.permanent_max_age`"));
        assert!(problems.sentences()[1].contains("`redirect.no_track_param`"));
        let mut none = Problems::default();
        RedirectConfig::default().check(&mut none);
        assert!(none.is_empty());
    }
}
