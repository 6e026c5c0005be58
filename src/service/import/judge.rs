//! Judges a row: what may become a link, and why not. The rules are those of creating a link, but
//! codes may be of any kind, times may lie in the past, and states and counts come along.

use std::fmt;

use crate::domain::code::{Code, DomainId};
use crate::domain::destination::{Destination, DestinationPolicy};
use crate::domain::id::Id;
use crate::domain::limits::{
    CLICK_LIMIT_MAX, EXTERNAL_ID_BYTES_MAX, NOTES_CHARS_MAX, TAG_CHARS_MAX, TAGS_MAX,
    TITLE_CHARS_MAX,
};
use crate::domain::link::{CreatedVia, Link, LinkStatus, RedirectStatus};
use crate::domain::scheme::CodeScheme;
use crate::domain::seal::Sealer;
use crate::domain::time::Timestamp;
use crate::service::codes::{ChoiceError, CodePlan, CodesConfig};
use crate::service::validate::EXPIRES_IN_MAX;
use crate::storage::ImportedLink;

use super::NewCode;
use super::row::{ImportRow, read_time};

/// Largest version a row may bring: far from the end, so that edits go on.
const VERSION_MAX: u32 = 1_000_000_000;
/// Codes that the public listener answers itself: a link there would never be reached.
const SHADOWED: &[&str] = &["health"];

/// What rows are judged by and whose links they become.
#[derive(Clone)]
pub struct ImportContext {
    pub workspace: Id,
    /// The API key that imports, if one does.
    pub created_by: Option<Id>,
    pub policy: DestinationPolicy,
    /// Name of the default domain, lower case.
    pub domain: String,
    pub sealer: Sealer,
    /// How codes are made for rows that bring none.
    pub codes: CodesConfig,
    pub now: Timestamp,
}

/// What is wrong with a row: the first fault found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {reason}")]
pub struct RowError {
    pub field: &'static str,
    pub reason: String,
}

/// A row that may become a link, once it has an id and a code.
#[derive(Clone, Debug)]
pub struct JudgedRow {
    code: Option<Code>,
    plan: CodePlan,
    foreign_sealed: bool,
    link: Link,
    clicks: u64,
    last_clicked_at: Option<Timestamp>,
}

impl ImportRow {
    /// Checks every field.
    pub fn judge(self, context: &ImportContext) -> Result<JudgedRow, RowError> {
        let code = self.code.as_deref().map(read_code).transpose()?;
        let foreign_sealed = code
            .as_ref()
            .is_some_and(|code| code.has_sealed_shape() && context.sealer.open(code).is_none());
        let plan = plan(self.code_scheme.as_deref(), self.code_length, &context.codes)?;
        check_domain(self.domain.as_deref(), context)?;
        let destination = self.destination.as_deref().unwrap_or_default();
        let created_at = time("created_at", self.created_at.as_deref())?;
        let updated_at = time("updated_at", self.updated_at.as_deref())?;
        let version = self.version.unwrap_or(1);
        if !(1..=VERSION_MAX).contains(&version) {
            return Err(refuse("version", format_args!("must be from 1 to {VERSION_MAX}")));
        }
        let link = Link {
            id: Id(0),
            workspace: context.workspace,
            domain: DomainId::DEFAULT,
            code: code.unwrap_or_else(no_code_yet),
            destination: url("destination", destination, context)?,
            title: text("title", self.title.unwrap_or_default(), TITLE_CHARS_MAX)?,
            notes: notes(self.notes.unwrap_or_default())?,
            tags: tags(self.tags.unwrap_or_default())?,
            status: word("status", self.status.as_deref(), LinkStatus::from_word)?
                .unwrap_or(LinkStatus::Active),
            redirect_status: redirect_status(self.redirect_status)?,
            starts_at: time("starts_at", self.starts_at.as_deref())?,
            expires_at: expiry(self.expires_at.as_deref(), self.expires_in, context.now)?,
            expired_url: self
                .expired_url
                .map(|text| url("expired_url", &text, context))
                .transpose()?,
            max_clicks: self.max_clicks.map(|clicks| count("max_clicks", clicks, 1)).transpose()?,
            forward_query: self.forward_query.unwrap_or(true),
            external_id: self.external_id.map(external_id).transpose()?,
            created_via: word("created_via", self.created_via.as_deref(), CreatedVia::from_word)?
                .unwrap_or(CreatedVia::Import),
            created_by: context.created_by,
            created_at: created_at.unwrap_or(context.now),
            updated_at: updated_at.or(created_at).unwrap_or(context.now),
            version,
        };
        let clicks = count("clicks", self.clicks.unwrap_or(0), 0)?;
        let last_clicked_at = time("last_clicked_at", self.last_clicked_at.as_deref())?;
        Ok(JudgedRow { code, plan, foreign_sealed, link, clicks, last_clicked_at })
    }
}

impl JudgedRow {
    /// True when the row brings no code of its own.
    pub fn needs_code(&self) -> bool {
        self.code.is_none()
    }

    /// How its code is made when it brings none.
    pub fn plan(&self) -> CodePlan {
        self.plan
    }

    pub fn destination(&self) -> &Destination {
        &self.link.destination
    }

    /// The link, under `id`, and at `made` when the row brought no code.
    pub fn into_link(self, id: Id, made: Option<NewCode>) -> ImportedLink {
        let code = self.code.or(made.map(|made| made.code)).unwrap_or(self.link.code);
        ImportedLink {
            link: Link { id, code, ..self.link },
            clicks: self.clicks,
            last_clicked_at: self.last_clicked_at,
            foreign_sealed: self.foreign_sealed,
            series: made.and_then(|made| made.series),
        }
    }
}

