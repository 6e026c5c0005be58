//! New links: whoever inserts first at a code has it, for good.

use super::row::{Coming, Place, inserting};
use super::{TRIES, crowded, each, waves};
use crate::domain::audit::Act;
use crate::domain::code::LinkKey;
use crate::domain::id::Id;
use crate::domain::link::{Link, LinkStatus};
use crate::storage::Claim;
use crate::storage::error::{Op, StorageResult};
use crate::storage::scylla::Cql;
use crate::storage::scylla::fault::is_unknown;

const OP: Op = "claim_links";

/// What links of one call must not share.
#[derive(PartialEq, Eq, Hash)]
pub(super) enum Wanted {
    Code(LinkKey),
    ExternalId(Id, String),
}

/// What became of a new link.
pub(super) enum Placed {
    Won,
    /// By what stands there; `None` while that is on its way.
    Taken(Option<Box<Link>>),
    ExternalIdTaken,
}

impl Cql {
    pub(super) async fn claim_all(
        &self,
        links: Vec<Link>,
        act: Option<Act>,
    ) -> StorageResult<Vec<Claim>> {
        self.note_buckets(OP, links.iter()).await?;
        // Of links that want the same, the first in the call comes first.
        let (first, others) = waves(links.len(), |n| wanted(&links[n]));
        let claim = |n: usize| {
            let link = &links[n];
            // An error is an answer here, so that the others go on.
            async move { Ok((n, self.claim_link(link).await)) }
        };
        let mut claims = each(first, claim).await?;
        for n in others {
            claims.push(claim(n).await?);
        }
        claims.sort_by_key(|(n, _)| *n);
        if let Some(act) = act {
            let won = claims.iter().filter(|(_, claim)| matches!(claim, Ok(Claim::Won)));
            self.tell(won.map(|(n, _)| act.created(&links[*n])).collect()).await;
        }
        claims.into_iter().map(|(_, claim)| claim).collect()
    }

    async fn claim_link(&self, link: &Link) -> StorageResult<Claim> {
        Ok(match self.place_link(OP, link).await? {
            Placed::Won => Claim::Won,
            Placed::Taken(_) => Claim::Taken,
            Placed::ExternalIdTaken => Claim::ExternalIdTaken,
        })
    }

    /// Puts a new link at its code. Its buckets are noted before.
    pub(super) async fn place_link(&self, op: Op, link: &Link) -> StorageResult<Placed> {
        let _turn = self.shared.links.turn(op, &link.key()).await?;
        // Most that is taken is taken for long: found out without a write.
        if let Some(there) = self.link_at(op, &link.key()).await? {
            return Ok(Placed::Taken(Some(Box::new(there))));
        }
        let held = match wants_external_id(link) {
            Some(external_id) => {
                let held = self.hold_external(op, link, external_id).await?;
                if held.is_none() {
                    return Ok(Placed::ExternalIdTaken);
                }
                held
            }
            None => None,
        };
        self.open_index(op, None, link).await?;
        if self.insert_link(op, link, None).await? {
            self.settled_behind(op, None, link).await;
            return Ok(Placed::Won);
        }
        let there = self.link_at(op, &link.key()).await?;
        if there.as_ref().is_none_or(|there| there.id != link.id) {
            let (this, link) = (self.clone(), link.clone());
            self.follow_up(async move {
                this.withdraw_index(op, &link).await;
                if let Some(held) = held {
                    this.free_external(op, &held).await;
                }
            })
            .await;
        }
        Ok(Placed::Taken(there.map(Box::new)))
    }

    /// Settles what leads to `new`, also when that takes longer than anybody waits.
    pub(super) async fn settled_behind(&self, op: Op, old: Option<&Link>, new: &Link) {
        let (this, old, new) = (self.clone(), old.cloned(), new.clone());
        self.follow_up(async move { this.settle_index(op, old.as_ref(), &new).await }).await;
    }

    /// Inserts a row of `links`; false when another stands there.
    pub(super) async fn insert_link(
        &self,
        op: Op,
        link: &Link,
        coming: Option<&Coming>,
    ) -> StorageResult<bool> {
        let (statements, values) = (&self.statements().links, inserting(link, coming));
        let mut unknown = None;
        for _ in 0..TRIES {
            match self.apply(op, &statements.insert, &values).await {
                Ok(true) => return Ok(true),
                // It may be the one that an earlier try put there.
                Ok(false) if unknown.is_none() => return Ok(false),
                Ok(false) => (),
                Err(error) if is_unknown(&error) => unknown = Some(error),
                Err(error) => return Err(error),
            }
            // Nobody answers: whether it was inserted stays unknown.
            let there = self.standing_at(op, &statements.agree, &link.key()).await;
            let there = there.map_err(|error| unknown.take().unwrap_or(error))?;
            if let Some(there) = there {
                let is_same = coming.is_none_or(|it| there.place == Place::Coming(*it));
                return Ok(there.link.id == link.id && is_same);
            }
        }
        Err(unknown.unwrap_or_else(|| crowded(op)))
    }
}

/// The external id that a link must have for itself: a deleted one has none.
pub(super) fn wants_external_id(link: &Link) -> Option<&str> {
    link.external_id.as_deref().filter(|_| link.status != LinkStatus::Deleted)
}

pub(super) fn wanted(link: &Link) -> Vec<Wanted> {
    let external = wants_external_id(link);
    let external = external.map(|id| Wanted::ExternalId(link.workspace, id.to_owned()));
    [Some(Wanted::Code(link.key())), external].into_iter().flatten().collect()
}
