//! Judges a draft: every field, every fault, not just the first.

use crate::domain::code::Code;
use crate::domain::destination::{Destination, DestinationError, DestinationPolicy};
use crate::domain::limits::{
    CLICK_LIMIT_MAX, EXTERNAL_ID_BYTES_MAX, NOTES_CHARS_MAX, TAG_CHARS_MAX, TAGS_MAX,
    TITLE_CHARS_MAX,
};
use crate::domain::link::{Link, LinkStatus, RedirectStatus};
use crate::domain::time::Timestamp;

use super::codes::{ChoiceError, CodePlan, CodesConfig};
use super::draft::{Field, FieldCode, FieldError, LinkDraft};

/// Longest `expires_in`, in seconds: a hundred years.
pub const EXPIRES_IN_MAX: u64 = 100 * 365 * 24 * 3_600;

/// What drafts are judged by.
#[derive(Clone, Debug)]
pub struct Rules {
    pub policy: DestinationPolicy,
    pub codes: CodesConfig,
    /// Name of the default domain, lower case.
    pub domain: String,
}

/// A draft that passed: what to set, and to what. An outer `None` keeps what is there.
#[derive(Clone, Debug, Default)]
pub struct Edit {
    pub destination: Option<Destination>,
    pub alias: Option<Code>,
    pub title: Option<String>,
    pub notes: Option<String>,
    pub tags: Option<Vec<String>>,
    pub status: Option<LinkStatus>,
    pub redirect_status: Option<RedirectStatus>,
    pub starts_at: Option<Option<Timestamp>>,
    pub expires_at: Option<Option<Timestamp>>,
    pub expired_url: Option<Option<Destination>>,
    pub max_clicks: Option<Option<u64>>,
    pub forward_query: Option<bool>,
    pub external_id: Option<Option<String>>,
}

impl Edit {
    /// Sets everything but the alias, which moves a link rather than changing it.
    pub fn apply(self, link: &mut Link) {
        set(&mut link.destination, self.destination);
        set(&mut link.title, self.title);
        set(&mut link.notes, self.notes);
        set(&mut link.tags, self.tags);
        set(&mut link.status, self.status);
        set(&mut link.redirect_status, self.redirect_status);
        set(&mut link.starts_at, self.starts_at);
        set(&mut link.expires_at, self.expires_at);
        set(&mut link.expired_url, self.expired_url);
        set(&mut link.max_clicks, self.max_clicks);
        set(&mut link.forward_query, self.forward_query);
        set(&mut link.external_id, self.external_id);
    }
}

fn set<T>(slot: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *slot = value;
    }
}

/// Judges a draft of a new link.
pub fn judge_new(
    draft: LinkDraft,
    rules: &Rules,
    now: Timestamp,
) -> Result<(Destination, Edit, CodePlan), Vec<FieldError>> {
    let mut judge = Judge::of(&draft, rules, now);
    if !draft.destination.is_set() && !judge.has_fault_at("destination") {
        judge.refuse("destination", FieldCode::Required, "a link needs a destination");
    }
    if draft.status.is_set() {
        judge.refuse("status", FieldCode::NotAvailable, "a new link is active");
    }
    let plan = judge.plan(&draft);
    // `null` is as good as absent here: there is nothing to clear yet.
    let mut edit = judge.edit(without_null_essentials(draft));
    judge.order_of_times(edit.starts_at.flatten(), edit.expires_at.flatten());
    match (edit.destination.take(), judge.errors.is_empty()) {
        (Some(destination), true) => Ok((destination, edit, plan)),
        _ => Err(judge.errors),
    }
}

/// Judges a draft that changes `link`.
pub fn judge_change(
    draft: LinkDraft,
    link: &Link,
    rules: &Rules,
    now: Timestamp,
) -> Result<Edit, Vec<FieldError>> {
    let mut judge = Judge::of(&draft, rules, now);
    for (name, given) in
        [("code_scheme", draft.code_scheme.is_set()), ("code_length", draft.code_length.is_set())]
    {
        if given {
            judge.refuse(
                name,
                FieldCode::NotAvailable,
                "only a new link can choose how its code is made",
            );
        }
    }
    if draft.alias == Field::Null {
        judge.refuse("alias", FieldCode::InvalidAlias, "a link cannot be without a code");
    }
    if draft.destination == Field::Null {
        judge.refuse("destination", FieldCode::Required, "a link needs a destination");
    }
    if draft.status == Field::Null {
        judge.refuse("status", FieldCode::InvalidValue, "a link is active, disabled or archived");
    }
    // Its own code is no news, and may be one that nobody could choose.
    let mut draft = draft;
    if matches!(&draft.alias, Field::Set(alias) if alias.as_bytes() == link.code.as_bytes()) {
        draft.alias = Field::Absent;
    }
    let edit = judge.edit(draft);
    if edit.starts_at.is_some() || edit.expires_at.is_some() {
        let starts_at = edit.starts_at.unwrap_or(link.starts_at);
        judge.order_of_times(starts_at, edit.expires_at.unwrap_or(link.expires_at));
    }
    if judge.errors.is_empty() { Ok(edit) } else { Err(judge.errors) }
}

