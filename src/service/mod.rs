//! Operations that touch two or more ports: links, keys, limits, ids, codes, statistics, people,
//! passwords, tokens, mail, sign-in with providers, the first start, lists of blocked hosts.

pub mod access;
pub mod accounts;
pub mod anonymous;
pub mod blocked_hosts;
pub mod bootstrap;
pub mod codes;
pub mod denials;
pub mod destinations;
pub mod draft;
pub mod ids;
pub mod import;
pub mod keys;
pub mod limits;
pub mod links;
pub mod mail;
pub mod node;
pub mod oidc;
pub mod passwords;
pub mod stats;
mod stripes;
#[cfg(test)]
mod tests;
pub mod tokens;
pub mod validate;
