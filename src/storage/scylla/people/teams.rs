//! Workspaces, who belongs to them, and whom they invited.

use async_trait::async_trait;
use futures_util::future::try_join;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::super::Cql;
use super::super::finding::{Candidates, Plan, Task, key_of};
use super::super::ids::{signed, unsigned};
use super::super::keys::{EndKeys, LATER_MS};
use super::super::together::{Decision, Step, Whole as _};
use super::team::{ROWS_PER_BATCH, Team, TeamRow, Untold, role};
use crate::domain::account::{AccessChange, Member, Role, User};
use crate::domain::id::Id;
use crate::domain::time::Timestamp;
use crate::storage::Workspace;
use crate::storage::error::{Op, StorageResult};
use crate::storage::people::{Invitation, RoleSet, TeamStore};

/// Rows of others that are read at once.
const AT_ONCE: usize = 16;
/// Kinds of rows in a workspace's partition.
const MEMBERS: i8 = 0;
const INVITATIONS: i8 = 1;

#[async_trait]
impl TeamStore for Cql {
    async fn memberships(&self, user: Id) -> StorageResult<Vec<(Workspace, Member)>> {
        const OP: Op = "memberships";
        let (user_there, found) =
            try_join(self.plain_user(OP, user), self.memberships_noted(OP, user)).await?;
        Ok(if user_there.is_some() { found } else { Vec::new() })
    }

    async fn members(&self, workspace: Id) -> StorageResult<Vec<(Member, User)>> {
        const OP: Op = "members";
        let members = self.part(OP, workspace, MEMBERS).await?.members;
        let users = members
            .into_values()
            .map(|member| async move { Ok((member, self.plain_user(OP, member.user).await?)) });
        let users: Vec<(Member, Option<User>)> =
            stream::iter(users).buffered(AT_ONCE).try_collect().await?;
        Ok(users.into_iter().filter_map(|(member, user)| Some((member, user?))).collect())
    }

    /// Workspaces are partitions of their own: two that are added at once may be one too many.
    async fn add_workspace(
        &self,
        workspace: Workspace,
        owner: Id,
        most: usize,
    ) -> StorageResult<bool> {
        const OP: Op = "add_workspace";
        if self.memberships_noted(OP, owner).await?.len() >= most {
            return Ok(false);
        }
        let (id, at) = (workspace.id, workspace.created_at);
        self.note(OP, Candidates::Memberships, &key_of(owner), (signed(id), id)).await?;
        self.make_workspace(OP, workspace, Some(owner)).await?;
        self.leave_if_gone(OP, id, owner, at).await?;
        Ok(true)
    }

    async fn rename_workspace(&self, id: Id, name: &str) -> StorageResult<bool> {
        const OP: Op = "rename_workspace";
        let item = (signed(id), id);
        self.note(OP, Candidates::Called, name.as_bytes(), item).await?;
        let former = self.change(OP, id, |team: &Team, stamp| {
            let Some(own) = &team.workspace else { return Decision::Stay(None) };
            let renamed = Workspace { name: name.to_owned(), ..own.clone() };
            let put = team.put(self, stamp, &renamed, team.closed_at);
            Decision::Write(vec![put], Some(own.name.clone()))
        });
        let Some(former) = former.await? else {
            self.forget(OP, Candidates::Called, name.as_bytes(), signed(id)).await?;
            return Ok(false);
        };
        if former != name {
            self.forget(OP, Candidates::Called, former.as_bytes(), signed(id)).await?;
            // Somebody may have named it so again meanwhile.
            if self.plain_workspace(OP, id).await?.is_some_and(|own| own.name == former) {
                self.note(OP, Candidates::Called, former.as_bytes(), item).await?;
            }
        }
        Ok(true)
    }