fn without_null_essentials(mut draft: LinkDraft) -> LinkDraft {
    if draft.alias == Field::Null {
        draft.alias = Field::Absent;
    }
    draft
}

struct Judge<'a> {
    rules: &'a Rules,
    now: Timestamp,
    pointer: String,
    errors: Vec<FieldError>,
}

impl<'a> Judge<'a> {
    fn of(draft: &LinkDraft, rules: &'a Rules, now: Timestamp) -> Self {
        Self { rules, now, pointer: draft.pointer.clone(), errors: draft.faults.clone() }
    }

    fn refuse(&mut self, name: &str, code: FieldCode, detail: impl Into<String>) {
        self.errors.push(FieldError::new(format!("{}/{name}", self.pointer), code, detail));
    }

    fn has_fault_at(&self, name: &str) -> bool {
        let pointer = format!("{}/{name}", self.pointer);
        self.errors.iter().any(|error| error.pointer == pointer)
    }

    fn edit(&mut self, draft: LinkDraft) -> Edit {
        self.domain(&draft.domain);
        Edit {
            expires_at: self.expiry(&draft),
            destination: draft.destination.given().and_then(|url| self.url("destination", &url)),
            alias: draft.alias.given().and_then(|alias| self.alias(&alias)),
            title: self.text("title", draft.title, TITLE_CHARS_MAX, &[]),
            notes: self.text("notes", draft.notes, NOTES_CHARS_MAX, &['\n']),
            tags: self.tags(draft.tags),
            status: draft.status.given().and_then(|status| self.status(status)),
            redirect_status: match draft.redirect_status {
                Field::Absent => None,
                Field::Null => Some(RedirectStatus::default()),
                Field::Set(status) => self.redirect_status(status),
            },
            starts_at: clearable(draft.starts_at),
            expired_url: match draft.expired_url {
                Field::Absent => None,
                Field::Null => Some(None),
                Field::Set(url) => self.url("expired_url", &url).map(Some),
            },
            max_clicks: match draft.max_clicks {
                Field::Absent => None,
                Field::Null => Some(None),
                Field::Set(clicks) => self.max_clicks(clicks).map(Some),
            },
            forward_query: match draft.forward_query {
                Field::Absent => None,
                Field::Null => Some(true),
                Field::Set(forward) => Some(forward),
            },
            external_id: match draft.external_id {
                Field::Absent => None,
                Field::Null => Some(None),
                Field::Set(id) => self.external_id(id).map(Some),
            },
        }
    }

    fn url(&mut self, name: &str, text: &str) -> Option<Destination> {
        Destination::parse(text, &self.rules.policy)
            .map_err(|error| self.refuse(name, code_of(error), error.to_string()))
            .ok()
    }

    fn alias(&mut self, text: &str) -> Option<Code> {
        Code::parse_alias(text)
            .map_err(|error| self.refuse("alias", FieldCode::InvalidAlias, error.to_string()))
            .ok()
    }

    fn domain(&mut self, domain: &Field<String>) {
        if let Field::Set(name) = domain
            && !name.eq_ignore_ascii_case(&self.rules.domain)
        {
            let detail = format!("no such domain here; the default one is {}", self.rules.domain);
            self.refuse("domain", FieldCode::InvalidValue, detail);
        }
    }

    /// `null` clears to the empty text.
    fn text(
        &mut self,
        name: &str,
        field: Field<String>,
        chars_max: usize,
        allowed: &[char],
    ) -> Option<String> {
        match field {
            Field::Absent => None,
            Field::Null => Some(String::new()),
            Field::Set(text) => self.is_text(name, &text, chars_max, allowed).then_some(text),
        }
    }

    fn is_text(&mut self, name: &str, text: &str, chars_max: usize, allowed: &[char]) -> bool {
        let controlled = text.chars().any(|c| c.is_control() && !allowed.contains(&c));
        if controlled {
            let detail = "control characters are not allowed";
            self.refuse(name, FieldCode::ControlCharacter, detail);
        }
        let long = text.chars().count() > chars_max;
        if long {
            let detail = format!("at most {chars_max} characters");
            self.refuse(name, FieldCode::TooLong, detail);
        }
        !controlled && !long
    }

    /// Trims every tag and keeps the first of equal ones.
    fn tags(&mut self, field: Field<Vec<String>>) -> Option<Vec<String>> {
        let given = match field {
            Field::Absent => return None,
            Field::Null => return Some(Vec::new()),
            Field::Set(given) => given,
        };
        if given.len() > TAGS_MAX {
            self.refuse("tags", FieldCode::TooMany, format!("at most {TAGS_MAX} tags"));
            return None;
        }
        let n_errors = self.errors.len();
        let mut tags: Vec<String> = Vec::with_capacity(given.len());
        for (index, tag) in given.iter().enumerate() {
            let name = format!("tags/{index}");
            let tag = tag.trim_matches(' ');
            if tag.is_empty() {
                self.refuse(&name, FieldCode::InvalidValue, "a tag must not be empty");
            } else if self.is_text(&name, tag, TAG_CHARS_MAX, &[])
                && !tags.iter().any(|known| known == tag)
            {
                tags.push(tag.to_owned());
            }
        }
        (self.errors.len() == n_errors).then_some(tags)
    }

