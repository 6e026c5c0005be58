//! Wrappers that add one thing to any backend.

mod metered;

pub use metered::metered;
