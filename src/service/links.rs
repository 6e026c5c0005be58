//! What callers do to links: create, change, move, delete. Finds out whether they may and whether
//! it makes sense; the link table does it.

mod create;

use std::sync::Arc;

pub use create::{CreateIds, Made};

use super::access::Actor;
use super::codes::{CodeFault, CodeMaker};
use super::draft::{FieldError, LinkDraft};
use super::ids::{IdSource, IdSourceError};
use super::import::{
    BatchDigest, ImportContext, ImportRow, NamingError, NewNames, OtherRows, PreparedBatch,
    RowOutcome, Settled, Trial, digest_in,
};
use super::stripes::Stripes;
use super::validate::{Edit, Rules, judge_change};
use crate::actors::clicks::ClickSink;
use crate::actors::links::{LinkTable, LoadError};
use crate::domain::audit::{Act, Shown};
use crate::domain::click::ClickTotals;
use crate::domain::code::{DomainId, LinkKey};
use crate::domain::id::Id;
use crate::domain::limits::CODE_ATTEMPTS_MAX;
use crate::domain::link::{CreatedVia, Link, LinkStatus};
use crate::domain::network::ClientNetwork;
use crate::domain::time::{Clock, Timestamp};
use crate::storage::{LinkStore, Replace, StorageError};

/// Times a change without `If-Match` is made again. Changes of this service take turns: only a
/// write whose answer was lost can still come between.
const LOST_RACES_MAX: u32 = 5;
/// Links without an account that are taken over before more are looked for.
const ADOPTED_AT_ONCE: u32 = 100;

/// Everything the service needs.
pub struct LinkServiceParts {
    pub table: LinkTable,
    pub store: Arc<dyn LinkStore>,
    pub clicks: ClickSink,
    pub ids: Arc<IdSource>,
    pub codes: CodeMaker,
    pub rules: Rules,
    pub clock: Arc<dyn Clock>,
}

/// Creates, changes and deletes links. Shared by all workers.
pub struct LinkService {
    parts: LinkServiceParts,
    /// One change of a link at a time, so that none fails because of others, and one search for a
    /// destination that may end in a new link.
    turns: Stripes,
}

/// On whose behalf links are made, and through which door.
#[derive(Clone, Copy, Debug)]
pub struct Author {
    pub workspace: Id,
    /// The user that asks, the API key that is nobody's, or the anonymous token.
    pub actor: Id,
    pub via: CreatedVia,
    /// No link of it lives longer; `None`: for ever.
    pub ends: Option<Timestamp>,
    pub shown: Shown,
    pub from: Option<ClientNetwork>,
}

impl Author {
    /// Somebody who makes links that live for ever.
    pub fn of(by: &Actor, via: CreatedVia) -> Self {
        let Act { workspace, shown, from, .. } = by.act(Timestamp::default());
        Self { workspace, actor: by.grant.actor(), via, ends: None, shown, from }
    }

    /// What the audit log is told of links that are made now.
    fn act(&self, at: Timestamp) -> Act {
        let Self { workspace, shown, from, .. } = *self;
        Act { at, workspace, actor: Some(self.actor), shown, from }
    }
}

/// What `If-Match` demands of the version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    None,
    /// `*`: any version, as long as there is one.
    Exists,
    /// One of these versions.
    OneOf(Vec<u32>),
}

