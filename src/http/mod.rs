//! HTTP: every route in one table.
