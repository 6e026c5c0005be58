//! The port through which nodes tell each other what changed.

use async_trait::async_trait;

use super::StorageResult;
use crate::domain::code::LinkKey;
use crate::domain::time::Timestamp;

/// A link that was, or may have been, changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkChange {
    pub key: LinkKey,
    /// Its version now; `None`: somebody is about to change it.
    pub version: Option<u32>,
}

/// What a feed has to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    pub changes: Vec<LinkChange>,
    /// When those of them were told that are made, by the clock of whoever told.
    pub told_at: Vec<Timestamp>,
    /// This node did not ask for so long that more may have changed than the feed still knows.
    pub is_torn: bool,
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
    /// that this node heard of everything since the feed was made, but for what the feed says it
    /// may lose. Some may be told again, and some of what was shortly before. Asked by one follower
    /// only. Kinds: `Unavailable`, `Timeout`.
    async fn next(&self) -> StorageResult<News>;
}
