//! The shortest correct store, for tests.
