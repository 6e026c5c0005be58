//! People in maps, with the rules that the embedded store has in its tables.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;

use super::{MemoryStore, State};
use crate::domain::account::{AccessChange, ClientDigest, Member, Role, Session, User};
use crate::domain::email::Email;
use crate::domain::id::Id;
use crate::domain::limits::KNOWN_CLIENTS_MAX;
use crate::domain::time::Timestamp;
use crate::storage::people::{
    Erasure, Invitation, NewUser, PasswordChange, RoleSet, StoredTicket, TeamStore, UserAdded,
    UserChange, UserChanged, UserStore,
};
use crate::storage::{StorageResult, Workspace};

#[derive(Clone, Default)]
pub(super) struct People {
    pub(super) users: BTreeMap<Id, User>,
    /// By workspace and user.
    pub(super) members: BTreeMap<(Id, Id), Member>,
    identities: HashMap<(String, String), Id>,
    pub(super) sessions: BTreeMap<Id, Session>,
    pub(super) clients: HashMap<(Id, ClientDigest), Timestamp>,
    pub(super) tickets: HashMap<[u8; 32], StoredTicket>,
    pub(super) invitations: BTreeMap<Id, Invitation>,
    pub(super) changes: Vec<(u64, Timestamp, AccessChange)>,
    n_changes: u64,
    closed: Vec<Id>,
}

impl People {
    /// What a key's user is in its workspace.
    pub(super) fn role(&self, workspace: Id, user: Option<Id>) -> Option<Role> {
        let Some(user) = user else { return Some(Role::Owner) };
        let in_force = self.users.get(&user).is_some_and(|user| user.disabled_at.is_none());
        let member = self.members.get(&(workspace, user)).filter(|_| in_force);
        member.map(|member| member.role)
    }

    fn by_email(&self, email: &Email) -> Option<&User> {
        self.users.values().find(|user| user.email.key() == email.key())
    }

    fn note(&mut self, change: AccessChange, at: Timestamp) {
        self.n_changes += 1;
        self.changes.push((self.n_changes, at, change));
    }

    pub(super) fn end(&mut self, id: Id, at: Timestamp) -> bool {
        let ended = self.sessions.remove(&id).is_some();
        if ended {
            self.note(AccessChange::SessionEnded { session: id }, at);
        }
        ended
    }

    pub(super) fn end_all(&mut self, user: Id, keep: Option<Id>, at: Timestamp) -> Vec<Id> {
        let of_user = |session: &&Session| session.user == user && Some(session.id) != keep;
        let ended: Vec<Id> =
            self.sessions.values().filter(of_user).map(|session| session.id).collect();
        for id in &ended {
            self.end(*id, at);
        }
        ended
    }

    fn others(&self, workspace: Id, but: Id) -> Vec<Role> {
        let others = self.members.values();
        others
            .filter(|member| member.workspace == workspace && member.user != but)
            .map(|member| member.role)
            .collect()
    }

    fn invitation(&self, digest: &[u8; 32], now: Timestamp) -> Option<Invitation> {
        let mut all = self.invitations.values();
        all.find(|one| one.digest == *digest && one.expires_at > now).cloned()
    }

    fn accept(&mut self, digest: &[u8; 32], user: Id, now: Timestamp) -> Option<Member> {
        let Invitation { id, workspace, role, .. } = self.invitation(digest, now)?;
        self.invitations.remove(&id);
        let joined = Member { workspace, user, role, joined_at: now };
        let member = self.members.entry((workspace, user)).or_insert(joined);
        member.role = member.role.max(role);
        let (member, role) = (*member, Some(member.role));
        self.note(AccessChange::RoleChanged { workspace, user, role }, now);
        Some(member)
    }

