//! Accounts of people: signing up, signing in, what they may change of themselves, and with whom
//! they share workspaces.

mod access;
mod closing;
mod credentials;
mod error;
mod invitations;
mod joining;
mod outsiders;
mod profile;
mod providers;
mod recovery;
mod registration;
mod roll;
mod sessions;
mod teams;
mod telling;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

pub use access::{Access, AccessParts};
pub use closing::Undertaker;
pub use credentials::Login;
pub use error::AccountError;
pub use invitations::{InvitationDraft, Invited};
pub use joining::Joined;
pub use profile::{Profile, ProfileDraft};
pub use registration::{NewAccount, RegistrationDraft};
pub use roll::Roll;
pub use sessions::SignedIn;

use self::outsiders::Outsiders;
use super::denials::Denials;
use super::ids::IdSource;
use super::limits::Limiter;
use super::mail::Outbox;
use super::mail::texts::MailSite;
use super::passwords::PasswordHasher;
use crate::domain::account::ClientDigest;
use crate::domain::id::Id;
use crate::domain::network::ClientNetwork;
use crate::domain::ticket::{Ticket, TicketKind};
use crate::domain::time::{Clock, Timestamp};
use crate::service::bootstrap::Registration;
use crate::storage::Stores;

/// Longest name of a person or a workspace, in characters.
pub const NAME_CHARS_MAX: usize = 100;

/// What accounts are made of.
pub struct AccountParts {
    pub stores: Stores,
    pub ids: Arc<IdSource>,
    pub clock: Arc<dyn Clock>,
    pub access: Arc<Access>,
    pub passwords: PasswordHasher,
    pub limits: Arc<Limiter>,
    pub outbox: Outbox,
    pub denials: Arc<Denials>,
    pub closing: Arc<Undertaker>,
    pub site: MailSite,
    /// The installation's secret.
    pub secret: [u8; 32],
    pub registration: Registration,
    /// Domains of addresses whose people sign in with a provider, and with which one.
    pub sso_domains: HashMap<String, String>,
    /// How long a session lasts, however often its token is exchanged.
    pub session_ttl: Duration,
}

/// Does what people ask of their accounts. Shared by all workers.
pub struct Accounts {
    parts: AccountParts,
    client_key: [u8; 32],
    address_key: [u8; 32],
    outsiders: Outsiders,
}

impl Accounts {
    pub fn new(parts: AccountParts) -> Self {
        let derive = |context| blake3::derive_key(context, &parts.secret);
        let client_key = derive("shunt 2026 clients of sessions");
        let address_key = derive("shunt 2026 addresses that somebody signs in with");
        Self { parts, client_key, address_key, outsiders: Outsiders::default() }
    }

    fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    /// Tells the clients of one user apart, and nothing to whoever reads it.
    fn client(&self, user: Id, address: IpAddr) -> ClientDigest {
        let mut hasher = blake3::Hasher::new_keyed(&self.client_key);
        hasher.update(&user.0.to_le_bytes()).update(ClientNetwork::of(address).as_bytes());
        let mut digest = [0; 16];
        hasher.finalize_xof().fill(&mut digest);
        digest
    }

    /// What budgets know an address by, whether there is such an account or not.
    fn address(&self, text: &str) -> [u8; 32] {
        let folded = text.trim().to_ascii_lowercase();
        *blake3::keyed_hash(&self.address_key, folded.as_bytes()).as_bytes()
    }

    /// Kinds: `SsoRequired` for an address whose people have no password here.
    fn check_way_in(&self, email: &str) -> Result<(), AccountError> {
        let domain = email.trim().rsplit('@').next().unwrap_or_default().to_ascii_lowercase();
        match self.parts.sso_domains.get(&domain) {
            Some(provider) => Err(AccountError::SsoRequired(provider.clone())),
            None => Ok(()),
        }
    }

    fn new_ticket(&self, kind: TicketKind) -> Result<(Ticket, [u8; 32]), AccountError> {
        let ticket = Ticket::new(kind, &entropy()?);
        let digest = ticket.digest(&self.parts.secret);
        Ok((ticket, digest))
    }

    /// The digest of a ticket that somebody shows. Kinds: `InvalidTicket`.
    fn digest_of(&self, kind: TicketKind, text: &str) -> Result<[u8; 32], AccountError> {
        let ticket = Ticket::parse(kind, text).ok_or(AccountError::InvalidTicket)?;
        Ok(ticket.digest(&self.parts.secret))
    }

    /// A page of this installation that takes a ticket.
    fn link(&self, page: &str, ticket: &Ticket) -> String {
        format!("{}app/{page}?token={}", self.parts.site.url, ticket.as_str())
    }
}

fn entropy() -> Result<[u8; 32], AccountError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(AccountError::Entropy)?;
    Ok(bytes)
}
