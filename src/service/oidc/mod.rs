//! Signing in with OpenID Connect providers, and bearer tokens that they issue.
//!
//! Nothing is asked of a provider before somebody needs it, so one that is away holds up no start.
//! What it publishes is kept (`refreshed`); a sign-in under way is kept by
//! the browser (`pending`).

mod config;
mod discovery;
mod fault;
mod fetch;
mod flow;
mod keys;
mod pending;
mod provider;
mod refreshed;
mod return_to;
#[cfg(test)]
mod tests;
mod token;
mod verified;

use std::sync::Arc;

pub use config::{OidcConfig, ProviderConfig, SigningAlgorithm, TokenAuth};
pub use fault::{OidcFault, TokenFault};
pub use flow::{Begun, Callback, Finished};
use pending::PendingSealer;
use provider::Provider;
pub use return_to::ReturnTo;
use token::{Compact, TOKEN_BYTES_MAX};
use verified::{Verified, VerifiedCache};

use crate::domain::time::Clock;

/// Somebody as a provider knows them. `issuer` and `subject` together are who it is, for good;
/// everything else may change and may be wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalIdentity {
    /// Id of the provider in the configuration.
    pub provider: String,
    pub issuer: String,
    pub subject: String,
    /// As the provider writes it; may not be an address at all.
    pub email: Option<String>,
    /// Whether the provider says that it has seen the person use the address.
    pub email_verified: bool,
    pub name: Option<String>,
}

/// A provider as people see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProviderView<'a> {
    pub id: &'a str,
    pub name: &'a str,
    /// Whether somebody new gets an account.
    pub provision: bool,
}

/// All providers. Shared by all workers.
pub struct Oidc {
    providers: Vec<Provider>,
    /// `http.public_url` without a slash at the end.
    site: String,
    sealer: PendingSealer,
    verified: VerifiedCache,
    clock: Arc<dyn Clock>,
}

impl Oidc {
    /// Asks no provider anything. `secret` is that of the installation. Fails when the system has
    /// no certificates to trust.
    pub fn new(
        config: &OidcConfig,
        public_url: &str,
        secret: &[u8; 32],
        clock: Arc<dyn Clock>,
    ) -> Result<Self, reqwest::Error> {
        let providers = config.providers.iter();
        let providers = providers.map(|provider| Provider::new(provider.clone(), &clock));
        Ok(Self {
            providers: providers.collect::<Result<_, _>>()?,
            site: public_url.trim_end_matches('/').to_owned(),
            sealer: PendingSealer::new(secret),
            verified: VerifiedCache::new(),
            clock,
        })
    }

    /// The providers in the order of the configuration.
    pub fn providers(&self) -> impl Iterator<Item = ProviderView<'_>> {
        self.providers.iter().map(|Provider { config, .. }| ProviderView {
            id: &config.id,
            name: &config.name,
            provision: config.provision,
        })
    }

    /// True when bearer tokens of some provider are taken.
    pub fn takes_bearers(&self) -> bool {
        self.providers.iter().any(|provider| !provider.config.audiences.is_empty())
    }

    /// Who a bearer token stands for. One that was seen a moment ago costs one hash. Faults:
    /// `Token`, `Unavailable`.
    pub async fn verify_bearer(&self, text: &str) -> Result<Arc<ExternalIdentity>, OidcFault> {
        // Before anything is computed over it.
        if text.len() > TOKEN_BYTES_MAX || !self.takes_bearers() {
            return Err(TokenFault::Malformed.into());
        }
        let digest = VerifiedCache::digest(text);
        let now = self.clock.now();
        if let Some(known) = self.verified.get(&digest) {
            let keys = self.providers[known.provider].keys().await?;
            if known.holds(now, &keys.digest) {
                return Ok(Arc::clone(&known.identity));
            }
        }
        let verified = Arc::new(self.verify_anew(text).await?);
        let identity = Arc::clone(&verified.identity);
        self.verified.put(digest, verified);
        Ok(identity)
    }

    async fn verify_anew(&self, text: &str) -> Result<Verified, OidcFault> {
        let token = Compact::parse(text)?;
        let issuer = token.claimed_issuer().ok_or(TokenFault::Claims)?;
        let place = self.providers.iter().position(|provider| {
            provider.config.issuer == issuer && !provider.config.audiences.is_empty()
        });
        let place = place.ok_or(TokenFault::Issuer)?;
        let provider = &self.providers[place];
        let (claims, keys) = provider.verify(&token).await?;
        provider.check_bearer(&token, &claims, self.clock.now())?;
        let (from, until) = (claims.valid_from(), claims.exp);
        Ok(Verified {
            identity: Arc::new(provider.identity(claims.sub, &claims.profile)),
            provider: place,
            keys,
            from: from.saturating_sub(provider.leeway()),
            until: until.saturating_add(provider.leeway()),
        })
    }

    fn provider(&self, id: &str) -> Result<&Provider, OidcFault> {
        let found = self.providers.iter().find(|provider| provider.config.id == id);
        found.ok_or(OidcFault::UnknownProvider)
    }
}