    pub(super) fn know(&mut self, user: Id, client: ClientDigest, at: Timestamp) {
        self.clients.insert((user, client), at);
        let of_user = self.clients.iter().filter(|((owner, _), _)| *owner == user);
        let oldest = of_user.clone().min_by_key(|(_, at)| **at).map(|(key, _)| *key);
        if of_user.count() > KNOWN_CLIENTS_MAX
            && let Some(oldest) = oldest
        {
            self.clients.remove(&oldest);
        }
    }
}

#[async_trait]
impl UserStore for MemoryStore {
    async fn add_user(&self, new: NewUser) -> StorageResult<UserAdded> {
        let mut state = self.lock();
        let State { people, workspaces, .. } = &mut *state;
        let NewUser { user, workspace, identity, invitation } = new;
        if people.by_email(&user.email).is_some() {
            return Ok(UserAdded::EmailTaken);
        }
        if identity.as_ref().is_some_and(|identity| people.identities.contains_key(identity)) {
            return Ok(UserAdded::IdentityTaken);
        }
        let (id, at) = (user.id, user.created_at);
        if let Some(digest) = &invitation
            && people.accept(digest, id, at).is_none()
        {
            return Ok(UserAdded::NotInvited);
        }
        if let Some(identity) = identity {
            people.identities.insert(identity, id);
        }
        let (role, own) = (Role::Owner, workspace.id);
        people.members.insert((own, id), Member { workspace: own, user: id, role, joined_at: at });
        people.users.insert(id, user);
        workspaces.insert(own, workspace);
        Ok(UserAdded::Done)
    }

    async fn user(&self, id: Id) -> StorageResult<Option<User>> {
        Ok(self.lock().people.users.get(&id).cloned())
    }

    async fn user_by_email(&self, email: &Email) -> StorageResult<Option<User>> {
        Ok(self.lock().people.by_email(email).cloned())
    }

    async fn users(&self, after: Id, limit: u32) -> StorageResult<Vec<User>> {
        let state = self.lock();
        let later = state.people.users.values().filter(|user| user.id > after);
        Ok(later.take(limit as usize).cloned().collect())
    }

    async fn change_user(
        &self,
        id: Id,
        change: UserChange,
        at: Timestamp,
    ) -> StorageResult<UserChanged> {
        let people = &mut self.lock().people;
        let other = change.email.as_ref().and_then(|email| people.by_email(email));
        if other.is_some_and(|other| other.id != id) {
            return Ok(UserChanged::EmailTaken);
        }
        let Some(user) = people.users.get_mut(&id) else { return Ok(UserChanged::NotFound) };
        if let Some(email) = change.email {
            user.email_verified_at =
                user.email_verified_at.filter(|_| user.email.key() == email.key());
            user.email = email;
            people.tickets.retain(|_, ticket| ticket.user != id);
        }
        user.name = change.name.unwrap_or_else(|| user.name.clone());
        user.updated_at = at;
        Ok(UserChanged::Done(user.clone()))
    }

    async fn verify_email(&self, id: Id, at: Timestamp) -> StorageResult<bool> {
        let people = &mut self.lock().people;
        let user = people.users.get_mut(&id);
        Ok(user.map(|user| user.email_verified_at.get_or_insert(at)).is_some())
    }

    async fn set_password(
        &self,
        id: Id,
        change: PasswordChange,
        at: Timestamp,
    ) -> StorageResult<Option<Vec<Id>>> {
        let PasswordChange { from, to, keep } = change;
        let people = &mut self.lock().people;
        let Some(user) = people.users.get_mut(&id).filter(|user| user.password == from) else {
            return Ok(None);
        };
        (user.password, user.updated_at) = (Some(to), at);
        Ok(Some(people.end_all(id, keep, at)))
    }

    async fn rehash_password(&self, id: Id, from: &str, to: &str) -> StorageResult<()> {
        let people = &mut self.lock().people;
        if let Some(user) = people.users.get_mut(&id)
            && user.password.as_deref() == Some(from)
        {
            user.password = Some(to.to_owned());
        }
        Ok(())
    }

