//! `shunt serve`: builds the node, runs it, drains it.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use actix_web::web;
use anyhow::{Context, Result, anyhow, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use crate::actors::changes::{Coherence, Follower, watch};
use crate::actors::clicks::{ClickSink, ClickSinkParts, keep_house, remove_old};
use crate::actors::links::{LinkTable, LinkTableParts};
use crate::app::open::JOURNAL_FOLDER;
use crate::app::people::{self, People};
use crate::app::stop::{blocking, within};
use crate::app::{Opened, Sharing, descriptors, disk, health, open};
use crate::config::Settings;
use crate::domain::day::day_of;
use crate::domain::destination::DestinationPolicy;
use crate::http::admin::{self, AdminState};
use crate::http::{
    CursorSealer, HttpParts, Listeners, OpsParts, Origins, Pages, Readiness, RunningOps,
    RunningServer, Site, app_pages, serve as serve_http, serve_ops,
};
use crate::service::blocked_hosts;
use crate::service::codes::CodeMaker;
use crate::service::denials::Denials;
use crate::service::keys::KeyRing;
use crate::service::limits::{Limiter, LimiterParts, SinceStart};
use crate::service::links::{LinkService, LinkServiceParts};
use crate::service::mail::Outbox;
use crate::service::node::Role;
use crate::service::validate::Rules;
use crate::storage::memory_buckets::MemoryBuckets;
use crate::storage::patience;
use crate::storage::redis::SharedBuckets;
use crate::telemetry::logging;
use crate::telemetry::metrics::FeedLabel;

/// Readiness waits no longer for a journal to be counted again. A spool of 2 GiB takes some
/// seconds.
const RECOVERY_WAIT_MAX: Duration = Duration::from_secs(30);

/// How long a database that let this node in may hesitate before a start gives up.
const HESITATION_MAX: Duration = Duration::from_secs(30);

// What each step of the stop may take; after that the process ends without the rest of them.
/// Beyond `http.drain_delay` and `http.shutdown_timeout`, which is what requests may take.
const SERVER_STOP_MARGIN: Duration = Duration::from_secs(15);
const LINKS_STOP_MAX: Duration = Duration::from_secs(10);
/// Of mails that a server does not take by then, people have to ask for another.
const MAILS_DRAIN_MAX: Duration = Duration::from_secs(5);
const KEYS_FLUSH_MAX: Duration = Duration::from_secs(5);
const DENIALS_FLUSH_MAX: Duration = Duration::from_secs(5);
/// What follows changes that were answered: more than a statement whose answer was lost takes, and
/// the next one.
const FOLLOW_UP_MAX: Duration = Duration::from_secs(8);
/// More than a drain waits for a store that answers.
const CLICKS_DRAIN_MAX: Duration = Duration::from_secs(20);
const OPS_STOP_MAX: Duration = Duration::from_secs(5);
/// Writing the log of the store back is most of it.
const STORE_CLOSE_MAX: Duration = Duration::from_secs(20);

/// Serves until SIGTERM or SIGINT, then drains. Fails when the node cannot be built.
pub fn serve(settings: Settings) -> Result<()> {
    logging::install(&settings.log).map_err(anyhow::Error::msg).context("starting the log")?;
    descriptors::raise_limit();
    actix_rt::System::new().block_on(run(settings))
}

/// What asks the process to end.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn listen() -> Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("listening for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("listening for SIGINT")?,
        })
    }

    async fn told(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => info!("stopping on SIGTERM"),
            _ = self.interrupt.recv() => info!("stopping on SIGINT"),
        }
    }
}

/// Everything that runs, to be stopped in the order that loses nothing.
struct Node {
    opened: Opened,
    clicks: ClickSink,
    links: LinkTable,
    keys: Arc<KeyRing>,
    outbox: Outbox,
    denials: Arc<Denials>,
    server: RunningServer,
    ops: RunningOps,
    readiness: Readiness,
    redirects: bool,
    /// How long requests may go on during a stop.
    requests_max: Duration,
}

async fn run(settings: Settings) -> Result<()> {
    // A signal that comes while the node gets ready must not find the system's own handler.
    let mut signals = StopSignals::listen()?;
    let mut node = patience::persistent(HESITATION_MAX, Node::build(&settings)).await?;
    let stopped = tokio::select! {
        () = signals.told() => Ok(()),
        stopped = node.live() => stopped,
    };
    node.drain().await;
    stopped
}

