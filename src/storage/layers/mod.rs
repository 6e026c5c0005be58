//! Wrappers that add one thing to any backend.
