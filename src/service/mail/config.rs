//! Which mail server takes the mails, and how it is reached.

use std::io;
use std::path::PathBuf;

use lettre::message::Mailbox;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::domain::problems::Problems;
use crate::domain::secret::Secret;
use crate::domain::units::Span;

const PORT_PLAIN: u16 = 25;
const PORT_SUBMISSION: u16 = 587;
const PORT_TLS: u16 = 465;

/// `[mail]`: how mails are sent.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct MailConfig {
    /// The mail server: `smtps://user:password@host` (TLS from the start, port 465),
    /// `smtp://user:password@host?tls=required` (STARTTLS, port 587), `…?tls=opportunistic`, or
    /// `smtp://host` (no TLS, port 25). A path is the name to greet with. Unset: mails are not sent
    /// but written to the log, with the links in them. A secret.
    pub url: Option<Secret>,
    /// Who the mails are from, as in `Links <links@example.com>`. Needed with `mail.url`.
    pub from: Option<String>,
    /// A PEM file of authorities that the server's certificate may be signed by, besides those that
    /// browsers know.
    pub ca_file: Option<PathBuf>,
    /// How long the server may take to accept a connection, 1s to 2m; a whole mail may take six
    /// times as long.
    pub timeout: Span,
}

/// Why mails cannot be sent with these settings.
#[derive(Debug, thiserror::Error)]
pub enum MailStartError {
    #[error("{0}")]
    Setting(String),
    #[error("`mail.ca_file` cannot be read: {}: {error}", path.display())]
    CaFile { path: PathBuf, error: io::Error },
    #[error("`mail.ca_file` cannot be used: {}: {reason}", path.display())]
    Certificates { path: PathBuf, reason: String },
    #[error("TLS for mail cannot be set up: {0}")]
    Tls(String),
}

/// What `mail.url` says.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) security: Security,
    pub(super) login: Option<(String, String)>,
    /// Name to greet with; else the machine's.
    pub(super) hello: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Security {
    None,
    Opportunistic,
    Required,
    Wrapped,
}

impl Default for MailConfig {
    fn default() -> Self {
        Self { url: None, from: None, ca_file: None, timeout: Span::from_secs(10) }
    }
}

impl MailConfig {
    /// Adds a line to `problems` for every value that cannot be honoured.
    pub fn check(&self, problems: &mut Problems) {
        if let Err(sentence) = self.target() {
            problems.add(sentence);
        }
        if let Err(sentence) = self.sender() {
            problems.add(sentence);
        }
        if self.ca_file.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
            problems.add("`mail.ca_file` is empty; it must name a file");
        }
        problems.range("mail.timeout", self.timeout, Span::from_secs(1)..=Span::from_secs(120));
    }

    /// The server, if one is set. The sentence of a refusal repeats nothing of the URL.
    pub(super) fn target(&self) -> Result<Option<Target>, String> {
        self.url.as_ref().map(|url| Target::parse(&url.0)).transpose()
    }

    /// The sender, if one is set. A server needs one.
    pub(super) fn sender(&self) -> Result<Option<Mailbox>, String> {
        match &self.from {
            None if self.url.is_some() => {
                Err("`mail.from` is unset; with `mail.url` it must say who mails are from".into())
            }
            None => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| {
                format!("`mail.from` is {text:?}; write it like Links <links@example.com>")
            }),
        }
    }
}

