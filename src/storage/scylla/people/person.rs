//! The partition of a user: who it is, its sessions, its tickets.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use scylla::DeserializeRow;

use super::super::Cql;
use super::super::ids::{signed, unsigned};
use super::super::run::damaged;
use super::super::together::{Step, Whole};
use crate::domain::account::{Session, User};
use crate::domain::email::Email;
use crate::domain::id::Id;
use crate::domain::time::Timestamp;
use crate::storage::error::{Op, StorageResult};
use crate::storage::people::StoredTicket;

pub(super) const SESSION: i8 = 0;
pub(super) const TICKET: i8 = 1;

/// All there is of a user.
pub(super) struct Person {
    id: Id,
    stamp: Option<i64>,
    /// Also while it is being erased.
    pub(super) user: Option<User>,
    pub(super) erasing_at: Option<Timestamp>,
    /// With the time when each ended, until that is told.
    pub(super) sessions: BTreeMap<Id, (Session, Option<Timestamp>)>,
    /// By kind; those that are not taken.
    pub(super) tickets: BTreeMap<u8, StoredTicket>,
    /// Kinds of tickets that are taken.
    pub(super) taken: BTreeSet<u8>,
}

#[derive(DeserializeRow)]
pub(super) struct PersonRow {
    stamp: Option<i64>,
    email: Option<String>,
    email_verified_at: Option<i64>,
    name: Option<String>,
    password: Option<String>,
    workspace: Option<i64>,
    created_at: Option<i64>,
    updated_at: Option<i64>,
    disabled_at: Option<i64>,
    erasing_at: Option<i64>,
    kind: Option<i8>,
    item: Option<i64>,
    session_workspace: Option<i64>,
    generation: Option<i64>,
    digest: Option<Vec<u8>>,
    client: Option<Vec<u8>>,
    at: Option<i64>,
    rotated_at: Option<i64>,
    expires_at: Option<i64>,
    ended_at: Option<i64>,
}

impl PersonRow {
    /// What a ticket's row says once somebody took it: a number of whoever did.
    pub(super) const fn taken_by(&self) -> Option<i64> {
        self.ended_at
    }
}

/// Who a user is, without the rest of its partition.
#[derive(DeserializeRow)]
pub(super) struct UserRow {
    id: i64,
    email: Option<String>,
    email_verified_at: Option<i64>,
    name: Option<String>,
    password: Option<String>,
    workspace: Option<i64>,
    created_at: Option<i64>,
    updated_at: Option<i64>,
    disabled_at: Option<i64>,
    erasing_at: Option<i64>,
}

impl UserRow {
    /// `None`: there is no such user, or it is being erased.
    pub(super) fn into_user(self, op: Op) -> StorageResult<Option<User>> {
        if self.erasing_at.is_some() {
            return Ok(None);
        }
        self.into_any_user(op)
    }

    fn into_any_user(self, op: Op) -> StorageResult<Option<User>> {
        let Some(created_at) = self.created_at else { return Ok(None) };
        let whole = || damaged(op, "the row of a user is not whole");
        let email = Email::parse(self.email.as_deref().unwrap_or_default());
        Ok(Some(User {
            id: unsigned(self.id),
            email: email.map_err(|error| damaged(op, error))?,
            email_verified_at: self.email_verified_at.map(Timestamp),
            name: self.name.ok_or_else(whole)?,
            password: self.password,
            workspace: unsigned(self.workspace.ok_or_else(whole)?),
            created_at: Timestamp(created_at),
            updated_at: Timestamp(self.updated_at.ok_or_else(whole)?),
            disabled_at: self.disabled_at.map(Timestamp),
        }))
    }
}

impl Whole for Person {
    async fn read(cql: &Cql, op: Op, id: Id) -> StorageResult<Self> {
        let rows = cql.all(op, &cql.statements().users.whole, (signed(id),)).await?;
        Self::of(op, id, rows)
    }

    fn stamp(&self) -> Option<i64> {
        self.stamp
    }
}

impl Person {
    /// What some rows of the partition say.
    pub(super) fn of(op: Op, id: Id, rows: Vec<PersonRow>) -> StorageResult<Self> {
        let (sessions, tickets) = (BTreeMap::new(), BTreeMap::new());
        let (stamp, user, erasing_at) = (None, None, None);
        let taken = BTreeSet::new();
        let mut person = Self { id, stamp, user, erasing_at, sessions, tickets, taken };
        for row in rows {
            person.take_in(op, row)?;
        }
        Ok(person)
    }

