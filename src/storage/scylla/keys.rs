//! API keys: in shards, so that all of them are read at once. A digest is claimed before its key is
//! there, so no two keys share one.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join_all;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use scylla::DeserializeRow;

use super::Cql;
use super::fault::is_unknown;
use super::finding::{Candidates, Claim, Claimed, Plan, Task, key_of};
use super::ids::{signed, unsigned};
use super::people::role;
use super::run::damaged;
use super::together::{TRIES, contended, stamp};
use crate::domain::account::Role;
use crate::domain::api_key::{ApiKey, Scopes};
use crate::domain::audit::{Act, AuditAction, Target};
use crate::domain::id::Id;
use crate::domain::time::Timestamp;
use crate::storage::error::{Op, StorageResult};
use crate::storage::{ChosenKey, KeyRecord};

/// Partitions that keys are in.
const SHARDS: i8 = 16;
/// Reads, or counts, under way at once.
const AT_ONCE: usize = 32;
/// When what may have been cut short is looked at.
pub(super) const LATER_MS: i64 = 60_000;

/// A row of `api_keys`.
#[derive(DeserializeRow)]
struct KeyRow {
    id: i64,
    workspace: i64,
    user: Option<i64>,
    name: String,
    prefix: String,
    digest: Vec<u8>,
    scopes: i16,
    created_at: i64,
    expires_at: Option<i64>,
    revoked_at: Option<i64>,
    uses: i64,
    last_used_at: Option<i64>,
    used_by: Option<i64>,
}

impl KeyRow {
    fn into_key(self, op: Op) -> StorageResult<ApiKey> {
        let digest = self.digest.try_into();
        Ok(ApiKey {
            id: unsigned(self.id),
            workspace: unsigned(self.workspace),
            user: self.user.map(unsigned),
            name: self.name,
            prefix: self.prefix,
            digest: digest.map_err(|_| damaged(op, "a key's digest has another size"))?,
            scopes: Scopes::from_bits(self.scopes as u8),
            created_at: Timestamp(self.created_at),
            expires_at: self.expires_at.map(Timestamp),
            last_used_at: self.last_used_at.map(Timestamp),
            uses: self.uses as u64,
            revoked_at: self.revoked_at.map(Timestamp),
        })
    }
}

/// The partition of a key. Ids of one millisecond and node differ in their low bits only.
pub(super) fn shard_of(id: Id) -> i8 {
    ((id.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) % SHARDS as u64) as i8
}

impl Cql {
    /// All keys, and what stands behind them now.
    pub(super) async fn all_keys(&self, op: Op) -> StorageResult<Vec<KeyRecord>> {
        let statement = &self.statements().accounts.keys;
        let shards = (0..SHARDS).map(|shard| self.all::<KeyRow>(op, statement, (shard,)));
        let mut keys = Vec::new();
        for row in try_join_all(shards).await?.into_iter().flatten() {
            keys.push(row.into_key(op)?);
        }
        keys.sort_unstable_by_key(|key| key.id);
        let workspaces: BTreeSet<Id> = keys.iter().map(|key| key.workspace).collect();
        let users: BTreeSet<Id> = keys.iter().filter_map(|key| key.user).collect();
        let pairs: BTreeSet<(Id, Id)> =
            keys.iter().filter_map(|key| Some((key.workspace, key.user?))).collect();
        let operators = read_each(workspaces, |id| async move {
            Ok(self.plain_workspace(op, id).await?.is_some_and(|one| one.operator))
        });
        let in_force = read_each(users, |id| async move {
            Ok(self.plain_user(op, id).await?.is_some_and(|user| user.disabled_at.is_none()))
        });
        let roles = read_each(pairs, |(workspace, user)| self.role_of(op, workspace, user));
        let (operators, in_force, roles) =
            futures_util::future::try_join3(operators, in_force, roles).await?;
        let records = keys.into_iter().map(|key| {
            let role = match key.user {
                None => Some(Role::Owner),
                Some(user) if in_force[&user] => roles[&(key.workspace, user)],
                Some(_) => None,
            };
            KeyRecord { role, operator: operators[&key.workspace], key }
        });
        Ok(records.collect())
    }

