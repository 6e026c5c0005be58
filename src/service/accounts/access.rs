//! Who sends a request: a key, or somebody who is signed in. Found out without asking any store.
//!
//! Access tokens say what their holder may do for as long as they are good. What changed since
//! they were made, ended sessions and other roles, is followed here for as long as any token can
//! be older than the change.

use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use papaya::HashMap;
use tracing::{info, warn};

use crate::domain::account::{AccessChange, Role};
use crate::domain::id::Id;
use crate::domain::time::{Clock, Timestamp};
use crate::service::access::{Credential, Grant};
use crate::service::keys::KeyRing;
use crate::service::tokens::{AccessClaims, KeyChain, TokenFault};
use crate::storage::people::SessionStore;
use crate::storage::{AccountStore, StorageResult};

/// How often the store is asked what other processes changed: the bound within which a session
/// that was ended elsewhere is over here.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// How long changes are kept: longer than the longest life of an access token.
const KEEP_MS: i64 = 2 * 3_600_000;
/// Polls between two times at which what is over is forgotten.
const POLLS_PER_PRUNE: u32 = 60;

/// Knows who may do what. Shared by all workers.
pub struct Access {
    parts: AccessParts,
    /// The operator's own workspace.
    operators: Option<Id>,
    /// Sessions that ended, and when.
    ended: HashMap<Id, Timestamp, RandomState>,
    /// What users are now where that changed, by workspace and user.
    roles: HashMap<(Id, Id), (Timestamp, Option<Role>), RandomState>,
    /// Number of the last change that was read.
    seen: tokio::sync::Mutex<u64>,
}

/// What access is judged by.
pub struct AccessParts {
    pub keys: Arc<KeyRing>,
    pub tokens: Arc<KeyChain>,
    pub accounts: Arc<dyn AccountStore>,
    pub sessions: Arc<dyn SessionStore>,
    pub clock: Arc<dyn Clock>,
}

impl Access {
    /// Reads what changed of late. Kinds: those of the stores.
    pub async fn open(parts: AccessParts) -> StorageResult<Self> {
        let operators = parts.accounts.operator_workspace().await?.map(|workspace| workspace.id);
        let access = Self {
            parts,
            operators,
            ended: HashMap::default(),
            roles: HashMap::default(),
            seen: tokio::sync::Mutex::default(),
        };
        access.refresh().await?;
        Ok(access)
    }

    pub fn keys(&self) -> &Arc<KeyRing> {
        &self.parts.keys
    }

    pub fn tokens(&self) -> &Arc<KeyChain> {
        &self.parts.tokens
    }

    /// What the holder of an access token may do now.
    pub fn token(&self, text: &str) -> Result<Grant, TokenFault> {
        self.parts
            .tokens
            .verify(text, self.parts.clock.now())
            .and_then(|claims| self.judge(&claims))
    }

    /// Like `token`, but asks the store before a token is refused whose key nobody here knows.
    pub async fn token_fresh(&self, text: &str) -> Result<Grant, TokenFault> {
        let claims = self.parts.tokens.verify_fresh(text, self.parts.clock.now()).await?;
        self.judge(&claims)
    }

    fn judge(&self, claims: &AccessClaims) -> Result<Grant, TokenFault> {
        if self.ended.pin().contains_key(&claims.session) {
            return Err(TokenFault::Expired);
        }
        let role = self.role_now(claims.workspace, claims.user, claims.role);
        let role = role.ok_or(TokenFault::Expired)?;
        Ok(Grant {
            credential: Credential::Session(claims.session),
            user: Some(claims.user),
            workspace: claims.workspace,
            operator: self.is_operators(claims.workspace),
            role,
            scopes: claims.scope.within(role.scopes()),
        })
    }

    /// What a user is in a workspace now that was `before` a while ago.
    pub(super) fn role_now(&self, workspace: Id, user: Id, before: Role) -> Option<Role> {
        self.roles.pin().get(&(workspace, user)).map_or(Some(before), |(_, role)| *role)
    }

    pub(super) fn is_operators(&self, workspace: Id) -> bool {
        self.operators == Some(workspace)
    }

    /// Whether what somebody showed a while ago is still good. Counts no use of a key.
    pub fn is_in_force(&self, grant: &Grant) -> bool {
        match (grant.credential, grant.user) {
            (Credential::Key(id), _) => self.parts.keys.is_in_force(id),
            (Credential::Session(session), _) if self.ended.pin().contains_key(&session) => false,
            (_, user) => {
                let user = user.unwrap_or_default();
                self.role_now(grant.workspace, user, grant.role).is_some()
            }
        }
    }

    /// Puts changes into force here that the store has by now.
    pub(super) fn apply(&self, at: Timestamp, changes: impl IntoIterator<Item = AccessChange>) {
        for change in changes {
            match change {
                AccessChange::SessionEnded { session } => {
                    self.ended.pin().insert(session, at);
                }
                AccessChange::RoleChanged { workspace, user, role } => {
                    self.roles.pin().insert((workspace, user), (at, role));
                }
            }
        }
    }

    /// Ends sessions here that the store has ended.
    pub(super) fn end(&self, at: Timestamp, sessions: impl IntoIterator<Item = Id>) {
        let changes = sessions.into_iter().map(|session| AccessChange::SessionEnded { session });
        self.apply(at, changes);
    }

    /// Follows the store, and forgets what is over there and here, for as long as it is polled.
    /// Spawn it.
    pub async fn follow(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(POLL_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut reachable, mut polls) = (true, 0_u32);
        loop {
            ticks.tick().await;
            let mut outcome = self.refresh().await;
            if polls.is_multiple_of(POLLS_PER_PRUNE) {
                outcome = outcome.and(self.prune().await);
            }
            polls = polls.wrapping_add(1);
            match (&outcome, reachable) {
                (Err(error), true) => warn!(%error, "changes of access cannot be followed"),
                (Ok(()), false) => info!("changes of access are followed again"),
                _ => (),
            }
            reachable = outcome.is_ok();
        }
    }

    /// Reads what other processes changed.
    pub async fn refresh(&self) -> StorageResult<()> {
        let mut seen = self.seen.lock().await;
        for (number, at, change) in self.parts.sessions.access_changes(*seen).await? {
            self.apply(at, [change]);
            *seen = number;
        }
        Ok(())
    }

    async fn prune(&self) -> StorageResult<()> {
        let now = self.parts.clock.now();
        let before = now.plus_millis(-KEEP_MS);
        self.ended.pin().retain(|_, at| *at >= before);
        self.roles.pin().retain(|_, (at, _)| *at >= before);
        self.parts.sessions.prune_access(now, before).await
    }
}
