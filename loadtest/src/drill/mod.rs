//! Drills: what Shunt promises, tried out rudely. Each prints a table and ends with 1 when a
//! promise was broken, with 2 when it could not be tried.

pub mod cluster;
pub mod disk;
pub mod eio;
pub mod fresh;
pub mod guests;
pub mod kill;
pub mod ledger;
pub mod load;
pub mod logins;
pub mod peers;
pub mod slow;
pub mod trial;
pub mod unknown;
pub mod watch;
