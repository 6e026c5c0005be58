//! How a user is made: what is claimed for it and what leads to it first, the user itself last.
//! Whoever reads any of it looks for the user; what is cut short is taken back a minute later.

use super::super::Cql;
use super::super::finding::{Candidates, Claimed, Plan, Task, hash_of, key_of};
use super::super::ids::{signed, unsigned};
use super::super::together::{Decision, Step, Whole as _};
use super::person::Person;
use super::team::Team;
use super::users::{claim_plan, day_of, identity_key};
use crate::domain::id::Id;
use crate::storage::Workspace;
use crate::storage::error::{Op, StorageResult};
use crate::storage::people::{NewUser, UserAdded};

/// When a registration that is not done by then counts as cut short.
const DONE_MS: i64 = 60_001;

impl Cql {
    pub(super) async fn register(&self, op: Op, new: NewUser) -> StorageResult<UserAdded> {
        let NewUser { user, workspace, identity, invitation } = new;
        let (id, own, at) = (user.id, workspace.id, user.created_at);
        let email = user.email.key();
        let email = (Claimed::Email, email.as_bytes());
        let subject = identity.map(|(issuer, subject)| identity_key(&issuer, &subject));
        self.plan(op, claim_plan(id, email.0, email.1, at)).await?;
        let Some(claim) = self.obtain(op, email, id, at).await? else {
            return Ok(UserAdded::EmailTaken);
        };
        let later = Plan::new(at.plus_millis(DONE_MS), Task::Registration, id);
        self.plan(op, Plan { item: signed(own), ..later }).await?;
        if let Some(key) = &subject {
            self.plan(op, claim_plan(id, Claimed::Identity, key, at)).await?;
            let noted = (hash_of(key), id, Some(key.as_slice()));
            self.note_text(op, Candidates::Identities, &key_of(id), noted).await?;
            if self.obtain(op, (Claimed::Identity, key), id, at).await?.is_none() {
                self.release(op, email, claim).await?;
                return Ok(UserAdded::IdentityTaken);
            }
        }
        self.note_user(op, id, &workspace).await?;
        self.make_workspace(op, workspace, Some(id)).await?;
        let mut joined = None;
        if let Some(digest) = &invitation {
            joined = self.join(op, digest, id, at).await?;
        }
        if invitation.is_some() && joined.is_none() {
            self.take_back(op, id, own).await?;
            self.take_back_claims(op, id, &[Some(email), identity_claim(subject.as_deref())])
                .await?;
            return Ok(UserAdded::NotInvited);
        }
        let made = self.change(op, id, |person: &Person, stamp| {
            if person.stamp().is_some() {
                // This took so long that somebody else was let in.
                return Decision::Stay(false);
            }
            Decision::Write(vec![person.put(self, stamp, &user, None)], true)
        });
        if !made.await? {
            self.take_back(op, id, own).await?;
            return Ok(UserAdded::EmailTaken);
        }
        if let Some(member) = joined {
            self.tell_members(op, member.workspace).await?;
        }
        Ok(UserAdded::Done)
    }

    async fn note_user(&self, op: Op, id: Id, own: &Workspace) -> StorageResult<()> {
        let day = day_of(id);
        self.note(op, Candidates::UserDays, &[], (day, Id(0))).await?;
        self.note(op, Candidates::UsersOfDay, &day.to_be_bytes(), (signed(id), id)).await?;
        let membership = (signed(own.id), own.id);
        self.note(op, Candidates::Memberships, &key_of(id), membership).await
    }

    /// Removes what was made for a user, unless the user is there. None can be made from it any
    /// more.
    pub(super) async fn take_back(&self, op: Op, user: Id, own: Id) -> StorageResult<()> {
        let memberships = self.noted(op, Candidates::Memberships, &key_of(user)).await?;
        if memberships.is_empty() {
            // Nothing was made yet; or it was, and erased.
            return Ok(());
        }
        let is_there = self.change(op, user, |person: &Person, stamp| {
            if person.stamp().is_some() {
                return Decision::Stay(person.user.is_some());
            }
            Decision::Write(vec![person.touch(self, stamp)], false)
        });
        if is_there.await? {
            return Ok(());
        }
        for candidate in memberships {
            let workspace = unsigned(candidate.item);
            self.change(op, workspace, |team: &Team, stamp| {
                let Some(touch) = team.touch(self, stamp) else { return Decision::Stay(()) };
                if !team.members.contains_key(&user) {
                    return Decision::Stay(());
                }
                let steps =
                    vec![touch, team.remove_member(self, user), team.remove_untold(self, user)];
                Decision::Write(steps, ())
            })
            .await?;
        }
        self.unmake_workspace(op, own).await?;
        self.forget_all(op, Candidates::Memberships, &key_of(user)).await?;
        self.forget_all(op, Candidates::Identities, &key_of(user)).await?;
        let day = day_of(user).to_be_bytes();
        self.forget(op, Candidates::UsersOfDay, &day, signed(user)).await
    }

    /// Removes a workspace that nobody belongs to.
    async fn unmake_workspace(&self, op: Op, id: Id) -> StorageResult<()> {
        let team = Team::read(self, op, id).await?;
        let Some(workspace) = &team.workspace else { return Ok(()) };
        if !team.members.is_empty() || team.closed_at.is_some() {
            return Ok(());
        }
        let step: Step<'_> =
            (&self.statements().workspaces.unmake, Box::new((signed(id), team.stamp())));
        self.apply_all(op, &[step]).await?;
        self.forget(op, Candidates::Called, workspace.name.as_bytes(), signed(id)).await
    }

    pub(super) async fn take_back_claims(
        &self,
        op: Op,
        user: Id,
        claims: &[Option<(Claimed, &[u8])>],
    ) -> StorageResult<()> {
        for (kind, key) in claims.iter().flatten() {
            let claim = self.claimant(op, *kind, key).await?.filter(|claim| claim.owner == user);
            let Some(claim) = claim else { continue };
            if !self.backs(op, user, *kind, key).await? {
                self.release(op, (*kind, key), claim).await?;
            }
        }
        Ok(())
    }
}

fn identity_claim(key: Option<&[u8]>) -> Option<(Claimed, &[u8])> {
    key.map(|key| (Claimed::Identity, key))
}
