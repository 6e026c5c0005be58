//! Limits: how much everybody may ask for, kept in token buckets.
//!
//! The buckets lie behind a port, in memory on one node. What limits the API and what keeps guesses
//! away differ when the buckets cannot be had: requests pass, guesses are refused. Time is steady:
//! a wall clock that jumps neither locks anybody out nor lets anybody in.

mod anonymous;
mod config;
mod guesses;
#[cfg(test)]
mod tests;
mod visits;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use tracing::debug;

pub use config::{LimitsConfig, WorkspaceLimits};
pub use guesses::{Attempt, Refused};
pub use visits::{VisitLimit, VisitLimits};

use self::config::ApiLimits;
use crate::domain::bucket::{Quota, Verdict};
use crate::domain::id::Id;
use crate::domain::network::ClientNetwork;
use crate::domain::time::SteadyClock;
use crate::service::access::{Credential, Grant};
use crate::storage::buckets::{BucketKey, BucketStore, LocalBuckets, NoRoom, Take};
use crate::storage::{AccountStore, StorageResult, Workspace};
use crate::telemetry::metrics::{LimitLabel, Metrics};

/// How often workspaces are looked up again that limits are set for by name.
const LOOK_UP_EVERY: Duration = Duration::from_secs(10);

/// Everything that is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    Key,
    Workspace,
    LinkCreates,
    Unauthenticated,
    UnknownCodes,
    Redirects,
    Login,
    LoginClient,
    LoginAccount,
    LinkPassword,
    Registrations,
    Mails,
    AnonymousToken,
    AnonymousClient,
}

impl Limit {
    /// Its name in answers, metrics and buckets.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Workspace => "workspace",
            Self::LinkCreates => "link_creates",
            Self::Unauthenticated => "unauthenticated",
            Self::UnknownCodes => "unknown_codes",
            Self::Redirects => "redirects",
            Self::Login => "login",
            Self::LoginClient => "login_client",
            Self::LoginAccount => "login_account",
            Self::LinkPassword => "link_password",
            Self::Registrations => "registrations",
            Self::Mails => "mails",
            Self::AnonymousToken => "anonymous_token",
            Self::AnonymousClient => "anonymous_client",
        }
    }

    /// What becomes of requests whose bucket cannot be kept.
    const fn when_no_room(self) -> NoRoom {
        match self {
            Self::Key
            | Self::Workspace
            | Self::LinkCreates
            | Self::Unauthenticated
            | Self::UnknownCodes
            | Self::Redirects => NoRoom::Pass,
            Self::Login
            | Self::LoginClient
            | Self::LoginAccount
            | Self::LinkPassword
            | Self::Registrations
            | Self::Mails
            | Self::AnonymousToken
            | Self::AnonymousClient => NoRoom::Refuse,
        }
    }
}

/// Who asks, as far as limits go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    pub workspace: Id,
    /// The workspace is the operator's own.
    pub operator: bool,
    /// `None`: a person who is signed in.
    pub key: Option<Id>,
    /// The user, or the key of none.
    pub account: Id,
}

impl Subject {
    /// The one whom a credential was given to.
    pub fn of(grant: &Grant) -> Self {
        let key = match grant.credential {
            Credential::Key(key) => Some(key),
            Credential::Session(_) | Credential::Outside(_) => None,
        };
        let (workspace, operator) = (grant.workspace, grant.operator);
        Self { workspace, operator, key, account: grant.actor() }
    }
}

/// A limit that applied to a request, and what it said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    pub limit: Limit,
    pub quota: Quota,
    pub verdict: Verdict,
}

/// What all the limits of a request said. Empty where nothing is limited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowance(pub Vec<Measured>);

impl Allowance {
    /// True unless a limit refused.
    pub fn allowed(&self) -> bool {
        self.0.iter().all(|measured| measured.verdict.allowed)
    }

    /// The first limit that refused.
    pub fn refused_by(&self) -> Option<Limit> {
        self.0.iter().find(|measured| !measured.verdict.allowed).map(|measured| measured.limit)
    }

