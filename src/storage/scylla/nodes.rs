//! What keeps nodes apart.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;

use super::Cql;
use super::fault::is_unknown;
use crate::domain::id::NODES_MAX;
use crate::domain::time::Timestamp;
use crate::storage::NodeStore;
use crate::storage::error::{Op, StorageError, StorageErrorKind, StorageResult};

/// How often to try against others who want the same.
const TRIES: u32 = 100;
/// How long a process relies on its lease of ten minutes: less, because clocks run differently.
const LEASE_HELD: Duration = Duration::from_secs(570);

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
        self.check_lease(OP)?;
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

    /// A lease that ran out while the database was away is taken again, if nobody had it since.
    async fn renew_node(&self, node: u16, holder: u64) -> StorageResult<bool> {
        const OP: &str = "renew_node";
        let (statements, asked) = (&self.statements().nodes, Instant::now());
        let (number, name) = (i32::from(node), holder as i64);
        let values = (name, number, name);
        let mut renewed = self.settled(OP, &statements.renew_node, values, (node, holder)).await?;
        if !renewed {
            renewed = self.settled(OP, &statements.retake_node, values, (node, holder)).await?;
        }
        self.shared.lease.set(if renewed { asked + LEASE_HELD } else { asked });
        Ok(renewed)
    }

    async fn release_node(&self, node: u16, holder: u64) -> StorageResult<()> {
        let statement = &self.statements().nodes.release_node;
        let values = (i32::from(node), holder as i64);
        self.apply("release_node", statement, values).await.map(|_| ())
    }
}

/// Until when this process may use its node number.
#[derive(Default)]
pub(super) struct Lease(Mutex<Option<Instant>>);

impl Lease {
    fn set(&self, until: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
    }

    fn is_over(&self) -> bool {
        let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| until <= Instant::now())
    }
}

impl Cql {
    /// Refuses what is done under the number of this node when another process may have it by now.
    pub(super) fn check_lease(&self, op: Op) -> StorageResult<()> {
        if self.shared.lease.is_over() {
            let kind = StorageErrorKind::Unavailable;
            return Err(StorageError::new(kind, op, "the lease of the node number ran out"));
        }
        Ok(())
    }

    async fn try_lease(&self, node: u16, holder: u64) -> StorageResult<bool> {
        const OP: &str = "lease_node";
        if let Some(there) = self.holder(node).await? {
            return Ok(there == holder);
        }
        let (statements, asked) = (&self.statements().nodes, Instant::now());
        let (number, name, who) = (i32::from(node), holder as i64, (node, holder));
        // Used only when both are there: who takes it again must know of everybody who used it.
        let leased = self.settled(OP, &statements.lease_node, (name, number), who).await?
            && self.settled(OP, &statements.note_holder, (name, number, name), who).await?;
        if leased {
            self.shared.lease.set(asked + LEASE_HELD);
        }
        Ok(leased)
    }

    /// A conditional write that leaves `holder` with `node`, or changes nothing.
    async fn settled(
        &self,
        op: Op,
        statement: &PreparedStatement,
        values: impl SerializeRow,
        (node, holder): (u16, u64),
    ) -> StorageResult<bool> {
        match self.apply(op, statement, values).await {
            Err(error) if is_unknown(&error) => Ok(self.holder(node).await? == Some(holder)),
            answer => answer,
        }
    }

    async fn holder(&self, node: u16) -> StorageResult<Option<u64>> {
        let statement = &self.statements().nodes.leased;
        let there: Option<(Option<i64>,)> =
            self.one("node_lease", statement, (i32::from(node),)).await?;
        Ok(there.and_then(|(holder,)| holder).map(|holder| holder as u64))
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
