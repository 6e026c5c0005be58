//! Links, keys and the like, with defaults that a test changes where it matters.

use std::sync::atomic::{AtomicU64, Ordering};

use shunt::domain::api_key::{ApiKey, Scopes};
use shunt::domain::code::{Code, DomainId, LinkKey};
use shunt::domain::destination::Destination;
use shunt::domain::id::Id;
use shunt::domain::link::{CreatedVia, Link, LinkStatus, RedirectStatus};
use shunt::domain::time::Timestamp;
use shunt::storage::{ImportedLink, Workspace};

/// The workspace that most tests use.
pub(crate) const HOME: Id = Id(77);
/// A time like today's.
pub(crate) const NOW: Timestamp = Timestamp(1_780_000_000_000);

static NEXT_ID: AtomicU64 = AtomicU64::new(1 << 40);

pub(crate) fn id() -> Id {
    Id(NEXT_ID.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn key(code: &str) -> LinkKey {
    LinkKey::new(DomainId::DEFAULT, Code::parse(code.as_bytes()).unwrap())
}

pub(crate) fn url(text: &str) -> Destination {
    Destination::from_stored(text).unwrap()
}

/// A plain active link.
pub(crate) fn link(code: &str) -> Link {
    let to = url(&format!("https://example.com/{code}"));
    Link { created_at: NOW, updated_at: NOW, ..Link::plain(id(), HOME, key(code), to) }
}

/// A link with something in every field.
pub(crate) fn full_link(code: &str) -> Link {
    Link {
        domain: DomainId(3),
        title: "Späte Ernte".into(),
        notes: "line one\nline two".into(),
        tags: vec!["wine".into(), "a|b \"c\"".into()],
        status: LinkStatus::Archived,
        redirect_status: RedirectStatus::PermanentRedirect,
        starts_at: Some(NOW.plus_millis(1)),
        expires_at: Some(NOW.plus_millis(2)),
        expired_url: Some(url("https://example.com/late")),
        max_clicks: Some(1_000_000_000_000),
        forward_query: false,
        external_id: Some("crm-4711".into()),
        created_via: CreatedVia::Bulk,
        created_by: Some(Id(5)),
        updated_at: NOW.plus_millis(3),
        version: 9,
        ..link(code)
    }
}

/// The next version of a link.
pub(crate) fn next(link: &Link) -> Link {
    Link { version: link.version + 1, updated_at: link.updated_at.plus_millis(5), ..link.clone() }
}

pub(crate) fn imported(link: Link) -> ImportedLink {
    ImportedLink { link, clicks: 0, last_clicked_at: None, foreign_sealed: false, series: None }
}

pub(crate) fn workspace(id: Id) -> Workspace {
    Workspace { id, name: "home".into(), operator: true, created_at: NOW }
}

pub(crate) fn api_key(id: u64, digest: u8) -> ApiKey {
    ApiKey {
        id: Id(id),
        workspace: HOME,
        name: "ci".into(),
        prefix: "shunt_abcdef".into(),
        digest: [digest; 32],
        scopes: Scopes::EVERYTHING,
        created_at: NOW,
        expires_at: Some(NOW.plus_millis(9)),
        last_used_at: None,
        uses: 0,
        revoked_at: None,
    }
}
