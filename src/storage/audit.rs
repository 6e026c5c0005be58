//! The port for the audit log: entries are appended and read, and nothing else.

use async_trait::async_trait;

use super::StorageResult;
use crate::domain::audit::{AuditAction, AuditDraft, AuditEntry};
use crate::domain::id::Id;
use crate::domain::time::Timestamp;

/// The audit log. Changes of links, clicks and keys bring their entries along and are written
/// together with them; `append` is for what is no change of these.
#[async_trait]
pub trait AuditStore: Send + Sync + 'static {
    /// Appends entries, all or none, in order. Durable when it returns, or, in a store of several
    /// nodes that does not take them at once, waiting for that.
    async fn append(&self, entries: Vec<AuditDraft>) -> StorageResult<()>;

    /// Entries of a workspace, the newest first. Looks at a bounded number of them at once: a page
    /// may hold fewer than `limit`, even none, and more follow all the same if it says so.
    async fn audit_log(&self, query: AuditQuery) -> StorageResult<AuditPage>;

    /// How many entries there are on all pages, wherever `before` begins. Reads them all when there
    /// are filters.
    async fn audit_count(&self, query: AuditQuery) -> StorageResult<u64>;
}

/// Which entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditQuery {
    pub workspace: Id,
    pub action: Option<AuditAction>,
    pub actor: Option<Id>,
    /// Id of what it was done to, of any kind.
    pub target: Option<Id>,
    /// This moment included.
    pub from: Option<Timestamp>,
    /// This moment not included.
    pub to: Option<Timestamp>,
    /// Only those with a smaller place: where the last page ended.
    pub before: Option<u64>,
    pub limit: u32,
}

/// Some entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditPage {
    pub entries: Vec<AuditEntry>,
    /// `before` of the next page, when more may follow.
    pub next: Option<u64>,
}

impl AuditQuery {
    /// Whether an entry is among those asked for, wherever the page begins.
    pub(super) fn matches(&self, draft: &AuditDraft) -> bool {
        let AuditDraft { act, action, target, .. } = draft;
        act.workspace == self.workspace
            && self.action.is_none_or(|wanted| wanted == *action)
            && self.actor.is_none_or(|wanted| act.actor == Some(wanted))
            && self.target.is_none_or(|wanted| target.is_some_and(|target| target.id == wanted))
            && self.from.is_none_or(|from| act.at >= from)
            && self.to.is_none_or(|to| act.at < to)
    }
}
