//! Changes of links, each from one version to the next.

use super::super::ids::signed;
use super::claim::wants_external_id;
use super::external::Held;
use super::row::replacing;
use super::{TRIES, crowded};
use crate::domain::audit::Act;
use crate::domain::link::Link;
use crate::storage::Replace;
use crate::storage::error::{Op, StorageResult};
use crate::storage::scylla::Cql;
use crate::storage::scylla::fault::is_unknown;

const OP: Op = "replace_link";

impl Cql {
    pub(super) async fn replace_link(
        &self,
        link: &Link,
        act: Option<Act>,
    ) -> StorageResult<Replace> {
        let _turn = self.shared.links.turn(OP, &link.key()).await?;
        let Some(old) = self.link_at(OP, &link.key()).await?.filter(|old| follows(old, link))
        else {
            return Ok(Replace::Stale);
        };
        let Some(dropped) = self.prepare_change(OP, &old, link).await? else {
            return Ok(Replace::ExternalIdTaken);
        };
        if !self.overwrite_link(link).await? {
            return Ok(Replace::Stale);
        }
        self.complete_change(OP, (&old, link), dropped, act).await;
        Ok(Replace::Done)
    }

    /// Writes what must be there before the truth changes. `None` when another link has the
    /// external id; else the external id to give back afterwards, if there is one.
    pub(super) async fn prepare_change(
        &self,
        op: Op,
        old: &Link,
        new: &Link,
    ) -> StorageResult<Option<Option<Held>>> {
        let external_id = |link| wants_external_id(link).map(|id| (link.workspace, id));
        let (had, has) = (external_id(old), external_id(new));
        let mut dropped = None;
        if had != has {
            if let Some((_, id)) = has
                && self.hold_external(op, new, id).await?.is_none()
            {
                return Ok(None);
            }
            if let Some((workspace, id)) = had {
                // As it is held now: should the link want it back, it holds it anew.
                let holder = self.external_holder(op, workspace, id).await?;
                dropped = holder.filter(|holder| holder.is_of(old.id));
            }
        }
        if old.destination != new.destination {
            // True of that version whether or not it is followed by this one.
            let statement = &self.statements().links.put_past;
            let values = (signed(old.id), old.version.cast_signed(), old.destination.as_str());
            self.put(op, statement, values).await?;
        }
        self.note_buckets(op, std::iter::once(new)).await?;
        self.open_index(op, Some(old), new).await?;
        Ok(Some(dropped))
    }

    /// Does and tells what belongs behind a change of the truth.
    pub(super) async fn complete_change(
        &self,
        op: Op,
        (old, new): (&Link, &Link),
        dropped: Option<Held>,
        act: Option<Act>,
    ) {
        if let Some(act) = act {
            self.tell(vec![act.changed(old, new)]).await;
        }
        let (this, old, new) = (self.clone(), old.clone(), new.clone());
        self.follow_up(async move {
            this.settle_index(op, Some(&old), &new).await;
            if let Some(held) = dropped {
                this.free_external(op, &held).await;
            }
        })
        .await;
    }

    /// Puts `link` in place of the version before it; false when that is not there.
    async fn overwrite_link(&self, link: &Link) -> StorageResult<bool> {
        let (statements, values) = (&self.statements().links, replacing(link));
        let mut unknown = None;
        for _ in 0..TRIES {
            match self.apply(OP, &statements.replace, &values).await {
                Ok(true) => return Ok(true),
                Ok(false) if unknown.is_none() => return Ok(false),
                Ok(false) => (),
                Err(error) if is_unknown(&error) => unknown = Some(error),
                Err(error) => return Err(error),
            }
            // Nobody answers: whether it was replaced stays unknown.
            let there = self.standing_at(OP, &statements.agree, &link.key()).await;
            let there = there.map_err(|error| unknown.take().unwrap_or(error))?;
            match there.map(|there| there.link) {
                Some(there) if there == *link => return Ok(true),
                Some(there) if follows(&there, link) => (),
                // Another change came first; or, of the same version on, behind this one.
                Some(there) if there.id == link.id && there.version > link.version => break,
                _ => return Ok(false),
            }
        }
        Err(unknown.unwrap_or_else(|| crowded(OP)))
    }
}

/// True when `new` is the next version of `old`.
pub(super) fn follows(old: &Link, new: &Link) -> bool {
    old.id == new.id && Some(old.version) == new.version.checked_sub(1)
}