    /// Whole seconds, at least one, after which none of those that refused would refuse again.
    pub fn retry_after_secs(&self) -> u64 {
        let refused = self.0.iter().filter(|measured| !measured.verdict.allowed);
        let millis = refused.map(|measured| measured.verdict.retry_after_ms).max();
        millis.unwrap_or(0).div_ceil(1_000).max(1)
    }
}

/// Where limits are kept, and by which time.
pub struct LimiterParts {
    pub config: LimitsConfig,
    /// The installation's secret: all nodes name a bucket alike.
    pub secret: [u8; 32],
    pub buckets: Arc<dyn BucketStore>,
    /// For limits on visits, which every node keeps for itself.
    pub local: Arc<dyn LocalBuckets>,
    pub accounts: Arc<dyn AccountStore>,
    pub clock: Arc<dyn SteadyClock>,
    pub metrics: Arc<Metrics>,
}

/// Judges requests by the limits. Shared by all workers.
pub struct Limiter {
    parts: LimiterParts,
    secret: [u8; 32],
    /// Limits of the workspaces that some are set for.
    set: ArcSwap<HashMap<Id, WorkspaceLimits, RandomState>>,
}

impl Limiter {
    /// Looks up the workspaces that limits are set for. Kinds: those of the store.
    pub async fn open(parts: LimiterParts) -> StorageResult<Self> {
        let secret = blake3::derive_key("shunt 2026 names of token buckets", &parts.secret);
        let limiter = Self { parts, secret, set: ArcSwap::default() };
        limiter.look_up().await?;
        Ok(limiter)
    }

    /// Follows the names of workspaces, for as long as it is polled. Spawn it.
    pub async fn follow(self: Arc<Self>) {
        if self.parts.config.workspaces.is_empty() {
            return;
        }
        loop {
            tokio::time::sleep(LOOK_UP_EVERY).await;
            if let Err(error) = self.look_up().await {
                debug!(%error, "the workspaces that limits are set for were not looked up");
            }
        }
    }

    async fn look_up(&self) -> StorageResult<()> {
        let named = &self.parts.config.workspaces;
        if named.is_empty() {
            return Ok(());
        }
        let names = named.iter().map(|limits| limits.name.clone()).collect();
        let workspaces = self.parts.accounts.workspaces_called(names).await?;
        let meant = |limits: &WorkspaceLimits| {
            let is = |workspace: &&Workspace| {
                workspace.name == limits.name || workspace.id.to_string() == limits.name
            };
            Some((workspaces.iter().find(is)?.id, limits.clone()))
        };
        self.set.store(Arc::new(named.iter().filter_map(meant).collect()));
        Ok(())
    }

    /// Charges a request of an authenticated caller.
    pub async fn request(&self, subject: &Subject) -> Allowance {
        let limits = self.limits_of(subject);
        let workspace = subject.workspace.0.to_le_bytes();
        let key = subject.key.unwrap_or_default().0.to_le_bytes();
        let per_key = if subject.key.is_some() { limits.key_requests_per_hour } else { 0 };
        let per_workspace = limits.workspace_requests_per_minute;
        let takes = [
            self.ask(Limit::Key, Quota::per_hour(per_key), &[&key], 1),
            self.ask(Limit::Workspace, Quota::per_minute(per_workspace), &[&workspace], 1),
        ];
        self.charge(takes.into_iter().flatten().collect()).await
    }

    /// Charges a request without a credential that is in force.
    pub async fn unauthenticated(&self, client: IpAddr) -> Allowance {
        self.charge(self.nobody(client).into_iter().collect()).await
    }

    /// Takes back what [`Self::unauthenticated`] charged.
    pub async fn was_authenticated(&self, client: IpAddr) {
        self.put_back(self.nobody(client).into_iter().collect()).await;
    }

    fn nobody(&self, client: IpAddr) -> Option<Asked> {
        let quota = Quota::per_minute(self.parts.config.unauthenticated_requests_per_minute);
        let network = ClientNetwork::of(client);
        self.ask(Limit::Unauthenticated, quota, &[network.as_bytes()], 1)
    }

