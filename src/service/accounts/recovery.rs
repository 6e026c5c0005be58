//! What is proven by mail: that an address is its owner's, and that a password may be replaced.

use std::time::Duration;

use tracing::warn;

use super::telling::on_user;
use super::{AccountError, Accounts};
use crate::domain::account::User;
use crate::domain::audit::AuditAction;
use crate::domain::email::Email;
use crate::domain::password::Password;
use crate::domain::ticket::{Ticket, TicketKind};
use crate::domain::time::millis;
use crate::service::access::Actor;
use crate::service::mail::Enqueued;
use crate::service::mail::{Mail, texts};
use crate::storage::people::{PasswordChange, StoredTicket};

const VERIFICATION_TTL: Duration = Duration::from_secs(24 * 3_600);
const RESET_TTL: Duration = Duration::from_secs(3_600);

impl Accounts {
    /// Sends the caller a mail that proves the address, once more.
    pub async fn ask_for_verification(&self, by: &Actor) -> Result<(), AccountError> {
        let user = self.caller(by).await?;
        if user.email_verified_at.is_some() {
            return Ok(());
        }
        self.parts.limits.mail(&self.address(user.email.as_str())).await?.failed();
        self.send_verification(&user).await
    }

    /// Takes the ticket of such a mail.
    pub async fn verify_email(&self, ticket: &str) -> Result<(), AccountError> {
        let user = self.take_ticket(TicketKind::Verification, ticket).await?;
        self.parts.stores.users.verify_email(user.id, self.now()).await?;
        let act = self.act_of(user.id, user.workspace, None);
        self.tell(act.entry(AuditAction::UserEmailVerify, on_user(user.id))).await;
        Ok(())
    }

    /// Sends a mail that lets the owner of an address choose a new password, if there is an account
    /// with it. Neither answer nor time tell whether there is.
    pub async fn forgot_password(&self, email: &str) -> Result<(), AccountError> {
        let email = super::registration::parse_email(email)?;
        self.check_way_in(email.as_str())?;
        self.parts.limits.mail(&self.address(email.as_str())).await?.failed();
        let user = self.parts.stores.users.user_by_email(&email).await?;
        let user = user.filter(|user| user.disabled_at.is_none());
        // One write either way; that of nobody's ticket changes nothing.
        let id = user.as_ref().map(|user| user.id).unwrap_or_default();
        let ticket = self.keep_ticket(TicketKind::PasswordReset, id, RESET_TTL).await?;
        if let Some(user) = user {
            let link = self.link("reset-password", &ticket);
            let (site, to) = (&self.parts.site, user.email.as_str());
            self.send(texts::password_reset(site, to, &link, RESET_TTL));
        }
        Ok(())
    }

    /// Sets a new password by the ticket of such a mail; all sessions end. Whoever got the mail has
    /// the address.
    pub async fn reset_password(&self, ticket: &str, new: Password) -> Result<(), AccountError> {
        let kind = TicketKind::PasswordReset;
        let digest = self.digest_of(kind, ticket)?;
        let (now, sessions) = (self.now(), &self.parts.stores.sessions);
        // Nothing is hashed for who has no ticket, …
        let id = sessions.ticket(&digest, kind as u8, now).await?;
        let id = id.ok_or(AccountError::InvalidTicket)?;
        let users = &self.parts.stores.users;
        let user = users.user(id).await?.ok_or(AccountError::InvalidTicket)?;
        // … and it is used up last: a weak password can be followed by a better.
        let hash = self.parts.passwords.hash_new(new, user.own_words()).await?;
        let taken = sessions.take_ticket(&digest, kind as u8, now).await?;
        taken.ok_or(AccountError::InvalidTicket)?;
        let change = PasswordChange { from: user.password.clone(), to: hash, keep: None };
        let ended = users.set_password(id, change, now).await?;
        self.parts.access.end(now, ended.ok_or(AccountError::InvalidTicket)?);
        users.verify_email(id, now).await?;
        let act = self.act_of(id, user.workspace, None);
        self.tell(act.entry(AuditAction::UserPasswordReset, on_user(id))).await;
        self.send(texts::password_changed(&self.parts.site, user.email.as_str()));
        Ok(())
    }

    pub(super) async fn send_verification(&self, user: &User) -> Result<(), AccountError> {
        let ticket = self.keep_ticket(TicketKind::Verification, user.id, VERIFICATION_TTL).await?;
        let link = self.link("verify-email", &ticket);
        let (site, to) = (&self.parts.site, user.email.as_str());
        self.send(texts::verification(site, to, &link, VERIFICATION_TTL));
        Ok(())
    }

    /// Hands a mail over. Who waits for one that was not sent asks for it again.
    pub(super) fn send(&self, mail: Mail) {
        if self.parts.outbox.enqueue(mail) != Enqueued::Taken {
            warn!("a mail was not taken: too many wait");
        }
    }

    /// Whether an address is the one of the account that `email` names.
    pub(super) fn is_address(user: &User, email: &Email) -> bool {
        user.email.key() == email.key()
    }

    async fn keep_ticket(
        &self,
        kind: TicketKind,
        user: crate::domain::id::Id,
        ttl: Duration,
    ) -> Result<Ticket, AccountError> {
        let (ticket, digest) = self.new_ticket(kind)?;
        let now = self.now();
        let expires_at = now.plus_millis(millis(ttl));
        let kept = StoredTicket { digest, kind: kind as u8, user, created_at: now, expires_at };
        self.parts.stores.sessions.add_ticket(kept).await?;
        Ok(ticket)
    }

    async fn take_ticket(&self, kind: TicketKind, text: &str) -> Result<User, AccountError> {
        let digest = self.digest_of(kind, text)?;
        let taken = self.parts.stores.sessions.take_ticket(&digest, kind as u8, self.now()).await?;
        let id = taken.ok_or(AccountError::InvalidTicket)?;
        self.parts.stores.users.user(id).await?.ok_or(AccountError::InvalidTicket)
    }
}
