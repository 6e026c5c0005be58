//! What a browser does at a sign-in: follows redirects, keeps cookies, fills in plain forms.

use actix_web::cookie::Cookie;
use reqwest::header::{COOKIE, HOST, HeaderMap, LOCATION, SET_COOKIE};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use url::Url;

/// More redirects in a row than any sign-in has.
const REDIRECTS_MAX: usize = 20;

/// One person's browser.
pub(crate) struct Browser {
    client: Client,
    cookies: Vec<Kept>,
    /// Origins whose requests go somewhere else, as behind a proxy.
    stand_ins: Vec<(String, String)>,
}

struct Kept {
    host: String,
    path: String,
    name: String,
    value: String,
}

/// Where a browser arrived.
pub(crate) struct Page {
    pub(crate) url: Url,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Browser {
    pub(crate) fn new() -> Self {
        let client = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .expect("a client");
        Self { client, cookies: Vec::new(), stand_ins: Vec::new() }
    }

    /// Sends requests for `site` to `address` in its place, with the site's own `Host`.
    pub(crate) fn stands_for(mut self, site: &str, address: &str) -> Self {
        self.stand_ins.push((site.to_owned(), address.to_owned()));
        self
    }

    /// The value of a cookie that `url` would get.
    pub(crate) fn cookie(&self, url: &str, name: &str) -> Option<&str> {
        let url = Url::parse(url).expect("a URL");
        let found = self.cookies.iter().find(|kept| kept.name == name && kept.goes_to(&url));
        found.map(|kept| kept.value.as_str())
    }

    /// Opens `url` and follows where it leads, but not to addresses that begin with `stop`.
    pub(crate) async fn open(&mut self, url: &str, stop: &str) -> Page {
        let url = Url::parse(url).expect("a URL");
        self.follow(Method::GET, url, &[], stop).await
    }

    /// Sends the form of `page` with `values` for the fields that people fill in.
    pub(crate) async fn submit(
        &mut self,
        page: &Page,
        values: &[(&str, &str)],
        stop: &str,
    ) -> Page {
        let form = between(&page.text, "<form", "</form>").expect("a form");
        let action = attribute(tag(form), "action").expect("a form with an action");
        let url = page.url.join(&action).expect("an action that is a URL");
        let mut fields: Vec<(String, String)> = Vec::new();
        for input in form.split("<input").skip(1).map(tag) {
            if attribute(input, "type").as_deref() == Some("hidden") {
                let field = |name| attribute(input, name).unwrap_or_default();
                fields.push((field("name"), field("value")));
            }
        }
        fields.extend(values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self.follow(Method::POST, url, &fields, stop).await
    }

    async fn follow(
        &mut self,
        mut method: Method,
        mut url: Url,
        form: &[(String, String)],
        stop: &str,
    ) -> Page {
        for _ in 0..REDIRECTS_MAX {
            let mut request = self.request(&method, &url);
            if method == Method::POST {
                request = request.form(form);
            }
            let response = request.send().await.unwrap_or_else(|error| panic!("{url}: {error}"));
            let (status, headers) = (response.status(), response.headers().clone());
            let text = response.text().await.expect("the body arrives");
            self.keep(&url, &headers);
            let location = headers.get(LOCATION).and_then(|location| location.to_str().ok());
            let next = location.map(|location| url.join(location).expect("a location"));
            match next.filter(|_| status.is_redirection()) {
                Some(next) if next.as_str().starts_with(stop) => {
                    return Page { url: next, status, headers, text };
                }
                Some(next) => (method, url) = (Method::GET, next),
                None => return Page { url, status, headers, text },
            }
        }
        panic!("redirected for ever, last to {url}");
    }

    fn request(&self, method: &Method, url: &Url) -> RequestBuilder {
        let origin = url.origin().ascii_serialization();
        let stand_in = self.stand_ins.iter().find(|(site, _)| *site == origin);
        let mut request = match stand_in {
            Some((site, address)) => {
                let target = url.as_str().replacen(site, address, 1);
                let host = url.host_str().expect("sites have hosts");
                self.client.request(method.clone(), target).header(HOST, host)
            }
            None => self.client.request(method.clone(), url.clone()),
        };
        let cookies = self.cookies.iter().filter(|kept| kept.goes_to(url));
        let cookies: Vec<String> =
            cookies.map(|kept| format!("{}={}", kept.name, kept.value)).collect();
        if !cookies.is_empty() {
            request = request.header(COOKIE, cookies.join("; "));
        }
        request
    }

    /// Keeps what an answer sets, by the rules that matter here: a `__Host-` name wants `Secure`,
    /// the whole site and no domain.
    fn keep(&mut self, url: &Url, headers: &HeaderMap) {
        let host = url.host_str().expect("a host").to_owned();
        for text in headers.get_all(SET_COOKIE) {
            let text = text.to_str().expect("a cookie of plain characters");
            let cookie = Cookie::parse(text.to_owned()).expect("a cookie");
            let path = cookie.path().unwrap_or("/").to_owned();
            let name = cookie.name().to_owned();
            if name.starts_with("__Host-") {
                let bound = cookie.secure() == Some(true) && path == "/";
                assert!(bound && cookie.domain().is_none(), "no browser takes {text}");
            }
            self.cookies.retain(|kept| (&kept.name, &kept.path) != (&name, &path));
            let ended = cookie.max_age().is_some_and(|age| age.is_zero());
            if !ended && !cookie.value().is_empty() {
                let value = cookie.value().to_owned();
                self.cookies.push(Kept { host: host.clone(), path, name, value });
            }
        }
    }
}

impl Kept {
    fn goes_to(&self, url: &Url) -> bool {
        url.host_str() == Some(self.host.as_str()) && url.path().starts_with(&self.path)
    }
}

/// Signs in at the provider's own pages as `name`, and agrees to everything. `page` is its login
/// page.
pub(crate) async fn sign_in(browser: &mut Browser, page: &Page, name: &str, stop: &str) -> Page {
    let consent = browser.submit(page, &[("login", name), ("password", "any")], stop).await;
    assert!(consent.text.contains("Continue"), "no page that asks for consent: {}", consent.text);
    browser.submit(&consent, &[], stop).await
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let rest = &text[text.find(start)?..];
    Some(&rest[..rest.find(end)?])
}

/// The tag that a text begins in the middle of.
fn tag(text: &str) -> &str {
    text.split('>').next().unwrap_or_default()
}

/// An attribute of a tag, as the tag has it: the pages here escape nothing in these.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    rest.split('"').next().map(str::to_owned)
}
