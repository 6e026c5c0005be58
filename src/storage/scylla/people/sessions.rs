//! Sign-ins and tickets: rows of their user's partition.

use std::cmp::Reverse;

use async_trait::async_trait;

use super::super::Cql;
use super::super::fault::is_unknown;
use super::super::finding::{Candidates, Plan, Task, key_of};
use super::super::ids::{signed, unsigned};
use super::super::keys::LATER_MS;
use super::super::together::{Decision, TRIES, Whole as _, contended, stamp};
use super::person::{Person, PersonRow, SESSION, TICKET};
use crate::domain::account::{AccessChange, ClientDigest, Session};
use crate::domain::id::Id;
use crate::domain::limits::KNOWN_CLIENTS_MAX;
use crate::domain::time::Timestamp;
use crate::storage::error::{Op, StorageResult};
use crate::storage::people::{SessionStore, StoredTicket};

#[async_trait]
impl SessionStore for Cql {
    async fn add_session(&self, session: Session, most: usize) -> StorageResult<Option<Vec<Id>>> {
        const OP: Op = "add_session";
        let (id, user, at) = (session.id, session.user, session.created_at);
        self.note(OP, Candidates::Session, &key_of(id), (signed(id), user)).await?;
        let over = Plan::new(session.expires_at, Task::Session, user);
        self.plan(OP, Plan { item: signed(id), ..over }).await?;
        self.plan(OP, Plan::new(at.plus_millis(LATER_MS), Task::User, user)).await?;
        let ended = self.change(OP, user, |person: &Person, stamp| {
            if person.here().is_none_or(|user| user.disabled_at.is_some()) {
                return Decision::Stay(None);
            }
            let mut by_age = person.open();
            by_age.push(&session);
            by_age.sort_unstable_by_key(|one| Reverse((one.rotated_at, one.id)));
            let oldest: Vec<Id> = by_age.into_iter().skip(most).map(|one| one.id).collect();
            let mut steps = vec![person.touch(self, stamp), person.put_session(self, &session)];
            steps.extend(oldest.iter().map(|id| person.end_session(self, *id, at)));
            Decision::Write(steps, Some(oldest))
        });
        let ended = ended.await?;
        match &ended {
            None => self.forget(OP, Candidates::Session, &key_of(id), signed(id)).await?,
            Some(oldest) => {
                if !oldest.is_empty() {
                    self.tell_ended(OP, user).await?;
                }
                self.know(OP, user, &session.client, at).await?;
            }
        }
        Ok(ended)
    }

    async fn session(&self, id: Id) -> StorageResult<Option<Session>> {
        const OP: Op = "session";
        let Some(user) = self.user_of_session(OP, id).await? else { return Ok(None) };
        let statement = &self.statements().users.row;
        let rows = self.all(OP, statement, (signed(user), SESSION, signed(id))).await?;
        let found = Person::of(OP, user, rows)?.sessions.remove(&id);
        Ok(found.filter(|(_, ended_at)| ended_at.is_none()).map(|(session, _)| session))
    }

    async fn rotate_session(&self, next: Session) -> StorageResult<bool> {
        const OP: Op = "rotate_session";
        let rotated = self.rotate(OP, &next).await?;
        if rotated {
            self.know(OP, next.user, &next.client, next.rotated_at).await?;
        }
        Ok(rotated)
    }

    async fn end_session(&self, id: Id, at: Timestamp) -> StorageResult<bool> {
        const OP: Op = "end_session";
        let Some(user) = self.user_of_session(OP, id).await? else { return Ok(false) };
        Ok(!self.end(OP, user, at, |session| session.id == id).await?.is_empty())
    }

    async fn end_sessions(&self, user: Id, at: Timestamp) -> StorageResult<Vec<Id>> {
        self.end("end_sessions", user, at, |_| true).await
    }

    async fn knows_client(&self, user: Id, client: &ClientDigest) -> StorageResult<bool> {
        let values = (signed(user), client.as_slice());
        let statement = &self.statements().access.knows;
        let row: Option<(i64,)> = self.one("knows_client", statement, values).await?;
        Ok(row.is_some())
    }

