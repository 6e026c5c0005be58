//! Links from elsewhere: rows become links, with ids and codes, in batches that are imported
//! exactly once. The command line and the API share this.

mod judge;
mod row;
mod trial;

use std::sync::Arc;

use async_trait::async_trait;

pub use judge::{ImportContext, JudgedRow, RowError};
pub use row::{ImportRow, read_time, write_time};
pub use trial::{RowClaim, Trial};

use crate::domain::api_key::KeyDigest;
use crate::domain::code::Code;
use crate::domain::destination::Destination;
use crate::domain::id::Id;
use crate::domain::scheme::CodeSeries;
use crate::service::codes::{CodeMaker, CodePlan};
use crate::service::ids::IdSource;
use crate::storage::{BatchAnswer, Imported, ImportedLink};

/// Names a batch: the same rows at the same place of a file have the same digest.
pub type BatchDigest = [u8; 16];

/// Why a new link could not be named. The whole batch waits.
pub type NamingError = Box<dyn std::error::Error + Send + Sync>;

/// Gives new links what makes them unique.
#[async_trait]
pub trait Names: Send + Sync {
    /// An id that no entity has.
    async fn id(&self) -> Result<Id, NamingError>;

    /// A code for the link `id`, made by `plan`.
    async fn code(
        &self,
        plan: CodePlan,
        id: Id,
        destination: &Destination,
    ) -> Result<NewCode, NamingError>;
}

/// A code that was made for a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewCode {
    pub code: Code,
    /// Where to go on when it is taken.
    pub series: Option<CodeSeries>,
}

/// Names new links as creating one does.
#[derive(Clone)]
pub struct NewNames {
    pub ids: Arc<IdSource>,
    pub codes: CodeMaker,
}

/// What became of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowOutcome {
    Created,
    /// The code already leads there.
    Unchanged,
    /// The code leads elsewhere, or was deleted.
    Taken,
    ExternalIdTaken,
    /// The row breaks a rule; why, for a person.
    Invalid(String),
    /// The batch was imported before; what became of this row then is not remembered.
    Unknown,
}

/// Another batch was imported under the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the batch of this name had other rows")]
pub struct OtherRows;

#[async_trait]
impl Names for NewNames {
    async fn id(&self) -> Result<Id, NamingError> {
        Ok(self.ids.next().await?)
    }

    async fn code(
        &self,
        plan: CodePlan,
        id: Id,
        destination: &Destination,
    ) -> Result<NewCode, NamingError> {
        NewCode::make(&self.codes, plan, id, destination).await
    }
}

impl NewCode {
    /// The first code for the link `id`, with those to try after it.
    pub async fn make(
        codes: &CodeMaker,
        plan: CodePlan,
        id: Id,
        destination: &Destination,
    ) -> Result<Self, NamingError> {
        let series = plan.series()?;
        let code = match &series {
            Some(series) => series.code(destination.as_str(), 0),
            None => codes.make(plan, id, destination, 0).await?,
        };
        Ok(Self { code, series })
    }
}

impl RowOutcome {
    /// The word for it on the wire.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Unchanged => "unchanged",
            Self::Taken => "taken",
            Self::ExternalIdTaken => "external_id_taken",
            Self::Invalid(_) => "invalid",
            Self::Unknown => "unknown",
        }
    }

    /// Reads what [`as_str`](Self::as_str) wrote.
    pub fn from_word(word: &str, detail: Option<String>) -> Option<Self> {
        match word {
            "created" => Some(Self::Created),
            "unchanged" => Some(Self::Unchanged),
            "taken" => Some(Self::Taken),
            "external_id_taken" => Some(Self::ExternalIdTaken),
            "invalid" => Some(Self::Invalid(detail.unwrap_or_default())),
            "unknown" => Some(Self::Unknown),
            _ => None,
        }
    }
}

