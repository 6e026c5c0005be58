//! How a user is erased. First the user says that it is being erased: from then on it is gone for
//! everybody, and whatever cuts the rest short, the agenda ends it.

use tracing::warn;

use super::super::Cql;
use super::super::finding::{Candidates, Claimed, Plan, Task, key_of};
use super::super::ids::{signed, unsigned};
use super::super::keys::{EndKeys, LATER_MS};
use super::super::together::{Decision, Step, Whole as _};
use super::person::Person;
use super::team::{Team, Untold};
use super::users::day_of;
use crate::domain::account::{Role, User};
use crate::domain::id::Id;
use crate::domain::time::Timestamp;
use crate::storage::Workspace;
use crate::storage::error::{Op, StorageResult};
use crate::storage::people::{Erasure, StoredTicket};

/// What becomes of a membership when its user is erased.
#[derive(Debug, PartialEq, Eq)]
enum Left {
    NoMember,
    Done,
    /// Nobody else belongs to the workspace, and that it is to be closed is not noted yet.
    WouldClose,
    /// Nobody else belonged to the workspace, which was called this.
    Closed(String),
    LastOwner,
}

impl Cql {
    pub(super) async fn erase(&self, op: Op, id: Id, at: Timestamp) -> StorageResult<Erasure> {
        if self.plain_user(op, id).await?.is_none() {
            return Ok(Erasure::NotFound);
        }
        for candidate in self.noted(op, Candidates::Memberships, &key_of(id)).await? {
            let team = Team::read(self, op, unsigned(candidate.item)).await?;
            if is_last_owner(&team, id) {
                return Ok(Erasure::LastOwner);
            }
        }
        self.plan(op, Plan::new(at.plus_millis(LATER_MS), Task::User, id)).await?;
        let marked = self.change(op, id, |person: &Person, stamp| {
            let Some(user) = person.here() else { return Decision::Stay(None) };
            let mut ended: Vec<Id> = person.open().into_iter().map(|one| one.id).collect();
            ended.sort_unstable();
            let tickets: Vec<StoredTicket> = person.tickets.values().cloned().collect();
            let mut steps: Vec<Step<'_>> = vec![person.put(self, stamp, user, Some(at))];
            steps.extend(ended.iter().map(|session| person.end_session(self, *session, at)));
            steps.extend(tickets.iter().map(|ticket| person.remove_ticket(self, ticket.kind)));
            Decision::Write(steps, Some((ended, tickets)))
        });
        let Some((ended, tickets)) = marked.await? else { return Ok(Erasure::NotFound) };
        for ticket in tickets {
            self.forget(op, Candidates::Ticket, &ticket.digest, ticket.kind.into()).await?;
        }
        let is_erased = self.finish_erasing(op, id).await?;
        Ok(if is_erased { Erasure::Done { ended } } else { Erasure::LastOwner })
    }

    /// Removes whatever names a user that is being erased. False, and the user stays, when it has
    /// become the last owner of a workspace meanwhile.
    pub(super) async fn finish_erasing(&self, op: Op, id: Id) -> StorageResult<bool> {
        self.tell_ended(op, id).await?;
        let person = Person::read(self, op, id).await?;
        let (Some(user), Some(at)) = (&person.user, person.erasing_at) else { return Ok(true) };
        for candidate in self.noted(op, Candidates::Memberships, &key_of(id)).await? {
            if !self.leave(op, unsigned(candidate.item), id, at).await? {
                warn!(user = %id, "a user that was to be erased became the last owner of a team");
                self.stay(op, id).await?;
                return Ok(false);
            }
        }
        self.remove_offers(op, user).await?;
        self.end_keys(op, id, at, EndKeys::User).await?;
        self.move_epoch(op).await?;
        self.release_claims(op, user).await?;
        self.put(op, &self.statements().access.unknow_all, (signed(id),)).await?;
        for kind in [Candidates::Memberships, Candidates::Keys, Candidates::InvitedBy] {
            self.forget_all(op, kind, &key_of(id)).await?;
        }
        let day = day_of(id).to_be_bytes();
        self.forget(op, Candidates::UsersOfDay, &day, signed(id)).await?;
        self.change(op, id, |person: &Person, _| {
            let values = (signed(id), person.stamp());
            let mut steps: Vec<Step<'_>> =
                vec![(&self.statements().users.unmake, Box::new(values))];
            let sessions = person.sessions.keys();
            steps.extend(sessions.map(|session| person.remove_session(self, *session)));
            let tickets = person.tickets.keys().chain(&person.taken);
            steps.extend(tickets.map(|kind| person.remove_ticket(self, *kind)));
            match person.erasing_at {
                Some(_) => Decision::Write(steps, true),
                None => Decision::Stay(true),
            }
        })
        .await
    }

