//! Settings of tokens.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::domain::problems::Problems;
use crate::domain::units::Span;

/// Characters of an issuer or an audience.
const NAME_CHARS_MAX: usize = 255;
/// Files that keys may be in.
const KEY_FILES_MAX: usize = 8;
/// Longest life of an access token.
pub(super) const ACCESS_TTL_MAX: Span = Span::from_secs(3_600);

/// `[tokens]`: what sessions of people are known by.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokensConfig {
    /// How long an access token is good for, 1m to 1h.
    pub access_ttl: Span,
    /// How long a session lasts that nobody uses, 1h to 365d.
    pub refresh_ttl: Span,
    /// Who makes access tokens, as they say it. Unset: `http.public_url`.
    pub issuer: Option<String>,
    /// Who access tokens are for, as they say it.
    pub audience: String,
    /// How far clocks of nodes may be apart, 0s to 60s: access tokens are good for so much longer.
    pub leeway: Span,
    /// PEM files with Ed25519 keys (PKCS#8, as `openssl genpkey -algorithm ed25519` makes them), up
    /// to 8: the first signs access tokens, all verify them. Empty: keys are made, kept in the
    /// store and replaced by the server.
    pub signing_key_files: Vec<PathBuf>,
    /// How long a key in the store signs before a new one is made, 1d to 365d.
    pub rotate_after: Span,
}

impl Default for TokensConfig {
    fn default() -> Self {
        Self {
            access_ttl: Span::from_secs(15 * 60),
            refresh_ttl: days(30),
            issuer: None,
            audience: "shunt".to_owned(),
            leeway: Span::from_secs(5),
            signing_key_files: Vec::new(),
            rotate_after: days(30),
        }
    }
}

impl TokensConfig {
    /// Adds a line to `problems` for every value that cannot be honoured.
    pub fn check(&self, problems: &mut Problems) {
        let (minute, hour) = (Span::from_secs(60), Span::from_secs(3_600));
        problems.range("tokens.access_ttl", self.access_ttl, minute..=ACCESS_TTL_MAX);
        problems.range("tokens.refresh_ttl", self.refresh_ttl, hour..=days(365));
        problems.range("tokens.leeway", self.leeway, Span::from_secs(0)..=minute);
        problems.range("tokens.rotate_after", self.rotate_after, days(1)..=days(365));
        for (key, span) in [("access_ttl", self.access_ttl), ("refresh_ttl", self.refresh_ttl)] {
            // Tokens tell times in seconds.
            if span.0.subsec_nanos() != 0 {
                problems.add(format!("`tokens.{key}` is {span}; it must be whole seconds"));
            }
        }
        let names = [("issuer", self.issuer.as_ref()), ("audience", Some(&self.audience))];
        for (key, name) in names {
            if name.is_some_and(|name| !is_name(name)) {
                problems.add(format!(
                    "`tokens.{key}` must be 1 to {NAME_CHARS_MAX} printable ASCII characters, \
                     none of them a space, `\"` or `\\`"
                ));
            }
        }
        if self.signing_key_files.len() > KEY_FILES_MAX {
            problems.add(format!("`tokens.signing_key_files` has more than {KEY_FILES_MAX} files"));
        }
        if self.signing_key_files.iter().any(|path| path.as_os_str().is_empty()) {
            problems.add("`tokens.signing_key_files` has a file without a name");
        }
    }

    /// What tokens say who made them, on a server with this public URL.
    pub fn issuer(&self, public_url: &str) -> String {
        let own = || public_url.trim_end_matches('/').to_owned();
        self.issuer.clone().unwrap_or_else(own)
    }
}

const fn days(days: u64) -> Span {
    Span::from_secs(days * 86_400)
}

/// True for what JSON writes without an escape, so that a token has one spelling.
fn is_name(text: &str) -> bool {
    (1..=NAME_CHARS_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn problems_of(toml: &str) -> Vec<String> {
        let mut problems = Problems::default();
        toml::from_str::<TokensConfig>(toml).unwrap().check(&mut problems);
        problems.sentences().to_vec()
    }

    #[test]
    fn the_default_settings_are_fine_and_read_back() {
        let text = toml::to_string(&TokensConfig::default()).unwrap();
        assert_eq!(problems_of(&text), Vec::<String>::new());
        assert_eq!(toml::from_str::<TokensConfig>(&text).unwrap().rotate_after, days(30));
    }

    #[test]
    fn every_bad_setting_is_named() {
        let many = format!("signing_key_files = {:?}", ["a.pem"; 9]);
        for (toml, key) in [
            ("access_ttl = '59s'", "tokens.access_ttl"),
            ("access_ttl = '61m'", "tokens.access_ttl"),
            ("access_ttl = '90500ms'", "tokens.access_ttl"),
            ("refresh_ttl = '59m'", "tokens.refresh_ttl"),
            ("refresh_ttl = '366d'", "tokens.refresh_ttl"),
            ("leeway = '61s'", "tokens.leeway"),
            ("rotate_after = '23h'", "tokens.rotate_after"),
            ("rotate_after = '366d'", "tokens.rotate_after"),
            ("issuer = ''", "tokens.issuer"),
            ("issuer = 'https://go.example/\"'", "tokens.issuer"),
            ("audience = ''", "tokens.audience"),
            ("audience = 'a\\b'", "tokens.audience"),
            ("audience = 'zwölf'", "tokens.audience"),
            ("signing_key_files = ['']", "tokens.signing_key_files"),
            (&many, "tokens.signing_key_files"),
        ] {
            let problems = problems_of(toml);
            assert_eq!(problems.len(), 1, "{toml}: {problems:?}");
            assert!(problems[0].contains(&format!("`{key}`")), "{toml}: {}", problems[0]);
        }
        assert!(problems_of("issuer = 'https://go.example'\nleeway = '0s'").is_empty());
    }

    #[test]
    fn the_issuer_is_the_public_url_unless_it_is_set() {
        let mut config = TokensConfig::default();
        assert_eq!(config.issuer("https://go.example/"), "https://go.example");
        config.issuer = Some("shunt-of-us".to_owned());
        assert_eq!(config.issuer("https://go.example/"), "shunt-of-us");
    }
}
