//! The actors: who exists, what each owns, its bound, and what happens when it is full.
//!
//! | actor | owns | bound | when full |
//! |---|---|---|---|
//! | `LinkShard` | a slice of the link table, the loads and writes of its codes | `links.mailbox_max` | the caller gets `Overloaded` (503 with `Retry-After`) |
//! | `ClickCounter` | the counts of journal segments that are not in the store yet | none waiting: it reads the journal behind the writers | the spool grows up to `clicks.spool_max`, then clicks are dropped and counted |
//!
//! HTTP code sees the handles only: [`links::LinkTable`] and [`clicks::ClickSink`].

pub mod changes;
pub mod clicks;
pub mod links;
