//! Sign-ins, tickets, and the list of what credentials may do no longer.

use async_trait::async_trait;
use rusqlite::{Connection, Row};

use super::super::fault::Outcome;
use super::super::readers::Lane;
use super::super::{Embedded, signed, unsigned};
use super::{by_id, note, role};
use crate::domain::account::{AccessChange, ClientDigest, Session};
use crate::domain::id::Id;
use crate::domain::limits::KNOWN_CLIENTS_MAX;
use crate::domain::time::Timestamp;
use crate::storage::StorageResult;
use crate::storage::people::{SessionStore, StoredTicket};

const SESSION: &str = "id, user, workspace, generation, digest, client, created_at, rotated_at, \
                       expires_at FROM sessions";

#[async_trait]
impl SessionStore for Embedded {
    async fn add_session(&self, session: Session, most: usize) -> StorageResult<Option<Vec<Id>>> {
        self.write("add_session", move |conn| add(conn, &session, most)).await
    }

    async fn session(&self, id: Id) -> StorageResult<Option<Session>> {
        self.read("session", Lane::Short, move |conn| by_session_id(conn, id)).await
    }

    async fn rotate_session(&self, next: Session) -> StorageResult<bool> {
        self.write("rotate_session", move |conn| {
            let sql = "UPDATE sessions SET workspace = ?2, generation = ?3, digest = ?4, \
                       client = ?5, rotated_at = ?6 \
                       WHERE id = ?1 AND generation = ?3 - 1 AND expires_at > ?6";
            let changed = conn.prepare_cached(sql)?.execute((
                signed(next.id),
                signed(next.workspace),
                next.generation,
                next.digest.as_slice(),
                next.client.as_slice(),
                next.rotated_at.as_millis(),
            ))?;
            if changed == 1 {
                know(conn, next.user, &next.client, next.rotated_at)?;
            }
            Ok(changed == 1)
        })
        .await
    }

    async fn end_session(&self, id: Id, at: Timestamp) -> StorageResult<bool> {
        self.write("end_session", move |conn| end(conn, id, at)).await
    }

    async fn end_sessions(&self, user: Id, at: Timestamp) -> StorageResult<Vec<Id>> {
        self.write("end_sessions", move |conn| end_all(conn, user, None, at)).await
    }

    async fn knows_client(&self, user: Id, client: &ClientDigest) -> StorageResult<bool> {
        let client = *client;
        self.read("knows_client", Lane::Short, move |conn| {
            let sql = "SELECT 1 FROM known_clients WHERE user = ?1 AND client = ?2";
            Ok(conn.prepare_cached(sql)?.exists((signed(user), client.as_slice()))?)
        })
        .await
    }

    async fn access_changes(
        &self,
        after: u64,
    ) -> StorageResult<Vec<(u64, Timestamp, AccessChange)>> {
        self.read("access_changes", Lane::Short, move |conn| {
            let mut statement = conn.prepare_cached(
                "SELECT seq, at, session, workspace, user, role FROM access_changes \
                 WHERE seq > ?1 ORDER BY seq",
            )?;
            let mut found = statement.query([after as i64])?;
            let mut changes = Vec::new();
            while let Some(row) = found.next()? {
                let seq: i64 = row.get(0)?;
                changes.push((seq as u64, Timestamp(row.get(1)?), change(row)?));
            }
            Ok(changes)
        })
        .await
    }

    async fn add_ticket(&self, ticket: StoredTicket) -> StorageResult<()> {
        self.write("add_ticket", move |conn| {
            let sql = "DELETE FROM tickets WHERE user = ?1 AND kind = ?2";
            conn.prepare_cached(sql)?.execute((signed(ticket.user), ticket.kind))?;
            let sql = "INSERT INTO tickets (digest, kind, user, created_at, expires_at) \
                       SELECT ?1, ?2, id, ?4, ?5 FROM users WHERE id = ?3";
            conn.prepare_cached(sql)?.execute((
                ticket.digest.as_slice(),
                ticket.kind,
                signed(ticket.user),
                ticket.created_at.as_millis(),
                ticket.expires_at.as_millis(),
            ))?;
            Ok(())
        })
        .await
    }

    async fn ticket(
        &self,
        digest: &[u8; 32],
        kind: u8,
        now: Timestamp,
    ) -> StorageResult<Option<Id>> {
        let digest = *digest;
        self.read("ticket", Lane::Short, move |conn| {
            let mut statement = conn.prepare_cached(
                "SELECT user FROM tickets WHERE digest = ?1 AND kind = ?2 AND expires_at > ?3",
            )?;
            let mut found = statement.query((digest.as_slice(), kind, now.as_millis()))?;
            Ok(found.next()?.map(|row| row.get(0)).transpose()?.map(unsigned))
        })
        .await
    }

    async fn take_ticket(
        &self,
        digest: &[u8; 32],
        kind: u8,
        now: Timestamp,
    ) -> StorageResult<Option<Id>> {
        let digest = *digest;
        self.write("take_ticket", move |conn| {
            let mut statement = conn.prepare_cached(
                "DELETE FROM tickets WHERE digest = ?1 AND kind = ?2 RETURNING user, expires_at",
            )?;
            let mut found = statement.query((digest.as_slice(), kind))?;
            let Some(row) = found.next()? else { return Ok(None) };
            let (user, expires_at) = (unsigned(row.get(0)?), Timestamp(row.get(1)?));
            Ok((expires_at > now).then_some(user))
        })
        .await
    }

