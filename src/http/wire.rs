//! What crosses the wire: JSON in and out, one type per shape. Everything here is in
//! `openapi.json`.

mod audit;
pub(crate) mod people;
mod stats;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::json::Reader;
use super::openapi::shapes::{CreatedViaWord, OutcomeWord, ScopeWord, StateWord, StatusWord};
use crate::domain::api_key::{ApiKey, KeyText, Scope, Scopes};
use crate::domain::click::ClickTotals;
use crate::domain::link::{Link, LinkStatus};
use crate::domain::scheme::CodeScheme;
use crate::domain::time::Timestamp;
use crate::service::draft::{Field, FieldCode, FieldError, LinkDraft};
use crate::service::keys::KeyDraft;

pub(crate) use audit::{AuditEntryView, AuditPageView};
pub(crate) use stats::{ClickView, StatsView, UtmView, WorkspaceStatsView};

/// Latest time that RFC 3339 can write: the end of the year 9999.
const TIME_MAX: i64 = 253_402_300_799_999;
/// What an owner may set a link to.
const STATUS_WORDS: &[&str] = &["active", "disabled", "archived"];

/// A time in UTC with milliseconds, always: equal lengths sort as they are.
pub(crate) fn time_text(time: Timestamp) -> String {
    DateTime::<Utc>::from_timestamp_millis(time.as_millis().clamp(0, TIME_MAX))
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// A time as a client writes it, from 1970 to 9999.
pub(crate) fn parse_time(text: &str) -> Option<Timestamp> {
    let millis = DateTime::parse_from_rfc3339(text).ok()?.timestamp_millis();
    (0..=TIME_MAX).contains(&millis).then_some(Timestamp(millis))
}

/// A refusal, as RFC 9457 has it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemView {
    /// `/problems/<code>`
    #[serde(rename = "type")]
    #[schema(examples("/problems/invalid_request"))]
    pub(crate) kind: String,
    pub(crate) title: String,
    #[schema(minimum = 400, maximum = 599)]
    pub(crate) status: u16,
    /// A sentence about this very refusal.
    pub(crate) detail: String,
    /// Stable and for programs.
    #[schema(examples("invalid_request"))]
    pub(crate) code: String,
    /// Each field that is not acceptable.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(crate) errors: Vec<FaultView>,
}

/// One field that is not acceptable.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Fault)]
pub(crate) struct FaultView {
    /// JSON pointer into the body, or `?name` for a parameter of the query.
    #[schema(examples("/destination"))]
    pub(crate) pointer: String,
    pub(crate) code: String,
    pub(crate) detail: String,
}

impl From<&FieldError> for FaultView {
    fn from(fault: &FieldError) -> Self {
        Self {
            pointer: fault.pointer.clone(),
            code: fault.code.as_str().to_owned(),
            detail: fault.detail.clone(),
        }
    }
}

/// A short link.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Link)]
pub(crate) struct LinkView {
    #[schema(pattern = "^[0-9]{1,20}$")]
    pub(crate) id: String,
    #[schema(min_length = 1, max_length = 50)]
    pub(crate) code: String,
    pub(crate) domain: String,
    pub(crate) short_url: String,
    pub(crate) destination: String,
    pub(crate) title: String,
    pub(crate) notes: String,
    pub(crate) tags: Vec<String>,
    /// What the owner set.
    #[schema(value_type = StatusWord)]
    pub(crate) status: &'static str,
    /// What a visitor meets now.
    #[schema(value_type = StateWord)]
    pub(crate) state: &'static str,
    pub(crate) redirect_status: u16,
    #[schema(format = DateTime)]
    pub(crate) starts_at: Option<String>,
    #[schema(format = DateTime)]
    pub(crate) expires_at: Option<String>,
    pub(crate) expired_url: Option<String>,
    pub(crate) max_clicks: Option<u64>,
    pub(crate) password_protected: bool,
    #[schema(value_type = Vec<Object>)]
    pub(crate) rules: [(); 0],
    #[schema(value_type = Option<Object>)]
    pub(crate) utm: Option<()>,
    pub(crate) forward_query: bool,
    pub(crate) external_id: Option<String>,
    #[schema(value_type = CreatedViaWord)]
    pub(crate) created_via: &'static str,
    /// The API key that created it.
    pub(crate) created_by: Option<String>,
    #[schema(format = DateTime)]
    pub(crate) created_at: String,
    #[schema(format = DateTime)]
    pub(crate) updated_at: String,
    pub(crate) clicks: u64,
    #[schema(format = DateTime)]
    pub(crate) last_clicked_at: Option<String>,
    #[schema(minimum = 1)]
    pub(crate) version: u32,
}

