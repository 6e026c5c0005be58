//! The audit log in memory, sealed as in any other store.

use async_trait::async_trait;

use super::{MemoryStore, State};
use crate::domain::audit::{Act, AuditDraft, AuditEntry, AuditKey, GENESIS, encode};
use crate::domain::link::Link;
use crate::storage::StorageResult;
use crate::storage::audit::{AuditPage, AuditQuery, AuditStore};

impl State {
    /// Appends an entry, if there is one to be told.
    pub(super) fn tell(&mut self, draft: Option<AuditDraft>) {
        let Some(draft) = draft else { return };
        let before = self.audit.last().map_or(GENESIS, |last| last.hash);
        let seq = self.audit.len() as u64 + 1;
        let hash = AuditKey::of(&[0; 32]).link(&before, seq, &encode(&draft));
        self.audit.push(AuditEntry { seq, hash, draft });
    }

    /// Tells of the change that puts `link` in place of what is there.
    pub(super) fn tell_of_change(&mut self, link: &Link, act: Option<Act>) {
        let old = self.links.get(&link.id);
        let told = act.zip(old).map(|(act, old)| act.changed(old, link));
        self.tell(told);
    }
}

#[async_trait]
impl AuditStore for MemoryStore {
    async fn append(&self, entries: Vec<AuditDraft>) -> StorageResult<()> {
        let mut state = self.lock();
        entries.into_iter().for_each(|entry| state.tell(Some(entry)));
        Ok(())
    }

    async fn audit_log(&self, query: AuditQuery) -> StorageResult<AuditPage> {
        let state = self.lock();
        let is_asked_for = |entry: &&AuditEntry| {
            query.before.is_none_or(|before| entry.seq < before) && query.matches(&entry.draft)
        };
        let mut found = state.audit.iter().rev().filter(is_asked_for).cloned();
        let entries: Vec<_> = found.by_ref().take(query.limit.max(1) as usize).collect();
        let next = entries.last().map(|last| last.seq).filter(|_| found.next().is_some());
        Ok(AuditPage { entries, next })
    }

    async fn audit_count(&self, query: AuditQuery) -> StorageResult<u64> {
        let state = self.lock();
        Ok(state.audit.iter().filter(|entry| query.matches(&entry.draft)).count() as u64)
    }
}