impl Node {
    async fn build(settings: &Settings) -> Result<Self> {
        let blocked = blocked_hosts::read(&settings.links)
            .context("reading the hosts that no link may lead to")?;
        let opened = open(settings, Sharing::Alone).await?;
        // The key is in the store from here on, and whatever fails below, no later start shows it.
        if let Some(key) = &opened.owner_key {
            show_owner_key(key.as_str());
        }
        let listeners = Listeners::bind(&settings.http)
            .context("taking `http.listen`; choose a free address there, or stop what has it")?;
        let policy = DestinationPolicy {
            own_hosts: listeners.hosts().names(),
            allow_private: settings.destinations.allow_private,
            blocked: Arc::new(blocked),
        };
        let clicks = start_clicks(settings, &opened).await?;
        let links = start_links(settings, &opened, &clicks, &policy);
        let keys = KeyRing::open(
            opened.secrets.api_keys,
            Arc::clone(&opened.stores.accounts),
            Arc::clone(&opened.ids),
            Arc::clone(&opened.clock),
        );
        let keys = Arc::new(keys.await.context("reading the API keys")?);
        actix_rt::spawn(Arc::clone(&keys).follow());
        follow_changes(settings, &opened, &links);
        let unrecorded = opened.metrics.denials_unrecorded.clone();
        let denials = Arc::new(Denials::new(Arc::clone(&opened.stores.audit), unrecorded));
        actix_rt::spawn(Arc::clone(&denials).follow());

        let limits = open_limits(settings, &opened).await.context("reading the workspaces")?;

        let readiness = Readiness::default();
        let parts = OpsParts {
            metrics: Arc::clone(&opened.metrics),
            readiness: readiness.clone(),
            dependencies: health::dependencies(&opened, &clicks),
            actors: health::actors(&links, &clicks),
        };
        let ops = serve_ops(&settings.ops, parts)
            .context("taking `ops.listen`; choose a free address there, or stop what has it")?;
        let site = Site::of(listeners.public_url());
        let actors = Actors {
            links: &links,
            clicks: &clicks,
            keys: &keys,
            denials: &denials,
            limits: &limits,
        };
        let people = people::start(settings, &opened, &site, &actors).await?;
        let outbox = people.outbox.clone();
        let rules = Rules { policy, codes: settings.codes.clone(), domain: site.domain.clone() };
        let state = admin_state(&opened, site, &actors, people, rules);
        let serves_api = settings.node.plays(Role::Api);
        let origins = Origins::new(listeners.public_url(), &settings.http.cors_origins);
        let server = serve_http(HttpParts {
            config: settings.http.clone(),
            redirect: settings.redirect.clone(),
            listeners,
            pages: Pages::load(&settings.pages)
                .map_err(|problems| anyhow!("rendering the pages:\n{problems}"))?,
            limits: limits.visits(),
            links: links.clone(),
            clicks: settings.clicks.enabled.then(|| clicks.clone()),
            metrics: Arc::clone(&opened.metrics),
            clock: Arc::clone(&opened.clock),
            readiness: readiness.clone(),
            redirects: settings.node.plays(Role::Redirect),
            admin: move |app: &mut web::ServiceConfig| {
                if !serves_api {
                    return admin::configure_absent(app);
                }
                app.app_data(state.clone());
                admin::configure(app, &origins);
                app_pages::configure(app, &origins);
            },
        })
        .context("starting the public listener")?;
        let requests_max = settings.http.drain_delay.0 + settings.http.shutdown_timeout.0;
        Ok(Self {
            opened,
            clicks,
            links,
            keys,
            denials,
            outbox,
            server,
            ops,
            readiness,
            redirects: settings.node.plays(Role::Redirect),
            requests_max,
        })
    }

    /// Redirects are served from the first moment; readiness waits for the hottest links and for
    /// the clicks that an earlier process left, which links with a click limit need.
    async fn warm(&self) -> Result<()> {
        if self.redirects {
            let warmed = patience::persistent(HESITATION_MAX, self.links.warm()).await;
            warmed.context("loading the hottest links")?;
        }
        if tokio::time::timeout(RECOVERY_WAIT_MAX, self.clicks.recovered()).await.is_err() {
            warn!("clicks of an earlier process are still being counted; serving all the same");
        }
        self.readiness.set_ready();
        Ok(())
    }

    /// Tells people and programs that the node is up; after a first start, what to do next.
    fn announce(&self) {
        let (http, ops) = (list(self.server.addresses()), list(self.ops.addresses()));
        if self.opened.owner_key.is_some() {
            show_first_steps(self.server.public_url().as_str());
        }
        info!(http, ops, "ready");
    }

