//! Links as rows. Every row carries a checksum of all its fields: SQLite finds damage to its own
//! structure, but not a flipped byte in a value, and a wrong target must never be served.

use rusqlite::types::{FromSqlError, ValueRef};
use rusqlite::{Connection, Row};

use super::fault::{Fault, Outcome};
use super::{signed, unsigned, word};
use crate::domain::code::{Code, DomainId};
use crate::domain::destination::Destination;
use crate::domain::id::Id;
use crate::domain::link::{CreatedVia, Link, LinkStatus, RedirectStatus};
use crate::domain::time::Timestamp;

/// Columns of `links` in the order that [`decode`] reads and [`bind`] writes, `id` first.
pub(super) const COLUMNS: &str = "links.id, links.workspace, links.domain, links.code, \
     links.destination, links.title, links.notes, links.tags, links.status, \
     links.redirect_status, links.starts_at, links.expires_at, links.expired_url, \
     links.max_clicks, links.forward_query, links.external_id, links.created_via, \
     links.created_by, links.created_at, links.updated_at, links.version, links.checksum";

/// Number of columns; an extra one that a query selects has this index.
pub(super) const N_COLUMNS: usize = 22;

const INSERT: &str = "INSERT INTO links (id, workspace, domain, code, destination, title, notes, \
     tags, status, redirect_status, starts_at, expires_at, expired_url, max_clicks, \
     forward_query, external_id, created_via, created_by, created_at, updated_at, version, \
     checksum, destination_hash) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, \
     ?19, ?20, ?21, ?22, ?23) ON CONFLICT DO NOTHING";

const UPDATE: &str = "UPDATE OR IGNORE links SET workspace = ?2, domain = ?3, code = ?4, \
     destination = ?5, title = ?6, notes = ?7, tags = ?8, status = ?9, redirect_status = ?10, \
     starts_at = ?11, expires_at = ?12, expired_url = ?13, max_clicks = ?14, forward_query = ?15, \
     external_id = ?16, created_via = ?17, created_by = ?18, created_at = ?19, updated_at = ?20, \
     version = ?21, checksum = ?22, destination_hash = ?23 WHERE id = ?1";

/// Inserts a row. False when its code, external id or id is in use.
pub(super) fn insert(conn: &Connection, link: &Link) -> Outcome<bool> {
    bind(conn, INSERT, link)
}

/// Overwrites the row with the id of `link`. False when its code or external id is in use.
pub(super) fn update(conn: &Connection, link: &Link) -> Outcome<bool> {
    bind(conn, UPDATE, link)
}

fn bind(conn: &Connection, sql: &str, link: &Link) -> Outcome<bool> {
    let tags = encode_tags(&link.tags)?;
    let changed = conn.prepare_cached(sql)?.execute(rusqlite::params![
        signed(link.id),
        signed(link.workspace),
        link.domain.0,
        link.code.as_str(),
        link.destination.as_str(),
        link.title,
        link.notes,
        tags,
        link.status as u8,
        link.redirect_status as u8,
        link.starts_at.map(Timestamp::as_millis),
        link.expires_at.map(Timestamp::as_millis),
        link.expired_url.as_ref().map(Destination::as_str),
        link.max_clicks.map(|max| max as i64),
        link.forward_query,
        link.external_id,
        link.created_via as u8,
        link.created_by.map(signed),
        link.created_at.as_millis(),
        link.updated_at.as_millis(),
        link.version,
        checksum(link),
        destination_hash(link.workspace, link.domain, link.destination.as_str()),
    ])?;
    Ok(changed == 1)
}

/// Reads a row selected by [`COLUMNS`] and checks it. Everything odd is damage of this row alone.
pub(super) fn decode(row: &Row<'_>) -> Outcome<Link> {
    let damaged = |fault: Fault| match row.get_ref(0) {
        Ok(ValueRef::Integer(id)) => Fault::Damaged(format!("link {id}: {fault}")),
        _ => fault,
    };
    let link = decode_fields(row).map_err(damaged)?;
    let kept: u32 = row.get(21).map_err(|error| damaged(error.into()))?;
    if kept != checksum(&link) {
        return Err(Fault::Damaged(format!("link {}: its checksum does not fit", link.id)));
    }
    Ok(link)
}