    async fn disable_user(
        &self,
        id: Id,
        disabled: bool,
        at: Timestamp,
    ) -> StorageResult<Option<Vec<Id>>> {
        let mut state = self.lock();
        let Some(user) = state.people.users.get_mut(&id) else { return Ok(None) };
        user.disabled_at = disabled.then(|| user.disabled_at.unwrap_or(at));
        let ended = if disabled { state.people.end_all(id, None, at) } else { Vec::new() };
        state.keys_epoch += 1;
        Ok(Some(ended))
    }

    async fn erase_user(&self, id: Id, at: Timestamp) -> StorageResult<Erasure> {
        let mut state = self.lock();
        let State { people, workspaces, keys, keys_epoch, .. } = &mut *state;
        let Some(user) = people.users.get(&id).cloned() else { return Ok(Erasure::NotFound) };
        let memberships: Vec<Member> =
            people.members.values().filter(|member| member.user == id).copied().collect();
        let mut alone = Vec::new();
        for member in &memberships {
            let others = people.others(member.workspace, id);
            if others.is_empty() {
                alone.push(member.workspace);
            } else if member.role == Role::Owner && !others.contains(&Role::Owner) {
                return Ok(Erasure::LastOwner);
            }
        }
        let ended = people.end_all(id, None, at);
        for Member { workspace, .. } in memberships {
            people.note(AccessChange::RoleChanged { workspace, user: id, role: None }, at);
        }
        for key in keys.values_mut() {
            if key.user == Some(id) || alone.contains(&key.workspace) {
                key.revoked_at.get_or_insert(at);
                key.name.clear();
                key.user = key.user.filter(|user| *user != id);
            }
        }
        *keys_epoch += 1;
        people.users.remove(&id);
        people.members.retain(|(_, user), _| *user != id);
        people.clients.retain(|(user, _), _| *user != id);
        people.identities.retain(|_, user| *user != id);
        people.tickets.retain(|_, ticket| ticket.user != id);
        people.invitations.retain(|_, one| {
            let to_user = one.email.as_ref().is_some_and(|email| email.key() == user.email.key());
            one.invited_by != id && !to_user && !alone.contains(&one.workspace)
        });
        for workspace in alone {
            workspaces.entry(workspace).and_modify(|closed| closed.name.clear());
            people.closed.push(workspace);
        }
        Ok(Erasure::Done { ended })
    }

    async fn user_by_identity(&self, issuer: &str, subject: &str) -> StorageResult<Option<User>> {
        let people = &self.lock().people;
        let user = people.identities.get(&(issuer.to_owned(), subject.to_owned()));
        Ok(user.and_then(|id| people.users.get(id)).cloned())
    }

    async fn add_identity(
        &self,
        user: Id,
        issuer: &str,
        subject: &str,
        _at: Timestamp,
    ) -> StorageResult<bool> {
        let people = &mut self.lock().people;
        let identity = (issuer.to_owned(), subject.to_owned());
        Ok(*people.identities.entry(identity).or_insert(user) == user)
    }
}

#[async_trait]
impl TeamStore for MemoryStore {
    async fn memberships(&self, user: Id) -> StorageResult<Vec<(Workspace, Member)>> {
        let state = self.lock();
        let of_user = state.people.members.values().filter(|member| member.user == user);
        let named = |member: &Member| Some((state.workspaces.get(&member.workspace)?, *member));
        Ok(of_user.filter_map(named).map(|(own, member)| (own.clone(), member)).collect())
    }

    async fn members(&self, workspace: Id) -> StorageResult<Vec<(Member, User)>> {
        let people = &self.lock().people;
        let members = people.members.values().filter(|member| member.workspace == workspace);
        let named = |member: &Member| Some((*member, people.users.get(&member.user)?.clone()));
        Ok(members.filter_map(named).collect())
    }