    async fn access_changes(
        &self,
        after: u64,
    ) -> StorageResult<Vec<(u64, Timestamp, AccessChange)>> {
        self.changes_after("access_changes", after).await
    }

    async fn add_ticket(&self, ticket: StoredTicket) -> StorageResult<()> {
        const OP: Op = "add_ticket";
        let item = i64::from(ticket.kind);
        self.note(OP, Candidates::Ticket, &ticket.digest, (item, ticket.user)).await?;
        let over = Plan::new(ticket.expires_at, Task::Ticket, ticket.user);
        self.plan(OP, Plan { item, ..over }).await?;
        let replaced = self.change(OP, ticket.user, |person: &Person, stamp| {
            if person.here().is_none() {
                return Decision::Stay(Some(ticket.digest));
            }
            let steps = vec![person.touch(self, stamp), person.put_ticket(self, &ticket)];
            let before = person.tickets.get(&ticket.kind).map(|before| before.digest);
            Decision::Write(steps, before.filter(|before| *before != ticket.digest))
        });
        if let Some(digest) = replaced.await? {
            self.forget(OP, Candidates::Ticket, &digest, item).await?;
        }
        Ok(())
    }

    async fn ticket(
        &self,
        digest: &[u8; 32],
        kind: u8,
        now: Timestamp,
    ) -> StorageResult<Option<Id>> {
        let ticket = self.find_ticket("ticket", digest, kind).await?;
        Ok(ticket.filter(|ticket| ticket.expires_at > now).map(|ticket| ticket.user))
    }

    async fn take_ticket(
        &self,
        digest: &[u8; 32],
        kind: u8,
        now: Timestamp,
    ) -> StorageResult<Option<Id>> {
        const OP: Op = "take_ticket";
        let Some(ticket) = self.find_ticket(OP, digest, kind).await? else { return Ok(None) };
        let taken = self.take(OP, &ticket).await?;
        self.forget(OP, Candidates::Ticket, digest, i64::from(kind)).await?;
        Ok((taken && ticket.expires_at > now).then_some(ticket.user))
    }

    async fn prune_access(&self, now: Timestamp, changes_before: Timestamp) -> StorageResult<()> {
        const OP: Op = "prune_access";
        self.see_to_agenda(OP, now).await?;
        self.prune_changes(OP, changes_before).await
    }
}

impl Cql {
    async fn user_of_session(&self, op: Op, id: Id) -> StorageResult<Option<Id>> {
        let found = self.noted_one(op, Candidates::Session, &key_of(id)).await?;
        Ok(found.map(|candidate| unsigned(candidate.owner)))
    }

    /// Whether it was this that put the session's next token in place.
    async fn rotate(&self, op: Op, next: &Session) -> StorageResult<bool> {
        let statements = &self.statements().users;
        let generation = i64::from(next.generation);
        for _ in 0..TRIES {
            let values = (
                signed(next.workspace),
                generation,
                next.digest.as_slice(),
                next.client.as_slice(),
                next.rotated_at.as_millis(),
                signed(next.user),
                signed(next.id),
                generation - 1,
                next.rotated_at.as_millis(),
            );
            match self.apply(op, &statements.rotate, values).await {
                Err(error) if is_unknown(&error) => {
                    let values = (signed(next.user), SESSION, signed(next.id));
                    let rows = self.all(op, &statements.settled_row, values).await?;
                    let found = Person::of(op, next.user, rows)?.sessions.remove(&next.id);
                    match found {
                        Some((there, None)) if there.generation + 1 == next.generation => (),
                        // Whoever is further on got there with another token: nobody knows this
                        // one yet.
                        Some((there, None)) => {
                            let is_this = there.digest == next.digest;
                            return Ok(is_this && there.generation == next.generation);
                        }
                        _ => return Ok(false),
                    }
                }
                rotated => return rotated,
            }
        }
        Err(contended(op))
    }

