//! Link shard: owns a slice of the link table and the loads and writes of its codes.
//!
//! Fed by     `LinkTable` (misses, changes, bulk reads) and other shards (links they stored).
//! Feeds      the table, `LinkStore`.
//! Bound      `links.mailbox_max` messages, as many callers that wait, `links.loads_max` loads.
//! When full  the caller gets `Overloaded`; nothing that was accepted is dropped.

use std::cell::RefCell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use actix::prelude::*;
use futures_util::FutureExt;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;
use tracing::{error, warn};

use super::LoadError;
use super::flight::Flights;
use super::key::Key;
use super::messages::{
    Adopt, BeginWarm, Change, Doubt, Effect, EndWarm, Fill, Filled, ForgetAll, Fresh, Heard,
    Inspect, Job, Load, Outcome, Reply, Run, Settled, ShardReport, State,
};
use super::negative::Negatives;
use super::reports::Reports;
use super::shared::{LoadGuard, Shared, lost};
use super::slice::Slice;
use super::work::{self, panic_text};
use crate::domain::code::LinkKey;

/// Places in the mailbox beyond those of callers: for other shards and bulk reads, which wait.
const MAILBOX_SLACK: usize = 1_024;
/// More restarts than this within a minute need a human.
const RESTARTS_PER_MINUTE_MAX: usize = 5;
const MINUTE: std::time::Duration = std::time::Duration::from_secs(60);

pub(super) struct LinkShard {
    index: usize,
    shared: Arc<Shared>,
    slice: Slice,
    flights: Flights,
    negatives: Negatives,
    /// Tasks report here. One stream for all: a context polls every future it holds on each wake.
    reports: UnboundedSender<Settled>,
    /// Shared with the stream, so that reports outlive a restart. Holds at most one report per
    /// task, and tasks are bounded by `links.loads_max` and the changes accepted.
    inbox: Rc<RefCell<UnboundedReceiver<Settled>>>,
    /// Times of the latest restarts.
    restarted: Vec<Instant>,
}

impl LinkShard {
    /// Starts shard `index` on `arbiter`, away from the threads that answer requests.
    pub(super) fn start_on(
        arbiter: &ArbiterHandle,
        index: usize,
        shared: Arc<Shared>,
    ) -> Addr<Self> {
        Supervisor::start_in_arbiter(arbiter, move |ctx| {
            ctx.set_mailbox_capacity(shared.config.mailbox_max + MAILBOX_SLACK);
            let (reports, inbox) = unbounded_channel();
            let shards = shared.lanes.len();
            Self {
                index,
                slice: Slice::new(index, Arc::clone(&shared)),
                flights: Flights::default(),
                negatives: Negatives::new(shared.config.negative_max.div_ceil(shards)),
                reports,
                inbox: Rc::new(RefCell::new(inbox)),
                restarted: Vec::new(),
                shared,
            }
        })
    }

    /// Runs the body of a handler. A panic in it restarts this shard and nothing else.
    pub(super) fn guarded<R: Default>(
        &mut self,
        ctx: &mut Context<Self>,
        body: impl FnOnce(&mut Self) -> R,
    ) -> R {
        match catch_unwind(AssertUnwindSafe(|| body(self))) {
            Ok(answer) => {
                self.slice.publish();
                answer
            }
            Err(panic) => {
                self.note_restart(panic_text(panic.as_ref()));
                ctx.stop();
                R::default()
            }
        }
    }

    fn note_restart(&mut self, cause: &str) {
        let now = Instant::now();
        self.restarted.retain(|at| now - *at < MINUTE);
        self.restarted.push(now);
        self.shared.lane(self.index).restarts.fetch_add(1, Ordering::Relaxed);
        self.shared.counts.restarts.inc();
        let (shard, in_a_minute) = (self.index, self.restarted.len());
        if in_a_minute > RESTARTS_PER_MINUTE_MAX {
            error!(shard, in_a_minute, cause, "a link shard panics again and again");
        } else {
            warn!(shard, cause, "a link shard panicked and is restarted");
        }
    }

    fn is_crowded(&mut self) -> bool {
        let max = self.shared.config.mailbox_max;
        if self.flights.waiting() >= max {
            self.flights.prune();
        }
        self.flights.waiting() >= max
    }

