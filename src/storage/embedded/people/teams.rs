//! Workspaces, who belongs to them, and whom they invited.

use async_trait::async_trait;
use rusqlite::{Connection, Row};

use super::super::fault::Outcome;
use super::super::readers::Lane;
use super::super::{Embedded, accounts, count_up, signed, unsigned};
use super::{USER, decode, email, note, role, workspace};
use crate::domain::account::{AccessChange, Member, Role, User};
use crate::domain::id::Id;
use crate::domain::time::Timestamp;
use crate::storage::people::{Invitation, RoleSet, TeamStore};
use crate::storage::{StorageResult, Workspace};

const INVITATION: &str =
    "id, workspace, digest, email, role, invited_by, created_at, expires_at FROM invitations";

#[async_trait]
impl TeamStore for Embedded {
    async fn memberships(&self, user: Id) -> StorageResult<Vec<(Workspace, Member)>> {
        self.read("memberships", Lane::Short, move |conn| {
            let mut statement = conn.prepare_cached(
                "SELECT m.workspace, m.user, m.role, m.joined_at, w.id, w.name, w.operator, \
                 w.created_at FROM members m JOIN workspaces w ON w.id = m.workspace \
                 WHERE m.user = ?1 ORDER BY w.id",
            )?;
            let mut found = statement.query([signed(user)])?;
            let mut memberships = Vec::new();
            while let Some(row) = found.next()? {
                memberships.push((workspace(row, 4)?, member(row)?));
            }
            Ok(memberships)
        })
        .await
    }

    async fn members(&self, workspace: Id) -> StorageResult<Vec<(Member, User)>> {
        self.read("members", Lane::Short, move |conn| {
            let mut statement = conn.prepare_cached(&format!(
                "SELECT m.workspace, m.user, m.role, m.joined_at, {USER} \
                 FROM members m JOIN users u ON u.id = m.user \
                 WHERE m.workspace = ?1 ORDER BY m.user"
            ))?;
            let mut found = statement.query([signed(workspace)])?;
            let mut members = Vec::new();
            while let Some(row) = found.next()? {
                members.push((member(row)?, decode(row, 4)?));
            }
            Ok(members)
        })
        .await
    }

    async fn add_workspace(
        &self,
        workspace: Workspace,
        owner: Id,
        most: usize,
    ) -> StorageResult<bool> {
        self.write_clean("add_workspace", move |conn| {
            if of_user(conn, owner)?.len() >= most {
                return Ok(false);
            }
            add_workspace(conn, &workspace)?;
            join(conn, workspace.id, owner, Role::Owner, workspace.created_at)?;
            Ok(true)
        })
        .await
    }

    async fn rename_workspace(&self, id: Id, name: &str) -> StorageResult<bool> {
        let name = name.to_owned();
        self.write_clean("rename_workspace", move |conn| {
            let sql = "UPDATE workspaces SET name = ?2 WHERE id = ?1";
            Ok(conn.prepare_cached(sql)?.execute((signed(id), name))? == 1)
        })
        .await
    }

    async fn set_role(
        &self,
        workspace: Id,
        user: Id,
        role: Option<Role>,
        at: Timestamp,
    ) -> StorageResult<RoleSet> {
        self.write_clean("set_role", move |conn| set_role(conn, workspace, user, role, at)).await
    }

    async fn add_invitation(&self, invitation: Invitation, most: usize) -> StorageResult<bool> {
        self.write_clean("add_invitation", move |conn| {
            let n: u32 = conn
                .prepare_cached("SELECT count(*) FROM invitations WHERE workspace = ?1")?
                .query_row([signed(invitation.workspace)], |row| row.get(0))?;
            if n as usize >= most {
                return Ok(false);
            }
            let sql = "INSERT INTO invitations (id, workspace, digest, email, role, invited_by, \
                       created_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
            conn.prepare_cached(sql)?.execute((
                signed(invitation.id),
                signed(invitation.workspace),
                invitation.digest.as_slice(),
                invitation.email.as_ref().map(|email| email.as_str()),
                invitation.role as u8,
                signed(invitation.invited_by),
                invitation.created_at.as_millis(),
                invitation.expires_at.as_millis(),
            ))?;
            Ok(true)
        })
        .await
    }

    async fn invitations(&self, workspace: Id, now: Timestamp) -> StorageResult<Vec<Invitation>> {
        self.read("invitations", Lane::Short, move |conn| {
            let mut statement = conn.prepare_cached(&format!(
                "SELECT {INVITATION} WHERE workspace = ?1 AND expires_at > ?2 ORDER BY id"
            ))?;
            let mut found = statement.query((signed(workspace), now.as_millis()))?;
            let mut invitations = Vec::new();
            while let Some(row) = found.next()? {
                invitations.push(invitation(row)?);
            }
            Ok(invitations)
        })
        .await
    }

