//! Passwords: judged, hashed with Argon2id, and checked, on threads of their own.

mod denylist;
mod hasher;
mod kiln;
mod queue;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::domain::limits::PASSWORD_CHARS_MAX;
use crate::domain::password::PasswordPolicy;
use crate::domain::problems::Problems;
use crate::domain::units::{Size, Span};

pub use denylist::{Denylist, DenylistError};
pub use hasher::{PasswordError, PasswordHasher, PasswordStartError, Verdict};

/// Most memory that one hash may take, configured or stored, in KiB.
const MEMORY_KIB_MAX: u32 = 256 * 1_024;
/// Most passes over it.
const ITERATIONS_MAX: u32 = 16;
/// Most lanes.
const PARALLELISM_MAX: u32 = 16;

/// `[passwords]`: what passwords must be like, and what hashing them may cost.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PasswordsConfig {
    /// Fewest characters of a new password, 8 to 128; the most are 128. Passwords that are common,
    /// or close to the account's name or address, are refused whatever is set here.
    pub chars_min: usize,
    /// Whether a new password needs an upper-case letter.
    pub upper: bool,
    /// Whether a new password needs a lower-case letter.
    pub lower: bool,
    /// Whether a new password needs a digit.
    pub digit: bool,
    /// A file of further passwords that are refused, one per line, upper and lower case alike: at
    /// most 64MiB. Read at the start. Unset: none.
    pub denylist: Option<PathBuf>,
    /// Memory that one hash takes, 8MiB to 256MiB. Hashes of other strength stay good, and are made
    /// anew when their owner logs in.
    pub memory: Size,
    /// Passes over that memory, 1 to 16.
    pub iterations: u32,
    /// Lanes of a hash, 1 to 16. They are computed one after the other.
    pub parallelism: u32,
    /// Threads that hash, 0 to 64, at low priority. Each takes `passwords.memory`. Zero means one
    /// per two cores.
    pub threads: usize,
    /// Logins that may wait for a thread, 1 to 10,000; more are told to come back.
    pub queue: usize,
    /// How long one waits for a thread before it is told to come back, 100ms to 1m.
    pub queue_wait: Span,
}

impl Default for PasswordsConfig {
    fn default() -> Self {
        let PasswordPolicy { chars_min, upper, lower, digit } = PasswordPolicy::default();
        Self {
            chars_min,
            upper,
            lower,
            digit,
            denylist: None,
            memory: Size::mib(19),
            iterations: 2,
            parallelism: 1,
            threads: 0,
            queue: 64,
            queue_wait: Span::from_secs(2),
        }
    }
}

impl PasswordsConfig {
    /// Adds a line to `problems` for every value that cannot be honoured.
    pub fn check(&self, problems: &mut Problems) {
        let memory_max = Size(u64::from(MEMORY_KIB_MAX) << 10);
        let (wait_min, wait_max) = (Span::from_millis(100), Span::from_secs(60));
        problems.range("passwords.chars_min", self.chars_min, 8..=PASSWORD_CHARS_MAX);
        problems.range("passwords.memory", self.memory, Size::mib(8)..=memory_max);
        problems.range("passwords.iterations", self.iterations, 1..=ITERATIONS_MAX);
        problems.range("passwords.parallelism", self.parallelism, 1..=PARALLELISM_MAX);
        problems.range("passwords.threads", self.threads, 0..=64);
        problems.range("passwords.queue", self.queue, 1..=10_000);
        problems.range("passwords.queue_wait", self.queue_wait, wait_min..=wait_max);
        if self.denylist.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
            problems.add("`passwords.denylist` is empty; it must name a file");
        }
    }

    /// The part that a password alone is judged by.
    pub fn policy(&self) -> PasswordPolicy {
        let Self { chars_min, upper, lower, digit, .. } = *self;
        PasswordPolicy { chars_min, upper, lower, digit }
    }

    fn threads(&self) -> usize {
        match self.threads {
            0 => (std::thread::available_parallelism().map_or(1, usize::from) / 2).max(1),
            threads => threads,
        }
    }
}