    fn load(&mut self, Load { link, key, reply }: Load) {
        if let Some(answer) = self.known(&key) {
            let _gone = reply.send(Ok(answer));
        } else if let Some(error) = self.negatives.damage(&key, Instant::now()) {
            let _gone = reply.send(Err(error));
        } else if self.is_crowded() {
            refuse(reply);
        } else if self.flights.get_mut(&key).is_some() {
            self.flights.wait(&key, reply);
        } else if let Some(place) = self.shared.begin_load() {
            self.begin_load(&key, link, place);
            self.flights.wait(&key, reply);
        } else {
            refuse(reply);
        }
    }

    /// Whether there is a link at `key`, if that can be told without the store.
    fn known(&self, key: &Key) -> Option<bool> {
        if self.shared.table.version(key).is_some() {
            return Some(true);
        }
        let absent =
            self.slice.is_complete() || self.negatives.version(key, Instant::now()).is_some();
        absent.then_some(false)
    }

    fn begin_load(&mut self, key: &Key, link: LinkKey, place: LoadGuard) {
        let shared = Arc::clone(&self.shared);
        self.begin(key, link, async move { work::load(&shared, &link, Some(place)).await });
    }

    fn change(&mut self, Change { key, link, job }: Change) {
        let Some(job) = self.flights.queue(&key, job) else {
            return;
        };
        self.begin_job(&key, link, job);
    }

    fn begin_job(&mut self, key: &Key, link: LinkKey, job: Job) {
        let shared = Arc::clone(&self.shared);
        self.begin(key, link, async move {
            match job {
                Job::Replace { link, act, asker } => {
                    let patience = asker.patience.clone();
                    patience.of(work::replace(&shared, *link, act, asker)).await
                }
                Job::Relocate { link: moved, tombstone, act, asker } => {
                    let (patience, moved) = (asker.patience.clone(), (*moved, tombstone, act));
                    patience.of(work::relocate(&shared, &link, moved, asker)).await
                }
                Job::Verify => work::verify(&shared, &link).await,
                Job::Refresh => work::refresh(&shared, &link).await,
            }
        });
    }

    /// Starts one store operation on `key` as a task of its own, which reports when it is done.
    fn begin(&mut self, key: &Key, link: LinkKey, work: impl Future<Output = Outcome> + 'static) {
        let ticket = self.flights.begin(key, link);
        let (key, reports) = (key.clone(), self.reports.clone());
        actix_rt::spawn(async move {
            let outcome = AssertUnwindSafe(work).catch_unwind().await;
            let outcome = outcome.unwrap_or_else(|panic| {
                error!(cause = panic_text(panic.as_ref()), "work on a link panicked");
                Outcome::Crashed
            });
            // The shard is gone only when its thread ends.
            let _stopped = reports.send(Settled { key, ticket, outcome });
        });
    }

    fn settle(&mut self, Settled { key, ticket, outcome }: Settled) {
        let flight = self.flights.get_mut(&key).filter(|flight| flight.ticket == ticket);
        let (ours, version_min) = flight.map_or((false, 0), |flight| (true, flight.version_min));
        match outcome {
            Outcome::Loaded(Ok(state)) => {
                // A state older than a change that came meanwhile is thrown away; whoever still
                // waits is served from the table, or the load is made again.
                if ours && state.version() >= version_min {
                    let found = matches!(state, State::Live(_));
                    self.apply(&key, state);
                    self.flights.answer(&key, &Ok(found));
                }
            }
            Outcome::Loaded(Err(error)) if ours => {
                if error.is_damage() {
                    self.negatives.insert_damaged(key.clone(), error.clone(), Instant::now());
                }
                self.flights.answer(&key, &Err(error));
            }
            Outcome::Loaded(Err(_)) => (),
            Outcome::Wrote { effect, answer, asker } => {
                self.take_effect(&key, effect);
                asker.answer(answer);
            }
            Outcome::Verified(effect) => self.take_effect(&key, effect),
            Outcome::Crashed => {
                self.flights.answer(&key, &Err(lost()));
                self.slice.distrust();
                self.slice.remove(&key);
            }
        }
        if ours {
            self.proceed(&key);
        }
    }

