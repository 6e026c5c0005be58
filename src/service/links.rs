//! What callers do to links: create, change, move, delete. Finds out whether they may and whether
//! it makes sense; the link table does it.

use std::sync::Arc;

use async_trait::async_trait;

use super::codes::{CodeFault, CodeMaker, CodePlan};
use super::draft::{FieldError, LinkDraft};
use super::ids::{IdSource, IdSourceError};
use super::import::{
    BatchDigest, ImportContext, ImportRow, Names, NamingError, PreparedBatch, RowOutcome, digest_in,
};
use super::validate::{Edit, Rules, judge_change, judge_new};
use crate::actors::clicks::ClickSink;
use crate::actors::links::{LinkTable, LoadError};
use crate::domain::code::{Code, DomainId, LinkKey};
use crate::domain::destination::Destination;
use crate::domain::id::Id;
use crate::domain::link::{CreatedVia, Link, LinkState, LinkStatus, RedirectStatus};
use crate::domain::scheme::CodeScheme;
use crate::domain::time::{Clock, Timestamp};
use crate::storage::{Claim, LinkStore, Replace, StorageError};

/// Codes tried for one link before giving up: enough for a random code to grow twice.
const CODE_ATTEMPTS_MAX: u32 = 16;
/// Times a change without `If-Match` is made again after somebody else was faster.
const LOST_RACES_MAX: u32 = 5;

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
pub struct LinkService(LinkServiceParts);

