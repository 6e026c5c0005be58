//! New codes, in the scheme the operator or the caller chose.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::domain::code::Code;
use crate::domain::destination::Destination;
use crate::domain::id::Id;
use crate::domain::limits::ID_BLOCK_SIZE;
use crate::domain::problems::Problems;
use crate::domain::scheme::{CodeScheme, CodeSeries, snowflake_code};
use crate::domain::seal::{SEALED_IDS_MAX, SEALED_SPACE, Sealer};
use crate::storage::{NodeStore, StorageError, patience};

/// Shortest random or hashed code, in characters. Shorter ones collide at once.
pub const CODE_LENGTH_MIN: usize = 5;
/// Longest random or hashed code, in characters. Leaves room to grow after collisions.
pub const CODE_LENGTH_MAX: usize = 32;
/// Ids left in a block when the next one is taken ahead of need.
const REFILL_BELOW: u64 = ID_BLOCK_SIZE / 4;

/// `[codes]`: how new codes look.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct CodesConfig {
    /// `sealed` (8 characters, no coordination, scans are refused unread), `snowflake` (11
    /// characters, no coordination at all), `random` (7 characters) or `hash` (7 characters, from
    /// the destination).
    #[serde(with = "scheme_word")]
    pub scheme: CodeScheme,

    /// Whether a caller may choose with `code_scheme` and `code_length`. Off: an operator who wants
    /// one look, and unguessable codes, gets it.
    pub allow_choice: bool,

    /// Characters of a random or hashed code, 5 to 32. It grows by itself after 5 collisions.
    pub length: usize,
}

impl Default for CodesConfig {
    fn default() -> Self {
        Self { scheme: CodeScheme::Sealed, allow_choice: false, length: 7 }
    }
}

impl CodesConfig {
    /// Adds a line to `problems` for every value that cannot be honoured.
    pub fn check(&self, problems: &mut Problems) {
        problems.range("codes.length", self.length, CODE_LENGTH_MIN..=CODE_LENGTH_MAX);
    }
}

/// Why what a caller chose is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    #[error("the operator allows no choice of the scheme")]
    SchemeFixed,
    #[error("the operator allows no choice of the length")]
    LengthFixed,
    #[error("only random and hash codes have a length to choose")]
    NoLength,
    #[error("from {CODE_LENGTH_MIN} to {CODE_LENGTH_MAX} characters")]
    LengthOutOfRange,
}

impl CodesConfig {
    /// The scheme for one link, if the caller may choose it.
    pub fn scheme_for(&self, chosen: Option<CodeScheme>) -> Result<CodeScheme, ChoiceError> {
        match chosen {
            Some(scheme) if scheme != self.scheme && !self.allow_choice => {
                Err(ChoiceError::SchemeFixed)
            }
            Some(scheme) => Ok(scheme),
            None => Ok(self.scheme),
        }
    }

    /// The length of a code of `scheme`, if the caller may choose it.
    pub fn length_for(
        &self,
        scheme: CodeScheme,
        chosen: Option<u64>,
    ) -> Result<usize, ChoiceError> {
        let Some(length) = chosen else { return Ok(self.length) };
        if !self.allow_choice {
            return Err(ChoiceError::LengthFixed);
        }
        if !matches!(scheme, CodeScheme::Random | CodeScheme::Hash) {
            return Err(ChoiceError::NoLength);
        }
        let allowed = CODE_LENGTH_MIN..=CODE_LENGTH_MAX;
        let length = usize::try_from(length).ok().filter(|length| allowed.contains(length));
        length.ok_or(ChoiceError::LengthOutOfRange)
    }
}

/// How the code of one new link is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodePlan {
    pub scheme: CodeScheme,
    /// Of random and hashed codes; the others have one length.
    pub length: usize,
}