    /// Goes on with a code whose operation has ended: the next change, else those who wait.
    fn proceed(&mut self, key: &Key) {
        let Some(link) = self.flights.get_mut(key).map(|flight| flight.link) else {
            return;
        };
        if let Some(job) = self.flights.next_job(key) {
            self.begin_job(key, link, job);
            return;
        }
        if self.flights.has_waiters(key) {
            let answer = match self.known(key) {
                Some(known) => Ok(known),
                None => match self.shared.begin_load() {
                    Some(place) => {
                        self.begin_load(key, link, place);
                        return;
                    }
                    None => Err(LoadError::Overloaded),
                },
            };
            self.flights.answer(key, &answer);
        }
        self.flights.end(key);
    }

    fn take_effect(&mut self, key: &Key, effect: Effect) {
        match effect {
            Effect::None => (),
            Effect::Set(state) => {
                self.overtake(key, state.version());
                self.apply(key, state);
            }
            Effect::Verify => {
                if self.flights.get_mut(key).is_some() {
                    self.flights.queue_first(key, Job::Verify);
                } else {
                    self.forget(key);
                }
            }
            Effect::Forget => self.forget(key),
        }
    }

    /// Something of `version` is at `key` or was: a load under way may have read what was before.
    fn overtake(&mut self, key: &Key, version: u32) {
        if let Some(flight) = self.flights.get_mut(key) {
            flight.version_min = flight.version_min.max(version);
        }
    }

    fn forget(&mut self, key: &Key) {
        self.slice.distrust();
        self.slice.remove(key);
        self.negatives.remove(key);
    }

    /// Takes over what the store has at `key`, unless something newer is known.
    fn apply(&mut self, key: &Key, state: State) {
        let now = Instant::now();
        let version = state.version();
        if self.negatives.version(key, now).is_some_and(|deleted| deleted > version) {
            return;
        }
        match state {
            State::Live(link) => {
                if self.slice.put(key, link) {
                    self.negatives.remove(key);
                }
            }
            State::Gone(version) => {
                let newer = self.shared.table.version(key).is_some_and(|live| live > version);
                if newer {
                    return;
                }
                self.slice.bury(key, version);
                self.negatives.insert(key.clone(), version, now);
            }
        }
    }

    fn adopt(&mut self, links: Vec<Fresh>) {
        for Fresh { key, state } in links {
            self.overtake(&key, state.version());
            self.apply(&key, state);
        }
    }

    fn doubt(&mut self, keys: &[Key]) {
        self.slice.distrust();
        for key in keys {
            self.negatives.remove(key);
            // A load that found nothing may have been too early.
            self.overtake(key, 1);
        }
    }

    /// What is in memory is served until the store tells what is there now.
    fn heard(&mut self, Heard { key, link, version }: Heard) {
        let known = self.shared.table.version(&key);
        if known.is_some_and(|known| version.is_some_and(|version| version <= known)) {
            return;
        }
        self.slice.distrust();
        // A load under way may have read what was before, or have found nothing.
        self.overtake(&key, version.unwrap_or(1));
        self.negatives.remove(&key);
        if known.is_some() && !self.flights.will_refresh(&key) {
            self.change(Change { key, link, job: Job::Refresh });
        }
    }

    fn fill(&mut self, links: Vec<Fresh>) -> Filled {
        let mut filled = Filled::default();
        for Fresh { key, state } in links {
            let State::Live(link) = state else {
                continue;
            };
            if self.slice.is_full() {
                filled.full = true;
                self.slice.distrust();
                break;
            }
            filled.links += u64::from(self.slice.fill(&key, link));
        }
        filled
    }

    fn report(&self) -> ShardReport {
        let lane = self.shared.lane(self.index);
        ShardReport {
            shard: self.index,
            mailbox_depth: lane.depth.load(Ordering::Relaxed),
            waiting: self.flights.waiting(),
            entries: self.slice.len(),
            bytes: self.slice.bytes(),
            bytes_max: self.slice.bytes_max(),
            in_flight: self.flights.len(),
            negative_entries: self.negatives.len(),
            complete: self.slice.is_complete(),
            restarts: lane.restarts.load(Ordering::Relaxed),
        }
    }
}

