//! Users. Who has an address is claimed before the user says that it is its own; who holds a claim
//! but is not there, or has another address, holds it for a minute.

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::super::Cql;
use super::super::finding::{Candidates, Claim, Claimed, Plan, Task, hash_of, key_of};
use super::super::ids::{signed, unsigned};
use super::super::keys::LATER_MS;
use super::super::together::{Decision, Step, TRIES, Whole as _, contended};
use super::person::Person;
use crate::domain::account::User;
use crate::domain::email::Email;
use crate::domain::id::Id;
use crate::domain::time::Timestamp;
use crate::storage::error::{Op, StorageResult};
use crate::storage::people::{
    Erasure, NewUser, PasswordChange, UserAdded, UserChange, UserChanged, UserStore,
};

/// How long a claim holds whose user does not back it.
const CLAIM_MS: i64 = 60_000;
/// Users read at once.
const AT_ONCE: usize = 16;
const DAY_MS: i64 = 86_400_000;

#[async_trait]
impl UserStore for Cql {
    async fn add_user(&self, new: NewUser) -> StorageResult<UserAdded> {
        self.register("add_user", new).await
    }

    async fn user(&self, id: Id) -> StorageResult<Option<User>> {
        self.plain_user("user", id).await
    }

    async fn user_by_email(&self, email: &Email) -> StorageResult<Option<User>> {
        const OP: Op = "user_by_email";
        let key = email.key();
        let claim = self.claimant(OP, Claimed::Email, key.as_bytes()).await?;
        let Some(Claim { owner, .. }) = claim else { return Ok(None) };
        Ok(self.plain_user(OP, owner).await?.filter(|user| user.email.key() == key))
    }

    async fn users(&self, after: Id, limit: u32) -> StorageResult<Vec<User>> {
        const OP: Op = "users";
        let (mut users, first) = (Vec::new(), day_of(after));
        for day in self.noted_after(OP, Candidates::UserDays, &[], first - 1).await? {
            let key = day.item.to_be_bytes();
            let noted = self.noted_after(OP, Candidates::UsersOfDay, &key, signed(after)).await?;
            let found = noted.into_iter().map(|one| self.plain_user(OP, unsigned(one.item)));
            let mut found = stream::iter(found).buffered(AT_ONCE);
            while let Some(user) = found.try_next().await? {
                users.extend(user);
                if users.len() >= limit as usize {
                    return Ok(users);
                }
            }
        }
        Ok(users)
    }

    async fn change_user(
        &self,
        id: Id,
        change: UserChange,
        at: Timestamp,
    ) -> StorageResult<UserChanged> {
        const OP: Op = "change_user";
        for _ in 0..TRIES {
            if let Some(changed) = self.try_change(OP, id, &change, at).await? {
                return Ok(changed);
            }
        }
        Err(contended(OP))
    }

    async fn verify_email(&self, id: Id, at: Timestamp) -> StorageResult<bool> {
        self.change("verify_email", id, |person: &Person, stamp| {
            let Some(user) = person.here() else { return Decision::Stay(false) };
            if user.email_verified_at.is_some() {
                return Decision::Stay(true);
            }
            let user = User { email_verified_at: Some(at), ..user.clone() };
            Decision::Write(vec![person.put(self, stamp, &user, None)], true)
        })
        .await
    }

    async fn set_password(
        &self,
        id: Id,
        change: PasswordChange,
        at: Timestamp,
    ) -> StorageResult<Option<Vec<Id>>> {
        const OP: Op = "set_password";
        let PasswordChange { from, to, keep } = change;
        self.change_and_end(OP, id, at, |user| {
            if user.password != from {
                return None;
            }
            let user = User { password: Some(to.clone()), updated_at: at, ..user.clone() };
            Some((user, End::AllBut(keep)))
        })
        .await
    }

    async fn rehash_password(&self, id: Id, from: &str, to: &str) -> StorageResult<()> {
        self.change("rehash_password", id, |person: &Person, stamp| {
            let user = person.here().filter(|user| user.password.as_deref() == Some(from));
            let Some(user) = user else { return Decision::Stay(()) };
            let user = User { password: Some(to.to_owned()), ..user.clone() };
            Decision::Write(vec![person.put(self, stamp, &user, None)], ())
        })
        .await
    }

