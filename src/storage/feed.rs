//! The port through which nodes tell each other what changed.

use async_trait::async_trait;

use super::StorageResult;
use crate::domain::code::LinkKey;

/// A link that was, or may have been, changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkChange {
    pub key: LinkKey,
    /// Its version now; `None`: somebody is about to change it.
    pub version: Option<u32>,
}

/// Tells other nodes what changed here, and this one what changed elsewhere.
#[async_trait]
pub trait ChangeFeed: Send + Sync + 'static {
    /// Tells that links are about to be changed, before they are. A feed that may lose what
    /// `announce` tells keeps others looking at them for as long as the change can take. Kinds:
    /// `Unavailable`, `Timeout`: the change must not be made.
    async fn prepare(&self, _keys: &[LinkKey]) -> StorageResult<()> {
        Ok(())
    }

    /// Tells of changes that are in the store. Kinds: `Unavailable`, `Timeout`: nobody may have
    /// heard.
    async fn announce(&self, changes: &[LinkChange]) -> StorageResult<()>;

    /// Waits for the next news, at most for a second or so. An answer, also an empty one, means
    /// that this node heard of everything up to now but for what the feed says it may lose. Some
    /// may be told again. The first answer tells of nothing that was before it. Asked by one
    /// follower only. Kinds: `Unavailable`, `Timeout`.
    async fn next(&self) -> StorageResult<Vec<LinkChange>>;
}
