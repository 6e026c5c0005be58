//! Wrappers that add one thing to any backend.

mod metered;
mod shared;

pub use metered::metered;
pub use shared::SharedLinks;
