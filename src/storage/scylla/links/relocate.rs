//! Moves of links to other codes, in four steps:
//!
//! 1. the link appears at its new code as *coming*, which nobody serves;
//! 2. the row at the old code becomes what the link leaves behind, and says where it went: from
//!    here on the move is made;
//! 3. the link at the new code is not coming any more;
//! 4. what leads to both is settled.
//!
//! Who meets a coming link asks the old code: the link left it, then step 3 is made up for; it is
//! still there, then whoever moves it is given some time and helped; it is there in a version from
//! which it cannot leave any more, then the new code is free again.

use tracing::warn;

use super::super::ids::signed;
use super::change::follows;
use super::index::{Phase, stamp};
use super::row::{Coming, Place, cql_time, domain, place_text};
use super::{TRIES, crowded, now};
use crate::domain::audit::Act;
use crate::domain::code::LinkKey;
use crate::domain::id::Id;
use crate::domain::link::{Link, LinkStatus};
use crate::storage::Replace;
use crate::storage::error::{Op, StorageError, StorageErrorKind, StorageResult};
use crate::storage::scylla::Cql;
use crate::storage::scylla::fault::is_unknown;

const OP: Op = "relocate_link";
/// How long whoever moves a link is left alone with it.
const MOVING_FOR_MS: i64 = 5_000;

impl Cql {
    pub(super) async fn relocate_link(
        &self,
        from: &LinkKey,
        link: &Link,
        tombstone_id: Id,
        act: Option<Act>,
    ) -> StorageResult<Replace> {
        let _turn = self.shared.links.turn(OP, from).await?;
        let Some(old) = self.link_at(OP, from).await?.filter(|old| follows(old, link)) else {
            return Ok(Replace::Stale);
        };
        if self.link_at(OP, &link.key()).await?.is_some() {
            return Ok(Replace::Taken);
        }
        let Some(dropped) = self.prepare_change(OP, &old, link).await? else {
            return Ok(Replace::ExternalIdTaken);
        };
        let tombstone = Link {
            id: tombstone_id,
            status: LinkStatus::Deleted,
            version: link.version,
            updated_at: link.updated_at,
            ..old.clone()
        };
        self.note_buckets(OP, std::iter::once(&tombstone)).await?;
        self.open_index(OP, None, &tombstone).await?;
        let coming = Coming { from: *from, tombstone: tombstone_id, since: now() };
        if !self.insert_link(OP, link, Some(&coming)).await? {
            self.stay_at_code(link, &tombstone).await;
            return Ok(Replace::Taken);
        }
        if !self.leave_code(OP, link, &coming).await.map_err(maybe_later)? {
            self.turn_back_link(OP, link, &coming).await;
            self.stay_at_code(link, &tombstone).await;
            return Ok(Replace::Stale);
        }
        let (this, arriving) = (self.clone(), link.clone());
        self.follow_up(async move { this.arrive_at_code(OP, &arriving, &coming).await }).await;
        self.complete_change(OP, (&old, link), dropped, act).await;
        self.settled_behind(OP, None, &tombstone).await;
        Ok(Replace::Done)
    }

    /// Drops what was opened for a move that will not be made.
    async fn stay_at_code(&self, link: &Link, tombstone: &Link) {
        let at = stamp(link.version, Phase::Withdrawn);
        if let Err(error) = self.drop_place(OP, link.id, link.key(), at).await {
            warn!(op = OP, %error, "rows of an index are left to their readers");
        }
        self.withdraw_index(OP, tombstone).await;
    }

    /// What everybody sees of a coming link: all of it or nothing.
    pub(super) async fn finish_move(
        &self,
        op: Op,
        link: Link,
        coming: &Coming,
    ) -> StorageResult<Option<Link>> {
        let statement = &self.statements().links.agree;
        let old = self.standing_at(op, statement, &coming.from).await?;
        let has_left = match old {
            Some(old) if old.place == (Place::Left { to: link.key() }) => true,
            Some(old) if follows(&old.link, &link) => {
                if now().0.saturating_sub(coming.since.0) < MOVING_FOR_MS {
                    return Ok(None);
                }
                self.leave_code(op, &link, coming).await?
            }
            _ => false,
        };
        if has_left {
            self.arrive_at_code(op, &link, coming).await;
            return Ok(Some(link));
        }
        self.turn_back_link(op, &link, coming).await;
        Ok(None)
    }

    /// Step 2; false when the old code does not have the version before `link`, and will not.
    async fn leave_code(&self, op: Op, link: &Link, coming: &Coming) -> StorageResult<bool> {
        let (statements, from) = (&self.statements().links, &coming.from);
        let version = i64::from(link.version);
        let mut unknown = None;
        for _ in 0..TRIES {
            let (at, to) = (cql_time(link.updated_at), place_text(&link.key()));
            let key = (domain(from.domain), from.code.as_str());
            let tombstone = signed(coming.tombstone);
            let values = (tombstone, version, at, to, key.0, key.1, signed(link.id), version - 1);
            match self.apply(op, &statements.leave, values).await {
                Ok(true) => return Ok(true),
                // Somebody who met the coming link may have helped.
                Ok(false) => (),
                Err(error) if is_unknown(&error) => unknown = Some(error),
                Err(error) => return Err(error),
            }
            match self.standing_at(op, &statements.agree, from).await? {
                Some(old) if old.place == (Place::Left { to: link.key() }) => return Ok(true),
                Some(old) if follows(&old.link, link) => (),
                _ => return Ok(false),
            }
        }
        Err(unknown.unwrap_or_else(|| crowded(op)))
    }

    /// Step 3. Who meets it undone does it.
    async fn arrive_at_code(&self, op: Op, link: &Link, coming: &Coming) {
        let (key, statement) = (link.key(), &self.statements().links.arrive);
        let from = place_text(&coming.from);
        let values = (domain(key.domain), key.code.as_str(), signed(link.id), from);
        if let Err(error) = self.apply(op, statement, values).await {
            warn!(op, %error, "a link that was moved is still noted as coming");
        }
    }

    /// Takes a coming link away again that cannot leave its old code any more.
    async fn turn_back_link(&self, op: Op, link: &Link, coming: &Coming) {
        let (key, statement) = (link.key(), &self.statements().links.turn_back);
        let from = place_text(&coming.from);
        let values = (domain(key.domain), key.code.as_str(), signed(link.id), from);
        if let Err(error) = self.apply(op, statement, values).await {
            warn!(op, %error, "a link that was not moved is still noted as coming");
        }
    }
}

/// Once a link is coming, others may finish its move: no error says that it was not made.
fn maybe_later(error: StorageError) -> StorageError {
    StorageError { kind: StorageErrorKind::Timeout, ..error }
}
