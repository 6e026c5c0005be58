//! Deadlines without a timer per request: connections note when they began to wait, and one task
//! per worker looks through them now and then. The same task keeps the date of the answers and
//! sees the server stop. Connections that are handed over stay under watch: what they wait for is
//! told by the bytes that pass (`handover.rs`) and by the request that begins and ends.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::task::{Context, Waker};
use std::time::{Duration, Instant, SystemTime};

use actix_server::GracefulShutdownSignal;
use tokio::time::MissedTickBehavior;

use crate::domain::limits::SEND_BYTES_PER_SEC_MIN;
use crate::http::direct::Timeouts;

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(super) type HttpDate = [u8; 29];

/// How often the task looks; deadlines are late by at most this much.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long a client may go on sending after it was told that the connection ends.
const LEAVE_MAX: Duration = Duration::from_secs(1);

/// What a connection is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The first byte of all.
    Fresh,
    /// The next request.
    Idle,
    /// The rest of a request's head.
    Head,
    /// The end of a request in the application, which has deadlines of its own.
    Served,
    /// The answer to be sent, on a connection that is handed over.
    Answered,
    /// The client's own close, after the last answer.
    Leaving,
}

/// All connections of one worker that are on the direct way.
pub(super) struct Watch {
    timeouts: Timeouts,
    lives: RefCell<Vec<Weak<Life>>>,
    /// Looked at by connections instead of a clock.
    now: Cell<Instant>,
    date: Cell<HttpDate>,
    stopping: Cell<bool>,
}

