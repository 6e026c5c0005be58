//! `shunt links import|export`: on the store itself, or through a running server.

use std::io::Write;
use std::sync::Arc;

use anyhow::Context;
use clap::Subcommand;
use tokio::runtime::{Builder, Runtime};

use crate::app::{self, Opened, Sharing, SystemClock};
use crate::cli::transfer::{
    self, ExportArgs, ExportReport, ImportArgs, ImportReport, ServerArgs, ServerEnd, ServerTrial,
    StoreEnd, StoreTrial, WrongUsage,
};
use crate::cli::{Failure, Outcome, complain, keys, say};
use crate::config::Settings;
use crate::domain::destination::{BlockedHosts, DestinationPolicy};
use crate::domain::id::Id;
use crate::domain::seal::{SealKey, Sealer};
use crate::domain::time::Clock;
use crate::http::{HttpConfig, Site};
use crate::service::blocked_hosts;
use crate::service::codes::CodeMaker;
use crate::service::import::{ImportContext, NewNames, Trial};
use crate::storage::embedded::{Embedded, Mode, database_file};
use crate::storage::lock::StoreLock;
use crate::storage::memory::MemoryStore;
use crate::storage::scylla::Cql;

#[derive(Debug, Subcommand)]
pub(super) enum LinksCommand {
    /// Import links from CSV or NDJSON
    ///
    /// Works on the store itself when no server holds it, else through one with --url and --key.
    /// Lines that cannot be imported are named on standard error; the others are imported. An
    /// import that was stopped can be run again: it goes on where it was.
    Import(ImportArgs),
    /// Export links to CSV or NDJSON
    ///
    /// What an export writes, an import takes, with states, versions and counts. Through a server,
    /// deleted links are left out.
    Export(ExportArgs),
}

pub(super) fn run(command: &LinksCommand, settings: &Settings) -> Outcome {
    match command {
        LinksCommand::Import(args) => told(&import(args, settings)?),
        LinksCommand::Export(args) => {
            let report = export(args, settings)?;
            match args.file.as_str() {
                "-" => complain(report),
                _ => say(report),
            }
            Ok(())
        }
    }
}

/// Prints what an import did; refused lines make it a failure.
fn told(report: &ImportReport) -> Outcome {
    // Whoever closed standard error did not want to read it.
    let _ = report.write_problems(&mut std::io::stderr().lock());
    let _ = std::io::stderr().flush();
    say(report);
    match report.n_refused {
        0 => Ok(()),
        1 => Err(Failure::failed("one line was refused")),
        n_refused => Err(Failure::failed(format!("{n_refused} lines were refused"))),
    }
}

fn import(args: &ImportArgs, settings: &Settings) -> Result<ImportReport, Failure> {
    let through = through(&args.server, settings)?;
    if let Some(mut server) = ServerEnd::of(&through)? {
        if args.dry_run {
            let mut trial = ServerTrial { server, trial: Trial::default() };
            return transfer::import(args, &mut trial).map_err(failure);
        }
        return transfer::import(args, &mut server).map_err(failure);
    }
    let blocked = blocked_hosts::read(&settings.links)
        .context("reading the hosts that no link may lead to")?;
    let runtime = runtime()?;
    if args.dry_run {
        return try_on_store(args, settings, &runtime, blocked);
    }
    let opened = runtime.block_on(app::open(settings, Sharing::Alone))?;
    if let Some(key) = &opened.owner_key {
        say(format_args!("owner API key: {}", key.as_str()));
    }
    let actor = runtime.block_on(keys::operator(&opened))?;
    let context = context(settings, actor.grant.workspace, opened.sealer.clone(), blocked)?;
    let mut store = store_end(&runtime, &opened, context);
    transfer::import(args, &mut store).map_err(failure)
}

