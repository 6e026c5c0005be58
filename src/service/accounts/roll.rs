//! What the operator does with accounts of others, from outside of all of them: beside a running
//! server too, which follows what the store says within a second.

use std::sync::Arc;

use super::registration::{add_account, check_name, parse_email};
use super::telling::{on_user, tell};
use super::{AccountError, NewAccount, Profile};
use crate::domain::account::User;
use crate::domain::audit::{Act, AuditAction};
use crate::domain::email::Email;
use crate::domain::id::Id;
use crate::domain::password::Password;
use crate::domain::time::Clock;
use crate::service::ids::IdSource;
use crate::service::passwords::PasswordHasher;
use crate::storage::Stores;
use crate::storage::people::PasswordChange;

/// Accounts that one look into the store brings.
const PAGE: u32 = 200;

/// All accounts of the installation, for whoever may reach its files.
pub struct Roll {
    pub stores: Stores,
    pub ids: Arc<IdSource>,
    pub clock: Arc<dyn Clock>,
    pub passwords: PasswordHasher,
}

impl Roll {
    /// Makes an account with a workspace of its own. The operator vouches for the address. Kinds:
    /// `Invalid`, `Weak`, `EmailTaken`.
    pub async fn create(
        &self,
        email: &str,
        name: String,
        password: Password,
    ) -> Result<User, AccountError> {
        let email = parse_email(email)?;
        check_name("/name", &name, 0).map_err(|fault| AccountError::Invalid(vec![fault]))?;
        let own = vec![email.as_str().to_owned(), name.clone()];
        let new = NewAccount {
            password: Some(self.passwords.hash_new(password, own).await?),
            email,
            email_verified: true,
            name,
            identity: None,
            invitation: None,
        };
        let user = add_account(&*self.stores.users, &self.ids, &*self.clock, new).await?;
        self.tell(&user, AuditAction::UserRegister).await;
        Ok(user)
    }

    /// The account with this id or address. Kinds: `NotFound`.
    pub async fn find(&self, which: &str) -> Result<User, AccountError> {
        let users = &self.stores.users;
        let found = match which.parse::<Id>() {
            Ok(id) => users.user(id).await?,
            Err(_) => match Email::parse(which.trim()) {
                Ok(email) => users.user_by_email(&email).await?,
                Err(_) => None,
            },
        };
        found.ok_or(AccountError::NotFound)
    }

    /// The next accounts behind `after`, by id; none at the end.
    pub async fn page(&self, after: Id) -> Result<Vec<Profile>, AccountError> {
        let mut page = Vec::new();
        for user in self.stores.users.users(after, PAGE).await? {
            let memberships = self.stores.teams.memberships(user.id).await?;
            page.push(Profile { user, memberships });
        }
        Ok(page)
    }

    /// Puts everything that an account holds out of force, or in force again; answers how many
    /// sessions ended. Kinds: `NotFound`.
    pub async fn disable(&self, id: Id, disabled: bool) -> Result<usize, AccountError> {
        let users = &self.stores.users;
        let user = users.user(id).await?.ok_or(AccountError::NotFound)?;
        let ended = users.disable_user(id, disabled, self.clock.now()).await?;
        let ended = ended.ok_or(AccountError::NotFound)?;
        let action = if disabled { AuditAction::UserDisable } else { AuditAction::UserEnable };
        self.tell(&user, action).await;
        Ok(ended.len())
    }

    /// Gives an account another password; all of its sessions end. Kinds: `Weak`, `NotFound` when
    /// the account is gone or got another password meanwhile.
    pub async fn reset_password(&self, user: &User, new: Password) -> Result<usize, AccountError> {
        let (from, to) =
            (user.password.clone(), self.passwords.hash_new(new, user.own_words()).await?);
        let now = self.clock.now();
        let change = PasswordChange { from, to, keep: None };
        let ended = self.stores.users.set_password(user.id, change, now).await?;
        let ended = ended.ok_or(AccountError::NotFound)?;
        self.tell(user, AuditAction::UserPasswordReset).await;
        Ok(ended.len())
    }

    async fn tell(&self, user: &User, action: AuditAction) {
        let act = Act::on_command_line(user.workspace, self.clock.now());
        tell(&*self.stores.audit, act.entry(action, on_user(user.id))).await;
    }
}
