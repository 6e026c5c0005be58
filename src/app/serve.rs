//! `shunt serve`: builds the node, runs it, drains it.

use std::io::Write;
use std::sync::Arc;

use actix_web::web;
use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

use crate::actors::clicks::{ClickSink, ClickSinkParts};
use crate::actors::links::{LinkTable, LinkTableParts};
use crate::app::{Opened, Sharing, open};
use crate::config::Settings;
use crate::domain::destination::DestinationPolicy;
use crate::http::admin::{self, AdminState};
use crate::http::{
    HttpParts, Listeners, Pages, Readiness, RunningOps, RunningServer, serve as serve_http,
};
use crate::service::codes::CodeMaker;
use crate::service::keys::KeyRing;
use crate::service::links::{LinkService, LinkServiceParts};
use crate::service::validate::Rules;
use crate::telemetry::logging;

/// Serves until SIGTERM or SIGINT, then drains. Fails when the node cannot be built.
pub fn serve(settings: Settings) -> Result<()> {
    logging::install(&settings.log).map_err(anyhow::Error::msg).context("starting the log")?;
    actix_rt::System::new().block_on(run(settings))
}

/// Everything that runs, to be stopped in the order that loses nothing.
struct Node {
    opened: Opened,
    clicks: ClickSink,
    links: LinkTable,
    keys: Arc<KeyRing>,
    server: RunningServer,
    ops: RunningOps,
    readiness: Readiness,
}
