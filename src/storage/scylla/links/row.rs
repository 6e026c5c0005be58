//! Rows of `links`, the truth: one partition for each code.

use scylla::DeserializeRow;
use scylla::value::{CqlTimestamp, CqlValue, MaybeUnset};

use super::super::ids::{signed, unsigned};
use crate::domain::code::{Code, DomainId, LinkKey};
use crate::domain::destination::Destination;
use crate::domain::id::Id;
use crate::domain::link::{CreatedVia, Link, LinkStatus, RedirectStatus};
use crate::domain::time::Timestamp;
use crate::storage::error::{Op, StorageError, StorageErrorKind, StorageResult};

/// A row as the database has it. Becomes a link through [`LinkRow::decode`] only.
#[derive(DeserializeRow)]
pub(super) struct LinkRow {
    domain: i32,
    code: String,
    id: i64,
    workspace: i64,
    version: i64,
    destination: String,
    title: String,
    notes: String,
    tags: Option<Vec<String>>,
    status: String,
    redirect_status: i32,
    starts_at: Option<CqlTimestamp>,
    expires_at: Option<CqlTimestamp>,
    expired_url: Option<String>,
    max_clicks: Option<i64>,
    forward_query: bool,
    external_id: Option<String>,
    created_via: String,
    created_by: Option<i64>,
    created_at: CqlTimestamp,
    updated_at: CqlTimestamp,
    came_from: Option<String>,
    tombstone: Option<i64>,
    moved_at: Option<CqlTimestamp>,
    moved_to: Option<String>,
}

/// What stands at a code.
pub(super) struct Standing {
    pub(super) link: Link,
    pub(super) place: Place,
}

/// Whether it is there for everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Here,
    /// It is there once it has left `from`, and left `tombstone` behind.
    Coming(Coming),
    /// What a link left behind that went to another code.
    Left {
        to: LinkKey,
    },
}

/// A link on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Coming {
    pub(super) from: LinkKey,
    pub(super) tombstone: Id,
    pub(super) since: Timestamp,
}

impl LinkRow {
    /// Kinds: `Damaged`.
    pub(super) fn decode(self, op: Op) -> StorageResult<Standing> {
        let at = format!("{}/{}", self.domain, self.code);
        let damaged = |what: &str| {
            let text = format!("the link at {at}: {what}");
            StorageError::new(StorageErrorKind::Damaged, op, text)
        };
        let place = self.place().ok_or_else(|| damaged("its move cannot be read"))?;
        let link = self.link().ok_or_else(|| damaged("a value is not one that links have"))?;
        Ok(Standing { link, place })
    }

    fn place(&self) -> Option<Place> {
        // One that went on may not be noted as arrived.
        if let Some(to) = &self.moved_to {
            return Some(Place::Left { to: parse_place(to)? });
        }
        let Some(from) = &self.came_from else { return Some(Place::Here) };
        let (from, tombstone) = (parse_place(from)?, unsigned(self.tombstone?));
        Some(Place::Coming(Coming { from, tombstone, since: time(self.moved_at?) }))
    }

    fn link(self) -> Option<Link> {
        let expired_url = match self.expired_url {
            Some(url) => Some(Destination::from_stored(&url).ok()?),
            None => None,
        };
        Some(Link {
            id: unsigned(self.id),
            workspace: unsigned(self.workspace),
            domain: DomainId(self.domain.cast_unsigned()),
            code: Code::parse(self.code.as_bytes()).ok()?,
            destination: Destination::from_stored(&self.destination).ok()?,
            title: self.title,
            notes: self.notes,
            tags: self.tags.unwrap_or_default(),
            status: LinkStatus::from_word(&self.status)?,
            redirect_status: RedirectStatus::from_u16(self.redirect_status.try_into().ok()?)?,
            starts_at: self.starts_at.map(time),
            expires_at: self.expires_at.map(time),
            expired_url,
            max_clicks: self.max_clicks.map(i64::cast_unsigned),
            forward_query: self.forward_query,
            external_id: self.external_id,
            created_via: CreatedVia::from_word(&self.created_via)?,
            created_by: self.created_by.map(unsigned),
            created_at: time(self.created_at),
            updated_at: time(self.updated_at),
            version: self.version.try_into().ok()?,
        })
    }
}

