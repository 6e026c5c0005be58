//! Records, field by field. Ids and times are whole numbers, times in milliseconds since 1970.

use serde::{Deserialize, Serialize};

use super::Hex;
use super::clicks::{ClickLine, SumsLine, SurplusLine};
use crate::domain::code::{Code, DomainId};
use crate::domain::destination::Destination;
use crate::domain::id::Id;
use crate::domain::link::{CreatedVia, Link, LinkStatus, RedirectStatus};
use crate::domain::time::Timestamp;

macro_rules! records {
    ($($(#[doc = $doc:literal])+ $name:ident {
        $($(#[doc = $of:literal])* $field:ident: $type:ty,)+
    })+) => {$(
        $(#[doc = $doc])+
        #[derive(Clone, Deserialize, PartialEq, Eq, Serialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[doc = $of])* pub $field: $type,)+
        }
    )+};
}

records! {
    /// The secrets of the installation, as `Secrets::to_text` writes them.
    SecretsRecord {
        secrets: String,
    }
    /// The next id of a space.
    BlockRecord {
        space: String,
        next: i64,
    }
    /// The time that ids of a node may carry already.
    MarkRecord {
        node: u16,
        mark: i64,
    }
    /// A workspace.
    WorkspaceRecord {
        id: i64,
        name: String,
        operator: bool,
        created_at: i64,
        closed_at: Option<i64>,
    }
    /// `anonymous_workspace`: id of the workspace of links without an account.
    SettingRecord {
        name: String,
        value: i64,
    }
    /// A user, with the hash of the password.
    UserRecord {
        id: i64,
        email: String,
        email_verified_at: Option<i64>,
        name: String,
        password: Option<String>,
        workspace: i64,
        created_at: i64,
        updated_at: i64,
        disabled_at: Option<i64>,
    }
    /// Who a user is at a provider of identities.
    IdentityRecord {
        issuer: String,
        subject: String,
        user: i64,
        created_at: i64,
    }
    /// A client that a user signed in from, as a keyed hash.
    ClientRecord {
        user: i64,
        client: Hex,
        seen_at: i64,
    }
    /// That a user belongs to a workspace.
    MemberRecord {
        workspace: i64,
        user: i64,
        role: u8,
        joined_at: i64,
    }
    /// An offer to belong to a workspace.
    InvitationRecord {
        id: i64,
        workspace: i64,
        digest: Hex,
        email: Option<String>,
        role: u8,
        invited_by: i64,
        created_at: i64,
        expires_at: i64,
    }
    /// A sign-in.
    SessionRecord {
        id: i64,
        user: i64,
        workspace: i64,
        generation: u32,
        digest: Hex,
        client: Hex,
        created_at: i64,
        rotated_at: i64,
        expires_at: i64,
    }
    /// A one-time token, as its keyed hash.
    TicketRecord {
        digest: Hex,
        kind: u8,
        user: i64,
        created_at: i64,
        expires_at: i64,
    }
    /// An API key, as its keyed hash.
    ApiKeyRecord {
        id: i64,
        workspace: i64,
        user: Option<i64>,
        name: String,
        prefix: String,
        digest: Hex,
        scopes: u8,
        created_at: i64,
        expires_at: Option<i64>,
        revoked_at: Option<i64>,
        last_used_at: Option<i64>,
        uses: i64,
    }
    /// A key that signs access tokens, sealed. One without an end signs.
    SigningKeyRecord {
        kid: String,
        sealed: Hex,
        created_at: i64,
        retires_at: Option<i64>,
    }
    /// A session that ended, or what a user is in a workspace from a time on.
    AccessChangeRecord {
        at: i64,
        session: Option<i64>,
        workspace: Option<i64>,
        user: Option<i64>,
        role: Option<u8>,
    }
    /// An entry of the audit log with its seal.
    AuditRecord {
        seq: i64,
        at: i64,
        workspace: i64,
        body: Hex,
        hash: Hex,
    }
    /// A link.
    LinkRecord {
        id: i64,
        workspace: i64,
        domain: u32,
        code: String,
        destination: String,
        title: String,
        notes: String,
        tags: Vec<String>,
        status: String,
        redirect_status: u16,
        starts_at: Option<i64>,
        expires_at: Option<i64>,
        expired_url: Option<String>,
        max_clicks: Option<u64>,
        forward_query: bool,
        external_id: Option<String>,
        created_via: String,
        created_by: Option<i64>,
        created_at: i64,
        updated_at: i64,
        version: u32,
    }
    /// Where a link led up to and with a version.
    DestinationRecord {
        link: i64,
        version: u32,
        destination: String,
    }
    /// A domain.
    SealedRecord {
        domain: u32,
    }
    /// An imported batch: a letter for what became of each link, see `Imported::letter`.
    BatchRecord {
        digest: Hex,
        fingerprint: Hex,
        outcomes: String,
    }
    /// An answer that is kept, or the ids of a request without one.
    ReplayRecord {
        workspace: i64,
        key: String,
        fingerprint: Hex,
        at: i64,
        ids: Option<Hex>,
        status: Option<u16>,
        location: Option<String>,
        etag: Option<String>,
        body: Option<Hex>,
    }
    /// How many records of a segment are counted.
    PositionRecord {
        segment: i64,
        covered: i64,
    }
    /// A day of a link. Without sums nothing is known of it but how many people clicked.
    ClickDayRecord {
        link: i64,
        day: u32,
        people: u64,
        sums: Option<SumsLine>,
    }
    /// Some single clicks of a link on a day, and counted ones that are not kept one by one.
    ClicksRecord {
        link: i64,
        day: u32,
        /// Texts that the clicks use, the first one is number 1.
        words: Vec<String>,
        clicks: Vec<ClickLine>,
        surplus: Vec<SurplusLine>,
    }
    /// Clicks of a link in all, and those of them that imports brought along.
    ClickTotalRecord {
        link: i64,
        clicks: u64,
        brought: u64,
        last_at: Option<i64>,
    }
}

impl From<&Link> for LinkRecord {
    fn from(link: &Link) -> Self {
        let at = |at: Option<Timestamp>| at.map(Timestamp::as_millis);
        Self {
            id: link.id.0.cast_signed(),
            workspace: link.workspace.0.cast_signed(),
            domain: link.domain.0,
            code: link.code.to_string(),
            destination: link.destination.as_str().to_owned(),
            title: link.title.clone(),
            notes: link.notes.clone(),
            tags: link.tags.clone(),
            status: link.status.as_str().to_owned(),
            redirect_status: link.redirect_status.as_u16(),
            starts_at: at(link.starts_at),
            expires_at: at(link.expires_at),
            expired_url: link.expired_url.as_ref().map(|url| url.as_str().to_owned()),
            max_clicks: link.max_clicks,
            forward_query: link.forward_query,
            external_id: link.external_id.clone(),
            created_via: link.created_via.as_str().to_owned(),
            created_by: link.created_by.map(|id| id.0.cast_signed()),
            created_at: link.created_at.as_millis(),
            updated_at: link.updated_at.as_millis(),
            version: link.version,
        }
    }
}

impl LinkRecord {
    /// `None`: a value is not one that links have.
    pub fn to_link(&self) -> Option<Link> {
        let id = |id: i64| Id(id.cast_unsigned());
        let expired_url = match &self.expired_url {
            Some(url) => Some(Destination::from_stored(url).ok()?),
            None => None,
        };
        Some(Link {
            id: id(self.id),
            workspace: id(self.workspace),
            domain: DomainId(self.domain),
            code: Code::parse(self.code.as_bytes()).ok()?,
            destination: Destination::from_stored(&self.destination).ok()?,
            title: self.title.clone(),
            notes: self.notes.clone(),
            tags: self.tags.clone(),
            status: LinkStatus::from_word(&self.status)?,
            redirect_status: RedirectStatus::from_u16(self.redirect_status)?,
            starts_at: self.starts_at.map(Timestamp),
            expires_at: self.expires_at.map(Timestamp),
            expired_url,
            max_clicks: self.max_clicks,
            forward_query: self.forward_query,
            external_id: self.external_id.clone(),
            created_via: CreatedVia::from_word(&self.created_via)?,
            created_by: self.created_by.map(id),
            created_at: Timestamp(self.created_at),
            updated_at: Timestamp(self.updated_at),
            version: self.version,
        })
    }
}
