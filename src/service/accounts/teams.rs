//! Workspaces and who belongs to them.

use tracing::warn;

use super::registration::check_name;
use super::telling::{on_user, on_workspace};
use super::{AccountError, Accounts};
use crate::domain::account::{Member, Role, User};
use crate::domain::audit::{Act, AuditAction};
use crate::domain::id::Id;
use crate::service::access::Actor;
use crate::storage::Workspace;
use crate::storage::people::RoleSet;

/// Workspaces that one user belongs to when it makes another.
const WORKSPACES_PER_USER_MAX: usize = 50;

impl Accounts {
    /// Makes a workspace that the caller owns.
    pub async fn add_workspace(&self, by: &Actor, name: &str) -> Result<Workspace, AccountError> {
        check_name("/name", name, 1).map_err(|fault| AccountError::Invalid(vec![fault]))?;
        let owner = self.caller(by).await?.id;
        let workspace = Workspace {
            id: self.parts.ids.next().await?,
            name: name.to_owned(),
            operator: false,
            created_at: self.now(),
        };
        let most = WORKSPACES_PER_USER_MAX;
        if self.parts.stores.teams.add_workspace(workspace.clone(), owner, most).await? {
            let act = Act { workspace: workspace.id, ..by.act(workspace.created_at) };
            let target = on_workspace(workspace.id);
            self.tell(act.entry(AuditAction::WorkspaceCreate, target)).await;
            Ok(workspace)
        } else {
            Err(AccountError::QuotaReached("you belong to 50 workspaces already"))
        }
    }

    /// Gives the caller's workspace another name.
    pub async fn rename_workspace(&self, by: &Actor, name: &str) -> Result<(), AccountError> {
        check_name("/name", name, 1).map_err(|fault| AccountError::Invalid(vec![fault]))?;
        let renamed = self.parts.stores.teams.rename_workspace(by.grant.workspace, name).await?;
        if !renamed {
            return Err(AccountError::NotFound);
        }
        let target = on_workspace(by.grant.workspace);
        self.tell(by.act(self.now()).entry(AuditAction::WorkspaceChange, target)).await;
        Ok(())
    }

    /// Who belongs to the caller's workspace.
    pub async fn members(&self, by: &Actor) -> Result<Vec<(Member, User)>, AccountError> {
        Ok(self.parts.stores.teams.members(by.grant.workspace).await?)
    }

    /// Makes a member of the caller's workspace something else. Only owners make owners, or change
    /// them.
    pub async fn set_role(
        &self,
        by: &Actor,
        user: Id,
        role: Role,
    ) -> Result<(Member, User), AccountError> {
        let (before, _) = self.member(by, user).await?;
        if before.role.max(role) > by.grant.role {
            return Err(AccountError::Forbidden("only an owner makes owners or changes them"));
        }
        self.change_membership(by, user, Some(role)).await?;
        self.member(by, user).await
    }

    /// Ends a membership in the caller's workspace: somebody else's, or the caller's own.
    pub async fn remove_member(&self, by: &Actor, user: Id) -> Result<(), AccountError> {
        let (before, who) = self.member(by, user).await?;
        if by.grant.user != Some(user) && by.grant.role < Role::Admin {
            return Err(AccountError::Forbidden("only admins remove others"));
        }
        if before.role > by.grant.role {
            return Err(AccountError::Forbidden("only an owner removes owners"));
        }
        if who.workspace == by.grant.workspace {
            return Err(AccountError::Forbidden(
                "nobody leaves the workspace of their own account",
            ));
        }
        self.change_membership(by, user, None).await
    }

    async fn member(&self, by: &Actor, user: Id) -> Result<(Member, User), AccountError> {
        let members = self.parts.stores.teams.members(by.grant.workspace).await?;
        let mut members = members.into_iter();
        members.find(|(member, _)| member.user == user).ok_or(AccountError::NotFound)
    }

    async fn change_membership(
        &self,
        by: &Actor,
        user: Id,
        role: Option<Role>,
    ) -> Result<(), AccountError> {
        let teams = &self.parts.stores.teams;
        match teams.set_role(by.grant.workspace, user, role, self.now()).await? {
            RoleSet::NotFound => Err(AccountError::NotFound),
            RoleSet::LastOwner => Err(AccountError::LastOwner),
            RoleSet::Done => {
                let act = by.act(self.now());
                let entry = match role {
                    Some(role) => {
                        act.entry(AuditAction::MemberRole, on_user(user)).saying(role.as_str())
                    }
                    None => act.entry(AuditAction::MemberRemove, on_user(user)),
                };
                self.tell(entry).await;
                self.follow_changes().await;
                Ok(())
            }
        }
    }

    /// Puts into force here what the store says of roles and keys by now. It is done there; what is
    /// not read here at once is read within a second.
    pub(super) async fn follow_changes(&self) {
        let access = &self.parts.access;
        for outcome in [access.refresh().await, access.keys().refresh().await] {
            if let Err(error) = outcome {
                warn!(%error, "a change of access is not in force here yet");
            }
        }
    }
}
