//! Budgets for guesses: logins, link passwords, and what strangers can have sent or made.
//!
//! A guess is charged before it is judged, so that a thousand at once get as many tries as one
//! after the other. What turns out right is taken back. While buckets cannot be had, guesses are
//! refused.
//!
//! Nobody can be locked out by strangers: the budget of a whole account counts only failures from
//! networks that the account never signed in from, and only those are refused by it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tracing::debug;

use super::{Allowance, Asked, Limit, Limiter, Measured};
use crate::domain::bucket::Quota;
use crate::domain::id::Id;
use crate::domain::network::ClientNetwork;

/// In which failures are counted: a quarter of an hour.
const FAILURES_WINDOW_MS: u32 = 15 * 60_000;
/// When to try again while the buckets cannot be had.
const NO_BUCKETS_RETRY: Duration = Duration::from_secs(1);

/// A guess that may not be made now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub retry_after: Duration,
    /// What the answer may tell of the limits.
    pub shown: Allowance,
}

/// A guess that may be made, and is charged. It stays charged unless it is told how it went.
#[must_use = "an attempt that is not told of a success stays charged as a failure"]
pub struct Attempt {
    limiter: Arc<Limiter>,
    asked: Vec<Asked>,
    allowance: Allowance,
}

impl Attempt {
    /// The guess was wrong: the charge stays.
    pub fn failed(self) {}

    /// The guess was right: it is no failure, and earlier ones of the same client with the same
    /// account or link are forgotten. Those of the client elsewhere are not, nor those of others.
    pub async fn succeeded(self) {
        let own = |asked: &&Asked| matches!(asked.limit, Limit::Login | Limit::LinkPassword);
        let pairs: Vec<_> = self.asked.iter().filter(own).map(|asked| asked.take.bucket).collect();
        for pair in pairs {
            if let Err(error) = self.limiter.parts.buckets.fill(pair).await {
                debug!(%error, "failed guesses were not forgotten after a right one");
            }
        }
        let others = self.asked.into_iter().filter(|asked| !own(&asked)).collect();
        self.limiter.put_back(others).await;
    }

    /// Nobody looked whether the guess was right: it is as if it had not been made.
    pub async fn cancelled(self) {
        self.limiter.put_back(self.asked).await;
    }

    /// What the answer may tell of the limits.
    pub fn shown(&self) -> Allowance {
        shown(&self.allowance)
    }
}

/// The budget of an account tells what others do, and whether the caller was ever signed in.
fn shown(allowance: &Allowance) -> Allowance {
    let tells = |measured: &&Measured| measured.limit != Limit::LoginAccount;
    Allowance(allowance.0.iter().filter(tells).copied().collect())
}

impl Limiter {
    /// Charges an attempt to sign in to `account`, a digest of the name that was given, whether
    /// there is such an account or not; `None` for a name that cannot be one. `known_client`: the
    /// account signed in from this network before.
    pub async fn login(
        self: &Arc<Self>,
        client: IpAddr,
        account: Option<&[u8; 32]>,
        known_client: bool,
    ) -> Result<Attempt, Refused> {
        let network = ClientNetwork::of(client);
        let network = network.as_bytes();
        let config = &self.parts.config;
        let quota = |n| Quota::new(n, FAILURES_WINDOW_MS);
        let per_client = quota(config.login_failures_per_client);
        let mut asked = Vec::with_capacity(3);
        if let Some(account) = account {
            let per_pair = quota(config.login_failures_per_15_minutes);
            asked.extend(self.ask(Limit::Login, per_pair, &[network, account], 1));
        }
        asked.extend(self.ask(Limit::LoginClient, per_client, &[network], 1));
        if let Some(account) = account.filter(|_| !known_client) {
            let per_account = quota(config.login_failures_per_account);
            asked.extend(self.ask(Limit::LoginAccount, per_account, &[account], 1));
        }
        self.attempt(asked).await
    }

    /// Charges a password that a client gave for a link.
    pub async fn link_password(
        self: &Arc<Self>,
        link: Id,
        client: IpAddr,
    ) -> Result<Attempt, Refused> {
        let network = ClientNetwork::of(client);
        let quota =
            Quota::new(self.parts.config.password_guesses_per_15_minutes, FAILURES_WINDOW_MS);
        let link = link.0.to_le_bytes();
        let asked = self.ask(Limit::LinkPassword, quota, &[network.as_bytes(), &link], 1);
        self.attempt(asked.into_iter().collect()).await
    }

    /// Charges a registration. Cancel the attempt when none was made.
    pub async fn registration(self: &Arc<Self>, client: IpAddr) -> Result<Attempt, Refused> {
        let network = ClientNetwork::of(client);
        let quota = Quota::per_hour(self.parts.config.registrations_per_hour_per_client);
        let asked = self.ask(Limit::Registrations, quota, &[network.as_bytes()], 1);
        self.attempt(asked.into_iter().collect()).await
    }

    /// Charges a mail to `address`, a digest of it, that a stranger asked for.
    pub async fn mail(self: &Arc<Self>, address: &[u8; 32]) -> Result<Attempt, Refused> {
        let quota = Quota::per_hour(self.parts.config.mails_per_hour_per_address);
        let asked = self.ask(Limit::Mails, quota, &[address], 1);
        self.attempt(asked.into_iter().collect()).await
    }

    pub(super) async fn attempt(self: &Arc<Self>, asked: Vec<Asked>) -> Result<Attempt, Refused> {
        match self.try_charge(&asked).await {
            Ok(allowance) if allowance.allowed() => {
                Ok(Attempt { limiter: Arc::clone(self), asked, allowance })
            }
            Ok(allowance) => Err(Refused {
                retry_after: Duration::from_secs(allowance.retry_after_secs()),
                shown: shown(&allowance),
            }),
            Err(error) => {
                debug!(%error, "limits could not be looked at; a guess was refused");
                self.parts.metrics.rate_limit_unkept.inc();
                Err(Refused { retry_after: NO_BUCKETS_RETRY, shown: Allowance::default() })
            }
        }
    }
}
