//! One link in transit, in the names of the API: a row of an import or export, and the body of the
//! import call of a server. What an export writes here, an import reads back.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use crate::domain::click::ClickTotals;
use crate::domain::link::Link;
use crate::domain::time::Timestamp;

/// A row as it is written. Absent fields take the defaults of a new link.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImportRow {
    /// The code to keep, of any scheme, 1 to 50 characters; absent: one is made.
    #[serde(alias = "alias", skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Name of the served domain; absent: the default one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect_status: Option<u16>,
    /// RFC 3339, like all times here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Seconds from now on, instead of `expires_at`. No export has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expired_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_clicks: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward_query: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// How a code is made for a row that brings none, where the operator allows a choice. No export
    /// has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code_scheme: Option<String>,
    /// Characters of that code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code_length: Option<u64>,
    /// `active`, `disabled`, `archived`, `blocked` or `deleted`: a deleted link keeps its code
    /// reserved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_via: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clicks: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_clicked_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
}

impl ImportRow {
    /// Every name that a field may have.
    const FIELDS: [&str; 24] = [
        "code",
        "alias",
        "domain",
        "destination",
        "title",
        "notes",
        "tags",
        "redirect_status",
        "starts_at",
        "expires_at",
        "expires_in",
        "expired_url",
        "max_clicks",
        "forward_query",
        "external_id",
        "code_scheme",
        "code_length",
        "status",
        "created_at",
        "updated_at",
        "created_via",
        "clicks",
        "last_clicked_at",
        "version",
    ];

    /// Reads one JSON object. Fields that are not known are left out when `ignore_unknown` says so,
    /// else refused by name. Answers what is wrong with the text, for a person.
    pub fn from_json(text: &[u8], ignore_unknown: bool) -> Result<Self, String> {
        if std::str::from_utf8(text).is_err() {
            return Err("the line is not valid UTF-8".to_owned());
        }
        // An array of values in the order of the fields would be read too.
        if !text.trim_ascii_start().starts_with(b"{") {
            return Err("the line is not a JSON object".to_owned());
        }
        let parsed = if ignore_unknown {
            serde_json::from_slice::<serde_json::Map<_, _>>(text).and_then(|mut fields| {
                fields.retain(|name, _| Self::FIELDS.contains(&name.as_str()));
                serde_json::from_value(serde_json::Value::Object(fields))
            })
        } else {
            serde_json::from_slice(text)
        };
        parsed.map_err(|error| {
            // The list of all fields that were possible is in the documentation.
            let message = error.to_string();
            message.split(", expected one of").next().unwrap_or_default().to_owned()
        })
    }

    /// The row that brings `link` back as it is. The id, the workspace and the creator belong to
    /// the installation and stay behind. The default domain is left out, whatever its name.
    pub fn of(link: &Link, totals: ClickTotals) -> Self {
        let text = |text: &String| (!text.is_empty()).then(|| text.clone());
        Self {
            code: Some(link.code.to_string()),
            domain: None,
            destination: Some(link.destination.to_string()),
            title: text(&link.title),
            notes: text(&link.notes),
            tags: (!link.tags.is_empty()).then(|| link.tags.clone()),
            redirect_status: Some(link.redirect_status.as_u16()),
            starts_at: link.starts_at.map(write_time),
            expires_at: link.expires_at.map(write_time),
            expires_in: None,
            expired_url: link.expired_url.as_ref().map(ToString::to_string),
            max_clicks: link.max_clicks,
            forward_query: Some(link.forward_query),
            external_id: link.external_id.clone(),
            code_scheme: None,
            code_length: None,
            status: Some(link.status.as_str().to_owned()),
            created_at: Some(write_time(link.created_at)),
            updated_at: Some(write_time(link.updated_at)),
            created_via: Some(link.created_via.as_str().to_owned()),
            clicks: Some(totals.clicks),
            last_clicked_at: totals.last_clicked_at.map(write_time),
            version: Some(link.version),
        }
    }
}

/// RFC 3339 in UTC with `Z`, milliseconds only where there are some.
pub fn write_time(time: Timestamp) -> String {
    DateTime::<Utc>::from_timestamp_millis(time.as_millis())
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
        .to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// Reads RFC 3339 with any offset; what is finer than a millisecond is cut.
pub fn read_time(text: &str) -> Option<Timestamp> {
    let time = DateTime::parse_from_rfc3339(text).ok()?;
    Some(Timestamp(time.timestamp_millis()))
}
