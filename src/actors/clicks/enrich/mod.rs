//! Finds out about clicks what their requests did not say.

pub mod agent;
pub mod places;
