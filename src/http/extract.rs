//! What handlers take from a request: the body, the parameters, and from `caller` who asks.

use std::collections::BTreeSet;
use std::time::Duration;

use actix_web::error::PayloadError;
use actix_web::http::header;
use actix_web::web::{Bytes, BytesMut};
use actix_web::{HttpMessage, HttpRequest, web};
use futures_util::StreamExt;
use percent_encoding::percent_decode_str;
use serde_json::Value;

pub(crate) use super::caller::{Caller, Door, shows_nothing};
use super::error::{ApiError, ProblemCode};
use super::json;
use super::wire::parse_time;
use crate::domain::limits::{
    BODY_BYTES_MAX, BULK_BODY_BYTES_MAX, PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX,
};
use crate::domain::time::Timestamp;
use crate::service::draft::{FieldCode, FieldError};
use crate::service::links::Precondition;

/// Longest time for a body to arrive.
const BODY_WAIT_MAX: Duration = Duration::from_secs(30);
/// How much of a body that is too large is read and thrown away, and for how long, before it is
/// refused: a client that is still sending would not see the answer.
const EXCESS_BYTES_MAX: usize = 2 * BULK_BODY_BYTES_MAX;
const EXCESS_WAIT_MAX: Duration = Duration::from_secs(2);
/// Most parameters in one query.
const PARAMETERS_MAX: usize = 64;
/// How much of a name is repeated that nobody knows.
const UNKNOWN_CHARS_MAX: usize = 64;
/// Versions listed in one `If-Match`.
const ETAGS_MAX: usize = 32;

/// Reads a body of at most `bytes_max` bytes and of the given media type. Kinds: 413, 415, 400.
pub(crate) async fn read_body(
    request: &HttpRequest,
    mut payload: web::Payload,
    media_type: &str,
    bytes_max: usize,
) -> Result<Bytes, ApiError> {
    check_media_type(request, media_type)?;
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > bytes_max as u64) {
        discard(&mut payload).await;
        return Err(too_large(bytes_max));
    }
    let read = tokio::time::timeout(BODY_WAIT_MAX, gather(&mut payload, bytes_max));
    let body = read.await.unwrap_or_else(|_| {
        Err(ApiError::new(ProblemCode::InvalidRequest, "the body did not arrive in time"))
    });
    if body.as_ref().is_err_and(|error| error.code() == ProblemCode::BodyTooLarge) {
        discard(&mut payload).await;
    }
    body
}

/// Reads a plain JSON body and takes it apart. Kinds: those of [`read_body`] and [`json::parse`],
/// and whatever `take` refuses.
pub(crate) async fn read_json<T>(
    request: &HttpRequest,
    payload: web::Payload,
    take: impl FnOnce(Value) -> Result<T, Vec<FieldError>>,
) -> Result<T, ApiError> {
    let body = read_body(request, payload, "application/json", BODY_BYTES_MAX).await?;
    take(json::parse(&body)?).map_err(ApiError::fields)
}

async fn gather(payload: &mut web::Payload, bytes_max: usize) -> Result<Bytes, ApiError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| match error {
            PayloadError::Overflow => too_large(bytes_max),
            _ => ApiError::new(ProblemCode::InvalidRequest, "the body broke off"),
        })?;
        if body.len() + chunk.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

async fn discard(payload: &mut web::Payload) {
    let read = async {
        let mut left = EXCESS_BYTES_MAX;
        while let Some(Ok(chunk)) = payload.next().await {
            left = left.saturating_sub(chunk.len());
            if left == 0 {
                return;
            }
        }
    };
    // However it ends, the answer follows and the connection is closed.
    let _ = tokio::time::timeout(EXCESS_WAIT_MAX, read).await;
}

fn check_media_type(request: &HttpRequest, media_type: &str) -> Result<(), ApiError> {
    let refuse = |detail: String| Err(ApiError::new(ProblemCode::UnsupportedMediaType, detail));
    let coding = request.headers().get(header::CONTENT_ENCODING);
    if coding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return refuse("send the body as it is, not compressed".to_owned());
    }
    if !request.content_type().trim().eq_ignore_ascii_case(media_type) {
        return refuse(format!("send the body with `Content-Type: {media_type}`"));
    }
    Ok(())
}

