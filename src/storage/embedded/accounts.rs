//! Workspaces and API keys.

use std::collections::BTreeMap;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row};

use super::audit::Log;
use super::fault::{Fault, Outcome};
use super::people;
use super::readers::Lane;
use super::{Embedded, count_up, counter, signed, unsigned};
use crate::domain::account::Role;
use crate::domain::api_key::{ApiKey, Scopes};
use crate::domain::audit::{Act, AuditAction, Target, TargetKind};
use crate::domain::id::Id;
use crate::domain::time::Timestamp;
use crate::storage::{AccountStore, ChosenKey, KeyRecord, StorageResult, Workspace};

/// Counter that every change of a key moves, whoever makes it.
pub(super) const EPOCH: &str = "keys_epoch";

/// Counter that holds the id of the workspace of links without an account.
const ANONYMOUS: &str = "anonymous_workspace";

#[async_trait]
impl AccountStore for Embedded {
    async fn bootstrap(&self, workspace: Workspace, key: ApiKey) -> StorageResult<bool> {
        // A store without keys is one of a test.
        let act = Act::on_command_line(workspace.id, workspace.created_at);
        let log = self.log(self.audit_key().map(|_| act));
        self.write("bootstrap", move |conn| {
            if conn.prepare_cached("SELECT 1 FROM workspaces LIMIT 1")?.exists([])? {
                return Ok(false);
            }
            people::add_workspace(conn, &workspace)?;
            let made = Target { kind: TargetKind::Workspace, id: workspace.id };
            log.add(conn, |act| act.entry(AuditAction::WorkspaceCreate, Some(made)))?;
            add_key(conn, &key, &log)
        })
        .await
    }

    async fn anonymous_workspace(&self, new: Workspace) -> StorageResult<Id> {
        self.write("anonymous_workspace", move |conn| {
            let there = counter(conn, ANONYMOUS)?;
            if there != 0 {
                return Ok(unsigned(there));
            }
            people::add_workspace(conn, &new)?;
            count_up(conn, ANONYMOUS, signed(new.id))?;
            Ok(new.id)
        })
        .await
    }

    async fn operator_workspace(&self) -> StorageResult<Option<Workspace>> {
        self.read("operator_workspace", Lane::Short, |conn| {
            let sql = "SELECT id, name, operator, created_at FROM workspaces \
                 WHERE operator ORDER BY id LIMIT 1";
            Ok(conn.prepare_cached(sql)?.query_row([], workspace).optional()?)
        })
        .await
    }

    async fn workspaces_called(&self, names: Vec<String>) -> StorageResult<Vec<Workspace>> {
        self.read("workspaces_called", Lane::Short, move |conn| {
            let sql = "SELECT id, name, operator, created_at FROM workspaces \
                 WHERE name = ?1 OR CAST(id AS TEXT) = ?1";
            let mut statement = conn.prepare_cached(sql)?;
            let mut all = BTreeMap::new();
            for name in &names {
                for found in statement.query_map([name], workspace)? {
                    let found = found?;
                    all.insert(found.id, found);
                }
            }
            Ok(all.into_values().collect())
        })
        .await
    }

    async fn keys(&self) -> StorageResult<Vec<KeyRecord>> {
        self.read("keys", Lane::Short, |conn| {
            let mut statement = conn.prepare_cached(
                "SELECT k.id, k.workspace, k.name, k.prefix, k.digest, k.scopes, k.created_at, \
                 k.expires_at, k.last_used_at, k.uses, k.revoked_at, k.user, w.operator, \
                 m.role, u.disabled_at IS NULL \
                 FROM api_keys k JOIN workspaces w ON w.id = k.workspace \
                 LEFT JOIN members m ON m.workspace = k.workspace AND m.user = k.user \
                 LEFT JOIN users u ON u.id = k.user ORDER BY k.id",
            )?;
            let mut found = statement.query([])?;
            let mut keys = Vec::new();
            while let Some(row) = found.next()? {
                keys.push(decode(row)?);
            }
            Ok(keys)
        })
        .await
    }

    async fn add_key(&self, key: ApiKey, act: Option<Act>) -> StorageResult<bool> {
        let log = self.log(act);
        self.write("add_key", move |conn| add_key(conn, &key, &log)).await
    }

