//! The public server, whole, over real sockets and a store in memory.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod answers;
mod once;
mod people;
mod site;
mod visits;
