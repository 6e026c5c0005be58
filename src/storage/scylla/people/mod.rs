//! People: users, the workspaces they share, their sign-ins.
//!
//! A user is one partition with its sessions and tickets; a workspace is one with its members and
//! invitations. What changes in one of them and must be told to all nodes says so in the same
//! write, and is told behind it; what is cut short in between is on the agenda.

mod access;
mod erase;
mod moving;
mod person;
mod prune;
mod registration;
mod sessions;
mod team;
mod teams;
mod users;

pub(super) use team::{Team, role};
