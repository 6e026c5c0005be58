//! The contract, checked on the real server: one process per test, free ports, a store of its own.

mod harness;

mod clicks;
mod command_line;
mod connections;
mod crash;
mod drain;
mod framing;
mod hostile;
mod keys;
mod links;
mod operations;
mod redirects;
