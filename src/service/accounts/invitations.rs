//! Invitations into a workspace: whoever has the text may join.

use std::time::Duration;

use super::registration::parse_email;
use super::telling::{on_invitation, on_user};
use super::{AccountError, Accounts};
use crate::domain::account::{Member, Role};
use crate::domain::audit::{Act, AuditAction};
use crate::domain::id::Id;
use crate::domain::ticket::{Ticket, TicketKind};
use crate::domain::time::millis;
use crate::service::access::Actor;
use crate::service::mail::texts;
use crate::storage::people::Invitation;

const INVITATION_TTL: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Invitations of one workspace that wait.
const INVITATIONS_MAX: usize = 1_000;

/// Who is to be invited, as what.
pub struct InvitationDraft {
    /// Where a mail goes; without, the inviter hands the text over.
    pub email: Option<String>,
    pub role: Role,
}

/// An invitation with its text, shown this once.
pub struct Invited {
    pub invitation: Invitation,
    pub ticket: Ticket,
}

impl Accounts {
    /// Invites somebody into the caller's workspace, as no more than the caller is.
    pub async fn invite(
        &self,
        by: &Actor,
        draft: InvitationDraft,
    ) -> Result<Invited, AccountError> {
        if draft.role > by.grant.role {
            return Err(AccountError::Forbidden("only an owner invites owners"));
        }
        let email = draft.email.as_deref().map(parse_email).transpose()?;
        let attempt = match &email {
            Some(email) => Some(self.parts.limits.mail(&self.address(email.as_str())).await?),
            None => None,
        };
        let (ticket, digest) = self.new_ticket(TicketKind::Invitation)?;
        let now = self.now();
        let invitation = Invitation {
            id: self.parts.ids.next().await?,
            workspace: by.grant.workspace,
            digest,
            email,
            role: draft.role,
            invited_by: by.grant.actor(),
            created_at: now,
            expires_at: now.plus_millis(millis(INVITATION_TTL)),
        };
        let teams = &self.parts.stores.teams;
        if !teams.add_invitation(invitation.clone(), INVITATIONS_MAX).await? {
            if let Some(attempt) = attempt {
                attempt.cancelled().await;
            }
            return Err(AccountError::QuotaReached("1,000 invitations wait already"));
        }
        let entry = by.act(now).entry(AuditAction::MemberInvite, on_invitation(invitation.id));
        self.tell(entry.saying(invitation.role.as_str())).await;
        if let Some(email) = &invitation.email {
            let by = self.inviter(by).await?;
            let invited = texts::Invited { by: &by.0, workspace: &by.1 };
            let link = self.link("join", &ticket);
            let (site, to) = (&self.parts.site, email.as_str());
            self.send(texts::invitation(site, to, &invited, &link, INVITATION_TTL));
        }
        Ok(Invited { invitation, ticket })
    }

    /// Invitations of the caller's workspace that wait.
    pub async fn invitations(&self, by: &Actor) -> Result<Vec<Invitation>, AccountError> {
        Ok(self.parts.stores.teams.invitations(by.grant.workspace, self.now()).await?)
    }

    /// Takes an invitation back.
    pub async fn withdraw_invitation(&self, by: &Actor, id: Id) -> Result<(), AccountError> {
        let removed = self.parts.stores.teams.remove_invitation(by.grant.workspace, id).await?;
        if !removed {
            return Err(AccountError::NotFound);
        }
        let entry = by.act(self.now()).entry(AuditAction::MemberInvite, on_invitation(id));
        self.tell(entry.saying("withdrawn")).await;
        Ok(())
    }

    /// Lets the caller join the workspace of an invitation.
    pub async fn accept_invitation(&self, by: &Actor, text: &str) -> Result<Member, AccountError> {
        let user = self.caller(by).await?;
        let digest = self.digest_of(TicketKind::Invitation, text)?;
        let teams = &self.parts.stores.teams;
        let member = teams.accept_invitation(&digest, user.id, self.now()).await?;
        let member = member.ok_or(AccountError::InvalidTicket)?;
        self.tell_of_joining(by.act(self.now()), &member).await;
        self.follow_changes().await;
        Ok(member)
    }

    /// Told in the log of the workspace that is joined.
    pub(super) async fn tell_of_joining(&self, act: Act, member: &Member) {
        let act = Act { workspace: member.workspace, ..act };
        let entry = act.entry(AuditAction::MemberJoin, on_user(member.user));
        self.tell(entry.saying(member.role.as_str())).await;
    }

    /// What a mail calls the inviter and the workspace.
    async fn inviter(&self, by: &Actor) -> Result<(String, String), AccountError> {
        let Some(user) = by.grant.user else { return Ok(Default::default()) };
        let name = self.parts.stores.users.user(user).await?.map(|user| user.name);
        let memberships = self.parts.stores.teams.memberships(user).await?;
        let mut workspaces = memberships.into_iter().map(|(workspace, _)| workspace);
        let workspace = workspaces.find(|workspace| workspace.id == by.grant.workspace);
        let workspace = workspace.map(|workspace| workspace.name);
        Ok((name.unwrap_or_default(), workspace.unwrap_or_default()))
    }
}