    async fn disable_user(
        &self,
        id: Id,
        disabled: bool,
        at: Timestamp,
    ) -> StorageResult<Option<Vec<Id>>> {
        const OP: Op = "disable_user";
        self.plan(OP, Plan::new(at.plus_millis(LATER_MS), Task::Keys, Id(0))).await?;
        let ended = self.change_and_end(OP, id, at, |user| {
            let disabled_at = disabled.then(|| user.disabled_at.unwrap_or(at));
            let end = if disabled { End::AllBut(None) } else { End::None };
            Some((User { disabled_at, ..user.clone() }, end))
        });
        let ended = ended.await?;
        self.move_epoch(OP).await?;
        Ok(ended)
    }

    async fn erase_user(&self, id: Id, at: Timestamp) -> StorageResult<Erasure> {
        self.erase("erase_user", id, at).await
    }

    async fn user_by_identity(&self, issuer: &str, subject: &str) -> StorageResult<Option<User>> {
        const OP: Op = "user_by_identity";
        let claim = self.claimant(OP, Claimed::Identity, &identity_key(issuer, subject)).await?;
        let Some(Claim { owner, .. }) = claim else { return Ok(None) };
        self.plain_user(OP, owner).await
    }

    async fn add_identity(
        &self,
        user: Id,
        issuer: &str,
        subject: &str,
        at: Timestamp,
    ) -> StorageResult<bool> {
        const OP: Op = "add_identity";
        let key = identity_key(issuer, subject);
        let noted = (hash_of(&key), user, Some(key.as_slice()));
        self.note_text(OP, Candidates::Identities, &key_of(user), noted).await?;
        let Some(claim) = self.obtain(OP, (Claimed::Identity, &key), user, at).await? else {
            return Ok(false);
        };
        if self.plain_user(OP, user).await?.is_none() {
            // It was erased meanwhile, and may not have found this.
            self.release(OP, (Claimed::Identity, &key), claim).await?;
            self.forget_all(OP, Candidates::Identities, &key_of(user)).await?;
            return Ok(false);
        }
        Ok(true)
    }
}

/// Which sessions end with a change of a user.
enum End {
    None,
    AllBut(Option<Id>),
}

impl Cql {
    /// Changes a user on the condition that it is as it was before its address was claimed. `None`:
    /// it was not.
    async fn try_change(
        &self,
        op: Op,
        id: Id,
        change: &UserChange,
        at: Timestamp,
    ) -> StorageResult<Option<UserChanged>> {
        let before = Person::read(self, op, id).await?;
        let Some(user) = before.here() else { return Ok(Some(UserChanged::NotFound)) };
        let old = user.email.key();
        let new = change.email.as_ref().map(Email::key).filter(|new| *new != old);
        let mut former = None;
        if let Some(new) = &new {
            former = self.claimant(op, Claimed::Email, old.as_bytes()).await?;
            for key in [new, &old] {
                self.plan(op, claim_plan(id, Claimed::Email, key.as_bytes(), at)).await?;
            }
            let claimed = self.obtain(op, (Claimed::Email, new.as_bytes()), id, at).await?;
            if claimed.is_none() {
                return Ok(Some(UserChanged::EmailTaken));
            }
        }
        let changed = self.change(op, id, |person: &Person, stamp| {
            let Some(user) = person.here().filter(|_| person.stamp() == before.stamp()) else {
                return Decision::Stay(None);
            };
            let mut user = User { updated_at: at, ..user.clone() };
            user.name = change.name.clone().unwrap_or(user.name);
            let mut voided = Vec::new();
            if let Some(email) = &change.email {
                user.email_verified_at = user.email_verified_at.filter(|_| new.is_none());
                user.email = email.clone();
                voided.extend(person.tickets.values().cloned());
            }
            let mut steps: Vec<Step<'_>> = vec![person.put(self, stamp, &user, None)];
            steps.extend(voided.iter().map(|ticket| person.remove_ticket(self, ticket.kind)));
            Decision::Write(steps, Some((user, voided)))
        });
        let Some((user, voided)) = changed.await? else { return Ok(None) };
        for ticket in voided {
            self.forget(op, Candidates::Ticket, &ticket.digest, ticket.kind.into()).await?;
        }
        if let Some(former) = former.filter(|former| former.owner == id) {
            self.release(op, (Claimed::Email, old.as_bytes()), former).await?;
        }
        Ok(Some(UserChanged::Done(user)))
    }

