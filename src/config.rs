//! Configuration: file and environment into every module's section.
//!
//! Order: defaults, then the file, then the environment (`SHUNT_<SECTION>__<KEY>`). Every value is
//! tried by itself, so that one run names every mistake and where it was written.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::actors::clicks::ClicksConfig;
use crate::actors::links::LinksConfig;
use crate::domain::problems::Problems;
use crate::domain::secret::MASK;
use crate::http::{HttpConfig, OpsConfig, PagesConfig, RedirectConfig};
use crate::service::anonymous::AnonymousConfig;
use crate::service::bootstrap::AuthConfig;
use crate::service::codes::CodesConfig;
use crate::service::destinations::DestinationsConfig;
use crate::service::limits::LimitsConfig;
use crate::service::mail::MailConfig;
use crate::service::node::NodeConfig;
use crate::service::oidc::OidcConfig;
use crate::service::passwords::PasswordsConfig;
use crate::service::tokens::TokensConfig;
use crate::storage::config::StorageConfig;
use crate::storage::redis::RedisConfig;
use crate::telemetry::logging::LogConfig;

const ENV_PREFIX: &str = "SHUNT_";
/// Read by the program itself, not settings.
const ENV_OF_PROGRAM: [&str; 3] = ["SHUNT_CONFIG", "SHUNT_COMMIT", "SHUNT_KEY"];
const DEFAULT_FILE: &str = "shunt.toml";

