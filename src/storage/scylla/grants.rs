//! What nodes took of the clicks of limited links.

use async_trait::async_trait;

use super::Cql;
use crate::domain::id::Id;
use crate::storage::error::StorageResult;
use crate::storage::grants::GrantStore;

#[async_trait]
impl GrantStore for Cql {
    async fn granted(&self, link: Id) -> StorageResult<Option<u64>> {
        let statement = &self.statements().grants.granted;
        let there: Option<(i64,)> = self.one("granted", statement, (link.0 as i64,)).await?;
        Ok(there.map(|(granted,)| granted as u64))
    }

    async fn grant(&self, link: Id, from: Option<u64>, to: u64) -> StorageResult<bool> {
        let (statements, link, to) = (&self.statements().grants, link.0 as i64, to as i64);
        match from {
            None => self.apply("grant", &statements.first_grant, (link, to)).await,
            Some(from) => self.apply("grant", &statements.grant, (to, link, from as i64)).await,
        }
    }
}