    /// Changes a user and ends sessions of it in the same write; answers those that ended.
    async fn change_and_end(
        &self,
        op: Op,
        id: Id,
        at: Timestamp,
        mut decide: impl FnMut(&User) -> Option<(User, End)> + Send,
    ) -> StorageResult<Option<Vec<Id>>> {
        self.plan(op, Plan::new(at.plus_millis(LATER_MS), Task::User, id)).await?;
        let ended = self.change(op, id, |person: &Person, stamp| {
            let Some((user, end)) = person.here().and_then(&mut decide) else {
                return Decision::Stay(None);
            };
            let is_over = |session: Id| match end {
                End::None => false,
                End::AllBut(keep) => keep != Some(session),
            };
            let open = person.open().into_iter().map(|session| session.id);
            let mut ended: Vec<Id> = open.filter(|session| is_over(*session)).collect();
            ended.sort_unstable();
            let mut steps: Vec<Step<'_>> = vec![person.put(self, stamp, &user, None)];
            steps.extend(ended.iter().map(|session| person.end_session(self, *session, at)));
            Decision::Write(steps, Some(ended))
        });
        let ended = ended.await?;
        if ended.as_ref().is_some_and(|ended| !ended.is_empty()) {
            self.tell_ended(op, id).await?;
        }
        Ok(ended)
    }

    /// Claims an address or a subject for a user. `None`: it is another's.
    pub(super) async fn obtain(
        &self,
        op: Op,
        (kind, key): (Claimed, &[u8]),
        user: Id,
        at: Timestamp,
    ) -> StorageResult<Option<Claim>> {
        let new = Claim::new(op, user, at)?;
        for _ in 0..TRIES {
            let there = self.claim(op, (kind, key), new).await?;
            if there.owner == user {
                return Ok(Some(there));
            }
            let is_fresh = at.as_millis().saturating_sub(there.at.as_millis()) <= CLAIM_MS;
            if is_fresh || self.backs(op, there.owner, kind, key).await? {
                return Ok(None);
            }
            if self.take_over(op, (kind, key), there, new).await? {
                return Ok(Some(new));
            }
        }
        Err(contended(op))
    }

    /// Whether a user is there and has what was claimed for it. If not, it changes in a way that
    /// whoever is about to make it so must begin anew.
    pub(super) async fn backs(
        &self,
        op: Op,
        user: Id,
        kind: Claimed,
        key: &[u8],
    ) -> StorageResult<bool> {
        self.change(op, user, |person: &Person, stamp| {
            let has = person.user.as_ref().is_some_and(|user| match kind {
                Claimed::Email => user.email.key().as_bytes() == key,
                Claimed::Identity | Claimed::KeyDigest => true,
            });
            if has {
                return Decision::Stay(true);
            }
            Decision::Write(vec![person.touch(self, stamp)], false)
        })
        .await
    }
}

/// The day that an id was made on.
pub(super) fn day_of(id: Id) -> i64 {
    id.created_at().as_millis().div_euclid(DAY_MS)
}

/// A provider's subject, as it is claimed. Issuers are URLs, so no two are one key.
pub(super) fn identity_key(issuer: &str, subject: &str) -> Vec<u8> {
    [issuer.as_bytes(), subject.as_bytes()].join(&0)
}

/// To look later whether `user` has what was claimed for it.
pub(super) fn claim_plan(user: Id, kind: Claimed, key: &[u8], at: Timestamp) -> Plan {
    let mut note = vec![kind as u8];
    note.extend(key);
    let plan = Plan::new(at.plus_millis(CLAIM_MS + 1), Task::Claim, user);
    Plan { item: hash_of(&note), note, ..plan }
}