    fn take_in(&mut self, op: Op, row: PersonRow) -> StorageResult<()> {
        if self.stamp.is_none() {
            (self.stamp, self.erasing_at) = (row.stamp, row.erasing_at.map(Timestamp));
            let user = UserRow {
                id: signed(self.id),
                email: row.email,
                email_verified_at: row.email_verified_at,
                name: row.name,
                password: row.password,
                workspace: row.workspace,
                created_at: row.created_at,
                updated_at: row.updated_at,
                disabled_at: row.disabled_at,
                erasing_at: row.erasing_at,
            };
            self.user = user.into_any_user(op)?;
        }
        let (Some(kind), Some(item)) = (row.kind, row.item) else { return Ok(()) };
        let whole = || damaged(op, "a row of a user is not whole");
        let digest = row.digest.and_then(|digest| digest.try_into().ok()).ok_or_else(whole)?;
        let created_at = Timestamp(row.at.ok_or_else(whole)?);
        let expires_at = Timestamp(row.expires_at.ok_or_else(whole)?);
        match kind {
            SESSION => {
                let client = row.client.and_then(|client| client.try_into().ok());
                let generation = row.generation.and_then(|n| n.try_into().ok());
                let session = Session {
                    id: unsigned(item),
                    user: self.id,
                    workspace: unsigned(row.session_workspace.ok_or_else(whole)?),
                    generation: generation.ok_or_else(whole)?,
                    digest,
                    client: client.ok_or_else(whole)?,
                    created_at,
                    rotated_at: Timestamp(row.rotated_at.ok_or_else(whole)?),
                    expires_at,
                };
                self.sessions.insert(session.id, (session, row.ended_at.map(Timestamp)));
            }
            TICKET => {
                let kind = u8::try_from(item).map_err(|error| damaged(op, error))?;
                let ticket = StoredTicket { digest, kind, user: self.id, created_at, expires_at };
                match row.ended_at {
                    None => drop(self.tickets.insert(kind, ticket)),
                    Some(_) => drop(self.taken.insert(kind)),
                }
            }
            _ => (),
        }
        Ok(())
    }

    /// The user, unless it is being erased.
    pub(super) fn here(&self) -> Option<&User> {
        self.user.as_ref().filter(|_| self.erasing_at.is_none())
    }

    /// Sessions that did not end, the newest first.
    pub(super) fn open(&self) -> Vec<&Session> {
        let open = self.sessions.values().filter(|(_, ended_at)| ended_at.is_none());
        let mut open: Vec<_> = open.map(|(session, _)| session).collect();
        open.sort_unstable_by_key(|one| Reverse((one.rotated_at, one.id)));
        open
    }

    /// The step that has the condition: puts the user as `user` says.
    pub(super) fn put<'a>(
        &self,
        cql: &'a Cql,
        stamp: i64,
        user: &User,
        erasing_at: Option<Timestamp>,
    ) -> Step<'a> {
        let values = (
            stamp,
            user.email.as_str().to_owned(),
            user.email_verified_at.map(Timestamp::as_millis),
            user.name.clone(),
            user.password.clone(),
            signed(user.workspace),
            user.created_at.as_millis(),
            user.updated_at.as_millis(),
            user.disabled_at.map(Timestamp::as_millis),
            erasing_at.map(Timestamp::as_millis),
            signed(self.id),
            self.stamp,
        );
        (&cql.statements().users.put, Box::new(values))
    }

    /// The same, and the user stays as it is; or stays away: who is about to make it finds that
    /// somebody was here.
    pub(super) fn touch<'a>(&self, cql: &'a Cql, stamp: i64) -> Step<'a> {
        (&cql.statements().users.touch, Box::new((stamp, signed(self.id), self.stamp)))
    }

    pub(super) fn put_session<'a>(&self, cql: &'a Cql, session: &Session) -> Step<'a> {
        let values = (
            signed(self.id),
            signed(session.id),
            signed(session.workspace),
            i64::from(session.generation),
            session.digest.to_vec(),
            session.client.to_vec(),
            session.created_at.as_millis(),
            session.rotated_at.as_millis(),
            session.expires_at.as_millis(),
        );
        (&cql.statements().users.put_session, Box::new(values))
    }

    pub(super) fn put_ticket<'a>(&self, cql: &'a Cql, ticket: &StoredTicket) -> Step<'a> {
        let values = (
            signed(self.id),
            i64::from(ticket.kind),
            ticket.digest.to_vec(),
            ticket.created_at.as_millis(),
            ticket.expires_at.as_millis(),
            None::<i64>,
        );
        (&cql.statements().users.put_ticket, Box::new(values))
    }

    /// Ends a session. Its row stays until that is told.
    pub(super) fn end_session<'a>(&self, cql: &'a Cql, session: Id, at: Timestamp) -> Step<'a> {
        let values = (at.as_millis(), signed(self.id), SESSION, signed(session));
        (&cql.statements().users.end_row, Box::new(values))
    }

    pub(super) fn remove_session<'a>(&self, cql: &'a Cql, session: Id) -> Step<'a> {
        (&cql.statements().users.remove, Box::new((signed(self.id), SESSION, signed(session))))
    }

    pub(super) fn remove_ticket<'a>(&self, cql: &'a Cql, kind: u8) -> Step<'a> {
        (&cql.statements().users.remove, Box::new((signed(self.id), TICKET, i64::from(kind))))
    }
}

impl Cql {
    /// The user, unless it is being erased.
    pub(in super::super) async fn plain_user(&self, op: Op, id: Id) -> StorageResult<Option<User>> {
        let row: Option<UserRow> =
            self.one(op, &self.statements().users.plain, (signed(id),)).await?;
        Ok(row.map(|row| row.into_user(op)).transpose()?.flatten())
    }
}