    async fn revoke_key(
        &self,
        key: ChosenKey,
        at: Timestamp,
        act: Option<Act>,
    ) -> StorageResult<bool> {
        let ChosenKey { id, workspace, of } = key;
        let log = self.log(act);
        self.write("revoke_key", move |conn| {
            let in_force = conn
                .prepare_cached("SELECT 1 FROM api_keys WHERE id = ?1 AND revoked_at IS NULL")?
                .exists([signed(id)])?;
            let changed = conn
                .prepare_cached(
                    "UPDATE api_keys SET revoked_at = coalesce(revoked_at, ?3)
                     WHERE id = ?1 AND workspace = ?2 AND (?4 IS NULL OR user = ?4)",
                )?
                .execute((signed(id), signed(workspace), at.as_millis(), of.map(signed)))?;
            count_up(conn, EPOCH, changed as i64)?;
            if changed == 1 && in_force {
                log.add(conn, |act| act.entry(AuditAction::KeyRevoke, Some(Target::key(id))))?;
            }
            Ok(changed == 1)
        })
        .await
    }

    async fn add_key_uses(&self, uses: Vec<(Id, u64, Timestamp)>) -> StorageResult<()> {
        self.write("add_key_uses", move |conn| {
            let mut add = conn.prepare_cached(
                "UPDATE api_keys SET uses = uses + ?2,
                 last_used_at = max(coalesce(last_used_at, ?3), ?3) WHERE id = ?1",
            )?;
            for (id, n, at) in &uses {
                add.execute((signed(*id), *n as i64, at.as_millis()))?;
            }
            Ok(())
        })
        .await
    }

    async fn keys_epoch(&self) -> StorageResult<u64> {
        self.read("keys_epoch", Lane::Short, |conn| Ok(counter(conn, EPOCH)? as u64)).await
    }
}

fn add_key(conn: &Connection, key: &ApiKey, log: &Log) -> Outcome<bool> {
    let added = conn
        .prepare_cached(
            "INSERT INTO api_keys (id, workspace, name, prefix, digest, scopes, created_at, \
             expires_at, last_used_at, uses, revoked_at, user) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) \
             ON CONFLICT (digest) DO NOTHING",
        )?
        .execute(rusqlite::params![
            signed(key.id),
            signed(key.workspace),
            key.name,
            key.prefix,
            key.digest.as_slice(),
            key.scopes.bits(),
            key.created_at.as_millis(),
            key.expires_at.map(Timestamp::as_millis),
            key.last_used_at.map(Timestamp::as_millis),
            key.uses as i64,
            key.revoked_at.map(Timestamp::as_millis),
            key.user.map(signed),
        ])?;
    count_up(conn, EPOCH, added as i64)?;
    if added == 1 {
        log.add(conn, |act| act.entry(AuditAction::KeyCreate, Some(Target::key(key.id))))?;
    }
    Ok(added == 1)
}

fn workspace(row: &Row<'_>) -> rusqlite::Result<Workspace> {
    Ok(Workspace {
        id: unsigned(row.get(0)?),
        name: row.get(1)?,
        operator: row.get(2)?,
        created_at: Timestamp(row.get(3)?),
    })
}

fn decode(row: &Row<'_>) -> Outcome<KeyRecord> {
    let time = |index: usize| {
        Ok::<_, Fault>(row.get::<_, Option<i64>>(index)?.map(Timestamp::from_millis))
    };
    let digest: Vec<u8> = row.get(4)?;
    let user = row.get::<_, Option<i64>>(11)?.map(unsigned);
    let role = match (user, row.get::<_, Option<i64>>(13)?, row.get(14)?) {
        (None, _, _) => Some(Role::Owner),
        (Some(_), Some(byte), true) => Some(people::role(byte)?),
        (Some(_), _, _) => None,
    };
    let key = ApiKey {
        id: unsigned(row.get(0)?),
        workspace: unsigned(row.get(1)?),
        user,
        name: row.get(2)?,
        prefix: row.get(3)?,
        digest: digest.try_into().map_err(|_| Fault::corrupt("a key's digest has another size"))?,
        scopes: Scopes::from_bits(row.get(5)?),
        created_at: Timestamp(row.get(6)?),
        expires_at: time(7)?,
        last_used_at: time(8)?,
        uses: row.get::<_, i64>(9)? as u64,
        revoked_at: time(10)?,
    };
    Ok(KeyRecord { key, role, operator: row.get(12)? })
}
