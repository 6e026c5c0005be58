//! One provider: its documents, fetched when they are needed, and what its tokens must fulfil.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tracing::warn;
use url::Url;

use super::ExternalIdentity;
use super::config::ProviderConfig;
use super::discovery::{self, Metadata};
use super::fault::{OidcFault, TokenFault};
use super::fetch::{FetchError, Fetcher};
use super::keys::{Found, KeySet};
use super::refreshed::Refreshed;
use super::token::{Claims, Compact, Profile};
use crate::domain::time::{Clock, Timestamp};

/// Codes of one provider that are redeemed at a time. More sign-ins than this within the time of
/// one answer are answered `Unavailable`.
pub(super) const REDEEMED_MAX: usize = 64;

/// A provider and what is known of it.
pub(super) struct Provider {
    pub(super) config: Arc<ProviderConfig>,
    pub(super) fetcher: Arc<Fetcher>,
    /// Bounds how many people wait for the provider, whoever sends them.
    pub(super) turns: Semaphore,
    metadata: Arc<Refreshed<Metadata>>,
    keys: Arc<Refreshed<KeySet>>,
}

impl Provider {
    /// Asks nobody anything. Fails when the system has no certificates to trust.
    pub(super) fn new(
        config: ProviderConfig,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, reqwest::Error> {
        let fetcher = Arc::new(Fetcher::new(&config)?);
        let (metadata, keys) =
            (Refreshed::new(Arc::clone(clock)), Refreshed::new(Arc::clone(clock)));
        let turns = Semaphore::new(REDEEMED_MAX);
        Ok(Self { config: Arc::new(config), fetcher, turns, metadata, keys })
    }

    /// Seconds that clocks may differ.
    pub(super) fn leeway(&self) -> i64 {
        self.config.leeway.0.as_secs() as i64
    }

    /// Its description of itself. Fault: `Unavailable`.
    pub(super) async fn metadata(&self) -> Result<Arc<Metadata>, OidcFault> {
        let (config, fetcher) = (Arc::clone(&self.config), Arc::clone(&self.fetcher));
        let fetch = async move {
            let fetched = fetch_metadata(&config, &fetcher).await;
            tell(&config.id, "description", fetched)
        };
        match self.metadata.get() {
            Some(held) => {
                if self.metadata.is_due() {
                    self.metadata.refresh_behind(fetch);
                }
                Ok(held)
            }
            None => {
                self.metadata.refresh(fetch).await;
                self.metadata.get().ok_or(OidcFault::Unavailable)
            }
        }
    }

    /// The keys at hand; when they are old, newer ones are fetched behind the answer.
    pub(super) async fn keys(&self) -> Result<Arc<KeySet>, OidcFault> {
        match self.keys.get() {
            Some(held) => {
                if self.keys.is_due() {
                    let metadata = self.metadata().await?;
                    self.keys.refresh_behind(self.fetch_keys(&metadata));
                }
                Ok(held)
            }
            None => self.newer_keys().await,
        }
    }

    /// The keys, fetched again if that may be.
    async fn newer_keys(&self) -> Result<Arc<KeySet>, OidcFault> {
        let metadata = self.metadata().await?;
        self.keys.refresh(self.fetch_keys(&metadata)).await;
        self.keys.get().ok_or(OidcFault::Unavailable)
    }

    fn fetch_keys(
        &self,
        metadata: &Metadata,
    ) -> impl Future<Output = Option<KeySet>> + Send + use<> {
        let (id, url) = (self.config.id.clone(), metadata.keys.clone());
        let fetcher = Arc::clone(&self.fetcher);
        async move {
            let fetched = fetcher.document(&url).await;
            tell(&id, "keys", fetched.and_then(|body| KeySet::read(&body)))
        }
    }

    /// The claims of a token that one of the provider's keys signed, and which keys those were.
    pub(super) async fn verify(
        &self,
        token: &Compact<'_>,
    ) -> Result<(Claims, [u8; 32]), OidcFault> {
        if !self.config.algorithms.contains(&token.algorithm) {
            return Err(TokenFault::Algorithm.into());
        }
        let mut keys = self.keys().await?;
        // Strangers can name keys that nobody has: `Refreshed` bounds how often that is looked up.
        if matches!(keys.find(token.key_id.as_deref(), token.algorithm), Found::Unknown) {
            keys = self.newer_keys().await?;
        }
        match keys.find(token.key_id.as_deref(), token.algorithm) {
            Found::Key(key) => Ok((token.verify(key)?, keys.digest)),
            Found::Unfit(fault) => Err(fault.into()),
            Found::Unknown => Err(TokenFault::Key.into()),
        }
    }

    /// A bearer token: for one of the configured audiences, and of a kind that is an access token.
    pub(super) fn check_bearer(
        &self,
        token: &Compact<'_>,
        claims: &Claims,
        now: Timestamp,
    ) -> Result<(), TokenFault> {
        let is_ours = |name: &str| self.config.audiences.iter().any(|ours| ours == name);
        if !token.is_kind(&["at+jwt", "jwt"]) {
            return Err(TokenFault::Header);
        }
        claims.check(&self.config.issuer, now, self.leeway())?;
        if !claims.aud.all().iter().any(|audience| is_ours(audience)) {
            return Err(TokenFault::Audience);
        }
        let party = claims.azp.as_deref();
        let known = party.is_some_and(|party| party == self.config.client_id || is_ours(party));
        if claims.aud.all().len() > 1 && !known {
            return Err(TokenFault::Party);
        }
        Ok(())
    }

    /// An ID token: for this client, given to this client, in answer to this question.
    pub(super) fn check_id_token(
        &self,
        token: &Compact<'_>,
        claims: &Claims,
        nonce: &str,
        now: Timestamp,
    ) -> Result<(), TokenFault> {
        // An access token is none, whoever it is for.
        if !(token.has_no_kind() || token.is_kind(&["jwt"])) {
            return Err(TokenFault::Header);
        }
        claims.check(&self.config.issuer, now, self.leeway())?;
        let client = self.config.client_id.as_str();
        if !claims.aud.has(client) {
            return Err(TokenFault::Audience);
        }
        let alone = claims.aud.all().len() == 1;
        if claims.azp.as_deref().map_or(!alone, |party| party != client) {
            return Err(TokenFault::Party);
        }
        if claims.iat.is_none() {
            return Err(TokenFault::Claims);
        }
        if claims.nonce.as_deref() != Some(nonce) {
            return Err(TokenFault::Nonce);
        }
        Ok(())
    }

    pub(super) fn identity(&self, subject: String, profile: &Profile) -> ExternalIdentity {
        let email = profile.email();
        ExternalIdentity {
            provider: self.config.id.clone(),
            issuer: self.config.issuer.clone(),
            subject,
            email: email.map(str::to_owned),
            email_verified: email.is_some() && profile.email_verified(),
            name: profile.name().map(str::to_owned),
        }
    }
}

async fn fetch_metadata(
    config: &ProviderConfig,
    fetcher: &Fetcher,
) -> Result<Metadata, FetchError> {
    let url: Url =
        discovery::address(&config.issuer).ok_or(FetchError::Form("the issuer is no URL"))?;
    let body = fetcher.document(&url).await?;
    Metadata::read(&body, &config.issuer, config.token_auth)
}

/// Says in the log why a document is not there, at most once per try.
fn tell<T>(provider: &str, document: &str, fetched: Result<T, FetchError>) -> Option<T> {
    fetched
        .inspect_err(|error| {
            warn!(provider, document, %error, "a document of an OpenID provider cannot be had");
        })
        .ok()
}
