//! Workspaces by themselves, what the first start made, and numbers that all nodes watch. Keys are
//! in `keys`.

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use scylla::DeserializeRow;

use super::Cql;
use super::fault::is_unknown;
use super::finding::Candidates;
use super::ids::{signed, unsigned};
use super::people::Team;
use super::run::damaged;
use super::together::{Decision, TRIES, contended, stamp};
use crate::domain::account::{Member, Role};
use crate::domain::api_key::{ApiKey, Scopes};
use crate::domain::audit::{Act, AuditAction, Target, TargetKind};
use crate::domain::id::Id;
use crate::domain::time::Timestamp;
use crate::storage::error::{Op, StorageResult};
use crate::storage::{AccountStore, ChosenKey, KeyRecord, Workspace};

/// The row of `installation`: there is one.
pub(super) const INSTALLATION: i32 = 0;
/// What every change of keys moves, and of what they may do.
const EPOCH: &str = "keys_epoch";
/// Id of the workspace of links without an account.
pub(super) const ANONYMOUS: &str = "anonymous_workspace";

#[async_trait]
impl AccountStore for Cql {
    /// The first start is one row, which has all that it makes: whoever starts next ends what was
    /// cut short.
    async fn bootstrap(&self, workspace: Workspace, key: ApiKey) -> StorageResult<bool> {
        const OP: Op = "bootstrap";
        let Some(there) = self.installation(OP).await? else {
            if self.found(OP, &workspace, &key).await? {
                self.finish_installation(OP, workspace, key).await?;
                return Ok(true);
            }
            return Ok(false);
        };
        if !there.finished {
            let (workspace, key) = there.into_parts(OP)?;
            self.finish_installation(OP, workspace, key).await?;
        }
        Ok(false)
    }

    async fn anonymous_workspace(&self, new: Workspace) -> StorageResult<Id> {
        const OP: Op = "anonymous_workspace";
        let id = match self.mark(OP, ANONYMOUS).await? {
            Some(id) => unsigned(id),
            None => self.claim_anonymous(OP, new.id).await?,
        };
        if self.plain_workspace(OP, id).await?.is_none() {
            self.make_workspace(OP, Workspace { id, ..new }, None).await?;
        }
        Ok(id)
    }

    async fn operator_workspace(&self) -> StorageResult<Option<Workspace>> {
        const OP: Op = "operator_workspace";
        let statement = &self.statements().accounts.operator;
        let row: Option<(i64, String, i64)> = self.one(OP, statement, (INSTALLATION,)).await?;
        let Some((id, name, created_at)) = row else { return Ok(None) };
        // It may have another name by now, or not be made yet.
        let made = self.plain_workspace(OP, unsigned(id)).await?;
        let (id, created_at) = (unsigned(id), Timestamp(created_at));
        Ok(Some(made.unwrap_or(Workspace { id, name, operator: true, created_at })))
    }

    async fn workspaces_called(&self, names: Vec<String>) -> StorageResult<Vec<Workspace>> {
        const OP: Op = "workspaces_called";
        let called = names.iter().map(|name| async move {
            let mut ids = Vec::new();
            if !name.is_empty() {
                let noted = self.noted(OP, Candidates::Called, name.as_bytes()).await?;
                ids.extend(noted.into_iter().map(|candidate| unsigned(candidate.item)));
            }
            ids.extend(name.parse::<Id>().ok().filter(|id| id.to_string() == *name));
            Ok(ids)
        });
        let ids: Vec<Id> = try_join_all(called).await?.into_iter().flatten().collect();
        let found = try_join_all(ids.into_iter().map(|id| self.plain_workspace(OP, id))).await?;
        let is_called =
            |one: &Workspace| names.contains(&one.name) || names.contains(&one.id.to_string());
        let found = found.into_iter().flatten().filter(is_called);
        let found: BTreeMap<Id, Workspace> = found.map(|one| (one.id, one)).collect();
        Ok(found.into_values().collect())
    }