impl From<Imported> for RowOutcome {
    fn from(imported: Imported) -> Self {
        match imported {
            Imported::Created | Imported::Recoded(_) => Self::Created,
            Imported::Unchanged => Self::Unchanged,
            Imported::Taken => Self::Taken,
            Imported::ExternalIdTaken => Self::ExternalIdTaken,
        }
    }
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// One per row, in order.
    pub outcomes: Vec<RowOutcome>,
    /// The batch was imported before, and these are the outcomes of then.
    pub replayed: bool,
}

/// A batch between judging and storing: `links` go to the store, `settle` takes its answer.
#[derive(Debug)]
pub struct PreparedBatch {
    fingerprint: KeyDigest,
    links: Vec<ImportedLink>,
    /// One per row; empty where a link waits for the store's answer.
    outcomes: Vec<Option<RowOutcome>>,
}

impl PreparedBatch {
    /// Judges every row and names those that pass.
    pub async fn new(
        rows: Vec<ImportRow>,
        context: &ImportContext,
        names: &dyn Names,
    ) -> Result<Self, NamingError> {
        let mut batch = Self {
            fingerprint: fingerprint(&rows)?,
            links: Vec::with_capacity(rows.len()),
            outcomes: Vec::with_capacity(rows.len()),
        };
        for row in rows {
            match row.judge(context) {
                Err(error) => batch.refuse(&error),
                Ok(row) => {
                    let id = names.id().await?;
                    let made = match row.needs_code() {
                        true => Some(names.code(row.plan(), id, row.destination()).await?),
                        false => None,
                    };
                    batch.links.push(row.into_link(id, made));
                    batch.outcomes.push(None);
                }
            }
        }
        Ok(batch)
    }

    /// Takes the links out, for the store.
    pub fn take_links(&mut self) -> Vec<ImportedLink> {
        std::mem::take(&mut self.links)
    }

    /// Tells this batch from others under the same name.
    pub fn fingerprint(&self) -> KeyDigest {
        self.fingerprint
    }

    /// One outcome per row, given the store's answers.
    pub fn settle(self, answers: &BatchAnswer) -> Result<Settled, OtherRows> {
        let n_links = self.outcomes.iter().filter(|outcome| outcome.is_none()).count();
        let (replayed, rows) = match answers {
            BatchAnswer::New(rows) => (false, rows),
            BatchAnswer::Known(rows) => (true, rows),
            BatchAnswer::Mismatch => return Err(OtherRows),
        };
        // Rules may have changed since: then the answers of that time fit no row any more.
        let fits = !replayed || rows.len() == n_links;
        let mut rows = rows.iter().copied().filter(|_| fits);
        let settled = self.outcomes.into_iter().map(|outcome| {
            let missing = || match replayed {
                true => RowOutcome::Unknown,
                // A store that answers too little has not kept its contract; nothing is claimed.
                false => RowOutcome::Invalid("the store did not answer for it".to_owned()),
            };
            outcome.or_else(|| rows.next().map(RowOutcome::from)).unwrap_or_else(missing)
        });
        Ok(Settled { outcomes: settled.collect(), replayed })
    }

    fn refuse(&mut self, error: &RowError) {
        self.outcomes.push(Some(RowOutcome::Invalid(error.to_string())));
    }
}

/// The rows in the one way in which an export writes them, whatever text they came from.
fn fingerprint(rows: &[ImportRow]) -> Result<KeyDigest, NamingError> {
    let mut hasher = blake3::Hasher::new_derive_key("shunt 2026 rows of an import");
    for row in rows {
        serde_json::to_writer(&mut hasher, row)?;
    }
    Ok(*hasher.finalize().as_bytes())
}

/// The digest under which a store remembers a batch of `workspace`: two workspaces may import the
/// same file.
pub fn digest_in(workspace: Id, digest: &BatchDigest) -> BatchDigest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&workspace.0.to_le_bytes()).update(digest);
    let mut scoped = BatchDigest::default();
    hasher.finalize_xof().fill(&mut scoped);
    scoped
}

#[cfg(test)]
mod tests;
