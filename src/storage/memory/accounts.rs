//! Workspaces, API keys, and what keeps nodes apart, in memory.

use async_trait::async_trait;

use super::MemoryStore;
use crate::domain::api_key::ApiKey;
use crate::domain::audit::{Act, AuditAction, Target, TargetKind};
use crate::domain::id::Id;
use crate::domain::time::Timestamp;
use crate::storage::{AccountStore, ChosenKey, KeyRecord, NodeStore, StorageResult, Workspace};

#[async_trait]
impl AccountStore for MemoryStore {
    async fn bootstrap(&self, workspace: Workspace, key: ApiKey) -> StorageResult<bool> {
        let mut state = self.lock();
        if !state.workspaces.is_empty() {
            return Ok(false);
        }
        let act = Act::on_command_line(workspace.id, workspace.created_at);
        let made = Target { kind: TargetKind::Workspace, id: workspace.id };
        state.tell(Some(act.entry(AuditAction::WorkspaceCreate, Some(made))));
        state.tell(Some(act.entry(AuditAction::KeyCreate, Some(Target::key(key.id)))));
        state.workspaces.insert(workspace.id, workspace);
        state.keys.insert(key.id, key);
        state.keys_epoch += 1;
        Ok(true)
    }

    async fn anonymous_workspace(&self, new: Workspace) -> StorageResult<Id> {
        let mut state = self.lock();
        let id = *state.anonymous_workspace.get_or_insert(new.id);
        state.workspaces.entry(id).or_insert(new);
        Ok(id)
    }

    async fn operator_workspace(&self) -> StorageResult<Option<Workspace>> {
        Ok(self.lock().workspaces.values().find(|workspace| workspace.operator).cloned())
    }

    async fn workspaces_called(&self, names: Vec<String>) -> StorageResult<Vec<Workspace>> {
        let state = self.lock();
        let called = |workspace: &&Workspace| {
            names.contains(&workspace.name) || names.contains(&workspace.id.to_string())
        };
        Ok(state.workspaces.values().filter(called).cloned().collect())
    }

    async fn keys(&self) -> StorageResult<Vec<KeyRecord>> {
        let state = self.lock();
        let record = |key: &ApiKey| {
            let workspace = state.workspaces.get(&key.workspace);
            KeyRecord {
                role: state.people.role(key.workspace, key.user),
                operator: workspace.is_some_and(|workspace| workspace.operator),
                key: key.clone(),
            }
        };
        Ok(state.keys.values().map(record).collect())
    }

    async fn add_key(&self, key: ApiKey, act: Option<Act>) -> StorageResult<bool> {
        let mut state = self.lock();
        if state.keys.values().any(|other| other.digest == key.digest) {
            return Ok(false);
        }
        state.tell(act.map(|act| act.entry(AuditAction::KeyCreate, Some(Target::key(key.id)))));
        state.keys.insert(key.id, key);
        state.keys_epoch += 1;
        Ok(true)
    }

    async fn revoke_key(
        &self,
        key: ChosenKey,
        at: Timestamp,
        act: Option<Act>,
    ) -> StorageResult<bool> {
        let ChosenKey { id, workspace, of } = key;
        let mut state = self.lock();
        let may = |key: &&mut ApiKey| {
            key.workspace == workspace && of.is_none_or(|user| key.user == Some(user))
        };
        let Some(key) = state.keys.get_mut(&id).filter(may) else {
            return Ok(false);
        };
        let in_force = key.revoked_at.is_none();
        key.revoked_at.get_or_insert(at);
        let told = act.map(|act| act.entry(AuditAction::KeyRevoke, Some(Target::key(id))));
        state.tell(told.filter(|_| in_force));
        state.keys_epoch += 1;
        Ok(true)
    }

    async fn add_key_uses(&self, uses: Vec<(Id, u64, Timestamp)>) -> StorageResult<()> {
        let mut state = self.lock();
        for (id, n, at) in uses {
            if let Some(key) = state.keys.get_mut(&id) {
                key.uses += n;
                key.last_used_at = key.last_used_at.max(Some(at));
            }
        }
        Ok(())
    }

    async fn keys_epoch(&self) -> StorageResult<u64> {
        Ok(self.lock().keys_epoch)
    }
}

#[async_trait]
impl NodeStore for MemoryStore {
    async fn lease_block(&self, space: &str, size: u64) -> StorageResult<u64> {
        let mut state = self.lock();
        let next = state.blocks.entry(space.to_owned()).or_default();
        *next += size;
        Ok(*next - size)
    }

    async fn clock_mark(&self, node: u16) -> StorageResult<Timestamp> {
        Ok(self.lock().marks.get(&node).copied().unwrap_or_default())
    }

    async fn raise_clock_mark(&self, node: u16, mark: Timestamp) -> StorageResult<()> {
        let mut state = self.lock();
        let kept = state.marks.entry(node).or_default();
        *kept = mark.max(*kept);
        Ok(())
    }
}
