//! What serves people: keys of tokens, passwords, mail, accounts.

use std::sync::Arc;

use anyhow::{Context, Result};

use crate::app::Opened;
use crate::app::serve::Actors;
use crate::config::Settings;
use crate::http::Site;
use crate::service::accounts::{Access, AccessParts, AccountParts, Accounts, Undertaker};
use crate::service::anonymous::{Anonymous, AnonymousParts};
use crate::service::mail::texts::MailSite;
use crate::service::mail::{Outbox, mailer};
use crate::service::node::Role;
use crate::service::oidc::Oidc;
use crate::service::passwords::PasswordHasher;
use crate::service::tokens::{ChainParts, KeyChain};

/// Handles of what serves people.
pub(super) struct People {
    pub(super) access: Arc<Access>,
    pub(super) accounts: Accounts,
    pub(super) anonymous: Anonymous,
    pub(super) oidc: Oidc,
    pub(super) outbox: Outbox,
}

/// Starts all of it. Call inside the runtime that is to do what goes on behind.
pub(super) async fn start(
    settings: &Settings,
    opened: &Opened,
    site: &Site,
    actors: &Actors<'_>,
) -> Result<People> {
    let Actors { links, keys, limits, denials, .. } = *actors;
    let (stores, clock) = (&opened.stores, &opened.clock);
    let tokens = KeyChain::open(ChainParts {
        config: &settings.tokens,
        public_url: &site.public_url,
        secret: &opened.secrets.api_keys,
        store: Arc::clone(&stores.signing),
        clock: Arc::clone(clock),
    });
    let tokens = Arc::new(tokens.await.context("reading the keys of access tokens")?);
    actix_rt::spawn(Arc::clone(&tokens).follow());

    let access = Access::open(AccessParts {
        keys: Arc::clone(keys),
        tokens,
        accounts: Arc::clone(&stores.accounts),
        sessions: Arc::clone(&stores.sessions),
        clock: Arc::clone(clock),
    });
    let access = Arc::new(access.await.context("reading who may do what")?);
    actix_rt::spawn(Arc::clone(&access).follow());

    let (store, teams) = (Arc::clone(&stores.links), Arc::clone(&stores.teams));
    let closing = Undertaker::new(links.clone(), store, teams, Arc::clone(clock));
    let closing = Arc::new(closing);
    if settings.node.plays(Role::Worker) {
        actix_rt::spawn(Arc::clone(&closing).follow());
    }

    let passwords = PasswordHasher::start(&settings.passwords, &opened.metrics)
        .context("starting to check passwords")?;
    let mailer = mailer(&settings.mail).context("starting the mail")?;
    let outbox = Outbox::start(mailer, Arc::clone(&opened.metrics));
    let accounts = Accounts::new(AccountParts {
        stores: stores.clone(),
        ids: Arc::clone(&opened.ids),
        clock: Arc::clone(clock),
        access: Arc::clone(&access),
        passwords,
        limits: Arc::clone(limits),
        outbox: outbox.clone(),
        denials: Arc::clone(denials),
        closing,
        site: MailSite { name: site.domain.clone(), url: format!("{}/", site.public_url) },
        secret: opened.secrets.api_keys,
        registration: settings.auth.registration,
        sso_domains: settings.oidc.domains(),
        session_ttl: settings.tokens.refresh_ttl.0,
    });
    let anonymous = Anonymous::open(AnonymousParts {
        config: settings.anonymous.clone(),
        accounts: Arc::clone(&stores.accounts),
        links: Arc::clone(&stores.links),
        limits: Arc::clone(limits),
        ids: Arc::clone(&opened.ids),
        clock: Arc::clone(clock),
        secret: opened.secrets.api_keys,
    });
    let anonymous = anonymous.await.context("looking up links without an account")?;
    let secret = &opened.secrets.api_keys;
    let oidc = Oidc::new(&settings.oidc, &site.public_url, secret, Arc::clone(clock))
        .context("getting ready to speak with the providers in `oidc.providers`")?;
    Ok(People { access, accounts, anonymous, oidc, outbox })
}