/// Holds the place until a code is made; never stored.
fn no_code_yet() -> Code {
    Code::parse(b"-").expect("a dash is a code")
}

fn refuse(field: &'static str, reason: impl fmt::Display) -> RowError {
    RowError { field, reason: reason.to_string() }
}

fn read_code(text: &str) -> Result<Code, RowError> {
    if SHADOWED.contains(&text) {
        return Err(refuse("code", "is an address that the server answers itself"));
    }
    Code::parse(text.as_bytes()).map_err(|error| refuse("code", format_args!("is bad: {error}")))
}

fn plan(
    scheme: Option<&str>,
    length: Option<u64>,
    codes: &CodesConfig,
) -> Result<CodePlan, RowError> {
    let chosen = word("code_scheme", scheme, CodeScheme::from_word)?;
    let refused =
        |field| move |error: ChoiceError| refuse(field, format_args!("is refused: {error}"));
    let scheme = codes.scheme_for(chosen).map_err(refused("code_scheme"))?;
    let length = codes.length_for(scheme, length).map_err(refused("code_length"))?;
    Ok(CodePlan { scheme, length })
}

fn check_domain(name: Option<&str>, context: &ImportContext) -> Result<(), RowError> {
    match name {
        Some(name) if !name.eq_ignore_ascii_case(&context.domain) => {
            let own = &context.domain;
            Err(refuse("domain", format_args!("is not served here; the default one is {own}")))
        }
        _ => Ok(()),
    }
}

fn url(field: &'static str, text: &str, context: &ImportContext) -> Result<Destination, RowError> {
    Destination::parse(text, &context.policy)
        .map_err(|error| refuse(field, format_args!("is refused: {error}")))
}

fn text(field: &'static str, text: String, chars_max: usize) -> Result<String, RowError> {
    if text.contains(char::is_control) {
        return Err(refuse(field, "contains control characters or line breaks"));
    }
    within(field, text, chars_max)
}

/// Notes may have several lines; files from other systems end them in their own way.
fn notes(text: String) -> Result<String, RowError> {
    let text = if text.contains('\r') { text.replace("\r\n", "\n") } else { text };
    if text.contains(|c: char| c.is_control() && c != '\n') {
        return Err(refuse("notes", "contains control characters"));
    }
    within("notes", text, NOTES_CHARS_MAX)
}

fn within(field: &'static str, text: String, chars_max: usize) -> Result<String, RowError> {
    // A character has at least one byte: short texts need no counting.
    if text.len() > chars_max && text.chars().count() > chars_max {
        return Err(refuse(field, format_args!("has more than {chars_max} characters")));
    }
    Ok(text)
}

/// Trims every tag and keeps the first of equal ones, as the API does.
fn tags(given: Vec<String>) -> Result<Vec<String>, RowError> {
    if given.len() > TAGS_MAX {
        return Err(refuse("tags", format_args!("are more than {TAGS_MAX}")));
    }
    let mut tags: Vec<String> = Vec::with_capacity(given.len());
    for tag in given {
        let tag = text("tags", tag.trim_matches(' ').to_owned(), TAG_CHARS_MAX)?;
        if tag.is_empty() {
            return Err(refuse("tags", "contain an empty one"));
        }
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    Ok(tags)
}

fn external_id(id: String) -> Result<String, RowError> {
    if id.is_empty() || id.len() > EXTERNAL_ID_BYTES_MAX {
        let allowed = format_args!("must have 1 to {EXTERNAL_ID_BYTES_MAX} bytes").to_string();
        return Err(refuse("external_id", allowed));
    }
    text("external_id", id, EXTERNAL_ID_BYTES_MAX)
}

fn redirect_status(status: Option<u16>) -> Result<RedirectStatus, RowError> {
    let Some(status) = status else { return Ok(RedirectStatus::default()) };
    RedirectStatus::from_u16(status)
        .ok_or_else(|| refuse("redirect_status", "is none of 301, 302, 303, 307 and 308"))
}

fn count(field: &'static str, n_clicks: u64, least: u64) -> Result<u64, RowError> {
    if !(least..=CLICK_LIMIT_MAX).contains(&n_clicks) {
        return Err(refuse(field, format_args!("must be from {least} to {CLICK_LIMIT_MAX}")));
    }
    Ok(n_clicks)
}

fn time(field: &'static str, text: Option<&str>) -> Result<Option<Timestamp>, RowError> {
    let Some(text) = text else { return Ok(None) };
    let wrong = || refuse(field, "is not a time like 2026-01-31T12:00:00Z");
    read_time(text).map(Some).ok_or_else(wrong)
}

fn expiry(
    at: Option<&str>,
    seconds: Option<u64>,
    now: Timestamp,
) -> Result<Option<Timestamp>, RowError> {
    let Some(seconds) = seconds else { return time("expires_at", at) };
    if at.is_some() {
        return Err(refuse("expires_in", "contradicts `expires_at`; give one of them"));
    }
    if !(1..=EXPIRES_IN_MAX).contains(&seconds) {
        return Err(refuse("expires_in", format_args!("must be from 1 to {EXPIRES_IN_MAX}")));
    }
    Ok(Some(now.plus_millis(seconds.cast_signed().saturating_mul(1_000))))
}

fn word<T>(
    field: &'static str,
    text: Option<&str>,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, RowError> {
    let Some(text) = text else { return Ok(None) };
    read(text).map(Some).ok_or_else(|| refuse(field, "has a value that is not known"))
}
