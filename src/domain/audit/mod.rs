//! The audit log: who changed what, when and from where. People are named by id only, so that
//! the log stays whole when one of them is erased.

mod chain;
mod encoding;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use chain::{AuditHash, AuditKey, GENESIS};
pub use encoding::{decode, encode};

use super::id::Id;
use super::link::{Link, LinkStatus};
use super::network::ClientNetwork;
use super::time::Timestamp;

/// Longest detail, in bytes.
pub const DETAIL_BYTES_MAX: usize = 200;

/// An enum whose variants are stable words.
macro_rules! words {
    ($(#[doc = $doc:literal])+ $name:ident { $($variant:ident = $word:literal,)+ }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($variant,)+
        }

        impl $name {
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.as_str() == word)
            }
        }
    };
}

words! {
    /// What was done. The words are part of the log: none of them is ever changed.
    AuditAction {
        LinkCreate = "link.create",
        LinkChange = "link.change",
        LinkDelete = "link.delete",
        LinkResetClicks = "link.reset_clicks",
        LinksImport = "links.import",
        KeyCreate = "key.create",
        KeyRevoke = "key.revoke",
        UserRegister = "user.register",
        UserLogin = "user.login",
        UserLoginFailed = "user.login_failed",
        UserLogout = "user.logout",
        UserLogoutAll = "user.logout_all",
        UserPasswordChange = "user.password_change",
        UserPasswordReset = "user.password_reset",
        UserChange = "user.change",
        UserEmailVerify = "user.email_verify",
        UserErase = "user.erase",
        UserDisable = "user.disable",
        UserEnable = "user.enable",
        MemberInvite = "member.invite",
        MemberJoin = "member.join",
        MemberRole = "member.role",
        MemberRemove = "member.remove",
        WorkspaceCreate = "workspace.create",
        WorkspaceChange = "workspace.change",
        AccessDenied = "access.denied",
        SessionReuse = "session.reuse",
    }
}

words! {
    /// What kind of thing it was done to.
    TargetKind {
        Link = "link",
        ApiKey = "api_key",
        User = "user",
        Workspace = "workspace",
        Invitation = "invitation",
        Session = "session",
    }
}

/// The thing it was done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    pub kind: TargetKind,
    pub id: Id,
}

/// By what the actor was known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    Nothing,
    Key(Id),
    Session(Id),
    /// A token of a provider of identities.
    Provider,
    /// Nobody but who can reach the store's files.
    CommandLine,
}

/// Who acts, on behalf of which workspace, when and from where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Act {
    pub at: Timestamp,
    pub workspace: Id,
    /// The user, or the key that is nobody's, or the anonymous token; `None` on the command line.
    pub actor: Option<Id>,
    pub shown: Shown,
    /// Addresses themselves are not kept.
    pub from: Option<ClientNetwork>,
}

/// An entry before it has its place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditDraft {
    pub act: Act,
    pub action: AuditAction,
    pub target: Option<Target>,
    /// Version of the target before; `None` for what was not there, or has no versions.
    pub before: Option<u32>,
    /// Version of the target after; `None` for what is gone, or has no versions.
    pub after: Option<u32>,
    /// Fixed words and numbers only: nothing that a person wrote. At most [`DETAIL_BYTES_MAX`].
    pub detail: Cow<'static, str>,
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its place, from one, without gaps.
    pub seq: u64,
    /// Seals it and all that came before.
    pub hash: AuditHash,
    pub draft: AuditDraft,
}

impl Target {
    pub const fn link(id: Id) -> Self {
        Self { kind: TargetKind::Link, id }
    }

    pub const fn key(id: Id) -> Self {
        Self { kind: TargetKind::ApiKey, id }
    }
}

impl Act {
    /// What somebody does at the files of the store.
    pub const fn on_command_line(workspace: Id, at: Timestamp) -> Self {
        Self { at, workspace, actor: None, shown: Shown::CommandLine, from: None }
    }

    /// What the service does by itself, to end what somebody else began.
    pub const fn by_itself(workspace: Id, at: Timestamp) -> Self {
        Self { shown: Shown::Nothing, ..Self::on_command_line(workspace, at) }
    }

    /// The entry that says so.
    pub const fn entry(self, action: AuditAction, target: Option<Target>) -> AuditDraft {
        let detail = Cow::Borrowed("");
        AuditDraft { act: self, action, target, before: None, after: None, detail }
    }

    /// A link was made.
    pub fn created(self, link: &Link) -> AuditDraft {
        let entry = self.entry(AuditAction::LinkCreate, Some(Target::link(link.id)));
        AuditDraft { after: Some(link.version), ..entry }
    }

    /// A link was changed, moved or deleted; the detail names the fields.
    pub fn changed(self, old: &Link, new: &Link) -> AuditDraft {
        let target = Some(Target::link(new.id));
        let before = Some(old.version);
        if new.status == LinkStatus::Deleted {
            return AuditDraft { before, ..self.entry(AuditAction::LinkDelete, target) };
        }
        let entry = self.entry(AuditAction::LinkChange, target);
        AuditDraft { before, after: Some(new.version), ..entry }.saying(changed_fields(old, new))
    }

    /// Links of a batch were made.
    pub fn imported(self, created: usize, refused: usize) -> AuditDraft {
        let detail = format!("created {created}, not created {refused}");
        self.entry(AuditAction::LinksImport, None).saying(detail)
    }
}

impl AuditDraft {
    /// The same with a detail, cut to the length that is kept.
    #[must_use]
    pub fn saying(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = detail.into();
        if self.detail.len() > DETAIL_BYTES_MAX {
            let end = self.detail.floor_char_boundary(DETAIL_BYTES_MAX);
            self.detail.to_mut().truncate(end);
        }
        self
    }
}

/// Names of the fields that differ, as the API calls them.
fn changed_fields(old: &Link, new: &Link) -> String {
    let changed = [
        ("workspace", old.workspace != new.workspace),
        ("alias", old.key() != new.key()),
        ("destination", old.destination != new.destination),
        ("title", old.title != new.title),
        ("notes", old.notes != new.notes),
        ("tags", old.tags != new.tags),
        ("status", old.status != new.status),
        ("redirect_status", old.redirect_status != new.redirect_status),
        ("starts_at", old.starts_at != new.starts_at),
        ("expires_at", old.expires_at != new.expires_at),
        ("expired_url", old.expired_url != new.expired_url),
        ("max_clicks", old.max_clicks != new.max_clicks),
        ("forward_query", old.forward_query != new.forward_query),
        ("external_id", old.external_id != new.external_id),
    ];
    let names: Vec<_> = changed.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
    names.join(",")
}