    async fn set_role(
        &self,
        workspace: Id,
        user: Id,
        role: Option<Role>,
        at: Timestamp,
    ) -> StorageResult<RoleSet> {
        const OP: Op = "set_role";
        self.plan(OP, Plan::new(at.plus_millis(LATER_MS), Task::Team, workspace)).await?;
        let set = self.change(OP, workspace, |team: &Team, stamp| {
            let member = team.members.get(&user);
            let Some((member, touch)) = member.zip(team.touch(self, stamp)) else {
                return Decision::Stay(RoleSet::NotFound);
            };
            let stays_owner = role == Some(Role::Owner);
            let is_last = !team.others(user).contains(&Role::Owner);
            if member.role == Role::Owner && !stays_owner && is_last {
                return Decision::Stay(RoleSet::LastOwner);
            }
            let put = match role {
                Some(role) => team.put_member(self, &Member { role, ..*member }),
                None => team.remove_member(self, user),
            };
            let untold = team.put_untold(self, user, Untold { role, at, change: stamp });
            Decision::Write(vec![touch, put, untold], RoleSet::Done)
        });
        let set = set.await?;
        if set == RoleSet::Done {
            self.tell_members(OP, workspace).await?;
        }
        Ok(set)
    }

    async fn add_invitation(&self, invitation: Invitation, most: usize) -> StorageResult<bool> {
        const OP: Op = "add_invitation";
        let workspace = invitation.workspace;
        let over = Plan::new(invitation.expires_at, Task::Invitation, workspace);
        self.plan(OP, Plan { item: signed(invitation.id), ..over }).await?;
        for (kind, key) in leads_to(&invitation) {
            self.note(OP, kind, &key, (signed(invitation.id), workspace)).await?;
        }
        let added = self.change(OP, workspace, |team: &Team, stamp| {
            let touch = team.touch(self, stamp).filter(|_| team.closed_at.is_none());
            match touch {
                Some(touch) if team.invitations.len() < most => {
                    Decision::Write(vec![touch, team.put_invitation(self, &invitation)], true)
                }
                _ => Decision::Stay(false),
            }
        });
        let added = added.await?;
        if !added {
            self.forget_invitation(OP, &invitation).await?;
        }
        Ok(added)
    }

    async fn invitations(&self, workspace: Id, now: Timestamp) -> StorageResult<Vec<Invitation>> {
        let team = self.part("invitations", workspace, INVITATIONS).await?;
        let all = team.invitations.into_values().filter(|_| team.closed_at.is_none());
        Ok(all.filter(|one| one.expires_at > now).collect())
    }

    async fn invitation(
        &self,
        digest: &[u8; 32],
        now: Timestamp,
    ) -> StorageResult<Option<Invitation>> {
        const OP: Op = "invitation";
        for candidate in self.noted(OP, Candidates::Invitation, digest).await? {
            let (id, workspace) = (unsigned(candidate.item), unsigned(candidate.owner));
            let statement = &self.statements().workspaces.invitation;
            let rows = self.all(OP, statement, (signed(workspace), signed(id))).await?;
            let team = Team::of(OP, workspace, rows)?;
            if let Some(found) = team.offer(id, digest, now) {
                return Ok(Some(found.clone()));
            }
        }
        Ok(None)
    }

    async fn remove_invitation(&self, workspace: Id, id: Id) -> StorageResult<bool> {
        self.drop_invitation("remove_invitation", workspace, id, |_| true).await
    }

    async fn accept_invitation(
        &self,
        digest: &[u8; 32],
        user: Id,
        now: Timestamp,
    ) -> StorageResult<Option<Member>> {
        const OP: Op = "accept_invitation";
        let Some(member) = self.join(OP, digest, user, now).await? else { return Ok(None) };
        self.tell_members(OP, member.workspace).await?;
        self.leave_if_gone(OP, member.workspace, user, now).await?;
        Ok(Some(member))
    }

    async fn closed_workspaces(&self) -> StorageResult<Vec<Id>> {
        const OP: Op = "closed_workspaces";
        let mut closed = Vec::new();
        for candidate in self.noted(OP, Candidates::Closed, &[]).await? {
            let statement = &self.statements().workspaces.closed;
            let row: Option<(i64, Option<i64>)> =
                self.one(OP, statement, (candidate.item,)).await?;
            closed.extend(row.and_then(|(id, at)| at.map(|_| unsigned(id))));
        }
        Ok(closed)
    }