/// Values of `replace`: all columns, the key, and what must stand there.
pub(super) fn replacing(link: &Link) -> Vec<Option<CqlValue>> {
    let mut values = columns(link);
    values.extend(key_values(&link.key()).map(Some));
    values.push(Some(CqlValue::BigInt(signed(link.id))));
    values.push(Some(CqlValue::BigInt(i64::from(link.version) - 1)));
    values
}

/// Values of `insert`. What a link does not have stays unset: a null would be a tombstone.
pub(super) fn inserting(link: &Link, coming: Option<&Coming>) -> Vec<MaybeUnset<CqlValue>> {
    let mut values = columns(link);
    values.extend(key_values(&link.key()).map(Some));
    values.push(coming.map(|coming| CqlValue::Text(place_text(&coming.from))));
    values.push(coming.map(|coming| CqlValue::BigInt(signed(coming.tombstone))));
    values.push(coming.map(|coming| CqlValue::Timestamp(cql_time(coming.since))));
    let set = |value: Option<_>| value.map_or(MaybeUnset::Unset, MaybeUnset::Set);
    values.into_iter().map(set).collect()
}

/// In the order in which `insert` and `replace` begin.
fn columns(link: &Link) -> Vec<Option<CqlValue>> {
    let text = |text: &str| Some(CqlValue::Text(text.to_owned()));
    let number = |number| Some(CqlValue::BigInt(number));
    let at = |at: Timestamp| CqlValue::Timestamp(cql_time(at));
    let tags = link.tags.iter().map(|tag| CqlValue::Text(tag.clone()));
    vec![
        number(signed(link.id)),
        number(signed(link.workspace)),
        number(link.version.into()),
        text(link.destination.as_str()),
        text(&link.title),
        text(&link.notes),
        Some(CqlValue::List(tags.collect())),
        text(link.status.as_str()),
        Some(CqlValue::Int(link.redirect_status.as_u16().into())),
        link.starts_at.map(at),
        link.expires_at.map(at),
        link.expired_url.as_ref().and_then(|url| text(url.as_str())),
        link.max_clicks.map(|max| CqlValue::BigInt(max.cast_signed())),
        Some(CqlValue::Boolean(link.forward_query)),
        link.external_id.as_deref().and_then(text),
        text(link.created_via.as_str()),
        link.created_by.map(|id| CqlValue::BigInt(signed(id))),
        Some(at(link.created_at)),
        Some(at(link.updated_at)),
    ]
}

fn key_values(key: &LinkKey) -> [CqlValue; 2] {
    [CqlValue::Int(domain(key.domain)), CqlValue::Text(key.code.as_str().to_owned())]
}

/// A code with its domain, as one text.
pub(super) fn place_text(key: &LinkKey) -> String {
    format!("{}/{}", key.domain.0, key.code)
}

fn parse_place(text: &str) -> Option<LinkKey> {
    let (domain, code) = text.split_once('/')?;
    let domain = DomainId(domain.parse().ok()?);
    Some(LinkKey::new(domain, Code::parse(code.as_bytes()).ok()?))
}

/// A key of two columns.
pub(super) fn parse_key(op: Op, domain: i32, code: &str) -> StorageResult<LinkKey> {
    let code = Code::parse(code.as_bytes());
    let code = code.map_err(|error| StorageError::new(StorageErrorKind::Damaged, op, error))?;
    Ok(LinkKey::new(DomainId(domain.cast_unsigned()), code))
}

pub(super) const fn domain(domain: DomainId) -> i32 {
    domain.0.cast_signed()
}

pub(super) const fn cql_time(at: Timestamp) -> CqlTimestamp {
    CqlTimestamp(at.0)
}

pub(super) const fn time(at: CqlTimestamp) -> Timestamp {
    Timestamp(at.0)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_back() {
        let key = LinkKey::new(DomainId(u32::MAX), Code::parse(b"a-b_C").unwrap());
        assert_eq!(parse_place(&place_text(&key)), Some(key));
        for bad in ["", "1", "x/a", "1/", "1/a/b"] {
            assert_eq!(parse_place(bad), None, "{bad}");
        }
    }
}