/// Judges the rows by the store as it is, beside a server too; by an empty one if there is none.
fn try_on_store(
    args: &ImportArgs,
    settings: &Settings,
    runtime: &Runtime,
    blocked: BlockedHosts,
) -> Result<ImportReport, Failure> {
    let path = &settings.storage.path;
    let stores = match (settings.storage.database(), database_file(path).exists()) {
        (Some(config), _) => runtime
            .block_on(Box::pin(Cql::open(&config)))
            .with_context(|| format!("opening the database at {}", config.nodes.join(", ")))?
            .stores(0),
        (None, true) => Embedded::open_with(path, Mode::ReadOnly, &settings.storage.embedded())
            .with_context(|| format!("opening the store in {}", path.display()))?
            .stores(),
        (None, false) => MemoryStore::new(),
    };
    let operator = runtime.block_on(stores.accounts.operator_workspace());
    let operator = operator.map_err(anyhow::Error::from)?;
    // Whether a code opens decides nothing here.
    let nobodys = Sealer::new(vec![SealKey { version: 0, secret: [0; 32] }]);
    let context = context(settings, operator.map_or(Id(0), |own| own.id), nobodys, blocked)?;
    let mut trial = StoreTrial { runtime, links: stores.links, context, trial: Trial::default() };
    transfer::import(args, &mut trial).map_err(failure)
}

/// Which server to go through: the one that was named, else, when a key is given, the one that
/// holds the store, at the address that it listens on by these settings.
fn through(args: &ServerArgs, settings: &Settings) -> anyhow::Result<ServerArgs> {
    let mut args = args.clone();
    if args.url.is_none() && args.key.is_some() {
        let path = &settings.storage.path;
        // To try the lock would make the folder.
        let held = database_file(path).exists() && matches!(StoreLock::try_acquire(path), Ok(None));
        let here = HttpConfig { public_url: None, ..settings.http.clone() };
        let (listener, _) = here.site().context("reading `http.listen`")?;
        args.url = held.then(|| listener.to_string());
    }
    Ok(args)
}

fn export(args: &ExportArgs, settings: &Settings) -> Result<ExportReport, Failure> {
    if let Some(mut server) = ServerEnd::of(&args.server)? {
        return transfer::export(args, &mut server).map_err(failure);
    }
    let runtime = runtime()?;
    let opened = runtime.block_on(app::open(settings, Sharing::WithServer))?;
    // Nothing is judged.
    let context = context(settings, Id(0), opened.sealer.clone(), BlockedHosts::default())?;
    let mut store = store_end(&runtime, &opened, context);
    transfer::export(args, &mut store).map_err(failure)
}

fn store_end<'a>(runtime: &'a Runtime, opened: &Opened, context: ImportContext) -> StoreEnd<'a> {
    let names = NewNames {
        ids: Arc::clone(&opened.ids),
        codes: CodeMaker::new(opened.sealer.clone(), Arc::clone(&opened.stores.nodes)),
    };
    StoreEnd::new(runtime, &opened.stores, context, Arc::new(names))
}

/// What rows are judged by: the same as in a server with these settings.
fn context(
    settings: &Settings,
    workspace: Id,
    sealer: Sealer,
    blocked: BlockedHosts,
) -> anyhow::Result<ImportContext> {
    let (public_url, hosts) = settings.http.site().context("reading `http.listen`")?;
    Ok(ImportContext {
        workspace,
        created_by: None,
        policy: DestinationPolicy {
            own_hosts: hosts.names(),
            allow_private: settings.destinations.allow_private,
            blocked: Arc::new(blocked),
        },
        domain: Site::of(&public_url).domain,
        sealer,
        codes: settings.codes.clone(),
        now: SystemClock.now(),
    })
}

fn runtime() -> anyhow::Result<Runtime> {
    Builder::new_current_thread().enable_all().build().context("starting a runtime")
}

/// A file that does not fit the command is wrong usage, not a failure.
fn failure(error: anyhow::Error) -> Failure {
    match error.downcast_ref::<WrongUsage>() {
        Some(usage) => Failure::usage(usage.to_string()),
        None => Failure::from(error),
    }
}
