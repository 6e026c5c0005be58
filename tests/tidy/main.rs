//! The repository checked as a test: what the written rules say, a machine looks up.

mod reference;
mod repository;
mod sources;