    async fn finish_closing(&self, workspace: Id) -> StorageResult<()> {
        const OP: Op = "finish_closing";
        self.tell_members(OP, workspace).await?;
        self.forget_replays(OP, workspace).await?;
        self.change(OP, workspace, |team: &Team, stamp| match &team.workspace {
            Some(own) if team.closed_at.is_some() => {
                Decision::Write(vec![team.put(self, stamp, own, None)], ())
            }
            _ => Decision::Stay(()),
        })
        .await?;
        self.forget(OP, Candidates::Closed, &[], signed(workspace)).await
    }
}

impl Team {
    /// The invitation with this id and digest, if it is in force at `now`.
    fn offer(&self, id: Id, digest: &[u8; 32], now: Timestamp) -> Option<&Invitation> {
        let found = self.invitations.get(&id).filter(|_| self.closed_at.is_none());
        found.filter(|one| one.digest == *digest && one.expires_at > now)
    }
}

/// What leads to an invitation.
pub(super) fn leads_to(invitation: &Invitation) -> Vec<(Candidates, Vec<u8>)> {
    let mut keys = vec![
        (Candidates::Invitation, invitation.digest.to_vec()),
        (Candidates::InvitedBy, key_of(invitation.invited_by).to_vec()),
    ];
    let to = invitation.email.as_ref();
    keys.extend(to.map(|email| (Candidates::InvitedTo, email.key().into_bytes())));
    keys
}

impl Cql {
    /// Rows of one kind of a workspace's partition.
    async fn part(&self, op: Op, workspace: Id, kind: i8) -> StorageResult<Team> {
        let statement = &self.statements().workspaces.of_kind;
        let rows: Vec<TeamRow> = self.all(op, statement, (signed(workspace), kind)).await?;
        Team::of(op, workspace, rows)
    }

    async fn memberships_noted(&self, op: Op, user: Id) -> StorageResult<Vec<(Workspace, Member)>> {
        let noted = self.noted(op, Candidates::Memberships, &key_of(user)).await?;
        let read = noted.into_iter().map(|one| self.membership(op, unsigned(one.item), user));
        let read: Vec<_> = stream::iter(read).buffered(AT_ONCE).try_collect().await?;
        Ok(read.into_iter().flatten().collect())
    }

    async fn membership(
        &self,
        op: Op,
        id: Id,
        user: Id,
    ) -> StorageResult<Option<(Workspace, Member)>> {
        type Row = (Option<String>, Option<bool>, Option<i64>, Option<i8>, Option<i64>);
        let statement = &self.statements().workspaces.member;
        let row: Option<Row> = self.one(op, statement, (signed(id), signed(user))).await?;
        let Some((Some(name), operator, Some(created_at), byte, Some(at))) = row else {
            return Ok(None);
        };
        let Some(role) = role(op, byte)? else { return Ok(None) };
        let (operator, created_at) = (operator.unwrap_or_default(), Timestamp(created_at));
        let member = Member { workspace: id, user, role, joined_at: Timestamp(at) };
        Ok(Some((Workspace { id, name, operator, created_at }, member)))
    }

    /// Uses up an invitation. That the user joined is still to be told.
    pub(super) async fn join(
        &self,
        op: Op,
        digest: &[u8; 32],
        user: Id,
        now: Timestamp,
    ) -> StorageResult<Option<Member>> {
        for candidate in self.noted(op, Candidates::Invitation, digest).await? {
            let (id, workspace) = (unsigned(candidate.item), unsigned(candidate.owner));
            let item = (signed(workspace), workspace);
            self.note(op, Candidates::Memberships, &key_of(user), item).await?;
            self.plan(op, Plan::new(now.plus_millis(LATER_MS), Task::Team, workspace)).await?;
            let joined = self.change(op, workspace, |team: &Team, stamp| {
                let offer = team.offer(id, digest, now);
                let Some((offer, touch)) = offer.zip(team.touch(self, stamp)) else {
                    return Decision::Stay(None);
                };
                let joined = Member { workspace, user, role: offer.role, joined_at: now };
                let mut member = team.members.get(&user).copied().unwrap_or(joined);
                member.role = member.role.max(offer.role);
                let untold = Untold { role: Some(member.role), at: now, change: stamp };
                let steps = vec![
                    touch,
                    team.remove_invitation(self, id),
                    team.put_member(self, &member),
                    team.put_untold(self, user, untold),
                ];
                Decision::Write(steps, Some((offer.clone(), member)))
            });
            if let Some((used, member)) = joined.await? {
                self.forget_invitation(op, &used).await?;
                return Ok(Some(member));
            }
        }
        Ok(None)
    }

