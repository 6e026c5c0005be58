//! The audit log on the wire.

use serde::Serialize;
use utoipa::ToSchema;

use super::time_text;
use crate::domain::audit::{AuditEntry, Shown};
use crate::http::openapi::shapes::{ActionWord, ShownWord, TargetWord};

/// What somebody did.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = AuditEntry)]
pub(crate) struct AuditEntryView {
    /// Its place in the log of the installation.
    #[schema(pattern = "^[0-9]{1,20}$")]
    pub(crate) id: String,
    #[schema(format = DateTime)]
    pub(crate) at: String,
    /// Id of the user, or of the key that is nobody's; null on the command line.
    pub(crate) actor: Option<String>,
    /// What was shown.
    #[schema(value_type = Option<ShownWord>)]
    pub(crate) credential: Option<&'static str>,
    pub(crate) credential_id: Option<String>,
    /// Network that it was done from: a /24 of IPv4, a /64 of IPv6.
    #[schema(examples("203.0.113.0/24"))]
    pub(crate) from: Option<String>,
    #[schema(value_type = ActionWord)]
    pub(crate) action: &'static str,
    #[schema(value_type = Option<TargetWord>)]
    pub(crate) target_type: Option<&'static str>,
    pub(crate) target_id: Option<String>,
    /// Null for what was not there before, or has no versions.
    #[schema(minimum = 1)]
    pub(crate) before_version: Option<u32>,
    /// Null for what is gone, or has no versions.
    #[schema(minimum = 1)]
    pub(crate) after_version: Option<u32>,
    /// Fields that were changed, a new role, the scope that was missing.
    pub(crate) detail: Option<String>,
    /// Seals this entry and all before it.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub(crate) hash: String,
}

/// One page of the audit log.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = AuditPage)]
pub(crate) struct AuditPageView {
    /// With filters a page may be short, or empty, although more follow.
    pub(crate) data: Vec<AuditEntryView>,
    /// Where the next page starts; null on the last.
    pub(crate) next_cursor: Option<String>,
    /// How many there are in all, as of the first page.
    pub(crate) total: u64,
}

impl From<&AuditEntry> for AuditEntryView {
    fn from(entry: &AuditEntry) -> Self {
        let AuditEntry { seq, hash, draft } = entry;
        let (credential, credential_id) = match draft.act.shown {
            Shown::Nothing => (None, None),
            Shown::Key(id) => (Some("api_key"), Some(id)),
            Shown::Session(id) => (Some("session"), Some(id)),
            Shown::CommandLine => (Some("command_line"), None),
            Shown::Provider => (Some("provider"), None),
        };
        Self {
            id: seq.to_string(),
            at: time_text(draft.act.at),
            actor: draft.act.actor.map(|id| id.to_string()),
            credential,
            credential_id: credential_id.map(|id| id.to_string()),
            from: draft.act.from.map(|network| network.to_string()),
            action: draft.action.as_str(),
            target_type: draft.target.map(|target| target.kind.as_str()),
            target_id: draft.target.map(|target| target.id.to_string()),
            before_version: draft.before,
            after_version: draft.after,
            detail: (!draft.detail.is_empty()).then(|| draft.detail.clone().into_owned()),
            hash: blake3::Hash::from(*hash).to_hex().to_string(),
        }
    }
}