    async fn keys(&self) -> StorageResult<Vec<KeyRecord>> {
        self.all_keys("keys").await
    }

    async fn add_key(&self, key: ApiKey, act: Option<Act>) -> StorageResult<bool> {
        const OP: Op = "add_key";
        let id = key.id;
        let added = self.make_key(OP, key).await?;
        if let Some(act) = act.filter(|_| added) {
            self.tell(vec![act.entry(AuditAction::KeyCreate, Some(Target::key(id)))]).await;
        }
        Ok(added)
    }

    async fn revoke_key(
        &self,
        key: ChosenKey,
        at: Timestamp,
        act: Option<Act>,
    ) -> StorageResult<bool> {
        self.revoke("revoke_key", key, at, act).await
    }

    async fn add_key_uses(&self, uses: Vec<(Id, u64, Timestamp)>) -> StorageResult<()> {
        self.count_uses("add_key_uses", uses).await
    }

    async fn keys_epoch(&self) -> StorageResult<u64> {
        Ok(self.mark("keys_epoch", EPOCH).await?.unwrap_or_default() as u64)
    }
}

#[derive(DeserializeRow)]
struct InstallationRow {
    finished: bool,
    workspace: i64,
    name: String,
    created_at: i64,
    key: i64,
    key_name: String,
    key_prefix: String,
    key_digest: Vec<u8>,
    key_scopes: i16,
    key_expires_at: Option<i64>,
}

impl InstallationRow {
    fn into_parts(self, op: Op) -> StorageResult<(Workspace, ApiKey)> {
        let digest = self.key_digest.try_into();
        let digest = digest.map_err(|_| damaged(op, "a key's digest has another size"))?;
        let (id, created_at) = (unsigned(self.workspace), Timestamp(self.created_at));
        let workspace = Workspace { id, name: self.name, operator: true, created_at };
        let key = ApiKey {
            id: unsigned(self.key),
            workspace: id,
            user: None,
            name: self.key_name,
            prefix: self.key_prefix,
            digest,
            scopes: Scopes::from_bits(self.key_scopes as u8),
            created_at,
            expires_at: self.key_expires_at.map(Timestamp),
            last_used_at: None,
            uses: 0,
            revoked_at: None,
        };
        Ok((workspace, key))
    }
}

impl Cql {
    async fn installation(&self, op: Op) -> StorageResult<Option<InstallationRow>> {
        self.one(op, &self.statements().accounts.installation, (INSTALLATION,)).await
    }

    /// Begins the installation: whether nobody else did.
    async fn found(&self, op: Op, workspace: &Workspace, key: &ApiKey) -> StorageResult<bool> {
        let values = (
            INSTALLATION,
            signed(workspace.id),
            &workspace.name,
            workspace.created_at.as_millis(),
            signed(key.id),
            &key.name,
            &key.prefix,
            key.digest.as_slice(),
            i16::from(key.scopes.bits()),
            key.expires_at.map(Timestamp::as_millis),
        );
        for _ in 0..TRIES {
            match self.apply(op, &self.statements().accounts.found, &values).await {
                Err(error) if is_unknown(&error) => {
                    if let Some(there) = self.installation(op).await? {
                        return Ok(there.key == signed(key.id));
                    }
                }
                founded => return founded,
            }
        }
        Err(contended(op))
    }

    /// Makes what the first start is to make, as far as it is not there.
    async fn finish_installation(
        &self,
        op: Op,
        workspace: Workspace,
        key: ApiKey,
    ) -> StorageResult<()> {
        let act = Act::on_command_line(workspace.id, workspace.created_at);
        let made = Target { kind: TargetKind::Workspace, id: workspace.id };
        let key_id = key.id;
        self.make_workspace(op, workspace, None).await?;
        self.make_key(op, key).await?;
        let finished = self.apply(op, &self.statements().accounts.finish, (INSTALLATION,)).await;
        // Whose write it was nobody knows, if that is unknown: told twice is better than never.
        let is_told = match finished {
            Err(error) if is_unknown(&error) => false,
            finished => !finished?,
        };
        if !is_told && self.audit_key().is_some() {
            self.tell(vec![
                act.entry(AuditAction::WorkspaceCreate, Some(made)),
                act.entry(AuditAction::KeyCreate, Some(Target::key(key_id))),
            ])
            .await;
        }
        Ok(())
    }

