//! What a visitor sees instead of a destination: pages, or problem documents for programs.
//!
//! Everything is rendered once, at start; an answer clones a handle to the bytes. An operator may
//! replace each page by a file of the same name in a folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::domain::problems::Problems;
use crate::http::headers::private_no_store;
use crate::http::problem::ProblemCode;
use crate::http::wire::ProblemView;

/// Largest template, in bytes: a page is kept in memory once per reason.
const TEMPLATE_BYTES_MAX: u64 = 256 * 1_024;
/// When to try again after a 503: a store that restarts is back within seconds.
const RETRY_AFTER: &str = "5";

const HTML: &str = "text/html; charset=utf-8";
const PROBLEM_JSON: &str = "application/problem+json";

/// `[pages]`: what visitors see who are not redirected.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PagesConfig {
    /// Where `/` leads, an http or https URL. Unset: a small page that says what this is.
    pub home_url: Option<String>,
    /// A folder with own pages: `404.html`, `410.html`, `403.html`, `503.html`, `home.html`; the
    /// built-in ones stand in for missing files. `{{title}}`, `{{reason}}` and `{{status}}` are
    /// filled in. Styles go into `<style>` elements, scripts do not run, files up to 256 KiB.
    pub templates: Option<PathBuf>,
}

impl PagesConfig {
    /// Adds a line to `problems` for whatever keeps the pages from being rendered.
    pub fn check(&self, problems: &mut Problems) {
        if let Err(sentence) = Pages::load(self) {
            problems.add(sentence);
        }
    }
}

/// Every page there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Page {
    NotFound,
    Expired,
    Exhausted,
    Disabled,
    Archived,
    Blocked,
    Unavailable,
    Home,
}

/// All pages, rendered.
pub struct Pages {
    rendered: Vec<Rendered>,
    home_url: Option<HeaderValue>,
}

/// One page in both forms.
struct Rendered {
    html: Bytes,
    policy: HeaderValue,
    problem: Bytes,
}

/// What a page says, and to programs by which code.
struct Text {
    /// `None` where nothing is wrong.
    code: Option<ProblemCode>,
    title: &'static str,
    reason: &'static str,
}

impl Page {
    const ALL: [Self; 8] = [
        Self::NotFound,
        Self::Expired,
        Self::Exhausted,
        Self::Disabled,
        Self::Archived,
        Self::Blocked,
        Self::Unavailable,
        Self::Home,
    ];

    const fn text(self) -> Text {
        let (code, title, reason) = match self {
            Self::NotFound => (
                Some(ProblemCode::NotFound),
                "Link not found",
                "There is nothing at this address. Please check that the link is complete and \
                 spelled as you were given it; capital letters count.",
            ),
            Self::Expired => (
                Some(ProblemCode::LinkExpired),
                ProblemCode::LinkExpired.title(),
                "It was made to work until a certain time, and that time has passed. Please ask \
                 whoever gave it to you for a new one.",
            ),
            Self::Exhausted => (
                Some(ProblemCode::LinkExhausted),
                ProblemCode::LinkExhausted.title(),
                "It was made to work a limited number of times, and it has been opened that \
                 often. Please ask whoever gave it to you for a new one.",
            ),
            Self::Disabled => (
                Some(ProblemCode::LinkDisabled),
                ProblemCode::LinkDisabled.title(),
                "It does not lead anywhere at the moment. Please ask whoever gave it to you \
                 whether there is a new one.",
            ),
            Self::Archived => (
                Some(ProblemCode::LinkArchived),
                ProblemCode::LinkArchived.title(),
                "Its owner has put it away. Please ask whoever gave it to you whether there is a \
                 new one.",
            ),
            Self::Blocked => (
                Some(ProblemCode::LinkBlocked),
                ProblemCode::LinkBlocked.title(),
                "It was taken down to protect visitors, or because it broke the rules of this \
                 service. You have not been sent anywhere.",
            ),
            Self::Unavailable => (
                Some(ProblemCode::Unavailable),
                "Please try again in a moment",
                "This link could not be looked up just now. The link itself may well be fine; \
                 nothing is wrong on your side.",
            ),
            Self::Home => (
                None,
                "Short links live here",
                "Addresses on this site are short for longer ones elsewhere. To follow a link, \
                 open it in full, just as you were given it.",
            ),
        };
        Text { code, title, reason }
    }