/// Lists the sections once: the struct, the loader and the printer follow from it.
macro_rules! sections {
    ($($(#[doc = $doc:literal])+ $name:ident: $type:ty),+ $(,)?) => {
        /// Every section of the configuration.
        #[derive(Clone, Debug, Default, Serialize)]
        pub struct Settings {
            $($(#[doc = $doc])+ pub $name: $type),+
        }

        impl Settings {
            fn from_parts(parts: &BTreeMap<String, Section>, problems: &mut Problems) -> Self {
                for name in parts.keys() {
                    if ![$(stringify!($name)),+].contains(&name.as_str()) {
                        problems.add(format!("there is no section `{name}`"));
                    }
                }
                let settings = Self {
                    $($name: read_section(stringify!($name), parts, problems)),+
                };
                $(settings.$name.check(problems);)+
                settings
            }
        }
    };
}

sections! {
    /// The public listener.
    http: HttpConfig,
    /// The operations listener.
    ops: OpsConfig,
    /// The store.
    storage: StorageConfig,
    /// This node.
    node: NodeConfig,
    /// The link table.
    links: LinksConfig,
    /// New codes.
    codes: CodesConfig,
    /// Where links may lead.
    destinations: DestinationsConfig,
    /// Redirects.
    redirect: RedirectConfig,
    /// Pages for visitors.
    pages: PagesConfig,
    /// The click journal and its counters.
    clicks: ClicksConfig,
    /// Who may use the API.
    auth: AuthConfig,
    /// Tokens of sessions.
    tokens: TokensConfig,
    /// Passwords.
    passwords: PasswordsConfig,
    /// Mail.
    mail: MailConfig,
    /// Sign-in with OpenID Connect providers.
    oidc: OidcConfig,
    /// Limits.
    limits: LimitsConfig,
    /// Anonymous links.
    anonymous: AnonymousConfig,
    /// Redis.
    redis: RedisConfig,
    /// Logs.
    log: LogConfig,
}

/// Sections that cannot see `Problems` are checked from here.
trait Check {
    fn check(&self, problems: &mut Problems);
}

impl Check for LogConfig {
    fn check(&self, problems: &mut Problems) {
        if let Some(sentence) = self.filter_problem() {
            problems.add(sentence);
        }
    }
}

/// One value as somebody wrote it, and where.
struct Written {
    value: Value,
    /// The text, when it came from the environment and may as well be meant as a string.
    text: Option<String>,
    origin: String,
}

type Section = BTreeMap<String, Written>;

/// Which file to read, if any: the one named on the command line or in `SHUNT_CONFIG` must exist,
/// `./shunt.toml` may.
pub fn file_to_read(named: Option<&Path>) -> Option<PathBuf> {
    match named {
        Some(path) => Some(path.to_owned()),
        None => Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.is_file()),
    }
}

/// Loads all settings. Every problem found is in the error.
pub fn load(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Settings, Problems> {
    let mut problems = Problems::default();
    let mut parts = BTreeMap::new();
    if let Some(path) = file {
        take_file(path, &mut parts, &mut problems);
    }
    for (name, text) in environment {
        take_variable(&name, &text, &mut parts, &mut problems);
    }
    let settings = Settings::from_parts(&parts, &mut problems);
    if settings.storage.cql.is_empty() {
        settings.node.check_alone(&mut problems);
    }
    if problems.is_empty() { Ok(settings) } else { Err(problems) }
}

impl Settings {
    /// The effective settings as a file that `load` reads back, secrets masked.
    pub fn to_toml(&self) -> String {
        let mut masked = self.clone();
        masked.mask_secrets();
        toml::to_string_pretty(&masked).expect("settings hold only what TOML can write")
    }

    fn mask_secrets(&mut self) {
        if let Some(key) = &mut self.auth.bootstrap_key {
            MASK.clone_into(key);
        }
    }
}

fn take_file(path: &Path, parts: &mut BTreeMap<String, Section>, problems: &mut Problems) {
    let shown = path.display();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return problems.add(format!("the file {shown} cannot be read: {error}")),
    };
    let table: Table = match text.parse() {
        Ok(table) => table,
        Err(error) => return problems.add(format!("{shown} is not TOML: {error}")),
    };
    for (section, value) in table {
        let Value::Table(keys) = value else {
            problems.add(format!("`{section}` in {shown} stands outside a section"));
            continue;
        };
        let part = parts.entry(section).or_default();
        for (key, value) in keys {
            part.insert(key, Written { value, text: None, origin: shown.to_string() });
        }
    }
}

fn take_variable(
    name: &OsStr,
    text: &OsStr,
    parts: &mut BTreeMap<String, Section>,
    problems: &mut Problems,
) {
    let shown = name.to_string_lossy();
    let Some(path) = shown.strip_prefix(ENV_PREFIX) else { return };
    // A variable that is set to nothing is how a script unsets it.
    if ENV_OF_PROGRAM.contains(&shown.as_ref()) || text.is_empty() {
        return;
    }
    let (Some(name), Some(text)) = (name.to_str(), text.to_str()) else {
        problems.add(format!("`{shown}` is not valid UTF-8"));
        return;
    };
    if is_service_link(path, text) {
        return;
    }
    let Some((section, key)) = path.split_once("__") else {
        problems.add(format!("`{name}` is no setting; write {ENV_PREFIX}<SECTION>__<KEY>"));
        return;
    };
    let written =
        Written { value: read_value(text), text: Some(text.to_owned()), origin: name.to_owned() };
    parts.entry(section.to_lowercase()).or_default().insert(key.to_lowercase(), written);
}

/// What Kubernetes puts into every container when some service is called `shunt` or `shunt-…`:
/// nobody wrote it, so it is no mistake.
fn is_service_link(path: &str, text: &str) -> bool {
    let parts: Vec<&str> = path.split('_').collect();
    let pairs = || parts.windows(2);
    let names_port = pairs()
        .any(|pair| pair[0] == "PORT" && !pair[1].is_empty() && pair[1].parse::<u16>().is_ok());
    pairs().any(|pair| pair == ["SERVICE", "HOST"] || pair == ["SERVICE", "PORT"])
        || names_port
        || (parts.last() == Some(&"PORT") && text.contains("://"))
}

/// A value as TOML would read it; what TOML cannot read is a string.
fn read_value(text: &str) -> Value {
    let document = format!("value = {text}");
    let parsed = document.parse::<Table>().ok().and_then(|mut table| table.remove("value"));
    parsed.unwrap_or_else(|| Value::String(text.to_owned()))
}

fn read_section<T: DeserializeOwned + Default>(
    name: &str,
    parts: &BTreeMap<String, Section>,
    problems: &mut Problems,
) -> T {
    let mut good = Table::new();
    for (key, written) in parts.get(name).into_iter().flatten() {
        match try_value::<T>(key, written) {
            Ok(value) => {
                good.insert(key.clone(), value);
            }
            Err(reason) => {
                problems.add(format!("`{name}.{key}` ({}): {reason}", written.origin));
            }
        }
    }
    // Each key was accepted alone, and sections have no rules between keys before `check`.
    T::deserialize(Value::Table(good)).unwrap_or_default()
}

/// Checks one key by reading a section that has nothing else.
fn try_value<T: DeserializeOwned>(key: &str, written: &Written) -> Result<Value, String> {
    let alone = |value: &Value| {
        let table = Table::from_iter([(key.to_owned(), value.clone())]);
        T::deserialize(Value::Table(table)).map(drop)
    };
    let error = match alone(&written.value) {
        Ok(()) => return Ok(written.value.clone()),
        Err(error) => error,
    };
    // `SHUNT_STORAGE__PATH=2026` is meant as a path, not as a number.
    if let Some(text) = &written.text {
        let as_string = Value::String(text.clone());
        if alone(&as_string).is_ok() {
            return Ok(as_string);
        }
    }
    Err(error.message().trim().replace('\n', " "))
}

#[cfg(test)]
mod tests;
