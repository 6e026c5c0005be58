//! `/links/{code}/live`: clicks as they happen, as Server-Sent Events.
//!
//! A stream ends when the server stops, when its key or its link is gone, or when the client hangs
//! up. It is sampled: of what is beyond [`EVENTS_PER_SEC_MAX`] only the number is told.

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_server::GracefulShutdownSignal;
use actix_web::http::header;
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::stream;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tracing::warn;

use super::AdminState;
use super::stats::own_link;
use super::streams::send_stream;
use crate::actors::clicks::Watch;
use crate::domain::api_key::Scope;
use crate::domain::event::ClickEvent;
use crate::domain::id::Id;
use crate::domain::link::LinkStatus;
use crate::http::OnWorker;
use crate::http::direct::Life;
use crate::http::error::{ApiError, ProblemCode};
use crate::http::extract::{Caller, Parameters};
use crate::http::openapi::{AbsenceProblems, CommonProblems, shapes};
use crate::http::wire::ClickView;
use crate::service::access::Grant;
use crate::service::stats::Destinations;

/// Clicks of one stream and second that are told one by one.
const EVENTS_PER_SEC_MAX: u32 = 50;
/// How often a stream looks whether it may go on, and tells what it left out.
const TICK: Duration = Duration::from_secs(1);
/// Ticks between two looks at the link.
const TICKS_PER_LINK_CHECK: u32 = 5;
/// Ticks without a word after which a comment keeps the connection open.
const TICKS_PER_HEARTBEAT: u32 = 15;
/// How long a client should wait before it connects again.
const RETRY_MS: u32 = 3_000;

/// Watch the clicks of a link
#[utoipa::path(
    get, path = "/api/v1/links/{code}/live", tag = "statistics", operation_id = "watch_clicks",
    params(shapes::CodeParameters, shapes::DomainParameter),
    responses(
        (status = 200, description = "Server-Sent Events: `click`, whose data is a `Click`, one \
            for each click as it happens; `skipped`, whose data has the number of `clicks` that \
            were left out, when there are more than 50 in a second",
            body = String, content_type = "text/event-stream"),
        CommonProblems, AbsenceProblems,
    ),
)]
pub(in crate::http) async fn watch(
    caller: Caller,
    request: HttpRequest,
    worker: OnWorker,
    state: web::Data<AdminState>,
) -> Result<HttpResponse, ApiError> {
    caller.require(Scope::StatsRead)?;
    let mut parameters = Parameters::of(&request)?;
    let link = own_link(&caller, &request, &state, &mut parameters).await?;
    parameters.only(&["domain"]);
    parameters.check()?;
    let Some(watch) = state.clicks.watch(link.id) else {
        let detail = "clicks are not counted, or too many watch already";
        return Err(ApiError::new(ProblemCode::Unavailable, detail));
    };
    let live = Live {
        watch,
        stopping: worker.stopping.clone(),
        grant: *caller.grant(),
        link: link.id,
        destinations: Destinations::of(&state.stores, link).await?,
        state,
        ticks: ticks(),
        n_ticks: 0,
        silent_ticks: 0,
        n_sent: 0,
        n_skipped: 0,
    };
    if let Some(life) = request.conn_data::<Rc<Life>>() {
        life.end_with_client();
    }
    let mut response = HttpResponse::Ok();
    response.content_type("text/event-stream");
    response.insert_header((header::CACHE_CONTROL, "no-store"));
    // A proxy that gathers answers would hold the events back.
    response.insert_header(("X-Accel-Buffering", "no"));
    let greeting = Bytes::from(format!("retry: {RETRY_MS}\n\n"));
    let events = stream::unfold((live, Some(greeting)), async |(mut live, greeting)| {
        let chunk = match greeting {
            Some(greeting) => greeting,
            None => live.next().await?,
        };
        Some((Ok::<_, Infallible>(chunk), (live, None)))
    });
    Ok(send_stream(&request, response, events))
}

fn ticks() -> Interval {
    let mut ticks = interval_at(Instant::now() + TICK, TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// One stream.
struct Live {
    watch: Watch,
    stopping: GracefulShutdownSignal,
    state: web::Data<AdminState>,
    grant: Grant,
    link: Id,
    destinations: Destinations,
    ticks: Interval,
    n_ticks: u32,
    /// Ticks since the last word.
    silent_ticks: u32,
    /// Since the last tick.
    n_sent: u32,
    /// Since it was last told.
    n_skipped: u64,
}

/// What a moment brought.
enum Moment {
    Click(Box<ClickEvent>),
    Tick,
    End,
}

impl Live {
    /// The next words; nothing at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            match self.moment().await {
                Moment::End => return None,
                Moment::Click(_) if self.n_sent >= EVENTS_PER_SEC_MAX => self.n_skipped += 1,
                Moment::Click(click) => {
                    self.n_sent += 1;
                    let words = self.click(*click).await;
                    return Some(self.say(words));
                }
                Moment::Tick => {
                    self.n_sent = 0;
                    if !self.may_go_on().await {
                        return None;
                    }
                    if let Some(words) = self.tick() {
                        return Some(self.say(words));
                    }
                }
            }
        }
    }

    async fn moment(&mut self) -> Moment {
        tokio::select! {
            biased;
            () = self.stopping.notified() => Moment::End,
            _ = self.ticks.tick() => Moment::Tick,
            click = self.watch.next() => match click {
                Some(click) => Moment::Click(Box::new(Arc::unwrap_or_clone(click))),
                None => Moment::End,
            },
        }
    }

    fn say(&mut self, words: String) -> Bytes {
        self.silent_ticks = 0;
        Bytes::from(words)
    }

    /// What was left out, or a sign of life.
    fn tick(&mut self) -> Option<String> {
        self.silent_ticks += 1;
        self.n_skipped += self.watch.missed();
        if self.n_skipped > 0 {
            let clicks = std::mem::take(&mut self.n_skipped);
            return Some(format!("event: skipped\ndata: {{\"clicks\":{clicks}}}\n\n"));
        }
        (self.silent_ticks >= TICKS_PER_HEARTBEAT).then(|| ":\n\n".to_owned())
    }

    async fn may_go_on(&mut self) -> bool {
        if !self.state.access.is_in_force(&self.grant) {
            return false;
        }
        self.n_ticks = self.n_ticks.wrapping_add(1);
        if !self.n_ticks.is_multiple_of(TICKS_PER_LINK_CHECK) {
            return true;
        }
        match self.state.stores.links.fetch_all(&[self.link]).await {
            Ok(links) => links.iter().any(|link| {
                link.workspace == self.grant.workspace && link.status != LinkStatus::Deleted
            }),
            // A store that is away says nothing about the link.
            Err(_) => true,
        }
    }

    async fn click(&mut self, click: ClickEvent) -> String {
        let learned = self.destinations.learn(&self.state.stores, click.version).await;
        if let Err(error) = learned {
            warn!(%error, "a click is shown with the destination that was known before");
        }
        let (id, version) = (click.id, click.version);
        let view = ClickView::new(click, self.destinations.at(version));
        let data = serde_json::to_string(&view).unwrap_or_default();
        format!("event: click\nid: {id}\ndata: {data}\n\n")
    }
}