    async fn prune_access(&self, now: Timestamp, changes_before: Timestamp) -> StorageResult<()> {
        self.write_erasing("prune_access", move |conn| {
            for sql in [
                "DELETE FROM sessions WHERE expires_at <= ?1",
                "DELETE FROM tickets WHERE expires_at <= ?1",
                "DELETE FROM invitations WHERE expires_at <= ?1",
            ] {
                conn.prepare_cached(sql)?.execute([now.as_millis()])?;
            }
            conn.prepare_cached("DELETE FROM access_changes WHERE at < ?1")?
                .execute([changes_before.as_millis()])?;
            Ok(())
        })
        .await
    }
}

fn add(conn: &Connection, session: &Session, most: usize) -> Outcome<Option<Vec<Id>>> {
    let in_force = by_id(conn, session.user)?.is_some_and(|user| user.disabled_at.is_none());
    if !in_force {
        return Ok(None);
    }
    let sql = "INSERT INTO sessions (id, user, workspace, generation, digest, client, created_at, \
               rotated_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    conn.prepare_cached(sql)?.execute((
        signed(session.id),
        signed(session.user),
        signed(session.workspace),
        session.generation,
        session.digest.as_slice(),
        session.client.as_slice(),
        session.created_at.as_millis(),
        session.rotated_at.as_millis(),
        session.expires_at.as_millis(),
    ))?;
    know(conn, session.user, &session.client, session.created_at)?;
    let mut statement = conn.prepare_cached(
        "SELECT id FROM sessions WHERE user = ?1 ORDER BY rotated_at DESC, id DESC \
         LIMIT -1 OFFSET ?2",
    )?;
    let found = statement.query_map((signed(session.user), most as i64), |row| row.get(0))?;
    let oldest: Vec<i64> = found.collect::<Result<_, _>>()?;
    let oldest: Vec<Id> = oldest.into_iter().map(unsigned).collect();
    for id in &oldest {
        end(conn, *id, session.created_at)?;
    }
    Ok(Some(oldest))
}

fn by_session_id(conn: &Connection, id: Id) -> Outcome<Option<Session>> {
    let mut statement = conn.prepare_cached(&format!("SELECT {SESSION} WHERE id = ?1"))?;
    let mut found = statement.query([signed(id)])?;
    found.next()?.map(decode).transpose()
}

fn decode(row: &Row<'_>) -> Outcome<Session> {
    Ok(Session {
        id: unsigned(row.get(0)?),
        user: unsigned(row.get(1)?),
        workspace: unsigned(row.get(2)?),
        generation: row.get(3)?,
        digest: row.get(4)?,
        client: row.get(5)?,
        created_at: Timestamp(row.get(6)?),
        rotated_at: Timestamp(row.get(7)?),
        expires_at: Timestamp(row.get(8)?),
    })
}

fn change(row: &Row<'_>) -> Outcome<AccessChange> {
    if let Some(session) = row.get::<_, Option<i64>>(2)? {
        return Ok(AccessChange::SessionEnded { session: unsigned(session) });
    }
    Ok(AccessChange::RoleChanged {
        workspace: unsigned(row.get(3)?),
        user: unsigned(row.get(4)?),
        role: row.get::<_, Option<i64>>(5)?.map(role).transpose()?,
    })
}

fn end(conn: &Connection, id: Id, at: Timestamp) -> Outcome<bool> {
    let ended = conn.prepare_cached("DELETE FROM sessions WHERE id = ?1")?.execute([signed(id)])?;
    if ended == 1 {
        note(conn, AccessChange::SessionEnded { session: id }, at)?;
    }
    Ok(ended == 1)
}

/// Ends all sessions of a user but `keep`; answers them.
pub(super) fn end_all(
    conn: &Connection,
    user: Id,
    keep: Option<Id>,
    at: Timestamp,
) -> Outcome<Vec<Id>> {
    let mut statement = conn.prepare_cached("SELECT id FROM sessions WHERE user = ?1")?;
    let found = statement.query_map([signed(user)], |row| row.get(0))?;
    let found: Vec<i64> = found.collect::<Result<_, _>>()?;
    let mut ended: Vec<Id> = found.into_iter().map(unsigned).collect();
    ended.retain(|id| Some(*id) != keep);
    for id in &ended {
        end(conn, *id, at)?;
    }
    Ok(ended)
}

/// Remembers a client of a user, and forgets the one that was away for longest.
fn know(conn: &Connection, user: Id, client: &ClientDigest, at: Timestamp) -> Outcome<()> {
    let sql = "INSERT INTO known_clients (user, client, seen_at) VALUES (?1, ?2, ?3) \
               ON CONFLICT DO UPDATE SET seen_at = excluded.seen_at";
    conn.prepare_cached(sql)?.execute((signed(user), client.as_slice(), at.as_millis()))?;
    let sql = "DELETE FROM known_clients WHERE user = ?1 AND client NOT IN \
               (SELECT client FROM known_clients WHERE user = ?1 ORDER BY seen_at DESC LIMIT ?2)";
    conn.prepare_cached(sql)?.execute((signed(user), KNOWN_CLIENTS_MAX as i64))?;
    Ok(())
}