    /// Serves until the listener breaks, or another process has the number of this node.
    async fn live(&mut self) -> Result<()> {
        self.warm().await?;
        self.announce();
        let node = self.opened.node.clone();
        tokio::select! {
            error = self.server.failed() => Err(error).context("the public listener broke"),
            () = node.keep() => bail!(
                "the database was away for so long that another process took this node's number, \
                 {}; a new start gets another one, and counts what waits in the journal",
                node.number
            ),
        }
    }

    /// Stops accepting, lets requests finish, stores what was counted, closes the store. Ends the
    /// process itself when a step hangs.
    async fn drain(self) {
        let server_max = self.requests_max + SERVER_STOP_MARGIN;
        within("requests finish", server_max, self.server.stop()).await;
        within("links are written", LINKS_STOP_MAX, self.links.stop()).await;
        let flushed = within("uses of API keys are stored", KEYS_FLUSH_MAX, self.keys.flush());
        if let Err(error) = flushed.await {
            warn!(%error, "the last uses of API keys were not stored");
        }
        if !self.outbox.drain(MAILS_DRAIN_MAX).await {
            warn!("mails that were on their way are lost");
        }
        let flushed = within("refusals are recorded", DENIALS_FLUSH_MAX, self.denials.flush());
        if let Err(error) = flushed.await {
            warn!(%error, "the last refusals are not in the audit log");
        }
        self.opened.finish(FOLLOW_UP_MAX).await;
        within("clicks are stored", CLICKS_DRAIN_MAX, self.clicks.drain()).await;
        within("the operations listener closes", OPS_STOP_MAX, self.ops.stop()).await;
        let opened = self.opened;
        within("the node number is given back", OPS_STOP_MAX, opened.node.release()).await;
        within("the store closes", STORE_CLOSE_MAX, blocking(|| opened.close())).await;
        info!("stopped");
    }
}

async fn start_clicks(settings: &Settings, opened: &Opened) -> Result<ClickSink> {
    if settings.clicks.enabled {
        disk::warn_of_copy_on_write(&settings.storage.path);
    }
    // None are destroyed yet: the journal may hold clicks of earlier days.
    let keys = match settings.clicks.enabled {
        true => {
            let today = day_of(opened.clock.now());
            opened.stores.clicks.visitor_keys(0, today).await.unwrap_or_else(|error| {
                warn!(%error, "the keys of visitors cannot be had yet; they are asked for again");
                Vec::new()
            })
        }
        false => {
            let (store, clock) = (Arc::clone(&opened.stores.clicks), Arc::clone(&opened.clock));
            actix_rt::spawn(keep_house(store, clock));
            Vec::new()
        }
    };
    if settings.node.plays(Role::Worker) {
        let (store, clock) = (Arc::clone(&opened.stores.clicks), Arc::clone(&opened.clock));
        actix_rt::spawn(remove_old(store, settings.clicks.clone(), clock));
    }
    let parts = ClickSinkParts {
        config: settings.clicks.clone(),
        folder: settings.storage.path.join(JOURNAL_FOLDER),
        node: opened.node.number,
        store: Arc::clone(&opened.stores.clicks),
        metrics: Arc::clone(&opened.metrics),
        clock: Arc::clone(&opened.clock),
        keys,
    };
    ClickSink::start(parts).context("opening the click journal")
}

fn start_links(
    settings: &Settings,
    opened: &Opened,
    clicks: &ClickSink,
    policy: &DestinationPolicy,
) -> LinkTable {
    LinkTable::start(LinkTableParts {
        config: settings.links.clone(),
        store: Arc::clone(&opened.stores.links),
        clicks: Arc::new(clicks.clone()),
        policy: policy.clone(),
        sealer: opened.sealer.clone(),
        metrics: Arc::clone(&opened.metrics),
        sole_writer: opened.cluster.is_none(),
        grants: opened.cluster.as_ref().map(|cluster| Arc::clone(&cluster.grants)),
    })
}

