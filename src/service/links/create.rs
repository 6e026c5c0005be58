//! Creating links: drafts are judged, named and claimed, many with as few writes as possible.

use super::{Author, LinkError, LinkService};
use crate::domain::audit::Act;
use crate::domain::code::{Code, DomainId, LinkKey};
use crate::domain::destination::Destination;
use crate::domain::id::Id;
use crate::domain::limits::CODE_ATTEMPTS_MAX;
use crate::domain::link::{Link, LinkState, LinkStatus};
use crate::domain::scheme::CodeScheme;
use crate::domain::time::Timestamp;
use crate::service::codes::CodePlan;
use crate::service::draft::LinkDraft;
use crate::service::validate::judge_new;
use crate::storage::Claim;

/// Links to one destination that are looked at to find an active one.
const CANDIDATES_MAX: u32 = 100;

/// The link that a caller asked for.
#[derive(Clone, Debug)]
pub struct Made {
    pub link: Link,
    /// It was there before: the same URL has the same hash code, or the caller asked to find it.
    pub found: bool,
}

/// The ids of the links that a request makes, in the order of its drafts.
#[derive(Clone, Debug)]
pub enum CreateIds {
    /// Taken as links are made.
    Fresh,
    /// Those noted down for the request beforehand.
    Given(Vec<Id>),
    /// Those of an earlier try of the same request, which may have used them.
    Earlier(Vec<Id>),
}

impl CreateIds {
    fn of(&self, index: usize) -> Option<Id> {
        match self {
            Self::Fresh => None,
            Self::Given(ids) | Self::Earlier(ids) => ids.get(index).copied(),
        }
    }
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
    /// Creates one link.
    pub async fn create(
        &self,
        author: Author,
        draft: LinkDraft,
        ids: &CreateIds,
    ) -> Result<Made, LinkError> {
        let mut results = self.create_many(author, vec![draft], ids).await?;
        results.pop().unwrap_or(Err(LinkError::NoFreeCode))
    }

    /// The workspace's newest active link to the draft's destination, if there is one; else
    /// creates.
    pub async fn find_or_create(
        &self,
        author: Author,
        draft: LinkDraft,
        ids: &CreateIds,
    ) -> Result<Made, LinkError> {
        if let Some(made) = self.made_before(author, ids, 0).await? {
            return Ok(made);
        }
        let now = self.parts.clock.now();
        let (destination, ..) =
            judge_new(draft.clone(), &self.parts.rules, now).map_err(LinkError::Invalid)?;
        // Of many who ask for one destination at the same time, the first one creates.
        let _turn = self.turns.turn((author.workspace, &destination)).await?;
        match self.find_active(author.workspace, &destination, now).await? {
            Some(link) => Ok(Made { link, found: true }),
            None => self.create(author, draft, ids).await,
        }
    }

    /// The workspace's newest active link to the draft's destination, if there is one.
    pub async fn find_existing(
        &self,
        workspace: Id,
        draft: &LinkDraft,
    ) -> Result<Option<Link>, LinkError> {
        let now = self.parts.clock.now();
        let judged = judge_new(draft.clone(), &self.parts.rules, now);
        let (destination, ..) = judged.map_err(LinkError::Invalid)?;
        self.find_active(workspace, &destination, now).await
    }

    /// The newest link of `workspace` to `destination` whose state is active, as far as the newest
    /// ones tell.
    async fn find_active(
        &self,
        workspace: Id,
        destination: &Destination,
        now: Timestamp,
    ) -> Result<Option<Link>, LinkError> {
        let (store, domain) = (&self.parts.store, DomainId::DEFAULT);
        let to = destination.as_str();
        let found = store.find_by_destination(workspace, domain, to, CANDIDATES_MAX).await?;
        let limited: Vec<Id> =
            found.iter().filter(|link| link.max_clicks.is_some()).map(|link| link.id).collect();
        let totals = if limited.is_empty() {
            Vec::new()
        } else {
            self.parts.clicks.totals(&limited).await?
        };
        let mut totals = totals.into_iter();
        Ok(found.into_iter().find(|link| {
            let totals = link.max_clicks.and_then(|_| totals.next());
            let clicks = totals.map_or(0, |totals| totals.clicks);
            link.state(now, clicks) == LinkState::Active
        }))
    }

