//! What the audit log is told of accounts: right behind the change, which is done whatever becomes
//! of the entry. People are named by id.

use std::net::IpAddr;

use tracing::error;

use super::Accounts;
use crate::domain::account::User;
use crate::domain::audit::{Act, AuditAction, AuditDraft, Shown, Target, TargetKind};
use crate::domain::id::Id;
use crate::domain::network::ClientNetwork;
use crate::storage::audit::AuditStore;

/// Appends an entry. An outage between the change and this loses it, and is logged.
pub(super) async fn tell(store: &dyn AuditStore, entry: AuditDraft) {
    let action = entry.action.as_str();
    if let Err(error) = store.append(vec![entry]).await {
        error!(%error, action, "the audit log does not tell of something that was done");
    }
}

pub(super) const fn on_user(id: Id) -> Option<Target> {
    Some(Target { kind: TargetKind::User, id })
}

pub(super) const fn on_session(id: Id) -> Option<Target> {
    Some(Target { kind: TargetKind::Session, id })
}

pub(super) const fn on_invitation(id: Id) -> Option<Target> {
    Some(Target { kind: TargetKind::Invitation, id })
}

pub(super) const fn on_workspace(id: Id) -> Option<Target> {
    Some(Target { kind: TargetKind::Workspace, id })
}

impl Accounts {
    pub(super) async fn tell(&self, entry: AuditDraft) {
        tell(&*self.parts.stores.audit, entry).await;
    }

    /// What a user does in `workspace`, who has shown no more than a secret.
    pub(super) fn act_of(&self, user: Id, workspace: Id, client: Option<IpAddr>) -> Act {
        let from = client.map(ClientNetwork::of);
        Act { at: self.now(), workspace, actor: Some(user), shown: Shown::Nothing, from }
    }

    /// Somebody failed to be `user`. Told behind the answer, which must not take longer for it.
    pub(super) fn tell_of_failure(&self, user: &User, client: IpAddr) {
        let act = Act { actor: None, ..self.act_of(user.id, user.workspace, Some(client)) };
        self.parts.denials.record(act.entry(AuditAction::UserLoginFailed, on_user(user.id)));
    }
}
