//! Shunt: a link-redirect engine. Modules in reading order; each may import from those before it.

pub mod actors;
pub mod app;
pub mod cli;
pub mod config;
pub mod domain;
pub mod http;
pub mod service;
pub mod storage;
pub mod telemetry;
