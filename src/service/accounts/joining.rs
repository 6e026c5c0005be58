//! Joining a workspace by an invitation and a password, or as somebody new: what the page of an
//! invitation does. Nobody is signed in by it.

use std::net::IpAddr;

use super::{AccountError, Accounts, Login, RegistrationDraft};
use crate::domain::account::{Role, User};
use crate::domain::id::Id;
use crate::domain::ticket::TicketKind;
use crate::service::bootstrap::Registration;
use crate::service::limits::Allowance;

/// Where somebody belongs to from now on.
#[derive(Clone, Debug)]
pub struct Joined {
    /// The workspace's name.
    pub workspace: String,
    pub role: Role,
}

impl Accounts {
    /// Whether somebody with an invitation may make an account.
    pub fn takes_registrations(&self) -> bool {
        self.parts.registration != Registration::Closed
    }

    /// Lets the owner of an account join. Kinds: those of `log_in`, `InvalidTicket`.
    pub async fn join(
        &self,
        invitation: &str,
        login: Login,
        client: IpAddr,
    ) -> Result<Joined, AccountError> {
        // Whoever has no invitation tries no password here.
        self.inviting(invitation).await?;
        let user = self.identify(login, client, &mut Allowance::default()).await?;
        let digest = self.digest_of(TicketKind::Invitation, invitation)?;
        let teams = &self.parts.stores.teams;
        let member = teams.accept_invitation(&digest, user.id, self.now()).await?;
        let member = member.ok_or(AccountError::InvalidTicket)?;
        let act = self.act_of(user.id, member.workspace, Some(client));
        self.tell_of_joining(act, &member).await;
        self.follow_changes().await;
        self.joined(&user, member.workspace).await
    }

    /// Makes an account that belongs to the workspace too. Kinds: those of `register`.
    pub async fn join_as_new(
        &self,
        invitation: &str,
        draft: RegistrationDraft,
        client: IpAddr,
    ) -> Result<Joined, AccountError> {
        let workspace = self.inviting(invitation).await?;
        let invitation = Some(invitation.to_owned());
        let user = self.sign_up(RegistrationDraft { invitation, ..draft }, client).await?;
        self.joined(&user, workspace).await
    }

    /// The workspace of an invitation that is in force. Kinds: `InvalidTicket`.
    async fn inviting(&self, text: &str) -> Result<Id, AccountError> {
        let digest = self.digest_of(TicketKind::Invitation, text)?;
        let invitation = self.parts.stores.teams.invitation(&digest, self.now()).await?;
        invitation.map(|invitation| invitation.workspace).ok_or(AccountError::InvalidTicket)
    }

    async fn joined(&self, user: &User, workspace: Id) -> Result<Joined, AccountError> {
        let memberships = self.parts.stores.teams.memberships(user.id).await?;
        let mut all = memberships.into_iter();
        let found = all.find(|(_, member)| member.workspace == workspace);
        let (workspace, member) = found.ok_or(AccountError::NotMember)?;
        Ok(Joined { workspace: workspace.name, role: member.role })
    }
}