    /// Makes a workspace, if it is not there.
    pub(super) async fn make_workspace(
        &self,
        op: Op,
        workspace: Workspace,
        owner: Option<Id>,
    ) -> StorageResult<()> {
        let (id, name) = (workspace.id, workspace.name.as_bytes());
        if !name.is_empty() {
            self.note(op, Candidates::Called, name, (signed(id), id)).await?;
        }
        self.change(op, id, |team: &Team, stamp| {
            if team.workspace.is_some() {
                return Decision::Stay(());
            }
            let mut steps = vec![team.put(self, stamp, &workspace, None)];
            steps.extend(owner.map(|user| {
                let (role, joined_at) = (Role::Owner, workspace.created_at);
                team.put_member(self, &Member { workspace: id, user, role, joined_at })
            }));
            Decision::Write(steps, ())
        })
        .await
    }

    pub(super) async fn plain_workspace(&self, op: Op, id: Id) -> StorageResult<Option<Workspace>> {
        type Row = (i64, Option<String>, Option<bool>, Option<i64>);
        let statement = &self.statements().workspaces.plain;
        let row: Option<Row> = self.one(op, statement, (signed(id),)).await?;
        let Some((_, Some(name), operator, Some(created_at))) = row else { return Ok(None) };
        let (operator, created_at) = (operator.unwrap_or_default(), Timestamp(created_at));
        Ok(Some(Workspace { id, name, operator, created_at }))
    }

    async fn claim_anonymous(&self, op: Op, new: Id) -> StorageResult<Id> {
        for _ in 0..TRIES {
            let moved = self.move_mark(op, ANONYMOUS, None, signed(new)).await;
            match moved {
                Ok(true) => return Ok(new),
                Ok(false) => (),
                Err(error) if is_unknown(&error) => (),
                Err(error) => return Err(error),
            }
            if let Some(id) = self.settled_mark(op, ANONYMOUS).await? {
                return Ok(unsigned(id));
            }
        }
        Err(contended(op))
    }

    /// Tells all nodes that keys, or what they may do, changed. To be called behind the change.
    pub(super) async fn move_epoch(&self, op: Op) -> StorageResult<()> {
        for _ in 0..TRIES {
            let before = self.settled_mark(op, EPOCH).await?;
            match self.move_mark(op, EPOCH, before, stamp(op)?).await {
                // Not applied: somebody moved it since, so whoever follows it sees this change too.
                Ok(_) => return Ok(()),
                Err(error) if is_unknown(&error) => (),
                Err(error) => return Err(error),
            }
        }
        Err(contended(op))
    }

    pub(super) async fn mark(&self, op: Op, name: &str) -> StorageResult<Option<i64>> {
        let row: Option<(Option<i64>,)> =
            self.one(op, &self.statements().accounts.mark, (name,)).await?;
        Ok(row.and_then(|(value,)| value))
    }

    pub(super) async fn settled_mark(&self, op: Op, name: &str) -> StorageResult<Option<i64>> {
        let row: Option<(Option<i64>,)> =
            self.one(op, &self.statements().accounts.settled_mark, (name,)).await?;
        Ok(row.and_then(|(value,)| value))
    }

    pub(super) async fn move_mark(
        &self,
        op: Op,
        name: &str,
        from: Option<i64>,
        to: i64,
    ) -> StorageResult<bool> {
        self.apply(op, &self.statements().accounts.move_mark, (to, name, from)).await
    }
}
