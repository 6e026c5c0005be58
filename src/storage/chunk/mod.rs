//! Clicks and their sums as bytes, the same in every back end that keeps them in values of its own.

pub(in crate::storage) mod bytes;
pub(in crate::storage) mod clicks;
pub(in crate::storage) mod newest;
#[cfg(test)]
pub(in crate::storage) mod samples;
pub(in crate::storage) mod span;
pub(in crate::storage) mod sums;