    async fn add_workspace(
        &self,
        workspace: Workspace,
        owner: Id,
        most: usize,
    ) -> StorageResult<bool> {
        let mut state = self.lock();
        let members = &mut state.people.members;
        if members.values().filter(|member| member.user == owner).count() >= most {
            return Ok(false);
        }
        let (id, joined_at) = (workspace.id, workspace.created_at);
        let member = Member { workspace: id, user: owner, role: Role::Owner, joined_at };
        members.insert((id, owner), member);
        state.workspaces.insert(id, workspace);
        Ok(true)
    }

    async fn rename_workspace(&self, id: Id, name: &str) -> StorageResult<bool> {
        let mut state = self.lock();
        let found = state.workspaces.get_mut(&id);
        Ok(found.map(|workspace| name.clone_into(&mut workspace.name)).is_some())
    }

    async fn set_role(
        &self,
        workspace: Id,
        user: Id,
        role: Option<Role>,
        at: Timestamp,
    ) -> StorageResult<RoleSet> {
        let mut state = self.lock();
        let State { people, keys, keys_epoch, .. } = &mut *state;
        let Some(before) = people.members.get(&(workspace, user)) else {
            return Ok(RoleSet::NotFound);
        };
        let last = !people.others(workspace, user).contains(&Role::Owner);
        if before.role == Role::Owner && role != Some(Role::Owner) && last {
            return Ok(RoleSet::LastOwner);
        }
        match (role, people.members.get_mut(&(workspace, user))) {
            (Some(role), Some(member)) => member.role = role,
            _ => {
                people.members.remove(&(workspace, user));
                for key in keys.values_mut() {
                    if key.workspace == workspace && key.user == Some(user) {
                        key.revoked_at.get_or_insert(at);
                    }
                }
            }
        }
        *keys_epoch += 1;
        people.note(AccessChange::RoleChanged { workspace, user, role }, at);
        Ok(RoleSet::Done)
    }

    async fn add_invitation(&self, invitation: Invitation, most: usize) -> StorageResult<bool> {
        let invitations = &mut self.lock().people.invitations;
        let of_workspace = |one: &&Invitation| one.workspace == invitation.workspace;
        if invitations.values().filter(of_workspace).count() >= most {
            return Ok(false);
        }
        invitations.insert(invitation.id, invitation);
        Ok(true)
    }

    async fn invitations(&self, workspace: Id, now: Timestamp) -> StorageResult<Vec<Invitation>> {
        let state = self.lock();
        let all = state.people.invitations.values();
        let in_force =
            all.filter(|one| one.workspace == workspace && one.expires_at > now).cloned();
        Ok(in_force.collect())
    }

    async fn invitation(
        &self,
        digest: &[u8; 32],
        now: Timestamp,
    ) -> StorageResult<Option<Invitation>> {
        Ok(self.lock().people.invitation(digest, now))
    }

    async fn remove_invitation(&self, workspace: Id, id: Id) -> StorageResult<bool> {
        let invitations = &mut self.lock().people.invitations;
        let found = invitations.get(&id).is_some_and(|one| one.workspace == workspace);
        Ok(found && invitations.remove(&id).is_some())
    }

    async fn accept_invitation(
        &self,
        digest: &[u8; 32],
        user: Id,
        now: Timestamp,
    ) -> StorageResult<Option<Member>> {
        let mut state = self.lock();
        state.keys_epoch += 1;
        Ok(state.people.accept(digest, user, now))
    }

    async fn closed_workspaces(&self) -> StorageResult<Vec<Id>> {
        Ok(self.lock().people.closed.clone())
    }

    async fn finish_closing(&self, workspace: Id) -> StorageResult<()> {
        let mut state = self.lock();
        let State { people, replays, destinations, links, .. } = &mut *state;
        people.closed.retain(|closed| *closed != workspace);
        replays.retain(|key, _| key.workspace != workspace);
        destinations
            .retain(|(link, _), _| links.get(link).is_none_or(|link| link.workspace != workspace));
        Ok(())
    }
}
