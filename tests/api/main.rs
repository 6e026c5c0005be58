//! The contract, checked on the real server: one process per test, free ports, a store of its own.

mod harness;

mod bots;
mod clicks;
mod command_line;
mod connections;
mod crash;
mod hostile;
mod keys;
mod links;
mod malformed;
mod operations;
mod operator;
mod redirects;