/// Takes over what other nodes change.
fn follow_changes(settings: &Settings, opened: &Opened, links: &LinkTable) {
    let Some(cluster) = &opened.cluster else { return };
    let metrics = &opened.metrics;
    let coherence = Arc::new(Coherence::new(Arc::new(SinceStart::default())));
    let (told, age) = (Arc::clone(&coherence), metrics.feed_age_milliseconds.clone());
    let is_coherent = metrics.feed_coherent.clone();
    metrics.before_scrape(move || {
        age.set(i64::try_from(told.age_ms()).unwrap_or(i64::MAX));
        is_coherent.set(told.is_coherent().into());
    });
    for (name, feed) in &cluster.feeds {
        let label = FeedLabel { feed: name };
        let follower = Follower {
            links: links.clone(),
            store: Arc::clone(&opened.stores.links),
            recent: Arc::clone(&cluster.recent),
            coherence: Arc::clone(&coherence),
            clock: Arc::clone(&opened.clock),
            heard: metrics.changes_heard.get_or_create(&label).clone(),
            delay: metrics.feed_delay.get_or_create(&label).clone(),
        };
        actix_rt::spawn(follower.follow(name, Arc::clone(feed)));
    }
    actix_rt::spawn(watch(coherence, links.clone(), settings.links.stale_max.0));
}

async fn open_limits(settings: &Settings, opened: &Opened) -> Result<Arc<Limiter>> {
    let metrics = &opened.metrics;
    let buckets = Arc::new(MemoryBuckets::new(metrics.rate_limit_unkept.clone()));
    let (kept, gauge) = (Arc::clone(&buckets), metrics.rate_limit_buckets.clone());
    metrics.before_scrape(move || {
        gauge.set(i64::try_from(kept.len()).unwrap_or(i64::MAX));
    });
    let limits = Limiter::open(LimiterParts {
        config: settings.limits.clone(),
        secret: opened.secrets.api_keys,
        local: Arc::clone(&buckets) as _,
        buckets: match opened.cluster.as_ref().and_then(|cluster| cluster.redis.clone()) {
            Some(redis) => Arc::new(SharedBuckets::new(redis, buckets)),
            None => buckets,
        },
        accounts: Arc::clone(&opened.stores.accounts),
        clock: Arc::new(SinceStart::default()),
        metrics: Arc::clone(metrics),
    });
    let limits = Arc::new(limits.await?);
    actix_rt::spawn(Arc::clone(&limits).follow());
    Ok(limits)
}

/// Handles that the API needs.
#[derive(Clone, Copy)]
pub(super) struct Actors<'a> {
    pub(super) links: &'a LinkTable,
    clicks: &'a ClickSink,
    pub(super) keys: &'a Arc<KeyRing>,
    pub(super) limits: &'a Arc<Limiter>,
    pub(super) denials: &'a Arc<Denials>,
}

fn admin_state(
    opened: &Opened,
    site: Site,
    actors: &Actors<'_>,
    people: People,
    rules: Rules,
) -> web::Data<AdminState> {
    let service = LinkService::new(LinkServiceParts {
        table: actors.links.clone(),
        store: Arc::clone(&opened.stores.links),
        clicks: actors.clicks.clone(),
        ids: Arc::clone(&opened.ids),
        codes: CodeMaker::new(opened.sealer.clone(), Arc::clone(&opened.stores.nodes)),
        rules,
        clock: Arc::clone(&opened.clock),
    });
    web::Data::new(AdminState {
        links: service,
        keys: Arc::clone(actors.keys),
        access: people.access,
        accounts: people.accounts,
        anonymous: people.anonymous,
        limits: Arc::clone(actors.limits),
        oidc: people.oidc,
        denials: Arc::clone(actors.denials),
        stores: opened.stores.clone(),
        clicks: actors.clicks.clone(),
        cursors: CursorSealer::new(&opened.secrets.cursors),
        site,
        clock: Arc::clone(&opened.clock),
    })
}

fn list(addresses: &[std::net::SocketAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// The key alone on standard output, so that a script can take it.
fn show_owner_key(key: &str) {
    let mut output = std::io::stdout().lock();
    if let Err(error) = writeln!(output, "owner API key: {key}").and_then(|()| output.flush()) {
        warn!(
            %error,
            "the owner API key could not be shown; `shunt keys create --name owner` makes another"
        );
    }
}

/// How the key is used, for a person who reads along.
fn show_first_steps(url: &str) {
    let _ = writeln!(
        std::io::stderr().lock(),
        "Keep it: it is shown this once. To try it:\n\n  export SHUNT_KEY='<the key>'\n  \
         curl -sS {url}api/v1/links -H \"Authorization: Bearer $SHUNT_KEY\" \\\n    \
         -H 'Content-Type: application/json' -d '{{\"destination\":\"https://example.com/\"}}'\n"
    );
}