/// Where short links of this installation live.
#[derive(Clone, Debug)]
pub struct Site {
    /// What short URLs begin with, without the last slash.
    pub public_url: String,
    /// Name of the default domain, lower case.
    pub domain: String,
}

impl Site {
    /// The site whose short URLs begin with `public_url`.
    pub fn of(public_url: &url::Url) -> Self {
        Self {
            public_url: public_url.as_str().trim_end_matches('/').to_owned(),
            domain: public_url.host_str().unwrap_or_default().to_ascii_lowercase(),
        }
    }
}

impl LinkView {
    pub(crate) fn new(link: &Link, totals: ClickTotals, site: &Site, now: Timestamp) -> Self {
        Self {
            id: link.id.to_string(),
            code: link.code.to_string(),
            domain: site.domain.clone(),
            short_url: format!("{}/{}", site.public_url, link.code),
            destination: link.destination.to_string(),
            title: link.title.clone(),
            notes: link.notes.clone(),
            tags: link.tags.clone(),
            status: link.status.as_str(),
            state: link.state(now, totals.clicks).as_str(),
            redirect_status: link.redirect_status.as_u16(),
            starts_at: link.starts_at.map(time_text),
            expires_at: link.expires_at.map(time_text),
            expired_url: link.expired_url.as_ref().map(ToString::to_string),
            max_clicks: link.max_clicks,
            password_protected: false,
            rules: [],
            utm: None,
            forward_query: link.forward_query,
            external_id: link.external_id.clone(),
            created_via: link.created_via.as_str(),
            created_by: link.created_by.map(|id| id.to_string()),
            created_at: time_text(link.created_at),
            updated_at: time_text(link.updated_at),
            clicks: totals.clicks,
            last_clicked_at: totals.last_clicked_at.map(time_text),
            version: link.version,
        }
    }
}

/// A link that was made without an account.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = AnonymousLink)]
pub(crate) struct AnonymousLinkView {
    #[serde(flatten)]
    pub(crate) link: LinkView,
    /// What to send as `X-Anonymous-Token` to list it, to make more, and to take it over.
    #[schema(pattern = "^shunta_[0-9A-Za-z_-]{43}$")]
    pub(crate) anonymous_token: String,
    /// Links that may still be made now; null: any number.
    pub(crate) remaining: Option<u32>,
}

/// How many links were taken over.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Claimed)]
pub(crate) struct ClaimedView {
    pub(crate) claimed: u64,
}

/// Strong tag of a link: its version.
pub(crate) fn etag(link: &Link) -> String {
    format!("\"{}\"", link.version)
}

/// One page of a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Page)]
pub(crate) struct PageView<T> {
    pub(crate) data: Vec<T>,
    /// Where the next page starts; null on the last.
    pub(crate) next_cursor: Option<String>,
    /// How many there are in all.
    pub(crate) total: u64,
}

/// A tag and how many links carry it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Tag)]
pub(crate) struct TagView {
    pub(crate) tag: String,
    pub(crate) links: u64,
}

/// An API key without its text.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ApiKey)]
pub(crate) struct KeyView {
    #[schema(pattern = "^[0-9]{1,20}$")]
    pub(crate) id: String,
    pub(crate) name: String,
    /// First characters of the key, to recognise it by.
    pub(crate) prefix: String,
    #[schema(value_type = Vec<ScopeWord>)]
    pub(crate) scopes: Vec<&'static str>,
    #[schema(format = DateTime)]
    pub(crate) created_at: String,
    #[schema(format = DateTime)]
    pub(crate) expires_at: Option<String>,
    #[schema(format = DateTime)]
    pub(crate) last_used_at: Option<String>,
    pub(crate) uses: u64,
    #[schema(format = DateTime)]
    pub(crate) revoked_at: Option<String>,
}

/// An API key with its text, shown this once.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = NewApiKey)]
pub(crate) struct NewKeyView {
    #[serde(flatten)]
    pub(crate) about: KeyView,
    #[schema(pattern = "^shunt_[0-9A-Za-z]{40}_[0-9A-Za-z]{6}$")]
    pub(crate) key: String,
}

