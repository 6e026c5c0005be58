//! Sign-ins in maps.

use async_trait::async_trait;

use super::MemoryStore;
use crate::domain::account::{AccessChange, ClientDigest, Session};
use crate::domain::id::Id;
use crate::domain::time::Timestamp;
use crate::storage::StorageResult;
use crate::storage::people::{SessionStore, StoredTicket};

#[async_trait]
impl SessionStore for MemoryStore {
    async fn add_session(&self, session: Session, most: usize) -> StorageResult<Option<Vec<Id>>> {
        let people = &mut self.lock().people;
        let (user, at) = (session.user, session.created_at);
        if people.users.get(&user).is_none_or(|user| user.disabled_at.is_some()) {
            return Ok(None);
        }
        people.know(user, session.client, at);
        people.sessions.insert(session.id, session);
        let of_user = people.sessions.values().filter(|session| session.user == user);
        let mut by_age: Vec<_> = of_user.map(|one| (one.rotated_at, one.id)).collect();
        by_age.sort_unstable_by(|one, other| other.cmp(one));
        let oldest: Vec<Id> = by_age.into_iter().skip(most).map(|(_, id)| id).collect();
        for id in &oldest {
            people.end(*id, at);
        }
        Ok(Some(oldest))
    }

    async fn session(&self, id: Id) -> StorageResult<Option<Session>> {
        Ok(self.lock().people.sessions.get(&id).cloned())
    }

    async fn rotate_session(&self, next: Session) -> StorageResult<bool> {
        let people = &mut self.lock().people;
        let Some(session) = people.sessions.get_mut(&next.id) else { return Ok(false) };
        if session.generation + 1 != next.generation || session.expires_at <= next.rotated_at {
            return Ok(false);
        }
        let Session { user, created_at, expires_at, .. } = *session;
        let (client, at) = (next.client, next.rotated_at);
        *session = Session { user, created_at, expires_at, ..next };
        people.know(user, client, at);
        Ok(true)
    }

    async fn end_session(&self, id: Id, at: Timestamp) -> StorageResult<bool> {
        Ok(self.lock().people.end(id, at))
    }

    async fn end_sessions(&self, user: Id, at: Timestamp) -> StorageResult<Vec<Id>> {
        Ok(self.lock().people.end_all(user, None, at))
    }

    async fn knows_client(&self, user: Id, client: &ClientDigest) -> StorageResult<bool> {
        Ok(self.lock().people.clients.contains_key(&(user, *client)))
    }

    async fn access_changes(
        &self,
        after: u64,
    ) -> StorageResult<Vec<(u64, Timestamp, AccessChange)>> {
        let state = self.lock();
        Ok(state.people.changes.iter().filter(|(seq, ..)| *seq > after).copied().collect())
    }

    async fn add_ticket(&self, ticket: StoredTicket) -> StorageResult<()> {
        let people = &mut self.lock().people;
        let replaced =
            |other: &StoredTicket| (other.user, other.kind) == (ticket.user, ticket.kind);
        people.tickets.retain(|_, other| !replaced(other));
        if people.users.contains_key(&ticket.user) {
            people.tickets.insert(ticket.digest, ticket);
        }
        Ok(())
    }

    async fn ticket(
        &self,
        digest: &[u8; 32],
        kind: u8,
        now: Timestamp,
    ) -> StorageResult<Option<Id>> {
        let state = self.lock();
        let found = state.people.tickets.get(digest).filter(|ticket| ticket.kind == kind);
        Ok(found.filter(|ticket| ticket.expires_at > now).map(|ticket| ticket.user))
    }

    async fn take_ticket(
        &self,
        digest: &[u8; 32],
        kind: u8,
        now: Timestamp,
    ) -> StorageResult<Option<Id>> {
        let tickets = &mut self.lock().people.tickets;
        let found = tickets.get(digest).is_some_and(|ticket| ticket.kind == kind);
        let taken = if found { tickets.remove(digest) } else { None };
        Ok(taken.filter(|ticket| ticket.expires_at > now).map(|ticket| ticket.user))
    }

    async fn prune_access(&self, now: Timestamp, changes_before: Timestamp) -> StorageResult<()> {
        let people = &mut self.lock().people;
        people.sessions.retain(|_, session| session.expires_at > now);
        people.tickets.retain(|_, ticket| ticket.expires_at > now);
        people.invitations.retain(|_, invitation| invitation.expires_at > now);
        people.changes.retain(|(_, at, _)| *at >= changes_before);
        Ok(())
    }
}