impl Target {
    fn parse(text: &str) -> Result<Self, String> {
        let problem = |what: &str| format!("`mail.url` {what}");
        let url = Url::parse(text).map_err(|_| problem("is not a URL"))?;
        let host = match url.host() {
            Some(Host::Domain(name)) if !name.is_empty() => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            _ => return Err(problem("names no host")),
        };
        let mut tls = None;
        for (name, value) in url.query_pairs() {
            match name.as_ref() {
                "tls" => tls = Some(value.into_owned()),
                _ => return Err(problem("has a parameter other than `tls`")),
            }
        }
        let (security, port) = match (url.scheme(), tls.as_deref()) {
            ("smtp", None) => (Security::None, PORT_PLAIN),
            ("smtp", Some("opportunistic")) => (Security::Opportunistic, PORT_SUBMISSION),
            ("smtp", Some("required")) => (Security::Required, PORT_SUBMISSION),
            ("smtps", None | Some("required")) => (Security::Wrapped, PORT_TLS),
            ("smtp" | "smtps", Some(_)) => {
                return Err(problem("has a `tls` other than required and opportunistic"));
            }
            _ => return Err(problem("must begin with smtp:// or smtps://")),
        };
        let decoded = |part: &str| {
            let text = percent_decode_str(part).decode_utf8();
            text.map(String::from).map_err(|_| problem("has a login that is not UTF-8"))
        };
        let login = match url.password() {
            Some(password) => Some((decoded(url.username())?, decoded(password)?)),
            None if !url.username().is_empty() => {
                return Err(problem("has a user and no password"));
            }
            None => None,
        };
        // Whoever is between could read it, or take STARTTLS out of what the server offers.
        let open = matches!(security, Security::None | Security::Opportunistic);
        if login.is_some() && open && !is_this_machine(&host) {
            return Err(problem(
                "would send its password unprotected; write smtps:// or ?tls=required",
            ));
        }
        let hello = Some(url.path().trim_matches('/')).filter(|name| !name.is_empty());
        let hello = hello.map(str::to_owned);
        Ok(Self { host, port: url.port().unwrap_or(port), security, login, hello })
    }
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn problems_of(toml: &str) -> Vec<String> {
        let mut problems = Problems::default();
        toml::from_str::<MailConfig>(toml).unwrap().check(&mut problems);
        problems.sentences().to_vec()
    }

    #[test]
    fn addresses_of_servers_are_understood() {
        for (url, host, port, security) in [
            ("smtp://mail.example", "mail.example", 25, Security::None),
            ("smtp://mail.example:2525", "mail.example", 2525, Security::None),
            ("smtp://[::1]", "::1", 25, Security::None),
            ("smtp://mail.example?tls=opportunistic", "mail.example", 587, Security::Opportunistic),
            ("smtp://u:p@mail.example?tls=required", "mail.example", 587, Security::Required),
            ("smtps://u:p@mail.example", "mail.example", 465, Security::Wrapped),
            ("smtp://u:p@127.0.0.1:25", "127.0.0.1", 25, Security::None),
        ] {
            let target = Target::parse(url).ok().unwrap();
            assert_eq!(
                (target.host.as_str(), target.port, target.security),
                (host, port, security)
            );
        }
        let login = Target::parse("smtps://me%40x:p%2Fq@mail.example/node.example").ok().unwrap();
        assert_eq!(login.login, Some(("me@x".to_owned(), "p/q".to_owned())));
        assert_eq!(login.hello.as_deref(), Some("node.example"));
    }

    #[test]
    fn every_bad_setting_is_named_and_no_secret_is_repeated() {
        let from = "from = 'links@go.example'\n";
        for (toml, key) in [
            ("url = 'mail.example'", "mail.url"),
            ("url = 'https://mail.example'", "mail.url"),
            ("url = 'smtp:mail.example'", "mail.url"),
            ("url = 'smtp://mail.example?tls=maybe'", "mail.url"),
            ("url = 'smtps://mail.example?tls=opportunistic'", "mail.url"),
            ("url = 'smtp://mail.example?verify=no'", "mail.url"),
            ("url = 'smtp://hunter2@mail.example?tls=required'", "mail.url"),
            ("url = 'smtp://me:hunter2@mail.example'", "mail.url"),
            ("url = 'smtp://me:hunter2@mail.example?tls=opportunistic'", "mail.url"),
            ("ca_file = ''", "mail.ca_file"),
            ("timeout = '500ms'", "mail.timeout"),
        ] {
            let problems = problems_of(&format!("{from}{toml}"));
            assert_eq!(problems.len(), 1, "{toml}: {problems:?}");
            assert!(problems[0].contains(&format!("`{key}`")), "{toml}: {}", problems[0]);
            assert!(!problems[0].contains("hunter2"), "{}", problems[0]);
        }
        for toml in ["from = 'nobody'", "from = ''", "url = 'smtp://mail.example'"] {
            let problems = problems_of(toml);
            assert_eq!(problems.len(), 1, "{toml}: {problems:?}");
            assert!(problems[0].contains("`mail.from`"), "{toml}: {}", problems[0]);
        }
        assert_eq!(problems_of(""), Vec::<String>::new());
        assert_eq!(
            problems_of(&format!("{from}url = 'smtps://mail.example'")),
            Vec::<String>::new()
        );
    }
}