    /// Ends those of a user's sessions that `chosen` says so of; answers them, by id.
    pub(super) async fn end(
        &self,
        op: Op,
        user: Id,
        at: Timestamp,
        chosen: impl Fn(&Session) -> bool + Send + Sync,
    ) -> StorageResult<Vec<Id>> {
        self.plan(op, Plan::new(at.plus_millis(LATER_MS), Task::User, user)).await?;
        let ended = self.change(op, user, |person: &Person, stamp| {
            let mut ended: Vec<Id> =
                person.open().into_iter().filter(|one| chosen(one)).map(|one| one.id).collect();
            ended.sort_unstable();
            if ended.is_empty() {
                return Decision::Stay(ended);
            }
            let mut steps = vec![person.touch(self, stamp)];
            steps.extend(ended.iter().map(|id| person.end_session(self, *id, at)));
            Decision::Write(steps, ended)
        });
        let ended = ended.await?;
        if !ended.is_empty() {
            self.tell_ended(op, user).await?;
        }
        Ok(ended)
    }

    /// Tells all nodes which sessions of a user ended, and removes them.
    pub(super) async fn tell_ended(&self, op: Op, user: Id) -> StorageResult<()> {
        let person = Person::read(self, op, user).await?;
        let ended = person.sessions.values();
        let ended: Vec<(Id, Timestamp)> =
            ended.filter_map(|(session, at)| Some((session.id, (*at)?))).collect();
        if ended.is_empty() {
            return Ok(());
        }
        let changes: Vec<_> = ended
            .iter()
            .map(|(session, at)| (*at, AccessChange::SessionEnded { session: *session }))
            .collect();
        self.note_changes(op, &changes).await?;
        self.change(op, user, |person: &Person, stamp| {
            let there = ended.iter().filter(|(id, _)| person.sessions.contains_key(id));
            let mut steps = vec![person.touch(self, stamp)];
            steps.extend(there.map(|(id, _)| person.remove_session(self, *id)));
            if steps.len() == 1 { Decision::Stay(()) } else { Decision::Write(steps, ()) }
        })
        .await?;
        for (id, _) in ended {
            self.forget(op, Candidates::Session, &key_of(id), signed(id)).await?;
        }
        Ok(())
    }

    /// Remembers a client of a user, and forgets those that were away for longest.
    async fn know(
        &self,
        op: Op,
        user: Id,
        client: &ClientDigest,
        at: Timestamp,
    ) -> StorageResult<()> {
        let (statements, user) = (&self.statements().access, signed(user));
        self.put(op, &statements.know, (user, client.as_slice(), at.as_millis())).await?;
        let mut known: Vec<(Vec<u8>, i64)> = self.all(op, &statements.known, (user,)).await?;
        known.sort_unstable_by_key(|(_, seen_at)| Reverse(*seen_at));
        for (client, _) in known.iter().skip(KNOWN_CLIENTS_MAX) {
            self.put(op, &statements.unknow, (user, client)).await?;
        }
        Ok(())
    }

    async fn find_ticket(
        &self,
        op: Op,
        digest: &[u8; 32],
        kind: u8,
    ) -> StorageResult<Option<StoredTicket>> {
        let Some(found) = self.noted_one(op, Candidates::Ticket, digest).await? else {
            return Ok(None);
        };
        let values = (found.owner, TICKET, i64::from(kind));
        let rows = self.all(op, &self.statements().users.row, values).await?;
        let ticket = Person::of(op, unsigned(found.owner), rows)?.tickets.remove(&kind);
        Ok(ticket.filter(|ticket| ticket.digest == *digest))
    }

    /// Whether it was this that took the ticket: the row says who did.
    async fn take(&self, op: Op, ticket: &StoredTicket) -> StorageResult<bool> {
        let statements = &self.statements().users;
        let (user, item, taker) = (signed(ticket.user), i64::from(ticket.kind), stamp(op)?);
        for _ in 0..TRIES {
            let values = (taker, user, item, ticket.digest.as_slice());
            match self.apply(op, &statements.take_ticket, values).await {
                Err(error) if is_unknown(&error) => {
                    let values = (user, TICKET, item);
                    let row: Option<PersonRow> =
                        self.one(op, &statements.settled_row, values).await?;
                    if let Some(there) = row.and_then(|row| row.taken_by()) {
                        return Ok(there == taker);
                    }
                }
                taken => return taken,
            }
        }
        Err(contended(op))
    }
}
