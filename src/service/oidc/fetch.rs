//! Requests to a provider: bounded in time and size, no redirect followed, no cookie kept.

use std::fmt;

use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde::de::DeserializeOwned;
use url::Url;

use super::config::{ProviderConfig, is_loopback};

/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 256 * 1_024;

/// Speaks to one provider.
pub(super) struct Fetcher {
    client: Client,
}

/// What came back, whatever its status.
pub(super) struct Fetched {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
}

/// Why nothing of use came back. Holds no text of the provider.
#[derive(Debug)]
pub(super) enum FetchError {
    /// What the HTTP client says, without the address: that may have parameters.
    Client(reqwest::Error),
    TooLarge,
    /// Another status than was hoped for. A redirect is one of them.
    Status(StatusCode),
    /// Not JSON, or not of the form that it has to have; the words are our own.
    Form(&'static str),
}

impl Fetcher {
    /// Fails when the system has no certificates to trust.
    pub(super) fn new(config: &ProviderConfig) -> Result<Self, reqwest::Error> {
        let mut builder = Client::builder()
            .timeout(config.http_timeout.0)
            .connect_timeout(config.http_timeout.0)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("shunt/", env!("CARGO_PKG_VERSION")))
            .referer(false);
        // What runs on this machine is not reached through a proxy.
        if Url::parse(&config.issuer).is_ok_and(|url| is_loopback(&url)) {
            builder = builder.no_proxy();
        }
        Ok(Self { client: builder.build()? })
    }

    /// A JSON document at `url`.
    pub(super) async fn document(&self, url: &Url) -> Result<Vec<u8>, FetchError> {
        let fetched = self.send(self.client.get(url.clone())).await?;
        if fetched.status != StatusCode::OK {
            return Err(FetchError::Status(fetched.status));
        }
        Ok(fetched.body)
    }

    /// As [`document`](Self::document), with an access token.
    pub(super) async fn document_as(&self, url: &Url, token: &str) -> Result<Vec<u8>, FetchError> {
        let fetched = self.send(self.client.get(url.clone()).bearer_auth(token)).await?;
        if fetched.status != StatusCode::OK {
            return Err(FetchError::Status(fetched.status));
        }
        Ok(fetched.body)
    }

    /// A form sent to `url`, with user and password when given.
    pub(super) async fn post_form(
        &self,
        url: &Url,
        form: &[(&str, &str)],
        basic: Option<(&str, &str)>,
    ) -> Result<Fetched, FetchError> {
        let mut request = self.client.post(url.clone()).form(form);
        if let Some((user, password)) = basic {
            request = request.basic_auth(form_encoded(user), Some(form_encoded(password)));
        }
        self.send(request).await
    }

    async fn send(&self, request: RequestBuilder) -> Result<Fetched, FetchError> {
        let request = request.header(ACCEPT, "application/json");
        let mut response =
            request.send().await.map_err(|error| FetchError::Client(error.without_url()))?;
        let status = response.status();
        let is_json = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .is_some_and(is_json_type);
        if status.is_success() && !is_json {
            return Err(FetchError::Form("the answer is not JSON"));
        }
        let mut body = Vec::new();
        loop {
            let chunk = response.chunk().await;
            let chunk = chunk.map_err(|error| FetchError::Client(error.without_url()))?;
            let Some(chunk) = chunk else { return Ok(Fetched { status, body }) };
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(FetchError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
    }
}

/// `application/json` and its relatives, such as `application/jwk-set+json`.
fn is_json_type(kind: &str) -> bool {
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// RFC 6749, 2.3.1: user and password are form-encoded before they become basic credentials.
fn form_encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// Reads JSON into a form that is known.
pub(super) fn read_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, FetchError> {
    serde_json::from_slice(body).map_err(|_| FetchError::Form("the JSON is not of the known form"))
}

impl fmt::Display for FetchError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(error) => {
                write!(out, "{error}")?;
                let mut cause = std::error::Error::source(error);
                while let Some(inner) = cause {
                    write!(out, ": {inner}")?;
                    cause = inner.source();
                }
                Ok(())
            }
            Self::TooLarge => write!(out, "the answer is larger than {ANSWER_BYTES_MAX} bytes"),
            Self::Status(status) => write!(out, "the answer has status {}", status.as_u16()),
            Self::Form(words) => out.write_str(words),
        }
    }
}
