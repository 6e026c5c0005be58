//! Logs: JSON for machines, text for people, to standard error.

use std::io::IsTerminal;

use serde::Deserialize;
use tracing_subscriber::EnvFilter;

use serde::Serialize;

/// What the HTTP library says above `debug` is no news: workers that start, and as an error
/// whatever malformed bytes a stranger sends.
const QUIET: &str = "actix_server=warn,actix_http::h1::dispatcher=off";

/// `[log]`: what is written to standard error.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// `text` or `json`. Unset: `text` on a terminal, else `json`.
    pub format: Option<LogFormat>,
    /// `error`, `warn`, `info` or `debug`, or filters such as `info,shunt::http=debug`. Release
    /// builds have no `trace`.
    /// Unset: `info`.
    pub level: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

/// Installs the process-wide subscriber. Fails on a filter that does not parse.
pub fn install(config: &LogConfig) -> Result<(), String> {
    let filter = match config.filter_problem() {
        Some(problem) => return Err(problem),
        None => EnvFilter::new(config.filter()),
    };
    let on_terminal = std::io::stderr().is_terminal();
    let format =
        config.format.unwrap_or(if on_terminal { LogFormat::Text } else { LogFormat::Json });
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let installed = match format {
        LogFormat::Text => builder.with_ansi(on_terminal).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    installed.map_err(|error| error.to_string())
}

impl LogConfig {
    fn filter(&self) -> String {
        match self.level.as_deref().unwrap_or("info") {
            word @ ("error" | "warn" | "info") => format!("{word},{QUIET}"),
            own => own.to_owned(),
        }
    }

    /// `Problems` lives in the domain, which telemetry does not know: the filter is tried instead.
    pub fn filter_problem(&self) -> Option<String> {
        let level = self.level.as_deref()?;
        EnvFilter::try_new(level).err().map(|error| format!("`log.level` is {level:?}: {error}"))
    }
}