/// Why no code could be made. The caller answers 503.
#[derive(Debug, thiserror::Error)]
pub enum CodeFault {
    #[error("all {SEALED_IDS_MAX} ids of sealed codes are used up")]
    SpaceUsedUp,
    #[error("no random bytes: {0}")]
    Entropy(getrandom::Error),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Makes codes; shared by all who create links. Uniqueness is the store's to say.
#[derive(Clone)]
pub struct CodeMaker {
    sealer: Sealer,
    leases: Arc<Leases>,
}

struct Leases {
    store: Arc<dyn NodeStore>,
    ids: Mutex<Blocks>,
    taking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Blocks {
    current: std::ops::Range<u64>,
    spare: std::ops::Range<u64>,
}

impl CodeMaker {
    pub fn new(sealer: Sealer, store: Arc<dyn NodeStore>) -> Self {
        let leases = Leases { store, ids: Mutex::default(), taking: tokio::sync::Mutex::default() };
        Self { sealer, leases: Arc::new(leases) }
    }

    pub fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// A code for the link `id`. `attempt` counts the codes that were taken already.
    pub async fn make(
        &self,
        plan: CodePlan,
        id: Id,
        destination: &Destination,
        attempt: u32,
    ) -> Result<Code, CodeFault> {
        match plan.series()? {
            Some(series) => Ok(series.code(destination.as_str(), attempt)),
            None if plan.scheme == CodeScheme::Snowflake => Ok(snowflake_code(id.0)),
            None => Ok(self.sealer.seal(self.leases.next().await?)),
        }
    }
}

impl CodePlan {
    /// The codes to try one after the other; fresh ones at every call. `None` for schemes whose
    /// codes are no matter of chance.
    pub fn series(&self) -> Result<Option<CodeSeries>, CodeFault> {
        let hashed = match self.scheme {
            CodeScheme::Sealed | CodeScheme::Snowflake => return Ok(None),
            CodeScheme::Random => false,
            CodeScheme::Hash => true,
        };
        let mut seed = [0; 16];
        getrandom::fill(&mut seed).map_err(CodeFault::Entropy)?;
        Ok(Some(CodeSeries { hashed, length: self.length, seed }))
    }
}

impl Leases {
    /// An id nobody else has. Takes the next block in the background before this one ends.
    async fn next(self: &Arc<Self>) -> Result<u64, CodeFault> {
        loop {
            let (id, left) = self.lock().next();
            if let Some(id) = id {
                if left == REFILL_BELOW {
                    let leases = Arc::clone(self);
                    tokio::spawn(async move { leases.refill_ahead().await });
                }
                return Ok(id);
            }
            let _turn = patience::within("lease_block", self.taking.lock()).await?;
            if self.lock().is_empty() {
                self.take_block().await?;
            }
        }
    }

    async fn refill_ahead(&self) {
        let _turn = self.taking.lock().await;
        if self.lock().spare.is_empty()
            && let Err(error) = self.take_block().await
        {
            // The block in use still has ids; the next caller who finds none tries again.
            warn!(%error, "no block of code ids was taken ahead");
        }
    }

    async fn take_block(&self) -> Result<(), CodeFault> {
        let first = self.store.lease_block(SEALED_SPACE, ID_BLOCK_SIZE).await?;
        let end = first.saturating_add(ID_BLOCK_SIZE).min(SEALED_IDS_MAX);
        if first >= end {
            return Err(CodeFault::SpaceUsedUp);
        }
        self.lock().spare = first..end;
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Blocks> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Blocks {
    /// The next id and how many are left in the block it came from.
    fn next(&mut self) -> (Option<u64>, u64) {
        if self.current.is_empty() {
            self.current = std::mem::take(&mut self.spare);
        }
        let id = self.current.next();
        (id, self.current.end - self.current.start)
    }

    fn is_empty(&self) -> bool {
        self.current.is_empty() && self.spare.is_empty()
    }
}

/// The scheme as the word that operators write.
mod scheme_word {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::domain::scheme::CodeScheme;

    pub(super) fn serialize<S: Serializer>(
        scheme: &CodeScheme,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(scheme.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<CodeScheme, D::Error> {
        let word = String::deserialize(deserializer)?;
        CodeScheme::from_word(&word).ok_or_else(|| {
            let words: Vec<_> = CodeScheme::ALL.iter().map(|scheme| scheme.as_str()).collect();
            serde::de::Error::custom(format!("{word:?} is none of {}", words.join(", ")))
        })
    }
}