    async fn invitation(
        &self,
        digest: &[u8; 32],
        now: Timestamp,
    ) -> StorageResult<Option<Invitation>> {
        let digest = *digest;
        self.read("invitation", Lane::Short, move |conn| by_digest(conn, &digest, now)).await
    }

    async fn remove_invitation(&self, workspace: Id, id: Id) -> StorageResult<bool> {
        self.write_erasing("remove_invitation", move |conn| {
            let sql = "DELETE FROM invitations WHERE workspace = ?1 AND id = ?2";
            Ok(conn.prepare_cached(sql)?.execute((signed(workspace), signed(id)))? == 1)
        })
        .await
    }

    async fn accept_invitation(
        &self,
        digest: &[u8; 32],
        user: Id,
        now: Timestamp,
    ) -> StorageResult<Option<Member>> {
        let digest = *digest;
        self.write_erasing("accept_invitation", move |conn| accept(conn, &digest, user, now)).await
    }

    async fn closed_workspaces(&self) -> StorageResult<Vec<Id>> {
        self.read("closed_workspaces", Lane::Short, |conn| {
            let mut statement = conn.prepare_cached(
                "SELECT id FROM workspaces WHERE closed_at IS NOT NULL ORDER BY id",
            )?;
            let found = statement.query_map([], |row| Ok(unsigned(row.get(0)?)))?;
            Ok(found.collect::<Result<_, _>>()?)
        })
        .await
    }

    async fn finish_closing(&self, workspace: Id) -> StorageResult<()> {
        self.write_erasing("finish_closing", move |conn| {
            for sql in [
                "DELETE FROM replays WHERE workspace = ?1",
                "DELETE FROM link_destinations WHERE link IN \
                 (SELECT id FROM links WHERE workspace = ?1)",
                "UPDATE workspaces SET closed_at = NULL WHERE id = ?1",
            ] {
                conn.prepare_cached(sql)?.execute([signed(workspace)])?;
            }
            Ok(())
        })
        .await
    }
}

pub(in crate::storage::embedded) fn add_workspace(
    conn: &Connection,
    workspace: &Workspace,
) -> Outcome<()> {
    let sql = "INSERT INTO workspaces (id, name, operator, created_at) VALUES (?1, ?2, ?3, ?4)";
    conn.prepare_cached(sql)?.execute((
        signed(workspace.id),
        &workspace.name,
        workspace.operator,
        workspace.created_at.as_millis(),
    ))?;
    Ok(())
}

/// Makes `user` a member; one that is a member already keeps the higher role.
pub(super) fn join(
    conn: &Connection,
    workspace: Id,
    user: Id,
    role: Role,
    at: Timestamp,
) -> Outcome<()> {
    let sql = "INSERT INTO members (workspace, user, role, joined_at) VALUES (?1, ?2, ?3, ?4) \
               ON CONFLICT DO UPDATE SET role = max(role, excluded.role)";
    conn.prepare_cached(sql)?.execute((
        signed(workspace),
        signed(user),
        role as u8,
        at.as_millis(),
    ))?;
    Ok(())
}

/// Uses up the invitation with this digest.
pub(super) fn accept(
    conn: &Connection,
    digest: &[u8; 32],
    user: Id,
    now: Timestamp,
) -> Outcome<Option<Member>> {
    let Some(invitation) = by_digest(conn, digest, now)? else { return Ok(None) };
    join(conn, invitation.workspace, user, invitation.role, now)?;
    conn.prepare_cached("DELETE FROM invitations WHERE id = ?1")?
        .execute([signed(invitation.id)])?;
    let joined = fetch(conn, invitation.workspace, user)?;
    if let Some(Member { workspace, user, role, .. }) = joined {
        count_up(conn, accounts::EPOCH, 1)?;
        note(conn, AccessChange::RoleChanged { workspace, user, role: Some(role) }, now)?;
    }
    Ok(joined)
}

/// Workspaces of a user, with what it is there.
pub(super) fn of_user(conn: &Connection, user: Id) -> Outcome<Vec<(Id, Role)>> {
    let mut statement =
        conn.prepare_cached("SELECT workspace, role FROM members WHERE user = ?1")?;
    let mut found = statement.query([signed(user)])?;
    let mut workspaces = Vec::new();
    while let Some(row) = found.next()? {
        workspaces.push((unsigned(row.get(0)?), role(row.get(1)?)?));
    }
    Ok(workspaces)
}

