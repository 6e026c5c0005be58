//! External ids: a link holds one before it carries it. Who holds one without carrying it for long
//! loses it to the next who wants it.

use scylla::value::CqlTimestamp;
use tracing::warn;

use super::super::ids::{signed, unsigned};
use super::claim::wants_external_id;
use super::row::cql_time;
use super::{GIVEN_UP_AFTER_MS, TRIES, crowded, now};
use crate::domain::id::Id;
use crate::domain::link::{Link, LinkStatus};
use crate::storage::error::{Op, StorageResult};
use crate::storage::scylla::Cql;
use crate::storage::scylla::fault::is_unknown;

/// An external id that a link holds, since a moment that tells this holding from others.
pub(super) struct Held {
    workspace: Id,
    external_id: String,
    id: Id,
    since: CqlTimestamp,
}

impl Cql {
    /// Holds an external id for `link`; `None` when another link has it. What the link holds
    /// already is held anew, so that nobody takes it for given up.
    pub(super) async fn hold_external(
        &self,
        op: Op,
        link: &Link,
        external_id: &str,
    ) -> StorageResult<Option<Held>> {
        let statements = &self.statements().links;
        let (workspace, id) = (signed(link.workspace), signed(link.id));
        let held = |since| Held {
            workspace: link.workspace,
            external_id: external_id.to_owned(),
            id: link.id,
            since,
        };
        for _ in 0..TRIES {
            let since = cql_time(now());
            let values = (workspace, external_id, id, since);
            match self.apply(op, &statements.hold_external, values).await {
                Ok(true) => return Ok(Some(held(since))),
                Ok(false) => (),
                Err(error) if is_unknown(&error) => (),
                Err(error) => return Err(error),
            }
            let Some(holder) = self.external_holder(op, link.workspace, external_id).await? else {
                continue;
            };
            if holder.id != link.id && !self.external_given_up(op, &holder).await? {
                return Ok(None);
            }
            // Later than before even if the clock is not: it tells the two apart.
            let since = CqlTimestamp(now().0.max(holder.since.0 + 1));
            let values = (id, since, workspace, external_id, signed(holder.id), holder.since);
            match self.apply(op, &statements.take_external, values).await {
                Ok(true) => return Ok(Some(held(since))),
                Ok(false) => (),
                Err(error) if is_unknown(&error) => (),
                Err(error) => return Err(error),
            }
        }
        Err(crowded(op))
    }

    /// Who holds an external id.
    pub(super) async fn external_holder(
        &self,
        op: Op,
        workspace: Id,
        external_id: &str,
    ) -> StorageResult<Option<Held>> {
        let statement = &self.statements().links.external;
        let row: Option<(i64, CqlTimestamp)> =
            self.one(op, statement, (signed(workspace), external_id)).await?;
        let external_id = external_id.to_owned();
        Ok(row.map(|(id, since)| Held { workspace, external_id, id: unsigned(id), since }))
    }

    /// The link that an external id leads to.
    pub(super) async fn of_external(
        &self,
        op: Op,
        workspace: Id,
        external_id: &str,
    ) -> StorageResult<Option<Link>> {
        let Some(holder) = self.external_holder(op, workspace, external_id).await? else {
            return Ok(None);
        };
        let link = self.link_by_id(op, holder.id).await?;
        Ok(link.filter(|link| holder.is_carried_by(link)))
    }

    /// Whether the holder does not carry it, and will not.
    async fn external_given_up(&self, op: Op, holder: &Held) -> StorageResult<bool> {
        Ok(match self.link_by_id(op, holder.id).await? {
            Some(link) if holder.is_carried_by(&link) => false,
            Some(link) if link.status == LinkStatus::Deleted => true,
            // Its write may be on its way.
            _ => now().0.saturating_sub(holder.since.0) > GIVEN_UP_AFTER_MS,
        })
    }

    /// Gives an external id back. One that is not given back is free when it was not carried for
    /// long.
    pub(super) async fn free_external(&self, op: Op, held: &Held) {
        let statement = &self.statements().links.free_external;
        let values =
            (signed(held.workspace), held.external_id.as_str(), signed(held.id), held.since);
        if let Err(error) = self.apply(op, statement, values).await {
            warn!(op, %error, "an external id stays held for a while");
        }
    }
}

impl Held {
    pub(super) fn is_carried_by(&self, link: &Link) -> bool {
        link.id == self.id
            && link.workspace == self.workspace
            && wants_external_id(link) == Some(self.external_id.as_str())
    }

    pub(super) fn is_of(&self, id: Id) -> bool {
        self.id == id
    }
}
