//! HTTP: every route in one table.

pub mod admin;
pub mod cursor;
pub mod error;
pub mod extract;
pub mod json;
pub mod openapi;
pub mod wire;
