//! Whether the process is busy, so that work behind can yield to redirects.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Share of the processors that this process may use, in percent, above which it is busy.
const BUSY_PERCENT: u128 = 50;
/// Shorter spans say nothing.
const SPAN_MIN: Duration = Duration::from_millis(250);

pub(super) struct Load {
    /// Result of the last look.
    pub(super) busy: bool,
    processors: u128,
    looked_at: Instant,
    used: Duration,
}

impl Load {
    pub(super) fn start() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, |n| n.get() as u128);
        Self { busy: false, processors, looked_at: Instant::now(), used: used() }
    }

    /// Compares with the last look, unless that was a moment ago.
    pub(super) fn look(&mut self) {
        let wall = self.looked_at.elapsed();
        if wall < SPAN_MIN {
            return;
        }
        let used = used();
        let spent = used.saturating_sub(self.used).as_micros() * 100;
        self.busy = spent > wall.as_micros() * self.processors * BUSY_PERCENT;
        (self.looked_at, self.used) = (Instant::now(), used);
    }

    /// Does not count work that yields to others anyway.
    pub(super) fn leave_out(&mut self, own: Duration) {
        self.used += own;
    }
}

/// Processor time of all threads so far.
fn used() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}