/// Why a link was not created, changed or found.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("fields are not acceptable")]
    Invalid(Vec<FieldError>),
    #[error("the alias is taken")]
    AliasTaken,
    #[error("another link of the workspace has this external id")]
    ExternalIdTaken,
    #[error("there is no such link")]
    NotFound,
    #[error("the link is another workspace's")]
    Foreign(Id),
    #[error("the link has another version by now")]
    PreconditionFailed,
    #[error("others changed the link at the same time, again and again")]
    Conflict,
    #[error("the link was made by somebody else")]
    NotYours(Id),
    #[error("the link is blocked; its owner cannot change it")]
    Blocked,
    #[error("{CODE_ATTEMPTS_MAX} codes in a row were taken")]
    NoFreeCode,
    #[error(transparent)]
    Code(#[from] CodeFault),
    #[error(transparent)]
    Id(#[from] IdSourceError),
    #[error("rows cannot be named: {0}")]
    Naming(NamingError),
    #[error(transparent)]
    OtherRows(#[from] OtherRows),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl LinkService {
    pub fn new(parts: LinkServiceParts) -> Self {
        Self { parts, turns: Stripes::default() }
    }

    pub fn rules(&self) -> &Rules {
        &self.parts.rules
    }

    /// The number of a served domain, by name.
    pub fn domain(&self, name: &str) -> Option<DomainId> {
        name.eq_ignore_ascii_case(&self.parts.rules.domain).then_some(DomainId::DEFAULT)
    }

    /// The link at `key` if it is there and belongs to `workspace`; else `NotFound` or `Foreign`,
    /// which nobody outside may tell apart.
    pub async fn find(&self, workspace: Id, key: &LinkKey) -> Result<Link, LinkError> {
        let link = self.fetch_own(workspace, key).await?;
        if link.status == LinkStatus::Deleted { Err(LinkError::NotFound) } else { Ok(link) }
    }

    /// Imports a batch of rows, exactly once: one that was imported before has the outcomes of
    /// then. A row that could not be read comes as the reason why, and has its outcome like the
    /// others.
    pub async fn import(
        &self,
        author: Author,
        digest: &BatchDigest,
        rows: Vec<Result<ImportRow, String>>,
    ) -> Result<Settled, LinkError> {
        let (readable, unread) = apart(rows);
        let context = self.import_context(author);
        let parts = &self.parts;
        let names = NewNames { ids: Arc::clone(&parts.ids), codes: parts.codes.clone() };
        let mut batch =
            PreparedBatch::new(readable, &context, &names).await.map_err(LinkError::Naming)?;
        let digest = digest_in(author.workspace, digest);
        let (fingerprint, links) = (batch.fingerprint(), batch.take_links());
        let act = Some(author.act(context.now));
        let answers = self.parts.table.import(digest, fingerprint, links, act).await?;
        let Settled { outcomes, replayed } = batch.settle(&answers)?;
        Ok(Settled { outcomes: together(unread, outcomes), replayed })
    }

    /// What an import of these rows would answer for each of them. Writes nothing.
    pub async fn try_import(
        &self,
        author: Author,
        rows: Vec<Result<ImportRow, String>>,
    ) -> Result<Vec<RowOutcome>, LinkError> {
        let (readable, unread) = apart(rows);
        let context = self.import_context(author);
        let links = self.parts.store.as_ref();
        let outcomes = Trial::default().judge(links, readable, &context).await?;
        Ok(together(unread, outcomes))
    }

    fn import_context(&self, author: Author) -> ImportContext {
        let rules = &self.parts.rules;
        ImportContext {
            workspace: author.workspace,
            created_by: Some(author.actor),
            policy: rules.policy.clone(),
            domain: rules.domain.clone(),
            sealer: self.parts.codes.sealer().clone(),
            codes: rules.codes.clone(),
            now: self.parts.clock.now(),
        }
    }

    /// Changes a link that `by` may change; moves it if the draft has another alias. Changes of one
    /// link take turns, each judged on what the one before left. Answers its clicks as well, read
    /// before: nothing that can fail comes after the change.
    pub async fn change(
        &self,
        by: &Actor,
        key: &LinkKey,
        precondition: &Precondition,
        draft: &LinkDraft,
    ) -> Result<(Link, ClickTotals), LinkError> {
        let _turn = self.turns.turn(key).await?;
        for _ in 0..LOST_RACES_MAX {
            let link = self.find_for_change(by, key, precondition).await?;
            let totals = self.parts.clicks.totals(&[link.id]).await?;
            let totals = totals.first().copied().unwrap_or_default();
            let now = self.parts.clock.now();
            let edit = judge_change(draft.clone(), &link, &self.parts.rules, now)
                .map_err(LinkError::Invalid)?;
            match self.make_change(link, edit, by.act(now)).await? {
                (Replace::Done, link) => return Ok((link, totals)),
                (Replace::Taken, _) => return Err(LinkError::AliasTaken),
                (Replace::ExternalIdTaken, _) => return Err(LinkError::ExternalIdTaken),
                (Replace::Stale, _) if matches!(precondition, Precondition::OneOf(_)) => {
                    return Err(LinkError::PreconditionFailed);
                }
                (Replace::Stale, _) => (),
            }
        }
        Err(LinkError::Conflict)
    }

    async fn make_change(
        &self,
        before: Link,
        edit: Edit,
        act: Act,
    ) -> Result<(Replace, Link), LinkError> {
        let from = before.key();
        let alias = edit.alias;
        let mut link = before.clone();
        edit.apply(&mut link);
        link.code = alias.unwrap_or(link.code);
        if link == before {
            return Ok((Replace::Done, link));
        }
        count_up(&mut link, act.at);
        let outcome = if link.code == before.code {
            self.parts.table.replace(link.clone(), Some(act)).await?
        } else {
            let tombstone_id = self.parts.ids.next().await?;
            self.parts.table.relocate(from, link.clone(), tombstone_id, Some(act)).await?
        };
        Ok((outcome, link))
    }

    /// Deletes a link that `by` may change for ever. With `erase_clicks` its clicks go as well;
    /// asking for that again, after the link is gone, finishes what an outage interrupted.
    pub async fn delete(
        &self,
        by: &Actor,
        key: &LinkKey,
        precondition: &Precondition,
        erase_clicks: bool,
    ) -> Result<(), LinkError> {
        let _turn = self.turns.turn(key).await?;
        for _ in 0..LOST_RACES_MAX {
            let mut link = match self.find_for_change(by, key, precondition).await {
                Err(LinkError::NotFound) if erase_clicks => {
                    let gone = self.fetch_own(by.grant.workspace, key).await?;
                    if !by.grant.may_change(gone.created_by) {
                        return Err(LinkError::NotFound);
                    }
                    let act = by.act(self.parts.clock.now());
                    self.parts.clicks.erase(gone.id, Some(act)).await?;
                    return Err(LinkError::NotFound);
                }
                found => found?,
            };
            let id = link.id;
            link.status = LinkStatus::Deleted;
            let act = by.act(self.parts.clock.now());
            count_up(&mut link, act.at);
            match self.parts.table.replace(link, Some(act)).await? {
                Replace::Done if erase_clicks => {
                    return Ok(self.parts.clicks.erase(id, Some(act)).await?);
                }
                Replace::Done => return Ok(()),
                _ if matches!(precondition, Precondition::OneOf(_)) => {
                    return Err(LinkError::PreconditionFailed);
                }
                _ => (),
            }
        }
        Err(LinkError::Conflict)
    }

    /// Forgets the clicks of a link that `by` may change; a click limit begins again.
    pub async fn reset_clicks(&self, by: &Actor, key: &LinkKey) -> Result<(), LinkError> {
        let _turn = self.turns.turn(key).await?;
        let link = self.find_for_change(by, key, &Precondition::None).await?;
        // Held until it is refilled: a visit meanwhile must not load the clicks of before.
        let limited = link.max_clicks.is_some();
        let allowance = if limited { self.parts.table.allowance(*key).await? } else { None };
        let act = by.act(self.parts.clock.now());
        self.parts.clicks.erase(link.id, Some(act)).await?;
        if allowance.is_some() {
            self.parts.table.refill(link.id).await?;
        }
        Ok(())
    }

    /// Makes the links that were made with the anonymous token `from` those of the caller, for
    /// good; answers how many. What others took over meanwhile is theirs.
    pub async fn adopt(&self, by: &Actor, from: Id) -> Result<u64, LinkError> {
        let mut n_adopted = 0;
        loop {
            let (links, _) = self.parts.store.anonymous(from, None, ADOPTED_AT_ONCE).await?;
            let mut n_done = 0;
            for link in links {
                let _turn = self.turns.turn(&link.key()).await?;
                let mut link = Link {
                    workspace: by.grant.workspace,
                    created_by: Some(by.grant.actor()),
                    expires_at: None,
                    ..link
                };
                let act = by.act(self.parts.clock.now());
                count_up(&mut link, act.at);
                let outcome = self.parts.table.replace(link, Some(act)).await?;
                n_done += u64::from(outcome == Replace::Done);
            }
            n_adopted += n_done;
            if n_done == 0 {
                return Ok(n_adopted);
            }
        }
    }

    async fn find_for_change(
        &self,
        by: &Actor,
        key: &LinkKey,
        precondition: &Precondition,
    ) -> Result<Link, LinkError> {
        let link = self.find(by.grant.workspace, key).await?;
        if !by.grant.may_change(link.created_by) {
            return Err(LinkError::NotYours(link.id));
        }
        if link.status == LinkStatus::Blocked {
            return Err(LinkError::Blocked);
        }
        match precondition {
            Precondition::OneOf(versions) if !versions.contains(&link.version) => {
                Err(LinkError::PreconditionFailed)
            }
            _ => Ok(link),
        }
    }

    async fn fetch_own(&self, workspace: Id, key: &LinkKey) -> Result<Link, LinkError> {
        match self.parts.store.read(key).await? {
            Some(link) if link.workspace == workspace => Ok(link),
            Some(link) => Err(LinkError::Foreign(link.id)),
            None => Err(LinkError::NotFound),
        }
    }
}

/// The rows that can be read, and in the places of the others why they cannot.
fn apart(rows: Vec<Result<ImportRow, String>>) -> (Vec<ImportRow>, Vec<Option<RowOutcome>>) {
    let mut unread = Vec::with_capacity(rows.len());
    let mut readable = Vec::with_capacity(rows.len());
    for row in rows {
        match row {
            Ok(row) => {
                readable.push(row);
                unread.push(None);
            }
            Err(reason) => unread.push(Some(RowOutcome::Invalid(reason))),
        }
    }
    (readable, unread)
}

/// Puts the outcomes of the readable rows into their places.
fn together(unread: Vec<Option<RowOutcome>>, outcomes: Vec<RowOutcome>) -> Vec<RowOutcome> {
    let mut outcomes = outcomes.into_iter();
    unread.into_iter().filter_map(|outcome| outcome.or_else(|| outcomes.next())).collect()
}

fn count_up(link: &mut Link, now: Timestamp) {
    link.version += 1;
    link.updated_at = now.max(link.updated_at);
}