/// What the members of a workspace are, but for one of them.
pub(super) fn others(conn: &Connection, workspace: Id, but: Id) -> Outcome<Vec<Role>> {
    let mut statement =
        conn.prepare_cached("SELECT role FROM members WHERE workspace = ?1 AND user <> ?2")?;
    let mut found = statement.query((signed(workspace), signed(but)))?;
    let mut roles = Vec::new();
    while let Some(row) = found.next()? {
        roles.push(role(row.get(0)?)?);
    }
    Ok(roles)
}

/// Nobody belongs to the workspace any more: nothing of it stays but links to be taken down, and
/// what they counted.
pub(super) fn close(conn: &Connection, workspace: Id, at: Timestamp) -> Outcome<()> {
    let sql = "UPDATE workspaces SET closed_at = ?2, name = '' WHERE id = ?1";
    conn.prepare_cached(sql)?.execute((signed(workspace), at.as_millis()))?;
    let sql = "UPDATE api_keys SET revoked_at = coalesce(revoked_at, ?2), name = '' \
               WHERE workspace = ?1";
    conn.prepare_cached(sql)?.execute((signed(workspace), at.as_millis()))?;
    conn.prepare_cached("DELETE FROM invitations WHERE workspace = ?1")?
        .execute([signed(workspace)])?;
    Ok(())
}

fn set_role(
    conn: &Connection,
    workspace: Id,
    user: Id,
    role: Option<Role>,
    at: Timestamp,
) -> Outcome<RoleSet> {
    let Some(before) = fetch(conn, workspace, user)? else { return Ok(RoleSet::NotFound) };
    let stays_owner = role == Some(Role::Owner);
    if before.role == Role::Owner
        && !stays_owner
        && !others(conn, workspace, user)?.contains(&Role::Owner)
    {
        return Ok(RoleSet::LastOwner);
    }
    match role {
        Some(role) => conn
            .prepare_cached("UPDATE members SET role = ?3 WHERE workspace = ?1 AND user = ?2")?
            .execute((signed(workspace), signed(user), role as u8))?,
        None => conn
            .prepare_cached("DELETE FROM members WHERE workspace = ?1 AND user = ?2")?
            .execute((signed(workspace), signed(user)))?,
    };
    if role.is_none() {
        // They would come back to life if the user joined again.
        let sql = "UPDATE api_keys SET revoked_at = coalesce(revoked_at, ?3) \
                   WHERE workspace = ?1 AND user = ?2";
        conn.prepare_cached(sql)?.execute((signed(workspace), signed(user), at.as_millis()))?;
    }
    count_up(conn, accounts::EPOCH, 1)?;
    note(conn, AccessChange::RoleChanged { workspace, user, role }, at)?;
    Ok(RoleSet::Done)
}

fn fetch(conn: &Connection, workspace: Id, user: Id) -> Outcome<Option<Member>> {
    let mut statement = conn.prepare_cached(
        "SELECT workspace, user, role, joined_at FROM members WHERE workspace = ?1 AND user = ?2",
    )?;
    let mut found = statement.query((signed(workspace), signed(user)))?;
    found.next()?.map(member).transpose()
}

fn member(row: &Row<'_>) -> Outcome<Member> {
    Ok(Member {
        workspace: unsigned(row.get(0)?),
        user: unsigned(row.get(1)?),
        role: role(row.get(2)?)?,
        joined_at: Timestamp(row.get(3)?),
    })
}

fn by_digest(conn: &Connection, digest: &[u8; 32], now: Timestamp) -> Outcome<Option<Invitation>> {
    let sql = format!("SELECT {INVITATION} WHERE digest = ?1 AND expires_at > ?2");
    let mut statement = conn.prepare_cached(&sql)?;
    let mut found = statement.query((digest.as_slice(), now.as_millis()))?;
    found.next()?.map(invitation).transpose()
}

fn invitation(row: &Row<'_>) -> Outcome<Invitation> {
    let address: Option<String> = row.get(3)?;
    Ok(Invitation {
        id: unsigned(row.get(0)?),
        workspace: unsigned(row.get(1)?),
        digest: row.get(2)?,
        email: address.as_deref().map(email).transpose()?,
        role: role(row.get(4)?)?,
        invited_by: unsigned(row.get(5)?),
        created_at: Timestamp(row.get(6)?),
        expires_at: Timestamp(row.get(7)?),
    })
}
