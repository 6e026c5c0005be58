//! What a visitor sees instead of a destination: pages, or problem documents for programs.
//!
//! Everything is rendered once, at start; an answer clones a handle to the bytes. The built-in
//! pages share one file, `page.html`, and so one style sheet; each is sent complete. An operator
//! may replace each by a file in a folder.

mod template;
mod text;

use std::fs;
use std::path::{Path, PathBuf};

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::domain::problems::Problems;
use crate::http::headers::private_no_store;
use crate::http::problem::ProblemCode;
use crate::http::wire::ProblemView;

pub(crate) use template::escaped;
use template::{content_policy, fill, read_template};
pub(crate) use text::{BROKEN, CHAIN, CLOCK, Look, Page, status_of};

/// The built-in pages, all of them.
const BUILT_IN: &str = include_str!("page.html");
/// What the built-in pages load: their icon in the tab, which is part of the page.
const BUILT_IN_SOURCES: &str = "img-src data:";
/// What an operator's page may load: the pictures and letters of a brand.
const OWN_SOURCES: &str = "img-src 'self' data: https:; font-src data: https:";

/// When to try again after a 503: a store that restarts is back within seconds.
const RETRY_AFTER: &str = "5";

pub(crate) const HTML: &str = "text/html; charset=utf-8";
const PROBLEM_JSON: &str = "application/problem+json";

/// `[pages]`: what visitors see who are not redirected.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PagesConfig {
    /// Where `/` leads, and a button on the built-in pages: an http or https URL. Unset: a small
    /// page that says what this is.
    pub home_url: Option<String>,
    /// A folder with own pages: `404.html`, `410.html`, `403.html`, `429.html`, `503.html`,
    /// `home.html`; the built-in ones stand in for missing files. `{{title}}`, `{{reason}}`,
    /// `{{advice}}` and `{{status}}` are filled in. Styles go into `<style>` elements, scripts do
    /// not run, files up to 256 KiB, read at start; see `docs/pages.md`.
    pub templates: Option<PathBuf>,
}

impl PagesConfig {
    /// Adds a line to `problems` for whatever keeps the pages from being rendered.
    pub fn check(&self, problems: &mut Problems) {
        if let Err(found) = Pages::load(self) {
            for sentence in found.sentences() {
                problems.add(sentence);
            }
        }
    }
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

impl Pages {
    /// Reads the operator's templates, if any, and renders every page. The error has a sentence for
    /// each mistake, which names the setting.
    pub fn load(config: &PagesConfig) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let home_url = config
            .home_url
            .as_deref()
            .and_then(|text| parse_home_url(text).map_err(|sentence| problems.add(sentence)).ok());
        let folder = config.templates.as_deref().filter(|folder| match fs::read_dir(folder) {
            Ok(_) => true,
            Err(error) => {
                problems.add(format!("`pages.templates` is {}: {error}", folder.display()));
                false
            }
        });
        let home = home_url.as_ref().map(Url::as_str);
        let mut rendered = Vec::with_capacity(Page::ALL.len());
        for page in Page::ALL {
            match Rendered::new(page, folder, home) {
                Ok(page) => rendered.push(page),
                // Several pages share a file, whose mistake is one mistake.
                Err(sentence) if problems.sentences().contains(&sentence) => (),
                Err(sentence) => problems.add(sentence),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let home_url = home_url
            .map(|url| HeaderValue::from_str(url.as_str()).expect("a parsed URL is visible ASCII"));
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
    fn new(page: Page, folder: Option<&Path>, home_url: Option<&str>) -> Result<Self, String> {
        let text = page.text();
        let own = folder.map(|folder| render_own(page, &folder.join(page.file()))).transpose()?;
        let (html, sources) = match own.flatten() {
            Some(html) => (html, OWN_SOURCES),
            None => (render_built_in(page, home_url), BUILT_IN_SOURCES),
        };
        let policy = policy_of(&html, "'none'", sources);
        let problem = text.code.map(|code| problem_body(code, text.reason)).unwrap_or_default();
        Ok(Self { policy, html: html.into(), problem: problem.into() })
    }
}

/// The operator's page, if there is a file for it. The error names the setting and the file.
fn render_own(page: Page, path: &Path) -> Result<Option<String>, String> {
    let named = |problem| format!("`pages.templates`: {} {problem}", path.display());
    let Some(template) = read_template(path).map_err(named)? else { return Ok(None) };
    let (text, status) = (page.text(), page.status());
    let (title, reason, advice) = (escaped(text.title), escaped(text.reason), escaped(text.advice));
    let values = [
        ("title", title.as_str()),
        ("reason", &reason),
        ("advice", &advice),
        ("status", status.as_str()),
    ];
    fill(&template, &values).map(Some).map_err(named)
}

fn render_built_in(page: Page, home_url: Option<&str>) -> String {
    let text = page.text();
    let action = match (page, home_url) {
        // An empty address is the one that was asked for, query and all.
        (Page::Unavailable | Page::TooMany, _) => "<a href=\"\">Try again</a>\n".to_owned(),
        (_, Some(url)) => format!("<a href=\"{}\">Go to our website</a>\n", escaped(url)),
        (_, None) => String::new(),
    };
    let sheet = Sheet {
        look: page.look(),
        title: text.title,
        reason: text.reason,
        advice: text.advice,
        action: &action,
        status: Some(page.status()).filter(|_| page != Page::Home),
        styles: "",
    };
    sheet.html()
}

/// What a built-in page shows. Its texts are escaped, `action` is HTML.
pub(crate) struct Sheet<'a> {
    pub look: Look,
    pub title: &'a str,
    /// What happened.
    pub reason: &'a str,
    /// What the visitor can do now.
    pub advice: &'a str,
    /// What stands below the texts.
    pub action: &'a str,
    /// Shown where it is an error.
    pub status: Option<StatusCode>,
    /// Styles of what stands below the texts.
    pub styles: &'a str,
}

impl Sheet<'_> {
    pub(crate) fn html(&self) -> String {
        let code = match self.status {
            Some(status) => format!("<p class=\"code\">Error {}</p>\n", status.as_str()),
            None => String::new(),
        };
        let [title, reason, advice] = [self.title, self.reason, self.advice].map(escaped);
        let values = [
            ("title", title.as_str()),
            ("reason", &reason),
            ("advice", &advice),
            ("tone", self.look.tone),
            ("icon", self.look.icon),
            ("action", self.action),
            ("code", &code),
            ("styles", self.styles),
        ];
        fill(BUILT_IN, &values).expect("the built-in page has no other placeholders")
    }
}

/// The policy of a built-in page whose forms go to `forms`.
pub(crate) fn policy(html: &str, forms: &str) -> HeaderValue {
    policy_of(html, forms, BUILT_IN_SOURCES)
}

fn policy_of(html: &str, forms: &str, sources: &str) -> HeaderValue {
    HeaderValue::from_str(&content_policy(html, forms, sources))
        .expect("words and base 64 are a header value")
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

/// A problem as JSON.
pub(crate) fn problem_body(code: ProblemCode, reason: &str) -> Vec<u8> {
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

fn parse_home_url(text: &str) -> Result<Url, String> {
    Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"))
        .ok_or_else(|| format!("`pages.home_url` is {text:?}; it must be an http or https URL"))
}

#[cfg(test)]
mod tests;