    /// Takes back that a user is being erased.
    async fn stay(&self, op: Op, id: Id) -> StorageResult<()> {
        self.change(op, id, |person: &Person, stamp| match &person.user {
            Some(user) => Decision::Write(vec![person.put(self, stamp, user, None)], ()),
            None => Decision::Stay(()),
        })
        .await
    }

    /// Ends a membership, and closes the workspace when nobody else belongs to it. False: nobody
    /// would be left who may do everything.
    pub(super) async fn leave(
        &self,
        op: Op,
        workspace: Id,
        user: Id,
        at: Timestamp,
    ) -> StorageResult<bool> {
        self.plan(op, Plan::new(at.plus_millis(LATER_MS), Task::Team, workspace)).await?;
        let mut left = self.try_to_leave(op, workspace, (user, at), false).await?;
        if left == Left::WouldClose {
            self.note(op, Candidates::Closed, &[], (signed(workspace), workspace)).await?;
            left = self.try_to_leave(op, workspace, (user, at), true).await?;
        }
        if let Left::Closed(name) = &left {
            self.forget(op, Candidates::Called, name.as_bytes(), signed(workspace)).await?;
        }
        self.tell_members(op, workspace).await?;
        Ok(left != Left::LastOwner)
    }

    async fn try_to_leave(
        &self,
        op: Op,
        workspace: Id,
        (user, at): (Id, Timestamp),
        may_close: bool,
    ) -> StorageResult<Left> {
        self.change(op, workspace, |team: &Team, stamp| {
            let is_member = team.members.contains_key(&user);
            let Some(own) = team.workspace.as_ref().filter(|_| is_member) else {
                return Decision::Stay(Left::NoMember);
            };
            let (mut put, mut left) = (team.put(self, stamp, own, team.closed_at), Left::Done);
            if team.others(user).is_empty() {
                if !may_close {
                    return Decision::Stay(Left::WouldClose);
                }
                let unnamed = Workspace { name: String::new(), ..own.clone() };
                put = team.put(self, stamp, &unnamed, Some(at));
                left = Left::Closed(own.name.clone());
            } else if is_last_owner(team, user) {
                return Decision::Stay(Left::LastOwner);
            }
            let untold = Untold { role: None, at, change: stamp };
            let steps =
                vec![put, team.remove_member(self, user), team.put_untold(self, user, untold)];
            Decision::Write(steps, left)
        })
        .await
    }

    /// Removes invitations that the user made or was to get.
    async fn remove_offers(&self, op: Op, user: &User) -> StorageResult<()> {
        let to = user.email.key();
        for (kind, key) in [
            (Candidates::InvitedBy, key_of(user.id).as_slice()),
            (Candidates::InvitedTo, to.as_bytes()),
        ] {
            for candidate in self.noted(op, kind, key).await? {
                let (id, workspace) = (unsigned(candidate.item), unsigned(candidate.owner));
                self.drop_invitation(op, workspace, id, |_| true).await?;
                self.forget(op, kind, key, candidate.item).await?;
            }
        }
        Ok(())
    }

    async fn release_claims(&self, op: Op, user: &User) -> StorageResult<()> {
        let email = user.email.key();
        let noted = self.noted(op, Candidates::Identities, &key_of(user.id)).await?;
        let identities = noted.iter().filter_map(|candidate| candidate.note.as_deref());
        let claims = identities.map(|key| (Claimed::Identity, key));
        for (kind, key) in claims.chain([(Claimed::Email, email.as_bytes())]) {
            let claim = self.claimant(op, kind, key).await?;
            if let Some(claim) = claim.filter(|claim| claim.owner == user.id) {
                self.release(op, (kind, key), claim).await?;
            }
        }
        self.forget_all(op, Candidates::Identities, &key_of(user.id)).await
    }
}

/// Others belong to the workspace, and none of them is an owner.
fn is_last_owner(team: &Team, user: Id) -> bool {
    let others = team.others(user);
    let is_owner = team.members.get(&user).is_some_and(|member| member.role == Role::Owner);
    is_owner && !others.is_empty() && !others.contains(&Role::Owner)
}
