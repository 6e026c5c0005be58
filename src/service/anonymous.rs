//! Links without an account: whoever has the token that came with the first one may list them, make
//! more, and take them over after signing in.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::access::Actor;
use super::draft::{FieldCode, FieldError, LinkDraft};
use super::ids::{IdSource, IdSourceError};
use super::limits::{Allowance, Limiter, Refused};
use super::links::{Author, CreateIds, LinkError, LinkService};
use crate::domain::audit::Shown;
use crate::domain::id::Id;
use crate::domain::link::{CreatedVia, Link};
use crate::domain::network::ClientNetwork;
use crate::domain::problems::Problems;
use crate::domain::ticket::{Ticket, TicketKind};
use crate::domain::time::{Clock, millis};
use crate::domain::units::Span;
use crate::storage::{AccountStore, LinkStore, StorageError, Workspace};

const TOKEN_CONTEXT: &str = "shunt 2026 ids of anonymous tokens";
/// Ids fit into the signed column of a store.
const ID_BITS: u64 = (1 << 63) - 1;

/// `[anonymous]`: links without an account.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnonymousConfig {
    /// Whether anybody may make links.
    pub enabled: bool,
    /// Links per half hour of one token, and of one client network (/24 or /64), 0 to 1,000,000; 0
    /// is unlimited.
    pub links_per_30_minutes: u32,
    /// How long such a link lives at most, unless somebody takes it over, 1h to 365d.
    pub lifetime: Span,
}

impl Default for AnonymousConfig {
    fn default() -> Self {
        let lifetime = Span::from_secs(30 * 86_400);
        Self { enabled: false, links_per_30_minutes: 5, lifetime }
    }
}

impl AnonymousConfig {
    /// Adds a line to `problems` for every value that cannot be honoured.
    pub fn check(&self, problems: &mut Problems) {
        let lives = Span::from_secs(3_600)..=Span::from_secs(365 * 86_400);
        problems.range("anonymous.links_per_30_minutes", self.links_per_30_minutes, 0..=1_000_000);
        problems.range("anonymous.lifetime", self.lifetime, lives);
    }
}

/// What links without an account need.
pub struct AnonymousParts {
    pub config: AnonymousConfig,
    pub accounts: Arc<dyn AccountStore>,
    pub links: Arc<dyn LinkStore>,
    pub limits: Arc<Limiter>,
    pub ids: Arc<IdSource>,
    pub clock: Arc<dyn Clock>,
    /// The installation's secret.
    pub secret: [u8; 32],
}

/// Makes, lists and hands over links without an account. Shared by all workers.
pub struct Anonymous {
    parts: AnonymousParts,
    /// All of these links belong to it. `None`: none are made.
    workspace: Option<Id>,
    token_key: [u8; 32],
}

/// Whoever has an anonymous token.
pub struct Holder {
    ticket: Ticket,
    /// A keyed hash of the token, which stands for it: no store keeps tokens.
    id: Id,
}

/// A link that was made, and how many more may be.
pub struct MadeWithout {
    pub link: Link,
    pub ticket: Ticket,
    /// `None`: as many as one likes.
    pub remaining: Option<u32>,
    /// What the answer tells of limits.
    pub shown: Allowance,
}