    /// Creates many links with as few store writes as possible; one answer per draft, in order.
    /// Fails as a whole only while nothing was created.
    pub async fn create_many(
        &self,
        author: Author,
        drafts: Vec<LinkDraft>,
        ids: &CreateIds,
    ) -> Result<Vec<Result<Made, LinkError>>, LinkError> {
        let now = self.parts.clock.now();
        let act = author.act(now);
        let mut results: Vec<Option<Result<Made, LinkError>>> = Vec::with_capacity(drafts.len());
        let mut waiting = Vec::with_capacity(drafts.len());
        for (index, draft) in drafts.into_iter().enumerate() {
            match self.made_before(author, ids, index).await {
                Ok(None) => (),
                Ok(Some(made)) => {
                    results.push(Some(Ok(made)));
                    continue;
                }
                // What became of one link is no matter of the others.
                Err(LinkError::Conflict) => {
                    results.push(Some(Err(LinkError::Conflict)));
                    continue;
                }
                Err(error) => return Err(error),
            }
            match judge_new(draft, &self.parts.rules, now) {
                Ok((destination, edit, plan)) => {
                    let id = match ids.of(index) {
                        Some(id) => id,
                        None => self.parts.ids.next().await?,
                    };
                    let plan = edit.alias.is_none().then_some(plan);
                    // The code stands in until one is made below.
                    let code = match edit.alias {
                        Some(alias) => alias,
                        None => self.placeholder(id)?,
                    };
                    let mut link = blank(id, author, code, destination, now);
                    edit.apply(&mut link);
                    if let Some(ends) = author.ends {
                        link.expires_at = Some(link.expires_at.map_or(ends, |at| at.min(ends)));
                    }
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
            match self.claim(&mut waiting, attempt, act, &mut results).await {
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
        act: Act,
        results: &mut [Option<Result<Made, LinkError>>],
    ) -> Result<(), LinkError> {
        for candidate in &mut *waiting {
            if let Some(plan) = candidate.plan {
                // A link stays who it is when the code made of its id was taken.
                let needs_id = attempt > 0 && plan.scheme == CodeScheme::Snowflake;
                let id = if needs_id { self.parts.ids.next().await? } else { candidate.link.id };
                let destination = &candidate.link.destination;
                candidate.link.code = self.parts.codes.make(plan, id, destination, attempt).await?;
            }
        }
        let links = waiting.iter().map(|candidate| candidate.link.clone()).collect();
        let claims = self.parts.table.create(links, Some(act)).await?;
        let round = std::mem::take(waiting);
        for (candidate, claim) in round.into_iter().zip(claims) {
            let result = match claim {
                Claim::Won => Ok(Made { link: candidate.link, found: false }),
                Claim::ExternalIdTaken => Err(LinkError::ExternalIdTaken),
                Claim::Taken if candidate.plan.is_none() => Err(LinkError::AliasTaken),
                Claim::Taken => match self.find_same(&candidate).await {
                    Ok(Some(link)) => Ok(Made { link, found: true }),
                    Ok(None) => {
                        waiting.push(candidate);
                        continue;
                    }
                    Err(error) => Err(error),
                },
            };
            results[candidate.index] = Some(result);
        }
        Ok(())
    }

    /// Ids for the links of a request that is to be done once.
    pub async fn new_ids(&self, n_links: usize) -> Result<Vec<Id>, LinkError> {
        let mut ids = Vec::with_capacity(n_links);
        for _ in 0..n_links {
            ids.push(self.parts.ids.next().await?);
        }
        Ok(ids)
    }

    /// The link that an earlier try of the same request made for the draft at `index`.
    async fn made_before(
        &self,
        author: Author,
        ids: &CreateIds,
        index: usize,
    ) -> Result<Option<Made>, LinkError> {
        let CreateIds::Earlier(earlier) = ids else { return Ok(None) };
        let Some(id) = earlier.get(index) else { return Ok(None) };
        let next = self.parts.store.scan(Id(id.0.saturating_sub(1)), 1).await?.pop();
        match next.filter(|link| link.id == *id && link.workspace == author.workspace) {
            // It was made, and somebody deleted it since: it is not made again.
            Some(link) if link.status == LinkStatus::Deleted => Err(LinkError::Conflict),
            Some(link) => Ok(Some(Made { link, found: false })),
            None => Ok(None),
        }
    }

    /// The link at the candidate's hash code, if it does what this one was meant to do: the same
    /// URL gives the same code.
    async fn find_same(&self, candidate: &Candidate) -> Result<Option<Link>, LinkError> {
        if candidate.plan.is_none_or(|plan| plan.scheme != CodeScheme::Hash) {
            return Ok(None);
        }
        let there = self.parts.store.read(&candidate.link.key()).await?;
        Ok(there.filter(|there| serves(there, &candidate.link)))
    }

    /// Some code, until the real one is made.
    fn placeholder(&self, id: Id) -> Result<Code, LinkError> {
        Code::parse(id.to_string().as_bytes()).map_err(|_| LinkError::NoFreeCode)
    }
}

/// True when `there` leads its visitors as `wanted` would, and carries every label that was asked
/// for. A link with a click limit has clicks of its own and stands in for no other.
fn serves(there: &Link, wanted: &Link) -> bool {
    let leads = |link: &Link| {
        let times = (link.starts_at, link.expires_at);
        (link.workspace, link.status, link.redirect_status, times, link.forward_query)
    };
    let labelled = |there: &str, wanted: &str| wanted.is_empty() || there == wanted;
    leads(there) == leads(wanted)
        && there.destination == wanted.destination
        && there.expired_url == wanted.expired_url
        && (there.max_clicks, wanted.max_clicks) == (None, None)
        && labelled(&there.title, &wanted.title)
        && labelled(&there.notes, &wanted.notes)
        && (wanted.tags.is_empty() || there.tags == wanted.tags)
        && (wanted.external_id.is_none() || there.external_id == wanted.external_id)
}

fn blank(id: Id, author: Author, code: Code, destination: Destination, now: Timestamp) -> Link {
    let key = LinkKey::new(DomainId::DEFAULT, code);
    Link {
        created_via: author.via,
        created_by: Some(author.actor),
        created_at: now,
        updated_at: now,
        ..Link::plain(id, author.workspace, key, destination)
    }
}
