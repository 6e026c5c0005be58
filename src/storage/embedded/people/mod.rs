//! People: users here, workspaces they share in `teams`, sign-ins in `sessions`.
//!
//! What is removed of a person is overwritten, whatever that costs, and cut off the log soon after.
//! Pages that hold texts of people are overwritten whenever they become free, and `scrub` sees to
//! copies that moving rows leave.

pub(super) mod scrub;
mod sessions;
mod teams;

pub(super) use teams::add_workspace;

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, Row};

use super::fault::{Fault, Outcome};
use super::readers::Lane;
use super::{Embedded, accounts, count_up, signed, unsigned, word};
use crate::domain::account::{AccessChange, Role, User};
use crate::domain::email::Email;
use crate::domain::id::Id;
use crate::domain::time::Timestamp;
use crate::storage::people::{
    Erasure, NewUser, PasswordChange, UserAdded, UserChange, UserChanged, UserStore,
};
use crate::storage::{StorageResult, Workspace};

const USER: &str = "u.id, u.email, u.email_verified_at, u.name, u.password, u.workspace, \
                    u.created_at, u.updated_at, u.disabled_at";

#[async_trait]
impl UserStore for Embedded {
    async fn add_user(&self, new: NewUser) -> StorageResult<UserAdded> {
        let added = self.write_clean("add_user", move |conn| add(conn, &new)).await?;
        if added == UserAdded::NotInvited {
            self.inner.cut_log.store(true, Ordering::Relaxed);
        }
        Ok(added)
    }

    async fn user(&self, id: Id) -> StorageResult<Option<User>> {
        self.read("user", Lane::Short, move |conn| by_id(conn, id)).await
    }

    async fn user_by_email(&self, email: &Email) -> StorageResult<Option<User>> {
        let key = email.key();
        self.read("user_by_email", Lane::Short, move |conn| {
            let sql = format!("SELECT {USER} FROM users u WHERE u.email_key = ?1");
            one(conn, &sql, [key])
        })
        .await
    }

    async fn users(&self, after: Id, limit: u32) -> StorageResult<Vec<User>> {
        self.read("users", Lane::Long, move |conn| {
            let sql = format!("SELECT {USER} FROM users u WHERE u.id > ?1 ORDER BY u.id LIMIT ?2");
            let mut statement = conn.prepare_cached(&sql)?;
            let mut found = statement.query((signed(after), limit))?;
            let mut users = Vec::new();
            while let Some(row) = found.next()? {
                users.push(decode(row, 0)?);
            }
            Ok(users)
        })
        .await
    }

    async fn change_user(
        &self,
        id: Id,
        change: UserChange,
        at: Timestamp,
    ) -> StorageResult<UserChanged> {
        self.write_erasing("change_user", move |conn| change_user(conn, id, &change, at)).await
    }

    async fn verify_email(&self, id: Id, at: Timestamp) -> StorageResult<bool> {
        self.write_clean("verify_email", move |conn| {
            let sql = "UPDATE users SET email_verified_at = coalesce(email_verified_at, ?2) \
                       WHERE id = ?1";
            Ok(conn.prepare_cached(sql)?.execute((signed(id), at.as_millis()))? == 1)
        })
        .await
    }

    async fn set_password(
        &self,
        id: Id,
        change: PasswordChange,
        at: Timestamp,
    ) -> StorageResult<Option<Vec<Id>>> {
        let PasswordChange { from, to, keep } = change;
        self.write_clean("set_password", move |conn| {
            let sql = "UPDATE users SET password = ?2, updated_at = ?3 \
                       WHERE id = ?1 AND password IS ?4";
            let changed =
                conn.prepare_cached(sql)?.execute((signed(id), to, at.as_millis(), from))?;
            let end = || sessions::end_all(conn, id, keep, at);
            (changed == 1).then(end).transpose()
        })
        .await
    }

    async fn rehash_password(&self, id: Id, from: &str, to: &str) -> StorageResult<()> {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.write_clean("rehash_password", move |conn| {
            let sql = "UPDATE users SET password = ?3 WHERE id = ?1 AND password = ?2";
            conn.prepare_cached(sql)?.execute((signed(id), from, to))?;
            Ok(())
        })
        .await
    }

    async fn disable_user(
        &self,
        id: Id,
        disabled: bool,
        at: Timestamp,
    ) -> StorageResult<Option<Vec<Id>>> {
        self.write_clean("disable_user", move |conn| {
            let sql = "UPDATE users SET disabled_at = iif(?2, coalesce(disabled_at, ?3), NULL) \
                       WHERE id = ?1";
            if conn.prepare_cached(sql)?.execute((signed(id), disabled, at.as_millis()))? == 0 {
                return Ok(None);
            }
            count_up(conn, accounts::EPOCH, 1)?;
            let ended = if disabled { sessions::end_all(conn, id, None, at)? } else { Vec::new() };
            Ok(Some(ended))
        })
        .await
    }

