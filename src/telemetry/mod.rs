//! Metrics and logs.

pub mod exposition;
pub mod logging;
pub mod metrics;
