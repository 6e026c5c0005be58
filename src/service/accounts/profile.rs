//! What people see and change of themselves, up to leaving for good.

use std::net::IpAddr;

use super::registration::{check_name, parse_email};
use super::telling::on_user;
use super::{AccountError, Accounts};
use crate::domain::account::{Member, User};
use crate::domain::audit::AuditAction;
use crate::domain::password::Password;
use crate::service::access::Actor;
use crate::service::draft::Field;
use crate::storage::Workspace;
use crate::storage::people::{Erasure, UserChange, UserChanged};

/// A user with the workspaces that it belongs to.
#[derive(Clone, Debug)]
pub struct Profile {
    pub user: User,
    pub memberships: Vec<(Workspace, Member)>,
}

/// What to change of a profile.
pub struct ProfileDraft {
    pub name: Field<String>,
    pub email: Field<String>,
    /// Needed for another address.
    pub password: Option<Password>,
}

impl Accounts {
    /// The caller's profile.
    pub async fn profile(&self, by: &Actor) -> Result<Profile, AccountError> {
        let user = self.caller(by).await?;
        let memberships = self.parts.stores.teams.memberships(user.id).await?;
        Ok(Profile { user, memberships })
    }

    /// Changes the caller's profile. Another address has to be proven anew.
    pub async fn change_profile(
        &self,
        by: &Actor,
        draft: ProfileDraft,
        client: IpAddr,
    ) -> Result<Profile, AccountError> {
        let mut change = UserChange::default();
        match draft.name {
            Field::Absent => (),
            Field::Null => change.name = Some(String::new()),
            Field::Set(name) => {
                check_name("/name", &name, 0)
                    .map_err(|fault| AccountError::Invalid(vec![fault]))?;
                change.name = Some(name);
            }
        }
        if let Field::Set(text) = draft.email {
            let email = parse_email(&text)?;
            self.check_way_in(email.as_str())?;
            change.email = Some(email);
            self.confirm(by, draft.password, client).await?;
        }
        let before = self.caller(by).await?;
        match self.parts.stores.users.change_user(before.id, change, self.now()).await? {
            UserChanged::NotFound => Err(AccountError::NotFound),
            UserChanged::EmailTaken => Err(AccountError::EmailTaken),
            UserChanged::Done(user) => {
                let moved = !Self::is_address(&before, &user.email);
                let entry = by.act(self.now()).entry(AuditAction::UserChange, on_user(user.id));
                self.tell(entry.saying(if moved { "email" } else { "" })).await;
                if moved {
                    self.send_verification(&user).await?;
                }
                self.profile(by).await
            }
        }
    }

    /// Erases the caller's account: nothing that names the person stays. Links of workspaces that
    /// nobody else belongs to stop; what they counted stays.
    pub async fn erase(
        &self,
        by: &Actor,
        password: Option<Password>,
        client: IpAddr,
    ) -> Result<(), AccountError> {
        let user = self.confirm(by, password, client).await?;
        let now = self.now();
        match self.parts.stores.users.erase_user(user.id, now).await? {
            Erasure::NotFound => Err(AccountError::NotFound),
            Erasure::LastOwner => Err(AccountError::LastOwner),
            Erasure::Done { ended } => {
                self.parts.access.end(now, ended);
                let entry = by.act(now).entry(AuditAction::UserErase, on_user(user.id));
                self.tell(entry).await;
                self.follow_changes().await;
                self.parts.closing.settle().await;
                Ok(())
            }
        }
    }
}