    fn status(self) -> StatusCode {
        self.text().code.map_or(StatusCode::OK, status_of)
    }

    /// Name of the template and the built-in one.
    const fn template(self) -> (&'static str, &'static str) {
        match self {
            Self::NotFound => ("404.html", include_str!("404.html")),
            Self::Expired | Self::Exhausted | Self::Disabled | Self::Archived => {
                ("410.html", include_str!("410.html"))
            }
            Self::Blocked => ("403.html", include_str!("403.html")),
            Self::Unavailable => ("503.html", include_str!("503.html")),
            Self::Home => ("home.html", include_str!("home.html")),
        }
    }
}

impl Pages {
    /// Reads the operator's templates, if any, and renders every page. The error is a sentence
    /// that names the setting.
    pub fn load(config: &PagesConfig) -> Result<Self, String> {
        let home_url = config.home_url.as_deref().map(parse_home_url).transpose()?;
        if let Some(folder) = &config.templates {
            fs::read_dir(folder)
                .map_err(|error| format!("`pages.templates` is {}: {error}", folder.display()))?;
        }
        let render = |page: &Page| Rendered::new(*page, config.templates.as_deref());
        let rendered = Page::ALL.iter().map(render).collect::<Result<_, _>>()?;
        Ok(Self { rendered, home_url })
    }

    pub(crate) fn answer(&self, page: Page, as_json: bool) -> HttpResponse {
        let rendered = &self.rendered[page as usize];
        let mut answer = HttpResponse::build(page.status());
        answer.insert_header((header::CACHE_CONTROL, private_no_store()));
        if page == Page::Unavailable {
            answer.insert_header((header::RETRY_AFTER, RETRY_AFTER));
        }
        if as_json {
            answer.content_type(PROBLEM_JSON).body(rendered.problem.clone())
        } else {
            answer
                .content_type(HTML)
                .insert_header((header::CONTENT_SECURITY_POLICY, rendered.policy.clone()))
                .body(rendered.html.clone())
        }
    }

    /// The answer to `/`: the operator's site, or a page that says what this is.
    pub(crate) fn home(&self) -> HttpResponse {
        match &self.home_url {
            Some(url) => HttpResponse::Found()
                .insert_header((header::LOCATION, url.clone()))
                .insert_header((header::CACHE_CONTROL, private_no_store()))
                .finish(),
            None => self.answer(Page::Home, false),
        }
    }
}

impl Rendered {
    fn new(page: Page, folder: Option<&Path>) -> Result<Self, String> {
        let (name, built_in) = page.template();
        let own = folder.map(|folder| read_template(&folder.join(name))).transpose()?.flatten();
        let images = own.is_some();
        let text = page.text();
        let html = fill(own.as_deref().unwrap_or(built_in), page.status(), &text)
            .map_err(|problem| format!("`pages.templates`: {name} {problem}"))?;
        let policy = HeaderValue::from_str(&content_policy(&html, images))
            .expect("words and base 64 are a header value");
        let problem = text.code.map(|code| problem_body(code, text.reason)).unwrap_or_default();
        Ok(Self { policy, html: html.into(), problem: problem.into() })
    }
}

/// A problem document (RFC 9457) for what is refused before any link is looked at.
pub(crate) fn problem(code: ProblemCode, reason: &'static str) -> HttpResponse {
    HttpResponse::build(status_of(code))
        .insert_header((header::CACHE_CONTROL, private_no_store()))
        .content_type(PROBLEM_JSON)
        .body(problem_body(code, reason))
}