    fn status(&mut self, status: LinkStatus) -> Option<LinkStatus> {
        if matches!(status, LinkStatus::Blocked | LinkStatus::Deleted) {
            let detail = "a link can be set active, disabled or archived";
            self.refuse("status", FieldCode::InvalidValue, detail);
            return None;
        }
        Some(status)
    }

    fn redirect_status(&mut self, status: u64) -> Option<RedirectStatus> {
        let known = u16::try_from(status).ok().and_then(RedirectStatus::from_u16);
        if known.is_none() {
            let detail = "one of 301, 302, 303, 307 and 308";
            self.refuse("redirect_status", FieldCode::InvalidValue, detail);
        }
        known
    }

    fn max_clicks(&mut self, clicks: u64) -> Option<u64> {
        let allowed = (1..=CLICK_LIMIT_MAX).contains(&clicks);
        if !allowed {
            let detail = format!("from 1 to {CLICK_LIMIT_MAX} clicks");
            self.refuse("max_clicks", FieldCode::OutOfRange, detail);
        }
        allowed.then_some(clicks)
    }

    fn external_id(&mut self, id: String) -> Option<String> {
        let name = "external_id";
        if id.is_empty() || id.len() > EXTERNAL_ID_BYTES_MAX {
            let detail = format!("from 1 to {EXTERNAL_ID_BYTES_MAX} bytes");
            self.refuse(name, FieldCode::OutOfRange, detail);
            return None;
        }
        self.is_text(name, &id, EXTERNAL_ID_BYTES_MAX, &[]).then_some(id)
    }

    fn expiry(&mut self, draft: &LinkDraft) -> Option<Option<Timestamp>> {
        if draft.expires_at.is_set() && draft.expires_in.is_set() {
            let detail = "give either `expires_at` or `expires_in`";
            self.refuse("expires_in", FieldCode::Contradiction, detail);
            return None;
        }
        match (&draft.expires_at, &draft.expires_in) {
            (Field::Set(at), _) if *at <= self.now => {
                let detail = "a link must expire in the future";
                self.refuse("expires_at", FieldCode::OutOfRange, detail);
                None
            }
            (Field::Set(at), _) => Some(Some(*at)),
            (_, Field::Set(seconds)) if !(1..=EXPIRES_IN_MAX).contains(seconds) => {
                let detail = format!("from 1 to {EXPIRES_IN_MAX} seconds");
                self.refuse("expires_in", FieldCode::OutOfRange, detail);
                None
            }
            (_, Field::Set(seconds)) => {
                Some(Some(self.now.plus_millis(seconds.cast_signed().saturating_mul(1_000))))
            }
            (Field::Null, _) | (_, Field::Null) => Some(None),
            (Field::Absent, Field::Absent) => None,
        }
    }

    fn order_of_times(&mut self, starts_at: Option<Timestamp>, expires_at: Option<Timestamp>) {
        if let (Some(starts_at), Some(expires_at)) = (starts_at, expires_at)
            && expires_at <= starts_at
        {
            let detail = "a link must expire after it starts";
            self.refuse("expires_at", FieldCode::Contradiction, detail);
        }
    }

    fn plan(&mut self, draft: &LinkDraft) -> CodePlan {
        let codes = &self.rules.codes;
        let chosen = draft.code_scheme.clone().given();
        let scheme = codes.scheme_for(chosen).unwrap_or_else(|error| {
            self.refuse_choice("code_scheme", error);
            chosen.unwrap_or_default()
        });
        let length = codes.length_for(scheme, draft.code_length.clone().given());
        let length = length.unwrap_or_else(|error| {
            self.refuse_choice("code_length", error);
            codes.length
        });
        CodePlan { scheme, length }
    }

    fn refuse_choice(&mut self, name: &str, error: ChoiceError) {
        let code = match error {
            ChoiceError::SchemeFixed | ChoiceError::LengthFixed => FieldCode::NotAvailable,
            ChoiceError::NoLength => FieldCode::Contradiction,
            ChoiceError::LengthOutOfRange => FieldCode::OutOfRange,
        };
        self.refuse(name, code, error.to_string());
    }
}

/// A URL that leads where the operator does not want links to lead may be a good URL.
fn code_of(error: DestinationError) -> FieldCode {
    match error {
        DestinationError::Blocked => FieldCode::DestinationBlocked,
        _ => FieldCode::InvalidUrl,
    }
}

fn clearable<T>(field: Field<T>) -> Option<Option<T>> {
    match field {
        Field::Absent => None,
        Field::Null => Some(None),
        Field::Set(value) => Some(Some(value)),
    }
}

#[cfg(test)]
mod tests;