/// On whose behalf links are made, and through which door.
#[derive(Clone, Copy, Debug)]
pub struct Author {
    pub workspace: Id,
    /// The API key that asks.
    pub key: Id,
    pub via: CreatedVia,
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
    #[error("the link has another version by now")]
    PreconditionFailed,
    #[error("others changed the link at the same time, again and again")]
    Conflict,
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
    Load(#[from] LoadError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A link on its way into the table.
struct Candidate {
    /// Place of its draft in the request.
    index: usize,
    link: Link,
    /// `None`: the caller chose the code.
    plan: Option<CodePlan>,
}

impl LinkService {
    pub fn new(parts: LinkServiceParts) -> Self {
        Self(parts)
    }

    pub fn rules(&self) -> &Rules {
        &self.0.rules
    }

    /// The number of a served domain, by name.
    pub fn domain(&self, name: &str) -> Option<DomainId> {
        name.eq_ignore_ascii_case(&self.0.rules.domain).then_some(DomainId::DEFAULT)
    }

    /// The link at `key` if it is there and belongs to `workspace`; else `NotFound`.
    pub async fn find(&self, workspace: Id, key: &LinkKey) -> Result<Link, LinkError> {
        let link = self.fetch_own(workspace, key).await?;
        if link.status == LinkStatus::Deleted { Err(LinkError::NotFound) } else { Ok(link) }
    }

    /// Creates one link.
    pub async fn create(&self, author: Author, draft: LinkDraft) -> Result<Link, LinkError> {
        let mut results = self.create_many(author, vec![draft]).await?;
        results.pop().unwrap_or(Err(LinkError::NoFreeCode))
    }

    /// The workspace's newest active link to the draft's destination, if there is one; else
    /// creates. The flag says whether it was there.
    pub async fn find_or_create(
        &self,
        author: Author,
        draft: LinkDraft,
    ) -> Result<(Link, bool), LinkError> {
        let now = self.0.clock.now();
        let (destination, ..) =
            judge_new(draft.clone(), &self.0.rules, now).map_err(LinkError::Invalid)?;
        let found = self
            .0
            .store
            .find_by_destination(author.workspace, DomainId::DEFAULT, destination.as_str())
            .await?;
        if let Some(link) = found {
            let totals = self.0.clicks.totals(&[link.id]).await?;
            let clicks = totals.first().map_or(0, |totals| totals.clicks);
            if link.state(now, clicks) == LinkState::Active {
                return Ok((link, true));
            }
        }
        Ok((self.create(author, draft).await?, false))
    }

    /// Creates many links with as few store writes as possible; one answer per draft, in order.
    /// Fails as a whole only while nothing was created.
    pub async fn create_many(
        &self,
        author: Author,
        drafts: Vec<LinkDraft>,
    ) -> Result<Vec<Result<Link, LinkError>>, LinkError> {
        let now = self.0.clock.now();
        let mut results: Vec<Option<Result<Link, LinkError>>> = Vec::with_capacity(drafts.len());
        let mut waiting = Vec::with_capacity(drafts.len());
        for (index, draft) in drafts.into_iter().enumerate() {
            match judge_new(draft, &self.0.rules, now) {
                Ok((destination, edit, plan)) => {
                    let id = self.0.ids.next().await?;
                    let plan = edit.alias.is_none().then_some(plan);
                    // The code stands in until one is made below.
                    let code = match edit.alias {
                        Some(alias) => alias,
                        None => self.placeholder(id)?,
                    };
                    let mut link = blank(id, author, code, destination, now);
                    edit.apply(&mut link);
                    waiting.push(Candidate { index, link, plan });
                    results.push(None);
                }
                Err(errors) => results.push(Some(Err(LinkError::Invalid(errors)))),
            }
        }

        for attempt in 0..CODE_ATTEMPTS_MAX {
            if waiting.is_empty() {
                break;
            }
            match self.claim(&mut waiting, attempt, &mut results).await {
                Ok(()) => (),
                Err(error) if attempt == 0 => return Err(error),
                Err(error) => {
                    // Some are in already and must be told; the rest is not, and is told as well.
                    tracing::warn!(%error, "a bulk create ended early");
                    break;
                }
            }
        }
        let settle = |result: Option<_>| result.unwrap_or(Err(LinkError::NoFreeCode));
        Ok(results.into_iter().map(settle).collect())
    }

    /// One round: makes the missing codes, claims all, and leaves in `waiting` those whose
    /// generated code was taken.
    async fn claim(
        &self,
        waiting: &mut Vec<Candidate>,
        attempt: u32,
        results: &mut [Option<Result<Link, LinkError>>],
    ) -> Result<(), LinkError> {
        for candidate in &mut *waiting {
            if let Some(plan) = candidate.plan {
                if plan.scheme == CodeScheme::Snowflake && attempt > 0 {
                    candidate.link.id = self.0.ids.next().await?;
                }
                let (id, destination) = (candidate.link.id, &candidate.link.destination);
                candidate.link.code = self.0.codes.make(plan, id, destination, attempt).await?;
            }
        }
        let links = waiting.iter().map(|candidate| candidate.link.clone()).collect();
        let claims = self.0.table.create(links).await?;
        let round = std::mem::take(waiting);
        for (candidate, claim) in round.into_iter().zip(claims) {
            let result = match claim {
                Claim::Won => Ok(candidate.link),
                Claim::ExternalIdTaken => Err(LinkError::ExternalIdTaken),
                Claim::Taken if candidate.plan.is_none() => Err(LinkError::AliasTaken),
                Claim::Taken => {
                    waiting.push(candidate);
                    continue;
                }
            };
            results[candidate.index] = Some(result);
        }
        Ok(())
    }

    /// Imports a batch of rows, exactly once: `None` when this one was imported before. A row that
    /// could not be read comes as the reason why, and has its outcome like the others.
    pub async fn import(
        &self,
        author: Author,
        digest: &BatchDigest,
        rows: Vec<Result<ImportRow, String>>,
    ) -> Result<Option<Vec<RowOutcome>>, LinkError> {
        let rules = &self.0.rules;
        let context = ImportContext {
            workspace: author.workspace,
            created_by: Some(author.key),
            policy: rules.policy.clone(),
            domain: rules.domain.clone(),
            sealer: self.0.codes.sealer().clone(),
            now: self.0.clock.now(),
        };
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
        let mut batch =
            PreparedBatch::new(readable, &context, self).await.map_err(LinkError::Naming)?;
        let digest = digest_in(author.workspace, digest);
        let answers = self.0.table.import(digest, batch.take_links()).await?;
        let Some(outcomes) = batch.settle(answers) else { return Ok(None) };
        let mut outcomes = outcomes.into_iter();
        let fill = |outcome: Option<_>| outcome.or_else(|| outcomes.next());
        Ok(Some(unread.into_iter().filter_map(fill).collect()))
    }

    /// Changes a link of `workspace`; moves it if the draft has another alias. Without a
    /// precondition, a change that lost a race is judged and made again on what won.
    pub async fn change(
        &self,
        workspace: Id,
        key: &LinkKey,
        precondition: &Precondition,
        draft: &LinkDraft,
    ) -> Result<Link, LinkError> {
        for _ in 0..LOST_RACES_MAX {
            let link = self.find_for_change(workspace, key, precondition).await?;
            let now = self.0.clock.now();
            let edit = judge_change(draft.clone(), &link, &self.0.rules, now)
                .map_err(LinkError::Invalid)?;
            match self.make_change(link, edit, now).await? {
                (Replace::Done, link) => return Ok(link),
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
        now: Timestamp,
    ) -> Result<(Replace, Link), LinkError> {
        let from = before.key();
        let alias = edit.alias;
        let mut link = before.clone();
        edit.apply(&mut link);
        link.code = alias.unwrap_or(link.code);
        if link == before {
            return Ok((Replace::Done, link));
        }
        count_up(&mut link, now);
        let outcome = if link.code == before.code {
            self.0.table.replace(link.clone()).await?
        } else {
            let tombstone_id = self.0.ids.next().await?;
            self.0.table.relocate(from, link.clone(), tombstone_id).await?
        };
        Ok((outcome, link))
    }

    /// Deletes a link of `workspace` for ever. With `erase_clicks` its clicks go as well; asking
    /// for that again, after the link is gone, finishes what an outage interrupted.
    pub async fn delete(
        &self,
        workspace: Id,
        key: &LinkKey,
        precondition: &Precondition,
        erase_clicks: bool,
    ) -> Result<(), LinkError> {
        for _ in 0..LOST_RACES_MAX {
            let mut link = match self.find_for_change(workspace, key, precondition).await {
                Err(LinkError::NotFound) if erase_clicks => {
                    let gone = self.fetch_own(workspace, key).await?;
                    self.0.clicks.erase(gone.id).await?;
                    return Err(LinkError::NotFound);
                }
                found => found?,
            };
            let id = link.id;
            link.status = LinkStatus::Deleted;
            count_up(&mut link, self.0.clock.now());
            match self.0.table.replace(link).await? {
                Replace::Done if erase_clicks => return Ok(self.0.clicks.erase(id).await?),
                Replace::Done => return Ok(()),
                _ if matches!(precondition, Precondition::OneOf(_)) => {
                    return Err(LinkError::PreconditionFailed);
                }
                _ => (),
            }
        }
        Err(LinkError::Conflict)
    }

    /// Forgets the clicks of a link of `workspace`.
    pub async fn reset_clicks(&self, workspace: Id, key: &LinkKey) -> Result<(), LinkError> {
        let link = self.find_for_change(workspace, key, &Precondition::None).await?;
        Ok(self.0.clicks.erase(link.id).await?)
    }

    async fn find_for_change(
        &self,
        workspace: Id,
        key: &LinkKey,
        precondition: &Precondition,
    ) -> Result<Link, LinkError> {
        let link = self.find(workspace, key).await?;
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
        let link = self.0.store.fetch(key).await?;
        link.filter(|link| link.workspace == workspace).ok_or(LinkError::NotFound)
    }

    /// Some code, until the real one is made.
    fn placeholder(&self, id: Id) -> Result<Code, LinkError> {
        Code::parse(id.to_string().as_bytes()).map_err(|_| LinkError::NoFreeCode)
    }
}

#[async_trait]
impl Names for LinkService {
    async fn id(&self) -> Result<Id, NamingError> {
        Ok(self.0.ids.next().await?)
    }

    async fn code(&self, id: Id, destination: &Destination) -> Result<Code, NamingError> {
        let codes = &self.0.rules.codes;
        let plan = CodePlan { scheme: codes.scheme, length: codes.length };
        Ok(self.0.codes.make(plan, id, destination, 0).await?)
    }
}

fn count_up(link: &mut Link, now: Timestamp) {
    link.version += 1;
    link.updated_at = now.max(link.updated_at);
}

fn blank(id: Id, author: Author, code: Code, destination: Destination, now: Timestamp) -> Link {
    Link {
        id,
        workspace: author.workspace,
        domain: DomainId::DEFAULT,
        code,
        destination,
        title: String::new(),
        notes: String::new(),
        tags: Vec::new(),
        status: LinkStatus::Active,
        redirect_status: RedirectStatus::default(),
        starts_at: None,
        expires_at: None,
        expired_url: None,
        max_clicks: None,
        forward_query: true,
        external_id: None,
        created_via: author.via,
        created_by: Some(author.key),
        created_at: now,
        updated_at: now,
        version: 1,
    }
}
