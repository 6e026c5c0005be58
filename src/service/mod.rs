//! Operations that touch two or more ports.

pub mod import;
