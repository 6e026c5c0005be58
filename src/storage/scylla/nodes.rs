//! What keeps nodes apart.

use async_trait::async_trait;

use super::Cql;
use super::fault::is_unknown;
use crate::domain::id::NODES_MAX;
use crate::domain::time::Timestamp;
use crate::storage::NodeStore;
use crate::storage::error::{StorageError, StorageErrorKind, StorageResult};

/// How often to try against others who want the same.
const TRIES: u32 = 100;

#[async_trait]
impl NodeStore for Cql {
    /// A block whose outcome is unknown is passed over: it may be anybody's.
    async fn lease_block(&self, space: &str, size: u64) -> StorageResult<u64> {
        const OP: &str = "lease_block";
        let statements = &self.statements().nodes;
        for _ in 0..TRIES {
            let next: Option<(i64,)> = self.one(OP, &statements.next_block, (space,)).await?;
            let first = next.map_or(0, |(next,)| next);
            let behind = first + size as i64;
            let taken = match next {
                None => self.apply(OP, &statements.first_block, (space, behind)).await,
                Some(_) => self.apply(OP, &statements.take_block, (behind, space, first)).await,
            };
            match taken {
                Ok(true) => return Ok(first as u64),
                Ok(false) => (),
                Err(error) if is_unknown(&error) => (),
                Err(error) => return Err(error),
            }
        }
        Err(StorageError { kind: StorageErrorKind::Unavailable, op: OP, source: None })
    }

    async fn clock_mark(&self, node: u16) -> StorageResult<Timestamp> {
        let statement = &self.statements().nodes.clock_mark;
        let mark: Option<(i64,)> = self.one("clock_mark", statement, (i32::from(node),)).await?;
        Ok(Timestamp(mark.map_or(0, |(mark,)| mark)))
    }

    /// Repeating it changes nothing, so an unknown outcome is settled by trying again.
    async fn raise_clock_mark(&self, node: u16, mark: Timestamp) -> StorageResult<()> {
        const OP: &str = "raise_clock_mark";
        let (statements, node, mark) =
            (&self.statements().nodes, i32::from(node), mark.as_millis());
        let mut unknown = None;
        for _ in 0..3 {
            let there: Option<(i64,)> = self.one(OP, &statements.clock_mark, (node,)).await?;
            let raised = match there {
                Some((there,)) if there >= mark => return Ok(()),
                None => self.apply(OP, &statements.first_mark, (node, mark)).await,
                Some(_) => self.apply(OP, &statements.raise_mark, (mark, node, mark)).await,
            };
            match raised {
                Ok(true) => return Ok(()),
                Ok(false) => (),
                Err(error) if is_unknown(&error) => unknown = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(unknown.unwrap_or(StorageError {
            kind: StorageErrorKind::Unavailable,
            op: OP,
            source: None,
        }))
    }

    async fn lease_node(&self, wanted: Option<u16>, holder: u64) -> StorageResult<Option<u16>> {
        let nodes = wanted.map_or(0..=NODES_MAX - 1, |node| node..=node);
        for node in nodes {
            if self.try_lease(node, holder).await? {
                return Ok(Some(node));
            }
        }
        Ok(None)
    }

    /// A lease that ran out while the database was away is taken again.
    async fn renew_node(&self, node: u16, holder: u64) -> StorageResult<bool> {
        let (op, statement) = ("renew_node", &self.statements().nodes.renew_node);
        let values = (holder as i64, i32::from(node), holder as i64);
        match self.apply(op, statement, values).await {
            Ok(true) => Ok(true),
            Ok(false) => self.try_lease(node, holder).await,
            Err(error) if is_unknown(&error) => self.has_lease(node, holder).await,
            Err(error) => Err(error),
        }
    }

    async fn release_node(&self, node: u16, holder: u64) -> StorageResult<()> {
        let statement = &self.statements().nodes.release_node;
        let values = (i32::from(node), holder as i64);
        self.apply("release_node", statement, values).await.map(|_| ())
    }
}

impl Cql {
    async fn try_lease(&self, node: u16, holder: u64) -> StorageResult<bool> {
        if let Some(there) = self.holder(node).await? {
            return Ok(there == holder);
        }
        let statement = &self.statements().nodes.lease_node;
        let values = (i32::from(node), holder as i64);
        match self.apply("lease_node", statement, values).await {
            Err(error) if is_unknown(&error) => self.has_lease(node, holder).await,
            leased => leased,
        }
    }

    async fn has_lease(&self, node: u16, holder: u64) -> StorageResult<bool> {
        Ok(self.holder(node).await? == Some(holder))
    }

    async fn holder(&self, node: u16) -> StorageResult<Option<u64>> {
        let statement = &self.statements().nodes.leased;
        let there: Option<(i64,)> = self.one("node_lease", statement, (i32::from(node),)).await?;
        Ok(there.map(|(holder,)| holder as u64))
    }

    /// The secrets of the installation: what `make` makes if there are none yet. Of several first
    /// starts, all get those of one.
    pub async fn secrets<E: From<StorageError>>(
        &self,
        make: impl FnOnce() -> Result<String, E>,
    ) -> Result<String, E> {
        const OP: &str = "secrets";
        let statements = &self.statements().nodes;
        let there: Option<(String,)> = self.one(OP, &statements.secrets, ()).await?;
        if let Some((text,)) = there {
            return Ok(text);
        }
        match self.apply(OP, &statements.keep_secrets, (make()?,)).await {
            Ok(_) => (),
            Err(error) if is_unknown(&error) => (),
            Err(error) => return Err(error.into()),
        }
        let there: Option<(String,)> = self.one(OP, &statements.secrets, ()).await?;
        let missing = StorageError { kind: StorageErrorKind::Unavailable, op: OP, source: None };
        there.map(|(text,)| text).ok_or_else(|| missing.into())
    }
}
