//! The port through which nodes share out the clicks of links with a click limit.

use async_trait::async_trait;

use super::StorageResult;
use crate::domain::id::Id;

/// How many clicks of a limited link nodes have taken, to pass them on to visitors.
#[async_trait]
pub trait GrantStore: Send + Sync + 'static {
    /// `None`: nobody took any yet.
    async fn granted(&self, link: Id) -> StorageResult<Option<u64>>;

    /// Makes it `to` if it is `from`; false when it is something else by now. After a `Timeout`
    /// nobody knows: what was meant to be taken counts as taken and is passed on to nobody.
    async fn grant(&self, link: Id, from: Option<u64>, to: u64) -> StorageResult<bool>;
}
