//! `[oidc]`: the providers that people may sign in with, and whose tokens are taken.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::domain::email::Email;
use crate::domain::problems::Problems;
use crate::domain::secret::Secret;
use crate::domain::units::Span;

/// More providers than a sign-in page can show.
const PROVIDERS_MAX: usize = 32;
/// Longest id: it is part of paths and of a cookie's seal.
const ID_BYTES_MAX: usize = 40;
const NAME_CHARS_MAX: usize = 80;
/// Longest value of the other texts.
const TEXT_BYTES_MAX: usize = 512;
const LIST_MAX: usize = 32;

/// `[oidc]`: signing in with an OpenID Connect provider, and tokens of such providers.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct OidcConfig {
    /// The providers, at most 32, each written as a `[[oidc.providers]]` table, or all of them as
    /// one list of tables. None: nobody signs in that way.
    pub providers: Vec<ProviderConfig>,
}

/// `[[oidc.providers]]`: one OpenID Connect provider.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderConfig {
    /// Its name in paths, 1 to 40 of `a-z`, `0-9` and `-`: sign-in begins at
    /// `/api/v1/auth/oidc/<id>/login`, and `/api/v1/auth/oidc/<id>/callback` behind
    /// `http.public_url` is the redirect URI to register with the provider.
    pub id: String,
    /// What people read on the button, 1 to 80 characters.
    pub name: String,
    /// The issuer, letter by letter as the provider writes it: an `https` URL, or `http` on this
    /// machine. `<issuer>/.well-known/openid-configuration` tells the rest.
    pub issuer: String,
    /// The client that the provider knows this installation as.
    pub client_id: String,
    /// Its secret. Unset: a public client, which proves itself by PKCE alone. A secret.
    pub client_secret: Option<Secret>,
    /// Audiences of bearer tokens that are taken in place of own access tokens, at most 32. None:
    /// no token of this provider is. A token for several audiences must name in `azp` the client
    /// above or one of these.
    pub audiences: Vec<String>,
    /// What is asked for at sign-in; `openid` must be among it.
    pub scopes: Vec<String>,
    /// How the client proves itself when it redeems a code: `basic` or `post`. Unset: `basic`,
    /// unless the provider takes only the other.
    pub token_auth: Option<TokenAuth>,
    /// Domains of e-mail addresses, in lower case, at most 32, whose people sign in with this
    /// provider and in no other way: passwords of such addresses are not taken.
    pub domains: Vec<String>,
    /// Whether somebody who is seen for the first time gets an account, within what
    /// `auth.registration` allows.
    pub provision: bool,
    /// How far the provider's clock may be off, 0s to 5m.
    pub leeway: Span,
    /// Longest to wait for one answer of the provider, 100ms to 1m.
    pub http_timeout: Span,
    /// Signatures that are taken, of `RS256`, `RS384`, `RS512`, `PS256`, `PS384`, `PS512`,
    /// `ES256`, `ES384` and `EdDSA`, each with keys of its own kind only.
    pub algorithms: Vec<SigningAlgorithm>,
}

/// `token_auth` of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenAuth {
    /// `client_secret_basic`: in the `Authorization` header.
    Basic,
    /// `client_secret_post`: in the body.
    Post,
}

/// A signature that anybody with the public key can check. Shared secrets and `none` have no name
/// here and so cannot be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[expect(missing_docs, reason = "RFC 7518 and RFC 8037 name them")]
pub enum SigningAlgorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

impl Default for ProviderConfig {
    fn default() -> Self {
        use SigningAlgorithm::{ES256, EdDSA, PS256, RS256};
        Self {
            id: String::new(),
            name: String::new(),
            issuer: String::new(),
            client_id: String::new(),
            client_secret: None,
            audiences: Vec::new(),
            scopes: ["openid", "email", "profile"].map(str::to_owned).to_vec(),
            token_auth: None,
            domains: Vec::new(),
            provision: true,
            leeway: Span::from_secs(60),
            http_timeout: Span::from_secs(10),
            algorithms: vec![RS256, ES256, EdDSA, PS256],
        }
    }
}

