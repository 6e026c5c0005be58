//! Accounts of people, through the API.

mod anonymous;
mod cookies;
mod erasing;
mod mails;
mod matrix;
mod registering;
mod sessions;
mod teams;
mod told;
