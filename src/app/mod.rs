//! Composition root: build, run, drain.

mod backend;
mod clock;
mod descriptors;
mod disk;
mod health;
mod open;
mod people;
mod serve;
mod stop;

pub use clock::SystemClock;
pub use open::{JOURNAL_FOLDER, Opened, Sharing, open};
pub use serve::serve;