    /// What a user is in a workspace.
    async fn role_of(&self, op: Op, workspace: Id, user: Id) -> StorageResult<Option<Role>> {
        type Row = (Option<String>, Option<bool>, Option<i64>, Option<i8>, Option<i64>);
        let statement = &self.statements().workspaces.member;
        let values = (signed(workspace), signed(user));
        let row: Option<Row> = self.one(op, statement, values).await?;
        role(op, row.and_then(|(_, _, _, byte, _)| byte))
    }

    async fn key(&self, op: Op, id: Id) -> StorageResult<Option<KeyRow>> {
        self.one(op, &self.statements().accounts.key, (shard_of(id), signed(id))).await
    }

    /// Stores a key. False when its digest is there already.
    pub(super) async fn make_key(&self, op: Op, key: ApiKey) -> StorageResult<bool> {
        let claim = Claim::new(op, key.id, key.created_at)?;
        let claimed = self.claim(op, (Claimed::KeyDigest, &key.digest), claim).await?;
        if claimed.owner != key.id {
            return Ok(false);
        }
        let later = key.created_at.plus_millis(LATER_MS);
        self.plan(op, Plan::new(later, Task::Keys, Id(0))).await?;
        for owner in [Some(key.workspace), key.user].into_iter().flatten() {
            let item = (signed(key.id), key.id);
            self.note(op, Candidates::Keys, &key_of(owner), item).await?;
        }
        let added = self.put_key(op, &key).await?;
        if let Some(user) = key.user
            && self.role_of(op, key.workspace, user).await?.is_none()
        {
            // The user left meanwhile. The key would come back to life if it joined again.
            self.end_key(op, key.id, key.workspace, key.created_at).await?;
        }
        self.move_epoch(op).await?;
        Ok(added)
    }

    async fn put_key(&self, op: Op, key: &ApiKey) -> StorageResult<bool> {
        let values = (
            shard_of(key.id),
            signed(key.id),
            signed(key.workspace),
            key.user.map(signed),
            &key.name,
            &key.prefix,
            key.digest.as_slice(),
            i16::from(key.scopes.bits()),
            key.created_at.as_millis(),
            key.expires_at.map(Timestamp::as_millis),
            key.revoked_at.map(Timestamp::as_millis),
            key.uses as i64,
            key.last_used_at.map(Timestamp::as_millis),
        );
        for _ in 0..TRIES {
            match self.apply(op, &self.statements().accounts.add_key, &values).await {
                Err(error) if is_unknown(&error) => {
                    if self.key(op, key.id).await?.is_some() {
                        return Ok(true);
                    }
                }
                added => return added,
            }
        }
        Err(contended(op))
    }

    /// Revokes a key that somebody named.
    pub(super) async fn revoke(
        &self,
        op: Op,
        key: ChosenKey,
        at: Timestamp,
        act: Option<Act>,
    ) -> StorageResult<bool> {
        let ChosenKey { id, workspace, of } = key;
        let Some(row) = self.key(op, id).await? else { return Ok(false) };
        let may = row.workspace == signed(workspace)
            && of.is_none_or(|user| row.user == Some(signed(user)));
        if !may || row.revoked_at.is_some() {
            return Ok(may);
        }
        self.plan(op, Plan::new(at.plus_millis(LATER_MS), Task::Keys, Id(0))).await?;
        let ended = self.end_key(op, id, workspace, at).await?;
        self.move_epoch(op).await?;
        if let Some(act) = act.filter(|_| ended) {
            self.tell(vec![act.entry(AuditAction::KeyRevoke, Some(Target::key(id)))]).await;
        }
        Ok(true)
    }

