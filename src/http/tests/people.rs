//! What serves people, on any stores.

use std::collections::HashMap;
use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;

use crate::actors::links::LinkTable;
use crate::domain::time::Clock;
use crate::domain::units::Size;
use crate::http::Site;
use crate::service::accounts::{Access, AccessParts, AccountParts, Accounts, Undertaker};
use crate::service::anonymous::{Anonymous, AnonymousConfig, AnonymousParts};
use crate::service::bootstrap::Registration;
use crate::service::denials::Denials;
use crate::service::ids::IdSource;
use crate::service::keys::KeyRing;
use crate::service::limits::Limiter;
use crate::service::mail::texts::MailSite;
use crate::service::mail::{LogMailer, Outbox};
use crate::service::passwords::{PasswordHasher, PasswordsConfig};
use crate::service::tokens::{ChainParts, KeyChain, TokensConfig};
use crate::storage::Stores;
use crate::telemetry::metrics::Metrics;

pub(super) struct Parts<'a> {
    pub(super) stores: &'a Stores,
    pub(super) ids: &'a Arc<IdSource>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) keys: &'a Arc<KeyRing>,
    pub(super) limits: &'a Arc<Limiter>,
    pub(super) table: LinkTable,
    pub(super) site: &'a Site,
    pub(super) secret: [u8; 32],
}

pub(super) async fn people(parts: Parts<'_>) -> (Arc<Access>, Accounts, Anonymous) {
    let Parts { stores, ids, clock, keys, limits, table, site, secret } = parts;
    let config = TokensConfig::default();
    let tokens = KeyChain::open(ChainParts {
        config: &config,
        public_url: &site.public_url,
        secret: &secret,
        store: Arc::clone(&stores.signing),
        clock: Arc::clone(&clock),
    });
    let access = Access::open(AccessParts {
        keys: Arc::clone(keys),
        tokens: Arc::new(tokens.await.unwrap()),
        accounts: Arc::clone(&stores.accounts),
        sessions: Arc::clone(&stores.sessions),
        clock: Arc::clone(&clock),
    });
    let access = Arc::new(access.await.unwrap());
    let (links, teams) = (Arc::clone(&stores.links), Arc::clone(&stores.teams));
    // Nothing in these tests depends on how dear a password is.
    let cheap = PasswordsConfig { memory: Size(64 * 1_024), ..PasswordsConfig::default() };
    let accounts = Accounts::new(AccountParts {
        stores: stores.clone(),
        ids: Arc::clone(ids),
        clock: Arc::clone(&clock),
        access: Arc::clone(&access),
        passwords: PasswordHasher::start(&cheap, &Metrics::new()).unwrap(),
        limits: Arc::clone(limits),
        outbox: Outbox::start(Arc::new(LogMailer::new()), Metrics::new()),
        denials: Arc::new(Denials::new(Arc::clone(&stores.audit), Counter::default())),
        closing: Arc::new(Undertaker::new(table, links, teams, Arc::clone(&clock))),
        site: MailSite { name: site.domain.clone(), url: format!("{}/", site.public_url) },
        secret,
        registration: Registration::Open,
        sso_domains: HashMap::new(),
        session_ttl: config.refresh_ttl.0,
    });
    let anonymous = Anonymous::open(AnonymousParts {
        config: AnonymousConfig::default(),
        accounts: Arc::clone(&stores.accounts),
        links: Arc::clone(&stores.links),
        limits: Arc::clone(limits),
        ids: Arc::clone(ids),
        clock,
        secret,
    });
    (access, accounts, anonymous.await.unwrap())
}