    /// Ends a membership that began while its user was erased, which may not have found it.
    async fn leave_if_gone(
        &self,
        op: Op,
        workspace: Id,
        user: Id,
        at: Timestamp,
    ) -> StorageResult<()> {
        if self.plain_user(op, user).await?.is_none() {
            self.leave(op, workspace, user, at).await?;
        }
        Ok(())
    }

    /// Removes an invitation that `chosen` says so of; false: there is none.
    pub(super) async fn drop_invitation(
        &self,
        op: Op,
        workspace: Id,
        id: Id,
        chosen: impl Fn(&Invitation) -> bool + Send + Sync,
    ) -> StorageResult<bool> {
        let dropped = self.change(op, workspace, |team: &Team, stamp| {
            let found = team.invitations.get(&id).filter(|one| chosen(one));
            match found.zip(team.touch(self, stamp)) {
                Some((found, touch)) => {
                    let steps = vec![touch, team.remove_invitation(self, id)];
                    Decision::Write(steps, Some(found.clone()))
                }
                None => Decision::Stay(None),
            }
        });
        let Some(dropped) = dropped.await? else { return Ok(false) };
        self.forget_invitation(op, &dropped).await?;
        Ok(true)
    }

    async fn forget_invitation(&self, op: Op, invitation: &Invitation) -> StorageResult<()> {
        for (kind, key) in leads_to(invitation) {
            self.forget(op, kind, &key, signed(invitation.id)).await?;
        }
        Ok(())
    }

    /// Tells all nodes which members of a workspace changed, and ends what goes with those who
    /// left; of a closed workspace, everything.
    pub(super) async fn tell_members(&self, op: Op, workspace: Id) -> StorageResult<()> {
        let team = Team::read(self, op, workspace).await?;
        for (user, untold) in &team.untold {
            if !team.members.contains_key(user) {
                // They would come back to life if the user joined again.
                self.end_keys(op, workspace, untold.at, EndKeys::Member(*user)).await?;
            }
        }
        if let Some(at) = team.closed_at {
            self.end_keys(op, workspace, at, EndKeys::Workspace).await?;
            self.drop_invitations(op, &team).await?;
        }
        if team.untold.is_empty() {
            return Ok(());
        }
        self.move_epoch(op).await?;
        let changes: Vec<_> = team
            .untold
            .iter()
            .map(|(user, untold)| {
                let (user, role) = (*user, untold.role);
                (untold.at, AccessChange::RoleChanged { workspace, user, role })
            })
            .collect();
        self.note_changes(op, &changes).await?;
        for (user, untold) in &team.untold {
            let values = (signed(workspace), signed(*user), untold.change);
            self.apply(op, &self.statements().workspaces.told, values).await?;
        }
        Ok(())
    }

    /// Removes the invitations of a closed workspace.
    async fn drop_invitations(&self, op: Op, team: &Team) -> StorageResult<()> {
        let all: Vec<&Invitation> = team.invitations.values().collect();
        for part in all.chunks(ROWS_PER_BATCH) {
            let Some(workspace) = part.first().map(|one| one.workspace) else { continue };
            self.change(op, workspace, |team: &Team, stamp| {
                let mut steps: Vec<Step<'_>> = team.touch(self, stamp).into_iter().collect();
                let there = part.iter().filter(|one| team.invitations.contains_key(&one.id));
                steps.extend(there.map(|one| team.remove_invitation(self, one.id)));
                if steps.len() < 2 { Decision::Stay(()) } else { Decision::Write(steps, ()) }
            })
            .await?;
            for one in part {
                self.forget_invitation(op, one).await?;
            }
        }
        Ok(())
    }
}