/// Why a link was not made, listed or taken over.
#[derive(Debug, thiserror::Error)]
pub enum AnonymousError {
    #[error("links without an account are not made here")]
    Off,
    #[error("the anonymous token is malformed")]
    MalformedToken,
    #[error("too many links")]
    TooMany(Refused),
    #[error("no random bytes: {0}")]
    Entropy(getrandom::Error),
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Id(#[from] IdSourceError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Anonymous {
    /// Finds the workspace of such links, or makes it, where they are switched on.
    pub async fn open(parts: AnonymousParts) -> Result<Self, AnonymousError> {
        let workspace = match parts.config.enabled {
            true => Some(Self::workspace(&parts).await?),
            false => None,
        };
        let token_key = blake3::derive_key(TOKEN_CONTEXT, &parts.secret);
        Ok(Self { parts, workspace, token_key })
    }

    async fn workspace(parts: &AnonymousParts) -> Result<Id, AnonymousError> {
        let own = Workspace {
            id: parts.ids.next().await?,
            name: "anonymous".to_owned(),
            operator: false,
            created_at: parts.clock.now(),
        };
        Ok(parts.accounts.anonymous_workspace(own).await?)
    }

    pub fn is_on(&self) -> bool {
        self.workspace.is_some()
    }

    /// Whoever shows `token`; a new one where there is none. Kinds: `Off`, `MalformedToken`.
    pub fn holder(&self, token: Option<&str>) -> Result<Holder, AnonymousError> {
        if !self.is_on() {
            return Err(AnonymousError::Off);
        }
        let ticket = match token {
            Some(text) => Ticket::parse(TicketKind::Anonymous, text),
            None => {
                let mut entropy = [0; 32];
                getrandom::fill(&mut entropy).map_err(AnonymousError::Entropy)?;
                Some(Ticket::new(TicketKind::Anonymous, &entropy))
            }
        };
        let ticket = ticket.ok_or(AnonymousError::MalformedToken)?;
        let digest = ticket.digest(&self.token_key);
        let first = digest.first_chunk().copied().unwrap_or_default();
        Ok(Holder { ticket, id: Id(u64::from_le_bytes(first) & ID_BITS) })
    }

    /// Makes a link that lives for a while.
    pub async fn create(
        &self,
        links: &LinkService,
        holder: Holder,
        draft: LinkDraft,
        client: IpAddr,
    ) -> Result<MadeWithout, AnonymousError> {
        // It would tell what strangers called theirs.
        if draft.external_id.is_set() {
            let detail = "links without an account have no `external_id`";
            let fault = FieldError::new("/external_id", FieldCode::NotAvailable, detail);
            return Err(LinkError::Invalid(vec![fault]).into());
        }
        let limits = &self.parts.limits;
        let n = self.parts.config.links_per_30_minutes;
        let attempt = limits.anonymous(client, holder.id, n).await;
        let attempt = attempt.map_err(AnonymousError::TooMany)?;
        let lifetime = millis(self.parts.config.lifetime.0);
        let author = Author {
            workspace: self.workspace.ok_or(AnonymousError::Off)?,
            actor: holder.id,
            shown: Shown::Nothing,
            from: Some(ClientNetwork::of(client)),
            via: CreatedVia::Anonymous,
            ends: Some(self.parts.clock.now().plus_millis(lifetime)),
        };
        match links.create(author, draft, &CreateIds::Fresh).await {
            Ok(made) => {
                let shown = attempt.shown();
                // It was made: the charge stays.
                attempt.failed();
                let remaining = shown.0.iter().map(|measured| measured.verdict.remaining).min();
                Ok(MadeWithout { link: made.link, ticket: holder.ticket, remaining, shown })
            }
            Err(error) => {
                attempt.cancelled().await;
                Err(error.into())
            }
        }
    }

    /// Links of a token that nobody took over, the newest first: at most `limit` with an id below
    /// `before`, and how many there are in all.
    pub async fn list(
        &self,
        holder: &Holder,
        before: Option<Id>,
        limit: u32,
    ) -> Result<(Vec<Link>, u64), AnonymousError> {
        Ok(self.parts.links.anonymous(holder.id, before, limit).await?)
    }

    /// Makes the links of a token those of the caller, for good; answers how many.
    pub async fn claim(
        &self,
        links: &LinkService,
        holder: &Holder,
        by: &Actor,
    ) -> Result<u64, AnonymousError> {
        Ok(links.adopt(by, holder.id).await?)
    }
}

impl Holder {
    /// Who asks, for what is bound to a caller.
    pub fn id(&self) -> Id {
        self.id
    }
}