fn decode_fields(row: &Row<'_>) -> Outcome<Link> {
    let byte = |index: usize| row.get::<_, u8>(index);
    let time = |index: usize| Ok::<_, Fault>(row.get::<_, Option<i64>>(index)?.map(Timestamp));
    let code = Code::parse(text(row, 3)?.as_bytes()).map_err(|e| Fault::corrupt(e.to_string()))?;
    let expired_url = match row.get_ref(12)? {
        ValueRef::Null => None,
        _ => Some(destination(text(row, 12)?)?),
    };
    let tags = match row.get_ref(7)? {
        ValueRef::Null => Vec::new(),
        _ => decode_tags(text(row, 7)?)?,
    };
    let (status, redirect_status, via) = (byte(8)?, byte(9)?, byte(16)?);
    Ok(Link {
        id: unsigned(row.get(0)?),
        workspace: unsigned(row.get(1)?),
        domain: DomainId(row.get(2)?),
        code,
        destination: destination(text(row, 4)?)?,
        title: row.get(5)?,
        notes: row.get(6)?,
        tags,
        status: word(LinkStatus::from_byte(status), "status", status.into())?,
        redirect_status: word(
            RedirectStatus::from_byte(redirect_status),
            "redirect status",
            redirect_status.into(),
        )?,
        starts_at: time(10)?,
        expires_at: time(11)?,
        expired_url,
        max_clicks: row.get::<_, Option<i64>>(13)?.map(|max| max as u64),
        forward_query: row.get(14)?,
        external_id: row.get(15)?,
        created_via: word(CreatedVia::from_byte(via), "way in", via.into())?,
        created_by: row.get::<_, Option<i64>>(17)?.map(unsigned),
        created_at: Timestamp(row.get(18)?),
        updated_at: Timestamp(row.get(19)?),
        version: row.get(20)?,
    })
}

/// Text of a column without a copy.
fn text<'a>(row: &'a Row<'_>, index: usize) -> Outcome<&'a str> {
    row.get_ref(index)?.as_str().map_err(|error: FromSqlError| Fault::corrupt(error.to_string()))
}

fn destination(text: &str) -> Outcome<Destination> {
    Destination::from_stored(text).map_err(|error| Fault::corrupt(error.to_string()))
}

/// Tags as a JSON list; no tags are NULL.
pub(super) fn encode_tags(tags: &[String]) -> Outcome<Option<String>> {
    if tags.is_empty() {
        return Ok(None);
    }
    let text = serde_json::to_string(tags).map_err(|error| Fault::Invalid(error.to_string()))?;
    Ok(Some(text))
}

pub(super) fn decode_tags(text: &str) -> Outcome<Vec<String>> {
    serde_json::from_str(text).map_err(|error| Fault::corrupt(format!("tags: {error}")))
}

/// What the index by destination holds: eight bytes instead of up to eight thousand.
pub(super) fn destination_hash(workspace: Id, domain: DomainId, destination: &str) -> i64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&workspace.0.to_le_bytes());
    hasher.update(&domain.0.to_le_bytes());
    hasher.update(destination.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    i64::from_le_bytes(first)
}

/// CRC-32 of every field in column order, each text with its length before it. Part of the format.
fn checksum(link: &Link) -> u32 {
    // One pass over one buffer: many small updates would cost more than the sum itself.
    let mut bytes = Vec::with_capacity(384);
    let time = |at: Option<Timestamp>| at.map_or(u64::MAX, |at| at.as_millis() as u64);
    let flags = [
        link.status as u8,
        link.redirect_status as u8,
        link.created_via as u8,
        link.forward_query.into(),
        link.expired_url.is_some().into(),
        link.external_id.is_some().into(),
        link.created_by.is_some().into(),
        link.max_clicks.is_some().into(),
    ];
    let numbers = [
        link.id.0,
        link.workspace.0,
        link.domain.0.into(),
        link.version.into(),
        u64::from_le_bytes(flags),
        time(link.starts_at),
        time(link.expires_at),
        link.max_clicks.unwrap_or(0),
        link.created_by.map_or(0, |id| id.0),
        link.created_at.as_millis() as u64,
        link.updated_at.as_millis() as u64,
    ];
    for number in numbers {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    let texts = [link.code.as_str(), link.destination.as_str(), &link.title, &link.notes];
    let rare = [link.expired_url.as_ref().map(Destination::as_str), link.external_id.as_deref()];
    let tags = link.tags.iter().map(String::as_str);
    for text in texts.into_iter().chain(rare.into_iter().flatten()).chain(tags) {
        bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    crc32fast::hash(&bytes)
}
