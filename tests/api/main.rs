//! The contract, checked on the real server: one process per test, free ports, a store of its own.

mod harness;

mod accounts;
#[path = "../support/services.rs"]
mod services;
#[path = "../support/smtp.rs"]
mod smtp;

mod app_pages;
mod audit;
mod blocked;
mod blocked_hosts;
mod bots;
mod clicks;
mod command_line;
mod command_line_users;
mod connections;
mod cors;
mod crash;
mod drain;
mod events;
mod framing;
mod headers;
mod hostile;
mod imports;
mod keys;
mod limits;
mod links;
mod live;
mod mail;
mod malformed;
mod moving;
mod oidc;
mod oidc_accounts;
mod operations;
mod operator;
mod places;
mod problems;
mod proxies;
mod redirects;
mod schemes;
mod stats;
mod store_gone;
mod together;
mod workspaces;
