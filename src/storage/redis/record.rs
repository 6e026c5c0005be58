//! A link as Redis keeps it: JSON behind a number that says which fields it has.

use serde::{Deserialize, Serialize};

use crate::domain::code::{Code, DomainId, LinkKey};
use crate::domain::destination::Destination;
use crate::domain::id::Id;
use crate::domain::link::{CreatedVia, Link, LinkStatus, RedirectStatus};
use crate::domain::time::Timestamp;

/// Counts up with every change of [`Record`]: what another version wrote is loaded anew.
const FORM: u8 = 1;

/// All of a link.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record<'a> {
    id: u64,
    workspace: u64,
    domain: u32,
    #[serde(borrow)]
    code: std::borrow::Cow<'a, str>,
    destination: std::borrow::Cow<'a, str>,
    title: std::borrow::Cow<'a, str>,
    notes: std::borrow::Cow<'a, str>,
    tags: Vec<String>,
    status: u8,
    redirect_status: u8,
    starts_at: Option<i64>,
    expires_at: Option<i64>,
    expired_url: Option<std::borrow::Cow<'a, str>>,
    max_clicks: Option<u64>,
    forward_query: bool,
    external_id: Option<String>,
    created_via: u8,
    created_by: Option<u64>,
    created_at: i64,
    updated_at: i64,
    version: u32,
}

pub(super) fn encode(link: &Link) -> Vec<u8> {
    let record = Record {
        id: link.id.0,
        workspace: link.workspace.0,
        domain: link.domain.0,
        code: link.code.as_str().into(),
        destination: link.destination.as_str().into(),
        title: link.title.as_str().into(),
        notes: link.notes.as_str().into(),
        tags: link.tags.clone(),
        status: link.status as u8,
        redirect_status: link.redirect_status as u8,
        starts_at: link.starts_at.map(Timestamp::as_millis),
        expires_at: link.expires_at.map(Timestamp::as_millis),
        expired_url: link.expired_url.as_ref().map(|url| url.as_str().into()),
        max_clicks: link.max_clicks,
        forward_query: link.forward_query,
        external_id: link.external_id.clone(),
        created_via: link.created_via as u8,
        created_by: link.created_by.map(|id| id.0),
        created_at: link.created_at.as_millis(),
        updated_at: link.updated_at.as_millis(),
        version: link.version,
    };
    let mut bytes = vec![FORM];
    // A record of numbers and texts has nothing that JSON could not say.
    if serde_json::to_writer(&mut bytes, &record).is_err() {
        bytes.clear();
    }
    bytes
}

/// The link, if it is one of this form and keeps the rules of stored links.
pub(super) fn decode(bytes: &[u8]) -> Option<Link> {
    let body = bytes.strip_prefix(&[FORM])?;
    let record: Record<'_> = serde_json::from_slice(body).ok()?;
    let key = LinkKey::new(DomainId(record.domain), Code::parse(record.code.as_bytes()).ok()?);
    let stored = |url: &str| Destination::from_stored(url).ok();
    let expired_url = match &record.expired_url {
        Some(url) => Some(stored(url)?),
        None => None,
    };
    Some(Link {
        title: record.title.into_owned(),
        notes: record.notes.into_owned(),
        tags: record.tags,
        status: LinkStatus::from_byte(record.status)?,
        redirect_status: RedirectStatus::from_byte(record.redirect_status)?,
        starts_at: record.starts_at.map(Timestamp),
        expires_at: record.expires_at.map(Timestamp),
        expired_url,
        max_clicks: record.max_clicks,
        forward_query: record.forward_query,
        external_id: record.external_id,
        created_via: CreatedVia::from_byte(record.created_via)?,
        created_by: record.created_by.map(Id),
        created_at: Timestamp(record.created_at),
        updated_at: Timestamp(record.updated_at),
        version: record.version,
        ..Link::plain(Id(record.id), Id(record.workspace), key, stored(&record.destination)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::link::tests::link;

    #[test]
    fn a_link_comes_back_field_by_field() {
        let rich = Link {
            title: "\"Ü\"".into(),
            notes: "line\nline".into(),
            tags: vec!["a".into(), "b c".into()],
            status: LinkStatus::Archived,
            redirect_status: RedirectStatus::PermanentRedirect,
            starts_at: Some(Timestamp(-1)),
            expires_at: Some(Timestamp(i64::MAX)),
            expired_url: Destination::from_stored("https://example.com/over").ok(),
            max_clicks: Some(u64::MAX),
            forward_query: false,
            external_id: Some("x".into()),
            created_via: CreatedVia::Bulk,
            created_by: Some(Id(u64::MAX)),
            created_at: Timestamp(5),
            updated_at: Timestamp(6),
            version: u32::MAX,
            ..link()
        };
        for link in [link(), rich] {
            assert_eq!(decode(&encode(&link)), Some(link));
        }
    }

    #[test]
    fn what_another_version_wrote_is_nothing() {
        let mut bytes = encode(&link());
        assert!(decode(&bytes[..bytes.len() - 1]).is_none());
        bytes[0] = FORM + 1;
        assert!(decode(&bytes).is_none());
        assert!(decode(b"").is_none());
        assert!(decode(b"\x01{}").is_none());
    }
}
