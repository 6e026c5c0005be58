//! Operations that touch two or more ports.
