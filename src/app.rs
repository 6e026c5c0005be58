//! Composition root: build by role, run, drain.
