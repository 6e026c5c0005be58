//! What is true without any server: links, codes, ids, decisions. Pure: no async, no I/O, no clock.

pub mod api_key;
pub mod base62;
pub mod bot;
pub mod click;
pub mod code;
pub mod counted;
pub mod day;
pub mod decide;
pub mod destination;
pub mod event;
pub mod hot;
pub mod id;
pub mod limits;
pub mod link;
pub mod location;
pub mod problems;
pub mod query;
pub mod scheme;
pub mod seal;
pub mod secret;
pub mod sketch;
pub mod stats;
pub mod time;
pub mod units;
pub mod visitor;
pub mod words;
