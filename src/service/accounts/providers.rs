//! Signing in as somebody whom a provider vouches for.

use std::net::IpAddr;

use super::registration::parse_email;
use super::telling::on_user;
use super::{AccountError, Accounts, NAME_CHARS_MAX, NewAccount, SignedIn};
use crate::domain::account::User;
use crate::domain::audit::AuditAction;
use crate::service::bootstrap::Registration;
use crate::service::oidc::ExternalIdentity;

impl Accounts {
    /// Signs in who `identity` is. Somebody new gets an account if `provision` and the
    /// registration setting allow it. Kinds: `Disabled`, `EmailTaken`, `RegistrationClosed`,
    /// `InvitationNeeded`, `Invalid` when the provider tells no address.
    pub async fn sign_in_with(
        &self,
        identity: &ExternalIdentity,
        provision: bool,
        client: IpAddr,
    ) -> Result<SignedIn, AccountError> {
        let (issuer, subject) = (&identity.issuer, &identity.subject);
        let known = self.parts.stores.users.user_by_identity(issuer, subject).await?;
        let user = match known {
            Some(user) => user,
            None => self.admit(identity, provision, client).await?,
        };
        if user.disabled_at.is_some() {
            return Err(AccountError::Disabled);
        }
        self.open_session(user, None, client).await
    }

    /// Who is seen for the first time: joined to the account with the same address if both sides
    /// have proven it (else whoever registered somebody's address first would wait here for them),
    /// or given a new one.
    async fn admit(
        &self,
        identity: &ExternalIdentity,
        provision: bool,
        client: IpAddr,
    ) -> Result<User, AccountError> {
        let email = parse_email(identity.email.as_deref().unwrap_or_default())?;
        let (issuer, subject) = (identity.issuer.clone(), identity.subject.clone());
        if let Some(user) = self.parts.stores.users.user_by_email(&email).await? {
            let proven = identity.email_verified && user.email_verified_at.is_some();
            let users = &self.parts.stores.users;
            let joined =
                proven && users.add_identity(user.id, &issuer, &subject, self.now()).await?;
            return if joined { Ok(user) } else { Err(AccountError::EmailTaken) };
        }
        match self.parts.registration {
            Registration::Open if provision => (),
            Registration::Invite if provision => return Err(AccountError::InvitationNeeded),
            _ => return Err(AccountError::RegistrationClosed),
        }
        let name = identity.name.as_deref().unwrap_or_default();
        let name = name.chars().take(NAME_CHARS_MAX).collect();
        let attempt = self.parts.limits.registration(client).await?;
        let made = self.add_account(NewAccount {
            email,
            email_verified: identity.email_verified,
            name,
            password: None,
            identity: Some((issuer, subject)),
            invitation: None,
        });
        let made = made.await;
        if let Ok(user) = &made {
            let act = self.act_of(user.id, user.workspace, Some(client));
            self.tell(act.entry(AuditAction::UserRegister, on_user(user.id))).await;
        }
        if !matches!(made, Ok(_) | Err(AccountError::EmailTaken)) {
            attempt.cancelled().await;
        }
        made
    }
}
