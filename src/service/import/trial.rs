//! A trial: what an import would do, found out by reading alone.

use std::collections::{HashMap, HashSet};

use super::RowOutcome;
use super::judge::{ImportContext, JudgedRow};
use super::row::ImportRow;
use crate::domain::code::{Code, DomainId, LinkKey};
use crate::domain::destination::{Destination, DestinationPolicy};
use crate::domain::id::Id;
use crate::domain::limits::CODE_ATTEMPTS_MAX;
use crate::domain::link::{Link, LinkStatus};
use crate::service::codes::CodeFault;
use crate::storage::{LinkQuery, LinkStore, StorageResult};

/// What the rows so far would have taken. Digests stand for texts, so that a row of a long file
/// costs a few bytes.
#[derive(Debug, Default)]
pub struct Trial {
    /// Code, and where it would lead.
    codes: HashMap<u64, u64>,
    external_ids: HashSet<u64>,
}

/// What one row wants for itself.
#[derive(Clone, Copy, Debug)]
pub struct RowClaim {
    /// `None`: a code is made for it, and is free.
    code: Option<u64>,
    target: u64,
    external_id: Option<u64>,
}

impl RowClaim {
    /// Reads a row that nobody judged.
    pub fn of(row: &ImportRow) -> Self {
        let anywhere = DestinationPolicy { allow_private: true, ..DestinationPolicy::default() };
        let text = row.destination.as_deref().unwrap_or_default();
        let target = Destination::parse(text, &anywhere);
        let target = target.as_ref().map_or(text, Destination::as_str);
        let deleted = row.status.as_deref() == Some(LinkStatus::Deleted.as_str());
        Self {
            code: row.code.as_deref().map(digest),
            target: target_of(target, deleted),
            external_id: row.external_id.as_deref().filter(|_| !deleted).map(digest),
        }
    }

    fn of_link(link: &Link) -> Self {
        let deleted = link.status == LinkStatus::Deleted;
        Self {
            code: None,
            target: target_of(link.destination.as_str(), deleted),
            external_id: link.external_id.as_deref().filter(|_| !deleted).map(digest),
        }
    }
}

impl Trial {
    /// What becomes of a row, given what the other end says without knowing the rows before it.
    pub fn meet(&mut self, claim: RowClaim, outcome: RowOutcome) -> RowOutcome {
        if !matches!(outcome, RowOutcome::Created | RowOutcome::ExternalIdTaken) {
            return outcome;
        }
        // The code is free at the other end, whatever may be said of the external id.
        match claim.code.and_then(|code| self.codes.get(&code)) {
            Some(target) if *target == claim.target => return RowOutcome::Unchanged,
            Some(_) => return RowOutcome::Taken,
            None => (),
        }
        let external_id = claim.external_id;
        if outcome == RowOutcome::ExternalIdTaken
            || external_id.is_some_and(|id| self.external_ids.contains(&id))
        {
            return RowOutcome::ExternalIdTaken;
        }
        self.codes.extend(claim.code.map(|code| (code, claim.target)));
        self.external_ids.extend(external_id);
        RowOutcome::Created
    }

    /// What an import of `rows` into `links` would answer, one outcome per row. `Created` stands
    /// for a row that could be imported.
    pub async fn judge(
        &mut self,
        links: &dyn LinkStore,
        rows: Vec<ImportRow>,
        context: &ImportContext,
    ) -> Result<Vec<RowOutcome>, CodeFault> {
        let mut outcomes = Vec::with_capacity(rows.len());
        for row in rows {
            outcomes.push(match row.judge(context) {
                Ok(row) => self.place(links, row).await?,
                Err(error) => RowOutcome::Invalid(error.to_string()),
            });
        }
        Ok(outcomes)
    }

    /// Goes the way of a store that takes the row in.
    async fn place(
        &mut self,
        links: &dyn LinkStore,
        row: JudgedRow,
    ) -> Result<RowOutcome, CodeFault> {
        let (plan, needs_code) = (row.plan(), row.needs_code());
        let link = row.into_link(Id(0), None).link;
        let series = if needs_code { plan.series()? } else { None };
        let claim = RowClaim::of_link(&link);
        let n_codes = match (needs_code, &series) {
            (true, None) => 0,
            (false, _) => 1,
            (true, Some(_)) => CODE_ATTEMPTS_MAX,
        };
        for attempt in 0..n_codes {
            let code = series.map_or(link.code, |it| it.code(link.destination.as_str(), attempt));
            let claim = RowClaim { code: Some(digest(code.as_str())), ..claim };
            match self.try_at(links, code, claim, &link).await? {
                RowOutcome::Taken => (),
                outcome => return Ok(outcome),
            }
        }
        match n_codes {
            // Its code is made from a number that nobody else has.
            0 => {
                let outcome = free_at_store(links, &link).await?;
                Ok(self.meet(claim, outcome))
            }
            _ => Ok(RowOutcome::Taken),
        }
    }

    async fn try_at(
        &mut self,
        links: &dyn LinkStore,
        code: Code,
        claim: RowClaim,
        link: &Link,
    ) -> StorageResult<RowOutcome> {
        Ok(match links.read(&LinkKey::new(DomainId::DEFAULT, code)).await? {
            Some(there) if is_same(&there, link) => RowOutcome::Unchanged,
            Some(_) => RowOutcome::Taken,
            None => {
                let outcome = free_at_store(links, link).await?;
                self.meet(claim, outcome)
            }
        })
    }
}

/// What a store says of a link whose code is free.
async fn free_at_store(links: &dyn LinkStore, link: &Link) -> StorageResult<RowOutcome> {
    let Some(id) = link.external_id.as_ref().filter(|_| link.status != LinkStatus::Deleted) else {
        return Ok(RowOutcome::Created);
    };
    let query = LinkQuery {
        workspace: link.workspace,
        external_id: Some(id.clone()),
        limit: 1,
        ..LinkQuery::default()
    };
    match links.list(&query).await?.links.is_empty() {
        true => Ok(RowOutcome::Created),
        false => Ok(RowOutcome::ExternalIdTaken),
    }
}

/// As stores compare: the same owner and target, and both deleted or neither.
fn is_same(there: &Link, wanted: &Link) -> bool {
    let deleted = |link: &Link| link.status == LinkStatus::Deleted;
    there.workspace == wanted.workspace
        && there.destination == wanted.destination
        && deleted(there) == deleted(wanted)
}

fn target_of(destination: &str, deleted: bool) -> u64 {
    digest(destination).wrapping_add(u64::from(deleted))
}

fn digest(text: &str) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&blake3::hash(text.as_bytes()).as_bytes()[..8]);
    u64::from_le_bytes(bytes)
}