/// 405 with the methods that would have been right.
pub(crate) fn method_not_allowed(allowed: &'static str) -> HttpResponse {
    let reason = "This address does not take that method.";
    let mut answer = problem(ProblemCode::MethodNotAllowed, reason);
    answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    answer
}

fn status_of(code: ProblemCode) -> StatusCode {
    StatusCode::from_u16(code.status()).expect("codes have statuses of three digits")
}

fn problem_body(code: ProblemCode, reason: &str) -> Vec<u8> {
    let problem = ProblemView {
        kind: format!("/problems/{}", code.as_str()),
        title: code.title().to_owned(),
        status: code.status(),
        detail: reason.to_owned(),
        code: code.as_str().to_owned(),
        errors: Vec::new(),
    };
    serde_json::to_vec(&problem).expect("texts and a number are valid JSON")
}

fn parse_home_url(text: &str) -> Result<HeaderValue, String> {
    Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"))
        .and_then(|url| HeaderValue::from_str(url.as_str()).ok())
        .ok_or_else(|| format!("`pages.home_url` is {text:?}; it must be an http or https URL"))
}

/// An operator's template with line ends as browsers see them; `None` when there is none.
fn read_template(path: &Path) -> Result<Option<String>, String> {
    let named = |problem: &dyn std::fmt::Display| {
        format!("`pages.templates`: {} {problem}", path.display())
    };
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(named(&format_args!("cannot be read: {error}"))),
        Ok(file) if file.len() > TEMPLATE_BYTES_MAX => {
            return Err(named(&format_args!("is larger than {TEMPLATE_BYTES_MAX} bytes")));
        }
        Ok(_) => (),
    }
    let text = fs::read_to_string(path)
        .map_err(|error| named(&format_args!("cannot be read: {error}")))?;
    Ok(Some(text.replace("\r\n", "\n")))
}

/// Puts the texts in. The error says which placeholder is unknown.
fn fill(template: &str, status: StatusCode, text: &Text) -> Result<String, String> {
    let mut page = String::with_capacity(template.len() + 512);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").ok_or("has a `{{` without its `}}`")?;
        page.push_str(before);
        match name.trim() {
            "title" => push_escaped(&mut page, text.title),
            "reason" => push_escaped(&mut page, text.reason),
            "status" => page.push_str(status.as_str()),
            other => return Err(format!("has an unknown placeholder `{{{{{other}}}}}`")),
        }
        rest = after;
    }
    page.push_str(rest);
    Ok(page)
}

fn push_escaped(page: &mut String, text: &str) {
    for letter in text.chars() {
        match letter {
            '&' => page.push_str("&amp;"),
            '<' => page.push_str("&lt;"),
            '>' => page.push_str("&gt;"),
            '"' => page.push_str("&quot;"),
            '\'' => page.push_str("&#39;"),
            letter => page.push(letter),
        }
    }
}

/// Nothing may be loaded, sent or framed; the page's own styles are allowed by their digests, and
/// images to operators who bring their own page.
fn content_policy(html: &str, images: bool) -> String {
    let mut policy = String::from(
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    );
    if images {
        policy.push_str("; img-src 'self' data: https:");
    }
    let digests: Vec<String> = styles(html)
        .map(|style| format!("'sha256-{}'", BASE64.encode(Sha256::digest(style))))
        .collect();
    if !digests.is_empty() {
        policy.push_str("; style-src ");
        policy.push_str(&digests.join(" "));
    }
    policy
}

/// Contents of the `<style>` elements.
fn styles(html: &str) -> impl Iterator<Item = &str> {
    let lower = html.to_ascii_lowercase();
    let mut from = 0;
    std::iter::from_fn(move || {
        let tag = from + lower[from..].find("<style")?;
        let start = tag + lower[tag..].find('>')? + 1;
        let end = start + lower[start..].find("</style")?;
        from = end;
        Some(&html[start..end])
    })
}

#[cfg(test)]
mod tests;