impl From<&ApiKey> for KeyView {
    fn from(key: &ApiKey) -> Self {
        Self {
            id: key.id.to_string(),
            name: key.name.clone(),
            prefix: key.prefix.clone(),
            scopes: key.scopes.iter().map(Scope::as_str).collect(),
            created_at: time_text(key.created_at),
            expires_at: key.expires_at.map(time_text),
            last_used_at: key.last_used_at.map(time_text),
            uses: key.uses,
            revoked_at: key.revoked_at.map(time_text),
        }
    }
}

impl NewKeyView {
    pub(crate) fn new(key: &ApiKey, text: &KeyText) -> Self {
        Self { about: KeyView::from(key), key: text.as_str().to_owned() }
    }
}

/// Answer to a bulk request, in the order of its links.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = BulkAnswer)]
pub(crate) struct BulkView {
    pub(crate) results: Vec<BulkItem>,
    pub(crate) created: u64,
    pub(crate) failed: u64,
}

/// A link that was created, or why it was not.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BulkItem {
    Link(Box<LinkView>),
    Error(ProblemView),
}

/// Answer to an import.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ImportAnswer)]
pub(crate) struct ImportView {
    /// One per row, the same again when the batch is sent again.
    pub(crate) results: Vec<ImportItem>,
    /// The batch was imported before; nothing was done now.
    pub(crate) replayed: bool,
}

/// What became of one row.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ImportItem {
    /// Line in the body, counted from one.
    #[schema(minimum = 1)]
    pub(crate) line: u64,
    #[schema(value_type = OutcomeWord)]
    pub(crate) outcome: &'static str,
    /// Why an invalid row is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) detail: Option<String>,
}

/// Reads a link to create or to change that stands at `pointer` in the body.
pub(crate) fn link_draft(value: Value, pointer: &str) -> LinkDraft {
    let mut reader = match Reader::open(value, pointer) {
        Ok(reader) => reader,
        Err(fault) => return broken_draft(fault, pointer),
    };
    for later in ["password", "rules", "utm"] {
        reader.not_available(later);
    }
    let scheme_words: Vec<_> = CodeScheme::ALL.iter().map(|scheme| scheme.as_str()).collect();
    LinkDraft {
        destination: reader.string("destination"),
        alias: reader.string("alias"),
        domain: reader.string("domain"),
        title: reader.string("title"),
        notes: reader.string("notes"),
        tags: reader.strings("tags"),
        status: reader.word("status", STATUS_WORDS, |word| {
            LinkStatus::from_word(word).filter(|status| STATUS_WORDS.contains(&status.as_str()))
        }),
        redirect_status: reader.count("redirect_status"),
        starts_at: reader.time("starts_at"),
        expires_at: reader.time("expires_at"),
        expires_in: reader.count("expires_in"),
        expired_url: reader.string("expired_url"),
        max_clicks: reader.count("max_clicks"),
        forward_query: reader.boolean("forward_query"),
        external_id: reader.string("external_id"),
        code_scheme: reader.word("code_scheme", &scheme_words, CodeScheme::from_word),
        code_length: reader.count("code_length"),
        faults: reader.close(),
        pointer: pointer.to_owned(),
    }
}

/// What is no object has one fault, not that and a missing destination.
fn broken_draft(fault: FieldError, pointer: &str) -> LinkDraft {
    let mut draft = LinkDraft { faults: vec![fault], ..LinkDraft::default() };
    pointer.clone_into(&mut draft.pointer);
    draft
}

/// Reads a request for a key.
pub(crate) fn key_draft(value: Value) -> Result<KeyDraft, Vec<FieldError>> {
    let mut reader = Reader::open(value, "").map_err(|fault| vec![fault])?;
    let name = match reader.string("name") {
        Field::Set(name) => name,
        Field::Null | Field::Absent => String::new(),
    };
    let mut scopes = None;
    if let Field::Set(words) = reader.strings("scopes") {
        let mut set = Scopes::default();
        for (index, word) in words.iter().enumerate() {
            match Scope::from_word(word) {
                Some(scope) => set = set.with(scope),
                None => {
                    let known: Vec<_> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
                    let detail = format!("one of {}", known.join(", "));
                    reader.refuse(&format!("scopes/{index}"), FieldCode::InvalidValue, detail);
                }
            }
        }
        scopes = Some(set);
    }
    let expires_at = reader.time("expires_at").given();
    let faults = reader.close();
    if faults.is_empty() { Ok(KeyDraft { name, scopes, expires_at }) } else { Err(faults) }
}