    async fn erase_user(&self, id: Id, at: Timestamp) -> StorageResult<Erasure> {
        self.write_erasing("erase_user", move |conn| erase(conn, id, at)).await
    }

    async fn user_by_identity(&self, issuer: &str, subject: &str) -> StorageResult<Option<User>> {
        let identity = (issuer.to_owned(), subject.to_owned());
        self.read("user_by_identity", Lane::Short, move |conn| {
            let sql = format!(
                "SELECT {USER} FROM identities i JOIN users u ON u.id = i.user \
                 WHERE i.issuer = ?1 AND i.subject = ?2"
            );
            one(conn, &sql, identity)
        })
        .await
    }

    async fn add_identity(
        &self,
        user: Id,
        issuer: &str,
        subject: &str,
        at: Timestamp,
    ) -> StorageResult<bool> {
        let (issuer, subject) = (issuer.to_owned(), subject.to_owned());
        self.write_clean("add_identity", move |conn| {
            add_identity(conn, user, &issuer, &subject, at)
        })
        .await
    }
}

/// A role's byte, as the tables have it.
pub(super) fn role(byte: i64) -> Outcome<Role> {
    word(u8::try_from(byte).ok().and_then(Role::from_byte), "role", byte)
}

/// Notes a change of access for those who hold credentials in memory.
fn note(conn: &Connection, change: AccessChange, at: Timestamp) -> Outcome<()> {
    let (session, member, role) = match change {
        AccessChange::SessionEnded { session } => (Some(session), None, None),
        AccessChange::RoleChanged { workspace, user, role } => {
            (None, Some((workspace, user)), role)
        }
    };
    let sql = "INSERT INTO access_changes (at, session, workspace, user, role) \
               VALUES (?1, ?2, ?3, ?4, ?5)";
    conn.prepare_cached(sql)?.execute((
        at.as_millis(),
        session.map(signed),
        member.map(|(workspace, _)| signed(workspace)),
        member.map(|(_, user)| signed(user)),
        role.map(|role| role as u8),
    ))?;
    Ok(())
}

fn one(conn: &Connection, sql: &str, params: impl rusqlite::Params) -> Outcome<Option<User>> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut found = statement.query(params)?;
    found.next()?.map(|row| decode(row, 0)).transpose()
}

fn by_id(conn: &Connection, id: Id) -> Outcome<Option<User>> {
    one(conn, &format!("SELECT {USER} FROM users u WHERE u.id = ?1"), [signed(id)])
}

fn decode(row: &Row<'_>, at: usize) -> Outcome<User> {
    let time = |index: usize| {
        Ok::<_, Fault>(row.get::<_, Option<i64>>(at + index)?.map(Timestamp::from_millis))
    };
    Ok(User {
        id: unsigned(row.get(at)?),
        email: email(&row.get::<_, String>(at + 1)?)?,
        email_verified_at: time(2)?,
        name: row.get(at + 3)?,
        password: row.get(at + 4)?,
        workspace: unsigned(row.get(at + 5)?),
        created_at: Timestamp(row.get(at + 6)?),
        updated_at: Timestamp(row.get(at + 7)?),
        disabled_at: time(8)?,
    })
}

fn email(text: &str) -> Outcome<Email> {
    Email::parse(text).map_err(|_| Fault::corrupt("an address of a user is none"))
}

fn add(conn: &Connection, new: &NewUser) -> Outcome<UserAdded> {
    let NewUser { user, workspace, identity, invitation } = new;
    let taken = conn
        .prepare_cached("SELECT 1 FROM users WHERE email_key = ?1")?
        .exists([user.email.key()])?;
    if taken {
        return Ok(UserAdded::EmailTaken);
    }
    if let Some((issuer, subject)) = identity
        && identity_exists(conn, issuer, subject)?
    {
        return Ok(UserAdded::IdentityTaken);
    }
    teams::add_workspace(conn, workspace)?;
    conn.prepare_cached(
        "INSERT INTO users (id, email, email_key, email_verified_at, name, password, workspace, \
         created_at, updated_at, disabled_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute((
        signed(user.id),
        user.email.as_str(),
        user.email.key(),
        user.email_verified_at.map(Timestamp::as_millis),
        &user.name,
        &user.password,
        signed(user.workspace),
        user.created_at.as_millis(),
        user.updated_at.as_millis(),
        user.disabled_at.map(Timestamp::as_millis),
    ))?;
    teams::join(conn, workspace.id, user.id, Role::Owner, user.created_at)?;
    if let Some((issuer, subject)) = identity {
        add_identity(conn, user.id, issuer, subject, user.created_at)?;
    }
    if let Some(digest) = invitation
        && teams::accept(conn, digest, user.id, user.created_at)?.is_none()
    {
        // Taken back by hand: a refusal is an answer, and answers are committed.
        erase_rows(conn, user.id)?;
        scrub::mark(conn)?;
        conn.prepare_cached("DELETE FROM workspaces WHERE id = ?1")?
            .execute([signed(workspace.id)])?;
        return Ok(UserAdded::NotInvited);
    }
    Ok(UserAdded::Done)
}

