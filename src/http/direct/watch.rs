//! Deadlines without a timer per request: connections note when they began to wait, and one task
//! per worker looks through them now and then. The same task keeps the date of the answers and
//! sees the server stop.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::task::{Context, Waker};
use std::time::{Duration, Instant, SystemTime};

use actix_server::GracefulShutdownSignal;
use tokio::time::MissedTickBehavior;

use crate::http::direct::Timeouts;

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(super) type HttpDate = [u8; 29];

/// How often the task looks; deadlines are late by at most this much.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What a connection is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The first byte of all.
    Fresh,
    /// The next request.
    Idle,
    /// The rest of a request's head.
    Head,
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
pub(super) struct Life {
    watch: Rc<Watch>,
    phase: Cell<Phase>,
    since: Cell<Instant>,
    cut: Cell<bool>,
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
            cut: Cell::new(false),
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
            let (limit, stoppable) = match life.phase.get() {
                Phase::Fresh => (self.timeouts.head, true),
                Phase::Idle => (self.timeouts.idle, true),
                Phase::Head => (self.timeouts.head, false),
            };
            let waited = now.saturating_duration_since(life.since.get());
            if waited > limit || (stoppable && self.stopping.get()) {
                life.cut();
            }
            true
        });
    }
}

impl Life {
    /// The connection begins to wait now.
    pub(super) fn wait(&self, phase: Phase) {
        self.phase.set(phase);
        self.since.set(self.watch.now.get());
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
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
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
