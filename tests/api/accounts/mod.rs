//! Accounts of people, through the API.

mod anonymous;
mod cookies;
mod erasing;
mod lapses;
mod mails;
mod matrix;
mod registering;
mod sessions;
mod store_reads;
mod teams;
mod throttles;
mod told;