fn change_user(
    conn: &Connection,
    id: Id,
    change: &UserChange,
    at: Timestamp,
) -> Outcome<UserChanged> {
    if let Some(email) = &change.email {
        let other = conn
            .prepare_cached("SELECT id FROM users WHERE email_key = ?1")?
            .query_row([email.key()], |row| row.get::<_, i64>(0))
            .optional()?;
        if other.is_some_and(|other| unsigned(other) != id) {
            return Ok(UserChanged::EmailTaken);
        }
        let sql = "UPDATE users SET email = ?2, email_key = ?3, \
                   email_verified_at = iif(email_key = ?3, email_verified_at, NULL) WHERE id = ?1";
        conn.prepare_cached(sql)?.execute((signed(id), email.as_str(), email.key()))?;
        conn.prepare_cached("DELETE FROM tickets WHERE user = ?1")?.execute([signed(id)])?;
    }
    let sql = "UPDATE users SET name = coalesce(?2, name), updated_at = ?3 WHERE id = ?1";
    conn.prepare_cached(sql)?.execute((signed(id), &change.name, at.as_millis()))?;
    Ok(by_id(conn, id)?.map_or(UserChanged::NotFound, UserChanged::Done))
}

fn identity_exists(conn: &Connection, issuer: &str, subject: &str) -> Outcome<bool> {
    let sql = "SELECT 1 FROM identities WHERE issuer = ?1 AND subject = ?2";
    Ok(conn.prepare_cached(sql)?.exists((issuer, subject))?)
}

fn add_identity(
    conn: &Connection,
    user: Id,
    issuer: &str,
    subject: &str,
    at: Timestamp,
) -> Outcome<bool> {
    let sql = "INSERT INTO identities (issuer, subject, user, created_at) \
               VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
    conn.prepare_cached(sql)?.execute((issuer, subject, signed(user), at.as_millis()))?;
    let sql = "SELECT 1 FROM identities WHERE issuer = ?1 AND subject = ?2 AND user = ?3";
    Ok(conn.prepare_cached(sql)?.exists((issuer, subject, signed(user)))?)
}

fn erase(conn: &Connection, id: Id, at: Timestamp) -> Outcome<Erasure> {
    let Some(user) = by_id(conn, id)? else { return Ok(Erasure::NotFound) };
    let workspaces = teams::of_user(conn, id)?;
    let mut alone = Vec::new();
    for (workspace, role) in &workspaces {
        match teams::others(conn, *workspace, id)? {
            others if others.is_empty() => alone.push(*workspace),
            others if *role == Role::Owner && !others.contains(&Role::Owner) => {
                return Ok(Erasure::LastOwner);
            }
            _ => (),
        }
    }
    let ended = sessions::end_all(conn, id, None, at)?;
    for (workspace, _) in &workspaces {
        note(conn, AccessChange::RoleChanged { workspace: *workspace, user: id, role: None }, at)?;
    }
    // A key's name may say whose it is.
    let sql = "UPDATE api_keys SET revoked_at = coalesce(revoked_at, ?2), name = '', user = NULL \
               WHERE user = ?1";
    conn.prepare_cached(sql)?.execute((signed(id), at.as_millis()))?;
    count_up(conn, accounts::EPOCH, 1)?;
    erase_rows(conn, id)?;
    let sql = "DELETE FROM invitations WHERE invited_by = ?1 OR lower(email) = ?2";
    conn.prepare_cached(sql)?.execute((signed(id), user.email.key()))?;
    for workspace in alone {
        teams::close(conn, workspace, at)?;
    }
    scrub::mark(conn)?;
    Ok(Erasure::Done { ended })
}

/// Removes the rows of a user from every table that has some.
fn erase_rows(conn: &Connection, id: Id) -> Outcome<()> {
    for sql in [
        "DELETE FROM members WHERE user = ?1",
        "DELETE FROM sessions WHERE user = ?1",
        "DELETE FROM known_clients WHERE user = ?1",
        "DELETE FROM identities WHERE user = ?1",
        "DELETE FROM tickets WHERE user = ?1",
        "DELETE FROM users WHERE id = ?1",
    ] {
        conn.prepare_cached(sql)?.execute([signed(id)])?;
    }
    Ok(())
}

/// A workspace from the columns that [`teams`] selects, beginning with column `at`.
fn workspace(row: &Row<'_>, at: usize) -> Outcome<Workspace> {
    Ok(Workspace {
        id: unsigned(row.get(at)?),
        name: row.get(at + 1)?,
        operator: row.get(at + 2)?,
        created_at: Timestamp(row.get(at + 3)?),
    })
}