fn too_large(bytes_max: usize) -> ApiError {
    ApiError::new(ProblemCode::BodyTooLarge, format!("at most {bytes_max} bytes are taken here"))
}

/// What `If-Match` demands. Tags are those of links: a version in quotes. A weak or foreign tag
/// matches nothing.
pub(crate) fn if_match(request: &HttpRequest) -> Precondition {
    let mut values = request.headers().get_all(header::IF_MATCH).peekable();
    if values.peek().is_none() {
        return Precondition::None;
    }
    let mut versions = Vec::new();
    for value in values {
        let value = value.to_str().unwrap_or_default();
        for tag in value.split(',').map(str::trim).take(ETAGS_MAX) {
            if tag == "*" {
                return Precondition::Exists;
            }
            let version = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
            versions.extend(version.and_then(|version| version.parse::<u32>().ok()));
        }
    }
    Precondition::OneOf(versions)
}

/// The parameters of a query. Unknown ones are ignored, unless the handler refuses them; known ones
/// must make sense.
pub(crate) struct Parameters {
    pairs: Vec<(String, String)>,
    faults: Vec<FieldError>,
}

impl Parameters {
    /// Kinds: 400 for text that is not UTF-8 and for far too many parameters.
    pub(crate) fn of(request: &HttpRequest) -> Result<Self, ApiError> {
        let query = request.query_string();
        if percent_decode_str(query).decode_utf8().is_err() {
            return Err(ApiError::new(ProblemCode::InvalidRequest, "the query is not UTF-8"));
        }
        let pairs: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes())
            .take(PARAMETERS_MAX + 1)
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        if pairs.len() > PARAMETERS_MAX {
            let detail = format!("at most {PARAMETERS_MAX} parameters are taken");
            return Err(ApiError::new(ProblemCode::InvalidRequest, detail));
        }
        Ok(Self { pairs, faults: Vec::new() })
    }

    pub(crate) fn refuse(&mut self, name: &str, code: FieldCode, detail: impl Into<String>) {
        self.faults.push(FieldError::new(format!("?{name}"), code, detail));
    }

    pub(crate) fn many(&self, name: &str) -> Vec<String> {
        let named = self.pairs.iter().filter(|(given, _)| given == name);
        named.map(|(_, value)| value.clone()).collect()
    }

    pub(crate) fn one(&mut self, name: &str) -> Option<String> {
        let mut values = self.many(name);
        if values.len() > 1 {
            self.refuse(name, FieldCode::TooMany, "give this parameter once");
        }
        values.pop()
    }

    /// A text of at most `chars_max` characters without control characters.
    pub(crate) fn text(&mut self, name: &str, chars_max: usize) -> Option<String> {
        let text = self.one(name)?;
        if text.chars().count() > chars_max {
            self.refuse(name, FieldCode::TooLong, format!("at most {chars_max} characters"));
        }
        if text.chars().any(char::is_control) {
            let detail = "control characters are not allowed";
            self.refuse(name, FieldCode::ControlCharacter, detail);
        }
        Some(text)
    }

    /// One of a few words.
    pub(crate) fn word<T>(
        &mut self,
        name: &str,
        words: &[&str],
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.one(name)?;
        let value = parse(&text);
        if value.is_none() {
            self.refuse(name, FieldCode::InvalidValue, format!("one of {}", words.join(", ")));
        }
        value
    }

    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let parse = |text: &str| text.parse::<bool>().ok();
        self.word(name, &["true", "false"], parse).unwrap_or(false)
    }

    pub(crate) fn time(&mut self, name: &str) -> Option<Timestamp> {
        let text = self.one(name)?;
        // A plus sign that nobody escaped arrives as a space.
        let time = parse_time(&text).or_else(|| parse_time(&text.replace(' ', "+")));
        if time.is_none() {
            let detail = "expected a time like 2026-01-31T12:00:00Z";
            self.refuse(name, FieldCode::InvalidTime, detail);
        }
        time
    }

    /// Refuses every parameter but these: where one that is misspelt would change an answer without
    /// anybody noticing.
    pub(crate) fn only(&mut self, known: &[&str]) {
        let is_other = |name: &String| !known.contains(&name.as_str());
        let others: BTreeSet<String> =
            self.pairs.iter().map(|(name, _)| name.clone()).filter(is_other).collect();
        for name in others {
            let shown: String = name.chars().take(UNKNOWN_CHARS_MAX).collect();
            let detail = format!("there is no such parameter here; known are {}", known.join(", "));
            self.refuse(&shown, FieldCode::UnknownField, detail);
        }
    }

    /// A whole number from 1 to `max`.
    pub(crate) fn number(&mut self, name: &str, max: u32, default: u32) -> u32 {
        let Some(text) = self.one(name) else { return default };
        match text.parse::<u32>() {
            Ok(number) if (1..=max).contains(&number) => number,
            _ => {
                self.refuse(name, FieldCode::OutOfRange, format!("from 1 to {max}"));
                default
            }
        }
    }

    /// Rows of one page.
    pub(crate) fn limit(&mut self) -> u32 {
        self.number("limit", PAGE_ROWS_MAX, PAGE_ROWS_DEFAULT)
    }

    /// Fails if any parameter was refused.
    pub(crate) fn check(self) -> Result<(), ApiError> {
        if self.faults.is_empty() { Ok(()) } else { Err(ApiError::fields(self.faults)) }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn if_match_takes_lists_and_stars_and_no_weak_tags() {
        for (text, expected) in [
            ("\"3\"", Precondition::OneOf(vec![3])),
            ("\"3\", \"12\"", Precondition::OneOf(vec![3, 12])),
            ("*", Precondition::Exists),
            ("W/\"3\"", Precondition::OneOf(vec![])),
            ("3", Precondition::OneOf(vec![])),
            ("\"99999999999\"", Precondition::OneOf(vec![])),
            ("", Precondition::OneOf(vec![])),
        ] {
            let request = TestRequest::get().insert_header((header::IF_MATCH, text));
            assert_eq!(if_match(&request.to_http_request()), expected, "{text}");
        }
        assert_eq!(if_match(&TestRequest::get().to_http_request()), Precondition::None);
    }

    #[test]
    fn media_types_are_exact_and_bodies_not_compressed() {
        let check = |kind: &str, coding: Option<&str>| {
            let mut request = TestRequest::post().insert_header((header::CONTENT_TYPE, kind));
            if let Some(coding) = coding {
                request = request.insert_header((header::CONTENT_ENCODING, coding));
            }
            check_media_type(&request.to_http_request(), "application/json").is_ok()
        };
        assert!(check("application/json", None));
        assert!(check("Application/JSON; charset=utf-8", Some("identity")));
        assert!(!check("text/plain", None));
        assert!(!check("application/json", Some("gzip")));
        assert!(!check("", None));
    }

    #[test]
    fn parameters_are_judged_together() {
        let request = TestRequest::with_uri(
            "/?limit=0&flag=maybe&at=2026-01-01T00:00:00+01:00&q=a%0Ab&twice=1&twice=2&unknown=1",
        )
        .to_http_request();
        let mut parameters = Parameters::of(&request).expect("the query is UTF-8");
        parameters.limit();
        parameters.flag("flag");
        assert_eq!(parameters.time("at"), Some(Timestamp(1_767_222_000_000)));
        parameters.text("q", 10);
        parameters.one("twice");
        let named: Vec<_> = parameters.faults.iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(named, ["?limit", "?flag", "?q", "?twice"]);
        assert!(parameters.check().is_err());
        let mut parameters = Parameters::of(&request).expect("the query is UTF-8");
        parameters.only(&["limit", "flag", "at", "q"]);
        let named: Vec<_> = parameters.faults.iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(named, ["?twice", "?unknown"]);
        let request = TestRequest::with_uri("/?q=%ff").to_http_request();
        assert!(Parameters::of(&request).is_err());
    }
}
