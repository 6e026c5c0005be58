//! The command line: what a person types, and what they are told.
//!
//! Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 failed,
//! 2 wrong usage or configuration.

mod archive;
mod keys;
mod links;
pub mod moving;
mod settings;
pub mod transfer;
mod users;
mod verify;

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};

use crate::app;
use crate::config::{self, Settings};
use crate::storage::scylla::Cql;

/// A self-hosted link-redirect engine.
#[derive(Debug, Parser)]
#[command(
    name = "shunt",
    version,
    about,
    after_help = "Without a command, `shunt` serves: on 127.0.0.1:8080, with its store in ./data.\n\
                  The first start prints one owner API key. Settings: `shunt print-config`."
)]
struct Cli {
    /// Configuration file; else SHUNT_CONFIG, or ./shunt.toml if it is there
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "SHUNT_CONFIG",
        value_parser = clap::value_parser!(OsString)
    )]
    config: Option<OsString>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve redirects, the API and the operations listener (the default)
    Serve,
    /// Make the store, or bring it up to date, without serving
    Migrate,
    /// Check the configuration and name every mistake
    CheckConfig,
    /// Print the settings in force, secrets masked
    PrintConfig,
    /// Create, list and revoke API keys
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Create, list, disable and enable accounts of people
    #[command(subcommand)]
    Users(users::UsersCommand),
    /// Import and export links
    #[command(subcommand)]
    Links(links::LinksCommand),
    /// Copy the embedded store to a folder, also while a server runs
    Backup(archive::BackupArgs),
    /// Put a backup back in place; the server must be stopped
    Restore(archive::RestoreArgs),
    /// Read the whole store and journal and say what is damaged
    Verify(verify::VerifyArgs),
    /// Write everything that the store holds to a folder, to move it; servers must be stopped
    Export(moving::ExportArgs),
    /// Put an exported archive into an empty store, or go on with it
    Import(moving::ImportArgs),
}

/// Why a command did not end well: the exit code and what the person is told.
pub(crate) struct Failure {
    code: u8,
    message: String,
}

pub(crate) type Outcome = Result<(), Failure>;

impl Failure {
    /// The command was understood and could not be done.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into() }
    }

    /// The command or the configuration is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, message: message.into() }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::failed(format!("{error:#}"))
    }
}

/// Runs the program.
pub fn main() -> ExitCode {
    // `parse` itself exits with 2 on wrong usage and with 0 after `--help`.
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&failure.message);
            ExitCode::from(failure.code)
        }
    }
}

fn run(cli: Cli) -> Outcome {
    // A variable that is set to nothing is how a script unsets it.
    let named = cli.config.filter(|file| !file.is_empty()).map(PathBuf::from);
    let settings = load(named.as_deref())?;
    match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => Ok(app::serve(settings)?),
        Command::Migrate => migrate(&settings),
        Command::CheckConfig => settings::check(named.as_deref()),
        Command::PrintConfig => settings::print(&settings),
        Command::Keys(command) => keys::run(command, &settings),
        Command::Users(command) => users::run(command, &settings),
        Command::Links(command) => links::run(&command, &settings),
        Command::Backup(args) => archive::backup(&args, &settings),
        Command::Restore(args) => archive::restore(&args, &settings),
        Command::Verify(args) => verify::verify(&args, &settings),
        Command::Export(args) => moving::run_export(&args, &settings),
        Command::Import(args) => moving::run_import(&args, &settings),
    }
}

/// Opening the store does it all; on an empty one that is the first start.
fn migrate(settings: &Settings) -> Outcome {
    block_on(async {
        let place = match settings.storage.database() {
            Some(config) => {
                let steps =
                    Cql::migrate(&config).await.context("bringing the schema up to date")?;
                complain(format_args!("{steps} steps of the schema were missing"));
                format!("keyspace {}", config.keyspace)
            }
            None => settings.storage.path.display().to_string(),
        };
        let opened = app::open(settings, app::Sharing::Alone).await?;
        if let Some(key) = &opened.owner_key {
            say(format_args!("owner API key: {}", key.as_str()));
        }
        complain(format_args!("{place} is up to date"));
        opened.node.release().await;
        Ok(())
    })
}

fn load(named: Option<&Path>) -> Result<Settings, Failure> {
    let file = config::file_to_read(named);
    config::load(file.as_deref(), std::env::vars_os()).map_err(|problems| {
        Failure::usage(format!(
            "the configuration has mistakes:\n{problems}\n\
             `shunt print-config` shows all keys; docs/configuration.md explains them."
        ))
    })
}

/// Writes one line to standard output; a closed pipe is not an error worth a word.
pub(crate) fn say(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// Writes one line to standard error.
pub(crate) fn complain(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr().lock(), "shunt: {line}");
}

/// Runs a command's work to its end.
pub(crate) fn block_on(work: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(anyhow::Error::from)?.block_on(work)
}