    /// Charges the creation of `n_links` links, all or none.
    pub async fn creates(&self, subject: &Subject, n_links: u32) -> Allowance {
        self.charge(self.creation(subject, n_links).into_iter().collect()).await
    }

    /// Takes back the charge of links that were not created after all.
    pub async fn not_created(&self, subject: &Subject, n_links: u32) -> Allowance {
        self.put_back(self.creation(subject, n_links).into_iter().collect()).await
    }

    fn creation(&self, subject: &Subject, n_links: u32) -> Option<Asked> {
        let quota = Quota::per_hour(self.limits_of(subject).link_creates_per_hour);
        let account = subject.account.0.to_le_bytes();
        self.ask(Limit::LinkCreates, quota, &[&account], n_links)
    }

    /// The limits on visits, for the threads that answer them.
    pub fn visits(&self) -> VisitLimits {
        VisitLimits::new(self)
    }

    fn limits_of(&self, subject: &Subject) -> ApiLimits {
        let limits = self.parts.config.of(subject.operator);
        match self.set.load().get(&subject.workspace) {
            Some(set) => set.or(limits),
            None => limits,
        }
    }

    /// What to take from which bucket; `None` where `quota.n` is 0, which is unlimited.
    fn ask(&self, limit: Limit, quota: Quota, parts: &[&[u8]], cost: u32) -> Option<Asked> {
        if quota.n == 0 {
            return None;
        }
        let bucket = BucketKey::new(&self.secret, limit.as_str(), parts);
        let take = Take { bucket, quota, cost, when_no_room: limit.when_no_room() };
        Some(Asked { limit, take })
    }

    /// Takes all or nothing, and counts a refusal. Passes while the buckets cannot be had.
    async fn charge(&self, asked: Vec<Asked>) -> Allowance {
        match self.try_charge(&asked).await {
            Ok(allowance) => allowance,
            Err(error) => {
                debug!(%error, "limits could not be looked at; a request passed without");
                self.parts.metrics.rate_limit_unkept.inc();
                Allowance::default()
            }
        }
    }

    async fn try_charge(&self, asked: &[Asked]) -> StorageResult<Allowance> {
        if asked.is_empty() {
            return Ok(Allowance::default());
        }
        let takes: Vec<Take> = asked.iter().map(|asked| asked.take).collect();
        let verdicts = self.parts.buckets.take(&takes, self.now_ms()).await?;
        let allowance = measured(asked, &verdicts);
        for refused in allowance.0.iter().filter(|measured| !measured.verdict.allowed) {
            self.count(refused.limit);
        }
        Ok(allowance)
    }

    async fn put_back(&self, asked: Vec<Asked>) -> Allowance {
        if asked.is_empty() {
            return Allowance::default();
        }
        let takes: Vec<Take> = asked.iter().map(|asked| asked.take).collect();
        match self.parts.buckets.put_back(&takes, self.now_ms()).await {
            Ok(verdicts) => measured(&asked, &verdicts),
            Err(error) => {
                debug!(%error, "a charge was not taken back");
                Allowance::default()
            }
        }
    }

    fn now_ms(&self) -> u64 {
        self.parts.clock.elapsed_ms()
    }

    fn count(&self, limit: Limit) {
        let label = LimitLabel { limit: limit.as_str() };
        self.parts.metrics.rate_limited.get_or_create(&label).inc();
    }
}

/// Tokens to be taken for the sake of a limit.
#[derive(Clone, Copy, Debug)]
struct Asked {
    limit: Limit,
    take: Take,
}

fn measured(asked: &[Asked], verdicts: &[Verdict]) -> Allowance {
    let pairs = asked.iter().zip(verdicts);
    let measured = pairs.map(|(asked, verdict)| Measured {
        limit: asked.limit,
        quota: asked.take.quota,
        verdict: *verdict,
    });
    Allowance(measured.collect())
}

/// Time since the process asked for it first.
#[derive(Clone, Copy, Debug)]
pub struct SinceStart(Instant);

impl Default for SinceStart {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl SteadyClock for SinceStart {
    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