impl OidcConfig {
    /// Domains of addresses whose people sign in with a provider alone, with its id.
    pub fn domains(&self) -> HashMap<String, String> {
        let of = |provider: &ProviderConfig| {
            let id = provider.id.clone();
            provider.domains.clone().into_iter().map(move |domain| (domain, id.clone()))
        };
        self.providers.iter().flat_map(of).collect()
    }

    /// Adds a line to `problems` for every value that cannot be honoured.
    pub fn check(&self, problems: &mut Problems) {
        if self.providers.len() > PROVIDERS_MAX {
            let given = self.providers.len();
            problems.add(format!(
                "`oidc.providers` has {given} entries; it must have at most {PROVIDERS_MAX}"
            ));
        }
        for (place, provider) in self.providers.iter().enumerate() {
            provider.check(place, problems);
            let earlier = &self.providers[..place];
            let mut complain = |key: &str| {
                problems.add(format!(
                    "`oidc.providers[{place}].{key}` is that of an earlier provider; \
                     `oidc.providers` must not name one twice"
                ));
            };
            if earlier.iter().any(|other| other.id == provider.id) {
                complain("id");
            }
            // A token is told by its issuer: two would be one too many to choose from.
            if earlier.iter().any(|other| other.issuer == provider.issuer) {
                complain("issuer");
            }
        }
    }
}

impl ProviderConfig {
    fn check(&self, place: usize, problems: &mut Problems) {
        let key = |name: &str| format!("oidc.providers[{place}].{name}");
        let mut require = |holds: bool, name: &str, must: &str| {
            if !holds {
                problems.add(format!("`{}` must be {must} (in `oidc.providers`)", key(name)));
            }
        };
        let of_path = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_id = (1..=ID_BYTES_MAX).contains(&self.id.len()) && self.id.bytes().all(of_path);
        require(is_id, "id", "1 to 40 of `a-z`, `0-9` and `-`");
        let n_chars = self.name.chars().count();
        let is_name =
            (1..=NAME_CHARS_MAX).contains(&n_chars) && !self.name.chars().any(char::is_control);
        require(is_name, "name", "1 to 80 characters");
        let what = "an `https` URL without query and fragment, or `http` on this machine";
        require(issuer_url(&self.issuer).is_some(), "issuer", what);
        require(is_text(&self.client_id), "client_id", "1 to 512 printable characters");
        if let Some(Secret(secret)) = &self.client_secret {
            require(is_text(secret), "client_secret", "1 to 512 printable characters, or unset");
        }
        let audiences =
            self.audiences.len() <= LIST_MAX && self.audiences.iter().all(|a| is_text(a));
        require(audiences, "audiences", "at most 32 texts of 1 to 512 printable characters");
        let is_domain = |domain: &String| {
            Email::parse(&format!("a@{domain}")).is_ok() && *domain == domain.to_ascii_lowercase()
        };
        let domains = self.domains.len() <= LIST_MAX && self.domains.iter().all(is_domain);
        require(domains, "domains", "at most 32 domains in lower case");
        let is_scope = |scope: &String| {
            is_text(scope) && scope.bytes().all(|b| b.is_ascii_graphic() && !b"\"\\".contains(&b))
        };
        let scopes = self.scopes.len() <= LIST_MAX && self.scopes.iter().all(is_scope);
        let scopes = scopes && self.scopes.iter().any(|scope| scope == "openid");
        require(scopes, "scopes", "at most 32 words, `openid` among them");
        require(!self.algorithms.is_empty(), "algorithms", "at least one");
        let (least, most) = (Span::from_millis(0), Span::from_secs(300));
        problems.range(&key("leeway"), self.leeway, least..=most);
        let (least, most) = (Span::from_millis(100), Span::from_secs(60));
        problems.range(&key("http_timeout"), self.http_timeout, least..=most);
    }
}

