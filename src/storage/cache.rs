//! The port of a cache of links that several nodes share.

use async_trait::async_trait;

use super::StorageResult;
use crate::domain::code::LinkKey;
use crate::domain::link::Link;

/// What a cache has for whoever asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cached {
    Link(Box<Link>),
    /// There was none a moment ago.
    Absent,
    /// Nothing; whoever asks is to load it and tell the others.
    Mine,
    /// Nothing; somebody else loads it just now.
    Busy,
    /// Nothing that is good enough, or no answer.
    Nothing,
}

/// Links that any node loaded or changed. It may be gone at any time.
#[async_trait]
pub trait LinkCache: Send + Sync + 'static {
    /// What there is at `key`, of version `least` or newer.
    async fn look(&self, key: &LinkKey, least: u32) -> Cached;

    /// Puts what the store has at `key` in place of what is older. Kinds: `Unavailable`, `Timeout`.
    async fn put(&self, key: &LinkKey, link: Option<&Link>) -> StorageResult<()>;

    /// Puts everything in it out of use, for all nodes, before this one uses it again: it could
    /// not be told of a change.
    fn distrust(&self);
}