/// One connection, as the task sees it.
pub(crate) struct Life {
    watch: Rc<Watch>,
    phase: Cell<Phase>,
    since: Cell<Instant>,
    /// Since when the client does not take its answers; later with every byte that it takes.
    stalled: Cell<Option<Instant>>,
    cut: Cell<bool>,
    /// The answer under way has no end of its own: it ends when the client hangs up.
    endless: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Watch {
    pub(super) fn new(timeouts: Timeouts) -> Self {
        Self {
            timeouts,
            lives: RefCell::default(),
            now: Cell::new(Instant::now()),
            date: Cell::new(http_date()),
            stopping: Cell::new(false),
        }
    }

    /// Starts the task; it ends when the worker lets go of its connections.
    pub(super) fn start(this: &Rc<Self>, stopping: GracefulShutdownSignal) {
        let (looking, told) = (Rc::downgrade(this), Rc::downgrade(this));
        actix_rt::spawn(async move {
            let mut ticks = tokio::time::interval(LOOK_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let Some(watch) = looking.upgrade() else { return };
                watch.look();
            }
        });
        actix_rt::spawn(async move {
            stopping.notified().await;
            if let Some(watch) = told.upgrade() {
                watch.stopping.set(true);
                watch.look();
            }
        });
    }

    /// A new connection.
    pub(super) fn enter(self: &Rc<Self>) -> Rc<Life> {
        let life = Rc::new(Life {
            watch: Rc::clone(self),
            phase: Cell::new(Phase::Fresh),
            since: Cell::new(self.now.get()),
            stalled: Cell::new(None),
            cut: Cell::new(false),
            endless: Cell::new(false),
            waker: RefCell::default(),
        });
        self.lives.borrow_mut().push(Rc::downgrade(&life));
        life
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// The time of day for answers, right to within a second.
    pub(super) fn date(&self) -> HttpDate {
        self.date.get()
    }

    /// Cuts off who waited too long, and who has nothing under way when the server stops.
    fn look(&self) {
        let now = Instant::now();
        self.now.set(now);
        self.date.set(http_date());
        self.lives.borrow_mut().retain(|life| {
            let Some(life) = life.upgrade() else { return false };
            let late = match life.stalled.get() {
                Some(since) => now.saturating_duration_since(since) > self.timeouts.send,
                None => life.is_late(now),
            };
            // Handed over, a connection is closed by the HTTP implementation when it is idle.
            let idle = matches!(life.phase.get(), Phase::Fresh | Phase::Idle);
            if late || (idle && self.stopping.get()) {
                life.cut();
            }
            true
        });
    }
}

impl Life {
    /// The connection begins to wait now. A cut that came too late is forgotten.
    pub(super) fn wait(&self, phase: Phase) {
        self.cut.set(false);
        self.phase.set(phase);
        self.since.set(self.watch.now.get());
    }

    /// Whether the client kept the connection waiting too long for its bytes.
    fn is_late(&self, now: Instant) -> bool {
        let timeouts = &self.watch.timeouts;
        let limit = match self.phase.get() {
            Phase::Fresh | Phase::Head => timeouts.head,
            Phase::Idle | Phase::Answered => timeouts.idle,
            Phase::Leaving => LEAVE_MAX,
            Phase::Served => return false,
        };
        now.saturating_duration_since(self.since.get()) > limit
    }

    /// A request is with the application until the answer of this is dropped.
    pub(crate) fn serve(self: &Rc<Self>) -> Serving {
        self.cut.set(false);
        self.endless.set(false);
        self.phase.set(Phase::Served);
        Serving(Rc::clone(self))
    }

    /// The answer will go on until the client hangs up, which nothing else may tell for long.
    pub(crate) fn end_with_client(&self) {
        self.endless.set(true);
    }

    /// Whether the client is to be watched for hanging up while it is answered.
    pub(super) fn is_endless(&self) -> bool {
        self.endless.get()
    }

    /// The request was answered.
    pub(crate) fn answered(&self) {
        self.wait(Phase::Answered);
        self.wake();
    }

    /// True when the request was answered and the client has taken it. Whoever asked before is
    /// woken then.
    pub(super) fn is_answered(&self) -> bool {
        self.phase.get() == Phase::Answered && !self.is_stalled()
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Whether the answer under way is the last, because the server stops.
    pub(crate) fn is_last(&self) -> bool {
        self.watch.is_stopping()
    }

    /// The client does not take what is sent.
    pub(super) fn stall(&self) {
        if self.stalled.get().is_none() {
            self.stalled.set(Some(self.watch.now.get()));
        }
    }

    /// True while answers wait for the client.
    pub(super) fn is_stalled(&self) -> bool {
        self.stalled.get().is_some()
    }

    /// The client took bytes after all, which gains it the time they may take.
    pub(super) fn took(&self, n_bytes: usize) {
        if let Some(since) = self.stalled.get() {
            let micros = n_bytes as u64 * 1_000_000 / SEND_BYTES_PER_SEC_MIN;
            let since = since + Duration::from_micros(micros);
            self.stalled.set(Some(since.min(self.watch.now.get())));
        }
    }

    /// The client took everything: the wait for its next bytes begins now.
    pub(super) fn took_all(&self) {
        if self.stalled.take().is_some() {
            self.cut.set(false);
            self.since.set(self.watch.now.get());
            self.wake();
        }
    }

    /// True when the connection has to end; else it is woken when that changes.
    pub(super) fn is_cut(&self, context: &mut Context<'_>) -> bool {
        if !self.cut.get() {
            let mut waker = self.waker.borrow_mut();
            if !waker.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
                *waker = Some(context.waker().clone());
            }
        }
        self.cut.get()
    }

    fn cut(&self) {
        self.cut.set(true);
        self.wake();
    }
}

/// A request that the application is at work on.
pub(crate) struct Serving(Rc<Life>);

impl Serving {
    /// Whether its answer is the last of the connection, because the server stops.
    pub(crate) fn is_last(&self) -> bool {
        self.0.is_last()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.answered();
    }
}

fn http_date() -> HttpDate {
    let text = httpdate::fmt_http_date(SystemTime::now());
    let mut date = [b' '; 29];
    for (place, byte) in date.iter_mut().zip(text.bytes()) {
        *place = byte;
    }
    date
}