impl Actor for LinkShard {
    type Context = Context<Self>;

    /// Also called after a restart.
    fn started(&mut self, ctx: &mut Context<Self>) {
        Self::add_stream(Reports(Rc::clone(&self.inbox)), ctx);
    }
}

impl Supervised for LinkShard {
    /// After a panic nothing kept beside the table is trusted: whoever waits gets an error, the
    /// ring is made again from the table, and misses go to the store. Tasks under way report
    /// later; their writes still reach the table.
    fn restarting(&mut self, _ctx: &mut Context<Self>) {
        self.flights.clear();
        let shards = self.shared.lanes.len();
        self.negatives = Negatives::new(self.shared.config.negative_max.div_ceil(shards));
        self.slice.rebuild();
    }
}

impl StreamHandler<Settled> for LinkShard {
    fn handle(&mut self, settled: Settled, ctx: &mut Context<Self>) {
        self.guarded(ctx, |shard| shard.settle(settled));
    }
}

impl Handler<Load> for LinkShard {
    type Result = ();

    fn handle(&mut self, load: Load, ctx: &mut Context<Self>) {
        self.shared.lane(self.index).leave();
        self.guarded(ctx, |shard| shard.load(load));
    }
}

impl Handler<Change> for LinkShard {
    type Result = ();

    fn handle(&mut self, change: Change, ctx: &mut Context<Self>) {
        self.shared.lane(self.index).leave();
        self.guarded(ctx, |shard| shard.change(change));
    }
}

impl Handler<Run> for LinkShard {
    type Result = ();

    fn handle(&mut self, Run(errand): Run, _ctx: &mut Context<Self>) {
        self.shared.lane(self.index).leave();
        let shared = Arc::clone(&self.shared);
        actix_rt::spawn(async move {
            if let Err(panic) = AssertUnwindSafe(errand).catch_unwind().await {
                error!(cause = panic_text(panic.as_ref()), "a write of new links panicked");
                work::doubt_all(&shared).await;
            }
        });
    }
}

impl Handler<Adopt> for LinkShard {
    type Result = ();

    fn handle(&mut self, Adopt(links): Adopt, ctx: &mut Context<Self>) {
        self.guarded(ctx, |shard| shard.adopt(links));
    }
}

impl Handler<Doubt> for LinkShard {
    type Result = ();

    fn handle(&mut self, Doubt(keys): Doubt, ctx: &mut Context<Self>) {
        self.guarded(ctx, |shard| shard.doubt(&keys));
    }
}

impl Handler<Heard> for LinkShard {
    type Result = ();

    fn handle(&mut self, heard: Heard, ctx: &mut Context<Self>) {
        self.guarded(ctx, |shard| shard.heard(heard));
    }
}

impl Handler<ForgetAll> for LinkShard {
    type Result = ();

    fn handle(&mut self, _forget: ForgetAll, ctx: &mut Context<Self>) {
        self.guarded(ctx, |shard| shard.slice.clear());
    }
}

impl Handler<Fill> for LinkShard {
    type Result = MessageResult<Fill>;

    fn handle(&mut self, Fill(links): Fill, ctx: &mut Context<Self>) -> Self::Result {
        MessageResult(self.guarded(ctx, |shard| shard.fill(links)))
    }
}

impl Handler<BeginWarm> for LinkShard {
    type Result = ();

    fn handle(&mut self, _begin: BeginWarm, ctx: &mut Context<Self>) {
        self.guarded(ctx, |shard| shard.slice.begin_warm());
    }
}

impl Handler<EndWarm> for LinkShard {
    type Result = bool;

    fn handle(&mut self, EndWarm { whole }: EndWarm, ctx: &mut Context<Self>) -> bool {
        self.guarded(ctx, |shard| shard.slice.end_warm(whole))
    }
}

impl Handler<Inspect> for LinkShard {
    type Result = MessageResult<Inspect>;

    fn handle(&mut self, _inspect: Inspect, ctx: &mut Context<Self>) -> Self::Result {
        MessageResult(self.guarded(ctx, |shard| shard.report()))
    }
}

fn refuse(reply: Reply<bool>) {
    let _gone = reply.send(Err(LoadError::Overloaded));
}
