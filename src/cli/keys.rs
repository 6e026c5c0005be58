//! `shunt keys create|list|revoke`: works on the store, also while a server runs.

use std::sync::Arc;

use chrono::{DateTime, SecondsFormat};
use clap::{Args, Subcommand};

use crate::app::{self, Opened, Sharing};
use crate::cli::{Failure, Outcome, block_on, complain, say};
use crate::config::Settings;
use crate::domain::account::Role;
use crate::domain::api_key::{ApiKey, Scope, Scopes};
use crate::domain::id::Id;
use crate::domain::time::Timestamp;
use crate::service::access::{Actor, Credential, Grant, Place};
use crate::service::keys::{KeyDraft, KeyError, KeyRing};

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Make a key; it alone is printed on standard output, this once
    Create(CreateArgs),
    /// List the keys of the operator's workspace
    List,
    /// Revoke a key; a running server refuses it within a second or two
    Revoke {
        /// Id of the key, as `shunt keys list` shows it
        #[arg(value_parser = parse_id)]
        id: Id,
    },
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// What the key is for, to recognise it by
    #[arg(long)]
    name: String,
    /// Scopes separated by commas: links:read, links:write, stats:read, keys:manage, org:manage, *
    #[arg(long, value_delimiter = ',', value_parser = parse_scope)]
    scopes: Vec<Scope>,
    /// When it ends, as in 2027-01-31T00:00:00Z
    #[arg(long, value_parser = parse_time)]
    expires_at: Option<Timestamp>,
}

pub(super) fn run(command: KeysCommand, settings: &Settings) -> Outcome {
    block_on(async {
        let opened = app::open(settings, Sharing::WithServer).await?;
        let actor = operator(&opened).await?;
        let ring = KeyRing::open(
            opened.secrets.api_keys,
            Arc::clone(&opened.stores.accounts),
            Arc::clone(&opened.ids),
            Arc::clone(&opened.clock),
        );
        let ring = ring.await.map_err(anyhow::Error::from)?;
        match command {
            KeysCommand::Create(args) => create(&ring, &actor, args).await,
            KeysCommand::List => list(&ring, &actor.grant).await,
            KeysCommand::Revoke { id } => revoke(&ring, &actor, id).await,
        }
    })
}

/// Who can reach the store's files may do everything in the operator's workspace.
pub(super) async fn operator(opened: &Opened) -> Result<Actor, Failure> {
    let own = opened.stores.accounts.operator_workspace().await.map_err(anyhow::Error::from)?;
    let own = own.ok_or_else(|| Failure::failed("the store has no operator's workspace"))?;
    let grant = Grant {
        credential: Credential::Key(Id(0)),
        user: None,
        workspace: own.id,
        operator: true,
        role: Role::Owner,
        scopes: Scopes::EVERYTHING,
    };
    Ok(Actor { grant, place: Place::CommandLine })
}

async fn create(ring: &KeyRing, actor: &Actor, args: CreateArgs) -> Outcome {
    let scopes = args.scopes.iter().fold(Scopes::default(), |all, scope| all.with(*scope));
    let draft = KeyDraft {
        name: args.name,
        scopes: (!scopes.is_empty()).then_some(scopes),
        expires_at: args.expires_at,
    };
    match ring.create(actor, draft).await {
        Ok((key, text)) => {
            say(text.as_str());
            complain(format_args!("made key {} ({}); it is shown this once", key.id, key.name));
            Ok(())
        }
        Err(KeyError::Invalid(errors)) => {
            let sentences: Vec<_> = errors.iter().map(|error| error.detail.clone()).collect();
            Err(Failure::usage(sentences.join("; ")))
        }
        Err(error) => Err(anyhow::Error::from(error).into()),
    }
}

async fn list(ring: &KeyRing, grant: &Grant) -> Outcome {
    let keys = ring.list(grant).await.map_err(anyhow::Error::from)?;
    say(format_args!(
        "{:<20} {:<14} {:<9} {:<21} {:>8} {:<24} NAME",
        "ID", "PREFIX", "STATE", "LAST USED", "USES", "SCOPES"
    ));
    for key in &keys {
        let scopes: Vec<_> = key.scopes.iter().map(Scope::as_str).collect();
        say(format_args!(
            "{:<20} {:<14} {:<9} {:<21} {:>8} {:<24} {}",
            key.id.to_string(),
            format!("{}…", key.prefix),
            state(key),
            key.last_used_at.map_or("never".to_owned(), show_time),
            key.uses,
            scopes.join(","),
            key.name,
        ));
    }
    Ok(())
}

async fn revoke(ring: &KeyRing, actor: &Actor, id: Id) -> Outcome {
    if ring.revoke(actor, id).await.map_err(anyhow::Error::from)? {
        say(format_args!("revoked {id}"));
        Ok(())
    } else {
        Err(Failure::failed(format!("there is no key {id}; `shunt keys list` shows them")))
    }
}

fn state(key: &ApiKey) -> &'static str {
    let now = chrono::Utc::now().timestamp_millis();
    match (key.revoked_at, key.expires_at) {
        (Some(_), _) => "revoked",
        (None, Some(at)) if at.as_millis() <= now => "expired",
        _ => "active",
    }
}

pub(super) fn show_time(at: Timestamp) -> String {
    DateTime::from_timestamp_millis(at.as_millis())
        .map_or("?".to_owned(), |time| time.to_rfc3339_opts(SecondsFormat::Secs, true))
}

fn parse_scope(word: &str) -> Result<Scope, String> {
    let known = || Scope::ALL.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(", ");
    Scope::from_word(word).ok_or_else(|| format!("there is no such scope; there are {}", known()))
}

fn parse_id(text: &str) -> Result<Id, String> {
    text.parse().map_err(|_| "an id is a number; `shunt keys list` shows them".to_owned())
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    DateTime::parse_from_rfc3339(text)
        .map(|time| Timestamp::from_millis(time.timestamp_millis()))
        .map_err(|_| "write it like 2027-01-31T00:00:00Z".to_owned())
}
