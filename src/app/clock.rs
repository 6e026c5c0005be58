//! The wall clock of this machine.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::domain::time::{Clock, Timestamp, millis};

/// Reads the system's time on every call.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        // A clock before 1970 is as good as one at it: ids go on from the last one at both.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(millis(since))
    }
}