fn is_text(text: &str) -> bool {
    (1..=TEXT_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// The issuer as a URL, if it is one that can be trusted to come from who owns the name.
fn issuer_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok().filter(|_| is_text(text))?;
    let bare = url.query().is_none() && url.username().is_empty() && url.password().is_none();
    (bare && is_protected(&url)).then_some(url)
}

/// True when nobody on the way can read or change what is sent there.
pub(super) fn is_protected(url: &Url) -> bool {
    let protected = match url.scheme() {
        "https" => url.has_host(),
        "http" => is_loopback(url),
        _ => false,
    };
    protected && url.fragment().is_none()
}

/// True for this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn good() -> ProviderConfig {
        ProviderConfig {
            id: "acme".to_owned(),
            name: "Acme".to_owned(),
            issuer: "https://login.acme.example".to_owned(),
            client_id: "shunt".to_owned(),
            ..ProviderConfig::default()
        }
    }

    fn problems_of(providers: Vec<ProviderConfig>) -> String {
        let mut problems = Problems::default();
        OidcConfig { providers }.check(&mut problems);
        problems.to_string()
    }

    #[test]
    fn no_provider_and_a_plain_one_are_fine() {
        assert_eq!(problems_of(Vec::new()), "");
        assert_eq!(problems_of(vec![good()]), "");
    }

    #[test]
    fn every_wrong_value_is_named_at_once() {
        let bad = ProviderConfig {
            audiences: vec![String::new()],
            domains: vec!["Example.com".to_owned()],
            scopes: vec!["email".to_owned()],
            client_secret: Some(Secret(String::new())),
            leeway: Span::from_secs(301),
            http_timeout: Span::from_secs(61),
            algorithms: Vec::new(),
            ..ProviderConfig::default()
        };
        let text = problems_of(vec![bad]);
        for key in [
            "id",
            "name",
            "issuer",
            "client_id",
            "client_secret",
            "audiences",
            "domains",
            "scopes",
            "algorithms",
            "leeway",
            "http_timeout",
        ] {
            assert!(text.contains(&format!("`oidc.providers[0].{key}`")), "{key}: {text}");
        }
    }

    #[test]
    fn two_providers_share_neither_id_nor_issuer() {
        let text = problems_of(vec![good(), good()]);
        assert!(text.contains("[1].id`") && text.contains("[1].issuer`"), "{text}");
    }

    #[test]
    fn an_issuer_is_protected_on_its_way() {
        for issuer in [
            "https://a.example",
            "https://a.example/realm/",
            "http://127.0.0.1:9/x",
            "http://localhost:3000",
            "http://[::1]:80",
        ] {
            assert!(issuer_url(issuer).is_some(), "{issuer}");
        }
        for issuer in [
            "http://a.example",
            "http://localhost.evil.example",
            "https://a.example/?a=b",
            "https://a.example/#f",
            "https://me:pw@a.example",
            "ftp://a.example",
            "a.example",
            "",
            "http://127.0.0.1.evil.example",
            "file:///etc/passwd",
        ] {
            assert!(issuer_url(issuer).is_none(), "{issuer}");
        }
    }

    #[test]
    fn a_list_of_tables_is_read_and_shared_secrets_cannot_be_allowed() {
        let text = "[[providers]]\nid = \"a\"\nclient_secret = \"hush\"\nalgorithms = [\"ES256\"]";
        let config: OidcConfig = toml::from_str(text).unwrap();
        assert_eq!(config.providers[0].algorithms, [SigningAlgorithm::ES256]);
        assert!(!toml::to_string(&config).unwrap().contains("hush"));
        for name in ["HS256", "none", "rs256"] {
            let text = format!("[[providers]]\nalgorithms = [\"{name}\"]");
            assert!(toml::from_str::<OidcConfig>(&text).is_err(), "{name}");
        }
    }
}
