//! Passwords of accounts: signing in with one, changing it, having it checked once more.

use std::net::IpAddr;

use tracing::warn;

use super::telling::on_user;
use super::{AccountError, Accounts, SignedIn};
use crate::domain::account::User;
use crate::domain::audit::AuditAction;
use crate::domain::email::Email;
use crate::domain::id::Id;
use crate::domain::password::Password;
use crate::service::access::{Actor, Credential};
use crate::service::draft::{FieldCode, FieldError};
use crate::service::limits::Allowance;
use crate::service::mail::texts;
use crate::storage::people::PasswordChange;

/// How long after signing in nobody is asked to prove it again who has no password, in
/// milliseconds: ten minutes.
const FRESH_MS: i64 = 10 * 60_000;

/// What somebody signs in with, and where to.
pub struct Login {
    pub email: String,
    pub password: Password,
    pub workspace: Option<Id>,
}

/// Who somebody says to be.
struct Claim<'a> {
    email: &'a str,
    /// The account of that address.
    user: Option<User>,
    client: IpAddr,
    /// The account signed in from there before.
    is_known: bool,
}

impl Accounts {
    /// Signs in with address and password. What is wrong with them, and whether there is such an
    /// account, neither the refusal nor the time tells. `told` is what the answer says of limits.
    pub async fn log_in(
        &self,
        login: Login,
        client: IpAddr,
        told: &mut Allowance,
    ) -> Result<SignedIn, AccountError> {
        let workspace = login.workspace;
        let user = self.identify(login, client, told).await?;
        self.open_session(user, workspace, client).await
    }

    /// Whose address and password these are; an account that is disabled is refused.
    pub(super) async fn identify(
        &self,
        login: Login,
        client: IpAddr,
        told: &mut Allowance,
    ) -> Result<User, AccountError> {
        self.check_way_in(&login.email)?;
        self.parts.passwords.admit()?;
        let Login { email, password, .. } = login;
        let found = match Email::parse(email.trim()) {
            Ok(email) => self.parts.stores.users.user_by_email(&email).await?,
            Err(_) => None,
        };
        let id = found.as_ref().map(|user| user.id).unwrap_or_default();
        let is_known =
            self.parts.stores.sessions.knows_client(id, &self.client(id, client)).await?;
        let claim = Claim { email: &email, user: found, client, is_known };
        let user = self.check(claim, password, told).await?;
        if user.disabled_at.is_some() { Err(AccountError::Disabled) } else { Ok(user) }
    }

    /// Changes the caller's password. Other sessions end, this one goes on.
    pub async fn change_password(
        &self,
        by: &Actor,
        current: Password,
        new: Password,
        client: IpAddr,
    ) -> Result<(), AccountError> {
        let user = self.confirm(by, Some(current), client).await?;
        let hash = self.parts.passwords.hash_new(new, user.own_words()).await?;
        let keep = match by.grant.credential {
            Credential::Session(session) => Some(session),
            Credential::Key(_) | Credential::Outside(_) => None,
        };
        let now = self.now();
        let users = &self.parts.stores.users;
        let change = PasswordChange { from: user.password.clone(), to: hash, keep };
        let ended = users.set_password(user.id, change, now).await?;
        // Somebody changed it at the same time: what was given is not the current one any more.
        self.parts.access.end(now, ended.ok_or(AccountError::WrongCredentials)?);
        let entry = by.act(now).entry(AuditAction::UserPasswordChange, on_user(user.id));
        self.tell(entry).await;
        self.send(texts::password_changed(&self.parts.site, user.email.as_str()));
        Ok(())
    }

    /// The caller, once the password was given again. Who has none, because a provider vouches for
    /// them, must have signed in a moment ago.
    pub(super) async fn confirm(
        &self,
        by: &Actor,
        password: Option<Password>,
        client: IpAddr,
    ) -> Result<User, AccountError> {
        let user = self.caller(by).await?;
        if user.password.is_none() {
            return if self.is_fresh(by).await? { Ok(user) } else { Err(AccountError::NotFresh) };
        }
        let Some(password) = password else {
            let detail = "this needs your current password";
            let fault = FieldError::new("/password", FieldCode::Required, detail);
            return Err(AccountError::Invalid(vec![fault]));
        };
        let email = user.email.as_str().to_owned();
        let told = &mut Allowance::default();
        let claim = Claim { email: &email, user: Some(user), client, is_known: true };
        self.check(claim, password, told).await
    }

    /// Whether the caller's session was opened a moment ago.
    async fn is_fresh(&self, by: &Actor) -> Result<bool, AccountError> {
        let Credential::Session(id) = by.grant.credential else { return Ok(false) };
        let session = self.parts.stores.sessions.session(id).await?;
        let since = self.now().plus_millis(-FRESH_MS);
        Ok(session.is_some_and(|session| session.created_at >= since))
    }

    /// The account that the caller is.
    pub(super) async fn caller(&self, by: &Actor) -> Result<User, AccountError> {
        let id = by.grant.user.ok_or(AccountError::Nobody)?;
        self.parts.stores.users.user(id).await?.ok_or(AccountError::NotFound)
    }

    async fn check(
        &self,
        claim: Claim<'_>,
        password: Password,
        told: &mut Allowance,
    ) -> Result<User, AccountError> {
        let Claim { email, user, client, is_known } = claim;
        let account = self.address(email);
        let attempt = self.parts.limits.login(client, Some(&account), is_known).await?;
        *told = attempt.shown();
        let stored = user.as_ref().and_then(|user| user.password.clone());
        let again = Password::new(password.expose().to_owned());
        let verdict = match self.parts.passwords.verify(password, stored).await {
            Ok(verdict) => verdict,
            Err(error) => {
                attempt.cancelled().await;
                return Err(error.into());
            }
        };
        let user = match user {
            Some(user) if verdict.matches => user,
            other => {
                attempt.failed();
                if let Some(user) = other {
                    self.tell_of_failure(&user, client);
                }
                return Err(AccountError::WrongCredentials);
            }
        };
        attempt.succeeded().await;
        if verdict.rehash {
            self.rehash(&user, again).await;
        }
        Ok(user)
    }

    /// Stores the same password by the parameters of today. The next time will do as well.
    async fn rehash(&self, user: &User, password: Password) {
        let Some(from) = &user.password else { return };
        let Ok(to) = self.parts.passwords.hash(password).await else { return };
        if let Err(error) = self.parts.stores.users.rehash_password(user.id, from, &to).await {
            warn!(%error, "a password was not hashed anew");
        }
    }
}