    /// Whether it was this that revoked the key.
    async fn end_key(&self, op: Op, id: Id, workspace: Id, at: Timestamp) -> StorageResult<bool> {
        for _ in 0..TRIES {
            let values = (at.as_millis(), shard_of(id), signed(id), signed(workspace));
            match self.apply(op, &self.statements().accounts.revoke, values).await {
                Err(error) if is_unknown(&error) => {
                    let row = self.key(op, id).await?;
                    if let Some(there) = row.and_then(|row| row.revoked_at) {
                        return Ok(there == at.as_millis());
                    }
                }
                ended => return ended,
            }
        }
        Err(contended(op))
    }

    /// Revokes the keys of `owner`, a user or a workspace, as far as they are meant.
    pub(super) async fn end_keys(
        &self,
        op: Op,
        owner: Id,
        at: Timestamp,
        end: EndKeys,
    ) -> StorageResult<()> {
        for candidate in self.noted(op, Candidates::Keys, &key_of(owner)).await? {
            let id = unsigned(candidate.item);
            let Some(row) = self.key(op, id).await? else { continue };
            let (workspace, user) = (unsigned(row.workspace), row.user.map(unsigned));
            let (is_meant, stays) = match end {
                EndKeys::Member(member) => (user == Some(member), user),
                EndKeys::Workspace => (workspace == owner, user),
                EndKeys::User => (user == Some(owner), None),
            };
            if !is_meant {
                continue;
            }
            if row.revoked_at.is_none() {
                self.end_key(op, id, workspace, at).await?;
            }
            if !matches!(end, EndKeys::Member(_)) {
                let values = (stays.map(signed), shard_of(id), signed(id));
                self.apply(op, &self.statements().accounts.unname, values).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn count_uses(
        &self,
        op: Op,
        uses: Vec<(Id, u64, Timestamp)>,
    ) -> StorageResult<()> {
        let counts = uses.into_iter().map(|(id, n, at)| self.count_use(op, id, n, at));
        stream::iter(counts).buffer_unordered(AT_ONCE).try_collect().await
    }

    async fn count_use(&self, op: Op, id: Id, n: u64, at: Timestamp) -> StorageResult<()> {
        for _ in 0..TRIES {
            let Some(row) = self.key(op, id).await? else { return Ok(()) };
            let (mark, last) = (stamp(op)?, row.last_used_at.max(Some(at.as_millis())));
            let sum = row.uses.saturating_add_unsigned(n);
            let (shard, before) = (shard_of(id), (row.uses, row.used_by));
            let values = (sum, last, mark, shard, signed(id), before.0, before.1);
            match self.apply(op, &self.statements().accounts.count, values).await {
                Ok(true) => return Ok(()),
                Ok(false) => (),
                Err(error) if is_unknown(&error) => {
                    let row = self.key(op, id).await?;
                    let after = row.map(|row| (row.uses, row.used_by));
                    // When somebody counted since, nobody knows. A few uses that are missing are
                    // less than some that are counted twice.
                    if after != Some(before) {
                        return Ok(());
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(contended(op))
    }
}

/// Which keys of an owner are to end.
#[derive(Clone, Copy, Debug)]
pub(super) enum EndKeys {
    /// Of a workspace, those that this user has. Their names stay.
    Member(Id),
    /// Of a workspace, all. Their names go.
    Workspace,
    /// Of a user, all. Their names go, and whose they were.
    User,
}

/// Reads something of each, some at a time.
async fn read_each<K: Ord + Copy, V, F>(
    keys: BTreeSet<K>,
    read: impl Fn(K) -> F,
) -> StorageResult<BTreeMap<K, V>>
where
    F: Future<Output = StorageResult<V>>,
{
    let reads = keys.into_iter().map(|key| {
        let read = read(key);
        async move { Ok((key, read.await?)) }
    });
    stream::iter(reads).buffer_unordered(AT_ONCE).try_collect().await
}
