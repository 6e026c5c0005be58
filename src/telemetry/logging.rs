//! Logs: JSON for machines, text for people, to standard error.

use std::io::IsTerminal;

use serde::Deserialize;
use tracing_subscriber::EnvFilter;

use serde::Serialize;

/// Of the server library, starting and stopping of workers is no news.
const LEVEL: &str = "info,actix_server=warn";

/// `[log]`: what is written to standard error.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// `text` or `json`. Unset: `text` on a terminal, else `json`.
    pub format: Option<LogFormat>,
    /// `error`, `warn`, `info`, `debug` or `trace`, or filters such as `info,shunt::http=debug`.
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
    let level = config.level.as_deref().unwrap_or(LEVEL);
    let filter =
        EnvFilter::try_new(level).map_err(|error| format!("`log.level` is {level:?}: {error}"))?;
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
    /// `Problems` lives in the domain, which telemetry does not know: the filter is tried instead.
    pub fn filter_problem(&self) -> Option<String> {
        let level = self.level.as_deref()?;
        EnvFilter::try_new(level).err().map(|error| format!("`log.level` is {level:?}: {error}"))
    }
}
